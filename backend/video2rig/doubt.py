# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a motion should be looked at: limbs that the video hardly showed, and joints at the end of their range."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .limbs import LIMBS, limb_of
from .motion import Motion

UNSURE = 0.3
"""A joint that was seen with less confidence is a guess: of the learned motion, of its neighbours in time, of rest."""

SHORTEST = 0.2
"""Shorter doubts, in seconds, are not worth a mark."""

_MERGED = 0.5  # seconds between doubts of one kind that are told as one
_BEGIN, _END = {"unsure": "unsure: ", "limit": "at limit: "}, {"unsure": "sure: ", "limit": "off limit: "}
WORDS = (*_BEGIN.values(), *_END.values())
"""What the names of marks of doubt begin with."""


class Doubt(NamedTuple):
    """A stretch of a motion that should be looked at.

    Attributes:
        kind: ``"unsure"`` or ``"limit"``. what: The limb, or the joint with what it did. start, end: Seconds.
    """

    kind: str
    what: str
    start: float
    end: float

    @property
    def names(self) -> tuple[str, str]:
        """What marks at its start and its end are called."""
        return _BEGIN[self.kind] + self.what, _END[self.kind] + self.what


def find_unsure(motion: Motion) -> list[dict[str, Any]]:
    """Return when each joint was hardly seen, as plain JSON values: its name, role, and intervals in seconds."""
    found = []
    for joint, name in enumerate(motion.skeleton.names):
        low = np.concatenate([[0], (motion.confidence[:, joint] < UNSURE).astype(int), [0]])
        edges = np.flatnonzero(np.diff(low))
        pairs = zip(edges[::2], edges[1::2] - 1, strict=True)
        intervals = [[float(motion.times[start]), float(motion.times[end])] for start, end in pairs]
        if intervals:
            found.append({"joint": name, "role": motion.skeleton.roles[joint], "intervals": intervals})
    return found


def doubts(unsure: Sequence[dict[str, Any]], at_bounds: Sequence[dict[str, Any]], most: int) -> list[Doubt]:
    """Return the longest stretches that should be looked at, by their start.

    Args:
        unsure: What :func:`find_unsure` returned; the joints of a limb are told together.
        at_bounds: What `bounds.to_json` returned.
        most: Stretches to tell.
    """
    limbs: dict[str, list[Sequence[float]]] = {}
    for entry in unsure:
        limb = limb_of(entry["role"])
        if limb:
            limbs.setdefault(limb, []).extend(entry["intervals"])
    found = [Doubt("unsure", limb, *span) for limb in LIMBS for span in _merged(limbs.get(limb, []))]
    found += [Doubt("limit", stay["title"], *span) for stay in at_bounds for span in _merged(stay["intervals"])]
    longest = sorted(found, key=lambda doubt: doubt.start - doubt.end)[:most]
    return sorted(longest, key=lambda doubt: doubt.start)


def _merged(intervals: Iterable[Sequence[float]]) -> list[tuple[float, float]]:
    """Return intervals without those between which there is little, nor those that are short."""
    merged: list[tuple[float, float]] = []
    for start, end in sorted(map(tuple, intervals)):
        if merged and start - merged[-1][1] < _MERGED:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return [(start, end) for start, end in merged if end - start >= SHORTEST]
