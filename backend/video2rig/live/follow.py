# SPDX-License-Identifier: GPL-3.0-or-later
"""One person followed as the frames come: one look a frame, and a search for everyone only where nobody is followed.

The hips move at a velocity that is filtered with constant gains (an alpha-beta filter; Bar-Shalom et al., "Estimation
with Applications to Tracking and Navigation", 2001, 6.5). Calm crops make calm depth, so the circle that is looked at
is what was expected and what was seen, mixed.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..detection import Detector, People
from ..detection.circles import MAX_GROWTH, apart, between, growth, radius, same_body
from ..detection.detector import CropDetector
from ..detection.tracking import MIN_PERSON

_PLACE_GAIN, _SPEED_GAIN = 0.7, 0.3
_ARM_GAIN = 0.5  # of the circle's size and direction
_COASTING = 0.3  # seconds: who was not looked at for longer is searched for
_SURPRISE = 0.6  # radii from the expected place to somebody who is somebody else


class Follower:
    """Follows the largest person, and whoever is largest once they are gone.

    Attributes:
        searched: How many frames took a search for everyone.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._looker = detector if isinstance(detector, CropDetector) else None
        self._circle: np.ndarray | None = None
        self._velocity = np.zeros(2)
        self._time = -np.inf
        self.searched = 0

    def step(self, image: np.ndarray, time: float) -> People | None:
        """Return the person [1] in the next frame, in its pixels; None where nobody is.

        Args:
            image: [H, W, 3] RGB, uint8. time: Seconds, rising.
        """
        frame = torch.from_numpy(image)[None].to(self._detector.device)
        expected = self._expected(time)
        found = None
        if expected is not None and self._looker is not None:
            found = self._look(self._looker, frame, expected)
        if found is None:
            self.searched += 1
            found = self._search(frame, expected)
        if found is None:
            self._circle = None
            return None
        self._take(found.circle[0], expected, time)
        return found

    def _expected(self, time: float) -> np.ndarray | None:
        """Return the circle [4] in which the person should be; None where nobody is followed."""
        if self._circle is None or time - self._time > _COASTING:
            return None
        return np.concatenate([self._circle[:2] + (time - self._time) * self._velocity, self._circle[2:]])

    def _look(self, looker: CropDetector, frame: Tensor, expected: np.ndarray) -> People | None:
        where = torch.from_numpy(expected[None]).to(frame.device)
        seen = looker.look(frame, where, torch.zeros(1, dtype=torch.long, device=frame.device))
        good = seen.score[0] >= MIN_PERSON and np.isfinite(seen.circle).all()
        near = good and apart(expected, seen.circle[0]) < _SURPRISE and growth(expected, seen.circle[0]) < MAX_GROWTH
        return seen if near else None

    def _search(self, frame: Tensor, expected: np.ndarray | None) -> People | None:
        (people,) = self._detector.find(frame)
        there = np.flatnonzero((people.score >= MIN_PERSON) & np.isfinite(people.circle).all(-1))
        if not len(there):
            return None
        size = radius(people.circle[there])
        if expected is not None:
            # the same person before any other
            size = size * np.where(same_body(expected, people.circle[there]), 1e3, 1.0)
        return people.picked(there[[int(size.argmax())]])

    def _take(self, circle: np.ndarray, expected: np.ndarray | None, time: float) -> None:
        if expected is None:
            self._circle, self._velocity = circle, np.zeros(2)
        else:
            missed = circle[:2] - expected[:2]
            arm = between(expected, circle, np.array(_ARM_GAIN))[2:]
            self._circle = np.concatenate([expected[:2] + _PLACE_GAIN * missed, arm])
            self._velocity = self._velocity + _SPEED_GAIN * missed / (time - self._time)
        self._time = time
