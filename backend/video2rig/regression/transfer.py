# SPDX-License-Identifier: GPL-3.0-or-later
"""From the rotations that the regression says of the default human to a prior on the skeleton that is solved.

Bones correspond by their roles. Between two that do lies one constant rotation, for both are known at rest; where the
skeletons rest in different poses (arms down, arms out) segments are first turned onto one another.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from ..camera import Camera
from ..ik.from_camera import Predict, RotationPrior
from ..keypoints import Keypoints
from ..kinematics import KinematicChain
from ..skeleton import Skeleton
from .mirror import predict_symmetrically
from .regressor import Regression, Regressor

_LEAST_DEVIATION = np.radians(2.0)
"""No rotation is told better than this: skeletons do not correspond exactly."""

_CORRELATION = 0.6
"""Neighbouring frames repeat one another's errors, so each counts as this share of an independent one. From 0.3 to 1
all are as good, within half a millimetre, on three views of the Pose2Sim trial and on subjects of the training."""

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


def rotation_prior(regression: Regression, skeleton: Skeleton) -> RotationPrior:
    """Return what a regression says of another skeleton, of any names, bone axes and rest pose.

    Joints whose role the default human lacks, or that cannot turn, are not told about: they are taken to rest.
    """
    human = regression.skeleton
    free = skeleton.free_axes().any(axis=1)  # what cannot turn leaves its share to the next joint that can
    pairs = [(j, human.roles.index(role)) for j, role in enumerate(skeleton.roles) if free[j] and role in human.roles]
    own = dict(pairs)
    constant = _correspondence(skeleton, human, pairs)
    said = torch.tensor(regression.rotation)
    turned = KinematicChain(human).forward(said, torch.zeros(*said.shape[:1], 3, dtype=said.dtype))[1].numpy()

    frames, joints = len(turned), len(skeleton)
    orientation = np.empty((frames, joints, 3, 3))
    expected, whitening = np.empty_like(orientation), np.zeros_like(orientation)
    for joint, parent in enumerate(skeleton.parents):
        rest = skeleton.rest_rotation[joint]
        before = rest if parent < 0 else orientation[:, parent] @ rest
        if joint not in own:
            orientation[:, joint] = before
            expected[:, joint] = before if parent < 0 else np.eye(3)
            continue
        orientation[:, joint] = turned[:, own[joint]] @ constant[joint]
        expected[:, joint] = (
            orientation[:, joint] if parent < 0 else np.swapaxes(before, -1, -2) @ orientation[:, joint]
        )
        covariance = constant[joint].T @ _covariance(regression, turned, own, skeleton, joint) @ constant[joint]
        # an error about the bone's own axes, as one that turns the expected rotation from the left
        variance, axes = np.linalg.eigh(covariance)
        deviation = np.sqrt(np.maximum(variance, _LEAST_DEVIATION**2))
        whitening[:, joint] = np.swapaxes(expected[:, joint] @ axes, -1, -2) / deviation[..., None]
    return RotationPrior(expected, whitening * np.sqrt(_CORRELATION))


def predictor(regressor: Regressor, skeleton: Skeleton) -> Predict:
    """Return what a :class:`~video2rig.ik.CameraSolver` of a skeleton asks a regressor."""

    def predict(keypoints: Keypoints, camera: Camera, body: Skeleton | None, focal_known: bool) -> RotationPrior:
        return rotation_prior(predict_symmetrically(regressor, keypoints, camera, body, focal_known), skeleton)

    return predict


def _covariance(
    regression: Regression, turned: np.ndarray, own: dict[int, int], skeleton: Skeleton, joint: int
) -> np.ndarray:
    """Return the covariance [T, 3, 3] of a joint's rotation against the last joint before it that is told, about the
    axes of the human's bone: that of all the human's joints between the two."""
    human, last = regression.skeleton, skeleton.parents[joint]
    while last >= 0 and last not in own:
        last = skeleton.parents[last]
    end, between = own[joint], own[joint]
    total = np.zeros((len(turned), 3, 3))
    while between >= 0 and not (last >= 0 and between == own[last]):
        carried = np.swapaxes(turned[:, end], -1, -2) @ turned[:, between]
        total += (carried * regression.deviation[:, between, None] ** 2) @ np.swapaxes(carried, -1, -2)
        between = human.parents[between]
    return total


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
            along = turn @ (rest[skeleton.index(end), :3, 3] - rest[joint, :3, 3])
            turn = _onto(along, human_rest[human.index(end), :3, 3] - human_rest[other, :3, 3]) @ turn
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
