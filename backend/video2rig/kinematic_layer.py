# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinematic layer of Zhou et al. 2016, Deep Kinematic Pose Regression (section 3.1, eq. 2), for any Skeleton.

Motion parameters, the root's position and the angles of all free axes, become joint positions: for each joint the
product of rotations by its ancestors' angles and fixed translations along their bones. There is nothing to learn in
it, and the loss of a network that ends in it sits on positions while every bone keeps its length.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from .errors import Video2RigError
from .kinematics import KinematicChain
from .skeleton import Skeleton

_IN_PLANE = 1e-6


class KinematicLayerError(Video2RigError):
    """A skeleton that a kinematic layer cannot be made of, or motion parameters that do not fit the layer."""


class KinematicLayer(nn.Module):
    """Motion parameters to joint positions, differentiable and without parameters of its own.

    Attributes:
        chain: Forward kinematics of the skeleton.
        dimensions: D: 3, or 2 for what moves in the x-y plane, seen along z.
        parameter_names: The P motion parameters in their order: the root's position, where it is free, then each
            joint's free angles about x, y, z: ``"spine location x"``, ``"thigh.L rotation x"``. Positions are metres
            (or whatever unit the skeleton has), angles radians in the joint's own Euler order.
    """

    dof_joint: Tensor
    dof_axis: Tensor
    point_joint: Tensor
    point_offset: Tensor

    def __init__(
        self,
        skeleton: Skeleton,
        points: tuple[np.ndarray, np.ndarray] | None = None,
        *,
        dimensions: int = 3,
        root_position: bool = True,
        root_orientation: bool = True,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        """Make the layer.

        Args:
            skeleton: Its :meth:`~.Skeleton.free_axes` are the angles; locked axes stay at zero.
            points: Joints [K] and offsets [K, 3] in their bones' frames, as :func:`.keypoints.sites` returns them,
                in place of the joints themselves.
            dimensions: 3, or 2 for a planar skeleton, whose joints turn about the world's z alone.
            root_position: Whether the root moves; otherwise it stays at the origin.
            root_orientation: Whether the root turns; otherwise it keeps its rest orientation.

        Raises:
            KinematicLayerError: The dimensions are neither 2 nor 3, or the skeleton leaves the plane.
        """
        super().__init__()
        free = skeleton.free_axes()
        if dimensions == 2:
            free[0, :2] = False
            _check_planar(skeleton, free)
        elif dimensions != 3:
            raise KinematicLayerError(f"kinematic layer: {dimensions} dimensions; there can be 2 or 3")
        if not root_orientation:
            free[0] = False
        dof_joint, dof_axis = np.nonzero(free)
        point_joint, point_offset = points or (np.arange(len(skeleton)), np.zeros((len(skeleton), 3)))

        self.chain = KinematicChain(skeleton, dtype, device)
        self.dimensions = dimensions
        self.root_position = root_position
        location = tuple(f"{skeleton.names[0]} location {axis}" for axis in "xyz"[:dimensions])
        self.parameter_names = (location if root_position else ()) + tuple(
            f"{skeleton.names[joint]} rotation {'xyz'[axis]}" for joint, axis in zip(dof_joint, dof_axis, strict=True)
        )
        constants = {
            "dof_joint": torch.from_numpy(dof_joint),
            "dof_axis": torch.from_numpy(dof_axis),
            "point_joint": torch.as_tensor(point_joint),
            "point_offset": torch.as_tensor(point_offset, dtype=dtype),
        }
        for name, constant in constants.items():
            self.register_buffer(name, constant.to(device), persistent=False)
        self._points_are_joints = points is None

    def forward(self, parameters: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return where the joints, or the points on them, are.

        Args:
            parameters: [..., P] motion parameters, as ``parameter_names`` lists them.
            scale: [...] factor of all bone lengths, in which the paper's subjects differ; 1 where it is None.

        Returns:
            [..., K, D] positions.

        Raises:
            KinematicLayerError: The last dimension of the parameters is not P.
        """
        root, angles = self.unpack(parameters)
        offset = None if scale is None else self.chain.offset * scale[..., None, None]
        positions, rotations = self.chain(self.chain.local_rotations(angles), root, offset)
        if not self._points_are_joints:
            place = self.point_offset if scale is None else self.point_offset * scale[..., None, None]
            turned = rotations[..., self.point_joint, :, :] @ place[..., None]
            positions = positions[..., self.point_joint, :] + turned[..., 0]
        return positions[..., : self.dimensions]

    def unpack(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return the root's position [..., 3] and all angles [..., J, 3] about x, y, z, zero where nothing is free.

        Raises:
            KinematicLayerError: The last dimension of the parameters is not P.
        """
        if parameters.shape[-1:] != (len(self.parameter_names),):
            raise KinematicLayerError(
                f"kinematic layer: parameters of shape {tuple(parameters.shape)}; "
                f"the last dimension must be {len(self.parameter_names)}: {', '.join(self.parameter_names)}"
            )
        batch = parameters.shape[:-1]
        root = parameters.new_zeros(*batch, 3)
        moving = self.dimensions if self.root_position else 0
        root[..., :moving] = parameters[..., :moving]
        angles = parameters.new_zeros(*batch, len(self.chain.skeleton), 3)
        angles[..., self.dof_joint, self.dof_axis] = parameters[..., moving:]
        return root, angles


def _check_planar(skeleton: Skeleton, free: np.ndarray) -> None:
    """Raise KinematicLayerError unless the free axes [J, 3] and the rest pose keep the skeleton in its plane."""
    tilted = np.abs(np.abs(skeleton.rest_rotation[:, 2, 2]) - 1) > _IN_PLANE
    for joint, name in enumerate(skeleton.names):
        if free[joint, :2].any():
            raise KinematicLayerError(f"kinematic layer: {name!r} turns out of the x-y plane; lock its x and y axes")
        if tilted[joint]:
            raise KinematicLayerError(f"kinematic layer: {name!r} rests tilted out of the x-y plane")
