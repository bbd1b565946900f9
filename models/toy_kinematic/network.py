# SPDX-License-Identifier: GPL-3.0-or-later
"""One convolutional network, three ends: what is regressed, and where the loss sits.

The ends have no parameters and see the same network, so that they can be compared (section 3.2 of the paper). What the
network puts out is standardised by the training set in all three, so that none of them has to find the scale of pixels
against radians by itself.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.toy_kinematic.data import SIZE, Samples
from models.toy_kinematic.figure import Figure

HEADS = ("direct_joint", "kinematic_joint", "direct_parameter")
"""Joints, loss on joints; motion parameters, loss on the joints of the kinematic layer; motion parameters, loss on
themselves, and joints by the same layer afterwards."""

_CHANNELS = (16, 32, 64)
_STRIDES = (8, 2, 2)
_KERNELS = (12, 3, 3)
_HIDDEN = 256


class Pose(NamedTuple):
    """Joints [N, K, 2], pixels, and angles [N, P - 2], radians."""

    joints: Tensor
    angles: Tensor


class ToyNetwork(nn.Module):
    """Five layers, three convolutions and two fully connected, then one of the three ends."""

    parameter_mean: Tensor
    parameter_scale: Tensor
    joint_mean: Tensor
    joint_scale: Tensor

    def __init__(self, figure: Figure, head: str, bfloat16: bool = False) -> None:
        """Make the network; :meth:`standardise` or a checkpoint gives it the scales of its outputs.

        Args:
            figure: Whose pose it finds. head: One of :data:`HEADS`. bfloat16: Whether the five layers compute in it.
        """
        super().__init__()
        self.figure, self.head, self.in_bfloat16 = figure, head, bfloat16
        self.register_buffer("parameter_mean", torch.zeros(figure.size))
        self.register_buffer("parameter_scale", torch.ones(figure.size))
        self.register_buffer("joint_mean", torch.zeros(figure.joints, 2))
        self.register_buffer("joint_scale", torch.ones(()))
        convolutions: list[nn.Module] = []
        before, side = 1, SIZE
        for channels, kernel, stride in zip(_CHANNELS, _KERNELS, _STRIDES, strict=True):
            padding = (kernel - stride + 1) // 2
            convolutions += [nn.Conv2d(before, channels, kernel, stride, padding, bias=False)]
            convolutions += [nn.BatchNorm2d(channels), nn.ReLU()]
            before, side = channels, side // stride
        hidden = (nn.Flatten(), nn.Linear(before * side**2, _HIDDEN), nn.ReLU())
        self.backbone = nn.Sequential(*convolutions, *hidden)
        self.output = nn.Linear(_HIDDEN, 2 * figure.joints if head == "direct_joint" else figure.size)
        nn.init.zeros_(self.output.weight)  # all begin at the mean pose; random angles would throw the arms about
        nn.init.zeros_(self.output.bias)

    def standardise(self, training: Samples) -> None:
        """Take the outputs' means and scales from the training set."""
        self.parameter_mean.copy_(training.parameters.mean(dim=0))
        self.parameter_scale.copy_(training.parameters.std(dim=0))
        self.joint_mean.copy_(training.joints.mean(dim=0))
        self.joint_scale.copy_((training.joints - self.joint_mean).square().mean().sqrt())

    def regress(self, images: Tensor) -> Tensor:
        """Return joints [N, K, 2] or motion parameters [N, P], as the head has it, of pictures [N, 1, 128, 128]."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.in_bfloat16):
            hidden = self.backbone(images.to(self.output.weight.dtype))
        output = self.output(hidden.float())
        if self.head == "direct_joint":
            return self.joint_mean + self.joint_scale * output.unflatten(-1, (-1, 2))
        return self.parameter_mean + self.parameter_scale * output

    def forward(self, images: Tensor) -> Pose:
        """Return the pose in pictures [N, 1, 128, 128]."""
        found = self.regress(images)
        if self.head == "direct_joint":
            return Pose(found, self.figure.angles_of(found))
        return Pose(self.figure(found), found[:, self.figure.angles])

    def loss(self, batch: Samples) -> Tensor:
        """Return the mean squared error, in units of the training set's deviation, of what the head is taught."""
        found = self.regress(batch.images)
        if self.head == "direct_parameter":
            return ((found - batch.parameters) / self.parameter_scale).square().mean()
        joints = found if self.head == "direct_joint" else self.figure(found)
        return ((joints - batch.joints) / self.joint_scale).square().mean()
