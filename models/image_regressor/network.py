# SPDX-License-Identifier: GPL-3.0-or-later
"""A convolutional network from pictures to poses, and the paper's three ends of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.image_regressor.people import NAMES
from video2rig.errors import Video2RigError
from video2rig.kinematic_layer import KinematicLayer

HEADS = ("direct_joint", "direct_parameter", "kinematic_joint")
"""Joints; motion parameters, loss on themselves; motion parameters, loss on the joints of the kinematic layer."""

BACKBONES = ("resnet50", "resnet18", "small")
"""The paper's; two that take less time, the last without torchvision."""

# of ImageNet, which published weights were trained with
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SMALL = (16, 32, 64, 128)


class BackboneError(Video2RigError):
    """A backbone that is unknown, or whose library is not there."""


class ImageRegressor(nn.Module):
    """Pictures to the 17 points of people, relative to the pelvis, in upright axes, metres.

    Attributes:
        head: One of :data:`HEADS`.
        layer: The kinematic model; direct joints do without.
    """

    mean: Tensor
    deviation: Tensor
    joint_mean: Tensor
    extent: Tensor

    def __init__(self, layer: KinematicLayer, head: str, backbone: str = "resnet50") -> None:
        """Make the network, its output at the mean pose of :meth:`standardise` or the layer's rest pose.

        Raises:
            BackboneError: The backbone is unknown, or torchvision cannot be imported.
        """
        super().__init__()
        self.head, self.layer = head, layer
        self.register_buffer("mean", 255 * torch.tensor(_MEAN)[:, None, None])
        self.register_buffer("deviation", 255 * torch.tensor(_DEVIATION)[:, None, None])
        self.register_buffer("joint_mean", torch.zeros(len(NAMES), 3))
        self.register_buffer("extent", torch.ones(()))
        self.backbone, features = _backbone(backbone)
        self.output = nn.Linear(features, 3 * len(NAMES) if head == "direct_joint" else len(layer.parameter_names))
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def standardise(self, joints: Tensor) -> None:
        """Take the mean pose and the unit of outputs and losses, the mean edge of the box around a person, from the
        training set's joints [N, 17, 3]."""
        self.joint_mean.copy_(joints.mean(dim=0))
        self.extent.copy_((joints.amax(dim=1) - joints.amin(dim=1)).amax(dim=-1).mean())

    def regress(self, images: Tensor) -> Tensor:
        """Return joints [N, 17, 3] or motion parameters [N, 27], as the head has it.

        Args:
            images: [N, S, S, 3] uint8 RGB.
        """
        pixels = (images.permute(0, 3, 1, 2).to(self.mean.dtype) - self.mean) / self.deviation
        output = self.output(self.backbone(pixels))
        if self.head == "direct_joint":
            return self.joint_mean + self.extent * output.unflatten(-1, (-1, 3))
        # the root takes all joints along: in this unit a step of its place weighs as much as one of direct joints
        return torch.cat([self.extent / len(NAMES) ** 0.5 * output[:, :3], output[:, 3:]], dim=-1)

    def forward(self, images: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return the joints [N, 17, 3] in pictures [N, S, S, 3] uint8 of people of a size [N], 1 where it is None."""
        found = self.regress(images)
        return found if self.head == "direct_joint" else self.layer(found, scale)

    def loss(self, images: Tensor, joints: Tensor, parameters: Tensor, scale: Tensor) -> Tensor:
        """Return the mean squared error of what the head is taught, in units of the extent and of radians.

        Args:
            images: [N, S, S, 3] uint8. joints: [N, 17, 3]. parameters: [N, 27] of the kinematic model fitted to them.
            scale: [N] sizes of the people.
        """
        found = self.regress(images)
        if self.head == "direct_parameter":
            place, angles = (found - parameters).split([3, found.shape[1] - 3], dim=-1)
            # the squared chord between angles: their squared difference where it is small, and it wraps around
            squares = torch.cat([(place / self.extent).square(), 2 - 2 * angles.cos()], dim=-1)
        else:
            positions = found if self.head == "direct_joint" else self.layer(found, scale)
            squares = ((positions - joints) / self.extent).square().flatten(1)
        return squares.mean()


def _backbone(name: str) -> tuple[nn.Module, int]:
    """Return a network from pictures [N, 3, S, S] to features [N, F], and F."""
    if name == "small":
        layers: list[nn.Module] = []
        for before, channels in zip((3, *_SMALL), _SMALL, strict=False):
            layers += [nn.Conv2d(before, channels, 5, 2, 2, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten()), 16 * _SMALL[-1]
    if name not in BACKBONES:
        raise BackboneError(f"no backbone {name!r}; there are {', '.join(BACKBONES)}")
    try:
        from torchvision import models  # pyright: ignore[reportMissingImports]
    except (ImportError, RuntimeError) as error:  # a build of torchvision for another torch raises the latter
        raise BackboneError(
            f"the backbone {name!r} needs torchvision, which fits torch {torch.__version__}: "
            f"pip install 'video2rig[train]' ({error})"
        ) from None
    network = models.get_model(name, weights=None)
    features = network.fc.in_features
    network.fc = nn.Identity()
    return network, features
