# SPDX-License-Identifier: GPL-3.0-or-later
"""What is assumed where nothing is seen: a relaxed pose, and how far each joint strays from it."""

from __future__ import annotations

import torch
from torch import Tensor

from ..skeleton import Skeleton

# Degrees about the bone's own x, y, z: the relaxed angle and its standard deviation, of the left side. Joints that
# few keypoints observe (spine, clavicles) stray little, so that they share what the limbs do not explain.
_RELAXED: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "spine_lower": ((4, 0, 0), (10, 8, 8)),
    "spine_middle": ((4, 0, 0), (10, 8, 8)),
    "spine_upper": ((4, 0, 0), (10, 8, 8)),
    "neck": ((5, 0, 0), (15, 20, 12)),
    "head": ((-5, 0, 0), (15, 20, 12)),
    "clavicle": ((0, 0, 0), (8, 8, 8)),
    "shoulder": ((10, 0, -30), (50, 35, 50)),
    "elbow": ((25, 10, 0), (60, 35, 40)),
    "wrist": ((0, 0, 0), (25, 40, 12)),
    "hip": ((-5, -5, -2), (60, 20, 25)),
    "knee": ((10, 0, 0), (60, 40, 40)),
    "ankle": ((0, 0, 0), (20, 10, 40)),
    "toes": ((0, 0, 0), (12, 40, 40)),
}
_UNKNOWN_ROLE = ((0.0, 0.0, 0.0), (40.0, 40.0, 40.0))


def relaxed_pose(skeleton: Skeleton, dof_joint: Tensor, dof_axis: Tensor) -> tuple[Tensor, Tensor]:
    """Return the relaxed angles [A] and their standard deviations [A], radians, inside the range of motion."""
    angles, deviations = [], []
    for joint, axis in zip(dof_joint.tolist(), dof_axis.tolist(), strict=True):
        side, _, part = skeleton.roles[joint].partition("_")
        role = part if side in ("left", "right") else skeleton.roles[joint]
        relaxed, deviation = _RELAXED.get(role, _UNKNOWN_ROLE)
        sign = -1.0 if side == "right" and axis != 0 else 1.0
        angles.append(sign * relaxed[axis])
        deviations.append(deviation[axis])
    bounds = torch.tensor(skeleton.rom)[dof_joint, dof_axis]
    relaxed_angles = torch.tensor(angles, dtype=torch.float64).deg2rad()
    return relaxed_angles.clamp(bounds[:, 0], bounds[:, 1]), torch.tensor(deviations, dtype=torch.float64).deg2rad()
