# SPDX-License-Identifier: GPL-3.0-or-later
"""Each system is solved a second time by plain means: as one dense matrix, and as LAPACK's band."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import solveh_banded
from torch import Tensor

from strategies import seeds
from video2rig.ik.block_solver import solve_block_pentadiagonal

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
]
FRAMES = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 16, 17, 24, 25, 32, 33, 48, 49, 50, 64, 65]


class System(NamedTuple):
    hessian: Tensor
    bands: Tensor
    right_side: Tensor

    def solve(self) -> tuple[Tensor, Tensor]:
        return solve_block_pentadiagonal(*self)

    def to(self, kind: torch.dtype | str) -> "System":
        return System(*(part.to(kind) for part in self))


def random_system(
    seed: int,
    batch: int,
    frames: int,
    size: int,
    sides: int = 1,
    *,
    rank: int | None = None,
    smooth: float = 1.0,
    damping: float = 1e-3,
    order: int = 2,
) -> System:
    """Normal equations as the temporal IK makes them: J^T J of each frame, and differences between frames.

    Args:
        rank: Rows of J; fewer than ``size`` leave unknowns of single frames unobserved.
        smooth: Weight of the differences. damping: Added to all of the diagonal, as a part of it.
        order: Of the differences.
    """
    rng = np.random.default_rng(seed)
    jacobian = torch.from_numpy(rng.normal(size=(batch, frames, rank or size + 2, size)))
    hessian = jacobian.mT @ jacobian
    difference = np.diff(np.eye(frames), n=order, axis=0)
    bands = torch.zeros(batch, order + 1, frames, size, dtype=torch.float64)
    for one in range(batch):
        uneven = rng.uniform(0.5, 2.0, len(difference))  # as of frames at uneven times
        coupled = difference.T @ (uneven[:, None] * difference)
        weight = torch.from_numpy(smooth * rng.uniform(0.5, 2.0, size))
        for lag in range(min(order + 1, frames)):
            bands[one, lag, : frames - lag] = torch.from_numpy(np.diagonal(coupled, lag).copy())[:, None] * weight
    bands[:, 0] += damping * (hessian.diagonal(dim1=-2, dim2=-1) + bands[:, 0] + 1e-6)
    return System(hessian, bands, torch.from_numpy(rng.normal(size=(batch, frames, size, sides))))


def dense(system: System) -> Tensor:
    """The matrices [B, T D, T D], entry by entry."""
    batch, frames, size, _ = system.hessian.shape
    matrix = torch.zeros(batch, frames, size, frames, size, dtype=system.hessian.dtype)
    for t in range(frames):
        matrix[:, t, :, t] += system.hessian[:, t]
        for lag in range(min(system.bands.shape[1], frames - t)):
            coupled = torch.diag_embed(system.bands[:, lag, t])
            matrix[:, t, :, t + lag] += coupled
            if lag:
                matrix[:, t + lag, :, t] += coupled
    return matrix.reshape(batch, frames * size, frames * size)


def solve_dense(system: System) -> Tensor:
    return torch.linalg.solve(dense(system), system.right_side.flatten(1, 2)).reshape(system.right_side.shape)


def solve_banded(system: System) -> Tensor:
    batch, frames, size, sides = system.right_side.shape
    solutions = []
    for matrix, right_side in zip(dense(system).numpy(), system.right_side.flatten(1, 2).numpy(), strict=True):
        lags = system.bands.shape[1] - 1
        band = np.zeros((min(lags * size + 1, frames * size), frames * size))
        for lag in range(len(band)):
            band[lag, : frames * size - lag] = np.diagonal(matrix, -lag)
        solutions.append(solveh_banded(band, right_side, lower=True))
    return torch.from_numpy(np.stack(solutions)).reshape(batch, frames, size, sides)


def apply(system: System, solution: Tensor) -> Tensor:
    """The product [B, T, D, R] of the matrices with a solution, without the matrices."""
    product = system.hessian @ solution + system.bands[:, 0, ..., None] * solution
    for lag in range(1, min(system.bands.shape[1], system.bands.shape[2])):
        coupled = system.bands[:, lag, :-lag, :, None]
        product[:, :-lag] += coupled * solution[:, lag:]
        product[:, lag:] += coupled * solution[:, :-lag]
    return product


def backward_error(system: System, solution: Tensor) -> Tensor:
    """By which part [B] of themselves matrix and right side would have to change for the solution to be exact."""
    largest = system.hessian.abs().sum(-1).amax((1, 2)) + 2 * system.bands.abs().sum(1).amax((1, 2))
    residual = (apply(system, solution) - system.right_side).abs().amax((1, 2, 3))
    return residual / (largest * solution.abs().amax((1, 2, 3)) + system.right_side.abs().amax((1, 2, 3)))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("frames", FRAMES)
@pytest.mark.parametrize("order", [1, 2, 3])
def test_it_solves_what_plain_solvers_solve(order: int, frames: int, device: str) -> None:
    system = random_system(frames, 3, frames, 5, 4, order=order)
    solution, failed = system.to(device).solve()
    assert not failed.any()
    assert torch.allclose(solution.cpu(), solve_dense(system), rtol=1e-9, atol=1e-11)
    assert torch.allclose(solution.cpu(), solve_banded(system), rtol=1e-9, atol=1e-11)


@given(seeds, st.integers(1, 4), st.integers(1, 40), st.integers(1, 12), st.integers(1, 6), st.floats(-3, 4))
def test_it_solves_systems_of_any_shape(
    seed: int, batch: int, frames: int, size: int, sides: int, smooth: float
) -> None:
    system = random_system(seed, batch, frames, size, sides, smooth=10**smooth)
    solution, failed = system.solve()
    assert not failed.any()
    assert torch.allclose(solution, solve_dense(system), rtol=1e-6, atol=1e-8)
    assert backward_error(system, solution).max() < 1e-14


@given(seeds, st.integers(1, 12), st.integers(1, 4))
def test_coupling_of_any_size_and_sign_counts(seed: int, frames: int, lags: int) -> None:
    """Not differences, but anything on the bands, under a diagonal that outweighs it."""
    rng = np.random.default_rng(seed)
    system = random_system(seed, 2, frames, 3)
    bands = torch.from_numpy(rng.normal(size=(2, lags + 1, frames, 3)))
    bands[:, 0] = bands.abs().sum((1, 2, 3), keepdim=True)[:, 0]
    system = system._replace(bands=bands)
    assert torch.allclose(system.solve()[0], solve_dense(system), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("frames", [30, 31, 300])
@pytest.mark.parametrize("order", [2, 3])
def test_unknowns_that_hang_on_differences_alone_are_solved_to_rounding(order: int, frames: int, device: str) -> None:
    """Two unknowns that nothing sees: damping of 1e-9 alone keeps the matrix, of condition 1e13, from being singular.

    The solution cannot be known to more than a few digits; that it solves a matrix equal to rounding can.
    """
    system = random_system(1, 2, frames, 8, 3, smooth=100.0, damping=1e-9, order=order)
    system.hessian[..., :2, :] = 0.0
    system.hessian[..., :2] = 0.0
    solution, failed = system.to(device).solve()
    assert not failed.any()
    error = backward_error(system, solution.cpu()).max()
    assert error < 1e-14
    assert error < 20 * backward_error(system, solve_banded(system)).max()


@pytest.mark.parametrize("device", DEVICES)
def test_frames_that_see_little_are_solved_to_rounding(device: str) -> None:
    """Each frame's own block is singular and only all frames together, and damping, tell all unknowns."""
    system = random_system(2, 2, 100, 12, rank=5, smooth=1e-4, damping=1e-9)
    solution, failed = system.to(device).solve()
    assert not failed.any()
    assert backward_error(system, solution.cpu()).max() < 1e-14


@pytest.mark.parametrize("device", DEVICES)
def test_smoothness_that_outweighs_the_data(device: str) -> None:
    system = random_system(3, 2, 300, 6, 2, smooth=1e4)
    solution, failed = system.to(device).solve()
    assert not failed.any()
    assert torch.allclose(solution.cpu(), solve_banded(system), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("smooth", "error"), [(1.0, 1e-5), (1e2, 1e-4), (1e4, 1e-3)])
def test_single_precision_loses_digits_to_smoothness(smooth: float, error: float, device: str) -> None:
    """Of a solution in float32, this part of the largest unknown is wrong; T = 300, data of weight one."""
    system = random_system(4, 2, 300, 10, 2, smooth=smooth)
    exact, _ = system.solve()
    solution, failed = system.to(torch.float32).to(device).solve()
    assert solution.dtype == torch.float32 and not failed.any()
    assert (solution.cpu() - exact).abs().max() < error * exact.abs().max()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("broken", ["first", "middle", "last", "coupling", "nan", "infinite", "nan on the right"])
def test_a_sequence_that_cannot_be_solved_leaves_the_others_alone(broken: str, device: str) -> None:
    system = random_system(5, 4, 22, 4, 2)
    expected, _ = system.to(device).solve()
    match broken:
        case "first":
            system.hessian[2, 0] -= 1e3 * torch.eye(4)
        case "middle":
            system.hessian[2, 11, 1, 1] = -1e3
        case "last":
            system.hessian[2, 21] = -torch.eye(4)
        case "coupling":
            system.bands[2, 2, 7, 3] = 1e4
        case "nan":
            system.hessian[2, 13, 1, 1] = torch.nan
        case "infinite":
            system.hessian[2, 6, 0, 0] = torch.inf
        case _:
            system.right_side[2, 3, 1, 0] = torch.nan
    solution, failed = system.to(device).solve()
    assert failed.tolist() == [False, False, True, False]
    assert solution[2].isnan().all()
    others = [0, 1, 3]
    assert torch.allclose(solution[others], expected[others], rtol=1e-12, atol=1e-14)


@given(seeds, st.integers(1, 14), st.floats(0.05, 0.95))
def test_it_fails_exactly_where_the_matrix_is_not_positive_definite(seed: int, frames: int, share: float) -> None:
    """The spectrum of a matrix is moved down until some eigenvalues are negative, and to just above zero."""
    system = random_system(seed, 1, frames, 3)
    eigenvalues = torch.linalg.eigvalsh(dense(system))[0]
    moves = torch.stack([eigenvalues[0] * share, eigenvalues[0] + (eigenvalues[-1] - eigenvalues[0]) * share])
    several = System(*(part.repeat(2, *[1] * (part.ndim - 1)) for part in system))
    several.bands[:, 0] -= moves[:, None, None]
    _, failed = several.solve()
    assert failed.tolist() == [False, True]


@pytest.mark.parametrize("frames", [1, 2, 5, 6])
def test_what_reaches_beyond_the_last_frame_is_not_looked_at_and_nothing_is_written_to(frames: int) -> None:
    system = random_system(6, 2, frames, 3)
    expected = solve_dense(system)
    system.bands[:, 1, -1:] = torch.nan
    system.bands[:, 2, -2:] = torch.nan
    before = [part.clone() for part in system]
    assert torch.allclose(system.solve()[0], expected)
    assert all(torch.equal(part.nan_to_num(), old.nan_to_num()) for part, old in zip(system, before, strict=True))


@pytest.mark.parametrize("device", DEVICES)
def test_only_the_lower_triangles_count(device: str) -> None:
    system = random_system(10, 2, 20, 6, 2)
    expected, _ = system.to(device).solve()
    lower = system._replace(hessian=system.hessian.tril() + 1e3 * torch.ones(6, 6, dtype=torch.float64).triu(1))
    solution, failed = lower.to(device).solve()
    assert not failed.any()
    assert torch.equal(solution, expected)


def test_the_units_of_the_unknowns_change_nothing() -> None:
    system = random_system(9, 2, 20, 6, 2, smooth=30.0)
    solution, _ = system.solve()
    unit = 2.0 ** torch.tensor([-20, -7, 0, 3, 11, 20], dtype=torch.float64)  # powers of two round to themselves
    scaled = System(
        unit[:, None] * system.hessian * unit, system.bands * unit**2, unit[:, None] * system.right_side
    ).solve()[0]
    assert torch.equal(unit[:, None] * scaled, solution)


def test_a_batch_is_its_sequences() -> None:
    system = random_system(7, 5, 40, 6, 3)
    together, _ = system.solve()
    for one in range(5):
        alone, _ = System(*(part[one : one + 1] for part in system)).solve()
        assert torch.allclose(together[one], alone[0], rtol=1e-11, atol=1e-13)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_nothing_is_read_back_from_the_gpu() -> None:
    system = random_system(8, 4, 50, 6, 3).to("cuda")
    system.solve()  # the libraries' own first allocations may wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        _, failed = system.solve()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert not failed.any()
