# SPDX-License-Identifier: GPL-3.0-or-later
"""The sidebar of the 3D view: a video, a button, how far it is, and what may be chosen."""

from __future__ import annotations

import bpy
from bpy.types import Panel

from . import backend_panel, import_video, job, keyframes, options, pick_person, take_panel


class _Sidebar:
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Video2Rig"


class VIDEO2RIG_PT_main(_Sidebar, Panel):
    """Video, button and progress."""

    bl_label = "Video2Rig"

    def draw(self, context: bpy.types.Context) -> None:
        """Show the video to solve, or how far its solve is."""
        layout = self.layout
        missing = backend_panel.draw_missing(layout, context)
        chosen = options.of(context)
        running = job.current
        column = layout.column()
        column.enabled = running is None
        column.prop(chosen, "filepath", text="")
        _draw_person(column, chosen)
        if chosen.armature == "ACTIVE":
            _draw_active(column, context)
        if running is None:
            row = layout.row()
            row.scale_y = 1.4
            row.enabled = not missing
            row.operator_context = "INVOKE_DEFAULT"
            operator = row.operator(import_video.VIDEO2RIG_OT_import_video.bl_idname, icon="ARMATURE_DATA")
            operator.filepath = chosen.filepath
            take_panel.draw(layout, context)
            return
        progress = running.progress()
        factor = progress.done / progress.total if progress.total else 0.0
        layout.progress(factor=min(factor, 1.0), text=progress.stage.capitalize())
        _draw_progress(layout.column(align=True), progress)
        layout.operator(import_video.VIDEO2RIG_OT_cancel.bl_idname, icon="X")


_SHOWN = (
    "armature",
    "height",
    "rom",
    "field_of_view",
    "smoothing_hz",
    "contacts",
    "regression",
    "detector",
    "device",
    "keys",
    "key_tolerance",
    "interpolation",
    "match_scene",
)


class VIDEO2RIG_PT_settings(_Sidebar, Panel):
    """What may be chosen, folded away."""

    bl_label = "Settings"
    bl_parent_id = "VIDEO2RIG_PT_main"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012 Blender wants a set

    def draw(self, context: bpy.types.Context) -> None:
        """Lay out the options."""
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        layout.enabled = job.current is None
        chosen = options.of(context)
        unused = "interpolation" if chosen.keys == "SPARSE" else "key_tolerance"
        for name in (name for name in _SHOWN if name != unused):
            row = layout.row()
            # an armature that is there has its own size
            row.active = chosen.armature == "NEW" or name != "height"
            row.prop(chosen, name)
        if not chosen.match_scene:
            rate = keyframes.scene_rate(context.scene)
            layout.label(text=f"Keys by time at the scene's {rate:g} fps", icon="TIME")


def _draw_person(layout: bpy.types.UILayout, chosen: options.VIDEO2RIG_PG_options) -> None:
    """Let the user choose whom to solve."""
    layout.prop(chosen, "person", text="", icon="USER")
    if chosen.person == "NUMBER":
        layout.prop(chosen, "person_number")
    elif chosen.person == "POINT":
        row = layout.row(align=True)
        row.operator_context = "INVOKE_DEFAULT"
        row.operator(pick_person.VIDEO2RIG_OT_pick_person.bl_idname, icon="EYEDROPPER")
        if chosen.picked(bpy.path.abspath(chosen.filepath)):
            x, y = chosen.person_point
            layout.label(text=f"At {x:.0f}, {y:.0f} at {chosen.person_time:.2f} s", icon="CHECKMARK")
    elif chosen.person == "EVERYONE" and chosen.armature == "ACTIVE":
        layout.label(text="Everyone needs new armatures", icon="ERROR")


def _draw_active(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Tell which armature is solved."""
    active = context.view_layer.objects.active
    if active is not None and active.type == "ARMATURE":
        layout.label(text=active.name, icon="OUTLINER_OB_ARMATURE")
    else:
        layout.label(text="Select an armature", icon="ERROR")


def _draw_progress(layout: bpy.types.UILayout, progress: job.Progress) -> None:
    if progress.total:
        layout.label(text=f"Frame {progress.done} of {progress.total}")
    if progress.fps:
        layout.label(text=f"{progress.fps:.1f} frames a second")
    if progress.seconds_left is not None:
        minutes, seconds = divmod(round(progress.seconds_left), 60)
        layout.label(text=f"{minutes}:{seconds:02} left")
    if progress.notice:
        layout.label(text=progress.notice, icon="INFO")
