# SPDX-License-Identifier: GPL-3.0-or-later
"""A live run on its thread: source, backend, the newest pose, and what is recorded. It touches nothing of Blender."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from typing import NamedTuple

from . import job, preferences
from .background import Background
from .core.live_client import Answered, Began, LivePose, stream_live
from .core.live_source import LiveSource, open_live
from .core.recording import Recording
from .core.settings import Settings
from .core.skeleton import Skeleton
from .held import HeldRig

_SPAN, _MOST = 2.0, 500
"""Seconds over which rate and latency are told, and poses of which they are."""


class Recorded(NamedTuple):
    """A recording that waits to be solved.

    Attributes:
        recording: What was seen. onto: The armature it was made for, None for a new one.
        skeleton: That armature's; None has the person measured.
    """

    recording: Recording
    onto: HeldRig | None
    skeleton: Skeleton | None


current: Live | None = None
"""The run of this Blender's window; the panel shows it."""
recorded: Recorded | None = None
"""What was recorded last and is not solved yet. It outlives the server, the connection and the run."""


class Pace(NamedTuple):
    """How live it is.

    Attributes:
        rate: Poses a second from the backend. drawn: Of them on the rig: Blender draws only the newest.
        latency: Median seconds from a picture to its pose on the rig.
    """

    rate: float
    drawn: float
    latency: float


class Live(Background):
    """One run, from its start to its end.

    Attributes:
        onto: The armature that is posed, None for a new one.
        skeleton: What was asked for; None for the default human.
        began: What the server told, once it is ready.
        status: What is going on, for the user.
        error: Why it ended, if it failed.
        recording: What was recorded, once :meth:`record` was called.
        solve_at_end: Whether that is to be solved at once when the run ends.
    """

    def __init__(
        self,
        source: str,
        settings: Settings,
        wanted: preferences.Wanted,
        skeleton: Skeleton | None,
        onto: HeldRig | None,
    ) -> None:
        """Start nothing yet. source: See `core.live_source.open_live`. settings: What the user chose."""
        super().__init__()
        self.onto, self.skeleton = onto, skeleton
        self.status = "Connecting"
        self.began: Began | None = None
        self.error: BaseException | None = None
        self.recording: Recording | None = None
        self.solve_at_end = True
        self._text, self._settings, self._wanted = source, settings, wanted
        self._source: LiveSource | None = None
        self._lock = threading.Lock()
        self._pose: LivePose | None = None
        self._shown: deque[tuple[float, float]] = deque(maxlen=_MOST)
        self._answers: deque[float] = deque(maxlen=_MOST)

    def take_pose(self) -> LivePose | None:
        """Return the newest pose if there is one that was not taken yet."""
        with self._lock:
            pose, self._pose = self._pose, None
        return pose

    def note_shown(self, pose: LivePose) -> None:
        """Take note that a pose is on the rig now."""
        now = time.monotonic()
        self._shown.append((now, now - pose.taken))

    def pace(self) -> Pace | None:
        """Return how live the last seconds were; None where hardly anything was shown."""
        since = time.monotonic() - _SPAN
        shown = [entry for entry in self._shown if entry[0] > since]
        with self._lock:
            answers = [moment for moment in self._answers if moment > since]
        rate, drawn = _rate(answers), _rate([moment for moment, _ in shown])
        if rate is None or drawn is None:
            return None
        return Pace(rate, drawn, statistics.median(latency for _, latency in shown))

    def record(self) -> None:
        """Record from the next picture on."""
        if self.recording is None and self.began is not None and self._source is not None:
            source, began = self._source, self.began
            self.recording = Recording(source.name, source.width, source.height, began.keypoint_set, began.weights)

    def keep_recording(self) -> None:
        """Leave what was recorded where it can be solved."""
        global recorded
        if self.recording is not None and len(self.recording):
            recorded = Recorded(self.recording, self.onto, self.skeleton)

    def _work(self) -> None:
        try:
            connection = job.reach(self._wanted)
            self.status = "Waiting for the first picture"
            with open_live(self._text) as source:
                self._source = source
                self.status = "Preparing the networks"
                stream_live(
                    source,
                    self._settings,
                    connection,
                    began=self._begin,
                    answered=self._take,
                    stopped=self._cancelled.is_set,
                    skeleton=self.skeleton,
                )
        except BaseException as error:
            # told on the main thread, where the user is
            self.error = error

    def _begin(self, began: Began) -> None:
        self.began, self.status = began, "Looking for a person"

    def _take(self, answer: Answered) -> None:
        self.status = "" if answer.sight is not None else "Nobody in view"
        if self.recording is not None:
            self.recording.add(answer.sight, answer.time)
        if answer.pose is not None:
            with self._lock:
                self._pose = answer.pose
                self._answers.append(time.monotonic())


def _rate(moments: list[float]) -> float | None:
    """Return how many there are a second; None of fewer than two."""
    if len(moments) < 2 or moments[-1] <= moments[0]:
        return None
    return (len(moments) - 1) / (moments[-1] - moments[0])


def shutdown() -> None:
    """End the run, and forget what was recorded."""
    global current, recorded
    if current is not None:
        current.cancel()
        current.wait(5.0)
    current = recorded = None
