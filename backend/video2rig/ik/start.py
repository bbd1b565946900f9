# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the solver starts: the trunk by rigid alignment, limbs from the directions of their two segments."""

from __future__ import annotations

import numpy as np
import roma
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from .model import BodyModel, Pose
from .observation import Observation
from .prior import relaxed_pose
from .terms import MIN_DEPTH

_TRUNK = ("left_hip", "right_hip", "left_shoulder", "right_shoulder")
# ball joint, hinge, and the keypoints at the beginning, middle and end of the limb
_LIMBS = tuple(
    (f"{side}_{ball}", f"{side}_{hinge}", tuple(f"{side}_{point}" for point in points))
    for side in ("left", "right")
    for ball, hinge, points in (
        ("shoulder", "elbow", ("shoulder", "elbow", "wrist")),
        ("hip", "knee", ("hip", "knee", "ankle")),
    )
)
_STRAIGHT = 0.1  # a limb bent by a smaller sine does not tell the direction of its hinge


def start_pose(model: BodyModel, observation: Observation) -> Pose:
    """Return a first pose of every frame, in the camera's axes, from 3D landmarks alone."""
    frames = len(observation)
    relaxed, _ = relaxed_pose(model.skeleton, model.dof_joint, model.dof_axis)
    pose = Pose(
        torch.zeros(frames, 3, dtype=torch.float64),
        _trunk_orientation(model, observation),
        relaxed.expand(frames, -1).clone(),
    )
    full = model.full_angles(pose.angles)
    for ball, hinge, points in _LIMBS:
        _bend_limb(model, observation, pose, full, ball, hinge, points)
    angles = full[:, model.dof_joint, model.dof_axis].clamp(model.lower, model.upper)
    bent = Pose(pose.root_position, pose.root_rotation, angles)
    return Pose(_root_position(model.points(bent), observation), bent.root_rotation, angles)


def _trunk_orientation(model: BodyModel, observation: Observation) -> Tensor:
    """Return the [T, 3, 3] root orientations that turn the resting hips and shoulders onto those seen."""
    rest = torch.tensor(model.skeleton.rest_matrices())
    rest_pose = Pose(rest[:1, :3, 3], rest[:1, :3, :3], torch.zeros(1, len(model.dof_joint), dtype=torch.float64))
    trunk = [model.keypoint_names.index(name) for name in _TRUNK]
    resting = model.points(rest_pose)[0, trunk]
    resting = resting - resting.mean(0)
    seen = observation.landmarks[:, trunk]
    seen = seen - seen.mean(1, keepdim=True)
    turn = _upright(observation.rays[:, trunk])
    flat = seen.flatten(1).norm(dim=1) < 1e-6
    turn[~flat] = torch.as_tensor(roma.special_procrustes(seen[~flat].transpose(1, 2) @ resting))
    return turn @ rest[0, :3, :3]


def _upright(rays: Tensor) -> Tensor:
    """Return rotations [T, 3, 3] from the world's axes to a level camera's, for people who stand upright.

    They face the camera, or turn their back where the left hip and shoulder are seen to the left of the right ones.
    """
    left, right = rays[:, 0::2, 0].sum(1), rays[:, 1::2, 0].sum(1)
    side = torch.where(left < right, -1.0, 1.0).to(rays.dtype)
    turn = torch.zeros(len(rays), 3, 3, dtype=rays.dtype)
    turn[:, 0, 0], turn[:, 1, 2], turn[:, 2, 1] = side, -1.0, side
    return turn


def _bend_limb(
    model: BodyModel,
    observation: Observation,
    pose: Pose,
    full: Tensor,
    ball: str,
    hinge: str,
    points: tuple[str, ...],
) -> None:
    """Write into ``full`` [T, J, 3] the angles of a ball joint and its hinge that point the limb as it was seen."""
    skeleton = model.skeleton
    ball_joint, hinge_joint = skeleton.index(ball), skeleton.index(hinge)
    begin, middle, end = (model.keypoint_names.index(name) for name in points)
    upper = _unit(observation.landmarks[:, middle] - observation.landmarks[:, begin])
    lower = _unit(observation.landmarks[:, end] - observation.landmarks[:, middle])

    flexion_axis = int(np.abs(skeleton.rom[hinge_joint]).sum(-1).argmax())
    flexion_sign = 1.0 if skeleton.rom[hinge_joint, flexion_axis].sum() >= 0 else -1.0
    along = _unit(model.chain.offset[hinge_joint])
    hinge_axis = flexion_sign * model.chain.rest_rotation[hinge_joint][:, flexion_axis]

    current = Pose(pose.root_position, pose.root_rotation, full[:, model.dof_joint, model.dof_axis])
    _, orientation = model.joints(current)
    before = orientation[:, skeleton.parents[ball_joint]] @ model.chain.rest_rotation[ball_joint]
    straight_axis = (orientation[:, ball_joint] @ hinge_axis) * _STRAIGHT
    seen_axis = torch.linalg.cross(upper, lower) + straight_axis
    known = (upper.norm(dim=-1) > 0) & (lower.norm(dim=-1) > 0)
    if not known.any():
        return
    wanted = _frame(upper, seen_axis) @ _frame(along, hinge_axis).T
    local = before.transpose(1, 2) @ wanted

    order = skeleton.euler_order[ball_joint]
    euler = Rotation.from_matrix(local[known].numpy()).as_euler(order.lower())
    for turn, axis in enumerate(order):
        full[known, ball_joint, "XYZ".index(axis)] = torch.from_numpy(euler[:, turn].copy())
    bend = torch.atan2(torch.linalg.cross(upper, lower).norm(dim=-1), (upper * lower).sum(-1))
    full[known, hinge_joint, flexion_axis] = flexion_sign * bend[known]
    rom = torch.tensor(skeleton.rom)
    for joint in (ball_joint, hinge_joint):
        full[:, joint] = full[:, joint].clamp(rom[joint, :, 0], rom[joint, :, 1])


def _root_position(points: Tensor, observation: Observation) -> Tensor:
    """Return the [T, 3] shifts that bring points onto their rays: linear least squares, frame by frame."""
    rays, weight = observation.rays, observation.confidence
    frames, count = weight.shape
    rows = torch.zeros(frames, count, 2, 3, dtype=torch.float64)
    rows[..., 0, 0] = rows[..., 1, 1] = 1.0
    rows[..., 2] = -rays
    right = rays * points[..., 2:] - points[..., :2]
    matrix = (rows * weight[..., None, None]).flatten(1, 2)
    shift = torch.linalg.lstsq(matrix, (right * weight[..., None]).flatten(1)[..., None]).solution[..., 0]
    behind = shift[:, 2] < MIN_DEPTH
    if behind.any():
        shift[behind, 2] = MIN_DEPTH * 5
    return shift


def _unit(vector: Tensor) -> Tensor:
    return vector / vector.norm(dim=-1, keepdim=True).clamp_min(1e-9)


def _frame(first: Tensor, second: Tensor) -> Tensor:
    """Return [..., 3, 3] frames with one axis along ``first`` and another as near as possible to ``second``."""
    one = _unit(first)
    two = _unit(second - one * (one * second).sum(-1, keepdim=True))
    return torch.stack([one, two, torch.linalg.cross(one, two)], dim=-1)
