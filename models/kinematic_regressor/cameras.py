# SPDX-License-Identifier: GPL-3.0-or-later
"""Random cameras around a moving person: any azimuth, 2 to 8 m away, looking up or down, steady or slowly moving."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from video2rig.kinematics import elementary_rotations

from .chance import Random


@dataclass(frozen=True)
class Range:
    """What cameras are drawn from.

    Attributes:
        elevation: degrees above the horizon. distance: metres. roll: standard deviation, degrees.
        off_centre: how far the person stands from the picture's middle, as an angle, radians. moving: share of clips
            whose camera turns around the person, by some degrees a second, and shakes.
    """

    elevation: tuple[float, float] = (-15.0, 40.0)
    distance: tuple[float, float] = (1.8, 8.0)
    roll: float = 3.0
    off_centre: float = 0.25
    moving: float = 0.3


_ORBIT = math.radians(8.0)  # a second, standard deviation
_SHAKE = math.radians(0.4)
_CLEARANCE = 1.4  # metres at least between the camera and the person's path


def film(path: Tensor, choose: Random, range_: Range, rate: float = 30.0) -> tuple[Tensor, Tensor]:
    """Return cameras that see a path.

    Args:
        path: [B, T, 3] where the person is, metres, Z up.

    Returns:
        Rotations [B, T, 3, 3] from the world's axes to the camera's (x right, y down, z forward), and the path in
        those, [B, T, 3].
    """
    clips, frames = path.shape[:2]
    moving = choose.chance(range_.moving, clips, 1)
    seconds = (torch.arange(frames, device=path.device) - frames / 2) / rate
    azimuth = choose.uniform(0, 2 * math.pi, clips, 1) + moving * _ORBIT * choose.normal(clips, 1) * seconds
    lowest, highest = (math.radians(angle) for angle in range_.elevation)
    elevation = choose.uniform(lowest, highest, clips, 1)
    roll = math.radians(range_.roll) * choose.normal(clips, 1)
    shake = moving[..., None] * _SHAKE * choose.smooth(clips, frames, 6, 3)
    aim = range_.off_centre * torch.stack([choose.uniform(-0.6, 0.6, clips, 1), choose.uniform(-1, 1, clips, 1)], -1)
    # from the person to the camera
    level = elevation.cos()
    away = torch.stack([level * azimuth.sin(), -level * azimuth.cos(), elevation.sin().expand_as(azimuth)], dim=-1)
    right = torch.stack([azimuth.cos(), azimuth.sin(), torch.zeros_like(azimuth)], dim=-1)
    looking = torch.stack([right, torch.cross(-away, right, dim=-1), -away], dim=-2)
    turns = torch.stack([aim[..., 0] + shake[..., 0], aim[..., 1] + shake[..., 1], roll + shake[..., 2]], dim=-1)
    rotation = _turned(turns) @ looking
    relative = path - path.mean(dim=1, keepdim=True)
    nearest = (relative * away).sum(-1).amax(1) + _CLEARANCE
    distance = torch.maximum(choose.log_uniform(*range_.distance, clips), nearest)
    seen = relative - distance[:, None, None] * away
    return rotation, (rotation @ seen[..., None])[..., 0]


def _turned(angles: Tensor) -> Tensor:
    """Return rotations [..., 3, 3] about z, then x, then y."""
    about_x, about_y, about_z = elementary_rotations(angles).unbind(-3)
    return about_y @ about_x @ about_z
