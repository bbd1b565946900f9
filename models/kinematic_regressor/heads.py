# SPDX-License-Identifier: GPL-3.0-or-later
"""What a network answers with and is trained for: the kinematic head, and two rivals of Zhou et al. 2016, Table 1.

All heads sit on the same trunk and learn from the same batches. The rivals are there to be compared with.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from video2rig.regression.motion_parameters import MotionParameters
from video2rig.regression.network import Prediction, Shape, TemporalNetwork
from video2rig.regression.proportions import SEGMENTS

from .batches import Batch, Batches
from .loss import SCALES, Loss, joint_loss

LossFunction = Callable[[Prediction, Batch], tuple[Tensor, dict[str, float]]]


def kinematic(
    batches: Batches, shape: Shape, scales: dict[str, float] = SCALES
) -> tuple[TemporalNetwork, LossFunction]:
    """Return a network that answers with motion parameters, and a loss on joints, through the layer, and rotations."""
    parameters = MotionParameters(batches.composer.skeleton, batches.device)
    angles, local = _upright(batches)
    network = TemporalNetwork(batches.composer.skeleton, shape, parameters.written(local, angles))
    return network, Loss(batches.composer.skeleton, parameters, batches.bodies, scales)


def parameter(batches: Batches, shape: Shape) -> tuple[TemporalNetwork, LossFunction]:
    """Return the same network, and a loss on each joint's own rotation alone: direct parameter regression."""
    return kinematic(batches, shape, SCALES | dict.fromkeys(("joints", "speed", "global"), 0.0))


def joint(batches: Batches, shape: Shape) -> tuple[TemporalNetwork, LossFunction]:
    """Return a network that answers with J joints and P points, metres from the root: direct joint regression."""
    offset, site_offset = batches.bodies.offsets(torch.zeros(1, len(SEGMENTS), device=batches.device))
    joints, points, _ = batches.bodies.places(_upright(batches)[1], offset[0, 0], site_offset[0, 0])
    return TemporalNetwork(batches.composer.skeleton, shape, torch.cat([joints, points]).flatten()), joint_loss


HEADS = {"kinematic": kinematic, "parameter": parameter, "joint": joint}


def _upright(batches: Batches) -> tuple[Tensor, Tensor]:
    """Return the mean angles [J, 3], and local rotations [J, 3, 3] of them before a level camera."""
    angles, orientation = batches.composer.mean()
    local = batches.bodies.chain.local_rotations(angles)
    rest = batches.bodies.chain.rest_rotation[0]
    level = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]], device=orientation.device)
    local[0] = rest.T @ level @ orientation
    return angles, local
