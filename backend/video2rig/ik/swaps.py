# SPDX-License-Identifier: GPL-3.0-or-later
"""Left-right swaps of a detector, found and undone before anything is solved.

Detectors exchange left and right for a frame or for half a second, with no loss of confidence. What tells is
continuity: each side is followed through time by a filter of constant velocity, and the labelling that jumps least is
found by dynamic programming (Viterbi 1967), of arms, legs and face; often they are exchanged together. Whoever turns
exchanges sides in the picture without a jump and is left alone. So is a sequence that is swapped throughout: nothing
in it tells; nor can one be told that is swapped for more than half of its time.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..skeleton import Skeleton

GROUPS = ("arms", "legs", "head")
"""What a detector swaps as one; the G columns of :func:`find_swaps`."""

_WORDS = (
    ("shoulder", "clavicle", "elbow", "wrist", "hand", "pinky", "index", "thumb", "finger"),
    ("hip", "knee", "ankle", "heel", "toe", "toes", "foot"),
    ("eye", "ear", "mouth"),
)
_OTHER = {"left": "right", "right": "left"}

_CAP_MISPLACED = 4.0
"""A point that is expected elsewhere costs at most this."""

_ASKED, _CHANGE = 1.0, 2.0
"""How much better the other side must fit in each frame, and at every beginning and end of a swap."""

_FEWEST = 4
"""Shorter sequences cannot tell a swap that begins and ends."""

_CAP = 25.0
"""A point that jumps costs at most this, in squares of the expected jump: beyond, it is an outlier."""

_SWITCH = 30.0
"""Price of every beginning and every end of a swap: less than a pair that jumps."""

_TOGETHER = 0.25
"""A detector that mistakes front for back exchanges the whole body at once: what swaps together costs this share each
after the first."""

_LONGEST, _LONGEST_AT_END = 1.5, 0.25
"""Seconds that a swap may last: inside the sequence, and where only one of its ends is seen. What lasts longer is
rather a jump of the person."""

_PER_SECOND = 6.0
"""Price of a second that is swapped: of two labellings that are equally smooth, the detector's own is kept."""

# Expected jump: shares of the usual change of velocity, and of the motion about the frame; and of the body's size.
_BY_CHANGE, _BY_MOTION, _BY_SIZE = 0.6, 0.35, 0.005
_ABOUT = 4
"""Frames before and after over which that motion is averaged."""

_POSITION_GAIN, _VELOCITY_GAIN = 0.8, 0.5
_COASTING = 3
"""A point that is not seen is thought to go on for at most so many frames."""


@dataclass(frozen=True, eq=False)
class Mirror:
    """Which points mirror which.

    Attributes:
        twin: [K] the point on the other side; a point's own number where it has none.
        group: [K] index into :data:`GROUPS`, -1 where a point has no twin.
    """

    twin: np.ndarray
    group: np.ndarray


def mirror_by_names(names: Sequence[str]) -> Mirror:
    """Return the mirror of keypoints whose names say left or right, as ``left_knee`` or ``Knee.Right`` do."""
    words = [tuple(re.findall(r"[a-z]+|[0-9]+", name.lower())) for name in names]
    place = {word: number for number, word in enumerate(words)}
    twins = [place.get(tuple(_OTHER.get(part, part) for part in word), k) for k, word in enumerate(words)]
    return _mirror(np.array(twins), words)


def mirror_by_places(names: Sequence[str], skeleton: Skeleton, sites: tuple[np.ndarray, np.ndarray]) -> Mirror:
    """Return the mirror of points on a skeleton: by their names, else by the roles of the joints that carry them.

    Args:
        names: K names. skeleton: With roles such as ``left_knee``.
        sites: The joint [K] that carries each point and its place [K, 3] in that bone's frame, metres; points mirror
            one another whose joints do, at places that agree up to signs.
    """
    named = mirror_by_names(names)
    joints, places = sites
    words = [tuple(skeleton.roles[joint].split("_")) for joint in joints]
    twins = np.arange(len(names))
    for point, word in enumerate(words):
        other = tuple(_OTHER.get(part, part) for part in word)
        found = [
            k for k, w in enumerate(words) if w == other != word and np.allclose(*np.abs(places[[k, point]]), atol=1e-3)
        ]
        if len(found) == 1:
            twins[point] = found[0]
    placed = _mirror(np.where(twins[twins] == np.arange(len(names)), twins, np.arange(len(names))), words)
    own = np.arange(len(names)) != named.twin
    free = ~own & ~own[placed.twin]
    return Mirror(np.where(free, placed.twin, named.twin), np.where(free, placed.group, named.group))


def find_swaps(points: np.ndarray, confidence: np.ndarray, times: np.ndarray, mirror: Mirror) -> np.ndarray:
    """Find the frames in which left and right are exchanged.

    Args:
        points: [T, K, 2] pixels or [T, K, 3] metres; any value where unseen. confidence: [T, K], 0 where unseen.
        times: [T] seconds, rising. mirror: Of the K points.

    Returns:
        [T, G] bool, a column for each of :data:`GROUPS`.
    """
    swapped = np.zeros((len(points), len(GROUPS)), dtype=bool)
    left = np.flatnonzero((mirror.group >= 0) & (mirror.twin > np.arange(len(mirror.twin))))
    if len(points) < _FEWEST or not len(left):
        return swapped
    # sides [T, 2, P, D]: the two points of every pair
    columns = np.stack([left, mirror.twin[left]])
    seen = np.greater(confidence[:, columns], 0)
    sides = np.where(seen[..., None], points[:, columns], 0.0)
    scale = _expected_jump(points, confidence, sides, seen)
    group = mirror.group[left]
    doubtful = _doubtful(sides, seen, scale, group)
    if not doubtful.any():
        return swapped
    chosen = doubtful[group]
    found = _most_continuous(sides[:, :, chosen], seen[:, :, chosen], scale[:, chosen], group[chosen], times)
    return _short_enough(found & doubtful, times)


def misplaced(
    points: np.ndarray, confidence: np.ndarray, expected: np.ndarray, tolerance: np.ndarray, mirror: Mirror
) -> np.ndarray:
    """Find the frames in which a whole body lies where its mirror image is expected.

    Args:
        points: [T, K, D] as they were seen. confidence: [T, K], 0 where unseen.
        expected: [T, K, D] where something that knows left from right expects them.
        tolerance: [T] how far it is wrong, standard deviation. mirror: Of the K points.

    Returns:
        [T, G] bool, a column for each of :data:`GROUPS`; all columns are alike.
    """
    stayed, crossed = (
        np.minimum(np.square(points - where).sum(-1) / np.square(tolerance)[:, None], _CAP_MISPLACED)
        for where in (expected, expected[:, mirror.twin])
    )
    gain = np.where(confidence > 0, confidence * (stayed - crossed), 0.0).sum(axis=1) - _ASKED
    # the best labelling that ends as it is and the best that ends swapped (Viterbi 1967)
    best, came = np.zeros(2), np.zeros((len(points), 2), dtype=np.int64)
    for frame in range(len(points)):
        came[frame] = np.where(best[::-1] - _CHANGE > best, [1, 0], [0, 1])
        best = best[came[frame]] + [0.0, gain[frame]]
    swapped, state = np.zeros(len(points), dtype=bool), int(best.argmax())
    for frame in reversed(range(len(points))):
        swapped[frame] = state == 1
        state = int(came[frame, state])
    return np.repeat(swapped[:, None], len(GROUPS), axis=1)


def relabelled(array: np.ndarray, swapped: np.ndarray, mirror: Mirror) -> np.ndarray:
    """Return an array over points [T, K, ...] with left and right exchanged where swapped [T, G]; twice is never."""
    exchanged = swapped[:, mirror.group] & (mirror.group >= 0)
    source = np.where(exchanged, mirror.twin, np.arange(len(mirror.twin)))
    return np.take_along_axis(array, source.reshape(*source.shape, *(1 for _ in array.shape[2:])), axis=1)


def _short_enough(swapped: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return swaps [T, G] without those that last too long."""
    result, frames = swapped.copy(), len(times)
    usual = float(np.median(np.diff(times)))
    for column in result.T:
        edges = np.flatnonzero(np.diff(column.astype(np.int8), prepend=0, append=0))
        for begin, end in zip(edges[::2], edges[1::2], strict=True):
            lasts = times[end - 1] - times[begin] + usual
            if lasts > (_LONGEST_AT_END if begin == 0 or end == frames else _LONGEST) + usual / 2:
                column[begin:end] = False
    return result


def _mirror(twin: np.ndarray, words: Sequence[tuple[str, ...]]) -> Mirror:
    group = np.full(len(twin), -1)
    for number, known in enumerate(_WORDS):
        group[[bool(set(word) & set(known)) for word in words]] = number
    alone = (twin == np.arange(len(twin))) | (group < 0)
    return Mirror(np.where(alone, np.arange(len(twin)), twin), np.where(alone, -1, group))


def _expected_jump(points: np.ndarray, confidence: np.ndarray, sides: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return [T, P] by how much a point of each pair is expected to miss its prediction.

    All of it is the same however the sides are labelled, or hardly changed by labels that are seldom wrong.
    """
    known = confidence > 0
    middle = (points[known].max(axis=0) + points[known].min(axis=0)) / 2 if known.any() else 0.0
    count = np.maximum(known.sum(axis=1), 1)
    offset = np.where(known[..., None], points - middle, 0.0)
    centre = offset.sum(axis=1, keepdims=True) / count[:, None, None]
    spread = np.sqrt((np.square(offset - centre).sum(axis=-1) * known).sum(axis=1) / count)
    size = np.median(spread[known.sum(axis=1) > 1]) if (known.sum(axis=1) > 1).any() else 1.0

    change, whole = np.diff(sides, n=2, axis=0), seen[2:] & seen[1:-1] & seen[:-2]
    jumps = np.where(whole, np.linalg.norm(change, axis=-1), np.nan)
    usual = _median(jumps.reshape(-1, sides.shape[2]))

    between, middle = sides[:, 1] - sides[:, 0], (sides[:, 1] + sides[:, 0]) / 2
    both = seen.all(axis=1)
    turned = np.minimum(*(np.linalg.norm(between[1:] + sign * between[:-1], axis=-1) for sign in (1, -1))) / 2
    moved = np.linalg.norm(np.diff(middle, axis=0), axis=-1) + turned
    moved = np.where(both[1:] & both[:-1], moved, np.nan)
    motion = _moving_mean(np.concatenate([moved[:1], moved]), _median(moved))
    return np.sqrt(
        np.square(_BY_CHANGE * usual) + np.square(_BY_MOTION * motion) + np.square(_BY_SIZE * max(size, 1e-9))
    )


def _median(values: np.ndarray) -> np.ndarray:
    """Return the medians [P] of columns [N, P], leaving out NaN; the typical one, or 0, where there are none."""
    told = np.asarray(np.isfinite(values))
    medians = np.zeros(values.shape[1])
    for column in np.flatnonzero(told.any(axis=0)):
        medians[column] = np.median(values[told[:, column], column])
    usual = np.median(medians[told.any(axis=0)]) if told.any() else 0.0
    return np.where(told.any(axis=0), medians, usual)


def _moving_mean(values: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """Return means [T, P] over the frames about each, leaving out NaN."""
    told = np.asarray(np.isfinite(values))
    total, count = (
        np.cumsum(np.pad(np.where(told, array, 0.0), ((_ABOUT + 1, _ABOUT), (0, 0))), axis=0)
        for array in (values, told)
    )
    width = 2 * _ABOUT + 1
    total, count = total[width:] - total[:-width], count[width:] - count[:-width]
    return np.where(count > 0, total / np.maximum(count, 1), otherwise)


def _doubtful(sides: np.ndarray, seen: np.ndarray, scale: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return [G] bool: groups that in some frame lie nearer to where their mirror was last."""
    frames = len(sides)
    last = np.where(seen, np.arange(frames)[:, None, None], -1)
    last = np.concatenate([np.full_like(last[:1], -1), np.maximum.accumulate(last, axis=0)[:-1]])
    before = np.take_along_axis(sides, last.clip(0)[..., None], axis=0)
    known = np.greater_equal(last, 0).all(axis=1, keepdims=True) & seen
    gains = np.zeros((frames, len(GROUPS)))
    stayed, crossed = (
        np.minimum(np.square(sides - where).sum(axis=-1) / np.square(scale[:, None]), _CAP)
        for where in (before, before[:, ::-1])
    )
    gain = ((stayed - crossed) * known).sum(axis=1)
    for number in range(len(GROUPS)):
        gains[:, number] = gain[:, group == number].sum(axis=1)
    return np.asarray((gains > 0).any(axis=0))


def _most_continuous(
    sides: np.ndarray, seen: np.ndarray, scale: np.ndarray, group: np.ndarray, times: np.ndarray
) -> np.ndarray:
    """Return [T, G] bool: the labelling of least cost.

    A state says of each group whether it is swapped; each of the S carries the tracks of the best labelling that ends
    in it, so that points come back after gaps to where they were expected.

    Args:
        sides: [T, 2, P, D]; seen: [T, 2, P]; scale: [T, P]; group: [P]; times: [T] seconds.
    """
    frames, _, pairs, dimensions = sides.shape
    usual = float(np.median(np.diff(times)))
    states = np.array(list(itertools.product([0, 1], repeat=len(GROUPS))))  # [S, G]
    count, own = len(states), np.arange(len(states))
    exchanged = states[:, group]  # [S, P]
    switch, per_second = _prices(states)
    every = np.arange(pairs)
    # tracks of each state: [state, side, P]
    position, velocity = np.zeros((2, count, 2, pairs, dimensions))
    last, hits = np.zeros((2, count, 2, pairs))
    total = np.zeros(count)
    before = np.zeros((frames, count), dtype=np.int64)
    for frame in range(frames):
        waited = (times[frame] - last) / usual
        predicted = position + velocity * np.minimum(waited, _COASTING)[..., None]
        # as each state labels them: [state, side, P]
        side = np.stack([exchanged, 1 - exchanged], axis=1)
        observed, visible = sides[frame][side, every], seen[frame][side, every]
        # from state, to state, side, P
        square = np.square(observed - predicted[:, None]).sum(axis=-1)
        age = np.maximum(waited.max(axis=1), 1.0)  # one for both sides, so that neither is the easier to meet
        known = np.asarray((hits > 1).all(axis=1))  # once it is seen how they move
        cost = np.minimum(square / np.square(scale[frame] * age)[:, None, None], _CAP)
        cost = (cost * visible * known[:, None, None]).sum(axis=(2, 3))
        through = total[:, None] + cost + (switch if frame else 0.0)
        came = np.where(through.diagonal() == through.min(axis=0), own, through.argmin(axis=0))
        before[frame] = came
        total = through[came, own]
        total = total + per_second * (min(times[frame] - times[frame - 1], 1.0) if frame else usual)
        # the tracks go on from the state that each came from
        position, velocity, last, hits, predicted, waited = (
            array[came] for array in (position, velocity, last, hits, predicted, waited)
        )
        step = observed - predicted
        first = visible & (hits == 0)
        near = np.square(step).sum(axis=-1) <= _CAP * np.square(scale[frame] * np.maximum(waited, 1.0))
        met = visible & (hits > 0) & near
        gain = np.maximum(_VELOCITY_GAIN, 1.0 / np.maximum(hits, 1.0)) / np.maximum(waited, 1.0)
        position = np.where(
            first[..., None], observed, np.where(met[..., None], predicted + _POSITION_GAIN * step, position)
        )
        velocity = np.where(met[..., None], velocity + gain[..., None] * step, velocity)
        seen_now = first | met
        last, hits = np.where(seen_now, times[frame], last), hits + seen_now
    swapped = np.zeros((frames, len(GROUPS)), dtype=bool)
    state = int(total.argmin())
    for frame in range(frames - 1, -1, -1):
        swapped[frame] = states[state] == 1
        state = before[frame, state]
    return swapped


def _prices(states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the price [S, S] of going from one of [S, G] states to another, and that [S] of a second in each."""
    change = states[None] - states[:, None]
    together = np.stack([(change > 0).sum(-1), (change < 0).sum(-1)])
    switch = _SWITCH * (_TOGETHER * together + (1.0 - _TOGETHER) * np.minimum(together, 1)).sum(0)
    return switch, _PER_SECOND * states.sum(1)
