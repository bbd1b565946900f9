# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiled mathematics of whole sequences for CPUs: differences in time and their normal equations, and solutions.

The tests hold each function against its twin in torch.
"""

from __future__ import annotations

import numpy as np

from .kernels import compiled


@compiled
def differences(root_position, root_rotation, angles, by_step, weight, bounded, tail):
    """Return the differences of B clips of T frames, as :class:`~.smoothness.Differences` describes them.

    Args:
        root_position: [B, T, 3]; root_rotation: [B, T, 3, 3]; angles: [B, T, A].
        by_step: [T - order, order] coefficients of first differences. weight: [B, D]; bounded: [D] bool.
        tail: Differences of bounded unknowns that are larger, in expected deviations, count ever less.
    """
    clips, frames, count = angles.shape
    unknowns, (windows, order) = 6 + count, by_step.shape
    step = np.empty((max(frames - 1, 0), unknowns))
    turn = np.empty((clips, len(step), 3))
    value, share, cost = np.zeros((clips, windows, unknowns)), np.empty((clips, windows, unknowns)), np.zeros(clips)
    for b in range(clips):
        for f in range(len(step)):
            turn_between(root_rotation[b, f], root_rotation[b, f + 1], turn[b, f])
            for r in range(3):
                step[f, r] = root_position[b, f + 1, r] - root_position[b, f, r]
                step[f, 3 + r] = turn[b, f, r]
            for a in range(count):
                step[f, 6 + a] = angles[b, f + 1, a] - angles[b, f, a]
        for f in range(windows):
            for lag in range(order):
                for d in range(unknowns):
                    value[b, f, d] += by_step[f, lag] * step[f + lag, d]
            for d in range(unknowns):
                square = weight[b, d] * value[b, f, d] * value[b, f, d]
                shrink = tail * tail / (tail * tail + square) if bounded[d] else 1.0
                share[b, f, d] = shrink * shrink * weight[b, d]
                cost[b] += shrink * square
    return value, turn, share, cost


@compiled
def turn_between(before, after, vector):
    """Write the rotation vector [3], radians, of ``after @ before.T`` [3, 3], by way of the unit quaternion (Shepperd
    1978)."""
    a, b = after, before
    xx = a[0, 0] * b[0, 0] + a[0, 1] * b[0, 1] + a[0, 2] * b[0, 2]
    xy = a[0, 0] * b[1, 0] + a[0, 1] * b[1, 1] + a[0, 2] * b[1, 2]
    xz = a[0, 0] * b[2, 0] + a[0, 1] * b[2, 1] + a[0, 2] * b[2, 2]
    yx = a[1, 0] * b[0, 0] + a[1, 1] * b[0, 1] + a[1, 2] * b[0, 2]
    yy = a[1, 0] * b[1, 0] + a[1, 1] * b[1, 1] + a[1, 2] * b[1, 2]
    yz = a[1, 0] * b[2, 0] + a[1, 1] * b[2, 1] + a[1, 2] * b[2, 2]
    zx = a[2, 0] * b[0, 0] + a[2, 1] * b[0, 1] + a[2, 2] * b[0, 2]
    zy = a[2, 0] * b[1, 0] + a[2, 1] * b[1, 1] + a[2, 2] * b[1, 2]
    zz = a[2, 0] * b[2, 0] + a[2, 1] * b[2, 1] + a[2, 2] * b[2, 2]
    trace = xx + yy + zz
    if trace >= max(xx, yy, zz):
        w, x, y, z = 1.0 + trace, zy - yz, xz - zx, yx - xy
    elif xx >= max(yy, zz):
        w, x, y, z = zy - yz, 1.0 - trace + 2.0 * xx, xy + yx, xz + zx
    elif yy >= zz:
        w, x, y, z = xz - zx, xy + yx, 1.0 - trace + 2.0 * yy, yz + zy
    else:
        w, x, y, z = yx - xy, xz + zx, yz + zy, 1.0 - trace + 2.0 * zz
    length = np.sqrt(x * x + y * y + z * z)
    half = np.arctan2(length, abs(w))
    factor = 2.0 / w if length < 1e-12 * w else np.copysign(2.0, w) * half / length
    vector[0], vector[1], vector[2] = factor * x, factor * y, factor * z


@compiled
def gradient(value, turn, weight, by_step):
    """Return half the gradient [B, T, D] of the differences' cost by the unknowns; arguments as in ``differences``."""
    clips, windows, unknowns = value.shape
    frames, order = turn.shape[1] + 1, by_step.shape[1]
    result = np.zeros((clips, frames, unknowns))
    by = np.empty((frames, unknowns))
    for b in range(clips):
        by[:] = 0.0
        for f in range(windows):
            for lag in range(order):
                for d in range(unknowns):
                    by[f + lag, d] += by_step[f, lag] * value[b, f, d] * weight[b, f, d]
        for f in range(frames - 1):
            for d in range(unknowns):
                result[b, f + 1, d] += by[f, d]
                result[b, f, d] -= by[f, d]
            # J = I - K / 2 + c K K; what it and its transpose differ in from the identity
            x, y, z = turn[b, f, 0], turn[b, f, 1], turn[b, f, 2]
            p, q, s = by[f, 3], by[f, 4], by[f, 5]
            u, v, w = y * s - z * q, z * p - x * s, x * q - y * p
            square = x * x + y * y + z * z
            angle = np.sqrt(square)
            c = 1.0 / square - 0.5 / (angle * np.tan(0.5 * angle)) if angle >= 1e-3 else 1.0 / 12.0 + square / 720.0
            k, m, n = c * (y * w - z * v), c * (z * u - x * w), c * (x * v - y * u)
            result[b, f + 1, 3] += 0.5 * u + k
            result[b, f + 1, 4] += 0.5 * v + m
            result[b, f + 1, 5] += 0.5 * w + n
            result[b, f, 3] -= k - 0.5 * u
            result[b, f, 4] -= m - 0.5 * v
            result[b, f, 5] -= n - 0.5 * w
    return result


@compiled
def hessian_bands(weight, stencil, frames):
    """Return half the Hessian's diagonals [B, order + 1, T, D] from weights [B, T - order, D]."""
    clips, windows, unknowns = weight.shape
    lags = stencil.shape[1]
    bands = np.zeros((clips, lags, frames, unknowns))
    for b in range(clips):
        for f in range(windows):
            for lag in range(lags):
                for first in range(lags - lag):
                    product = stencil[f, first] * stencil[f, first + lag]
                    for d in range(unknowns):
                        bands[b, lag, f + first, d] += product * weight[b, f, d]
    return bands


@compiled
def solve_each(hessian, free, damping, right):
    """Solve the normal equations of N frames by themselves, by Cholesky's factorisation.

    Args:
        hessian: [N, D, D], of which the lower triangle is read. free: [N, D] bool; others are decoupled.
        damping: [N] share of the diagonal that is added to it. right: [N, D, R], zero where not free.

    Returns:
        The solutions [N, D, R], and [N] bool: frames whose matrix is not positive definite.
    """
    frames, unknowns, _ = right.shape
    solution, failed = np.zeros_like(right), np.zeros(frames, dtype=np.bool_)
    factor, number = np.empty((unknowns, unknowns)), np.empty(unknowns, dtype=np.int64)
    for f in range(frames):
        failed[f] = not solve_one(hessian[f], free[f], damping[f], right[f], solution[f], factor, number)
    return solution, failed


@compiled
def solve_one(hessian, free, damping, right, solution, factor, number):
    """Write the solution [D, R] of one frame, as ``solve_each`` has it, and return whether there is one.

    factor [D, D] and number [D] are room to work in.
    """
    size = 0
    for d in range(len(free)):
        if free[d]:
            number[size] = d
            size += 1
    for i in range(size):
        row = number[i]
        for j in range(i + 1):
            total = hessian[row, number[j]]
            if i == j:
                total += damping * (total + 1e-6)
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            if i > j:
                factor[i, j] = total * factor[j, j]
            elif total > 0.0:
                factor[i, i] = 1.0 / np.sqrt(total)
            else:
                return False
    for s in range(right.shape[1]):
        for i in range(size):
            total = right[number[i], s]
            for k in range(i):
                total -= factor[i, k] * solution[number[k], s]
            solution[number[i], s] = total * factor[i, i]
        for i in range(size - 1, -1, -1):
            total = solution[number[i], s] * factor[i, i]
            solution[number[i], s] = total
            for k in range(i):
                solution[number[k], s] -= factor[i, k] * total
    return True


@compiled
def bound_by_range(angles, lower, upper, gradient):
    """Return [N, D] bool: unknowns at a bound that descent would push through it; of N frames."""
    held = np.zeros(gradient.shape, dtype=np.bool_)
    for f in range(len(angles)):
        for a in range(angles.shape[1]):
            slope = gradient[f, 6 + a]
            held[f, 6 + a] = (angles[f, a] <= lower[a] and slope > 0.0) or (angles[f, a] >= upper[a] and slope < 0.0)
    return held
