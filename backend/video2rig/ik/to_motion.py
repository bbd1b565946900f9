# SPDX-License-Identifier: GPL-3.0-or-later
"""From solved poses to a motion: frames in which nobody was seen, confidence, quaternions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import roma
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from ..errors import Video2RigError
from ..motion import Contact, Motion
from .model import BodyModel, Pose


class NobodySeen(Video2RigError):
    """There is nothing to solve."""


def to_motion(
    model: BodyModel,
    lengths: Tensor,
    pose: Pose,
    confidence: Tensor,
    times: np.ndarray,
    contacts: tuple[Contact, ...] = (),
    provenance: dict[str, Any] | None = None,
) -> Motion:
    """Return poses [T] of a body with [G] logarithms of lengths as a motion; confidence is [T, J]."""
    (motion,) = to_motions(model, lengths[None], [pose], [confidence], [times])
    return replace(motion, contacts=contacts, provenance=provenance or {})


def to_motions(
    model: BodyModel, lengths: Tensor, poses: list[Pose], confidences: list[Tensor], all_times: list[np.ndarray]
) -> list[Motion]:
    """Return clips as motions, read from the device all at once.

    Args:
        model: The body. lengths: [B, G] logarithms of its lengths in each clip.
        poses: Of each clip [T], confidences [T, J] and times [T], seconds.
    """
    together = Pose.concatenate(poses)
    quaternions, position = local_quaternions(model, together), together.root_position.cpu().numpy()
    confidence, stretch = torch.cat(confidences).clamp(0, 1).cpu().numpy(), lengths.cpu().numpy()
    ends = np.cumsum([len(times) for times in all_times])[:-1]
    parts = (np.split(array, ends) for array in (quaternions, position, confidence))
    return [
        Motion(model.lengths.apply(model.skeleton, own), times, *arrays)
        for own, times, *arrays in zip(stretch, all_times, *parts, strict=True)
    ]


def local_quaternions(model: BodyModel, pose: Pose) -> np.ndarray:
    """Return the local rotations of poses [T] as unit quaternions wxyz, [T, J, 4]; their signs are arbitrary."""
    local = model.chain.local_rotations(model.full_angles(pose.angles)).clone()
    local[:, 0] = model.chain.rest_rotation[0].T @ pose.root_rotation
    quaternions = Rotation.from_matrix(local.reshape(-1, 3, 3).cpu().numpy()).as_quat(scalar_first=True)
    return quaternions.reshape(*local.shape[:2], 4)


def joint_confidence(model: BodyModel, confidence: Tensor, misses: Tensor) -> Tensor:
    """Return [..., T, J]: the mean confidence of the points that tell about a joint, less where the pose misses them.

    These are the points on the joint's own bone and on the next two; all where there are none.

    Args:
        confidence: [..., T, K] of the points.
        misses: [..., T, K] by how much the pose misses each, in expected deviations.
    """
    skeleton = model.skeleton
    near = torch.zeros(len(skeleton), confidence.shape[-1], dtype=confidence.dtype, device=confidence.device)
    for point, carrier in enumerate(model.sites[0].tolist()):
        joint = carrier
        for _ in range(3):
            near[joint, point] = 1.0
            joint = max(skeleton.parents[joint], 0)
    near = torch.where(near.sum(1, keepdim=True) > 0, near, 1.0)
    trust = confidence / (1.0 + (misses / 4.0).square())
    return trust @ near.T / near.sum(1)


def fill_gaps(pose: Pose, seen_times: np.ndarray, times: np.ndarray) -> Pose:
    """Spread poses of the frames that show the person over all frames: held at the ends, interpolated between.

    Angles are interpolated one by one, so that they stay inside their range.
    """
    if len(seen_times) == len(times):
        return pose
    last = len(seen_times) - 1
    after = np.clip(np.searchsorted(seen_times, times), 0, last)
    before = np.clip(np.searchsorted(seen_times, times, side="right") - 1, 0, last)
    span = seen_times[after] - seen_times[before]
    share = torch.from_numpy((times - seen_times[before]) / np.where(span > 0, span, np.inf))[:, None]
    share = share.to(pose.angles.device)
    start, end = pose[torch.from_numpy(before)], pose[torch.from_numpy(after)]
    turn = roma.rotmat_to_rotvec(end.root_rotation @ start.root_rotation.transpose(1, 2))
    return Pose(
        torch.lerp(start.root_position, end.root_position, share),
        roma.rotvec_to_rotmat(turn * share) @ start.root_rotation,
        torch.lerp(start.angles, end.angles, share),
    )
