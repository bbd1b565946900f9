# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the person who is followed moves, or may be a picture on a wall, beside which somebody else is meant.

A still picture is told from a person at the end alone, once all is seen (`stillness.py`). Until the followed one is
seen to move, which takes most people a few key frames, the others are looked at too: one of them may be taken instead.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..stillness import FEWEST, STILL, changes, most, still, sway
from .tracking import Track

CLEARLY = 0.05
"""Parts of the body's size: whose shape changes by this from their first key frame to two in a row moves."""
_SEEN = 0.5  # keypoints below this confidence in either key frame do not count
_OTHERS = 3 * STILL  # sway of whoever is taken instead, at least
_LONG_ENOUGH = 0.5  # s that they are seen for, at least


class Seen(NamedTuple):
    """What is known of a person: number, positions [T,K,2] px and confidence [T,K]."""

    number: int
    positions: np.ndarray
    confidence: np.ndarray


class Movers:
    """Which tracks were seen to move, key frame by key frame."""

    def __init__(self) -> None:
        self._first: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._away: dict[int, bool] = {}  # whether they had moved at the last key frame
        self._moved: set[int] = set()

    def see(self, tracks: list[Track]) -> None:
        """Take a key frame's tracks."""
        for track in tracks:
            positions, confidence, key = track.positions, track.confidence, track.key
            if not track.seen or positions is None or confidence is None or key in self._moved:
                continue
            if len(positions) < FEWEST:
                self._moved.add(key)  # no shape that could tell
                continue
            shape, sure = self._first.setdefault(key, (positions, confidence))
            both = (np.minimum(sure, confidence) > _SEEN) & np.isfinite(positions + shape).all(1)
            away = both.sum() >= FEWEST and self._change(shape[both], positions[both]) > CLEARLY
            if away and self._away.get(key):
                self._moved.add(key)
            self._away[key] = away

    @staticmethod
    def _change(shape: np.ndarray, positions: np.ndarray) -> float:
        return most(np.linalg.norm(changes(positions[None].astype(float), shape.astype(float))[0], axis=-1))

    def moves(self, key: int) -> bool:
        """Whether a track was seen to move."""
        return key in self._moved


def instead_of(followed: Seen, others: list[Seen], times: np.ndarray) -> Seen | None:
    """Return who is taken in place of a person who hardly moves: of those who do move, the one who is seen largest and
    longest; None where the followed one moves, or nobody else does.

    Args:
        followed: Over T frames. others: Of the same frames. times: [T] s.
    """
    if still(followed.positions, followed.confidence, times) is None:
        return None
    long_enough = _LONG_ENOUGH * len(times) / max(float(times[-1] - times[0]), 1e-9)  # frames
    moving = [
        other
        for other in others
        if (other.confidence > 0).any(1).sum() >= long_enough
        and _OTHERS <= sway(other.positions, other.confidence, times) < np.inf
    ]
    return max(moving, key=_presence, default=None)


def _presence(person: Seen) -> float:
    """How large and how surely somebody is seen, summed over the frames."""
    there = (person.confidence > 0).any(1)
    size = np.nanmax(person.positions[there], 1) - np.nanmin(person.positions[there], 1)
    return float((np.linalg.norm(size, axis=1) * person.confidence[there].mean(1)).sum())
