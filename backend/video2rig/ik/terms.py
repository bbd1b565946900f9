# SPDX-License-Identifier: GPL-3.0-or-later
"""What a pose is asked to agree with: pure functions that return weighted residuals and their derivatives.

Terms on points differentiate by the points alone; :class:`~.model.BodyModel` carries that on to the unknowns. All
residuals are divided by the standard deviation that is expected, so that squares of different terms may be added.
Leading dimensions are frames, [T] or [B, T].
"""

from __future__ import annotations

from typing import NamedTuple

import roma
import torch
from torch import Tensor

from .evidence_kernels import MIN_DEPTH
from .model import ROOT_DOFS, BodyModel, Pose, skew


class Rows(NamedTuple):
    """Residuals of P points, R rows each: value [..., P, R] and its derivative [..., P, R, 3] by the point."""

    value: Tensor
    by_point: Tensor


def reprojection(points: Tensor, rays: Tensor, weight: Tensor) -> Rows:
    """Points must project onto the rays on which they were seen.

    Args:
        points: [..., K, 3] in the camera, metres. rays: [..., K, 2] observed (x / z, y / z).
        weight: [..., K] inverse standard deviation of a ray's coordinate; 0 where nothing was seen.
    """
    depth = points[..., 2].clamp_min(MIN_DEPTH)
    projected = points[..., :2] / depth[..., None]
    by_point = torch.zeros(*rays.shape, 3, dtype=points.dtype, device=points.device)
    scale = weight / depth
    by_point[..., 0, 0] = by_point[..., 1, 1] = scale
    by_point[..., 2] = -projected * scale[..., None] * (points[..., 2:] > MIN_DEPTH)
    return Rows((projected - rays) * weight[..., None], by_point)


def reprojection_by_zoom(rows: Rows, rays: Tensor, weight: Tensor) -> Tensor:
    """Return the derivative [..., K, 2] of :func:`reprojection` by the logarithm of the focal length.

    Pixels are what was seen, and what is missed: a longer focal length makes smaller angles of them, and makes an angle
    count the more.

    Args:
        rows: From :func:`reprojection`. rays, weight: As there, under the present focal length.
    """
    return rows.value + rays * weight[..., None]


def positions(points: Tensor, target: Tensor, weight: Tensor) -> Rows:
    """Points must lie where they were seen in 3D.

    Args:
        points: [..., K, 3] metres. target: [..., K, 3] metres; any finite value where nothing was seen.
        weight: [..., K] inverse standard deviation along each axis, 1/metres; 0 where nothing was seen.
    """
    return Rows((points - target) * weight[..., None], weight[..., None, None] * _identity(points))


def directions(segments: Tensor, direction: Tensor, weight: Tensor) -> Rows:
    """Segments between two points must point in given directions, whatever their lengths.

    The bone-direction term of KinePose (Gildea et al. 2022), in metres: the segment against one of its own length
    in the given direction, so that long bones count more than short ones.

    Args:
        segments: [..., P, 3] metres, the end less the beginning. direction: [..., P, 3] unit vectors.
        weight: [..., P, 3] inverse standard deviation along each axis, 1/metres; 0 where nothing is known.
    """
    length = segments.norm(dim=-1, keepdim=True)
    along = segments / length.clamp_min(1e-9)
    by_segment = _identity(segments) - direction[..., :, None] * along[..., None, :]
    return Rows((segments - length * direction) * weight, by_segment * weight[..., None])


def contact(points: Tensor, axes: Tensor, target: Tensor, weight: Tensor) -> Rows:
    """Points must keep places: feet that rest on the floor, in position and height.

    Args:
        points: [..., K, 3] metres. axes: [3, 3] unit vectors, one a row, along which places are given.
        target: [..., K, 3] place along each axis, metres.
        weight: [..., K, 3] inverse standard deviation along each axis, 1/metres; 0 where a point is free.
    """
    return Rows((points @ axes.T - target) * weight, axes * weight[..., None])


def floor(points: Tensor, up: Tensor, level: Tensor, weight: Tensor) -> Rows:
    """Points must not sink below the floor; above it they are free.

    Args:
        points: [..., K, 3] metres. up: [3] unit vector. level: [K] height along it that each point keeps, metres.
        weight: [..., K] inverse standard deviation, 1/metres.
    """
    depth = (points @ up - level).clamp_max(0.0)
    sunk = (depth < 0).to(points.dtype)
    return Rows((depth * weight)[..., None], (sunk * weight)[..., None, None] * up)


class AngleRows(NamedTuple):
    """Residuals of frames, value [..., R], and their derivative [..., R, D] by the unknowns of the frame."""

    value: Tensor
    by_unknown: Tensor


def prior_rotations(model: BodyModel, pose: Pose, expected: Tensor, whitening: Tensor) -> AngleRows:
    """Local rotations must agree with expected ones, each within its own covariance: what a regression says.

    The residual is log(L E^T), L the local rotation (of the root: its orientation) and E the expected one, whitened;
    its derivative is the inverse left Jacobian of SO(3) (Sola et al. 2018, A micro Lie theory, eq. 146).

    Args:
        model: The body. pose: [...] frames.
        expected: [..., J, 3, 3] local rotation matrices; of the root, its orientation.
        whitening: [..., J, 3, 3] W with W^T W the inverse covariance of the rotation vector, 1/radians; 0 where
            nothing is known.
    """
    angles = model.full_angles(pose.angles)
    local = model.chain.local_rotations(angles).clone()
    local[..., 0, :, :] = pose.root_rotation
    error = roma.rotmat_to_rotvec(local @ expected.transpose(-1, -2))
    carried = whitening @ inverse_left_jacobian(error)
    by_unknown = error.new_zeros(*error.shape, model.size)
    by_unknown[..., 0, :, 3:ROOT_DOFS] = carried[..., 0, :, :]
    axes = model.chain.rotation_axes(angles)[..., model.dof_joint, model.dof_axis, :]
    turned = (carried[..., model.dof_joint, :, :] @ axes[..., None])[..., 0]
    unknowns = torch.arange(ROOT_DOFS, model.size, device=model.device)
    by_unknown[..., model.dof_joint, :, unknowns] = turned.movedim(-2, 0)
    return AngleRows((whitening @ error[..., None])[..., 0].flatten(-2), by_unknown.flatten(-3, -2))


def neutral_pose(angles: Tensor, neutral: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
    """Angles stay near a neutral pose where nothing else tells them.

    Args:
        angles: [B, T, A]. neutral: [A], deviation: [A] radians.

    Returns:
        Residuals [B, T, A], each of its own angle alone, and their derivatives [A] by it.
    """
    by_angle = deviation.reciprocal()
    return (angles - neutral) * by_angle, by_angle


def robust(rows: Rows, scale: float) -> tuple[Tensor, Rows]:
    """Bound the pull of outliers by the kernel of Geman and McClure (1987), point by point.

    Args:
        rows: Residuals of points.
        scale: Error, in standard deviations, beyond which a point counts ever less; infinite for none.

    Returns:
        The robust cost of each point [..., P], and the rows reweighted for a Gauss-Newton step.
    """
    square = rows.value.square().sum(-1)
    shrink = 1.0 / (1.0 + square / scale**2)
    return shrink * square, Rows(rows.value * shrink[..., None], rows.by_point * shrink[..., None, None])


def gather(rows: Rows, scale: float, pull: Tensor, information: Tensor) -> Tensor:
    """Add residuals, bounded as by :func:`robust`, to what is asked of their features.

    Args:
        rows: Residuals [B, T, P, R]. scale: As for :func:`robust`.
        pull: [B, T, P, 3] half the gradient by the features, information: [B, T, P, 3, 3] half the Gauss-Newton
            Hessian; to both is added.

    Returns:
        Their cost [B].
    """
    cost, rows = robust(rows, scale)
    across = rows.by_point.transpose(-1, -2)
    pull += (across @ rows.value[..., None])[..., 0]
    information += across @ rows.by_point
    return cost.sum((1, 2))


def inverse_left_jacobian(rotvec: Tensor) -> Tensor:
    """Return the inverse left Jacobians [..., 3, 3] of SO(3) at [..., 3] rotation vectors below pi."""
    angle = rotvec.norm(dim=-1)[..., None, None]
    matrix = skew(rotvec)
    safe = angle.clamp_min(1e-3)
    exact = 1.0 / safe.square() - 1.0 / (2.0 * safe * (safe / 2.0).tan())
    factor = torch.where(angle < 1e-3, 1.0 / 12.0 + angle.square() / 720.0, exact)
    return _identity(rotvec) - 0.5 * matrix + factor * (matrix @ matrix)


def _identity(like: Tensor) -> Tensor:
    return torch.eye(3, dtype=like.dtype, device=like.device)
