# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in until people are tracked: only the largest person."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..person import PersonChoice, PersonError
from .follow import FollowOne


class Tracked(NamedTuple):
    """One person over T frames."""

    number: int
    positions: np.ndarray
    confidence: np.ndarray
    world: np.ndarray | None


class PeopleStream:
    """Follows the largest person."""

    def __init__(self, detector: Any, fps: float, person: PersonChoice) -> None:
        if person.kind != "largest":
            raise PersonError("only the largest person can be followed yet")
        self._follower = FollowOne(detector, fps)

    def push(self, images: np.ndarray) -> None:
        self._follower.push(images)

    def finish(self) -> None:
        self._follower.finish()

    def people(self) -> list[Tracked]:
        followed = self._follower.keypoints()
        return [Tracked(1, *followed)] if followed.confidence.any() else []

    def seen(self) -> int:
        return len(self.people())
