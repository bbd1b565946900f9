# SPDX-License-Identifier: GPL-3.0-or-later
"""Bands of any shape, solved a second time as dense matrices; tiles, multiplied a second time by numpy."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import seeds
from video2rig.ik.band import Band
from video2rig.ik.tiles import COLUMNS, ROWS, subtract_products


@numba.njit
def _subtract(u, u_at, u_step, v, v_at, v_step, tile, tile_at, tile_step, count):
    subtract_products(u, u_at, u_step, v, v_at, v_step, tile, tile_at, tile_step, count)


def _rows(array: np.ndarray, at: int, step: int, count: int, columns: int) -> np.ndarray:
    return np.lib.stride_tricks.as_strided(array[at:], (count, columns), (8 * step, 8))


@given(seeds, st.integers(0, 40), st.integers(0, 5), st.integers(0, 9))
def test_a_tile_loses_the_product_and_nothing_else_changes(seed: int, count: int, first: int, gap: int) -> None:
    rng = np.random.default_rng(seed)
    u, v, tile = (rng.normal(size=1200) for _ in range(3))
    steps = ROWS + gap, COLUMNS + gap, COLUMNS + 2 * gap
    expected = tile.copy()
    product = _rows(u, first, steps[0], count, ROWS).T @ _rows(v, 2 * first, steps[1], count, COLUMNS)
    _rows(expected, 3 * first, steps[2], ROWS, COLUMNS)[:] -= product
    before = u.copy(), v.copy()
    _subtract(u, first, steps[0], v, 2 * first, steps[1], tile, 3 * first, steps[2], count)
    assert np.allclose(tile, expected, rtol=1e-12, atol=1e-12)
    assert np.array_equal(u, before[0]) and np.array_equal(v, before[1])


def _problem(seed: int, frames: int, size: int, lags: int, sides: int) -> tuple[np.ndarray, ...]:
    """Normal equations of frames, a coupling that they outweigh, what is free of them, and right sides."""
    rng = np.random.default_rng(seed)
    jacobian = rng.normal(size=(frames, size + 2, size))
    hessian = jacobian.transpose(0, 2, 1) @ jacobian
    bands = rng.normal(size=(lags + 1, frames, size))
    bands[0] = 2 * (lags + 1) * np.abs(bands).max()
    free = rng.uniform(size=(frames, size)) < 0.8
    return hessian, bands, free, rng.normal(size=(frames * size, sides)) * free.reshape(-1, 1)


def _dense(hessian: np.ndarray, bands: np.ndarray, free: np.ndarray, damping: float) -> np.ndarray:
    """The matrix [N, N], entry by entry."""
    frames, size = free.shape
    matrix = np.zeros((frames, size, frames, size))
    for t in range(frames):
        matrix[t, :, t] = np.tril(hessian[t]) + np.tril(hessian[t], -1).T
        for lag in range(min(len(bands), frames - t)):
            for d in range(size):
                matrix[t, d, t + lag, d] += bands[lag, t, d]
                if lag:
                    matrix[t + lag, d, t, d] += bands[lag, t, d]
    matrix = matrix.reshape(frames * size, frames * size)
    matrix += damping * np.diag(matrix.diagonal() + 1e-6)
    held = ~free.reshape(-1)
    matrix[held], matrix[:, held] = 0.0, 0.0
    matrix[held, held] = 1.0
    return matrix


@given(seeds, st.integers(1, 12), st.integers(1, 11), st.integers(1, 3), st.integers(1, 18))
def test_it_solves_what_a_dense_matrix_solves(seed: int, frames: int, size: int, lags: int, sides: int) -> None:
    hessian, bands, free, right = _problem(seed, frames, size, lags, sides)
    band = Band(hessian, bands, free, 1e-3, right)
    assert not band.failed
    expected = np.linalg.solve(_dense(hessian, bands, free, 1e-3), right)
    solution = np.stack([band.whole(np.ascontiguousarray(half)) for half in band.half.T], axis=1)
    assert np.allclose(solution, expected, rtol=1e-9, atol=1e-11)
    assert np.allclose(band.half.T @ band.half, right.T @ expected, rtol=1e-9, atol=1e-11)


@given(seeds, st.integers(4, 9), st.integers(1, 7), st.integers(1, 2))
def test_a_band_goes_on_from_the_last_unknowns_of_another(seed: int, frames: int, size: int, lags: int) -> None:
    hessian, bands, free, right = _problem(seed, frames, size, lags, 2)
    whole = Band(hessian, bands, free, 1e-3, right)
    seam = frames - 1
    first = Band(hessian[:seam], bands[:, :seam], free[:seam], 1e-3, right[: seam * size])
    tail, begin = first.tail(lags * size), seam - lags
    known = tail.T @ first.half[begin * size :]
    rest = np.concatenate([known, right[seam * size :]])
    after = Band(hessian[begin:], bands[:, begin:], free[begin:], 1e-3, rest, lead=tail)
    assert np.allclose(after.half, whole.half[begin * size :], rtol=1e-9, atol=1e-11)
    assert np.allclose(after.tail(lags * size), whole.tail(lags * size), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("frame", [0, 3, 6])
@pytest.mark.parametrize("value", [-1e3, np.nan, np.inf])
def test_a_matrix_that_is_not_positive_definite_fails(frame: int, value: float) -> None:
    hessian, bands, free, right = _problem(1, 7, 5, 2, 3)
    free[:] = True
    hessian[frame, 2, 2] = value
    assert Band(hessian, bands, free, 1e-3, right).failed


def test_a_right_side_that_is_not_finite_fails() -> None:
    hessian, bands, free, right = _problem(2, 7, 5, 2, 3)
    right[11, 1] = np.nan
    assert Band(hessian, bands, free, 1e-3, right).failed
