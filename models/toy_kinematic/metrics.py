# SPDX-License-Identifier: GPL-3.0-or-later
"""How far the poses that a network finds are from the truth."""

from __future__ import annotations

from typing import NamedTuple

import torch

from models.toy_kinematic.data import Samples
from models.toy_kinematic.figure import wrapped
from models.toy_kinematic.network import Pose, ToyNetwork

_AT_ONCE = 250


class Scores(NamedTuple):
    """Pixels and degrees over a set of samples.

    Attributes:
        joint_error: Mean distance of the joints; joint_error_95: that of the sample that 95 % are better than;
            joint_error_worst: of the worst sample. (A sample's error is the mean over its joints.)
        angle_error: Mean absolute difference of the angles; those of direct joints are read from the joints.
        length_deviation: Root mean square difference of the bones from their true length.
        length_deviation_worst: The largest difference of a bone.
    """

    joint_error: float
    joint_error_95: float
    joint_error_worst: float
    angle_error: float
    length_deviation: float
    length_deviation_worst: float


@torch.no_grad()
def score(network: ToyNetwork, samples: Samples) -> Scores:
    """Score a network."""
    network.eval()
    poses = [network(images) for images in samples.images.split(_AT_ONCE)]
    pose = Pose(*(torch.cat(part) for part in zip(*poses, strict=True)))
    figure = network.figure
    each = (pose.joints - samples.joints).norm(dim=-1).mean(dim=-1)
    angles = wrapped(pose.angles - samples.parameters[:, figure.angles]).abs().rad2deg()
    stretch = figure.bone_lengths(pose.joints) - figure.bone_lengths(samples.joints)
    return Scores(
        *(float(value) for value in (each.mean(), each.quantile(0.95), each.max(), angles.mean())),
        *(float(value) for value in (stretch.square().mean().sqrt(), stretch.abs().max())),
    )
