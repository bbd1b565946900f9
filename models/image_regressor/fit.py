# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinematic model fitted to joints: motion parameters of pictures that only have joints.

It gives direct parameter regression its targets, and it is the paper's ModelFit when it follows direct joints. The
paper descends the gradient frame by frame; this is Levenberg and Marquardt's way down the same error, all frames at
once.
"""

from __future__ import annotations

import numpy as np
import roma
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from video2rig.kinematic_layer import KinematicLayer

_TRUNK = (0, 1, 4, 7, 8, 11, 14)
"""Of ``h36m_17``: pelvis, hips, spine, neck, shoulders; they give the root's first orientation."""

_FIRST_DAMPING, _LESS, _MORE = 1e-2, 0.3, 5.0


def fit(layer: KinematicLayer, joints: Tensor, scale: Tensor | None = None, iterations: int = 20) -> Tensor:
    """Return the motion parameters [N, P] that bring the layer's points nearest to joints.

    Args:
        layer: Of a human's 17 points. joints: [N, 17, 3] metres, axes of the layer.
        scale: [N] size of each person; 1 where it is None.
    """
    # in double precision, since the normal equations square what is badly conditioned already
    exact = KinematicLayer(
        layer.chain.skeleton,
        (layer.point_joint.cpu().numpy(), layer.point_offset.cpu().numpy()),
        dtype=torch.float64,
        device=joints.device,
    )
    target = joints.double()
    size = target.new_ones(len(target)) if scale is None else scale.double()

    def residual(parameters: Tensor, target: Tensor, size: Tensor) -> Tensor:
        return (exact(parameters, size) - target).flatten()

    jacobian = torch.func.vmap(torch.func.jacfwd(residual))
    error = torch.func.vmap(residual)
    parameters = _start(exact, target, size)
    left = error(parameters, target, size)
    damping = torch.full_like(size, _FIRST_DAMPING)
    for _ in range(iterations):
        slopes = jacobian(parameters, target, size)
        normal = slopes.mT @ slopes
        normal.diagonal(dim1=-2, dim2=-1).add_(damping[:, None] * size[:, None] ** 2)
        step = torch.linalg.solve(normal, slopes.mT @ left[..., None])[..., 0]
        tried = error(parameters - step, target, size)
        better = tried.square().sum(dim=-1) < left.square().sum(dim=-1)
        parameters = torch.where(better[:, None], parameters - step, parameters)
        left = torch.where(better[:, None], tried, left)
        damping = damping * torch.where(better, _LESS, _MORE)
    return parameters.to(joints.dtype)


def _start(layer: KinematicLayer, joints: Tensor, size: Tensor) -> Tensor:
    """Return parameters [N, P]: the trunk turned to the points of the trunk, limbs in the middle of their ranges."""
    skeleton = layer.chain.skeleton
    middle = skeleton.rom.mean(axis=-1)
    middle[0] = 0.0
    values = {
        f"{name} rotation {axis}": middle[joint, number]
        for joint, name in enumerate(skeleton.names)
        for number, axis in enumerate("xyz")
    }
    start = joints.new_tensor([values.get(name, 0.0) for name in layer.parameter_names]).repeat(len(joints), 1)
    trunk, there = (points[:, list(_TRUNK)] for points in (layer(torch.zeros_like(start), size), joints))
    trunk, there = (points - points.mean(dim=1, keepdim=True) for points in (trunk, there))
    rotation = torch.as_tensor(roma.special_procrustes(there.mT @ trunk))
    rest = skeleton.rest_rotation[0]
    order = skeleton.euler_order[0]
    turned = np.linalg.inv(rest) @ rotation.cpu().numpy() @ rest
    euler = Rotation.from_matrix(turned).as_euler(order.lower())
    start[:, :3] = joints[:, 0]
    for axis, angle in zip(order.lower(), euler.T, strict=True):
        start[:, layer.parameter_names.index(f"{skeleton.names[0]} rotation {axis}")] = torch.as_tensor(angle)
    return start
