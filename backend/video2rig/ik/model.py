# SPDX-License-Identifier: GPL-3.0-or-later
"""The body that is solved: unknowns of a frame, points on the body, and their analytic Jacobian."""

from __future__ import annotations

from dataclasses import dataclass

import roma
import torch
from torch import Tensor

from ..keypoints import sites
from ..kinematics import KinematicChain
from ..skeleton import Skeleton

ROOT_DOFS = 6
"""The first unknowns of a frame: a step of the root's position, then of its orientation as a rotation vector."""


@dataclass(frozen=True)
class Pose:
    """Poses of T frames.

    Attributes:
        root_position: [T, 3] metres.
        root_rotation: [T, 3, 3] orientation of the root bone.
        angles: [T, A] angles of the free axes, radians.
    """

    root_position: Tensor
    root_rotation: Tensor
    angles: Tensor

    def __len__(self) -> int:
        return self.angles.shape[0]

    def __getitem__(self, frames: slice | Tensor) -> Pose:
        return Pose(self.root_position[frames], self.root_rotation[frames], self.angles[frames])

    @staticmethod
    def concatenate(parts: list[Pose]) -> Pose:
        """Join poses along time."""
        return Pose(
            torch.cat([part.root_position for part in parts]),
            torch.cat([part.root_rotation for part in parts]),
            torch.cat([part.angles for part in parts]),
        )

    @staticmethod
    def where(condition: Tensor, one: Pose, other: Pose) -> Pose:
        """Take frames of ``one`` where the [T] condition holds, else of ``other``."""
        return Pose(
            torch.where(condition[:, None], one.root_position, other.root_position),
            torch.where(condition[:, None, None], one.root_rotation, other.root_rotation),
            torch.where(condition[:, None], one.angles, other.angles),
        )


class BodyModel:
    """A skeleton's degrees of freedom and the points on it that a detector sees.

    Attributes:
        chain: Forward kinematics of the skeleton.
        site_joint: [K] joint that carries each keypoint; site_offset: [K, 3] its place in that bone's frame, metres.
        dof_joint, dof_axis: [A] joint and axis (0 to 2) of each angle.
        lower, upper: [A] range of motion, radians.
        size: Unknowns of a frame, D = 6 + A.
    """

    def __init__(self, skeleton: Skeleton, keypoint_names: tuple[str, ...]) -> None:
        self.skeleton = skeleton
        self.keypoint_names = keypoint_names
        self.chain = KinematicChain(skeleton)
        free = torch.as_tensor(skeleton.free_axes().copy())
        free[0] = False
        self.dof_joint, self.dof_axis = free.nonzero(as_tuple=True)
        bounds = torch.tensor(skeleton.rom)[self.dof_joint, self.dof_axis]
        self.lower, self.upper = bounds.unbind(-1)
        self.size = ROOT_DOFS + len(self.dof_joint)

        self.site_joint, self.site_offset = (torch.from_numpy(array) for array in sites(skeleton, keypoint_names))

        # moves[j, i]: joint i is j itself or above it, so that turning i moves what hangs on j
        moves = torch.zeros(len(skeleton), len(skeleton), dtype=torch.bool)
        for joint, parent in enumerate(skeleton.parents):
            moves[joint] = moves[parent] if parent >= 0 else False
            moves[joint, joint] = True
        self.above = moves
        self._turned = moves[self.site_joint][:, self.dof_joint].to(torch.float64)  # [K, A]

    def full_angles(self, angles: Tensor) -> Tensor:
        """Spread [T, A] free angles to [T, J, 3]; locked axes are zero."""
        full = angles.new_zeros(*angles.shape[:-1], len(self.skeleton), 3)
        full[..., self.dof_joint, self.dof_axis] = angles
        return full

    def joints(self, pose: Pose) -> tuple[Tensor, Tensor]:
        """Return positions [T, J, 3], metres, and orientations [T, J, 3, 3] of the bones."""
        local = self.chain.local_rotations(self.full_angles(pose.angles)).clone()
        local[..., 0, :, :] = self.chain.rest_rotation[0].T @ pose.root_rotation
        return self.chain.forward(local, pose.root_position)

    def points(self, pose: Pose) -> Tensor:
        """Return the keypoints' places on the body, [T, K, 3] metres."""
        positions, rotations = self.joints(pose)
        return self._sites(positions, rotations)

    def points_and_jacobian(self, pose: Pose) -> tuple[Tensor, Tensor]:
        """Return the keypoints' places [T, K, 3], metres, and their derivatives [T, K, 3, D].

        The unknowns are a step of the root's position, a rotation vector that turns the root from the left, and the
        free angles.
        """
        positions, rotations = self.joints(pose)
        points = self._sites(positions, rotations)
        parents = torch.tensor(self.skeleton.parents)[self.dof_joint]
        before = rotations[:, parents] @ self.chain.rest_rotation[self.dof_joint]
        local_axes = self.chain.rotation_axes(self.full_angles(pose.angles))[:, self.dof_joint, self.dof_axis]
        axes = (before @ local_axes[..., None])[..., 0]  # [T, A, 3]
        arms = points[:, :, None] - positions[:, None, self.dof_joint]  # [T, K, A, 3]
        turn = torch.linalg.cross(axes[:, None], arms) * self._turned[..., None]

        jacobian = points.new_zeros(*points.shape, self.size)
        jacobian[..., :3] = torch.eye(3, dtype=points.dtype)
        jacobian[..., 3:ROOT_DOFS] = -skew(points - pose.root_position[:, None])
        jacobian[..., ROOT_DOFS:] = turn.transpose(-1, -2)
        return points, jacobian

    def retract(self, pose: Pose, step: Tensor) -> Pose:
        """Move poses by [T, D] steps of the unknowns; angles stop at their bounds."""
        return Pose(
            pose.root_position + step[:, :3],
            roma.rotvec_to_rotmat(step[:, 3:ROOT_DOFS]) @ pose.root_rotation,
            (pose.angles + step[:, ROOT_DOFS:]).clamp(self.lower, self.upper),
        )

    def _sites(self, positions: Tensor, rotations: Tensor) -> Tensor:
        turned = rotations[..., self.site_joint, :, :] @ self.site_offset[..., None]
        return positions[..., self.site_joint, :] + turned[..., 0]


def skew(vector: Tensor) -> Tensor:
    """Return the matrices [..., 3, 3] of the cross product with [..., 3] vectors."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
