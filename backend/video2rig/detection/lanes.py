# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of one track, frame by frame: where it is expected, where it was looked at, what was seen."""

from __future__ import annotations

import numpy as np

from .circles import radius
from .detector import People

_FIRST_ROOM = 64  # frames
CALM = 0.06  # radii, mean over the keypoints: looks that are closer agree, and a body that moves less does not jump


class Lane:
    """One track over the frames from `start` on; what is not known is NaN, and so is what lies outside.

    Attributes:
        key: The track's. number: Its number; 0 until it has one. end: One past the last frame that is known of.
    """

    def __init__(self, key: int, start: int) -> None:
        self.key, self.start, self.number, self.end = key, start, 0, start
        self._expected, self._used, self._measured = (np.full((_FIRST_ROOM, 4), np.nan) for _ in range(3))
        self._seen: list[np.ndarray] = []  # positions, confidence and perhaps world, once one of them is known

    def expected(self, first: int, last: int) -> np.ndarray:
        """Circles [last - first, 4] px where this person is expected."""
        return self._part(self._expected, first, last)

    def used(self, first: int, last: int) -> np.ndarray:
        """Those that were looked at."""
        return self._part(self._used, first, last)

    def measured(self, first: int, last: int) -> np.ndarray:
        """Those that the keypoints gave."""
        return self._part(self._measured, first, last)

    def expect(self, first: int, circles: np.ndarray) -> None:
        """Note where they are expected, from frame `first` on."""
        rows = self._rows(np.arange(first, first + len(circles)))
        self._expected[rows] = circles

    def use(self, frames: np.ndarray, circles: np.ndarray) -> None:
        """Note in which circles [N,4] of frames [N] they are looked at."""
        rows = self._rows(frames)
        self._used[rows] = circles

    def set_found(self, frame: int, people: People, row: int) -> None:
        """Note what a detector found of them in a frame."""
        self.set_looked(np.array([frame]), people.picked(np.array([row])))

    def set_looked(self, frames: np.ndarray, people: People) -> None:
        """Note what was seen of them in frames [N]."""
        rows = self._rows(frames)
        self._measured[rows] = people.circle
        columns = _columns(people)
        if not self._seen:
            self._seen = [_unknown(len(self._expected), column, k == 1) for k, column in enumerate(columns)]
        for whole, part in zip(self._seen, columns, strict=True):
            whole[rows] = part

    def doubtful(self, frames: np.ndarray, people: People) -> np.ndarray:
        """[N] bool of frames [N], rising: whether what a second look saw in them does not tell what a first one would
        have seen: both disagree in a frame beside, or the body jumps, or there was no first look beside."""
        size, distance = radius(people.circle), _distance(people.positions, self.positions(frames))
        away, jump = (_beside(frames, column) for column in (distance / size, people.positions))
        calm = np.fmax(*away) < CALM
        with np.errstate(invalid="ignore"):
            return ~calm | (_distance(people.positions, (jump[0] + jump[1]) / 2) / size >= CALM)

    def carry(self, frames: np.ndarray, people: People) -> None:
        """Note what the first look would have seen in those of the frames [N], rising, that it left out: what the
        second look saw, and by how much the two differ in the frames beside them."""
        rows = frames - self.start
        known = self._seen[1][rows] > 0
        skipped = ~known.any(1)
        for whole, column in zip(self._seen, _columns(people), strict=True):
            mask = known if column.ndim == 2 else known[..., None]
            before, after = _beside(frames, np.where(mask, whole[rows] - column, np.nan))
            whole[rows[skipped]] = (column + np.nan_to_num(_mean(before, after)))[skipped]
        self._seen[1][rows] = self._seen[1][rows].clip(0, 1)

    def blend(self, frames: np.ndarray, people: People, old: np.ndarray, trust: np.ndarray) -> None:
        """Note what a second look saw in frames [N]: `old` [N,K] 0..1 is how much of the first one counts, and the
        confidence is `trust` [N,K] 0..1 times what both looks say; a keypoint that only one sees is half as sure."""
        rows = frames - self.start
        before, now = self._seen[1][rows], people.confidence
        both = (before > 0) & (now > 0)
        old = np.where(both, old, now <= 0)
        for k, part in ((0, people.positions), *([] if people.world is None else [(2, people.world)])):
            weight, whole = old[..., None], self._seen[k][rows]
            mixed = weight * whole + (1 - weight) * part
            self._seen[k][rows] = np.where(weight == 1, whole, np.where(weight == 0, part, mixed))
        self._seen[1][rows] = np.where(both, trust * (old * before + (1 - old) * now), 0.5 * (before + now))

    def positions_at(self, frame: int) -> np.ndarray | None:
        """Keypoints [K,2] px in a frame; None where they are not known."""
        if not self._seen or not self.start <= frame < self.end:
            return None
        return self._seen[0][frame - self.start]

    def positions(self, frames: np.ndarray) -> np.ndarray:
        """Keypoints [N,K,2] px in frames [N] where something was seen."""
        return self._seen[0][frames - self.start]

    def results(self, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Positions [count,K,2] px, confidence [count,K] and world [count,K,3] m (None where nothing is known of
        depth) of the frames from 0 on; after something was seen."""
        columns = []
        for k, column in enumerate(self._seen):
            whole = _unknown(count, column, k == 1)
            whole[self.start : self.end] = column[: self.end - self.start]
            columns.append(whole)
        return columns[0], columns[1], columns[2] if len(columns) == 3 else None

    @property
    def known(self) -> bool:
        """Whether anything was ever seen of them."""
        return bool(self._seen)

    def _part(self, column: np.ndarray, first: int, last: int) -> np.ndarray:
        part = np.full((last - first, 4), np.nan)
        a, b = max(first, self.start), min(last, self.end)
        if a < b:
            part[a - first : b - first] = column[a - self.start : b - self.start]
        return part

    def _rows(self, frames: np.ndarray) -> np.ndarray:
        """Rows of frames, with room for them."""
        if not len(frames):
            return frames
        self.end = max(self.end, int(frames.max()) + 1)
        while len(self._expected) < self.end - self.start:
            more = len(self._expected)
            self._expected, self._used, self._measured = (
                np.concatenate([column, np.full((more, 4), np.nan)])
                for column in (self._expected, self._used, self._measured)
            )
            self._seen = [
                np.concatenate([column, _unknown(more, column, k == 1)]) for k, column in enumerate(self._seen)
            ]
        return frames - self.start


def carried(known: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Values [T,...] that are near a `base` [T,...]: in every row the base, and what is known [T,...] differs by from
    it in the row before and in the row after, or in that of the two which is known; NaN where neither is."""
    return base + _mean(*_beside(np.arange(len(base)), known - base))


def _beside(frames: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values [N,...] of the frames before and after each of frames [N], rising; NaN where they are not among them."""
    before, after = (np.full(values.shape, np.nan) for _ in range(2))
    next_to = np.flatnonzero(np.diff(frames) == 1)
    before[next_to + 1], after[next_to] = values[next_to], values[next_to + 1]
    return before, after


def _mean(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The mean of both, or the one that is known; NaN where neither is."""
    both = np.isfinite(first) & np.isfinite(second)
    return np.where(both, (first + second) / 2, np.where(np.isfinite(first), first, second))


def _distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Mean distance [N] of keypoints [N,K,2], of those that are known in both; NaN where none is."""
    distance = np.linalg.norm(first - second, axis=-1)
    known = np.isfinite(distance)
    total, count = np.where(known, distance, 0).sum(1), known.sum(1)
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)


def _columns(people: People) -> list[np.ndarray]:
    return [people.positions, people.confidence, *([] if people.world is None else [people.world])]


def _unknown(count: int, like: np.ndarray, confidence: bool) -> np.ndarray:
    return np.full((count, *like.shape[1:]), 0 if confidence else np.nan, np.float32)
