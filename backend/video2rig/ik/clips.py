# SPDX-License-Identifier: GPL-3.0-or-later
"""Clips that are solved side by side: what their poses cost, and the damped Gauss-Newton step from there.

Unknowns at a bound that the gradient pushes outwards are held there for the step (an active set), and steps stop
at the bounds. Frames are coupled by the smoothness only, so the normal equations are a band of a few frames' unknowns;
what all frames share (lengths, focal length) borders it, an arrow, and is eliminated by the Schur complement. One
factorisation solves a clip in time that is linear in its frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from . import dispatch, time_kernels
from .elimination import eliminate
from .model import ROOT_DOFS, BodyModel, NormalEquations, Pose
from .objective import Linearised, Objective
from .smoothness import Differences, Smoothness


@dataclass(frozen=True)
class Point:
    """Poses [B, T] and what their frames share [B, S], with the whole cost of each clip, total [B].

    The terms' values there are kept where they are few enough to be.
    """

    pose: Pose
    shared: Tensor
    total: Tensor
    at: Linearised | None = None
    differences: Differences | None = None


class Step(NamedTuple):
    """Steps of the frames [B, T, D] and of what they share [B, S], zero where held.

    failed: [B] bool, clips whose normal equations could not be factorised. predicted: [B] by how much a quadratic cost
    would fall.
    """

    frames: Tensor
    shared: Tensor
    failed: Tensor
    predicted: Tensor


class Clips:
    """B clips of T frames.

    Attributes:
        objective: The terms of single frames. smoothness: The term that couples them; None for frames by themselves.
        one_person: Whether all clips show the same person, and share what frames share among them too.
        fixed: So many frames at the beginning and at the end of each clip are given and do not move.
    """

    def __init__(
        self,
        objective: Objective,
        smoothness: Smoothness | None,
        one_person: bool = False,
        fixed: tuple[int, int] = (0, 0),
    ) -> None:
        self.objective, self.smoothness, self.one_person, self.fixed = objective, smoothness, one_person, fixed
        self._point: Point | None = None

    def evaluate(self, pose: Pose, shared: Tensor) -> Point:
        """Return the terms at poses [B, T], and at what their frames share [B, S]."""
        at = self.objective.linearise(pose, shared)
        total = at.cost
        if self.objective.shared is not None:
            prior = self.objective.shared_cost(shared)
            total = total + (prior / len(pose) if self.one_person else prior)
        if self.smoothness is None:
            return Point(pose, shared, total, at)
        differences = self.smoothness.differences(pose)
        return Point(pose, shared, total + differences.cost, at, differences)

    def step(self, here: Point, damping: Tensor) -> Step:
        """Return the damped step from a point; damping: [B], a share of the diagonal that is added to it."""
        if here is not self._point:  # else only the damping has changed
            self._linearise(here)
        prior = self.objective.shared_equations(here.shared)
        return _step(self._equations, self._bands, self._held, damping, prior, self.one_person)

    def only(self, clips: Tensor) -> Clips:
        """Return some of the clips, given by their numbers."""
        objective = self.objective.mapped(lambda array: array[clips])
        return Clips(objective, self.smoothness and self.smoothness.of_clips(clips), self.one_person, self.fixed)

    def _linearise(self, here: Point) -> None:
        assert here.at is not None
        self._point, self._bands = here, None
        self._equations = self.objective.normal_equations(here.pose, here.shared, here.at)
        if self.smoothness is not None and here.differences is not None:
            self._equations.gradient.add_(self.smoothness.gradient(here.differences))
            self._bands = self.smoothness.hessian_bands(here.differences)
        self._held = bound_by_range(self.objective.model, here.pose, self._equations.gradient)
        begin, end = self.fixed
        self._held[:, :begin] = self._held[:, self._held.shape[1] - end :] = True


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
) -> Step:
    """Return damped Gauss-Newton steps.

    Args:
        prior: Half the gradient [B, S] and half the Hessian [S, S] of what is known of the shared unknowns.
    """
    right = torch.cat([equations.gradient[..., None], equations.coupling], dim=-1).masked_fill(held[..., None], 0.0)
    products, combine, failed = eliminate(equations.hessian, bands, ~held, damping, right)
    minus_one = -torch.ones_like(damping)[:, None]
    if prior is None:
        return Step(combine(minus_one), equations.shared_gradient, failed, products[:, 0, 0])
    matrix = equations.shared_hessian - products[:, 1:, 1:]
    slope = equations.shared_gradient - products[:, 1:, 0]
    matrix.diagonal(dim1=-2, dim2=-1).add_(damping[:, None] * equations.shared_hessian.diagonal(dim1=-2, dim2=-1))
    if one_person:
        matrix, slope = matrix.sum(0, keepdim=True), slope.sum(0, keepdim=True)
    factor, info = torch.linalg.cholesky_ex(matrix + prior[1])
    shared_step = -torch.cholesky_solve((slope + prior[0][: len(slope)])[..., None], factor)[..., 0]
    shared_step = shared_step.expand(len(held), -1)
    predicted = products[:, 0, 0] - (slope * shared_step).sum(-1)
    return Step(combine(torch.cat([minus_one, -shared_step], dim=-1)), shared_step, failed | (info != 0), predicted)
