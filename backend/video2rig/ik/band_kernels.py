# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiled Cholesky factorisation of a band for CPUs, which takes right sides along.

A = U^T U, with the rows of U one after the other: row i holds columns i to i + L D, and a few zeros. Four rows are
made at a time from four that are done, so that each number that is read serves four products.
"""

from __future__ import annotations

import numpy as np

from .kernels import compiled

SPARE = 6
"""Zeros at the end of each row."""


@compiled
def fill_band(hessian, bands, free, damping, rows):
    """Write the rows [T * D, L D + 1 + SPARE] of one clip's normal matrix; unknowns that are not free are decoupled.

    Args:
        hessian: [T, D, D], of which the lower triangle is read. bands: [L + 1, T, D] of the smoothness.
        free: [T, D] bool. damping: Share of the diagonal that is added to it.
    """
    frames, unknowns = free.shape
    for f in range(frames):
        for j in range(unknowns):
            row = rows[f * unknowns + j]
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


@compiled
def factorise(rows, sides):
    """Turn rows of a band A into those of U, and right sides [N, R] into U^-T r; return whether A allows it."""
    count, width = len(rows), rows.shape[1] - SPARE
    made, made_sides = np.empty((4, rows.shape[1])), np.empty((4, sides.shape[1]))
    for i in range(0, count, 4):
        made[:] = 0.0
        made_sides[:] = 0.0
        for k in range(max((i + 1 - width) // 4 * 4, 0), i, 4):
            _subtract_four(rows, sides, k, i, made, made_sides)
        for q in range(min(4, count - i)):
            row, side = rows[i + q], sides[i + q]
            for j in range(width - q):
                row[j] += made[q, q + j]
            for r in range(len(side)):
                side[r] += made_sides[q, r]
            for p in range(q):
                above, factor = rows[i + p, q - p :], rows[i + p, q - p]
                for j in range(width - q + p):
                    row[j] -= factor * above[j]
                for r in range(len(side)):
                    side[r] -= factor * sides[i + p, r]
            if not row[0] > 0.0:
                return False
            scale = 1.0 / np.sqrt(row[0])
            for j in range(width):
                row[j] *= scale
            for r in range(len(side)):
                side[r] *= scale
    return True


@compiled
def _subtract_four(rows, sides, k, i, made, made_sides):
    """Subtract what rows k to k + 3 take from rows i to i + 3, from column i on, and their sides from theirs."""
    far, width = i - k, rows.shape[1] - SPARE
    a, b, c, d = rows[k, far:], rows[k + 1, far - 1 :], rows[k + 2, far - 2 :], rows[k + 3, far - 3 :]
    _subtract_products(a, b, c, d, made, width - far + 3)
    w, x, y, z = made_sides[0], made_sides[1], made_sides[2], made_sides[3]
    for r in range(sides.shape[1]):
        s, t, u, v = sides[k, r], sides[k + 1, r], sides[k + 2, r], sides[k + 3, r]
        w[r] -= a[0] * s + b[0] * t + c[0] * u + d[0] * v
        x[r] -= a[1] * s + b[1] * t + c[1] * u + d[1] * v
        y[r] -= a[2] * s + b[2] * t + c[2] * u + d[2] * v
        z[r] -= a[3] * s + b[3] * t + c[3] * u + d[3] * v


@compiled
def _subtract_products(a, b, c, d, sums, size):
    """Subtract from the q-th of four sums [4, size] each of four rows times its own q-th number.

    A function of its own, for the compiler to see that many numbers may be taken at once.
    """
    a0, a1, a2, a3 = a[0], a[1], a[2], a[3]
    b0, b1, b2, b3 = b[0], b[1], b[2], b[3]
    c0, c1, c2, c3 = c[0], c[1], c[2], c[3]
    d0, d1, d2, d3 = d[0], d[1], d[2], d[3]
    w, x, y, z = sums[0], sums[1], sums[2], sums[3]
    for j in range(size):
        s, t, u, v = a[j], b[j], c[j], d[j]
        w[j] -= a0 * s + b0 * t + c0 * u + d0 * v
        x[j] -= a1 * s + b1 * t + c1 * u + d1 * v
        y[j] -= a2 * s + b2 * t + c2 * u + d2 * v
        z[j] -= a3 * s + b3 * t + c3 * u + d3 * v


@compiled
def substitute(rows, half, solution):
    """Write the solution [N], U^-1 h, for half of it [N]."""
    width = rows.shape[1] - SPARE
    for i in range(len(rows) - 1, -1, -1):
        row, after = rows[i], solution[i:]
        total = half[i]
        for j in range(1, min(width, len(after))):
            total -= row[j] * after[j]
        solution[i] = total / row[0]
