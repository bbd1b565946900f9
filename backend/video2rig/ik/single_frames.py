# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames by themselves, of points seen in 3D: on CPUs they are solved in one compiled call."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from . import dispatch, frame_kernels
from .evidence import Positions
from .frame_kernels import Habits, Poses, Search, Seen
from .model import Pose, as_arrays
from .objective import ROBUST_SCALE, Objective


def are_compiled(objective: Objective, pose: Pose) -> bool:
    """Return whether there is a compiled solver for clips [B, 1] of one frame each."""
    plain = objective.shared is None and objective.expected is None and len(objective.evidence) == 1
    return (
        plain
        and isinstance(objective.evidence[0], Positions)
        and pose.frames[1:] == (1,)
        and dispatch.is_compiled(objective.model.device)
    )


def solve_frames(objective: Objective, pose: Pose, search: Search) -> tuple[Pose, Tensor]:
    """Solve B clips [B, 1] as :func:`~.solver.solve` does, and return their poses and costs [B]."""
    model, (seen,) = objective.model, objective.evidence
    assert isinstance(seen, Positions)
    stretch = objective.stretch(pose.angles.new_zeros(len(pose), 0))
    frames = pose.reshape(len(pose))
    copies = (frames.root_position, frames.root_rotation, frames.angles)
    solved = Pose(*(array.clone(memory_format=torch.contiguous_format) for array in copies))
    costs = frame_kernels.solve_frames(
        model.topology,
        Poses(*as_arrays(solved.root_position, solved.root_rotation, solved.angles)),
        stretch.contiguous().numpy(),
        Seen(*as_arrays(seen.target.flatten(0, 1), seen.weight.flatten(0, 1))),
        ROBUST_SCALE if seen.robust else math.inf,
        Habits(*as_arrays(objective.neutral, objective.deviation.reciprocal(), model.lower, model.upper)),
        search,
    )
    return solved.reshape(len(pose), 1), torch.from_numpy(costs)
