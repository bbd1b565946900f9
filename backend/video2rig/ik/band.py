# SPDX-License-Identifier: GPL-3.0-or-later
"""The banded Cholesky factorisation L L^T of one clip's normal equations, by LAPACK."""

from __future__ import annotations

import numpy as np
from scipy.linalg import get_lapack_funcs

from . import time_kernels

_pbtrf, _tbtrs = get_lapack_funcs(("pbtrf", "tbtrs"), dtype=np.float64)


class Band:
    """A band of N unknowns, and its factor.

    Attributes:
        failed: Whether it is not positive definite.
    """

    def __init__(
        self, hessian: np.ndarray, bands: np.ndarray, free: np.ndarray, damping: float, lead: np.ndarray | None = None
    ) -> None:
        """Factorise the normal equations of T frames.

        Args:
            hessian: [T, D, D], of which the lower triangle counts. bands: [L + 1, T, D] of the smoothness.
            free: [T, D] bool; other unknowns are decoupled. damping: Share of the diagonal that is added to it.
            lead: [M, M] factor of the first unknowns, M at most L D, where it is known; it takes their part's place.
        """
        frames, unknowns = free.shape
        columns = np.empty((frames * unknowns, (len(bands) - 1) * unknowns + 1))
        time_kernels.fill_band(hessian, bands, free, damping, columns)
        if lead is not None:
            _write_lower(columns, lead @ lead.T)
        self._factor, info = _pbtrf(columns.T, lower=1, overwrite_ab=1)
        self.failed = bool(info != 0)

    def half(self, right: np.ndarray) -> np.ndarray:
        """Return half of the solution, L^-1 r, for right sides [N] or [N, R]."""
        return _tbtrs(self._factor, np.asfortranarray(right), uplo="L")[0]

    def whole(self, half: np.ndarray) -> np.ndarray:
        """Return the solution [N], L^-T h, for half of it."""
        return _tbtrs(self._factor, half, uplo="L", trans="T")[0]

    def tail(self, size: int) -> np.ndarray:
        """Return the factor [M, M] of the last unknowns."""
        factor = np.zeros((size, size))
        for column in range(size):
            factor[column:, column] = self._factor[: size - column, column - size]
        return factor


def _write_lower(columns: np.ndarray, matrix: np.ndarray) -> None:
    """Write a symmetric matrix [M, M] over the first unknowns of a band's columns [N, W]."""
    size = len(matrix)
    for column in range(size):
        columns[column, : size - column] = matrix[column:, column]
