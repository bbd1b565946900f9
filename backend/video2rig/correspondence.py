# SPDX-License-Identifier: GPL-3.0-or-later
"""Which rotations of one human skeleton are the same pose of another, of any names, bone axes and rest pose.

Bones correspond by their roles. Between two that do lies one constant rotation, for both are known at rest; where the
skeletons rest in different poses (arms down, arms out) segments are first turned onto one another, and soles laid flat.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from .kinematics import KinematicChain
from .skeleton import Skeleton

_TRUNK = ("left_hip", "right_hip", "left_shoulder", "right_shoulder", "neck")

_CONTINUES = {
    "pelvis": "spine_lower",
    "spine_lower": "spine_middle",
    "spine_middle": "spine_upper",
    "spine_upper": "neck",
    "neck": "head",
    **{
        f"{side}_{begin}": f"{side}_{end}"
        for side in ("left", "right")
        for begin, end in (
            *(("clavicle", "shoulder"), ("shoulder", "elbow"), ("elbow", "wrist")),
            *(("hip", "knee"), ("knee", "ankle"), ("ankle", "toes")),
        )
    },
}
"""The role of the joint at the end of each joint's segment."""

_TOES = ("left_toes", "right_toes")
_LEVEL = (1.0, 1.0, 0.0)


class SamePose(NamedTuple):
    """The poses of one skeleton on another, and how the two correspond.

    Attributes:
        rotation: [T, J, 3, 3] local rotations of the other's joints; of the root, its orientation.
        orientation: [T, J, 3, 3] from its bones' axes to those outside. source: [T, S, 3, 3] that of the one's.
        own: The one's joint for each joint of the other that is told about; the rest are taken to rest.
        constant: [3, 3] from the axes of such a joint's bone to those of the one's.
    """

    rotation: np.ndarray
    orientation: np.ndarray
    source: np.ndarray
    own: dict[int, int]
    constant: dict[int, np.ndarray]


def same_pose(rotation: np.ndarray, human: Skeleton, skeleton: Skeleton) -> SamePose:
    """Return poses of one skeleton as those of another.

    Joints whose role the one lacks, or that cannot turn, are not told about: they are taken to rest.

    Args:
        rotation: [T, S, 3, 3] local rotations as `Skeleton` has them. human: Whose they are. skeleton: The other.
    """
    free = skeleton.free_axes().any(axis=1)  # what cannot turn leaves its share to the next joint that can
    pairs = [(j, human.roles.index(role)) for j, role in enumerate(skeleton.roles) if free[j] and role in human.roles]
    own = dict(pairs)
    constant = _correspondence(skeleton, human, pairs)
    local = torch.tensor(rotation)
    source = KinematicChain(human).forward(local, torch.zeros(*local.shape[:1], 3, dtype=local.dtype))[1].numpy()
    orientation = np.empty((len(source), len(skeleton), 3, 3))
    expected = np.empty_like(orientation)
    for joint, parent in enumerate(skeleton.parents):
        rest = skeleton.rest_rotation[joint]
        before = rest if parent < 0 else orientation[:, parent] @ rest
        if joint not in own:
            orientation[:, joint] = before
            expected[:, joint] = before if parent < 0 else np.eye(3)
            continue
        orientation[:, joint] = source[:, own[joint]] @ constant[joint]
        expected[:, joint] = (
            orientation[:, joint] if parent < 0 else np.swapaxes(before, -1, -2) @ orientation[:, joint]
        )
    return SamePose(expected, orientation, source, own, constant)


def _correspondence(skeleton: Skeleton, human: Skeleton, pairs: list[tuple[int, int]]) -> dict[int, np.ndarray]:
    """Return for each joint the rotation from its bone's axes to those of the human's bone, the segments being one."""
    rest, human_rest = skeleton.rest_matrices(), human.rest_matrices()
    facing = _facing(skeleton, human)
    turns, constant = {}, {}
    for joint, other in pairs:
        above = skeleton.parents[joint]
        while above >= 0 and above not in turns:
            above = skeleton.parents[above]
        turn = turns[above] if above >= 0 else facing
        end = _CONTINUES.get(skeleton.roles[joint], "")
        if above >= 0 and end in skeleton.roles and end in human.roles:
            along = rest[skeleton.index(end), :3, 3] - rest[joint, :3, 3]
            target = human_rest[human.index(end), :3, 3] - human_rest[other, :3, 3]
            if end in _TOES:
                # ankles are as high as they are; what feet have in common are soles, flat at rest
                turn, along, target = facing, along * _LEVEL, target * _LEVEL
            turn = _onto(turn @ along, target) @ turn
        turns[joint] = turn
        constant[joint] = human_rest[other, :3, :3].T @ turn @ rest[joint, :3, :3]
    return constant


def _facing(skeleton: Skeleton, human: Skeleton) -> np.ndarray:
    """Return the rotation [3, 3] that turns a skeleton at rest to stand and look as the human does."""
    both = [role for role in _TRUNK if role in skeleton.roles]
    if len(both) < 3:
        return np.eye(3)
    own, other = (body.rest_matrices()[[body.index(role) for role in both], :3, 3] for body in (skeleton, human))
    return Rotation.align_vectors(other - other.mean(0), own - own.mean(0))[0].as_matrix()


def _onto(direction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the smallest rotation [3, 3] that turns one vector [3] to point as another."""
    direction, target = (vector / max(np.linalg.norm(vector), 1e-9) for vector in (direction, target))
    axis = np.cross(direction, target)
    sine = np.linalg.norm(axis)
    return Rotation.from_rotvec(axis / max(sine, 1e-9) * np.arctan2(sine, direction @ target)).as_matrix()
