# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiled normal equations of a body's features for CPUs.

What is asked of points is gathered from the leaves to the root, so that an angle meets all points that it moves at
once, as in the composite-rigid-body algorithm (Featherstone 2008, Rigid Body Dynamics Algorithms, ch. 6). Differences
of points go one by one.
"""

from __future__ import annotations

import numpy as np

from .kernels import compiled, forward, site, stretched


@compiled
def normal_equations(
    t, root_position, root_rotation, angles, stretch, pull, information, lengths, hessian, gradient,
    coupling, shared_hessian, shared_gradient,
):  # fmt: skip
    """Add what is asked of features to the normal equations of their frames.

    Args:
        t, root_position, root_rotation, angles, stretch: As for :func:`~.kernels.features`.
        pull: [B, T, F, 3] half the gradient of the cost by each feature; information: [B, T, F, 3, 3] half its
            Gauss-Newton Hessian, symmetric.
        lengths: Whether lengths are unknowns.
        hessian: [B, T, D, D], overwritten, its lower triangle counts; gradient: [B, T, D].
        coupling: [B, T, D, G]; shared_hessian: [B, G, G], shared_gradient: [B, G]; written where lengths are unknown.
    """
    clips, frames, joints, count = angles.shape[0], angles.shape[1], len(t.parents), len(t.site_joint)
    place, turn, axes = np.empty((joints, 3)), np.empty((joints, 3, 3)), np.empty((len(t.dof_joint), 3))
    spots, asked = np.empty((count, 3)), np.empty((joints, 27))
    unknowns, groups = gradient.shape[2], shared_gradient.shape[1]
    jacobian, weighted, growth = np.zeros((unknowns, 3)), np.zeros((unknowns, 3)), np.zeros((groups, 3))
    offset, site_offset = np.empty((joints, 3)), np.empty((count, 3))
    for b in range(clips):
        stretched(t, stretch[b], offset, site_offset)
        for f in range(frames):
            root = root_position[b, f]
            forward(t, root, root_rotation[b, f], angles[b, f], offset, place, turn, axes)
            for k in range(count):
                site(t, k, place, turn, site_offset, spots[k])
            h, g = hessian[b, f], gradient[b, f]
            h[:] = 0.0
            mixed, own, slope = coupling[b, f], shared_hessian[b], shared_gradient[b]
            gather_points(t, root, spots, pull[b, f], information[b, f], asked)
            carry_to_angles(t, root, place, axes, asked, h, g)
            if lengths:
                _carry_to_lengths(t, root, place, axes, spots, pull[b, f], information[b, f], asked, mixed, own, slope)
            for feature in range(count, len(t.features)):
                w, p = information[b, f, feature], pull[b, f, feature]
                if w[0, 0] + w[1, 1] + w[2, 2] == 0.0 and p[0] == 0.0 and p[1] == 0.0 and p[2] == 0.0:
                    continue
                begin, end = t.features[feature, 0], t.features[feature, 1]
                size = t.column_count[feature]
                jacobian[:size] = 0.0
                _add_columns(t, end, 1.0, spots[end], place, axes, root, feature, jacobian)
                _add_columns(t, begin, -1.0, spots[begin], place, axes, root, feature, jacobian)
                _carry_difference(t.columns[feature, :size], jacobian, p, w, weighted, h, g)
                if lengths:
                    growth[:] = 0.0
                    _add_stretch(t, end, 1.0, place, spots[end], growth)
                    _add_stretch(t, begin, -1.0, place, spots[begin], growth)
                    _stretch_difference(t.columns[feature, :size], weighted, growth, p, w, mixed, own, slope)


@compiled
def _carry_difference(columns, jacobian, pull, information, weighted, h, g):
    """Add a difference's part to the Hessian [D, D] and the gradient [D]; write its weighted derivatives [n, 3]."""
    p, w = pull, information
    for i in range(len(columns)):
        x, y, z = jacobian[i, 0], jacobian[i, 1], jacobian[i, 2]
        row = columns[i]
        g[row] += x * p[0] + y * p[1] + z * p[2]
        a = w[0, 0] * x + w[0, 1] * y + w[0, 2] * z
        c = w[1, 0] * x + w[1, 1] * y + w[1, 2] * z
        e = w[2, 0] * x + w[2, 1] * y + w[2, 2] * z
        weighted[i, 0], weighted[i, 1], weighted[i, 2] = a, c, e
        for m in range(i + 1):
            h[row, columns[m]] += a * jacobian[m, 0] + c * jacobian[m, 1] + e * jacobian[m, 2]


@compiled
def _stretch_difference(columns, weighted, stretch, pull, information, coupling, hessian, gradient):
    """Add a difference's part to the coupling [D, G], and to the Hessian [G, G] and the gradient [G] of lengths."""
    p, w = pull, information
    for q in range(len(stretch)):
        x, y, z = stretch[q, 0], stretch[q, 1], stretch[q, 2]
        if x == 0.0 and y == 0.0 and z == 0.0:
            continue
        for i in range(len(columns)):
            coupling[columns[i], q] += weighted[i, 0] * x + weighted[i, 1] * y + weighted[i, 2] * z
        gradient[q] += x * p[0] + y * p[1] + z * p[2]
        a = w[0, 0] * x + w[0, 1] * y + w[0, 2] * z
        c = w[1, 0] * x + w[1, 1] * y + w[1, 2] * z
        e = w[2, 0] * x + w[2, 1] * y + w[2, 2] * z
        for o in range(len(stretch)):
            hessian[q, o] += a * stretch[o, 0] + c * stretch[o, 1] + e * stretch[o, 2]


@compiled
def gather_points(t, root, spots, pull, information, asked):
    """Write what is asked of the points on each joint and below, about the root's position x0.

    With W the information, p the pull and X the cross product matrix of x - x0, ``asked`` [J, 27] holds the sums of
    W (6: xx, xy, xz, yy, yz, zz), X W (9, by rows), X W X^T (6), p and X p.
    """
    asked[:] = 0.0
    for k in range(len(t.site_joint)):
        w, p, a = information[k], pull[k], asked[t.site_joint[k]]
        x, y, z = spots[k, 0] - root[0], spots[k, 1] - root[1], spots[k, 2] - root[2]
        a[0] += w[0, 0]
        a[1] += w[0, 1]
        a[2] += w[0, 2]
        a[3] += w[1, 1]
        a[4] += w[1, 2]
        a[5] += w[2, 2]
        b00, b01, b02 = y * w[2, 0] - z * w[1, 0], y * w[2, 1] - z * w[1, 1], y * w[2, 2] - z * w[1, 2]
        b10, b11, b12 = z * w[0, 0] - x * w[2, 0], z * w[0, 1] - x * w[2, 1], z * w[0, 2] - x * w[2, 2]
        b20, b21, b22 = x * w[1, 0] - y * w[0, 0], x * w[1, 1] - y * w[0, 1], x * w[1, 2] - y * w[0, 2]
        a[6] += b00
        a[7] += b01
        a[8] += b02
        a[9] += b10
        a[10] += b11
        a[11] += b12
        a[12] += b20
        a[13] += b21
        a[14] += b22
        a[15] += b02 * y - b01 * z
        a[16] += b00 * z - b02 * x
        a[17] += b01 * x - b00 * y
        a[18] += b10 * z - b12 * x
        a[19] += b11 * x - b10 * y
        a[20] += b21 * x - b20 * y
        a[21] += p[0]
        a[22] += p[1]
        a[23] += p[2]
        a[24] += y * p[2] - z * p[1]
        a[25] += z * p[0] - x * p[2]
        a[26] += x * p[1] - y * p[0]
    for joint in range(len(asked) - 1, 0, -1):
        asked[t.parents[joint]] += asked[joint]


@compiled
def _velocity(root, origin, axis):
    """Return the velocity at the root's position of a body that turns about an axis through an origin."""
    x, y, z = origin[0] - root[0], origin[1] - root[1], origin[2] - root[2]
    return y * axis[2] - z * axis[1], z * axis[0] - x * axis[2], x * axis[1] - y * axis[0]


@compiled
def _force(a, x, y, z):
    """Return the force and the torque that a velocity of all points meets."""
    return (
        a[0] * x + a[1] * y + a[2] * z,
        a[1] * x + a[3] * y + a[4] * z,
        a[2] * x + a[4] * y + a[5] * z,
        a[6] * x + a[7] * y + a[8] * z,
        a[9] * x + a[10] * y + a[11] * z,
        a[12] * x + a[13] * y + a[14] * z,
    )


@compiled
def _force_of_turn(a, x, y, z):
    """Return the force and the torque that an angular velocity about the root meets."""
    return (
        a[6] * x + a[9] * y + a[12] * z,
        a[7] * x + a[10] * y + a[13] * z,
        a[8] * x + a[11] * y + a[14] * z,
        a[15] * x + a[16] * y + a[17] * z,
        a[16] * x + a[18] * y + a[19] * z,
        a[17] * x + a[19] * y + a[20] * z,
    )


@compiled
def carry_to_angles(t, root, place, axes, asked, h, g):
    """Add the points' part to the lower triangle of the Hessian [D, D] and the gradient [D] of a frame."""
    whole = asked[0]
    for r in range(6):
        g[r] += whole[21 + r]
    h[0, 0] += whole[0]
    h[1, 0] += whole[1]
    h[2, 0] += whole[2]
    h[1, 1] += whole[3]
    h[2, 1] += whole[4]
    h[2, 2] += whole[5]
    for r in range(3):
        for c in range(3):
            h[3 + r, c] += whole[6 + 3 * r + c]
    h[3, 3] += whole[15]
    h[4, 3] += whole[16]
    h[5, 3] += whole[17]
    h[4, 4] += whole[18]
    h[5, 4] += whole[19]
    h[5, 5] += whole[20]
    velocity = np.empty((len(axes), 3))
    for i in range(len(axes)):
        joint, axis = t.dof_joint[i], axes[i]
        a = asked[joint]
        u, v, w = _velocity(root, place[joint], axis)
        velocity[i, 0], velocity[i, 1], velocity[i, 2] = u, v, w
        g[6 + i] += u * a[21] + v * a[22] + w * a[23] + axis[0] * a[24] + axis[1] * a[25] + axis[2] * a[26]
        fx, fy, fz, nx, ny, nz = _force(a, u, v, w)
        dx, dy, dz, ex, ey, ez = _force_of_turn(a, axis[0], axis[1], axis[2])
        fx, fy, fz, nx, ny, nz = fx + dx, fy + dy, fz + dz, nx + ex, ny + ey, nz + ez
        row = h[6 + i]
        row[0] += fx
        row[1] += fy
        row[2] += fz
        row[3] += nx
        row[4] += ny
        row[5] += nz
        for n in range(t.above_count[i]):
            m = t.above[i, n]
            row[6 + m] += (
                velocity[m, 0] * fx
                + velocity[m, 1] * fy
                + velocity[m, 2] * fz
                + axes[m, 0] * nx
                + axes[m, 1] * ny
                + axes[m, 2] * nz
            )


@compiled
def _carry_to_lengths(t, root, place, axes, spots, pull, information, asked, coupling, hessian, gradient):
    """Add the points' part to the coupling [D, G] of a frame, and to the Hessian [G, G] and gradient [G] of lengths.

    A length moves all that hangs on it along the bone, in proportion to it.
    """
    for i in range(len(axes)):
        joint, axis = t.dof_joint[i], axes[i]
        u, v, w = _velocity(root, place[joint], axis)
        fx, fy, fz, _, _, _ = _force(asked[joint], u, v, w)
        dx, dy, dz, _, _, _ = _force_of_turn(asked[joint], axis[0], axis[1], axis[2])
        while joint > 0:
            group, parent = t.offset_group[joint], t.parents[joint]
            if group >= 0:
                coupling[6 + i, group] += (
                    (place[joint, 0] - place[parent, 0]) * (fx + dx)
                    + (place[joint, 1] - place[parent, 1]) * (fy + dy)
                    + (place[joint, 2] - place[parent, 2]) * (fz + dz)
                )
            joint = parent
    for number in range(1, len(place) + len(spots)):
        k = number - len(place)
        if k < 0:
            joint, group, end, start = number, t.offset_group[number], place[number], place[t.parents[number]]
        else:
            joint, group, end, start = t.site_joint[k], t.site_group[k], spots[k], place[t.site_joint[k]]
        if group < 0:
            continue
        x, y, z = end[0] - start[0], end[1] - start[1], end[2] - start[2]
        if k < 0:
            fx, fy, fz, nx, ny, nz = _force(asked[joint], x, y, z)
            gradient[group] += x * asked[joint, 21] + y * asked[joint, 22] + z * asked[joint, 23]
            joint = t.parents[joint]  # its own angles have met this length above
        else:
            s = information[k]
            fx, fy, fz = (
                s[0, 0] * x + s[0, 1] * y + s[0, 2] * z,
                s[1, 0] * x + s[1, 1] * y + s[1, 2] * z,
                s[2, 0] * x + s[2, 1] * y + s[2, 2] * z,
            )
            px, py, pz = end[0] - root[0], end[1] - root[1], end[2] - root[2]
            nx, ny, nz = py * fz - pz * fy, pz * fx - px * fz, px * fy - py * fx
            gradient[group] += x * pull[k, 0] + y * pull[k, 1] + z * pull[k, 2]
        hessian[group, group] += x * fx + y * fy + z * fz
        coupling[0, group] += fx
        coupling[1, group] += fy
        coupling[2, group] += fz
        coupling[3, group] += nx
        coupling[4, group] += ny
        coupling[5, group] += nz
        while joint > 0:
            for axis in range(3):
                i = t.dof[joint, axis]
                if i >= 0:
                    u, v, w = _velocity(root, place[joint], axes[i])
                    coupling[6 + i, group] += (
                        u * fx + v * fy + w * fz + axes[i, 0] * nx + axes[i, 1] * ny + axes[i, 2] * nz
                    )
            other, parent = t.offset_group[joint], t.parents[joint]
            if other >= 0:
                product = (
                    (place[joint, 0] - place[parent, 0]) * fx
                    + (place[joint, 1] - place[parent, 1]) * fy
                    + (place[joint, 2] - place[parent, 2]) * fz
                )
                hessian[group, other] += product
                hessian[other, group] += product
            joint = parent


@compiled
def _add_columns(t, k, sign, point, place, axes, origin, feature, jacobian):
    """Add the derivatives of point k, times a sign, to the columns [n, 3] of a difference."""
    x, y, z = sign * (point[0] - origin[0]), sign * (point[1] - origin[1]), sign * (point[2] - origin[2])
    jacobian[0, 1] -= z
    jacobian[0, 2] += y
    jacobian[1, 0] += z
    jacobian[1, 2] -= x
    jacobian[2, 0] -= y
    jacobian[2, 1] += x
    for i in range(3, t.column_count[feature]):
        dof = t.columns[feature, i] - 6
        if t.moves[k, dof]:
            joint = t.dof_joint[dof]
            x, y, z = point[0] - place[joint, 0], point[1] - place[joint, 1], point[2] - place[joint, 2]
            jacobian[i, 0] += sign * (axes[dof, 1] * z - axes[dof, 2] * y)
            jacobian[i, 1] += sign * (axes[dof, 2] * x - axes[dof, 0] * z)
            jacobian[i, 2] += sign * (axes[dof, 0] * y - axes[dof, 1] * x)


@compiled
def _add_stretch(t, k, sign, place, point, stretch):
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
