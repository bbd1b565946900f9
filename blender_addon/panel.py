# SPDX-License-Identifier: GPL-3.0-or-later
"""The sidebar of the 3D view: a video, a button, how far it is, and what may be chosen."""

from __future__ import annotations

import bpy
from bpy.types import Panel

from . import backend_panel, import_video, job, keyframes, options, outcome, pick_person, take_panel

_LABEL = 0.26  # of the width


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
        _labelled(column, "Video").prop(chosen, "filepath", text="", placeholder="Choose a Video")
        _draw_person(column, chosen)
        rig = _draw_rig(column, context)
        if running is None:
            row = layout.row()
            row.scale_y = 1.6
            row.enabled = rig and not missing
            row.operator_context = "INVOKE_DEFAULT"
            operator = row.operator(import_video.VIDEO2RIG_OT_import_video.bl_idname, icon="ARMATURE_DATA")
            operator.filepath = chosen.filepath
            outcome.draw(layout, context)
            take_panel.draw(layout, context)
            return
        if running.waits_for:
            outcome.draw_line(
                layout.column(align=True), context, f"Solved; waits until {running.waits_for} is done", "INFO"
            )
            return
        progress = running.progress()
        factor = progress.done / progress.total if progress.total else 0.0
        layout.progress(factor=min(factor, 1.0), text=progress.stage.capitalize())
        _draw_progress(layout.column(align=True), context, progress)
        layout.operator(import_video.VIDEO2RIG_OT_cancel.bl_idname, icon="X")


_FILMED = ("height", "field_of_view")
_SHOWN = (
    _FILMED,
    ("rom", "contacts", "smoothing_hz", "regression", "proportions"),
    ("keys", "key_tolerance", "interpolation", "match_scene"),
    ("detector", "device"),
)
"""What is filmed, how it moves, how it comes into the scene, and what does the work."""

_SHORT = {"match_scene": "Match the Video"}
"""Labels of those whose names do not fit."""


class VIDEO2RIG_PT_settings(_Sidebar, Panel):
    """What may be chosen, folded away."""

    bl_label = "Settings"
    bl_order = 90  # the last one
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
        for group in _SHOWN:
            column = layout.column()
            for name in (name for name in group if name != unused):
                row = column.row()
                # an armature that is there has its own size
                row.active = chosen.armature == "NEW" or name != "height"
                row.prop(chosen, name, **({"text": _SHORT[name]} if name in _SHORT else {}))
            if group == _FILMED:
                hint = column.row()
                hint.active, hint.alignment = False, "RIGHT"
                hint.label(text="0: not known")
        if not chosen.match_scene:
            rate = keyframes.scene_rate(context.scene)
            outcome.draw_line(layout.column(align=True), context, f"Keyed at the scene's {rate:g} fps", "TIME")


def _draw_person(layout: bpy.types.UILayout, chosen: options.VIDEO2RIG_PG_options) -> None:
    """Let the user choose whom to solve."""
    _labelled(layout, "Person").prop(chosen, "person", text="")
    if chosen.person == "NUMBER":
        _labelled(layout, "").prop(chosen, "person_number")
    elif chosen.person == "POINT":
        row = _labelled(layout, "")
        row.operator_context = "INVOKE_DEFAULT"
        row.operator(pick_person.VIDEO2RIG_OT_pick_person.bl_idname, icon="EYEDROPPER")
        if chosen.picked(bpy.path.abspath(chosen.filepath)):
            x, y = chosen.person_point
            _labelled(layout, "").label(text=f"{x:.0f}, {y:.0f} at {chosen.person_time:.2f} s", icon="CHECKMARK")


def _draw_rig(layout: bpy.types.UILayout, context: bpy.types.Context) -> bool:
    """Let the user choose what the motion goes onto, and return whether there is such a thing."""
    chosen, active = options.of(context), context.view_layer.objects.active
    _labelled(layout, "Rig").prop(chosen, "armature", text="")
    if chosen.armature == "NEW":
        return True
    there = active is not None and active.type == "ARMATURE"
    everyone = chosen.person == "EVERYONE"
    text = "For one person only" if everyone else active.name if there else "Select an armature"
    fits = there and not everyone
    _labelled(layout, "").label(text=text, icon="OUTLINER_OB_ARMATURE" if fits else "ERROR")
    return fits


def _labelled(layout: bpy.types.UILayout, text: str) -> bpy.types.UILayout:
    """Return a row beside a short label."""
    split = layout.split(factor=_LABEL)
    split.label(text=text)
    return split.row(align=True)


def _draw_progress(layout: bpy.types.UILayout, context: bpy.types.Context, progress: job.Progress) -> None:
    if progress.total:
        layout.label(text=f"Frame {progress.done} of {progress.total}")
    if progress.fps:
        layout.label(text=f"{progress.fps:.1f} frames a second")
    if progress.seconds_left is not None:
        minutes, seconds = divmod(round(progress.seconds_left), 60)
        layout.label(text=f"{minutes}:{seconds:02} left")
    if progress.notice:
        outcome.draw_line(layout, context, progress.notice, "INFO")
