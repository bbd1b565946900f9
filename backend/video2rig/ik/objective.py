# SPDX-License-Identifier: GPL-3.0-or-later
"""The sum of the terms of single frames, as normal equations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .model import ROOT_DOFS, BodyModel, Pose
from .observation import Observation
from .prior import relaxed_pose
from .solver import NormalEquations
from .terms import MIN_DEPTH, Residuals, reprojection, robust, segments
from .terms import anchors as anchor_terms

# Standard deviations that are expected of a good detector, in metres at the person. Chosen on three views of the
# Pose2Sim trial (cam01, cam03, cam04), from ten combinations.
KEYPOINT_DEVIATION = 0.012
SEGMENT_DEVIATION = (0.06, 0.06, 0.12)  # depth is told least well, and by nothing else
ROBUST_SCALE = 4.0


@dataclass(frozen=True)
class Anchors:
    """Places that points must keep: axes [3, 3], target [T, K, 3] and weight [T, K, 3] of :func:`terms.anchors`."""

    axes: Tensor
    target: Tensor
    weight: Tensor

    def __getitem__(self, frames: slice | Tensor) -> Anchors:
        return Anchors(self.axes, self.target[frames], self.weight[frames])


class Objective:
    """What the pose of each frame is asked to agree with."""

    def __init__(
        self, model: BodyModel, observation: Observation, depth: Tensor, anchors: Anchors | None = None
    ) -> None:
        """Prepare the terms.

        Args:
            depth: [T] rough distance of the person along the camera's axis, metres; it turns the expected error of a
                keypoint from metres into an angle.
            anchors: Places that points must keep, if any.
        """
        self.model = model
        self.observation = observation
        # a frame whose rough distance is far off must not outweigh or vanish beside the others
        usual = depth.median()
        depth = depth.clamp(0.5 * usual, 2.0 * usual)
        self.ray_weight = observation.confidence * (depth / KEYPOINT_DEVIATION)[:, None]
        self.segment_weight = observation.trust[..., None] / torch.tensor(SEGMENT_DEVIATION, dtype=torch.float64)
        self.preferred, self.deviation = relaxed_pose(model.skeleton, model.dof_joint, model.dof_axis)
        self.anchors = anchors

    def point_terms(self, points: Tensor, jacobian: Tensor) -> tuple[Tensor, Residuals]:
        """Return the robust cost [T] and the weighted rows of all terms on points, by the Jacobian's own unknowns."""
        rays = reprojection(points, jacobian, self.observation.rays, self.ray_weight)
        directions = segments(points, jacobian, self.observation.pairs, self.observation.direction, self.segment_weight)
        robust_terms = [robust(rays, 2, ROBUST_SCALE), robust(directions, 3, ROBUST_SCALE)]
        cost = torch.stack([term_cost for term_cost, _ in robust_terms]).sum(0)
        rows = [term for _, term in robust_terms]
        if self.anchors is not None:
            held = anchor_terms(points, jacobian, self.anchors.axes, self.anchors.target, self.anchors.weight)
            cost = cost + held.value.square().sum(-1)
            rows.append(held)
        return cost, Residuals(torch.cat([r.value for r in rows], 1), torch.cat([r.jacobian for r in rows], 1))

    def __call__(self, pose: Pose) -> NormalEquations:
        """Return the cost [T], half the gradient [T, D] and half the Gauss-Newton Hessian [T, D, D]."""
        points, jacobian = self.model.points_and_jacobian(pose)
        cost, rows = self.point_terms(points, jacobian)
        gradient = (rows.jacobian.transpose(1, 2) @ rows.value[..., None])[..., 0]
        hessian = rows.jacobian.transpose(1, 2) @ rows.jacobian
        # where nothing is seen, angles stay near a relaxed pose
        strayed, weight = pose.angles - self.preferred, self.deviation**-2
        gradient[:, ROOT_DOFS:] += weight * strayed
        hessian.diagonal(dim1=1, dim2=2)[:, ROOT_DOFS:] += weight
        return cost + (weight * strayed.square()).sum(-1), gradient, hessian

    def unexplained(self, pose: Pose) -> Tensor:
        """Return how far each point lies from its ray, [T, K] in expected deviations at full confidence."""
        points = self.model.points(pose)
        depth = points[..., 2:].clamp_min(MIN_DEPTH)
        error = (points[..., :2] / depth - self.observation.rays).norm(dim=-1)
        return error * depth[..., 0] / KEYPOINT_DEVIATION
