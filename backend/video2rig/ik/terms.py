# SPDX-License-Identifier: GPL-3.0-or-later
"""What a pose is asked to agree with: pure functions from points and their Jacobian to weighted residuals.

Every term returns residuals [T, R] and their derivatives [T, R, D] by the unknowns of the frame, both divided by
the standard deviation that is expected, so that squares of different terms may be added.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

MIN_DEPTH = 0.2
"""Points are projected as if at least this far in front of the camera, metres."""


class Residuals(NamedTuple):
    """Weighted residuals [T, R] and their Jacobian [T, R, D]."""

    value: Tensor
    jacobian: Tensor


def reprojection(points: Tensor, jacobian: Tensor, rays: Tensor, weight: Tensor) -> Residuals:
    """Points must project onto the rays on which they were seen.

    Args:
        points: [T, K, 3] in the camera, metres; jacobian: [T, K, 3, D].
        rays: [T, K, 2] observed (x / z, y / z).
        weight: [T, K] inverse standard deviation of a ray's coordinate; 0 where nothing was seen.
    """
    depth = points[..., 2].clamp_min(MIN_DEPTH)
    projected = points[..., :2] / depth[..., None]
    value = (projected - rays) * weight[..., None]
    derivative = (jacobian[..., :2, :] - projected[..., None] * jacobian[..., 2:, :]) / depth[..., None, None]
    return Residuals(value.flatten(1), (derivative * weight[..., None, None]).flatten(1, 2))


def segments(points: Tensor, jacobian: Tensor, pairs: Tensor, direction: Tensor, weight: Tensor) -> Residuals:
    """Segments between two points must point in given directions, whatever their lengths.

    The bone-direction term of KinePose (Gildea et al. 2022), in metres: the segment against one of its own length
    in the given direction. The length's own derivative is left out, as it only moves the residual along itself.

    Args:
        points: [T, K, 3] metres; jacobian: [T, K, 3, D].
        pairs: [P, 2] points at which a segment begins and ends.
        direction: [T, P, 3] unit vectors.
        weight: [T, P, 3] inverse standard deviation along each axis, 1/metres; 0 where nothing is known.
    """
    begin, end = pairs.unbind(-1)
    segment = points[:, end] - points[:, begin]
    value = (segment - segment.norm(dim=-1, keepdim=True) * direction) * weight
    derivative = (jacobian[:, end] - jacobian[:, begin]) * weight[..., None]
    return Residuals(value.flatten(1), derivative.flatten(1, 2))


def anchors(points: Tensor, jacobian: Tensor, axes: Tensor, target: Tensor, weight: Tensor) -> Residuals:
    """Points must lie at given places: feet that rest on the floor.

    Args:
        points: [T, K, 3] metres; jacobian: [T, K, 3, D].
        axes: [3, 3] unit vectors, one a row, along which places are given.
        target: [T, K, 3] place along each axis, metres.
        weight: [T, K, 3] inverse standard deviation along each axis, 1/metres; 0 where a point is free.
    """
    value = (points @ axes.T - target) * weight
    return Residuals(value.flatten(1), ((axes @ jacobian) * weight[..., None]).flatten(1, 2))


def robust(residuals: Residuals, group: int, scale: float) -> tuple[Tensor, Residuals]:
    """Bound the pull of outliers by the Geman-McClure kernel, over groups of rows (the two rows of a point).

    Args:
        residuals: Rows in consecutive groups.
        group: Rows of a group.
        scale: Error, in standard deviations, beyond which a group counts ever less.

    Returns:
        The robust cost of each frame [T], and the rows reweighted for a Gauss-Newton step.
    """
    square = residuals.value.unflatten(1, (-1, group)).square().sum(-1)
    shrink = scale**2 / (scale**2 + square)
    row_weight = shrink.repeat_interleave(group, dim=1)  # the square root of the weight of the squares
    cost = (shrink * square).sum(-1)
    return cost, Residuals(residuals.value * row_weight, residuals.jacobian * row_weight[..., None])
