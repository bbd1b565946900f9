# SPDX-License-Identifier: GPL-3.0-or-later
"""The banded Cholesky factorisation U^T U of one clip's normal equations, with right sides."""

from __future__ import annotations

import numpy as np

from . import band_kernels
from .tiles import COLUMNS, ROWS


class Band:
    """A band of N unknowns, its factor, and what half of the solutions the right sides come to.

    Attributes:
        half: [N, R] half of the solutions, U^-T r.
        failed: Whether the matrix is not positive definite, or something is not finite.
    """

    def __init__(
        self,
        hessian: np.ndarray,
        bands: np.ndarray,
        free: np.ndarray,
        damping: float,
        right: np.ndarray,
        lead: np.ndarray | None = None,
    ) -> None:
        """Factorise the normal equations of T frames.

        Args:
            hessian: [T, D, D], of which the lower triangle counts. bands: [L + 1, T, D] of the smoothness, L from 1 on.
            free: [T, D] bool; other unknowns are decoupled. damping: Share of the diagonal that is added to it.
            right: [N, R].
            lead: [M, M] factor of the first unknowns, M at most L D, where it is known; it takes their part's place.
        """
        count, sides = right.shape
        reach = (len(bands) - 1) * free.shape[1]
        self._rows = np.empty((_multiple(ROWS, count), reach + 1 + band_kernels.SPARE))
        band_kernels.fill_band(hessian, bands, free, damping, self._rows)
        if lead is not None:
            known = lead.T @ lead
            for row in range(len(known)):
                self._rows[row, : len(known) - row] = known[row, row:]
        half = np.zeros((len(self._rows), _multiple(COLUMNS, sides)))
        half[:count, :sides] = right
        definite = band_kernels.factorise(self._rows, half)
        self.half = half[:count, :sides].copy()
        self.failed = not definite or not bool(np.isfinite(self.half).all())

    def whole(self, half: np.ndarray) -> np.ndarray:
        """Return the solution [N], U^-1 h, for half of it."""
        solution = np.empty(len(half))
        band_kernels.substitute(self._rows, half, solution)
        return solution

    def tail(self, size: int) -> np.ndarray:
        """Return the factor [M, M] of the last unknowns, M at most L D and N."""
        factor = np.zeros((size, size))
        for row in range(size):
            factor[row, row:] = self._rows[len(self.half) - size + row, : size - row]
        return factor


def _multiple(of: int, least: int) -> int:
    return -(-least // of) * of
