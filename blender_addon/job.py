# SPDX-License-Identifier: GPL-3.0-or-later
"""One solve on a worker thread: what the windows' modal operators and the blocking command line share.

The worker touches nothing of Blender. It leaves its progress and, at last, takes or an error where the main
thread finds them.
"""

from __future__ import annotations

import atexit
import threading
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path

import bpy

from . import preferences, read_rig
from .background import Background
from .core.client import solve, solve_again
from .core.connection import Connection
from .core.conversation import Call
from .core.errors import Cancelled, Video2RigError
from .core.frames import VideoSource, open_video
from .core.launcher import LocalServer, find_backend_command
from .core.motion import Contact
from .core.progress import Progress
from .core.seen import in_one_world
from .core.settings import Settings
from .core.skeleton import Skeleton
from .core.take import Take

_server: LocalServer | None = None
current: Solve | None = None
"""The job of this Blender's window; the panel shows it."""


class Solve(Background):
    """Something on its way to being takes; once it has ended, the server's session is free.

    Attributes:
        waits_for: What the user is in the middle of, where that keeps it from coming into the scene; "" mostly.
    """

    def __init__(self, settings: Settings, wanted: preferences.Wanted, skeleton: Skeleton | None) -> None:
        """Start nothing yet.

        Args:
            settings: What the user chose. wanted: The server.
            skeleton: What to solve; None takes the default human with the person's proportions.
        """
        super().__init__()
        self._settings = settings
        self._skeleton = skeleton
        self._wanted = wanted
        self._lock = threading.Lock()
        self._progress = Progress("connecting", 0, 0, 0.0, None, "")
        self._notices: list[str] = [] if skeleton is None else read_rig.warnings(skeleton)
        self._takes: list[Take] = []
        self._error: BaseException | None = None
        self.waits_for = ""

    def progress(self) -> Progress:
        """Return how far the worker is."""
        with self._lock:
            return self._progress

    def take_notices(self) -> list[str]:
        """Return what the worker had to tell since the last call: a lost connection, a truncated video."""
        with self._lock:
            notices, self._notices = self._notices, []
        return notices

    def result(self) -> list[Take]:
        """Return the takes, one a person, by their numbers.

        Raises:
            Cancelled: :meth:`cancel` came first.
            Video2RigError: The solve failed; the message says why.
        """
        if self._error is not None:
            raise self._error
        if not self._takes:
            raise Cancelled("cancelled")
        return self._takes

    def _work(self) -> None:
        try:
            connection = reach(self._wanted)
            if self._cancelled.is_set():
                raise Cancelled("cancelled")
            self._takes = self._solve(connection)
        except BaseException as error:
            # raised again on the main thread, where the user is
            self._error = error

    @abstractmethod
    def _solve(self, connection: Connection) -> list[Take]:
        """Have the server solve it."""

    def _call(self, connection: Connection) -> Call:
        """Return this job's call to a server."""
        restart = None if self._wanted.remote else lambda: reach(self._wanted)
        return Call(connection, self._report, self._cancelled, restart)

    def _report(self, progress: Progress) -> None:
        with self._lock:
            self._progress = progress
            if progress.notice:
                self._notices.append(progress.notice)


class Job(Solve):
    """A video on its way to being a take of each person who is wanted.

    Attributes:
        source: The video, opened.
    """

    def __init__(
        self, path: str | Path, settings: Settings, wanted: preferences.Wanted, skeleton: Skeleton | None = None
    ) -> None:
        """Open the video; nothing runs yet. The rest: See `Solve`.

        Raises:
            Video2RigError: There is no such video, it cannot be read, or several people are wanted on one armature.
        """
        if skeleton is not None and settings.choice().kind == "everyone":
            raise Video2RigError(
                "everyone cannot be put on one armature; choose one person, or let each have a new armature"
            )
        super().__init__(settings, wanted, skeleton)
        self.source: VideoSource = open_video(path)

    def _solve(self, connection: Connection) -> list[Take]:
        return solve(self.source, self._settings, self._call(connection), self._skeleton)


class Again(Solve):
    """A take on its way to being solved again from its keypoints."""

    def __init__(
        self,
        take: Take,
        settings: Settings,
        wanted: preferences.Wanted,
        skeleton: Skeleton,
        contacts: tuple[Contact, ...] | None = None,
    ) -> None:
        """Start nothing yet.

        Args:
            take: What is solved. contacts: When feet rest, where the settings take them as marked. The rest: See
                `Solve`.
        """
        super().__init__(settings, wanted, skeleton)
        self._take, self._contacts = take, contacts
        if in_one_world(take):
            before = take.motion.provenance["settings"]
            if any(getattr(settings, name) != before.get(name) for name in ("field_of_view", "tilt")):
                self._notices.append(
                    "several people stand before this camera, so it stays as it is, whatever the field of view"
                )

    def _solve(self, connection: Connection) -> list[Take]:
        return [solve_again(self._take, self._settings, self._call(connection), self._skeleton, self._contacts)]


def reach(wanted: preferences.Wanted) -> Connection:
    """Return the server that is wanted, started if it is this computer's and does not run.

    Raises:
        Video2RigError: There is no backend command, or it does not come up.
    """
    global _server
    if wanted.remote is not None:
        return wanted.remote
    if _server is None:
        _server = LocalServer(find_backend_command(wanted.command))
    return _server.ensure()


def solve_blocking(job: Solve, progress: Callable[[Progress], None]) -> list[Take]:
    """Run a job to its end on the worker while this thread waits; Ctrl-C cancels it.

    Raises:
        Video2RigError: See :meth:`Job.result`.
    """
    job.start()
    shown = None
    try:
        while not job.wait(0.1):
            if (now := job.progress()) is not shown:
                shown = now
                progress(now)
    except KeyboardInterrupt:
        job.cancel()
        job.wait(10.0)
    return job.result()


def describe(error: BaseException) -> str:
    """Return an error in one line."""
    if isinstance(error, Video2RigError):
        return str(error)
    return f"unexpected {type(error).__name__}: {error}"


@atexit.register
def shutdown() -> None:
    """End the window's job and the server, where this Blender started one."""
    global current
    if current is not None:
        current.cancel()
        current.wait(5.0)
        current = None
    stop_server()


def stop_server() -> None:
    """End the server, where this Blender started one."""
    global _server
    if _server is not None:
        _server.stop()
        _server = None


def wanted_from_preferences(context: bpy.types.Context) -> preferences.Wanted:
    """Return which server the user wants.

    Raises:
        Video2RigError: A remote one, while Blender is set to stay offline; or its connection file is unreadable.
    """
    return preferences.of(context).wanted()
