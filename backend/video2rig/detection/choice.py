# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose keypoints are wanted, decided while the tracks grow: as early as can be, so that nobody else is looked at."""

from __future__ import annotations

import numpy as np

from ..person import PersonChoice
from .circles import radius
from .tracking import Track

SETTLED_SECONDS = 0.5  # whoever was followed for this long was no passing error of the networks


class Largest:
    """The largest person at first, that same one to the end.

    After they are gone for good, the next person to appear is taken to be them again; people who were in view beside
    them are known to be others and are not.
    """

    def __init__(self, fps: float) -> None:
        self._settled = SETTLED_SECONDS * fps
        self._key: int | None = None
        self._since = self._seen = 0
        self._others: set[int] = set()

    def choose(self, frame: int, tracks: list[Track]) -> int | None:
        """The key of the track that is followed at this key frame; None where nobody may be that person."""
        there = {track.key: track for track in tracks}
        if self._key not in there:
            if self._seen - self._since < self._settled:
                self._others.clear()
            likely = [track for track in tracks if track.seen and track.key not in self._others]
            if not likely:
                self._key = None
                return None
            self._key = max(likely, key=lambda track: float(radius(track.circle)) * track.score).key
            self._since = frame
        if there[self._key].seen:
            self._seen = frame
            self._others |= {key for key, other in there.items() if other.seen and key != self._key}
        return self._key


def may_be_wanted(person: PersonChoice, key: int, number: int, numbered: int, pointed: int | None) -> bool:
    """Whether a track's keypoints may be asked for, so that its frames have to be looked at now.

    Args:
        person: Any choice but "largest". key, number: The track's; 0 while it has no number.
        numbered: How many tracks have one. pointed: The key of the track at the point; None while that is not known.
    """
    if person.kind == "number":
        return number == person.number if number else numbered < person.number
    if person.kind == "point":
        return pointed is None or key == pointed
    return True


def distance_to_point(point: tuple[float, float], positions: np.ndarray, circle: np.ndarray) -> float:
    """From a point to a person, in radii: to the nearest of their keypoints, of their hips [4] px, and of the middles
    between both; infinite where none of the keypoints [K,2] px is seen."""
    seen = positions[np.isfinite(positions).all(-1)]
    if not len(seen):
        return float("inf")
    places = np.concatenate([seen, (seen + circle[:2]) / 2, circle[None, :2]])
    return float(np.hypot(*(places - np.array(point)).T).min() / radius(circle))
