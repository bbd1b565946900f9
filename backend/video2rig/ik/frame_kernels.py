# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiled solver of frames by themselves, for CPUs: many problems, each too small for calls of torch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .evidence_kernels import of_positions
from .kernels import compiled, forward, move_root, site, stretched
from .normal_kernels import carry_to_angles, gather_points
from .time_kernels import solve_one

_TINY = np.finfo(np.float64).tiny


class Search(NamedTuple):
    """How frames are solved: at most so many steps, tolerance and first damping as for :func:`~.solver.solve`.

    The damping stays between the least and the most, and is at least the felt one after a step that failed; above the
    settling one, a small gain tells nothing.
    """

    steps: int
    tolerance: float
    damping: float
    least: float
    most: float
    felt: float
    settling: float


class Poses(NamedTuple):
    """Poses of N frames: root_position [N, 3] metres, root_rotation [N, 3, 3], angles [N, A] radians."""

    root_position: np.ndarray
    root_rotation: np.ndarray
    angles: np.ndarray


class Seen(NamedTuple):
    """Points seen in N frames: target [N, K, 3] metres, weight [N, K] inverse standard deviations."""

    target: np.ndarray
    weight: np.ndarray


class Habits(NamedTuple):
    """Of angles [A], radians: where they stay near, the inverse of how near, and their range of motion."""

    neutral: np.ndarray
    by_angle: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


class _Room(NamedTuple):
    """Room to work in: a body's offsets, and what one frame's pose makes of it."""

    offset: np.ndarray
    site_offset: np.ndarray
    place: np.ndarray
    turn: np.ndarray
    axes: np.ndarray
    spots: np.ndarray
    pull: np.ndarray
    information: np.ndarray
    asked: np.ndarray


@compiled
def solve_frames(t, poses, stretch, seen, scale, habits, search):
    """Solve N frames; their :class:`Poses` are overwritten.

    Args:
        t: The topology. stretch: [1, G] or [N, G] logarithms of the lengths.
        scale: Standard deviations beyond which points count ever less, infinite for none.

    Returns:
        The costs [N].
    """
    root_position, root_rotation, angles = poses
    count, joints, points = angles.shape[1], len(t.parents), len(t.site_joint)
    room = _Room(
        np.empty((joints, 3)), np.empty(t.site_offset.shape), np.empty((joints, 3)), np.empty((joints, 3, 3)),
        np.empty((count, 3)), np.empty((points, 3)), np.empty((points, 3)), np.empty((points, 3, 3)),
        np.empty((joints, 27)),
    )  # fmt: skip
    hessian, gradient, free = np.empty((6 + count, 6 + count)), np.empty(6 + count), np.empty(6 + count, dtype=np.bool_)
    step, right = np.zeros((6 + count, 1)), np.empty((6 + count, 1))
    factor, number = np.empty((6 + count, 6 + count)), np.empty(6 + count, dtype=np.int64)
    position, rotation, bent, turn = np.empty(3), np.empty((3, 3)), np.empty(count), np.empty((3, 3))
    costs = np.empty(len(angles))
    for f in range(len(angles)):
        if f == 0 or len(stretch) > 1:
            stretched(t, stretch[f], room.offset, room.site_offset)
        damping, moved = search.damping, True
        cost = _explain(t, root_position[f], root_rotation[f], angles[f], seen, f, scale, habits, room)
        for _ in range(search.steps):
            if moved:
                _assemble(t, root_position[f], angles[f], habits, room, hessian, gradient)
                _find_free(angles[f], habits, gradient, free)
                for d in range(len(free)):
                    right[d, 0] = gradient[d] if free[d] else 0.0
            step[:] = 0.0
            halved, after, predicted = False, np.inf, 0.0
            if solve_one(hessian, free, damping, right, step, factor, number):
                for d in range(len(step)):
                    predicted += right[d, 0] * step[d, 0]
                    step[d, 0] = -step[d, 0]
                for way in range(2):
                    halved = way > 0
                    if halved:
                        step *= 0.5
                    move_root(root_position[f], root_rotation[f], step[:, 0], turn, position, rotation)
                    for a in range(count):
                        bent[a] = min(max(angles[f, a] + step[6 + a, 0], habits.lower[a]), habits.upper[a])
                    after = _explain(t, position, rotation, bent, seen, f, scale, habits, room)
                    if after < cost:
                        break
            gain, before, used, moved = cost - after, cost, damping, after < cost
            if moved:
                root_position[f], root_rotation[f], angles[f], cost = position, rotation, bent, after
                if halved:
                    continue
                share = gain / max(predicted, _TINY)
                damping *= 0.1 if share > 0.75 else 0.5 if share > 0.25 else 2.0
                damping = min(max(damping, search.least), search.most)
                if gain < search.tolerance * before and used <= search.settling:
                    break
            else:
                damping = min(max(damping * 10.0, search.felt), search.most)
                if used >= search.most or abs(gain) <= 1e-12 * before:
                    break
        costs[f] = cost
    return costs


@compiled
def _explain(t, root_position, root_rotation, angles, seen, f, scale, habits, room):
    """Write where the points of frame f are and what is asked of them, and return the cost."""
    forward(t, root_position, root_rotation, angles, room.offset, room.place, room.turn, room.axes)
    for k in range(len(room.spots)):
        site(t, k, room.place, room.turn, room.site_offset, room.spots[k])
    room.pull[:] = 0.0
    room.information[:] = 0.0
    cost = of_positions(room.spots, seen.target[f], seen.weight[f], scale, room.pull, room.information)
    for a in range(len(angles)):
        cost += ((angles[a] - habits.neutral[a]) * habits.by_angle[a]) ** 2
    return cost


@compiled
def _assemble(t, root_position, angles, habits, room, hessian, gradient):
    """Write the normal equations [D, D] and [D] of a frame that ``_explain`` has seen."""
    hessian[:] = 0.0
    gradient[:] = 0.0
    gather_points(t, root_position, room.spots, room.pull, room.information, room.asked)
    carry_to_angles(t, root_position, room.place, room.axes, room.asked, hessian, gradient)
    for a in range(len(angles)):
        weight = habits.by_angle[a] * habits.by_angle[a]
        gradient[6 + a] += weight * (angles[a] - habits.neutral[a])
        hessian[6 + a, 6 + a] += weight


@compiled
def _find_free(angles, habits, gradient, free):
    """Write which unknowns [D] are not held at a bound that descent would push them through."""
    free[:6] = True
    for a in range(len(angles)):
        slope = gradient[6 + a]
        below, above = angles[a] <= habits.lower[a], angles[a] >= habits.upper[a]
        free[6 + a] = not ((below and slope > 0.0) or (above and slope < 0.0))
