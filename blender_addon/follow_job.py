# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator does while a solve runs: it is modal, a timer asks how far it is, Esc ends it.

Nothing is added to the scene before the solve is over, so a cancelled one has nothing to undo. In background mode the
same job runs in a blocking ``execute``.
"""

from __future__ import annotations

from typing import Any

import bpy

from . import held, in_hand, job, outcome
from .core.errors import Cancelled, Video2RigError
from .core.progress import Progress

_TICK = 0.1  # seconds


def progress_text(progress: Progress) -> str:
    """Return progress as a user reads it."""
    text = progress.stage.capitalize()
    if progress.total:
        text += f" {progress.done}/{progress.total}"
    if progress.fps:
        text += f", {progress.fps:.1f} fps"
    if progress.seconds_left is not None:
        minutes, seconds = divmod(round(progress.seconds_left), 60)
        text += f", {minutes}:{seconds:02} left"
    return text


class FollowJob:
    """The part of an operator that solves; another part says what (`_open`) and where to (`_place`)."""

    _job: Any = None
    _timer: bpy.types.Timer | None = None
    _scene: held.HeldScene

    def _open(self, context: bpy.types.Context) -> job.Solve:
        """Return what is to be solved.

        Raises:
            Video2RigError: It cannot be.
        """
        raise NotImplementedError

    def _place(self, context: bpy.types.Context, work: Any, takes: list[job.Take]) -> None:
        """Put the takes into the scene, or leave it as it is and raise.

        Raises:
            Video2RigError: They cannot be put there.
        """
        raise NotImplementedError

    def _keep(self, context: bpy.types.Context, takes: list[job.Take]) -> str:
        """Keep takes that could not be put into the scene, where they are not kept already; return what to tell."""
        return ""

    def _wait(self, context: bpy.types.Context) -> set[str]:
        """Solve and wait for it."""
        outcome.forget()
        try:
            work = self._open(context)
            takes = job.solve_blocking(work, lambda progress: None)
        except Video2RigError as error:
            self._tell("ERROR", str(error))
            return {"CANCELLED"}
        try:
            self._place(context, work, takes)
        except Video2RigError as error:
            return self._failed(context, takes, error)
        return {"FINISHED"}

    def _failed(self, context: bpy.types.Context, takes: list[job.Take], error: Exception) -> set[str]:
        """Tell why takes could not be put into the scene, and keep them."""
        self._tell("ERROR", job.describe(error))
        if not (told := self._keep(context, takes)):
            return {"CANCELLED"}
        self._tell("WARNING", told)
        return {"FINISHED"}  # the file has changed: a step to undo

    def _start(self, context: bpy.types.Context) -> set[str]:
        """Solve beside Blender's window."""
        if job.current is not None:
            self.report({"ERROR"}, "A video is being solved already; cancel it first, or wait")  # type: ignore[attr-defined]
            return {"CANCELLED"}
        outcome.forget()
        try:
            self._job = self._open(context)
        except Video2RigError as error:
            self._tell("ERROR", str(error))
            redraw(context)
            return {"CANCELLED"}
        self._scene = held.HeldScene.of(context)
        job.current = self._job
        self._job.start()
        manager = context.window_manager
        self._timer = manager.event_timer_add(_TICK, window=context.window)
        manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Follow the worker; leave everything else to Blender."""
        work = self._job
        if work is None:
            return {"CANCELLED"}
        if event.type == "ESC" and event.value == "PRESS":
            work.cancel()
            return {"RUNNING_MODAL"}
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        if not work.done:
            self._show(context, work)
            return {"PASS_THROUGH"}
        try:
            takes = work.result()
        except Cancelled:
            self._end(context)
            self.report({"INFO"}, "Cancelled; the scene is as it was")  # type: ignore[attr-defined]
            return {"CANCELLED"}
        except Exception as error:
            # whatever went wrong on the worker, the user reads it here and the scene is untouched
            self._end(context)
            self._tell("ERROR", job.describe(error))
            return {"CANCELLED"}
        work.waits_for = in_hand.found(context.window_manager)
        if work.waits_for:
            context.workspace.status_text_set(f"Video2Rig: solved; waits until {work.waits_for} is done")
            redraw(context)
            return {"PASS_THROUGH"}
        self._end(context)
        try:
            # the window may show another scene by now
            with self._scene.current(context):
                self._place(context, work, takes)
        except Exception as error:
            return self._failed(context, takes, error)
        return {"FINISHED"}

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender ends the operator: another file is opened, or the window closes."""
        if self._job is not None:
            self._job.cancel()
            outcome.keep("WARNING", "cancelled: its window was closed, or another file was opened")
            self._end(context)

    def _tell(self, kind: outcome.Kind, text: str) -> None:
        """Tell the user, where it stays to be read."""
        outcome.tell(self, kind, text)  # type: ignore[arg-type]

    def _show(self, context: bpy.types.Context, work: job.Solve) -> None:
        for notice in work.take_notices():
            self._tell("WARNING", notice)
        text = "Cancelling" if work.cancelling else f"{progress_text(work.progress())} (Esc cancels)"
        context.workspace.status_text_set(f"Video2Rig: {text}")
        redraw(context)

    def _end(self, context: bpy.types.Context) -> None:
        if self._timer is not None:
            context.window_manager.event_timer_remove(self._timer)
            self._timer = None
        if context.workspace is not None:
            context.workspace.status_text_set(None)
        job.current = None
        self._job = None
        redraw(context)


def redraw(context: bpy.types.Context) -> None:
    """Let the 3D views be drawn anew."""
    for window in context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                area.tag_redraw()
