# SPDX-License-Identifier: GPL-3.0-or-later
"""The take in the panel: how the active armature's motion was made, and, folded away, what can be done with it."""

from __future__ import annotations

import bpy
from bpy.types import Panel

from . import doubt_colours, doubt_marks, edit_take, job, keyframes, layers, limbs, options, outcome, solve_again

_STAYS = 4  # joints at the end of their range that are listed


def draw(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Tell how the active armature's motion was made, and how sure each frame is."""
    held = layers.shown_by(context.object)
    made = keyframes.provenance(held.action) if held else {}
    if held is None or not made:
        return
    box = layout.box().column(align=True)
    box.label(text=held.action.name, icon="ACTION" if held.strip is None else "NLA")
    if "device" in made:
        box.label(text=f"Solved on {'the CPU' if made['device'] == 'cpu' else made['device']}")
    if layers.holder_of(context.object) is not None:
        row = box.row()
        row.operator_context = "INVOKE_DEFAULT"
        row.operator(solve_again.VIDEO2RIG_OT_solve_again.bl_idname, icon="FILE_REFRESH")
    stays = keyframes.at_bounds_lines(held.action, _STAYS)
    if stays:
        box.label(text="At the end of their range:", icon="CON_ROTLIMIT")
    for line in stays:
        outcome.draw_line(box, context, line)
    bone = context.active_pose_bone
    if bone is not None and keyframes.CONFIDENCE in bone:
        box.prop(bone, f'["{keyframes.CONFIDENCE}"]', text=f"Confidence of {bone.name}", slider=True)


class VIDEO2RIG_PT_take(Panel):
    """What can be done with a take, folded away."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Video2Rig"
    bl_label = "Edit Take"
    bl_parent_id = "VIDEO2RIG_PT_main"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012 Blender wants a set

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Show it where an armature has a take, or could have one of this file."""
        rig = context.object
        return rig is not None and rig.type == "ARMATURE" and solve_again.any_take()

    def draw(self, context: bpy.types.Context) -> None:
        """Lay out what can be changed, in the order in which it is mostly wanted."""
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        layout.enabled = job.current is None
        chosen = options.of(context)
        held = layers.holder_of(context.object)
        if held is not None:
            _draw_contacts(layout.column(align=True), chosen)
        _draw_limbs(layout.column(align=True), chosen)
        _draw_keys(layout.column(align=True), chosen)
        if held is not None:
            layout.operator(edit_take.VIDEO2RIG_OT_add_corrections.bl_idname, icon="NLA_PUSHDOWN")
            _draw_doubt(layout.column(align=True), context.object)
        row = layout.row()
        row.operator_context = "INVOKE_DEFAULT"
        row.operator_menu_enum(solve_again.VIDEO2RIG_OT_solve_take.bl_idname, "take", icon="ARMATURE_DATA")


def _draw_contacts(column: bpy.types.UILayout, chosen: options.VIDEO2RIG_PG_options) -> None:
    column.prop(chosen, "contacts")
    row = column.row(align=True)
    row.operator(edit_take.VIDEO2RIG_OT_show_markers.bl_idname, icon="PMARKER_ACT")
    row.operator(edit_take.VIDEO2RIG_OT_mark_contacts.bl_idname, text="", icon="LOOP_BACK")


def _draw_limbs(column: bpy.types.UILayout, chosen: options.VIDEO2RIG_PG_options) -> None:
    column.use_property_split = False
    column.label(text="Limbs to Solve")
    flow = column.grid_flow(row_major=True, columns=2, align=True)
    for identifier, _, _ in limbs.ITEMS:
        flow.prop_enum(chosen, "limbs", identifier)


def _draw_keys(column: bpy.types.UILayout, chosen: options.VIDEO2RIG_PG_options) -> None:
    column.prop(chosen, "keys")
    column.prop(chosen, "key_tolerance")
    row = column.row()
    row.operator_context = "INVOKE_DEFAULT"
    row.operator(edit_take.VIDEO2RIG_OT_reduce_keys.bl_idname, icon="MOD_DECIM")


def _draw_doubt(column: bpy.types.UILayout, rig: bpy.types.Object) -> None:
    row = column.row(align=True)
    row.operator(doubt_marks.VIDEO2RIG_OT_mark_doubt.bl_idname, icon="MARKER_HLT")
    row.operator(doubt_marks.VIDEO2RIG_OT_clear_doubt.bl_idname, text="", icon="X")
    shown = doubt_colours.is_on(rig)
    column.operator(doubt_colours.VIDEO2RIG_OT_colour_doubt.bl_idname, icon="COLOR", depress=shown)
