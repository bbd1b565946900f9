# SPDX-License-Identifier: GPL-3.0-or-later
"""The client's live half: the newest picture goes out as soon as there is credit, poses come in as they are known."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .greeting import free, greet
from .link import CONTROL, FRAMES, Link, Pulse, ServerError, Timing, Unreachable
from .live_source import LiveSource
from .recording import Sight
from .settings import Settings
from .skeleton import Skeleton
from .wire import Message, WireError, encode

_LOOK = 0.004
"""Seconds between two looks for a newer picture while there is credit for one."""

_PATIENT = Timing(silence=15.0)
"""A server that loads its networks may be silent for a while; one that dies breaks the connection."""


class Began(NamedTuple):
    """What a server tells of a live session.

    Attributes:
        skeleton: What poses are of. keypoint_set: Of the detector. lag: Frames that a pose is behind the newest.
        weights: Digests of the networks.
    """

    skeleton: Skeleton
    keypoint_set: str
    lag: int
    weights: dict[str, Any]


class LivePose(NamedTuple):
    """A pose: when its picture was taken (monotonic seconds); [J, 4] local quaternions wxyz, [3] the root in the world,
    metres, and [J] confidence."""

    taken: float
    rotations: np.ndarray
    root_position: np.ndarray
    confidence: np.ndarray


class Answered(NamedTuple):
    """What came back for one picture.

    Attributes:
        time: Of the picture, seconds from the first one. sight: What was seen in it; None where nobody was.
        pose: Of an earlier picture; None while there is none.
    """

    time: float
    sight: Sight | None
    pose: LivePose | None


def stream_live(
    source: LiveSource,
    settings: Settings,
    connection: Any,
    *,
    began: Callable[[Began], None],
    answered: Callable[[Answered], None],
    stopped: Callable[[], bool],
    skeleton: Skeleton | None = None,
    timing: Timing | None = None,
) -> None:
    """Stream a source to a server until `stopped` returns true or the source ends.

    Pictures that come while there is no credit are dropped, never queued.

    Args:
        source: The pictures. settings: What the user chose. connection: Where the server is.
        began: Called once, when the server is ready. answered: Called for each picture that was sent.
        stopped: Asked several times a second.
        skeleton: What to solve, with its own proportions; None has the server take the default human.
        timing: How patient to be.

    Raises:
        Unreachable: The server is not there, or was lost.
        ServerError: It refuses, or failed.
        LiveError: The source failed.
    """
    timing = timing or _PATIENT
    with Link(connection) as link:
        try:
            greet(link, timing.greet, stopped)
        except Unreachable:
            if stopped():
                return
            raise
        stream = _Stream(link, source, timing, answered)
        try:
            stream.open(settings, skeleton, began, stopped)
            stream.run(stopped)
        finally:
            stream.free()


class _Stream:
    def __init__(self, link: Link, source: LiveSource, timing: Timing, answered: Callable[[Answered], None]) -> None:
        self._link, self._source, self._timing, self._answered = link, source, timing, answered
        self._session = ""
        self._credit = 1
        self._sent = self._done = 0
        self._number = -1
        self._origin: float | None = None
        self._times: dict[int, float] = {}

    def open(
        self,
        settings: Settings,
        skeleton: Skeleton | None,
        began: Callable[[Began], None],
        stopped: Callable[[], bool],
    ) -> None:
        """Open a session and wait until it is ready: networks may take long to load, and its heart beats meanwhile."""
        video = {
            "name": self._source.name[:1024],
            "width": self._source.width,
            "height": self._source.height,
            "fps": 30.0,
            "frame_count": 0,
            "duration": 0.0,
        }
        told = {} if skeleton is None else skeleton.to_json()
        self._link.send(CONTROL, encode("live", settings=settings.to_json(), video=video, skeleton=told))
        deadline = time.monotonic() + self._timing.greet
        pulse: Pulse | None = None
        # not at once where it was stopped: a session could be left behind, its name unknown
        while time.monotonic() < deadline or self._session:
            if stopped() and self._session:
                return
            for message in self._link.poll(0.05):
                self._check(message)
                if message.type == "opened":
                    self._session, self._credit = message["session"], max(1, message["credit"])
                    pulse = Pulse(self._link, self._timing, self._session, 0)
                elif message.type == "began":
                    began(
                        Began(
                            Skeleton.from_json(message["skeleton"]),
                            message["keypoint_set"],
                            message["lag"],
                            message["weights"],
                        )
                    )
                    return
                elif message.type == "pong" and pulse is not None:
                    pulse.heard(message)
            if pulse is not None:
                pulse.beat(0)
        raise Unreachable(f"the server at {self._link.connection.control_endpoint} opens no session")

    def run(self, stopped: Callable[[], bool]) -> None:
        """Send and receive."""
        pulse = Pulse(self._link, self._timing, self._session, 0)
        self._number = self._source.taken - 1  # what was taken while the server got ready is old
        self._source.begin()
        while not stopped():
            free = self._sent - self._done < self._credit
            if free and self._send():
                free = self._sent - self._done < self._credit
            if self._source.ended and self._sent == self._done and self._source.newest(self._number) is None:
                return
            for message in self._link.poll(_LOOK if free else 0.05):
                self._check(message)
                if message.type == "pose":
                    self._take(message)
                elif message.type == "pong":
                    pulse.heard(message)
            pulse.beat(self._sent)

    def free(self) -> None:
        """Free the server's session, if there is one."""
        if self._session:
            free(self._link, self._session)

    def _send(self) -> bool:
        picture = self._source.newest(self._number)
        if picture is None:
            return False
        if self._origin is None:
            self._origin = picture.taken
        moment = picture.taken - self._origin
        self._times[self._sent] = moment
        arrays = {"image": picture.image}
        fields = {"index": self._sent, "time": moment, "scale": picture.scale}
        self._link.send(FRAMES, encode("frame", arrays, session=self._session, **fields))
        self._number = picture.number
        self._sent += 1
        return True

    def _take(self, message: Message) -> None:
        if message["session"] != self._session:
            return
        if message["index"] not in self._times or self._origin is None:
            raise WireError(f"the server answered frame {message['index']}, which does not wait for an answer")
        moment = self._times.pop(message["index"])
        self._done = message["index"] + 1
        arrays = message.arrays
        sight = pose = None
        try:
            if "positions" in arrays:
                sight = Sight(moment, arrays["positions"], arrays["seen"], arrays.get("world"))
            if "rotations" in arrays:
                taken = self._origin + message["time"]
                pose = LivePose(taken, arrays["rotations"], arrays["root"], arrays["confidence"])
        except KeyError as error:
            raise WireError(f"the server's pose lacks the array {error}") from error
        self._answered(Answered(moment, sight, pose))

    def _check(self, message: Message) -> None:
        if message.type == "error":
            if message["code"] == "session":
                raise Unreachable("the server no longer has this live session: it was started anew")
            raise ServerError(message["message"], message["code"])
