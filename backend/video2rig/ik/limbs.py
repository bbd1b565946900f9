# SPDX-License-Identifier: GPL-3.0-or-later
"""Limbs, found from the skeleton's structure alone: a joint that turns about several axes and carries a hinge."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from .model import BodyModel, Pose

_NEAR = 0.3
"""A point this near to a joint, in lengths of its bone, stands for it."""

_FLEXION, _EXTENSION = np.radians(80.0), np.radians(20.0)
"""A hinge flexes by more than the one, and extends by less than the other."""


@dataclass(frozen=True)
class Limb:
    """A ball joint and the hinge that it carries, with the points at the limb's beginning, middle and end.

    Attributes:
        ball, hinge: Joints. begin, middle, end: Numbers of the points.
        along: [3] direction of the upper segment in the ball joint's frame, metres.
        axis: [3] flexion axis in the ball joint's frame.
        dof: Number of the hinge's angle; sign: by which flexion turns it; straight: its value in a straight limb.
    """

    ball: int
    hinge: int
    begin: int
    middle: int
    end: int
    along: Tensor
    axis: Tensor
    dof: int
    sign: float
    straight: float


@lru_cache(maxsize=8)
def find_limbs(model: BodyModel) -> tuple[Limb, ...]:
    """Return the limbs whose bend can be seen: by points at the hinge, at its child, and near the ball joint."""
    skeleton = model.skeleton
    free = skeleton.free_axes().sum(axis=1)
    at_joint = {
        int(joint): point for point, (joint, place) in enumerate(zip(*model.sites, strict=True)) if not place.any()
    }
    points, joints = _resting(model)
    limbs = []
    for hinge, ball in enumerate(skeleton.parents):
        ends = [joint for joint, parent in enumerate(skeleton.parents) if parent == hinge and joint in at_joint]
        if ball <= 0 or free[ball] < 2 or hinge not in at_joint or not ends:
            continue
        flexion = _flexion(skeleton.rom[hinge])
        if flexion is None:
            continue
        distance = np.linalg.norm(points - joints[ball], axis=1)
        begin = int(distance.argmin())
        if distance[begin] < _NEAR * np.linalg.norm(skeleton.offset[hinge]) and begin != at_joint[hinge]:
            limbs.append(_limb(model, ball, hinge, flexion, ends[0], (begin, at_joint[hinge], at_joint[ends[0]])))
    return tuple(limbs)


def _limb(model: BodyModel, ball: int, hinge: int, flexion: int, end: int, points: tuple[int, int, int]) -> Limb:
    skeleton = model.skeleton
    bounds = skeleton.rom[hinge]
    sign = 1.0 if bounds[flexion].sum() >= 0 else -1.0
    rest = skeleton.rest_rotation[hinge]
    axis, along = rest[:, flexion], skeleton.offset[hinge]
    # the angle about the hinge's axis from the upper segment to the lower one, at rest
    upper, lower = (v - axis * (v @ axis) for v in (along, rest @ skeleton.offset[end]))
    bent = np.arctan2(np.cross(upper, lower) @ axis, upper @ lower)
    dof = int(((model.dof_joint == hinge) & (model.dof_axis == flexion)).nonzero()[0, 0])

    def tensor(vector: np.ndarray) -> Tensor:
        return torch.tensor(vector, device=model.device)

    return Limb(ball, hinge, *points, tensor(along), tensor(axis * sign), dof, sign, -float(bent))


def _flexion(bounds: np.ndarray) -> int | None:
    """Return the axis about which a joint bends to one side only, as elbows and knees do; a forearm's turn is none."""
    reach = np.abs(bounds)
    one_sided = (reach.max(axis=1) > _FLEXION) & (reach.min(axis=1) < _EXTENSION)
    return int(np.where(one_sided, reach.max(axis=1), 0.0).argmax()) if one_sided.any() else None


def _resting(model: BodyModel) -> tuple[np.ndarray, np.ndarray]:
    """Return the points [K, 3] and the joints [J, 3] of the body at rest, metres."""
    rest = torch.tensor(model.skeleton.rest_matrices()[:1], device=model.device)
    pose = Pose(rest[:, :3, 3], rest[:, :3, :3], rest.new_zeros(1, len(model.lower)))
    return model.points(pose)[0].cpu().numpy(), model.joints(pose)[0][0].cpu().numpy()
