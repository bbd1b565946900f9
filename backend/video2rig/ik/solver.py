# SPDX-License-Identifier: GPL-3.0-or-later
"""The solver: damped Gauss-Newton over whole sequences, with the range of motion as hard bounds.

Unknowns at a bound that the gradient pushes outwards are held there for the step (an active set), and steps stop
at the bounds. Frames are coupled by the smoothness only, so the normal equations are a band of a few frames' unknowns;
what all frames share (lengths, focal length) borders it, an arrow, and is eliminated by the Schur complement. One
factorisation solves a clip in time that is linear in its frames.

Clips are solved side by side, each with its own damping; a frame by itself is a clip of one frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import get_lapack_funcs
from torch import Tensor

from ..errors import Video2RigError
from . import dispatch, time_kernels
from .block_solver import solve_block_pentadiagonal
from .model import ROOT_DOFS, BodyModel, NormalEquations, Pose
from .objective import Linearised, Objective
from .smoothness import Differences, Smoothness


class SolveError(Video2RigError):
    """The normal equations have no solution: an input was not finite, or out of all proportion."""


_pbtrf, _tbtrs = get_lapack_funcs(("pbtrf", "tbtrs"), dtype=np.float64)

_MIN_DAMPING, _MAX_DAMPING = 1e-7, 1e8
_SETTLING = 1e-3
"""A small gain under a damping above this does not mean that the minimum is near."""


_DONE_SHARE = 0.25
"""The others go on by themselves once so many clips are done."""


@dataclass(frozen=True)
class _Point:
    """Trajectories with the terms' values there; total [B] is their whole cost."""

    pose: Pose
    shared: Tensor
    at: Linearised
    differences: Differences | None
    total: Tensor


def solve(
    objective: Objective,
    smoothness: Smoothness | None,
    pose: Pose,
    shared: Tensor,
    *,
    one_person: bool = False,
    fixed: int = 0,
    iterations: int = 30,
    tolerance: float = 1e-5,
    damping: float = 1e-4,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Pose, Tensor, Tensor]:
    """Solve B clips of T frames.

    Args:
        objective: The terms of single frames. smoothness: The term that couples them; None for frames by themselves.
        pose: Where to start, [B, T] frames. shared: [B, S] unknowns that the frames of a clip share.
        one_person: Whether all clips show the same person, and share these unknowns among them too.
        fixed: So many frames at the beginning of each clip are given and do not move.
        iterations: At most so many steps. tolerance: A clip is done once its cost falls by a smaller part.
        damping: Of the first step, a share of the Hessian's diagonal.
        progress: Called with the steps done and ``iterations``; may raise to abort.

    Returns:
        The poses, the shared unknowns, and the costs [B].

    Raises:
        SolveError: There is no solution, as when the start is not finite.
    """
    return _solve(
        objective,
        smoothness,
        pose,
        shared,
        np.full(len(pose), damping),
        one_person,
        fixed,
        range(iterations),
        tolerance,
        progress,
    )


def _solve(
    objective: Objective,
    smoothness: Smoothness | None,
    pose: Pose,
    shared: Tensor,
    damping: np.ndarray,
    one_person: bool,
    fixed: int,
    steps: range,
    tolerance: float,
    progress: Callable[[int, int], None],
) -> tuple[Pose, Tensor, Tensor]:
    """Do what :func:`solve` does, from given damping [B], for a range of steps."""
    model, clips = objective.model, len(pose)

    def evaluate(pose: Pose, shared: Tensor) -> _Point:
        at = objective.linearise(pose, shared)
        total = at.cost
        if objective.shared is not None:
            prior = objective.shared_cost(shared)
            total = total + (prior / clips if one_person else prior)
        if smoothness is None:
            return _Point(pose, shared, at, None, total)
        differences = smoothness.differences(pose)
        return _Point(pose, shared, at, differences, total + differences.cost)

    here = evaluate(pose, shared)
    cost = here.total.cpu().numpy()
    if not np.isfinite(cost).all():
        raise SolveError("inverse kinematics: the start is not finite; the keypoints are out of all proportion")
    done = np.zeros(clips, dtype=bool)
    equations, bands, held = None, None, torch.zeros(())
    for step_number in steps:
        progress(step_number, steps.stop)
        if equations is None:
            equations = objective.normal_equations(here.pose, here.shared, here.at)
            if smoothness is not None and here.differences is not None:
                equations.gradient.add_(smoothness.gradient(here.differences))
                bands = smoothness.hessian_bands(here.differences)
            held = bound_by_range(model, here.pose, equations.gradient)
            held[:, :fixed] = True
        prior = objective.shared_equations(here.shared)
        on_device = torch.from_numpy(damping).to(model.device)
        step, shared_step, failed = _step(equations, bands, held, on_device, prior, one_person)
        trial = evaluate(model.retract(here.pose, step), here.shared + shared_step)
        # read at once: a GPU waits whenever it is asked
        trial_cost, trial_failed = torch.stack([trial.total, failed.to(trial.total.dtype)]).cpu().numpy()
        before, after, solved = cost, trial_cost, trial_failed == 0
        if one_person:  # one clip may lose for the others to gain more
            before, after = np.full(clips, before.sum()), np.full(clips, after.sum())
            solved = np.full(clips, solved.all())
        better = (after < before) & solved & ~done
        gain = before - after
        done |= better & (gain < tolerance * before) & (damping <= _SETTLING)
        done |= ~better & (damping >= _MAX_DAMPING)
        # rounding alone can make the last step of a solved clip look worse
        done |= ~better & (np.abs(gain) <= 1e-12 * before)
        damping = np.where(better, damping / 10, damping * 30).clip(_MIN_DAMPING, _MAX_DAMPING)
        if better.all():
            here, equations = trial, None
        elif better.any():
            chosen = torch.from_numpy(better).to(model.device)
            pose = Pose.where(chosen, trial.pose, here.pose)
            here, equations = evaluate(pose, torch.where(chosen[:, None], trial.shared, here.shared)), None
        cost = np.where(better, trial_cost, cost)
        if done.all():
            break
        if not one_person and done.mean() > _DONE_SHARE:
            left = torch.from_numpy(np.flatnonzero(~done)).to(model.device)
            remaining = steps[step_number + 1 - steps.start :]
            pose, shared, total = _solve(
                objective.mapped(lambda array, left=left: array[left]), smoothness and smoothness.of_clips(left),
                here.pose[left], here.shared[left], damping[~done], False, fixed, remaining, tolerance, progress,
            )  # fmt: skip
            pose = here.pose.replaced(left, pose)
            return pose, here.shared.index_copy(0, left, shared), here.total.index_copy(0, left, total)
    return here.pose, here.shared, here.total


def bound_by_range(model: BodyModel, pose: Pose, gradient: Tensor) -> Tensor:
    """Return [B, T, D] bool: unknowns at a bound of the range of motion that descent would push through it."""
    if dispatch.is_compiled(gradient.device):
        angles, slope = pose.reshape(-1).angles, gradient.reshape(-1, model.size)
        arrays = (angles, model.lower, model.upper, slope)
        held = time_kernels.bound_by_range(*(array.contiguous().numpy() for array in arrays))
        return torch.from_numpy(held).reshape(gradient.shape)
    return bound_by_range_by_torch(model, pose, gradient)


def bound_by_range_by_torch(model: BodyModel, pose: Pose, gradient: Tensor) -> Tensor:
    """Do what :func:`bound_by_range` does, in torch."""
    held = torch.zeros_like(gradient, dtype=torch.bool)
    slope = gradient[..., ROOT_DOFS:]
    held[..., ROOT_DOFS:] = ((pose.angles <= model.lower) & (slope > 0)) | ((pose.angles >= model.upper) & (slope < 0))
    return held


def _step(
    equations: NormalEquations,
    bands: Tensor | None,
    held: Tensor,
    damping: Tensor,
    prior: tuple[Tensor, Tensor] | None,
    one_person: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return damped Gauss-Newton steps.

    Args:
        prior: Half the gradient [B, S] and half the Hessian [S, S] of what is known of the shared unknowns.

    Returns:
        The steps of the frames [B, T, D] and of what they share [B, S], zero where held, and [B] bool: clips whose
        matrix could not be factorised.
    """
    right = torch.cat([equations.gradient[..., None], equations.coupling], dim=-1).masked_fill(held[..., None], 0.0)
    products, combine, failed = eliminate(equations.hessian, bands, ~held, damping, right)
    minus_one = -torch.ones_like(damping)[:, None]
    if prior is None:
        return combine(minus_one), equations.shared_gradient, failed
    matrix = equations.shared_hessian - products[:, 1:, 1:]
    slope = equations.shared_gradient - products[:, 1:, 0]
    matrix.diagonal(dim1=-2, dim2=-1).add_(damping[:, None] * equations.shared_hessian.diagonal(dim1=-2, dim2=-1))
    if one_person:
        matrix, slope = matrix.sum(0, keepdim=True), slope.sum(0, keepdim=True)
    factor, info = torch.linalg.cholesky_ex(matrix + prior[1])
    shared_step = -torch.cholesky_solve((slope + prior[0][: len(slope)])[..., None], factor)[..., 0]
    shared_step = shared_step.expand(len(held), -1)
    return combine(torch.cat([minus_one, -shared_step], dim=-1)), shared_step, failed | (info != 0)


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
        clips, frames = free.shape[:2]
        each = damping[:, None].expand(clips, frames).reshape(-1)
        arrays = (hessian.flatten(0, 1), free.flatten(0, 1), each, right.flatten(0, 1))
        solution, failed = map(torch.from_numpy, time_kernels.solve_each(*(a.contiguous().numpy() for a in arrays)))
        solution, failed = solution.reshape(right.shape), failed.reshape(clips, frames).any(1)
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
    """Factorise clip after clip by LAPACK's banded Cholesky factorisation L L^T; half of a solution is L^-1 r."""
    clips, frames, unknowns, sides = right.shape
    halves, factors = np.zeros((clips, sides, frames * unknowns)), []
    failed = np.zeros(clips, dtype=bool)
    for clip in range(clips):
        band = np.empty((frames * unknowns, (bands.shape[1] - 1) * unknowns + 1))
        time_kernels.fill_band(
            hessian[clip].numpy(), bands[clip].numpy(), free[clip].numpy(), damping[clip].item(), band
        )
        factor, info = _pbtrf(band.T, lower=1, overwrite_ab=1)
        factors.append(factor)
        if info == 0:
            columns = np.asfortranarray(right[clip].reshape(-1, sides).numpy())
            halves[clip] = _tbtrs(factor, columns, uplo="L", overwrite_b=1)[0].T
        failed[clip] = info != 0 or not np.isfinite(halves[clip]).all()

    def combine(coefficients: Tensor) -> Tensor:
        solution = np.einsum("br,brn->bn", coefficients.numpy(), halves)
        for clip in np.flatnonzero(~failed):
            solution[clip] = _tbtrs(factors[clip], solution[clip], uplo="L", trans="T")[0]
        return torch.from_numpy(solution).reshape(clips, frames, unknowns)

    return torch.from_numpy(halves @ halves.transpose(0, 2, 1)), combine, torch.from_numpy(failed)
