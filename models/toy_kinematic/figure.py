# SPDX-License-Identifier: GPL-3.0-or-later
"""The articulated figure: two arms of equal bones that hang from a root, in the plane of the picture.

Pixels, x right and y down; angles turn from x towards y. An arm has as many bones as the level, and the motion
parameters are

- the root's place (2),
- from level 2 on the figure's orientation (1),
- the opening (1): the angle between each arm's first bone and the figure's vertical, mirrored for left and right,
- an angle for each further bone of each arm, mirrored as well: outwards is positive,

which is 3, 6, 8, 10 at levels 1 to 4.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from video2rig.kinematic_layer import KinematicLayer
from video2rig.skeleton import Skeleton

LEVELS = (1, 2, 3, 4)
BONE_LENGTH = 45.0
"""Pixels."""

_MIRRORED = np.diag([-1.0, 1.0, -1.0])


def skeleton(level: int) -> Skeleton:
    """Return the figure as a skeleton in pixels: the root, then the bones of the left and of the right arm."""
    arm = [f"{{}}.{bone}" for bone in range(1, level + 1)]
    names = ("root", *(name.format("left") for name in arm), *(name.format("right") for name in arm))
    count = len(names)
    firsts = (1, 1 + level)
    rest = np.tile(np.eye(3), (count, 1, 1))
    rest[firsts[1]] = _MIRRORED
    offset = np.tile([0.0, BONE_LENGTH, 0.0], (count, 1))
    offset[[0, *firsts]] = 0.0
    rom = np.zeros((count, 3, 2))
    rom[:, 2] = -np.pi, np.pi
    parents = tuple(0 if joint in firsts else joint - 1 for joint in range(count))
    return Skeleton(names, parents, ("",) * count, rest, offset, np.full(count, BONE_LENGTH), ("XYZ",) * count, rom)


class Figure(nn.Module):
    """Motion parameters [..., P] of the figure to its joints [..., K, 2]: the root, then the ends of all bones.

    Attributes:
        level: Bones of an arm.
        size: P, the number of motion parameters.
        joints: K, the number of joints.
        angles: The angles among the parameters.
    """

    spread: Tensor

    def __init__(self, level: int) -> None:
        super().__init__()
        bones = np.arange(1, 2 * level + 1)
        ends = np.tile([0.0, BONE_LENGTH, 0.0], (len(bones), 1))
        points = (np.array([0, *bones]), np.concatenate([np.zeros((1, 3)), ends]))
        self.layer = KinematicLayer(skeleton(level), points, dimensions=2, root_orientation=level > 1)
        first = 2 + (level > 1)
        self.level, self.size, self.joints = level, first + 2 * level - 1, len(points[0])
        self.angles = slice(2, self.size)
        # the two first bones share the opening
        left = range(first, first + level)
        right = (first, *range(first + level, first + 2 * level - 1))
        self.register_buffer("spread", torch.tensor([*range(first), *left, *right]), persistent=False)

    def forward(self, parameters: Tensor) -> Tensor:
        """Return the joints [..., K, 2], pixels, for motion parameters [..., P], pixels and radians."""
        return self.layer(parameters[..., self.spread])

    def angles_of(self, joints: Tensor) -> Tensor:
        """Return the angles [..., P - 2], radians, of joints [..., K, 2] whose bones may have any lengths."""
        root, left, right = joints.split([1, self.level, self.level], dim=-2)
        bearing_left, bearing_right = (
            torch.atan2(-bones[..., 0], bones[..., 1])
            for bones in (torch.cat([root, arm], dim=-2).diff(dim=-2) for arm in (left, right))
        )
        opening = wrapped(bearing_left[..., :1] - bearing_right[..., :1]) / 2
        orientation = wrapped(bearing_right[..., :1] + opening)
        bends = wrapped(torch.cat([bearing_left.diff(dim=-1), -bearing_right.diff(dim=-1)], dim=-1))
        return torch.cat([orientation, opening, bends] if self.level > 1 else [opening], dim=-1)

    def bone_lengths(self, joints: Tensor) -> Tensor:
        """Return the lengths [..., K - 1] of the bones between joints [..., K, 2]."""
        root, left, right = joints.split([1, self.level, self.level], dim=-2)
        bones = [torch.cat([root, arm], dim=-2).diff(dim=-2) for arm in (left, right)]
        return torch.cat(bones, dim=-2).norm(dim=-1)


def wrapped(angle: Tensor) -> Tensor:
    """Return the same angle between -pi and pi."""
    return torch.remainder(angle + torch.pi, 2 * torch.pi) - torch.pi
