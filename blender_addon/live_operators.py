# SPDX-License-Identifier: GPL-3.0-or-later
"""Live: start, record, stop, and solve what was recorded.

The operator that runs is modal; a timer puts the newest pose on the rig. It adds nothing to the undo history, and what
it shows is gone when it ends. What was recorded is solved as a whole by another operator, which adds a take.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import bpy
from bpy.types import Operator

from . import in_hand, job, limbs, live_options, live_rig, live_run, options, outcome, read_rig, take_scene, unplaced
from .core.client import solve_recorded
from .core.connection import Connection
from .core.errors import Video2RigError
from .core.frames import VideoInfo
from .core.settings import MARKED, Settings
from .follow_job import FollowJob, redraw
from .held import HeldRig, HeldScene

_TICK = 1 / 60  # seconds
_MODES = ("OBJECT", "POSE")


class FollowLive:
    """The part of the operator that runs."""

    _run: Any = None
    _preview: Any = None
    _timer: bpy.types.Timer | None = None
    _scene: HeldScene

    def _start(self, context: bpy.types.Context) -> set[str]:
        """Begin a run beside Blender's window."""
        outcome.forget()
        try:
            self._run = self._open(context)
        except Video2RigError as error:
            self._tell(str(error))
            return {"CANCELLED"}
        self._scene = HeldScene.of(context)
        live_run.current = self._run
        self._run.start()
        manager = context.window_manager
        self._timer = manager.event_timer_add(_TICK, window=context.window)
        manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def _open(self, context: bpy.types.Context) -> live_run.Live:
        if live_run.current is not None or job.current is not None:
            raise Video2RigError("something is running already; stop it first, or wait")
        if context.mode not in _MODES:
            raise Video2RigError("live needs object mode or pose mode; leave the mode that you are in first")
        chosen, onto, skeleton = options.of(context), None, None
        if chosen.armature == "ACTIVE":
            rig = read_rig.active_armature(context)
            onto, skeleton = HeldRig.of(rig), read_rig.skeleton_to_solve(rig, chosen.rom)
        source = live_options.of(context).source()
        return live_run.Live(source, _settings(context), job.wanted_from_preferences(context), skeleton, onto)

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Show the newest pose; leave everything but Esc to Blender."""
        run = self._run
        if run is None:
            return {"CANCELLED"}
        if event.type == "ESC" and event.value == "PRESS":
            run.solve_at_end = False
            run.cancel()
            return {"RUNNING_MODAL"}
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        if (run.cancelling or run.done or self._preview is None) and in_hand.found(context.window_manager):
            return {"PASS_THROUGH"}
        if run.cancelling:
            self._end_preview()
        elif not run.done:
            self._show(context, run)
        if not run.done:
            return {"PASS_THROUGH"}
        return self._finish(context, run)

    def _show(self, context: bpy.types.Context, run: live_run.Live) -> None:
        try:
            if self._preview is None and run.began is not None:
                with self._scene.current(context):
                    self._preview = live_rig.Preview(context, run.began.skeleton, run.onto)
            pose = run.take_pose() if self._preview is not None else None
            if pose is not None:
                self._preview.show(pose)
                run.note_shown(pose)
        except Exception as error:
            run.error = error
            run.cancel()
            return
        redraw(context)

    def _finish(self, context: bpy.types.Context, run: live_run.Live) -> set[str]:
        """End, tell why, and have solved what was recorded."""
        run.keep_recording()
        self._end(context)
        waits = live_run.recorded is not None and run.recording is live_run.recorded.recording
        if run.error is not None:
            saved = "; what was recorded is kept" if waits else ""
            self._tell(f"Live ended: {job.describe(run.error)}{saved}")
        if waits and run.solve_at_end:
            self._solve()
        return {"CANCELLED"}  # nothing of the preview stays, so there is nothing to undo

    def _tell(self, text: str) -> None:
        outcome.tell(self, "ERROR", text)  # type: ignore[arg-type]

    def _solve(self) -> None:
        bpy.ops.video2rig.solve_recording("INVOKE_DEFAULT")

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender ends the operator: another file is opened, or the window closes."""
        if self._run is not None:
            self._run.cancel()
            self._run.keep_recording()
            self._end(context)

    def _end_preview(self) -> None:
        if self._preview is not None:
            self._preview.end()
            self._preview = None

    def _end(self, context: bpy.types.Context) -> None:
        self._end_preview()
        if self._timer is not None:
            context.window_manager.event_timer_remove(self._timer)
            self._timer = None
        live_run.current = None
        self._run = None
        redraw(context)


def _settings(context: bpy.types.Context) -> Settings:
    """Return the panel's settings, for whoever is largest: other choices are of a video."""
    chosen = options.of(context).settings()
    contacts = "auto" if chosen.contacts == MARKED else chosen.contacts  # nothing is marked yet
    return dataclasses.replace(chosen, person="largest", contacts=contacts)


class VIDEO2RIG_OT_live(FollowLive, Operator):
    """Put the motion of whoever stands before the camera on the rig, as it happens; Esc ends it"""

    bl_idname = "video2rig.live"
    bl_label = "Start Live"
    bl_options = {"INTERNAL"}  # noqa: RUF012 Blender wants a set

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Begin."""
        return self._start(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Refuse: without a window there is nobody to look."""
        self.report({"ERROR"}, "live needs a window; without one there is `video2rig live`")
        return {"CANCELLED"}


class VIDEO2RIG_OT_live_record(Operator):
    """Record from now on; Stop then has the recording solved as a whole, at full quality"""

    bl_idname = "video2rig.live_record"
    bl_label = "Record"
    bl_options = {"INTERNAL"}  # noqa: RUF012 Blender wants a set

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Tell whether there is a run that is ready and not recorded yet."""
        run = live_run.current
        return run is not None and run.began is not None and run.recording is None and not run.cancelling

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Begin to record."""
        if live_run.current is not None:
            live_run.current.record()
        return {"FINISHED"}


class VIDEO2RIG_OT_live_stop(Operator):
    """End the preview; what was recorded is solved and becomes a take. (Esc ends it too, and leaves it unsolved)"""

    bl_idname = "video2rig.live_stop"
    bl_label = "Stop"
    bl_options = {"INTERNAL"}  # noqa: RUF012 Blender wants a set

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Tell whether there is a run."""
        return live_run.current is not None and not live_run.current.cancelling

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Ask the run to end."""
        if live_run.current is not None:
            live_run.current.cancel()
        return {"FINISHED"}


class Recording(job.Solve):
    """A recording on its way to being a take."""

    def __init__(self, recorded: live_run.Recorded, *told: Any) -> None:
        """Start nothing yet. The rest: See `Solve`."""
        super().__init__(*told)
        self.recorded = recorded

    def _solve(self, connection: Connection) -> list[job.Take]:
        return [solve_recorded(self.recorded.recording, self._settings, self._call(connection), self._skeleton)]


class VIDEO2RIG_OT_solve_recording(FollowJob, Operator):
    """Solve what was recorded live, as a whole, with the settings as they are now"""

    bl_idname = "video2rig.solve_recording"
    bl_label = "Solve Recording"
    bl_options = {"UNDO"}  # noqa: RUF012 Blender wants a set

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Tell whether there is a recording, and nothing runs."""
        return live_run.recorded is not None and live_run.current is None and job.current is None

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Solve beside the window."""
        return self._start(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Solve and wait for it."""
        return self._wait(context)

    def _open(self, context: bpy.types.Context) -> job.Solve:
        recorded = live_run.recorded
        if recorded is None:
            raise Video2RigError("nothing was recorded")
        recorded.recording.seen()  # raises where it is too short, or shows nobody
        wanted = job.wanted_from_preferences(context)
        return Recording(recorded, _settings(context), wanted, recorded.skeleton)

    def _keep(self, context: bpy.types.Context, takes: list[job.Take]) -> str:
        name, live_run.recorded = _name(takes[0].video["name"]), None
        return unplaced.keep(context, takes, name)

    def _place(self, context: bpy.types.Context, work: Recording, takes: list[job.Take]) -> None:
        recorded, (take,) = work.recorded, takes
        facts = recorded.recording.facts()
        path = Path(_name(facts.pop("name")))
        placed = take_scene.place(
            context,
            takes,
            VideoInfo(path, **facts),
            match=False,
            interpolation=options.of(context).interpolation,
            bound=options.of(context).key_bound(),
            off=limbs.switched_off(options.of(context).limbs),
            onto=recorded.onto.found(context.scene) if recorded.onto else None,
            background=False,
        )
        for notice in work.take_notices() + placed.notices:
            self._tell("WARNING", notice)
        if live_run.recorded is recorded:
            live_run.recorded = None
        told = f"{placed.rigs[0].name}: {len(take.motion)} frames in {facts['duration']:.1f} s, recorded live"
        self.report({"INFO"}, told)


def _name(source: str) -> str:
    """Return what the take of a source's recording is called."""
    return f"Live {Path(source).stem}"


class VIDEO2RIG_OT_forget_recording(Operator):
    """Forget what was recorded and is not solved"""

    bl_idname = "video2rig.forget_recording"
    bl_label = "Discard"
    bl_options = {"INTERNAL"}  # noqa: RUF012 Blender wants a set

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Tell whether there is a recording that nothing works on."""
        return live_run.recorded is not None and job.current is None

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Forget it."""
        live_run.recorded = None
        return {"FINISHED"}


CLASSES = (
    VIDEO2RIG_OT_live,
    VIDEO2RIG_OT_live_record,
    VIDEO2RIG_OT_live_stop,
    VIDEO2RIG_OT_solve_recording,
    VIDEO2RIG_OT_forget_recording,
)
