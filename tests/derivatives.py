# SPDX-License-Identifier: GPL-3.0-or-later
"""Derivatives by central differences, against which analytic ones are held."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from video2rig.ik.model import ROOT_DOFS, BodyModel, Pose


def moved(model: BodyModel, pose: Pose, step: Tensor) -> Pose:
    """Poses after a step [..., D] of the unknowns; no bound stops it."""
    return Pose(
        pose.root_position + step[..., :3],
        model.turned(pose.root_rotation, step[..., 3:ROOT_DOFS]),
        pose.angles + step[..., ROOT_DOFS:],
    )


def by_unknowns(model: BodyModel, pose: Pose, function: Callable[[Pose], Tensor], step: float = 1e-6) -> Tensor:
    """Derivatives [..., D] of ``function(pose)`` [...] by each frame's own unknowns.

    What the function gives for a frame must depend on that frame alone, as all frames move at once.
    """
    columns = []
    for unknown in range(model.size):
        shift = torch.zeros(*pose.frames, model.size, dtype=torch.float64)
        shift[..., unknown] = step
        columns.append((function(moved(model, pose, shift)) - function(moved(model, pose, -shift))) / (2 * step))
    return torch.stack(columns, dim=-1)


def by_each(model: BodyModel, pose: Pose, function: Callable[[Pose], Tensor], step: float = 1e-6) -> Tensor:
    """Derivatives [R, *frames, D] of ``function(pose)`` [R] by every unknown of every frame on its own."""
    count = pose.root_position[..., 0].numel() * model.size
    columns = []
    for unknown in range(count):
        shift = torch.zeros(count, dtype=torch.float64)
        shift[unknown] = step
        shift = shift.reshape(*pose.frames, model.size)
        columns.append((function(moved(model, pose, shift)) - function(moved(model, pose, -shift))) / (2 * step))
    return torch.stack(columns, dim=-1).unflatten(-1, (*pose.frames, model.size))


def by_numbers(numbers: Tensor, function: Callable[[Tensor], Tensor], step: float = 1e-6) -> Tensor:
    """Derivatives [..., N] of a function by the last dimension of ``numbers`` [..., N]."""
    columns = [function(numbers)[..., None][..., :0]]
    for number in range(numbers.shape[-1]):
        shift = torch.zeros_like(numbers)
        shift[..., number] = step
        columns.append(((function(numbers + shift) - function(numbers - shift)) / (2 * step))[..., None])
    return torch.cat(columns, dim=-1)


def close(analytic: Tensor, numerical: Tensor, tolerance: float = 1e-6) -> bool:
    """Whether both agree, in units of the largest entry."""
    largest = float(numerical.abs().max()) if numerical.numel() else 0.0
    return analytic.shape == numerical.shape and torch.allclose(
        analytic, numerical, rtol=0.0, atol=tolerance * largest + 1e-8
    )
