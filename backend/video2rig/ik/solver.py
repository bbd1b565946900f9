# SPDX-License-Identifier: GPL-3.0-or-later
"""The solver: Levenberg-Marquardt over a whole sequence, with the range of motion as hard bounds.

Unknowns at a bound that the gradient pushes outwards are held there for the step (an active set), and steps stop
at the bounds. Frames are coupled by second differences only, so the normal equations are a band of twice the
unknowns of a frame and one banded Cholesky factorisation solves them in time that is linear in the frames.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.linalg import LinAlgError, solveh_banded
from torch import Tensor

from ..errors import Video2RigError
from .model import ROOT_DOFS, BodyModel, Pose
from .smoothness import Smoothness


class SolveError(Video2RigError):
    """The normal equations have no solution: an input was not finite, or out of all proportion."""


NormalEquations = tuple[Tensor, Tensor, Tensor]
"""Cost [T], half the gradient [T, D] and half the Gauss-Newton Hessian [T, D, D] of the frames' own terms."""

_MAX_DAMPING = 1e8


def bound_by_range(model: BodyModel, pose: Pose, gradient: Tensor) -> Tensor:
    """Return [T, D] bool: unknowns at a bound of the range of motion that descent would push through it."""
    held = torch.zeros_like(gradient, dtype=torch.bool)
    slope = gradient[:, ROOT_DOFS:]
    held[:, ROOT_DOFS:] = ((pose.angles <= model.lower) & (slope > 0)) | ((pose.angles >= model.upper) & (slope < 0))
    return held


def solve_frames(
    model: BodyModel,
    objective: Callable[[Pose], NormalEquations],
    pose: Pose,
    iterations: int,
    tolerance: float = 1e-4,
) -> tuple[Pose, Tensor]:
    """Solve every frame by itself, all in one batch, each with its own damping.

    Args:
        objective: The terms of the frames. pose: Where to start, T frames.
        iterations: At most so many steps. tolerance: Stop once no frame's cost falls by a larger part.

    Returns:
        The poses and their costs [T].
    """
    cost, gradient, hessian = objective(pose)
    damping = torch.full_like(cost, 1e-3)
    for _ in range(iterations):
        held = bound_by_range(model, pose, gradient)
        step = _damped_step(hessian, gradient, held, damping)
        trial = model.retract(pose, step)
        trial_cost, trial_gradient, trial_hessian = objective(trial)
        better = trial_cost < cost
        gain = torch.where(better, (cost - trial_cost) / cost.clamp_min(1e-12), 0.0)
        pose = Pose.where(better, trial, pose)
        cost = torch.where(better, trial_cost, cost)
        gradient = torch.where(better[:, None], trial_gradient, gradient)
        hessian = torch.where(better[:, None, None], trial_hessian, hessian)
        damping = torch.where(better, damping / 4, damping * 8).clamp(1e-8, _MAX_DAMPING)
        if better.any() and gain.max() < tolerance:
            break
    return pose, cost


def solve_sequence(
    model: BodyModel,
    objective: Callable[[Pose], NormalEquations],
    smoothness: Smoothness,
    pose: Pose,
    *,
    fixed: int = 0,
    iterations: int = 30,
    tolerance: float = 1e-5,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Pose:
    """Solve all frames together.

    Args:
        objective: The terms of single frames. smoothness: The term that couples them.
        pose: Where to start, T frames.
        fixed: So many frames at the beginning are given and do not move.
        iterations: At most so many steps. tolerance: Stop once the cost falls by a smaller part.
        progress: Called with the steps done and ``iterations``; may raise to abort.

    Raises:
        SolveError: There is no solution, as when the start is not finite.
    """
    frames, unknowns = len(pose), model.size
    bands = smoothness.hessian_bands(frames)
    cost, gradient, hessian = objective(pose)
    total = cost.sum() + smoothness.cost(pose)
    if not torch.isfinite(total):
        raise SolveError("inverse kinematics: the start is not finite; the keypoints are out of all proportion")
    damping = 1e-4
    for iteration in range(iterations):
        progress(iteration, iterations)
        full_gradient = gradient + smoothness.gradient(pose)
        held = bound_by_range(model, pose, full_gradient)
        held[:fixed] = True
        band = _banded(hessian, bands, held)
        right_side = torch.where(held, 0.0, full_gradient).numpy().ravel()
        while True:
            damped = band.copy()
            damped[0] += damping * (band[0] + 1e-6)
            try:
                solution = solveh_banded(damped, right_side, lower=True, overwrite_ab=True, check_finite=False)
            except LinAlgError:
                if damping > _MAX_DAMPING:
                    raise SolveError("inverse kinematics: the normal equations have no solution") from None
                damping *= 10
                continue
            trial = model.retract(pose, -torch.from_numpy(solution.reshape(frames, unknowns)))
            trial_cost, trial_gradient, trial_hessian = objective(trial)
            trial_total = trial_cost.sum() + smoothness.cost(trial)
            if trial_total < total or damping > _MAX_DAMPING:
                break
            damping *= 10
        if trial_total >= total:
            break
        gain = (total - trial_total) / total
        pose, total, gradient, hessian = trial, trial_total, trial_gradient, trial_hessian
        damping = max(damping / 10, 1e-9)
        if gain < tolerance:
            break
    return pose


def _damped_step(hessian: Tensor, gradient: Tensor, held: Tensor, damping: Tensor) -> Tensor:
    """Return the steps [T, D] of Levenberg-Marquardt, zero in the held unknowns."""
    free = (~held).to(hessian.dtype)
    matrix = hessian * free[:, :, None] * free[:, None, :]
    diagonal = damping[:, None] * (hessian.diagonal(dim1=1, dim2=2) + 1e-6) + (1 - free)
    matrix.diagonal(dim1=1, dim2=2).add_(diagonal)
    return -torch.linalg.solve(matrix, gradient * free)


def _banded(hessian: Tensor, bands: Tensor, held: Tensor) -> np.ndarray:
    """Return the normal matrix in LAPACK's lower banded form [2 D + 1, T D], held unknowns decoupled.

    Args:
        hessian: [T, D, D] of single frames; bands: [3, T, D] from :meth:`Smoothness.hessian_bands`.
        held: [T, D] unknowns that must not move.
    """
    frames, unknowns = held.shape
    free = (~held).numpy().astype(np.float64)
    block = hessian.numpy() * free[:, :, None] * free[:, None, :]
    band = np.zeros((2 * unknowns + 1, frames, unknowns))
    row, column = np.tril_indices(unknowns)
    band[row - column, :, column] = block[:, row, column].T
    for lag in range(min(3, frames)):
        coupled = bands[lag, : frames - lag].numpy() * free[: frames - lag] * free[lag:]
        band[lag * unknowns, : frames - lag] += coupled
    band[0] += 1.0 - free
    return band.reshape(2 * unknowns + 1, frames * unknowns)
