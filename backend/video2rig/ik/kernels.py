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
        parents: [J]. offset: [J, 3] metres. site_offset: [K, 3] metres. rest_rotation: [J, 3, 3].
        axis_order: [J, 3] axis that turns first, second, third.
        dof: [J, 3] number of the angle about each axis, -1 where it is locked. dof_joint: [A].
        site_joint: [K]. offset_group: [J], site_group: [K] which length each scales with, -1 for none.
        features: [F, 2] points (begin, end); a begin of -1 is the point itself, otherwise the feature is end - begin.
        columns: [F, D] the unknowns that move each feature, in columns[f, :column_count[f]].
        moves: [K, A] whether an angle moves a point.
        above: [A, A] the angles that carry the joint of each, itself and those before it on its joint among them,
            in above[a, :above_count[a]].
    """

    parents: np.ndarray
    offset: np.ndarray
    site_offset: np.ndarray
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
    above: np.ndarray
    above_count: np.ndarray


@compiled
def forward(t, root_position, root_rotation, angles, offset, place, turn, axes):
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
def site(t, k, place, turn, site_offset, point):
    """Fill the place [3] of point k of one frame."""
    joint = t.site_joint[k]
    for r in range(3):
        point[r] = (
            place[joint, r]
            + turn[joint, r, 0] * site_offset[k, 0]
            + turn[joint, r, 1] * site_offset[k, 1]
            + turn[joint, r, 2] * site_offset[k, 2]
        )


@compiled
def stretched(t, stretch, offset, site_offset):
    """Fill the offsets [J, 3] and [K, 3] of a body whose lengths have the logarithms [G]."""
    for j in range(len(offset)):
        factor = np.exp(stretch[t.offset_group[j]]) if t.offset_group[j] >= 0 else 1.0
        for r in range(3):
            offset[j, r] = factor * t.offset[j, r]
    for k in range(len(site_offset)):
        factor = np.exp(stretch[t.site_group[k]]) if t.site_group[k] >= 0 else 1.0
        for r in range(3):
            site_offset[k, r] = factor * t.site_offset[k, r]


@compiled
def joints(t, root_position, root_rotation, angles, stretch):
    """Return where the joints of frames are, [B, T, J, 3] metres and [B, T, J, 3, 3]; arguments as for ``features``."""
    clips, frames, count = angles.shape[0], angles.shape[1], len(t.parents)
    place, turn = np.empty((clips, frames, count, 3)), np.empty((clips, frames, count, 3, 3))
    axes, offset, site_offset = np.empty((len(t.dof_joint), 3)), np.empty((count, 3)), np.empty(t.site_offset.shape)
    for b in range(clips):
        stretched(t, stretch[b], offset, site_offset)
        for f in range(frames):
            forward(t, root_position[b, f], root_rotation[b, f], angles[b, f], offset, place[b, f], turn[b, f], axes)
    return place, turn


@compiled
def features(t, root_position, root_rotation, angles, stretch, count):
    """Return the first features of frames, [B, T, count, 3] metres: points, then differences of pairs.

    Args:
        t: The topology. root_position: [B, T, 3]; root_rotation: [B, T, 3, 3]; angles: [B, T, A].
        stretch: [B, G] logarithms of the lengths of each clip.
    """
    clips, frames, joints, points = angles.shape[0], angles.shape[1], len(t.parents), len(t.site_joint)
    result = np.empty((clips, frames, count, 3))
    place, turn, axes = np.empty((joints, 3)), np.empty((joints, 3, 3)), np.empty((len(t.dof_joint), 3))
    offset, site_offset = np.empty((joints, 3)), np.empty((points, 3))
    for b in range(clips):
        stretched(t, stretch[b], offset, site_offset)
        for f in range(frames):
            forward(t, root_position[b, f], root_rotation[b, f], angles[b, f], offset, place, turn, axes)
            spots = result[b, f]
            for k in range(points):
                site(t, k, place, turn, site_offset, spots[k])
            for k in range(points, count):
                for r in range(3):
                    spots[k, r] = spots[t.features[k, 1], r] - spots[t.features[k, 0], r]
    return result


@compiled
def moved(root_position, root_rotation, angles, step):
    """Return moved poses of N frames; a step [N, D] moves the root, turns it from the left, and changes the angles."""
    position, rotation = np.empty_like(root_position), np.empty_like(root_rotation)
    turn = np.empty((3, 3))
    for f in range(len(angles)):
        move_root(root_position[f], root_rotation[f], step[f], turn, position[f], rotation[f])
    return position, rotation, angles + step[:, 6:]


@compiled
def move_root(root_position, root_rotation, step, turn, position, rotation):
    """Write the root of one frame, moved by the first unknowns of a step [D]; turn [3, 3] is room to work in."""
    for r in range(3):
        position[r] = root_position[r] + step[r]
    _exponential(step[3], step[4], step[5], turn)
    for r in range(3):
        for c in range(3):
            rotation[r, c] = (
                turn[r, 0] * root_rotation[0, c] + turn[r, 1] * root_rotation[1, c] + turn[r, 2] * root_rotation[2, c]
            )


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
