# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of one track, frame by frame: where it is expected, where it was looked at, what was seen."""

from __future__ import annotations

import numpy as np

from .detector import People

_FIRST_ROOM = 64  # frames


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

    def set_found(self, frame: int, people: People, row: int) -> None:
        """Note what a detector found of them in a frame."""
        self.set_looked(np.array([frame]), people.circle[[row]], people.picked(np.array([row])))

    def set_looked(self, frames: np.ndarray, circles: np.ndarray, people: People) -> None:
        """Note what was seen in circles [N,4] of frames [N]."""
        rows = self._rows(frames)
        self._used[rows], self._measured[rows] = circles, people.circle
        columns = [people.positions, people.confidence, *([] if people.world is None else [people.world])]
        if not self._seen:
            self._seen = [_unknown(len(self._expected), column, k == 1) for k, column in enumerate(columns)]
        for whole, part in zip(self._seen, columns, strict=True):
            whole[rows] = part

    def blend(self, frames: np.ndarray, people: People, old: np.ndarray, trust: np.ndarray) -> None:
        """Note what a second look saw in frames [N]: `old` [N,K] 0..1 is how much of the first one counts, and the
        confidence is `trust` [N,K] 0..1 times what both looks say."""
        columns = [people.positions, people.confidence, *([] if people.world is None else [people.world])]
        rows = frames - self.start
        for whole, part in zip(self._seen, columns, strict=True):
            weight = old if part.ndim == 2 else old[..., None]
            whole[rows] = weight * whole[rows] + (1 - weight) * part
        self._seen[1][rows] *= trust

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


def _unknown(count: int, like: np.ndarray, confidence: bool) -> np.ndarray:
    return np.full((count, *like.shape[1:]), 0 if confidence else np.nan, np.float32)
