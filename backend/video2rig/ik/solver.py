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
from . import time_kernels
from .block_solver import solve_block_pentadiagonal
from .model import ROOT_DOFS, BodyModel, NormalEquations, Pose
from .objective import Linearised, Objective
from .smoothness import Differences, Smoothness


class SolveError(Video2RigError):
    """The normal equations have no solution: an input was not finite, or out of all proportion."""


_pbtrf, _pbtrs = get_lapack_funcs(("pbtrf", "pbtrs"), dtype=np.float64)

_FIRST_DAMPING = 1e-4
_MIN_DAMPING, _MAX_DAMPING = 1e-7, 1e8
_SETTLING = 1e-3
"""A small gain under a damping above this does not mean that the minimum is near."""


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
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Pose, Tensor, Tensor]:
    """Solve B clips of T frames.

    Args:
        objective: The terms of single frames. smoothness: The term that couples them; None for frames by themselves.
        pose: Where to start, [B, T] frames. shared: [B, S] unknowns that the frames of a clip share.
        one_person: Whether all clips show the same person, and share these unknowns among them too.
        fixed: So many frames at the beginning of each clip are given and do not move.
        iterations: At most so many steps. tolerance: A clip is done once its cost falls by a smaller part.
        progress: Called with the steps done and ``iterations``; may raise to abort.

    Returns:
        The poses, the shared unknowns, and the costs [B].

    Raises:
        SolveError: There is no solution, as when the start is not finite.
    """
    model, clips = objective.model, len(pose)

    def evaluate(pose: Pose, shared: Tensor) -> _Point:
        at = objective.linearise(pose, shared)
        prior = objective.shared_cost(shared)
        total = at.cost + (prior / clips if one_person else prior)
        if smoothness is None:
            return _Point(pose, shared, at, None, total)
        differences = smoothness.differences(pose)
        return _Point(pose, shared, at, differences, total + differences.cost)

    here = evaluate(pose, shared)
    if not torch.isfinite(here.total).all():
        raise SolveError("inverse kinematics: the start is not finite; the keypoints are out of all proportion")
    done = torch.zeros_like(here.total, dtype=torch.bool)
    damping = torch.full_like(here.total, _FIRST_DAMPING)
    equations, bands, held = None, None, torch.zeros(())
    for iteration in range(iterations):
        progress(iteration, iterations)
        if equations is None:
            equations = objective.normal_equations(here.pose, here.shared, here.at)
            if smoothness is not None and here.differences is not None:
                equations.gradient.add_(smoothness.gradient(here.differences))
                bands = smoothness.hessian_bands(here.differences)
            held = bound_by_range(model, here.pose, equations.gradient)
            held[:, :fixed] = True
        prior = objective.shared_equations(here.shared)
        step, shared_step, failed = _step(equations, bands, held, damping, prior, one_person)
        trial = evaluate(model.retract(here.pose, step), here.shared + shared_step)
        if one_person:
            better = (trial.total.sum() < here.total.sum()).expand_as(done) & ~failed.any()
        else:
            better = (trial.total < here.total) & ~failed & ~done
        gain = (here.total - trial.total) / here.total.clamp_min(1e-12)
        done = done | (better & (gain < tolerance) & (damping <= _SETTLING)) | (~better & (damping >= _MAX_DAMPING))
        # rounding alone can make the last step of a solved clip look worse
        done = done | (~better & (gain.abs() < 1e-12))
        damping = torch.where(better, damping / 10, damping * 30).clamp(_MIN_DAMPING, _MAX_DAMPING)
        if better.all():
            here, equations = trial, None
        elif better.any():
            pose = Pose.where(better, trial.pose, here.pose)
            here, equations = evaluate(pose, torch.where(better[:, None], trial.shared, here.shared)), None
        if done.any() if one_person else done.all():
            break
    return here.pose, here.shared, here.total


def bound_by_range(model: BodyModel, pose: Pose, gradient: Tensor) -> Tensor:
    """Return [B, T, D] bool: unknowns at a bound of the range of motion that descent would push through it."""
    if gradient.device.type == "cpu":
        angles, slope = pose.angles.reshape(-1, len(model.lower)), gradient.reshape(-1, model.size)
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
    free = (~held).to(equations.gradient.dtype)
    right = torch.cat([equations.gradient[..., None], equations.coupling], dim=-1) * free[..., None]
    solved, failed = solve_frames(equations.hessian, bands, ~held, damping, right)
    step = -solved[..., 0]
    if prior is None:
        return step, equations.shared_gradient, failed
    coupling = right[..., 1:].flatten(1, 2)
    matrix = equations.shared_hessian - coupling.transpose(1, 2) @ solved[..., 1:].flatten(1, 2)
    slope = equations.shared_gradient + (coupling.transpose(1, 2) @ step.flatten(1, 2)[..., None])[..., 0]
    matrix.diagonal(dim1=-2, dim2=-1).add_(damping[:, None] * equations.shared_hessian.diagonal(dim1=-2, dim2=-1))
    if one_person:
        matrix, slope = matrix.sum(0, keepdim=True), slope.sum(0, keepdim=True)
    factor, info = torch.linalg.cholesky_ex(matrix + prior[1])
    shared_step = -torch.cholesky_solve((slope + prior[0][: len(slope)])[..., None], factor)[..., 0]
    shared_step = shared_step.expand(len(step), -1)
    step = step - (solved[..., 1:] @ shared_step[:, None, :, None])[..., 0]
    return step, shared_step, failed | (info != 0)


def solve_frames(
    hessian: Tensor, bands: Tensor | None, free: Tensor, damping: Tensor, right: Tensor
) -> tuple[Tensor, Tensor]:
    """Solve the normal equations of the frames' own unknowns.

    Args:
        hessian: [B, T, D, D] of single frames, of which the lower triangle counts; bands: [B, L + 1, T, D] of the
            smoothness, None for frames by themselves. free: [B, T, D] bool; others are decoupled.
        damping: [B] share of the diagonal that is added to it. right: [B, T, D, R], zero where not free.

    Returns:
        The solutions [B, T, D, R], and [B] bool: clips whose matrix is not positive definite.
    """
    if hessian.device.type != "cpu":
        return solve_frames_by_torch(hessian, bands, free, damping, right)
    if bands is not None:
        return _solve_bands(hessian, bands, free, damping, right)
    clips, frames, unknowns = free.shape
    each = damping[:, None].expand(clips, frames).reshape(-1)
    arrays = (hessian.flatten(0, 1), free.flatten(0, 1), each, right.flatten(0, 1))
    solution, failed = map(torch.from_numpy, time_kernels.solve_each(*(a.contiguous().numpy() for a in arrays)))
    return solution.reshape(right.shape), failed.reshape(clips, frames).any(1)


def solve_frames_by_torch(
    hessian: Tensor, bands: Tensor | None, free: Tensor, damping: Tensor, right: Tensor
) -> tuple[Tensor, Tensor]:
    """Do what :func:`solve_frames` does, in torch."""
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


def _solve_bands(hessian: Tensor, bands: Tensor, free: Tensor, damping: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Solve clip after clip by LAPACK's banded Cholesky factorisation."""
    clips, frames, unknowns = free.shape
    solution, failed = torch.zeros_like(right), torch.zeros(clips, dtype=torch.bool)
    band = np.empty((frames * unknowns, (bands.shape[1] - 1) * unknowns + 1))
    for clip in range(clips):
        time_kernels.fill_band(
            hessian[clip].numpy(), bands[clip].contiguous().numpy(), free[clip].numpy(), float(damping[clip]), band
        )
        factor, info = _pbtrf(band.T, lower=1, overwrite_ab=1)
        if info:
            failed[clip] = True
            continue
        columns = np.asfortranarray(right[clip].reshape(frames * unknowns, -1).numpy())
        solved, _ = _pbtrs(factor, columns, lower=1, overwrite_b=1)
        solution[clip] = torch.from_numpy(solved).reshape(frames, unknowns, -1)
        failed[clip] = not np.isfinite(solved).all()
    return solution, failed
