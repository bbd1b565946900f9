# SPDX-License-Identifier: GPL-3.0-or-later
"""The numbers that the network predicts of a pose, and the rotations that they stand for.

A joint that turns about all three axes is six numbers (Zhou et al. 2019, On the Continuity of Rotation Representations
in Neural Networks, eq. 15); of any other joint each degree of freedom is one angle, so a knee cannot bend sideways.
"""

from __future__ import annotations

import numpy as np
import roma
import torch
from torch import Tensor

from ..kinematics import elementary_rotations
from ..skeleton import Skeleton


class MotionParameters:
    """How a skeleton's local rotations are written as motion parameters.

    Attributes:
        size: Number of parameters.
    """

    def __init__(self, skeleton: Skeleton, device: torch.device | str = "cpu") -> None:
        free = skeleton.free_axes()
        whole = free.all(axis=1)
        partly = free.any(axis=1) & ~whole
        self._whole = np.flatnonzero(whole)
        self._partly = np.flatnonzero(partly)
        self._place, self._axis = (torch.tensor(index, device=device) for index in np.nonzero(free[partly]))
        self.size = 6 * len(self._whole) + len(self._place)
        turns = [["XYZ".index(axis) for axis in skeleton.euler_order[joint]] for joint in self._partly]
        self._turns = torch.tensor(turns, dtype=torch.long, device=device).reshape(-1, 3)
        order = np.concatenate([self._whole, self._partly, np.flatnonzero(~free.any(axis=1))])
        self._in_order = torch.tensor(np.argsort(order), device=device)
        bounds = torch.tensor(skeleton.rom[self._partly], dtype=torch.float32, device=device)
        self._bounds = bounds[self._place, self._axis]
        self._locked = len(skeleton) - len(self._whole) - len(self._partly)

    def rotations(self, parameters: Tensor, bounded: bool = False) -> Tensor:
        """Return local rotations [..., J, 3, 3] of parameters [..., size].

        Args:
            bounded: Whether angles stop at the range of motion; those of a joint with three axes do not.
        """
        six, angles = parameters.split([6 * len(self._whole), len(self._place)], dim=-1)
        if bounded:
            angles = torch.minimum(torch.maximum(angles, self._bounds[:, 0]), self._bounds[:, 1])
        whole = roma.special_gramschmidt(six.unflatten(-1, (-1, 3, 2)))
        of_joint = torch.zeros(*angles.shape[:-1], len(self._partly), 3, dtype=angles.dtype, device=angles.device)
        of_joint[..., self._place, self._axis] = angles
        elementary = elementary_rotations(of_joint)
        joints = torch.arange(len(self._partly), device=angles.device)
        first, second, third = (elementary[..., joints, self._turns[:, turn], :, :] for turn in range(3))
        locked = torch.eye(3, dtype=six.dtype, device=six.device).expand(*six.shape[:-1], self._locked, 3, 3)
        return torch.cat([whole, third @ second @ first, locked], dim=-3)[..., self._in_order, :, :]

    def written(self, rotation: Tensor, angles: Tensor) -> Tensor:
        """Return parameters [..., size] of local rotations [..., J, 3, 3] and their Euler angles [..., J, 3]."""
        six = rotation[..., self._whole, :, :2].flatten(-3)
        return torch.cat([six, angles[..., self._partly, :][..., self._place, self._axis]], dim=-1)
