# SPDX-License-Identifier: GPL-3.0-or-later
"""What the poses of B clips of T frames are asked to agree with, as one sum of squares."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from . import angle_kernels, dispatch
from .evidence import Evidence
from .model import ROOT_DOFS, BodyModel, NormalEquations, Pose, as_arrays
from .terms import AngleRows, neutral_pose, prior_rotations, robust

ROBUST_SCALE = 4.0
"""Points that miss by more standard deviations count ever less."""


class Linearised(NamedTuple):
    """The terms at one pose: cost [B], and per feature what :meth:`BodyModel.normal_equations` wants.

    The by_zoom parts are those of the focal length: its own gradient and Hessian [B], and the mixed one [B, T, F, 3].
    """

    cost: Tensor
    pull: Tensor
    information: Tensor
    zoom_gradient: Tensor | None
    zoom_hessian: Tensor | None
    by_zoom: Tensor | None


@dataclass(frozen=True)
class Objective:
    """All terms of single frames.

    Attributes:
        model: The body.
        evidence: What was observed.
        neutral, deviation: [A] pose to which angles stay near where nothing tells them, and how near, radians.
        shared: [S, S] inverse covariance, about 0, of what the frames of a clip share: the logarithms of the lengths
            and, where it is unknown, of the focal length; None where all are given.
        lengths: [G], or [B, T, G] where clips differ, logarithms of the lengths where they are given, the same in all
            frames of a clip; None for those of the skeleton itself.
        zoom: Whether the logarithm of the focal length is the last shared unknown.
        expected, whitening: Of :func:`terms.prior_rotations`, [B, T, J, 3, 3]; None where there is no regression.
    """

    model: BodyModel
    evidence: Sequence[Evidence]
    neutral: Tensor
    deviation: Tensor
    shared: Tensor | None = None
    lengths: Tensor | None = None
    zoom: bool = False
    expected: Tensor | None = None
    whitening: Tensor | None = None

    def over(self, evidence: Sequence[Evidence]) -> Objective:
        """Return the same objective over other evidence."""
        return replace(self, evidence=evidence)

    def mapped(self, function: Callable[[Tensor], Tensor]) -> Objective:
        """Return the objective with a function applied to every array over clips and frames, [B, T, ...]."""
        return replace(
            self,
            evidence=[item.mapped(function) for item in self.evidence],
            lengths=self.lengths if self.lengths is None or self.lengths.ndim == 1 else function(self.lengths),
            expected=None if self.expected is None else function(self.expected),
            whitening=None if self.whitening is None else function(self.whitening),
        )

    def given(self, lengths: Tensor) -> Objective:
        """Return the objective for given logarithms of the lengths, [G] or [B, T, G]; nothing is shared any more."""
        return replace(self, shared=None, lengths=lengths, zoom=False)

    def held(self, pose: Pose, shared: Tensor) -> Objective:
        """Return the objective of poses [B, T] with what they share, [B, S], given as it is."""
        if self.shared is None:
            return self
        zoom, lengths = self.log_zoom(shared), self.stretch(shared)
        evidence = self.evidence if zoom is None else [item.at_zoom(zoom) for item in self.evidence]
        return self.over(evidence).given(lengths[:, None].expand(*pose.frames, -1))

    def stretch(self, shared: Tensor) -> Tensor:
        """Return the logarithms of the lengths [B, G], from among the shared unknowns [B, S] where they are unknown.

        [1, G] where all clips are given the same.
        """
        if self.shared is not None:
            return shared[:, : self.model.groups]
        if self.lengths is None:
            return self.model.no_stretch(1)
        return self.lengths[None] if self.lengths.ndim == 1 else self.lengths[:, 0]

    def features(self, pose: Pose, shared: Tensor) -> Tensor:
        """Return the features [B, T, F, 3] of poses."""
        return self.model.features(pose, self.stretch(shared)[:, None])

    def misses(self, pose: Pose, shared: Tensor) -> Tensor:
        """Return how far the points [B, T, K] lie from where they were seen: 1 is what is expected of a coordinate.

        The end of a segment misses by the segment's direction too.
        """
        features = self.features(pose, shared)
        points = len(self.model.site_joint)
        square, kinds = features.new_zeros(*pose.frames, points), features.new_zeros(points)
        ends = self.model.feature_points
        for item in self.evidence:
            if item.deviation is not None:
                rows = item.rows(features[:, :, item.where], self.log_zoom(shared))
                square.index_add_(2, ends[item.where], rows.value.square().mean(-1))
                kinds.index_add_(0, ends[item.where], torch.ones_like(ends[item.where], dtype=kinds.dtype))
        return (square / kinds.clamp_min(1.0)).sqrt()

    def linearise(self, pose: Pose, shared: Tensor) -> Linearised:
        """Return the cost of poses [B, T] and its derivatives by the features."""
        features = self.features(pose, shared)
        zoom = self.log_zoom(shared)
        cost = features.new_zeros(len(features))
        pull, information = torch.zeros_like(features), features.new_zeros(*features.shape, 3)
        by_zoom = torch.zeros_like(features) if self.zoom else None
        zoom_gradient, zoom_hessian = (torch.zeros_like(cost), torch.zeros_like(cost)) if self.zoom else (None, None)
        for item in self.evidence:
            scale = ROBUST_SCALE if item.robust else math.inf
            cost = cost + item.gather(features, zoom, scale, pull, information)
            if by_zoom is None or zoom_gradient is None or zoom_hessian is None:
                continue
            rows = item.rows(features[:, :, item.where], zoom)
            turned = item.by_zoom(rows, zoom)
            if turned is not None:
                turned = turned / (1.0 + rows.value.square().sum(-1, keepdim=True) / scale**2)
                rows = robust(rows, scale)[1]
                by_zoom[:, :, item.where] += (rows.by_point.transpose(-1, -2) @ turned[..., None])[..., 0]
                zoom_gradient += (turned * rows.value).sum((1, 2, 3))
                zoom_hessian += turned.square().sum((1, 2, 3))
        cost = cost + self._cost_of_angles(pose)
        return Linearised(cost, pull, information, zoom_gradient, zoom_hessian, by_zoom)

    def prior_rows(self, pose: Pose) -> AngleRows | None:
        """Return :func:`terms.prior_rotations`, where a regression says something."""
        if self.expected is None or self.whitening is None:
            return None
        return prior_rotations(self.model, pose, self.expected, self.whitening)

    def normal_equations(self, pose: Pose, shared: Tensor, at: Linearised) -> NormalEquations:
        """Return the normal equations of the terms that :meth:`linearise` found at the same pose."""
        stretch = self.stretch(shared)
        equations = self.model.normal_equations(pose, stretch, at.pull, at.information, lengths=self.shared is not None)
        self._add_angles(pose, equations)
        if self.shared is None:
            return equations
        if at.by_zoom is not None and at.zoom_gradient is not None and at.zoom_hessian is not None:
            equations = self._with_zoom(pose, stretch, equations, at.by_zoom, at.zoom_gradient, at.zoom_hessian)
        return equations

    def shared_cost(self, shared: Tensor) -> Tensor:
        """Return the cost [B] of what is known beforehand of [B, S] shared unknowns."""
        if self.shared is None:
            return shared.new_zeros(len(shared))
        return ((shared @ self.shared) * shared).sum(-1)

    def shared_equations(self, shared: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return half that cost's gradient [B, S] and half its Hessian [S, S]; None where nothing is shared."""
        return None if self.shared is None else (shared @ self.shared, self.shared)

    def log_zoom(self, shared: Tensor) -> Tensor | None:
        """Return the logarithm [B] of the focal length's factor; None where it is given."""
        return shared[:, -1] if self.zoom else None

    def _cost_of_angles(self, pose: Pose) -> Tensor:
        """Return what the neutral pose and the regression cost, [B]."""
        if dispatch.is_compiled(pose.angles.device):
            rotation, angles = as_arrays(pose.root_rotation, pose.angles)
            return torch.from_numpy(angle_kernels.cost_of_angles(self.model.topology, rotation, angles, self._expected))
        strayed, _ = neutral_pose(pose.angles, self.neutral, self.deviation)
        prior = self.prior_rows(pose)
        cost = strayed.square().sum((1, 2))
        return cost if prior is None else cost + prior.value.square().sum((1, 2))

    def _add_angles(self, pose: Pose, equations: NormalEquations) -> None:
        """Add the neutral pose and the regression to normal equations."""
        if dispatch.is_compiled(pose.angles.device):
            rotation, angles = as_arrays(pose.root_rotation, pose.angles)
            added = equations.hessian.numpy(), equations.gradient.numpy()
            angle_kernels.add_angles(self.model.topology, rotation, angles, self._expected, *added)
            return
        strayed, by_angle = neutral_pose(pose.angles, self.neutral, self.deviation)
        equations.gradient[..., ROOT_DOFS:] += strayed * by_angle
        equations.hessian.diagonal(dim1=-2, dim2=-1)[..., ROOT_DOFS:] += by_angle.square()
        prior = self.prior_rows(pose)
        if prior is not None:
            across = prior.by_unknown.transpose(-1, -2)
            equations.gradient.add_((across @ prior.value[..., None])[..., 0])
            equations.hessian.add_(across @ prior.by_unknown)

    @cached_property
    def _expected(self) -> angle_kernels.Expected:
        """The terms on angles, for the compiled kernels."""
        nothing = self.neutral.new_zeros(1, 1, 0, 3, 3)
        expected, whitening = (nothing if told is None else told for told in (self.expected, self.whitening))
        return angle_kernels.Expected(*as_arrays(self.neutral, self.deviation.reciprocal(), expected, whitening))

    def _with_zoom(
        self,
        pose: Pose,
        stretch: Tensor,
        equations: NormalEquations,
        by_zoom: Tensor,
        gradient: Tensor,
        hessian: Tensor,
    ) -> NormalEquations:
        """Append the focal length to the shared unknowns: its mixed derivatives are a pull on the features."""
        mixed = self.model.normal_equations(pose, stretch, by_zoom, by_zoom.new_zeros(*by_zoom.shape, 3), lengths=True)
        column = mixed.shared_gradient
        corner = torch.cat([column, hessian[:, None]], dim=-1)
        return NormalEquations(
            equations.gradient,
            equations.hessian,
            torch.cat([equations.coupling, mixed.gradient[..., None]], dim=-1),
            torch.cat([equations.shared_gradient, gradient[:, None]], dim=-1),
            torch.cat([torch.cat([equations.shared_hessian, column[..., None]], dim=-1), corner[:, None]], dim=-2),
        )
