# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotations over time as the numbers that an animation program keys, without jumps: Euler angles, axis and angle."""

from __future__ import annotations

import numpy as np

from .bounds import euler_angles

_STILL = 1e-6  # sine of half an angle below which a rotation has no axis


def euler_curves(quaternions: np.ndarray, order: str) -> np.ndarray:
    """Return [T, 3] angles about x, y, z of [T, 4] quaternions wxyz, radians; the order's first letter turns first.

    Of the two triples that make a rotation each frame takes the one nearer to the frame before, and angles go on beyond
    half a turn instead of jumping back. The first frame takes the triple of the smaller angles.
    """
    one = euler_angles(quaternions, order)
    middle = "XYZ".index(order[1])
    other = one + np.pi
    other[:, middle] = np.pi - one[:, middle]
    # the two triples of a frame change places together with those of the next, so whether to change is known per step
    stay = np.abs(_wrapped(one[1:] - one[:-1])).sum(axis=1)
    change = np.abs(_wrapped(other[1:] - one[:-1])).sum(axis=1)
    first = np.abs(_wrapped(other[:1])).sum(axis=1) < np.abs(one[:1]).sum(axis=1)
    changed = np.cumsum(np.concatenate([first, change < stay])) % 2 == 1
    chosen = np.where(changed[:, None], other, one)
    chosen[0] = _wrapped(chosen[0])
    return np.unwrap(chosen, axis=0)


def axis_angle_curves(quaternions: np.ndarray) -> np.ndarray:
    """Return [T, 4] angle and unit axis of [T, 4] quaternions wxyz, all of them continuous in time.

    The angle passes through zero, with the axis as it was, where a rotation swings through rest; frames without an axis
    take that of the frame before.
    """
    sine = np.linalg.norm(quaternions[:, 1:], axis=1)
    known = np.flatnonzero(sine > _STILL)
    if len(known) == 0:
        return np.tile([0.0, 0.0, 1.0, 0.0], (len(quaternions), 1))
    source = known[np.maximum(np.searchsorted(known, np.arange(len(quaternions)), side="right") - 1, 0)]
    axis = quaternions[source, 1:] / sine[source, None]
    turned = np.where((axis[1:] * axis[:-1]).sum(axis=1) < 0, -1.0, 1.0)
    sign = np.concatenate([[1.0], turned]).cumprod()
    axis = axis * sign[:, None]
    angle = 2 * np.arctan2((quaternions[:, 1:] * axis).sum(axis=1), quaternions[:, 0])
    if angle[0] > np.pi:
        angle[0] -= 2 * np.pi
    return np.column_stack([np.unwrap(angle), axis])


def _wrapped(angles: np.ndarray) -> np.ndarray:
    return (angles + np.pi) % (2 * np.pi) - np.pi
