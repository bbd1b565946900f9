# SPDX-License-Identifier: GPL-3.0-or-later
"""The person's proportions: one length for each bone, the same in all frames and on both sides."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..skeleton import Skeleton
from .model import BodyModel, Pose
from .objective import Objective
from .observation import Observation
from .solver import bound_by_range

# Bones that share one factor, by role; bones of other roles keep their length.
_GROUPS = (
    ("pelvis",),
    ("spine_lower", "spine_middle", "spine_upper"),
    ("neck", "head"),
    ("left_clavicle", "right_clavicle"),
    ("left_shoulder", "right_shoulder"),
    ("left_elbow", "right_elbow"),
    ("left_wrist", "right_wrist"),
    ("left_hip", "right_hip"),
    ("left_knee", "right_knee"),
    ("left_ankle", "right_ankle", "left_toes", "right_toes"),
)
_STATURE_ROLES = ("pelvis", "spine_lower", "spine_middle", "spine_upper", "neck", "head", "left_hip", "left_knee")
DEVIATION = 0.06
"""How far adults' proportions stray from the average, standard deviation of the logarithm of a length."""

_LARGEST = 3 * DEVIATION
_STATURE_DEVIATION = 0.003


def estimate_proportions(
    skeleton: Skeleton,
    keypoint_names: tuple[str, ...],
    observation: Observation,
    pose: Pose,
    depth: Tensor,
    iterations: int = 8,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Skeleton:
    """Return the skeleton with the bone lengths that explain the observed frames best, its stature unchanged.

    Poses of single frames and the shared logarithms of the lengths are solved together by Gauss-Newton; the poses
    are eliminated frame by frame (Schur complement), so that memory grows with the frames and not with their square.

    Args:
        skeleton: Average proportions at the person's height.
        observation: T frames, taken over the whole video. pose: Where to start. depth: [T] metres.
        progress: Called with the steps done and ``iterations``; may raise to abort.
    """
    groups = _group_of_each_bone(skeleton)
    share = _stature_share(skeleton, groups)
    scale = torch.zeros(len(_GROUPS), dtype=torch.float64)
    model = BodyModel(skeleton, keypoint_names)
    for iteration in range(iterations):
        progress(iteration, iterations)
        objective = Objective(model, observation, depth)
        _, gradient, hessian = objective(pose)
        points, jacobian = model.points_and_jacobian(pose)
        by_scale = _points_by_scale(model, pose, groups)
        _, rows = objective.point_terms(points, torch.cat([jacobian, by_scale], dim=-1))
        own, shared = rows.jacobian[..., : model.size], rows.jacobian[..., model.size :]

        free = (~bound_by_range(model, pose, gradient)).to(torch.float64)
        block = hessian * free[:, :, None] * free[:, None, :]
        block.diagonal(dim1=1, dim2=2).add_(1e-3 * hessian.diagonal(dim1=1, dim2=2) + 1e-6 + 1 - free)
        coupling = (own.transpose(1, 2) @ shared) * free[..., None]
        slope = gradient * free
        solved = torch.linalg.solve(block, torch.cat([coupling, slope[..., None]], dim=-1))
        matrix = (shared.transpose(1, 2) @ shared - coupling.transpose(1, 2) @ solved[..., :-1]).mean(0)
        right = (shared.transpose(1, 2) @ rows.value[..., None])[..., 0] - (
            coupling.transpose(1, 2) @ solved[..., -1:]
        )[..., 0]
        # the frames' errors are not independent of one another: together they count as a few tens
        evidence = float(min(len(pose), 30))
        matrix = evidence * matrix + torch.eye(len(scale), dtype=torch.float64) / DEVIATION**2
        matrix = matrix + torch.outer(share, share) / _STATURE_DEVIATION**2
        right = evidence * right.mean(0) + scale / DEVIATION**2 + share * (share @ scale) / _STATURE_DEVIATION**2
        step = -torch.linalg.solve(matrix, right).clamp(-0.1, 0.1)
        step = (scale + step).clamp(-_LARGEST, _LARGEST) - scale
        scale = scale + step
        pose = model.retract(pose, -(solved[..., -1] + solved[..., :-1] @ step).clamp(-0.5, 0.5) * free)
        model = BodyModel(_scaled(skeleton, groups, scale), keypoint_names)
    return model.skeleton


def _group_of_each_bone(skeleton: Skeleton) -> np.ndarray:
    """Return [J] the group of each bone, -1 where its length is not estimated."""
    groups = np.full(len(skeleton), -1)
    for group, roles in enumerate(_GROUPS):
        for role in roles:
            if role in skeleton.roles:
                groups[skeleton.index(role)] = group
    return groups


def _stature_share(skeleton: Skeleton, groups: np.ndarray) -> Tensor:
    """Return [G] the part of the standing height that the bones of each group make up."""
    share = torch.zeros(len(_GROUPS), dtype=torch.float64)
    for role in _STATURE_ROLES:
        if role in skeleton.roles:
            joint = skeleton.index(role)
            share[groups[joint]] += skeleton.length[joint]
    return share / share.sum().clamp_min(1e-9)


def _scaled(skeleton: Skeleton, groups: np.ndarray, scale: Tensor) -> Skeleton:
    factor = np.where(groups >= 0, scale.exp().numpy()[groups], 1.0)
    return skeleton.scaled(factor)


def _points_by_scale(model: BodyModel, pose: Pose, groups: np.ndarray) -> Tensor:
    """Return the derivatives [T, K, 3, G] of the points by the logarithms of the groups' lengths."""
    positions, _ = model.joints(pose)
    points = model.points(pose)
    result = points.new_zeros(*points.shape, len(_GROUPS))
    for joint, parent in enumerate(model.skeleton.parents):
        if parent >= 0 and groups[parent] >= 0:
            moved = model.above[model.site_joint, joint]
            step = positions[:, joint] - positions[:, parent]
            result[:, moved, :, groups[parent]] += step[:, None]
    for point, joint in enumerate(model.site_joint.tolist()):
        if groups[joint] >= 0:
            result[:, point, :, groups[joint]] += points[:, point] - positions[:, joint]
    return result
