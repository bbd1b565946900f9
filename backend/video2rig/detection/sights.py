# SPDX-License-Identifier: GPL-3.0-or-later
"""What two looks saw of one person, frame by frame, and what follows from both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .detector import People

Columns = list[np.ndarray]
"""Positions [N,K,2] px, confidence [N,K] and, where something is known of depth, world [N,K,3] m; NaN, and confidence
0, where nothing was seen."""

_FIRST_ROOM = 64  # frames


class Sights:
    """Keypoints of one person over the frames from `start` on; nothing is known outside of them."""

    def __init__(self, start: int) -> None:
        self.start = start
        self._columns: Columns = []

    def __bool__(self) -> bool:
        """Whether anything was ever seen."""
        return bool(self._columns)

    def put(self, frames: np.ndarray, columns: Sequence[np.ndarray]) -> None:
        """Note what was seen in frames [N], none of them before `start`."""
        if not len(frames):
            return
        if not self._columns:
            self._columns = [_nothing(_FIRST_ROOM, column, k) for k, column in enumerate(columns)]
        while int(frames.max()) - self.start >= len(self._columns[0]):
            self._columns = [
                np.concatenate([column, _nothing(len(column), column, k)]) for k, column in enumerate(self._columns)
            ]
        for whole, part in zip(self._columns, columns, strict=True):
            whole[frames - self.start] = part

    def take(self, frames: np.ndarray) -> Columns:
        """What was seen in frames [N], once anything was."""
        rows = frames - self.start
        there = (rows >= 0) & (rows < len(self._columns[0]))
        taken = [_nothing(len(frames), column, k) for k, column in enumerate(self._columns)]
        for part, whole in zip(taken, self._columns, strict=True):
            part[there] = whole[rows[there]]
        return taken

    def forget(self, before: int) -> None:
        """Let go of the frames before this one."""
        if before > self.start:
            self._columns = [column[before - self.start :] for column in self._columns]
            if self._columns and len(self._columns[0]) < _FIRST_ROOM:
                self._columns = [
                    np.concatenate([column, _nothing(_FIRST_ROOM, column, k)]) for k, column in enumerate(self._columns)
                ]
            self.start = before


def columns_of(people: People) -> Columns:
    """The columns of people, a frame each."""
    return [people.positions, people.confidence, *([] if people.world is None else [people.world])]


def nothing_like(columns: Columns) -> Columns:
    """As many rows in which nothing was seen."""
    return [_nothing(len(column), column, k) for k, column in enumerate(columns)]


def known(columns: Columns) -> np.ndarray:
    """[N] bool: the frames in which anything was seen."""
    return (columns[1] > 0).any(1)


def unsteady(columns: Columns, size: np.ndarray) -> np.ndarray:
    """[N] by how much the even ones of N frames in a row differ from the odd ones, around each of them: the mean over
    the keypoints, in radii `size` [N] px; NaN where one of the five is not known.

    Fourth differences: motion hardly shows in them unless it changes within a few frames.
    """
    p, away = columns[0], np.full(len(columns[0]), np.nan)
    ends, beside = p[:-4] + p[4:], p[1:-3] + p[3:-1]
    away[2:-2] = _mean_distance((ends + 6 * p[2:-2]) / 8, beside / 2) / size[2:-2]
    return away


def filled(first: Columns, second: Columns) -> tuple[Columns, Columns]:
    """Both looks at N frames in a row, each with what it would have seen where it was left out.

    The looks differ by something that changes slowly. It is known where both looked; where one did, that one is
    compared with the middle between the other's in the frames beside. What is missing is the look that is there, and
    the mean of this difference over three frames: bends of the motion have opposite signs in turn, and cancel.
    """
    have = known(first), known(second)
    result: tuple[Columns, Columns] = ([], [])
    for a, b in zip(first, second, strict=True):
        shape = (-1, *(1,) * (a.ndim - 1))
        one, other = (np.where(there.reshape(shape), c, np.nan) for there, c in zip(have, (a, b), strict=True))
        apart = one - other
        sure = np.isfinite(apart)
        guess = np.where(np.isfinite(other), _middle(one) - other, one - _middle(other))
        apart = np.nan_to_num(_with_those_beside(np.where(sure, apart, guess), sure))
        result[0].append(np.where(have[0].reshape(shape), a, b + apart))
        result[1].append(np.where(have[1].reshape(shape), b, a - apart))
    for columns in result:
        columns[1] = columns[1].clip(0, 1)
    return result


def blended(first: Columns, second: Columns, old: np.ndarray, trust: np.ndarray) -> Columns:
    """Of two looks at N frames one: `old` [N,K] 0..1 is how much of the first counts, and the confidence is `trust`
    [N,K] 0..1 times what both say; a keypoint that only one sees is half as sure."""
    before, now = first[1], second[1]
    both = (before > 0) & (now > 0)
    old = np.where(both, old, now <= 0)
    result = []
    for a, b in zip(first, second, strict=True):
        weight = old if a.ndim == 2 else old[..., None]
        result.append(np.where(weight == 1, a, np.where(weight == 0, b, weight * a + (1 - weight) * b)))
    result[1] = np.where(both, trust * result[1], 0.5 * (before + now))
    return result


def distances(first: Columns, second: Columns) -> np.ndarray:
    """[N,K] px between both looks; 0 of keypoints that only one of them sees."""
    return np.nan_to_num(np.linalg.norm(first[0] - second[0], axis=-1))


def _middle(values: np.ndarray) -> np.ndarray:
    """Of rows [N,...], the middle between the row before and the row after; NaN where one of them is."""
    result = np.full(values.shape, np.nan)
    result[1:-1] = (values[:-2] + values[2:]) / 2
    return result


def _with_those_beside(values: np.ndarray, sure: np.ndarray) -> np.ndarray:
    """Of rows [N,...] the mean of the sure values in the rows before and after; where neither is one, the mean with the
    values there, with weights 1, 2, 1; as far as those are known."""
    beside = [np.full(values.shape, np.nan) for _ in range(4)]
    for k, (to, of) in enumerate(((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None)))):
        beside[k][to] = np.where(sure[of], values[of], np.nan)
        beside[k + 2][to] = (values[to] + values[of]) / 2
    surely, about = _mean(*beside[:2]), _mean(*beside[2:])
    best = np.where(np.isfinite(surely), surely, np.where(np.isfinite(about), about, values))
    return np.where(sure, values, best)


def _mean(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The mean of both, or the one that is known; NaN where neither is."""
    both = np.isfinite(one) & np.isfinite(other)
    return np.where(both, (one + other) / 2, np.where(np.isfinite(one), one, other))


def _mean_distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Mean distance [N] of keypoints [N,K,2], of those that are known in both; NaN where none is."""
    distance = np.linalg.norm(first - second, axis=-1)
    there = np.isfinite(distance)
    total, count = np.where(there, distance, 0).sum(1), there.sum(1)
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)


def _nothing(count: int, like: np.ndarray, column: int) -> np.ndarray:
    return np.full((count, *like.shape[1:]), 0 if column == 1 else np.nan, np.float32)
