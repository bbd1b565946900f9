# SPDX-License-Identifier: GPL-3.0-or-later
"""The normal equations of frames that the smoothness couples, factorised: a band on CPUs, blocks elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from . import dispatch, time_kernels
from .band import Band
from .block_solver import solve_block_pentadiagonal

Combine = Callable[[Tensor], Tensor]
"""From [B, R] coefficients to [B, T, D], the so weighted sum of solutions."""


def eliminate(
    hessian: Tensor, bands: Tensor | None, free: Tensor, damping: Tensor, right: Tensor
) -> tuple[Tensor, Combine, Tensor]:
    """Factorise the normal equations H of the frames' own unknowns, for right sides r.

    Args:
        hessian: [B, T, D, D] of single frames, of which the lower triangle counts; bands: [B, L + 1, T, D] of the
            smoothness, None for frames by themselves. free: [B, T, D] bool; others are decoupled.
        damping: [B] share of the diagonal that is added to it. right: [B, T, D, R], zero where not free.

    Returns:
        The products r^T H^-1 r [B, R, R]; a function that combines the solutions H^-1 r; and [B] bool: clips whose
        matrix is not positive definite.
    """
    if dispatch.is_compiled(hessian.device) and bands is not None:
        return _eliminate_bands(hessian, bands, free, damping, right)
    if dispatch.is_compiled(hessian.device):
        each = damping[:, None].expand(free.shape[:2])
        arrays = (array.flatten(0, 1).contiguous().numpy() for array in (hessian, free, each, right))
        solution, failed = map(torch.from_numpy, time_kernels.solve_each(*arrays))
        solution, failed = solution.reshape(right.shape), failed.reshape(free.shape[:2]).any(1)
    else:
        solution, failed = solve_frames_by_torch(hessian, bands, free, damping, right)
    products = right.flatten(1, 2).transpose(1, 2) @ solution.flatten(1, 2)
    return products, lambda coefficients: (solution @ coefficients[:, None, :, None])[..., 0], failed


def solve_frames_by_torch(
    hessian: Tensor, bands: Tensor | None, free: Tensor, damping: Tensor, right: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the solutions [B, T, D, R], and [B] bool: clips whose matrix is not positive definite."""
    mask = free.to(hessian.dtype)
    matrix = hessian * (mask[..., :, None] * mask[..., None, :])
    diagonal = matrix.diagonal(dim1=-2, dim2=-1)
    whole = diagonal if bands is None else diagonal + bands[:, 0] * mask
    diagonal.add_(damping[:, None, None] * (whole + 1e-6) * mask + (1 - mask))
    if bands is None:
        factor, info = torch.linalg.cholesky_ex(matrix)
        return torch.cholesky_solve(right, factor), (info != 0).any(-1)
    coupled = bands.clone()
    frames = mask.shape[1]
    for lag in range(min(bands.shape[1], frames)):
        coupled[:, lag, : frames - lag] *= mask[:, : frames - lag] * mask[:, lag:]
    return solve_block_pentadiagonal(matrix, coupled, right)


def _eliminate_bands(
    hessian: Tensor, bands: Tensor, free: Tensor, damping: Tensor, right: Tensor
) -> tuple[Tensor, Combine, Tensor]:
    """Factorise clip after clip by banded Cholesky factorisations."""
    clips, frames, unknowns, sides = right.shape
    arrays = hessian.numpy(), bands.numpy(), free.numpy(), damping.numpy(), right.reshape(clips, -1, sides).numpy()
    factors = [Band(*clip) for clip in zip(*arrays, strict=True)]
    halves = np.stack([factor.half for factor in factors])
    failed = np.array([factor.failed for factor in factors])
    halves[failed] = 0.0

    def combine(coefficients: Tensor) -> Tensor:
        solution = (halves @ coefficients.numpy()[..., None])[..., 0]
        for clip in np.flatnonzero(~failed):
            solution[clip] = factors[clip].whole(solution[clip])
        return torch.from_numpy(solution).reshape(clips, frames, unknowns)

    return torch.from_numpy(halves.transpose(0, 2, 1) @ halves), combine, torch.from_numpy(failed)
