# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiled terms on angles and local rotations for CPUs: the neutral pose, and what a regression says."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .kernels import compiled
from .time_kernels import turn_between


class Expected(NamedTuple):
    """What angles and rotations of B clips of T frames are asked to agree with.

    Attributes:
        neutral: [A] radians; by_angle: [A] the inverse of how near to them angles stay.
        rotation: [B, T, J, 3, 3] local rotations; of the root, its orientation. No joints where nothing says them.
        whitening: [B, T, J, 3, 3] of their errors' rotation vectors, as :func:`~.terms.prior_rotations` takes it.
    """

    neutral: np.ndarray
    by_angle: np.ndarray
    rotation: np.ndarray
    whitening: np.ndarray


@compiled
def cost_of_angles(t, root_rotation, angles, expected):
    """Return the cost [B] of poses [B, T]."""
    cost = np.zeros(len(angles))
    own, axes, error, missed = np.empty((3, 3)), np.empty((3, 3)), np.empty(3), np.empty(3)
    for b in range(angles.shape[0]):
        for f in range(angles.shape[1]):
            for a in range(angles.shape[2]):
                cost[b] += ((angles[b, f, a] - expected.neutral[a]) * expected.by_angle[a]) ** 2
            for joint in range(expected.rotation.shape[2]):
                whitening = expected.whitening[b, f, joint]
                if np.any(whitening):
                    _local_rotation(t, joint, root_rotation[b, f], angles[b, f], own, axes)
                    turn_between(expected.rotation[b, f, joint], own, error)
                    _multiply(whitening, error, missed)
                    cost[b] += missed[0] ** 2 + missed[1] ** 2 + missed[2] ** 2
    return cost


@compiled
def add_angles(t, root_rotation, angles, expected, hessian, gradient):
    """Add to the normal equations, hessian [B, T, D, D] (its lower triangle) and gradient [B, T, D], of poses."""
    own, axes, error, missed = np.empty((3, 3)), np.empty((3, 3)), np.empty(3), np.empty(3)
    turned, by_unknown, number = np.empty(3), np.empty((3, 3)), np.empty(3, dtype=np.int64)
    for b in range(angles.shape[0]):
        for f in range(angles.shape[1]):
            h, g = hessian[b, f], gradient[b, f]
            for a in range(angles.shape[2]):
                weight = expected.by_angle[a] * expected.by_angle[a]
                g[6 + a] += weight * (angles[b, f, a] - expected.neutral[a])
                h[6 + a, 6 + a] += weight
            for joint in range(expected.rotation.shape[2]):
                whitening, count = expected.whitening[b, f, joint], 0
                if not np.any(whitening):
                    continue
                _local_rotation(t, joint, root_rotation[b, f], angles[b, f], own, axes)
                turn_between(expected.rotation[b, f, joint], own, error)
                _multiply(whitening, error, missed)
                for axis in range(3):
                    unknown = 3 + axis if joint == 0 else 6 + t.dof[joint, axis]
                    if joint == 0 or t.dof[joint, axis] >= 0:
                        _inverse_left_jacobian(error, axes[axis], turned)
                        _multiply(whitening, turned, by_unknown[count])
                        number[count] = unknown
                        count += 1
                for i in range(count):
                    one, row = by_unknown[i], number[i]
                    g[row] += one[0] * missed[0] + one[1] * missed[1] + one[2] * missed[2]
                    for j in range(count):
                        if number[j] <= row:
                            other = by_unknown[j]
                            h[row, number[j]] += one[0] * other[0] + one[1] * other[1] + one[2] * other[2]


@compiled
def _local_rotation(t, joint, root_rotation, angles, own, axes):
    """Write a joint's own rotation [3, 3], and the axes [3, 3] about which a small change of each angle turns it.

    The root's are its orientation and the axes of the world.
    """
    axes[:] = 0.0
    for r in range(3):
        axes[r, r] = 1.0
    own[:] = root_rotation if joint == 0 else axes
    if joint == 0:
        return
    for last in range(3):
        axis = t.axis_order[joint, 2 - last]
        dof = t.dof[joint, axis]
        if dof < 0:
            continue
        second, third = (axis + 1) % 3, (axis + 2) % 3
        cos, sin = np.cos(angles[dof]), np.sin(angles[dof])
        for r in range(3):
            axes[axis, r] = own[r, axis]
            b, c = own[r, second], own[r, third]
            own[r, second] = cos * b + sin * c
            own[r, third] = cos * c - sin * b


@compiled
def _multiply(matrix, vector, result):
    for r in range(3):
        result[r] = matrix[r, 0] * vector[0] + matrix[r, 1] * vector[1] + matrix[r, 2] * vector[2]


@compiled
def _inverse_left_jacobian(rotvec, vector, result):
    """Write the inverse left Jacobian of SO(3) at a rotation vector, times a vector."""
    x, y, z = rotvec[0], rotvec[1], rotvec[2]
    square = x * x + y * y + z * z
    angle = np.sqrt(square)
    c = 1.0 / square - 0.5 / (angle * np.tan(0.5 * angle)) if angle >= 1e-3 else 1.0 / 12.0 + square / 720.0
    u, v, w = y * vector[2] - z * vector[1], z * vector[0] - x * vector[2], x * vector[1] - y * vector[0]
    result[0] = vector[0] - 0.5 * u + c * (y * w - z * v)
    result[1] = vector[1] - 0.5 * v + c * (z * u - x * w)
    result[2] = vector[2] - 0.5 * w + c * (x * v - y * u)
