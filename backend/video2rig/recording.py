# SPDX-License-Identifier: GPL-3.0-or-later
"""What was seen live, kept to be solved as a whole.

It lies with the client, so that it outlives the server and the connection.
"""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import numpy as np

from .errors import Video2RigError
from .keypoints import KEYPOINT_SETS, Keypoints
from .seen import Seen

LEAST_FRAMES = 5
"""Fewer are no motion."""


class RecordingError(Video2RigError):
    """A recording that cannot be solved."""


class Sight(NamedTuple):
    """What was seen in one frame: its time in seconds; positions [K, 2], source pixels; confidence [K]; world [K, 3] or
    None."""

    time: float
    positions: np.ndarray
    confidence: np.ndarray
    world: np.ndarray | None


class Recording:
    """Keypoints of one person, frame by frame; one thread adds, others may read.

    Attributes:
        name: Of the source. width, height: Of its pictures. keypoint_set: Of the detector.
        weights: Digests of what saw them.
    """

    def __init__(self, name: str, width: int, height: int, keypoint_set: str, weights: dict[str, Any]) -> None:
        self.name, self.width, self.height = name, width, height
        self.keypoint_set, self.weights = keypoint_set, weights
        self._lock = threading.Lock()
        self._sights: list[Sight] = []

    def add(self, sight: Sight | None, time: float) -> None:
        """Take the next frame, whose time is in seconds; no sight is one that shows nobody."""
        if sight is None:
            count = len(KEYPOINT_SETS[self.keypoint_set])
            sight = Sight(time, np.full((count, 2), np.nan), np.zeros(count), np.full((count, 3), np.nan))
        with self._lock:
            self._sights.append(sight)

    def __len__(self) -> int:
        return len(self._sights)

    @property
    def seconds(self) -> float:
        """From the first frame to the last; 0 where there is none."""
        with self._lock:
            return self._sights[-1].time - self._sights[0].time if self._sights else 0.0

    def seen(self) -> Seen:
        """Return the keypoints, whose times begin at 0.

        Raises:
            RecordingError: There are too few frames, or none shows anybody.
        """
        with self._lock:
            sights = list(self._sights)
        if len(sights) < LEAST_FRAMES:
            raise RecordingError(f"the recording has {len(sights)} frames; at least {LEAST_FRAMES} are needed")
        shown = [sight for sight in sights if sight.confidence.any()]
        if not shown:
            raise RecordingError(f"nobody was seen in the {len(sights)} frames of the recording")
        times, positions, confidence = (np.array([sight[column] for sight in sights]) for column in range(3))
        worlds = [sight.world for sight in sights if sight.world is not None]
        world = np.array(worlds) if all(sight.world is not None for sight in shown) else None
        return Seen(Keypoints(self.keypoint_set, positions, confidence, times - times[0], world), 1, None)

    def facts(self) -> dict[str, Any]:
        """Return what a server must know of the source, as of a video."""
        frames, seconds = len(self), self.seconds
        return {
            "name": self.name,
            "width": self.width,
            "height": self.height,
            "fps": (frames - 1) / seconds if seconds > 0 else 30.0,
            "frame_count": frames,
            "duration": seconds,
        }
