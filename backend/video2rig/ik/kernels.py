# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiled kinematics for CPUs: the same mathematics as :mod:`.model`, frame by frame, without zeros.

Every function works on plain arrays of one :class:`~.model.Topology`; the tests hold each against its twin in torch.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

# of fast mathematics all but the promise that there is no NaN and no infinity
_compiled = numba.njit(
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


@_compiled
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


@_compiled
def _site(t, k, place, turn, site_offset, point):
    joint = t.site_joint[k]
    for r in range(3):
        point[r] = (
            place[joint, r]
            + turn[joint, r, 0] * site_offset[k, 0]
            + turn[joint, r, 1] * site_offset[k, 1]
            + turn[joint, r, 2] * site_offset[k, 2]
        )


@_compiled
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


@_compiled
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


@_compiled
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


@_compiled
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


@_compiled
def fill_band(hessian, bands, free, damping, band):
    """Write the normal matrix of one clip in LAPACK's lower banded form, transposed; unknowns not free are decoupled.

    Args:
        hessian: [T, D, D], of which the lower triangle is read. bands: [L + 1, T, D] of the smoothness.
        free: [T, D] bool. damping: Share of the diagonal that is added to it.
        band: [T * D, L D + 1] to be written.
    """
    frames, unknowns = free.shape
    for f in range(frames):
        for j in range(unknowns):
            row = band[f * unknowns + j]
            row[:] = 0.0
            if not free[f, j]:
                row[0] = 1.0
                continue
            for i in range(j + 1, unknowns):
                if free[f, i]:
                    row[i - j] = hessian[f, i, j]
            diagonal = hessian[f, j, j] + bands[0, f, j]
            row[0] = diagonal + damping * (diagonal + 1e-6)
            for lag in range(1, len(bands)):
                if f + lag < frames and free[f + lag, j]:
                    row[lag * unknowns] = bands[lag, f, j]
