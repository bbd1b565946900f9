# SPDX-License-Identifier: GPL-3.0-or-later
"""The sidebar's folded part for live use: source, start, record, stop, how live it is."""

from __future__ import annotations

import bpy
from bpy.types import Panel

from . import job, live_operators, live_options, live_run

_FEWER = 0.8  # of the poses are drawn: worth telling
_FIELD = {"CAMERA": "camera", "SCREEN": "screen", "STREAM": "address"}


class VIDEO2RIG_PT_live(Panel):
    """Live use, folded away."""

    bl_label = "Live"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Video2Rig"
    bl_parent_id = "VIDEO2RIG_PT_main"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012 Blender wants a set

    def draw(self, context: bpy.types.Context) -> None:
        """Show the source and a button, or how the run is doing."""
        layout = self.layout
        run = live_run.current
        chosen = live_options.of(context)
        column = layout.column()
        column.use_property_split, column.use_property_decorate = True, False
        column.enabled = run is None and job.current is None
        column.prop(chosen, "kind")
        column.prop(chosen, _FIELD[chosen.kind])
        if run is None:
            row = layout.row()
            row.enabled = job.current is None
            row.operator_context = "INVOKE_DEFAULT"
            row.operator(live_operators.VIDEO2RIG_OT_live.bl_idname, icon="PLAY")
            _draw_recorded(layout)
            return
        _draw_pace(layout, run)
        row = layout.row(align=True)
        row.alert = run.recording is not None
        row.operator(live_operators.VIDEO2RIG_OT_live_record.bl_idname, icon="REC")
        stop = "Stop and Solve" if run.recording is not None else "Stop"
        row.operator(live_operators.VIDEO2RIG_OT_live_stop.bl_idname, text=stop, icon="SNAP_FACE")


def _draw_pace(layout: bpy.types.UILayout, run: live_run.Live) -> None:
    column = layout.column(align=True)
    pace = run.pace()
    if pace is not None:
        drawn = f", {pace.drawn:.0f} drawn" if pace.drawn < _FEWER * pace.rate else ""
        column.label(text=f"{pace.rate:.0f} poses a second{drawn}")
        column.label(text=f"{1000 * pace.latency:.0f} ms behind the camera")
    if run.status or run.cancelling:
        column.label(text="Ending" if run.cancelling else run.status, icon="INFO")
    if run.recording is not None:
        column.label(text=f"Recorded: {run.recording.seconds:.1f} s, {len(run.recording)} frames", icon="REC")


def _draw_recorded(layout: bpy.types.UILayout) -> None:
    if live_run.recorded is None or job.current is not None:
        return
    box = layout.box().column(align=True)
    recording = live_run.recorded.recording
    box.label(text=f"Not solved yet: {recording.seconds:.1f} s", icon="REC")
    row = box.row(align=True)
    row.operator_context = "INVOKE_DEFAULT"
    row.operator(live_operators.VIDEO2RIG_OT_solve_recording.bl_idname, icon="FILE_REFRESH")
    row.operator(live_operators.VIDEO2RIG_OT_forget_recording.bl_idname, icon="TRASH")
