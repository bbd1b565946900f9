# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiled kinematics for CPUs: the same mathematics as :mod:`.model`, frame by frame, without zeros.

Every function works on plain arrays of one :class:`~.model.Topology`; the tests hold each against its twin in torch.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

# of fast mathematics all but the promise that there is no NaN and no infinity
compiled = numba.njit(
    cache=True, fastmath={"contract", "reassoc", "nsz", "arcp", "afn"}, nogil=True, error_model="numpy"
)


class Topology(NamedTuple):
    """What does not change while a body is solved.

    Attributes:
        parents: [J]. rest_rotation: [J, 3, 3]. axis_order: [J, 3] axis that turns first, second, third.
        dof: [J, 3] number of the angle about each axis, -1 where it is locked. dof_joint: [A].
        site_joint: [K]. offset_group: [J], site_group: [K] which length each scales with, -1 for none.
        features: [F, 2] points (begin, end); a begin of -1 is the point itself, otherwise the feature is end - begin.
        columns: [F, D] the unknowns that move each feature, in columns[f, :column_count[f]].
        moves: [K, A] whether an angle moves a point.
    """

    parents: np.ndarray
    rest_rotation: np.ndarray
    axis_order: np.ndarray
    dof: np.ndarray
    dof_joint: np.ndarray
    site_joint: np.ndarray
    offset_group: np.ndarray
    site_group: np.ndarray
    features: np.ndarray
    columns: np.ndarray
    column_count: np.ndarray
    moves: np.ndarray


@compiled
def _forward(t, root_position, root_rotation, angles, offset, place, turn, axes):
    """Fill place [J, 3], turn [J, 3, 3] (global) and axes [A, 3] (global, of each angle) of one frame."""
    place[0], turn[0] = root_position, root_rotation
    for joint in range(1, len(t.parents)):
        parent = t.parents[joint]
        above, rest, own = turn[parent], t.rest_rotation[joint], turn[joint]
        for r in range(3):
            place[joint, r] = (
                place[parent, r]
                + above[r, 0] * offset[joint, 0]
                + above[r, 1] * offset[joint, 1]
                + above[r, 2] * offset[joint, 2]
            )
            for c in range(3):
                own[r, c] = above[r, 0] * rest[0, c] + above[r, 1] * rest[1, c] + above[r, 2] * rest[2, c]
        for last in range(3):
            axis = t.axis_order[joint, 2 - last]
            dof = t.dof[joint, axis]
            if dof < 0:
                continue
            second, third = (axis + 1) % 3, (axis + 2) % 3
            cos, sin = np.cos(angles[dof]), np.sin(angles[dof])
            for r in range(3):
                axes[dof, r] = own[r, axis]
                b, c = own[r, second], own[r, third]
                own[r, second] = cos * b + sin * c
                own[r, third] = cos * c - sin * b


@compiled
def _site(t, k, place, turn, site_offset, point):
    joint = t.site_joint[k]
    for r in range(3):
        point[r] = (
            place[joint, r]
            + turn[joint, r, 0] * site_offset[k, 0]
            + turn[joint, r, 1] * site_offset[k, 1]
            + turn[joint, r, 2] * site_offset[k, 2]
        )


@compiled
def points(t, root_position, root_rotation, angles, offset, site_offset):
    """Return the points of frames, [B, T, K, 3] metres.

    Args:
        t: The topology. root_position: [B, T, 3]; root_rotation: [B, T, 3, 3]; angles: [B, T, A].
        offset: [B, J, 3] and site_offset: [B, K, 3] of each clip, metres.
    """
    clips, frames, joints, count = angles.shape[0], angles.shape[1], len(t.parents), len(t.site_joint)
    result = np.empty((clips, frames, count, 3))
    place, turn, axes = np.empty((joints, 3)), np.empty((joints, 3, 3)), np.empty((len(t.dof_joint), 3))
    for b in range(clips):
        for f in range(frames):
            _forward(t, root_position[b, f], root_rotation[b, f], angles[b, f], offset[b], place, turn, axes)
            for k in range(count):
                _site(t, k, place, turn, site_offset[b], result[b, f, k])
    return result


@compiled
def _add_columns(t, k, sign, skip_root, point, place, axes, origin, feature, jacobian):
    """Add the derivatives of point k, times a sign, to the columns [n, 3] of a feature."""
    if not skip_root:
        for r in range(3):
            jacobian[r, r] += sign
    x, y, z = sign * (point[0] - origin[0]), sign * (point[1] - origin[1]), sign * (point[2] - origin[2])
    first = 0 if skip_root else 3
    jacobian[first, 1] -= z
    jacobian[first, 2] += y
    jacobian[first + 1, 0] += z
    jacobian[first + 1, 2] -= x
    jacobian[first + 2, 0] -= y
    jacobian[first + 2, 1] += x
    for i in range(first + 3, t.column_count[feature]):
        dof = t.columns[feature, i] - 6
        if t.moves[k, dof]:
            joint = t.dof_joint[dof]
            x, y, z = point[0] - place[joint, 0], point[1] - place[joint, 1], point[2] - place[joint, 2]
            jacobian[i, 0] += sign * (axes[dof, 1] * z - axes[dof, 2] * y)
            jacobian[i, 1] += sign * (axes[dof, 2] * x - axes[dof, 0] * z)
            jacobian[i, 2] += sign * (axes[dof, 0] * y - axes[dof, 1] * x)


@compiled
def _add_stretch(t, k, sign, place, turn, offset, point, stretch):
    """Add the derivatives [G, 3] of point k by the logarithms of the lengths, times a sign."""
    joint = t.site_joint[k]
    if t.site_group[k] >= 0:
        for r in range(3):
            stretch[t.site_group[k], r] += sign * (point[r] - place[joint, r])
    while joint > 0:
        group, parent = t.offset_group[joint], t.parents[joint]
        if group >= 0:
            for r in range(3):
                stretch[group, r] += sign * (place[joint, r] - place[parent, r])
        joint = parent


@compiled
def normal_equations(
    t, root_position, root_rotation, angles, offset, site_offset, pull, information, lengths, hessian, gradient,
    coupling, shared_hessian, shared_gradient,
):  # fmt: skip
    """Add what is asked of features to the normal equations of their frames.

    Args:
        t, root_position, root_rotation, angles, offset, site_offset: As for :func:`points`.
        pull: [B, T, F, 3] half the gradient of the cost by each feature; information: [B, T, F, 3, 3] half its
            Gauss-Newton Hessian.
        lengths: Whether lengths are unknowns.
        hessian: [B, T, D, D], of which the lower triangle is written; gradient: [B, T, D].
        coupling: [B, T, D, G]; shared_hessian: [B, G, G], shared_gradient: [B, G]; written where lengths are unknown.
    """
    clips, frames, joints, count = angles.shape[0], angles.shape[1], len(t.parents), len(t.site_joint)
    place, turn, axes = np.empty((joints, 3)), np.empty((joints, 3, 3)), np.empty((len(t.dof_joint), 3))
    spots = np.empty((count, 3))
    unknowns, groups = gradient.shape[2], shared_gradient.shape[1]
    jacobian, weighted, stretch = np.zeros((unknowns, 3)), np.zeros((unknowns, 3)), np.zeros((groups, 3))
    for b in range(clips):
        for f in range(frames):
            _forward(t, root_position[b, f], root_rotation[b, f], angles[b, f], offset[b], place, turn, axes)
            for k in range(count):
                _site(t, k, place, turn, site_offset[b], spots[k])
            h, g = hessian[b, f], gradient[b, f]
            for feature in range(len(t.features)):
                w, p = information[b, f, feature], pull[b, f, feature]
                if w[0, 0] + w[1, 1] + w[2, 2] == 0.0 and p[0] == 0.0 and p[1] == 0.0 and p[2] == 0.0:
                    continue
                begin, end = t.features[feature, 0], t.features[feature, 1]
                size = t.column_count[feature]
                jacobian[:size] = 0.0
                _add_columns(t, end, 1.0, begin >= 0, spots[end], place, axes, root_position[b, f], feature, jacobian)
                if begin >= 0:
                    _add_columns(
                        t, begin, -1.0, True, spots[begin], place, axes, root_position[b, f], feature, jacobian
                    )
                for i in range(size):
                    x, y, z = jacobian[i, 0], jacobian[i, 1], jacobian[i, 2]
                    row = t.columns[feature, i]
                    g[row] += x * p[0] + y * p[1] + z * p[2]
                    a = w[0, 0] * x + w[0, 1] * y + w[0, 2] * z
                    c = w[1, 0] * x + w[1, 1] * y + w[1, 2] * z
                    e = w[2, 0] * x + w[2, 1] * y + w[2, 2] * z
                    weighted[i, 0], weighted[i, 1], weighted[i, 2] = a, c, e
                    for m in range(i + 1):
                        h[row, t.columns[feature, m]] += a * jacobian[m, 0] + c * jacobian[m, 1] + e * jacobian[m, 2]
                if not lengths:
                    continue
                stretch[:] = 0.0
                _add_stretch(t, end, 1.0, place, turn, offset[b], spots[end], stretch)
                if begin >= 0:
                    _add_stretch(t, begin, -1.0, place, turn, offset[b], spots[begin], stretch)
                for q in range(groups):
                    x, y, z = stretch[q, 0], stretch[q, 1], stretch[q, 2]
                    if x == 0.0 and y == 0.0 and z == 0.0:
                        continue
                    for i in range(size):
                        coupling[b, f, t.columns[feature, i], q] += (
                            weighted[i, 0] * x + weighted[i, 1] * y + weighted[i, 2] * z
                        )
                    shared_gradient[b, q] += x * p[0] + y * p[1] + z * p[2]
                    a = w[0, 0] * x + w[0, 1] * y + w[0, 2] * z
                    c = w[1, 0] * x + w[1, 1] * y + w[1, 2] * z
                    e = w[2, 0] * x + w[2, 1] * y + w[2, 2] * z
                    for o in range(groups):
                        shared_hessian[b, q, o] += a * stretch[o, 0] + c * stretch[o, 1] + e * stretch[o, 2]


@compiled
def retract(root_position, root_rotation, angles, step, lower, upper):
    """Return moved poses of N frames; a step [N, D] moves the root, turns it from the left, and changes the angles.

    Angles stop at their bounds [A].
    """
    position, rotation, moved = np.empty_like(root_position), np.empty_like(root_rotation), np.empty_like(angles)
    turn = np.empty((3, 3))
    for f in range(len(angles)):
        for r in range(3):
            position[f, r] = root_position[f, r] + step[f, r]
        _exponential(step[f, 3], step[f, 4], step[f, 5], turn)
        for r in range(3):
            for c in range(3):
                rotation[f, r, c] = (
                    turn[r, 0] * root_rotation[f, 0, c]
                    + turn[r, 1] * root_rotation[f, 1, c]
                    + turn[r, 2] * root_rotation[f, 2, c]
                )
        for a in range(angles.shape[1]):
            moved[f, a] = min(max(angles[f, a] + step[f, 6 + a], lower[a]), upper[a])
    return position, rotation, moved


@compiled
def _exponential(x, y, z, turn):
    """Write the rotation matrix of a rotation vector (Rodrigues)."""
    square = x * x + y * y + z * z
    if square < 1e-8:  # the next terms of the series are below 1e-17
        sine, versine = 1.0 - square / 6.0, 0.5 - square / 24.0
    else:
        angle = np.sqrt(square)
        half = np.sin(0.5 * angle)
        sine, versine = np.sin(angle) / angle, 2.0 * half * half / square
    turn[0, 0], turn[0, 1], turn[0, 2] = (
        1.0 - versine * (y * y + z * z),
        versine * x * y - sine * z,
        versine * x * z + sine * y,
    )
    turn[1, 0], turn[1, 1], turn[1, 2] = (
        versine * x * y + sine * z,
        1.0 - versine * (x * x + z * z),
        versine * y * z - sine * x,
    )
    turn[2, 0], turn[2, 1], turn[2, 2] = (
        versine * x * z - sine * y,
        versine * y * z + sine * x,
        1.0 - versine * (x * x + y * y),
    )


@compiled
def gather(value, by_point, scale, pull, information):
    """Add residuals to what is asked of their features, and return their cost [B].

    Args:
        value: [B, T, P, R]; by_point: [B, T, P, R, 3].
        scale: Of the kernel of Geman and McClure, infinite for none.
        pull: [B, T, P, 3] and information: [B, T, P, 3, 3] of the features, to which is added.
    """
    clips, frames, count, rows = value.shape
    cost = np.zeros(clips)
    for b in range(clips):
        for f in range(frames):
            for k in range(count):
                square = 0.0
                for i in range(rows):
                    square += value[b, f, k, i] * value[b, f, k, i]
                shrink = 1.0 / (1.0 + square / (scale * scale))
                cost[b] += shrink * square
                share = shrink * shrink
                for i in range(rows):
                    for r in range(3):
                        slope = share * by_point[b, f, k, i, r]
                        pull[b, f, k, r] += slope * value[b, f, k, i]
                        for c in range(3):
                            information[b, f, k, r, c] += slope * by_point[b, f, k, i, c]
    return cost
