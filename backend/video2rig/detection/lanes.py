# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of one track, frame by frame: where it is expected, where it was looked at, what was seen."""

from __future__ import annotations

import numpy as np

from .detector import People
from .sights import Columns, Sights, columns_of, nothing_like

_FIRST_ROOM = 64  # frames


class Places:
    """Circles of one person, frame by frame from `start` on; what is not known is NaN, and so is what lies outside.

    Attributes:
        end: One past the last frame that is known of.
    """

    def __init__(self, start: int) -> None:
        self._start = self.end = start
        self._circles = np.full((_FIRST_ROOM, 4), np.nan)

    def put(self, frames: np.ndarray, circles: np.ndarray) -> None:
        """Note circles [N,4] of frames [N], none of them before `start`."""
        if not len(frames):
            return
        end = max(self.end, int(frames.max()) + 1)
        while len(self._circles) < end - self._start:
            self._circles = np.concatenate([self._circles, np.full(self._circles.shape, np.nan)])
        self._circles[frames - self._start] = circles
        self.end = end

    def take(self, first: int, last: int) -> np.ndarray:
        """Circles [last - first, 4] px."""
        part = np.full((last - first, 4), np.nan)
        a, b = max(first, self._start), min(last, self.end)
        if a < b:
            part[a - first : b - first] = self._circles[a - self._start : b - self._start]
        return part


class Lane:
    """One track over the frames from `start` on; what is not known is NaN, and so is what lies outside.

    Where they are expected is noted while the looks at earlier frames go on, on another thread: nothing that one of
    both writes is written, or of the same frames read, by the other.

    Attributes:
        key: The track's. number: Its number; 0 until it has one. end: One past the last frame that is known of.
        first, second: What either look saw, of the last frames. result: What both together say, of all.
    """

    def __init__(self, key: int, start: int) -> None:
        self.key, self.start, self.number, self.end = key, start, 0, start
        self._expected, self._used, self._measured, self._again = (Places(start) for _ in range(4))
        self.first, self.second, self.result = Sights(start), Sights(start), Sights(start)

    def expected(self, first: int, last: int) -> np.ndarray:
        """Circles [last - first, 4] px where this person is expected."""
        return self._expected.take(first, last)

    def used(self, first: int, last: int) -> np.ndarray:
        """Those that the first look is taken in, or would be."""
        return self._used.take(first, last)

    def measured(self, first: int, last: int) -> np.ndarray:
        """Those that its keypoints gave."""
        return self._measured.take(first, last)

    def again(self, first: int, last: int) -> np.ndarray:
        """Those that the second look is taken in, or would be."""
        return self._again.take(first, last)

    def expect(self, first: int, circles: np.ndarray) -> None:
        """Note where they are expected, from frame `first` on."""
        self._expected.put(np.arange(first, first + len(circles)), circles)
        self.end = max(self.end, self._expected.end)

    def use(self, frames: np.ndarray, circles: np.ndarray) -> None:
        """Note the first look's circles [N,4] of frames [N]."""
        self._used.put(frames, circles)

    def use_again(self, frames: np.ndarray, circles: np.ndarray) -> None:
        """Note the second look's circles [N,4] of frames [N]."""
        self._again.put(frames, circles)

    def see(self, frames: np.ndarray, people: People) -> None:
        """Note what the first look saw in frames [N]."""
        self._measured.put(frames, people.circle)
        self.first.put(frames, columns_of(people))

    def see_again(self, frames: np.ndarray, people: People) -> None:
        """Note what the second look saw in frames [N]."""
        self.second.put(frames, columns_of(people))

    def set_found(self, frame: int, people: People, row: int) -> None:
        """Note what a detector found of them in a frame, to which nothing is added."""
        self.end = max(self.end, frame + 1)
        self.result.put(np.array([frame]), columns_of(people.picked(np.array([row]))))

    def looks(self, frames: np.ndarray) -> tuple[Columns, Columns] | None:
        """What either look saw in frames [N]; None before any saw anything."""
        if not self.first and not self.second:
            return None
        first, second = ([] if not look else look.take(frames) for look in (self.first, self.second))
        return first or nothing_like(second), second or nothing_like(first)

    def forget_looks(self, before: int) -> None:
        """Let go of what either look saw before this frame."""
        self.first.forget(before)
        self.second.forget(before)

    def positions_at(self, frame: int) -> np.ndarray | None:
        """Keypoints [K,2] px in a frame; None where they are not known."""
        if not self.result or not self.start <= frame < self.end:
            return None
        return self.result.take(np.array([frame]))[0][0]

    def results(self, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Positions [count,K,2] px, confidence [count,K] and world [count,K,3] m (None where nothing is known of
        depth) of the frames from 0 on; after something was seen."""
        columns = self.result.take(np.arange(count))
        return columns[0], columns[1], columns[2] if len(columns) == 3 else None


def carried(known: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Values [T,...] that are near a `base` [T,...]: in every row the base, and what is known [T,...] differs by from
    it in the row before and in the row after, or in that of the two which is known; NaN where neither is."""
    away = np.concatenate([np.full((1, *base.shape[1:]), np.nan), known - base, np.full((1, *base.shape[1:]), np.nan)])
    before, after = away[:-2], away[2:]
    both = np.isfinite(before) & np.isfinite(after)
    return base + np.where(both, (before + after) / 2, np.where(np.isfinite(before), before, after))
