# SPDX-License-Identifier: GPL-3.0-or-later
"""Forward kinematics of any Skeleton: batched, differentiable, from local rotations or Euler angles."""

from __future__ import annotations

import itertools

import numpy as np
import roma
import torch
from torch import Tensor, nn

from .keypoints import sites
from .motion import Motion
from .skeleton import Skeleton


class KinematicChain(nn.Module):
    """A skeleton's constants as buffers, ready for forward kinematics. There are no parameters.

    Attributes:
        skeleton: The skeleton that they come from.
        rest_rotation: [J, 3, 3], offset: [J, 3] metres, axis_order: [J, 3] axis (0 to 2) that turns first,
            second and third in each joint's Euler order.
    """

    skeleton: Skeleton
    rest_rotation: Tensor
    offset: Tensor
    axis_order: Tensor
    _by_level: Tensor  # [J] joints by their distance from the root
    _in_order: Tensor  # [J] place of each joint in that order
    _above: Tensor  # [J - 1] place of each joint's parent in the level above, level after level

    def __init__(
        self, skeleton: Skeleton, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__()
        self.skeleton = skeleton
        by_level, above = _levels(skeleton.parents)
        constants = {
            "rest_rotation": torch.tensor(skeleton.rest_rotation, dtype=dtype),
            "offset": torch.tensor(skeleton.offset, dtype=dtype),
            "axis_order": torch.tensor([["XYZ".index(axis) for axis in order] for order in skeleton.euler_order]),
            "_by_level": torch.from_numpy(by_level),
            "_in_order": torch.from_numpy(by_level.argsort()),
            "_above": torch.from_numpy(np.concatenate([*above, np.zeros(0, dtype=np.int64)])),
        }
        for name, constant in constants.items():
            self.register_buffer(name, constant.to(device), persistent=False)
        self._level_sizes = [len(places) for places in above]

    def local_rotations(self, angles: Tensor) -> Tensor:
        """Return local rotation matrices from Euler angles.

        Args:
            angles: [..., J, 3] angles about x, y, z in each joint's own order, radians.

        Returns:
            [..., J, 3, 3]; for the order ``"YZX"``, Rx @ Rz @ Ry.
        """
        first, second, third = self._ordered(elementary_rotations(angles))
        return third @ second @ first

    def rotation_axes(self, angles: Tensor) -> Tensor:
        """Return the axes about which a small change of each Euler angle turns a joint.

        Args:
            angles: [..., J, 3] angles about x, y, z, radians.

        Returns:
            [..., J, 3 (angle x, y, z), 3] unit axes in the joint's frame before its own rotation, where
            d(local rotation) = skew(axis) @ local rotation.
        """
        _, second, third = self._ordered(elementary_rotations(angles))
        joints = torch.arange(self.axis_order.shape[0], device=angles.device)
        unit = torch.eye(3, dtype=angles.dtype, device=angles.device)[self.axis_order]  # [J, 3 (turn), 3]
        axes = torch.zeros(*angles.shape, 3, dtype=angles.dtype, device=angles.device)
        axes[..., joints, self.axis_order[:, 0], :] = (third @ second @ unit[:, 0, :, None])[..., 0]
        axes[..., joints, self.axis_order[:, 1], :] = (third @ unit[:, 1, :, None])[..., 0]
        axes[..., joints, self.axis_order[:, 2], :] = unit[:, 2].expand(*angles.shape[:-1], 3)
        return axes

    def forward(
        self, local_rotation: Tensor, root_position: Tensor, offset: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return where the joints are.

        Args:
            local_rotation: [..., J, 3, 3] local rotations.
            root_position: [..., 3] position of joint 0, metres.
            offset: [..., J, 3] in place of the skeleton's own, metres.

        Returns:
            Positions [..., J, 3], metres, and global rotations [..., J, 3, 3].
        """
        in_parent = (self.rest_rotation @ local_rotation)[..., self._by_level, :, :]
        offset = (self.offset if offset is None else offset)[..., self._by_level, :, None]
        positions, rotations = [root_position[..., None, :]], [in_parent[..., :1, :, :]]
        begin = 1
        for above in self._above.split(self._level_sizes):
            level = slice(begin, begin + len(above))
            before = rotations[-1].index_select(-3, above)
            step = (before @ offset[..., level, :, :])[..., 0]
            positions.append(positions[-1].index_select(-2, above) + step)
            rotations.append(before @ in_parent[..., level, :, :])
            begin = level.stop
        in_order = self._in_order
        return torch.cat(positions, dim=-2)[..., in_order, :], torch.cat(rotations, dim=-3)[..., in_order, :, :]

    def _ordered(self, elementary: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pick from [..., J, 3 (x, y, z), 3, 3] each joint's first, second and third rotation."""
        joints = torch.arange(self.axis_order.shape[0], device=elementary.device)
        first, second, third = (elementary[..., joints, self.axis_order[:, turn], :, :] for turn in range(3))
        return first, second, third


def _levels(parents: tuple[int, ...]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the joints [J] level by level, equally far from the root; and for each level below the root the places of
    its joints' parents in the level before."""
    depth = np.zeros(len(parents), dtype=np.int64)
    for joint, parent in enumerate(parents[1:], start=1):
        depth[joint] = depth[parent] + 1
    levels = [np.flatnonzero(depth == level) for level in range(depth.max() + 1)]
    above = [np.searchsorted(before, np.array(parents)[own]) for before, own in itertools.pairwise(levels)]
    return np.concatenate(levels), above


def elementary_rotations(angles: Tensor) -> Tensor:
    """Return the rotations about x, y and z by [..., 3] angles in radians, as [..., 3 (x, y, z), 3, 3]."""
    cos, sin = angles.cos(), angles.sin()
    zero, one = torch.zeros_like(cos[..., 0]), torch.ones_like(cos[..., 0])
    (cx, cy, cz), (sx, sy, sz) = cos.unbind(-1), sin.unbind(-1)
    x = [one, zero, zero, zero, cx, -sx, zero, sx, cx]
    y = [cy, zero, sy, zero, one, zero, -sy, zero, cy]
    z = [cz, -sz, zero, sz, cz, zero, zero, zero, one]
    return torch.stack([torch.stack(rows, dim=-1).unflatten(-1, (3, 3)) for rows in (x, y, z)], dim=-3)


def joint_positions(motion: Motion) -> tuple[np.ndarray, np.ndarray]:
    """Return where a motion's joints are: positions [T, J, 3], metres, and orientations [T, J, 3, 3], in the world."""
    local = roma.unitquat_to_rotmat(roma.quat_wxyz_to_xyzw(torch.from_numpy(motion.rotations.copy())))
    root = torch.from_numpy(motion.root_position.copy())
    positions, rotations = KinematicChain(motion.skeleton).forward(local, root)
    return positions.numpy(), rotations.numpy()


def keypoint_positions(motion: Motion, names: tuple[str, ...]) -> np.ndarray:
    """Return where keypoints lie on a moving body, [T, K, 3] metres in the world.

    Raises:
        KeypointsError: A keypoint has no place on a skeleton.
    """
    joints, offset = sites(motion.skeleton, names)
    positions, rotations = joint_positions(motion)
    return positions[:, joints] + np.einsum("tkij,kj->tki", rotations[:, joints], offset)
