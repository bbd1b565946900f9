# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiled Cholesky factorisation of a band for CPUs, which takes right sides along.

A = U^T U, with the rows of U one after the other: row i holds columns i to i + L D, then SPARE numbers that are not of
the band. As one flat array a column is a column of a matrix whose rows are one number shorter, so that tiles of it are
multiplied as those of a full matrix (:mod:`.tiles`).
"""

from __future__ import annotations

import numpy as np

from .kernels import compiled
from .tiles import COLUMNS, ROWS, subtract_products

SPARE = COLUMNS - 1 + ROWS - 1
"""Numbers at the end of each row: zeros for tiles that reach over it, and room for what tiles leave to the left of the
diagonal of the next row."""


@compiled
def fill_band(hessian, bands, free, damping, rows):
    """Write the rows [N, L D + 1 + SPARE] of one clip's normal matrix; unknowns that are not free are decoupled.

    Args:
        hessian: [T, D, D], finite, of which the lower triangle is read. bands: [L + 1, T, D] of the smoothness.
        free: [T, D] bool. damping: Share of the diagonal that is added to it.
        rows: N at least T D; the rows after these are a unit matrix's.
    """
    frames, unknowns = free.shape
    kept = np.empty(unknowns)
    for f in range(frames):
        kept[:] = free[f]
        for j in range(unknowns):
            row = rows[f * unknowns + j]
            if not free[f, j]:
                row[:] = 0.0
                row[0] = 1.0
                continue
            for i in range(j + 1, unknowns):
                row[i - j] = kept[i] * hessian[f, i, j]
            row[unknowns - j :] = 0.0
            diagonal = hessian[f, j, j] + bands[0, f, j]
            row[0] = diagonal + damping * (diagonal + 1e-6)
            for lag in range(1, len(bands)):
                if f + lag < frames and free[f + lag, j]:
                    row[lag * unknowns] = bands[lag, f, j]
    for i in range(frames * unknowns, len(rows)):
        rows[i] = 0.0
        rows[i, 0] = 1.0


@compiled
def factorise(rows, sides):
    """Turn rows of a band A into those of U, and right sides r into U^-T r; return whether A allows it.

    Args:
        rows: [N, L D + 1 + SPARE], N a multiple of ROWS. sides: [N, R], R a multiple of COLUMNS.
    """
    count, step = rows.shape[0], rows.shape[1] - 1
    width, many = rows.shape[1] - SPARE, sides.shape[1]
    band, right = rows.reshape(-1), sides.reshape(-1)
    for i in range(0, count, ROWS):
        nearest = max(i - width + 1, 0)
        for j in range(i, min(i + ROWS - 1 + width, count), COLUMNS):
            k = max(j - width + 1, nearest)  # the first row that reaches column j
            subtract_products(
                band, k * step + i, step, band, k * step + j, step, band, i * step + j, step, i - k
            )  # fmt: skip
        for r in range(0, many, COLUMNS):
            subtract_products(
                band, nearest * step + i, step, right, nearest * many + r, many, right, i * many + r, many, i - nearest
            )  # fmt: skip
        for q in range(ROWS):
            row, side = rows[i + q], sides[i + q]
            for p in range(q):
                above, factor = rows[i + p, q - p :], rows[i + p, q - p]
                for j in range(width - q + p):
                    row[j] -= factor * above[j]
                for r in range(many):
                    side[r] -= factor * sides[i + p, r]
            if not 0.0 < row[0] < np.inf:
                return False
            scale = 1.0 / np.sqrt(row[0])
            for j in range(width):
                row[j] *= scale
            for r in range(many):
                side[r] *= scale
    return True


@compiled
def substitute(rows, half, solution):
    """Write the solution [N], U^-1 h, for half of it [N], of the first N rows."""
    width = rows.shape[1] - SPARE
    for i in range(len(half) - 1, -1, -1):
        row, after = rows[i], solution[i:]
        total = half[i]
        for j in range(1, min(width, len(after))):
            total -= row[j] * after[j]
        solution[i] = total / row[0]
