# SPDX-License-Identifier: GPL-3.0-or-later
"""Noise and smoothness, estimated from the sequence itself: empirical Bayes about the solved trajectory.

What a solution leaves unexplained is not the noise: it has adapted to the noise. How far it did follows from the
posterior's covariance, of which one sample suffices over many frames. Such a sample costs one more right-hand side of
the solver's own factorisation (perturb and MAP, Papandreou and Yuille 2010, Gaussian sampling by local
perturbations), and the variances are then those of MacKay (1992, Bayesian interpolation, eq. 4.9 and 4.10).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .clips import bound_by_range
from .elimination import eliminate
from .evidence import Evidence
from .model import ROOT_DOFS, Pose
from .objective import Objective
from .smoothness import Differences, Smoothness

_LEAST_SHARE = 0.1
"""At least this share of the data counts as not absorbed by the unknowns."""


@dataclass(frozen=True)
class Posterior:
    """A solution and a sample of how far it may be off.

    Attributes:
        differences: Of the solution, and of_sample [B, T - order, D] those of the sample.
        features: [B, T, F, 3] of the solution, and feature_sample how far they may be off, metres.
        log_zoom: [B] logarithm of the focal length's factor; None where it is given.
    """

    differences: Differences
    of_sample: Tensor
    features: Tensor
    feature_sample: Tensor
    log_zoom: Tensor | None


def sample_posterior(
    objective: Objective,
    smoothness: Smoothness,
    pose: Pose,
    shared: Tensor,
    generator: torch.Generator | None,
    *,
    one_person: bool,
) -> Posterior:
    """Draw a sample of the posterior about a solution of B clips of T frames.

    People who are only solved side by side each get the numbers that they would get if they were alone.
    """
    model = objective.model
    at = objective.linearise(pose, shared)
    equations = objective.normal_equations(pose, shared, at)
    differences = smoothness.differences(pose)
    held = bound_by_range(model, pose, equations.gradient + smoothness.gradient(differences))

    def noise(like: Tensor) -> Tensor:
        drawn = like.shape if one_person else (1, *like.shape[1:])
        return torch.randn(drawn, generator=generator, dtype=like.dtype, device=like.device).expand(like.shape)

    features = objective.features(pose, shared)
    pull = torch.zeros_like(features)
    for item in objective.evidence:
        rows = item.rows(features[:, :, item.where], objective.log_zoom(shared))
        pull[:, :, item.where] += (rows.by_point.transpose(-1, -2) @ noise(rows.value)[..., None])[..., 0]
    carried = model.normal_equations(
        pose, objective.stretch(shared), pull, pull.new_zeros(*pull.shape, 3), lengths=False
    ).gradient
    rough = noise(differences.value) / differences.weight.sqrt()
    carried = carried + smoothness.gradient(differences._replace(value=rough))
    carried[..., ROOT_DOFS:] += noise(pose.angles) / objective.deviation
    prior = objective.prior_rows(pose)
    if prior is not None:
        carried = carried + (prior.by_unknown.mT @ noise(prior.value)[..., None])[..., 0]
    bands = smoothness.hessian_bands(differences)
    undamped = torch.zeros(pose.frames[0], dtype=carried.dtype, device=carried.device)
    _, combine, _ = eliminate(equations.hessian, bands, ~held, undamped, (carried * ~held)[..., None])
    step = combine(torch.ones_like(undamped)[:, None])
    step = torch.where(torch.isfinite(step), step, 0.0)
    small = 1e-4
    moved = model.moved(pose, small * step)
    strayed = (objective.features(moved, shared) - features) / small
    return Posterior(differences, smoothness.of_steps(step), features, strayed, objective.log_zoom(shared))


def smoothness_weights(smoothness: Smoothness, posterior: Posterior, expected: Tensor, trust: float) -> Tensor:
    """Return the weights [B, D] that the trajectories themselves ask for.

    Args:
        smoothness: With the present weights.
        expected: [D] standard deviation of the differences that is expected beforehand.
        trust: How many differences that expectation is worth.
    """
    share = posterior.differences.weight / smoothness.weight_of_clips  # less than one where a hinge jumps
    count = share.sum(1)
    known = count - (posterior.of_sample.square() * posterior.differences.weight).sum(1)
    square = (share * posterior.differences.value.square()).sum(1) + trust * expected.square()
    variance = square / (known.maximum(_LEAST_SHARE * count) + trust)
    return 1.0 / variance.clamp_min(1e-4 * expected.square())


def with_estimated_noise(evidence: Sequence[Evidence], posterior: Posterior, *, one_person: bool) -> list[Evidence]:
    """Return the evidence with the noise that it shows, its outliers bounded from now on.

    One detector tells all of it, and how far its kinds are to be trusted beside each other is known beforehand: their
    deviations change by one factor. The typical residual is the median over points, so that a few that are far off
    do not count; it is then raised by what the unknowns have absorbed. All clips of one person are taken together.
    """
    people = 1 if one_person else len(posterior.features)
    square, rows_seen, absorbed = posterior.features.new_zeros(3, people)
    for item in evidence:
        if item.deviation is None:
            continue
        rows = item.rows(posterior.features[:, :, item.where], posterior.log_zoom)
        size = rows.value.shape[-1]
        confidence = item.confidence.reshape(people, -1).square()
        trust = confidence.sum(1)
        missed = rows.value.square().sum(-1).reshape(people, -1) / confidence
        # the median of a chi-square distribution, by Wilson and Hilferty (1931); points that were not seen give NaN
        typical = torch.where(confidence > 0, missed, torch.nan).nanmedian(1).values.nan_to_num()
        square = square + trust * typical / (1.0 - 2.0 / (9.0 * size)) ** 3
        rows_seen = rows_seen + trust * size
        moved = (rows.by_point @ posterior.feature_sample[:, :, item.where, :, None])[..., 0]
        absorbed = absorbed + moved.square().reshape(people, -1).sum(1)
    left = (rows_seen - absorbed).maximum(_LEAST_SHARE * rows_seen)
    factor = torch.where(rows_seen > 0, square / left, 1.0).sqrt()
    return [item if item.deviation is None else item.rescaled(factor) for item in evidence]
