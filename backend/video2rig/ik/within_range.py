# SPDX-License-Identifier: GPL-3.0-or-later
"""Poses that are known, brought inside a range of motion that lets less through."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import roma
import torch
from torch import Tensor

from .evidence import Positions
from .model import BodyModel, Pose
from .objective import Objective
from .solver import solve
from .start import pose_of_rotations
from .threads import one_thread

_BENT = np.radians(1.0)
"""Poses are solved anew where the range of motion turns a joint further than this."""

_PLACE = 0.01
"""Metres by which points may miss their places by as much as a joint may turn elsewhere by the next."""

_TURN = np.radians(5.0)
_STEPS = 15


def within_range(model: BodyModel, rotation: np.ndarray, root: np.ndarray) -> Pose:
    """Return the poses [T] inside the body's range of motion that are nearest to given ones, frame by frame.

    Where joints stop, the others turn further, so that the body's points stay near their places.

    Args:
        rotation: [T, J, 3, 3] local rotations; of the root, its orientation. root: [T, 3] its position, metres.
    """
    expected, path = torch.tensor(rotation), torch.tensor(root)
    pose = replace(pose_of_rotations(model, expected), root_position=path)
    reached = model.chain.local_rotations(model.full_angles(pose.angles))
    bent = roma.rotmat_geodesic_distance(reached[:, 1:], expected[:, 1:]).amax(1) > _BENT
    if not bent.any():
        return pose
    spots = _points(model, expected, path)
    with one_thread():
        whole = spots.new_tensor(_PLACE)
        seen = Positions(spots[:, None], spots.new_ones(*spots.shape[:2])[:, None], whole, whole, robust=False)
        whitening = torch.eye(3, dtype=torch.float64).expand(expected.shape) / _TURN
        objective = Objective(
            model,
            [seen],
            (model.lower + model.upper) / 2,
            model.upper - model.lower,
            expected=expected[:, None],
            whitening=whitening[:, None],
        )
        frames = len(spots)
        solved, _, _ = solve(
            objective, None, pose.reshape(frames, 1), spots.new_zeros(frames, 0), iterations=_STEPS, tolerance=1e-6
        )
    return solved.reshape(frames)


def _points(model: BodyModel, rotation: Tensor, root: Tensor) -> Tensor:
    """Return the body's points [T, K, 3] under any local rotations."""
    local = rotation.clone()
    local[:, 0] = model.chain.rest_rotation[0].T @ rotation[:, 0]
    positions, turned = model.chain.forward(local, root)
    joints, offset = (torch.tensor(array) for array in model.sites)
    return positions[:, joints] + (turned[:, joints] @ offset[..., None])[..., 0]
