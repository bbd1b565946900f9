# SPDX-License-Identifier: GPL-3.0-or-later
"""Long work of the preferences, on a thread: installing, removing, asking the doctor, testing a connection.

It goes on when the preferences are closed or another file is opened, so a timer of the application follows it, not a
modal operator. One work runs at a time.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Sequence
from typing import Any

import bpy

from .background import Background
from .core.errors import Cancelled, Video2RigError
from .core.install_request import Progress

_TICK = 0.2  # seconds
_SHOWN_IN = ("PREFERENCES", "VIEW_3D")

Task = Callable[[Callable[[Progress], None], threading.Event], Sequence[str]]
"""Does the work and returns what came of it, line by line; it reports progress, and ends once the event is set."""

current: Work | None = None
last: Work | None = None
"""The work that ended last; the preferences and the panel tell what came of it."""


class WorkError(Video2RigError):
    """There is work already."""


class Work(Background):
    """One task on its thread.

    Attributes:
        title: What it is, in words.
        lines: What came of it.
        error: Why it failed, or "".
    """

    def __init__(
        self,
        title: str,
        task: Task,
        finished: Callable[[Work], None] = lambda work: None,
        said: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        """Start nothing yet.

        Args:
            title: What it is, in words. task: What to do.
            finished: Called on the main thread at the end.
            said: Called on the worker's thread with everything that is reported.
        """
        super().__init__()
        self.title = title
        self.lines: list[str] = []
        self.error = ""
        self.finished = finished
        self._task = task
        self._said = said
        self._progress = Progress("Starting", 0.0, "")

    def progress(self) -> Progress:
        """Return how far it is."""
        return self._progress

    def _work(self) -> None:
        try:
            self.lines = list(self._task(self._report, self._cancelled))
        except Cancelled:
            self.lines = ["Cancelled; everything is as it was"]
        except Video2RigError as error:
            self.error = str(error)
        except BaseException as error:
            self.error = f"unexpected {type(error).__name__}: {error}"

    def _report(self, progress: Progress) -> None:
        self._progress = progress
        self._said(progress)


def begin(work: Work) -> None:
    """Start a work and follow it in the windows.

    Raises:
        WorkError: One runs already.
    """
    global current
    _check_free()
    current = work
    work.start()
    bpy.app.timers.register(_follow, first_interval=_TICK, persistent=True)


def run_blocking(work: Work) -> Work:
    """Run a work to its end while this thread waits; Ctrl-C cancels it.

    Raises:
        WorkError: One runs already.
    """
    global current, last
    _check_free()
    current = work
    work.start()
    try:
        while not work.wait(0.1):
            pass
    except KeyboardInterrupt:
        work.cancel()
        work.wait(30.0)
    finally:
        current, last = None, work
        work.finished(work)
    return work


def shutdown() -> None:
    """End the work that runs, and forget the last one."""
    global current, last
    if current is not None:
        current.cancel()
        current.wait(10.0)
    current = last = None
    if bpy.app.timers.is_registered(_follow):
        bpy.app.timers.unregister(_follow)


@atexit.register
def _end_with_blender() -> None:
    """Leave no program at work behind."""
    if current is not None:
        current.cancel()
        current.wait(10.0)


def _check_free() -> None:
    if current is not None:
        raise WorkError(f"{current.title} is at work; wait for it, or cancel it")


def _follow() -> float | None:
    global current, last
    work = current
    if work is None:
        return None
    redraw()
    if not work.done:
        return _TICK
    current, last = None, work
    work.finished(work)
    redraw()
    return None


def redraw() -> None:
    """Let the preferences and the sidebars be drawn anew."""
    manager: Any = bpy.context.window_manager
    for window in manager.windows if manager is not None else ():
        for area in window.screen.areas:
            if area.type in _SHOWN_IN:
                area.tag_redraw()
