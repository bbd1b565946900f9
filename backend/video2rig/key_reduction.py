# SPDX-License-Identifier: GPL-3.0-or-later
"""Few keys in the place of one a frame, so that curves can be edited by hand, with a bound on what that changes.

Between keys a curve is a cubic Bezier whose handles lie at a third of the time, which makes it a cubic Hermite
polynomial in time: a value and a slope at each key. Keys lie on the motion itself. Slopes are those of the least
squared error over all frames, one slope a key for both sides, so that curves are smooth. Keys are added where curves
are off (as Ramer 1972 and Douglas and Peucker 1973 do for lines) until no frame is beyond the bound.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .errors import Video2RigError

_TIE = 1e-4  # of a squared time: how firmly a slope is held to that of the motion, where frames tell no other
_MOST_PARTS = 6  # into which a curve is split at once
_WITHIN = 0.98  # of the bound: 32-bit keys take the rest


class KeysError(Video2RigError):
    """Channels that cannot be reduced."""


class Channels(NamedTuple):
    """The numbers of one property of a bone.

    Attributes:
        kind: ``"QUATERNION"`` (wxyz), ``"AXIS_ANGLE"`` (angle, axis), an Euler order such as ``"XZY"`` (first letter
            turns first), or ``"VECTOR"``.
        values: [T, C] at every frame; rotations in radians.
        bound: How far it may be off at any frame: an angle in radians for rotations, a distance for a vector.
    """

    kind: str
    values: np.ndarray
    bound: float


class Sparse(NamedTuple):
    """What is left.

    Attributes:
        keys: [K] numbers of the frames that have a key, rising, the first and the last among them.
        slopes: [K, C] of each of the channels, per unit of the frames.
    """

    keys: np.ndarray
    slopes: tuple[np.ndarray, ...]


def reduce_keys(frames: np.ndarray, channels: Sequence[Channels]) -> Sparse:
    """Return the keys that channels need, at frames that are common to all of them.

    Args:
        frames: [T] rising. channels: Of one bone, each with its own bound, which holds at every frame.

    Raises:
        KeysError: Frames do not rise, or a bound is not positive.
    """
    frames = np.asarray(frames, dtype=np.float64)
    if len(frames) == 0 or (np.diff(frames) <= 0).any():
        raise KeysError("keys: needs at least one frame, and frames that rise")
    if any(not one.bound > 0 for one in channels):
        raise KeysError("keys: a bound must be positive")
    if len(frames) <= 2:
        return Sparse(np.arange(len(frames)), tuple(_differences(frames, one.values) for one in channels))
    values = np.concatenate([np.asarray(one.values, dtype=np.float64) for one in channels], axis=1)
    edges = np.cumsum([0] + [one.values.shape[1] for one in channels])
    parts = [slice(begin, end) for begin, end in itertools.pairwise(edges)]
    known = _differences(frames, values)
    keys = np.array([0, len(frames) - 1])
    while True:
        slopes = _slopes(frames, values, known, keys)
        fitted = hermite(frames[keys], values[keys], slopes, frames)
        off = np.max(
            [
                error(one.kind, one.values, fitted[:, part]) / one.bound
                for one, part in zip(channels, parts, strict=True)
            ],
            axis=0,
        )
        off[keys] = 0.0
        splits = _splits(off, keys)
        if len(splits) == 0:
            return Sparse(keys, tuple(slopes[:, part] for part in parts))
        keys = np.union1d(keys, splits)


def hermite(frames: np.ndarray, values: np.ndarray, slopes: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return [N, C] values of the curves with [K] keys at [N] frames between the first key and the last."""
    segment = np.clip(np.searchsorted(frames, at, side="right") - 1, 0, len(frames) - 2)
    length = (frames[segment + 1] - frames[segment])[:, None]
    share = (at - frames[segment])[:, None] / length
    rise = share * share * (3 - 2 * share)
    one, two = share * (1 - share) ** 2 * length, share * share * (share - 1) * length
    return (1 - rise) * values[segment] + rise * values[segment + 1] + one * slopes[segment] + two * slopes[segment + 1]


def handles(frames: np.ndarray, values: np.ndarray, slopes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the left and right handles of the keys of one channel.

    Args:
        frames: [K] of the keys. values, slopes: [K] of the channel.

    Returns:
        Two arrays [K, 2] of frame and value. The outermost handles are as long as those on their other side.
    """
    third = np.diff(frames) / 3 if len(frames) > 1 else np.array([1 / 3])
    before, after = np.concatenate([third[:1], third]), np.concatenate([third, third[-1:]])
    if len(frames) == 1:
        before = after = third
    left = np.column_stack([frames - before, values - before * slopes])
    right = np.column_stack([frames + after, values + after * slopes])
    return left, right


def error(kind: str, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return [T] how far [T, C] values of two channels are apart: radians, or the distance of vectors.

    Quaternions need not be of unit length: Blender makes them so before they turn a bone, and axes too.
    """
    if kind == "VECTOR":
        return np.linalg.norm(one - other, axis=1)
    first, second = _quaternions(kind, one), _quaternions(kind, other)
    second = second * np.where((first * second).sum(axis=1, keepdims=True) < 0, -1.0, 1.0)
    # by the chord, which is exact for small angles too
    return 4 * np.arcsin(np.minimum(np.linalg.norm(first - second, axis=1) / 2, 1.0))


def _quaternions(kind: str, values: np.ndarray) -> np.ndarray:
    """Return [T, 4] unit quaternions wxyz."""
    if kind == "QUATERNION":
        return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    if kind == "AXIS_ANGLE":
        axis = values[:, 1:] / np.maximum(np.linalg.norm(values[:, 1:], axis=1, keepdims=True), 1e-12)
        return np.column_stack([np.cos(values[:, 0] / 2), np.sin(values[:, :1] / 2) * axis])
    half = values / 2
    cosine, sine = np.cos(half), np.sin(half)
    first, second, third = ("XYZ".index(letter) for letter in kind)
    even = kind in ("XYZ", "YZX", "ZXY")
    (c1, c2, c3), (s1, s2, s3) = cosine[:, (first, second, third)].T, sine[:, (first, second, third)].T
    sign = 1.0 if even else -1.0
    turned = np.empty((len(values), 4))
    turned[:, 0] = c1 * c2 * c3 + sign * s1 * s2 * s3
    turned[:, 1 + first] = s1 * c2 * c3 - sign * c1 * s2 * s3
    turned[:, 1 + second] = c1 * s2 * c3 + sign * s1 * c2 * s3
    turned[:, 1 + third] = c1 * c2 * s3 - sign * s1 * s2 * c3
    return turned


def _differences(frames: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return [T, C] slopes of the motion itself, by its neighbours in time."""
    if len(frames) < 2:
        return np.zeros(np.shape(values))
    return np.gradient(np.asarray(values, dtype=np.float64), frames, axis=0)


def _splits(off: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return numbers of frames at which curves between keys that are beyond the bound should be split.

    One that is a little beyond is split where it is worst, the middle preferred; one that is far beyond into several
    equal parts, as the error of a cubic falls with the fourth power of its length.

    Args:
        off: [T] errors as multiples of the bound. keys: [K] numbers of frames.
    """
    most = np.maximum.reduceat(off, keys[:-1])
    parts = np.ceil((most / _WITHIN) ** 0.25).clip(1, _MOST_PARTS).astype(int)
    segment = np.repeat(np.arange(len(keys) - 1), np.diff(keys))
    share = (np.arange(len(segment)) - keys[segment]) / np.diff(keys)[segment]
    worth = off[:-1] * share * (1 - share)
    hits = np.flatnonzero(worth >= np.maximum.reduceat(worth, keys[:-1])[segment])
    _, first = np.unique(segment[hits], return_index=True)
    worst = hits[first]
    bad = most > _WITHIN
    found = [worst[bad & (parts <= 2)]]
    for count in range(3, _MOST_PARTS + 1):
        wide = np.flatnonzero(bad & (parts == count))
        cuts = keys[wide, None] + np.diff(keys)[wide, None] * np.arange(1, count) / count
        found.append(np.setdiff1d(np.round(cuts).astype(int), keys))
    found.append(worst[bad & (np.diff(keys) == 2)])
    return np.concatenate(found)


def _slopes(frames: np.ndarray, values: np.ndarray, known: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return [K, C] slopes at keys that leave the least squared error at all frames.

    Args:
        frames: [T]. values: [T, C]. known: [T, C] slopes of the motion, which hold where frames tell no other.
        keys: [K] numbers of frames, the first and the last among them.
    """
    segment = np.repeat(np.arange(len(keys) - 1), np.diff(keys))
    length = np.diff(frames[keys])
    share = (frames[:-1] - frames[keys][segment]) / length[segment]
    rise = (share * share * (3 - 2 * share))[:, None]
    left = values[keys][segment] * (1 - rise) + values[keys][segment + 1] * rise
    off = values[:-1] - left
    one, two = share * (1 - share) ** 2 * length[segment], share * share * (share - 1) * length[segment]
    starts = keys[:-1]

    def total(part: np.ndarray) -> np.ndarray:
        return np.add.reduceat(part, starts, axis=0)

    tie = _TIE * length**2
    diagonal = np.zeros(len(keys))
    diagonal[:-1] += total(one * one) + tie
    diagonal[1:] += total(two * two) + tie
    side = total(one * two)
    right = np.zeros((len(keys), values.shape[1]))
    right[:-1] += total(one[:, None] * off) + tie[:, None] * known[keys[:-1]]
    right[1:] += total(two[:, None] * off) + tie[:, None] * known[keys[1:]]
    return tridiagonal(diagonal, side, right)


def tridiagonal(diagonal: np.ndarray, side: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the [N, C] solution of a symmetric tridiagonal system that is diagonally dominant.

    Parallel cyclic reduction (Hockney 1965): equations lose their neighbours at a distance of 1, 2, 4 and so on.

    Args:
        diagonal: [N]. side: [N - 1] beside it. right: [N, C].
    """
    count = len(diagonal)
    lower, upper = np.concatenate([[0.0], side]), np.concatenate([side, [0.0]])
    diagonal, right = diagonal.copy(), right.copy()
    step = 1
    while step < count:
        down, up = np.zeros(count), np.zeros(count)
        down[step:] = -lower[step:] / diagonal[:-step]
        up[:-step] = -upper[:-step] / diagonal[step:]
        new_lower, new_upper = np.zeros(count), np.zeros(count)
        new_lower[step:] = down[step:] * lower[:-step]
        new_upper[:-step] = up[:-step] * upper[step:]
        more, extra = np.zeros(count), np.zeros_like(right)
        more[step:] += down[step:] * upper[:-step]
        more[:-step] += up[:-step] * lower[step:]
        extra[step:] += down[step:, None] * right[:-step]
        extra[:-step] += up[:-step, None] * right[step:]
        diagonal, right, lower, upper = diagonal + more, right + extra, new_lower, new_upper
        step *= 2
    return right / diagonal[:, None]
