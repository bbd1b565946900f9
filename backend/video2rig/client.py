# SPDX-License-Identifier: GPL-3.0-or-later
"""The client: streams a video to a server and brings the takes back, through lost connections and dead servers.

Keypoints of a take go the same way, to be solved again with other settings. Every frame stays here until the server
has worked it through. A connection that breaks is made anew and goes on where the server stands; a session that is gone
with its server begins again at the first frame. The result waits at the server until it is acknowledged, so nothing is
solved twice.
"""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import Any

from .ahead import READ_AHEAD, ahead
from .cargo import Cargo, KeypointsCargo, Piece, VideoCargo
from .connection import Connection
from .errors import Cancelled, Video2RigError
from .frames import VideoSource
from .link import CONTROL, FRAMES, Link, Pulse, ServerError, Timing, Unreachable, Welcome, greet, probe
from .motion import Contact
from .progress import Progress, Teller
from .recording import Recording
from .seen import Seen
from .settings import Settings, SettingsError
from .skeleton import Skeleton
from .take import Take, TakeError, unpack_all
from .wire import Limits, Message, WireError, encode

__all__ = [
    "Progress",
    "ServerError",
    "Timing",
    "Unreachable",
    "Welcome",
    "probe",
    "solve",
    "solve_again",
    "solve_recorded",
]


def solve(
    source: VideoSource,
    settings: Settings,
    connection: Connection,
    *,
    progress: Callable[[Progress], None],
    cancelled: threading.Event,
    restart: Callable[[], Connection] | None = None,
    timing: Timing | None = None,
    skeleton: Skeleton | None = None,
) -> list[Take]:
    """Have a server solve a video; the takes are those of the people whom the settings name, by their numbers.

    Args:
        source: The video. settings: What the user chose. connection: Where the server is.
        progress: Called on this thread, several times a second.
        cancelled: Set by another thread to stop.
        restart: Returns a server to go on with when this one is lost: the same, or one that it started. Without it
            the client waits for the server to come back.
        timing: How patient to be.
        skeleton: What to solve, with its own proportions; None has the server take the default human and measure the
            person.

    Raises:
        Cancelled: `cancelled` was set; the server's session is freed.
        Unreachable: The server is lost for good.
        ServerError: The server refuses, or the solve failed there.
        VideoError: The video cannot be read.
    """
    cargo = VideoCargo(source)
    return _Solve(cargo, settings, skeleton, connection, progress, cancelled, restart, timing or Timing()).run()


def solve_again(
    take: Take,
    settings: Settings,
    connection: Connection,
    *,
    progress: Callable[[Progress], None],
    cancelled: threading.Event,
    restart: Callable[[], Connection] | None = None,
    timing: Timing | None = None,
    skeleton: Skeleton | None = None,
    contacts: tuple[Contact, ...] | None = None,
) -> Take:
    """Have a server solve the keypoints of a take anew, without the video.

    Which detector saw whom is the take's and stays, whatever the settings say. So does the focal length where a
    skeleton is given and the settings tell none: it was found together with the proportions. Where the take is one of
    everyone's in its video, the camera stays as a whole, so that all still stand in one world.

    Args:
        take: What was solved. settings: What the user chose now. skeleton: What to solve; None has the server measure
            the person again. contacts: When feet rest, where the settings take contacts as marked. The rest: See
            :func:`solve`.

    Raises:
        TakeError: The take does not tell what the server must know of its video.
        Cancelled, Unreachable, ServerError: See :func:`solve`.
    """
    before = take.motion.provenance
    cargo = KeypointsCargo(Seen.of(take, contacts, skeleton), video_facts(take))
    settings = as_seen(take, settings)
    sent = settings
    if skeleton is not None and settings.field_of_view is None:
        longer = max(take.camera.width, take.camera.height)
        sent = dataclasses.replace(settings, field_of_view=2.0 * math.atan(longer / 2 / take.camera.focal))
    work = _Solve(cargo, sent, skeleton, connection, progress, cancelled, restart, timing or Timing())
    takes = work.run()
    if len(takes) != 1:
        raise WireError(f"the server sent {len(takes)} takes for the keypoints of one person")
    (new,) = takes
    kept: dict[str, Any] = {"settings": settings.to_json()}
    if "people" in before:
        kept["people"] = before["people"]
    seeing, solving = before.get("weights"), new.motion.provenance.get("weights")
    if isinstance(seeing, dict) and isinstance(solving, dict):
        # the detector's stay true; a network that solved before, and not now, has no part in this motion
        kept["weights"] = {name: seeing[name] for name in seeing if name not in _SOLVING} | solving
    motion = dataclasses.replace(new.motion, provenance={**new.motion.provenance, **kept})
    return dataclasses.replace(new, motion=motion, video=take.video)


def solve_recorded(
    recording: Recording,
    settings: Settings,
    connection: Connection,
    *,
    progress: Callable[[Progress], None],
    cancelled: threading.Event,
    restart: Callable[[], Connection] | None = None,
    timing: Timing | None = None,
    skeleton: Skeleton | None = None,
) -> Take:
    """Have a server solve what was recorded live, as a whole.

    Args:
        recording: What was seen. skeleton: What to solve; None has the server measure the person.
        The rest: See :func:`solve`.

    Raises:
        RecordingError: The recording is too short, or shows nobody.
        Cancelled, Unreachable, ServerError: See :func:`solve`.
    """
    cargo = KeypointsCargo(recording.seen(), recording.facts())
    work = _Solve(cargo, settings, skeleton, connection, progress, cancelled, restart, timing or Timing())
    takes = work.run()
    if len(takes) != 1:
        raise WireError(f"the server sent {len(takes)} takes for the keypoints of one person")
    made = takes[0].motion.provenance
    kept = {"live": True, "weights": recording.weights | dict(made.get("weights", {}))}
    return dataclasses.replace(takes[0], motion=dataclasses.replace(takes[0].motion, provenance={**made, **kept}))


def as_seen(take: Take, settings: Settings) -> Settings:
    """Return settings with those that tell what was seen in the video, and of whom, as they are in the take.

    Raises:
        TakeError: The take's own are none that this version knows.
    """
    before = take.motion.provenance.get("settings")
    if not isinstance(before, dict):
        return settings
    seen = {name: before[name] for name in ("detector", "person") if name in before}
    try:
        return dataclasses.replace(settings, **seen)
    except SettingsError as error:
        raise TakeError(f"take: made with what this version does not know ({error})") from error


def video_facts(take: Take) -> dict[str, Any]:
    """Return what a server must know of a take's video.

    Raises:
        TakeError: The take does not tell it.
    """
    names = ("name", "width", "height", "fps", "frame_count", "duration")
    if absent := [name for name in names if name not in take.video]:
        raise TakeError(f"take: does not tell {', '.join(absent)} of its video; solve the video itself")
    return {name: take.video[name] for name in names}


_SOLVING = ("kinematic_regressor",)
"""Networks that take part in a solve, by their names among the weights."""

_FREE_SECONDS = 2.0
"""How long a cancelled client waits to hear that its session is freed."""


class _SessionGone(Exception):
    """The server does not know the session: it is another server, or it freed it."""


class _Solve:
    """The state of one solve, which outlives its connections."""

    def __init__(
        self,
        cargo: Cargo,
        settings: Settings,
        skeleton: Skeleton | None,
        connection: Connection,
        progress: Callable[[Progress], None],
        cancelled: threading.Event,
        restart: Callable[[], Connection] | None,
        timing: Timing,
    ) -> None:
        self._cargo, self._settings, self._skeleton, self._connection = cargo, settings, skeleton, connection
        self._cancelled, self._restart, self._timing = cancelled, restart, timing
        self._tell = Teller(progress, cargo.count(Limits()))
        self._losses = 0
        self._beginnings = 0
        self._live = False
        self._lost_since: float | None = None
        self._limits = Limits()
        self._frames: Generator[Piece, None, None] | None = None
        self._forget()

    def _forget(self) -> None:
        """Begin at the first frame, with no session."""
        self._session = ""
        self._credit = 1
        self._close_frames()
        self._frames = ahead(self._pieces(), READ_AHEAD)
        self._read = 0
        self._noticed = 0
        self._window: deque[tuple[int, list[bytes | memoryview]]] = deque()
        self._cursor = 0
        self._acknowledged = 0

    def _close_frames(self) -> None:
        if self._frames is not None:
            self._frames.close()
            self._frames = None

    def run(self) -> list[Take]:
        try:
            return self._persist()
        except BaseException:
            if self._session:
                self._free_anew()
            raise
        finally:
            self._close_frames()

    def _persist(self) -> list[Take]:
        """Go on, over as many connections as it takes."""
        while True:
            try:
                self._tell.stage("connecting")
                return self._connected()
            except Unreachable as error:
                self._recover(error)
            except _SessionGone:
                self._again(f"the server no longer has {self._cargo.noun}")

    def _connected(self) -> list[Take]:
        with Link(self._connection) as link:
            try:
                self._limits = greet(link, self._timing.greet, self._cancelled.is_set).limits
                self._enter(link)
                return self._stream(link)
            except (Unreachable, _SessionGone):
                raise
            except BaseException:
                self._free(link)
                raise

    def _enter(self, link: Link) -> None:
        """Open a session, or resume the one that there is."""
        if self._session:
            link.send(CONTROL, encode("resume", session=self._session))
        else:
            skeleton = {} if self._skeleton is None else self._skeleton.to_json()
            facts, seen = self._cargo.facts, self._cargo.seen
            request = encode("open", settings=self._settings.to_json(), video=facts, skeleton=skeleton, seen=seen)
            if len(request[0]) > self._limits.open_bytes:
                raise WireError(
                    f"settings, skeleton and marked contacts take {len(request[0])} bytes; the server takes "
                    f"{self._limits.open_bytes}"
                )
            link.send(CONTROL, request)
        began = time.monotonic()
        while time.monotonic() < began + self._timing.greet:
            if (
                time.monotonic() > began + _FREE_SECONDS
            ):  # not at once: a session could be left behind, its name unknown
                self._check_cancelled()
            for message in link.poll(0.1):
                if message.type == "opened":
                    self._opened(message)
                    return
                self._check_error(message)
        raise Unreachable(f"the server at {self._connection.control_endpoint} opens no session")

    def _opened(self, message: Message) -> None:
        if not self._acknowledged <= message["next_index"] <= self._read:
            raise WireError(f"the server wants frame {message['next_index']}, but {self._read} were sent")
        if self._session and self._lost_since is not None:
            self._tell.notice(f"connected again, going on with frame {message['next_index']}")
        self._lost_since, self._live = None, True
        self._session = message["session"]
        self._credit = max(1, message["credit"])
        self._cursor = message["next_index"]

    def _stream(self, link: Link) -> list[Take]:
        """Send what there is credit for, heed what arrives, until the result is there."""
        pulse = Pulse(link, self._timing, self._session, self._cursor)
        finished = False
        self._tell.frames = self._read if self._frames is None else self._cargo.count(self._limits)
        self._tell.stage(self._cargo.stage, self._acknowledged)
        while True:
            self._check_cancelled()
            busy = self._cursor - self._acknowledged < self._credit and self._send_frame(link)
            if not finished and self._frames is None and self._cursor == self._read:
                link.send(FRAMES, encode("finish", session=self._session, frames=self._read))
                finished = True
            for message in link.poll(0.0 if busy else 0.05):
                if message.type == "result" and message["session"] == self._session:
                    takes = unpack_all(message["takes"], message.arrays)
                    for notice in message["notices"]:
                        self._tell.notice(str(notice))
                    link.send(FRAMES, encode("done", session=self._session))
                    link.close(linger=1.0)
                    return takes
                self._heed(message, pulse)
            pulse.beat(self._cursor)

    def _send_frame(self, link: Link) -> bool:
        """Send the next frame, again or for the first time; return whether there was one."""
        if self._cursor == self._read and not self._read_frame():
            return False
        index, parts = self._window[self._cursor - self._window[0][0]]
        link.send(FRAMES, parts)
        self._cursor = index + 1
        return True

    def _pieces(self) -> Generator[Piece, None, None]:
        """Yield what is sent, as this server wants it: its limits are known once the first piece is asked for."""
        yield from self._cargo.pieces(self._limits)

    def _read_frame(self) -> bool:
        if self._frames is None:
            return False
        read = next(self._frames, None)
        for notice in self._cargo.notices[self._noticed :]:
            self._tell.notice(notice)
        self._noticed = len(self._cargo.notices)
        if read is None:
            self._frames = None
            self._tell.frames = self._read
            return False
        parts = encode(read.kind, read.arrays, session=self._session, **read.fields)
        self._window.append((self._read, parts))
        self._read += 1
        return True

    def _heed(self, message: Message, pulse: Pulse) -> None:
        self._check_error(message)
        if "session" not in message.fields or message["session"] != self._session:
            return
        if message.type in ("ack", "pong"):
            if message["next_index"] > self._cursor:
                raise WireError(f"the server acknowledged frame {message['next_index']}, {self._cursor} were sent")
            self._credit = max(1, message["credit"])
            if message["next_index"] > self._acknowledged:
                self._losses = 0
                self._acknowledged = message["next_index"]
                while self._window and self._window[0][0] < self._acknowledged:
                    self._window.popleft()
                self._tell.step(self._cargo.stage, self._acknowledged, self._tell.frames)
        if message.type == "pong":
            pulse.heard(message)
        elif message.type == "progress":
            self._losses = 0
            self._tell.step(message["stage"], message["done"], message["total"])

    def _check_error(self, message: Message) -> None:
        if message.type == "error":
            if message["code"] == "session":
                raise _SessionGone
            raise ServerError(message["message"], message["code"])

    def _check_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled("cancelled")

    def _free(self, link: Link) -> None:
        """Free the server's session, as well as can be; a server that does not hear it frees it when idle."""
        if not self._session:
            return
        try:
            link.send(CONTROL, encode("cancel", session=self._session))
            deadline = time.monotonic() + _FREE_SECONDS
            while time.monotonic() < deadline:
                if any(message.type in ("cancelled", "error") for message in link.poll(0.1)):
                    self._session = ""
                    return
        except Video2RigError:
            return

    def _free_anew(self) -> None:
        """Free the session over a connection of its own, after the old one was lost."""
        try:
            with Link(self._connection) as link:
                greet(link, _FREE_SECONDS)
                self._free(link)
        except Video2RigError:
            return

    def _again(self, why: str) -> None:
        """Begin the video again: the session is gone."""
        self._beginnings += 1
        if self._beginnings > self._timing.losses:
            raise Unreachable(f"{why}, for the {self._beginnings}th time; gave up. The server's own log says more")
        self._tell.notice(f"{why}; sending {self._cargo.again}")
        self._forget()

    def _recover(self, error: Unreachable) -> None:
        """Wait for the lost server, or get another."""
        self._check_cancelled()
        now = time.monotonic()
        if self._lost_since is None:
            self._lost_since = now
            self._tell.notice(f"{error}; {'trying again' if self._restart is None else 'looking for a server'}")
        if self._live or self._restart is not None:
            self._live = False
            self._losses += 1
            if self._losses > self._timing.losses:
                raise Unreachable(f"gave up after {self._losses} losses in a row: {error}") from error
        if self._restart is None:
            if now - self._lost_since > self._timing.reconnect:
                raise Unreachable(f"{error}; waited {self._timing.reconnect:g} s for it") from error
            self._cancelled.wait(0.3)
            return
        before, self._connection = self._connection, self._restart()
        if self._session and self._connection.server_public != before.server_public:
            self._again("the server was restarted")
