# SPDX-License-Identifier: GPL-3.0-or-later
"""The sum of all terms: its gradient and Gauss-Newton Hessian by poses, lengths and the focal length."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from derivatives import by_numbers, by_unknowns, close
from strategies import seeds
from synthetic import NAMES, random_pose
from video2rig.human import default_human
from video2rig.ik.evidence import Contacts, Directions, Evidence, Floor, Positions, Rays
from video2rig.ik.model import BodyModel, Pose
from video2rig.ik.objective import ROBUST_SCALE, Objective

PAIRS = np.array([[NAMES.index(a), NAMES.index(b)] for a, b in (("left_hip", "left_knee"), ("nose", "right_wrist"))])
MODEL = BodyModel.for_keypoints(default_human(), NAMES, PAIRS)
CLIPS, FRAMES, POINTS = 2, 2, len(NAMES)


def numbers(rng: np.random.Generator, *shape: int, least: float = -1.0, most: float = 1.0) -> Tensor:
    return torch.tensor(rng.uniform(least, most, shape))


def all_evidence(rng: np.random.Generator, points: Tensor, robust: bool) -> list[Evidence]:
    """Something of every kind about points [B, T, K, 3], each missed by a few deviations at most."""
    shape, small = points.shape[:3], torch.tensor(0.05, dtype=torch.float64)
    camera = points[..., :2] / points[..., 2:]
    direction = points[:, :, PAIRS[:, 1]] - points[:, :, PAIRS[:, 0]]
    direction = torch.nn.functional.normalize(direction + 0.05 * numbers(rng, *direction.shape), dim=-1)
    confidence = numbers(rng, *shape, least=-0.3).clamp_min(0)
    axes = torch.linalg.qr(numbers(rng, 3, 3))[0]
    up = torch.nn.functional.normalize(numbers(rng, 3), dim=0)
    return [
        Positions(points + 0.2 * numbers(rng, *points.shape), confidence, small, small, robust),
        Rays(camera + 0.05 * numbers(rng, *camera.shape), confidence, numbers(rng, *shape[:2], least=3, most=5), small,
             small, robust),
        Directions(POINTS, direction, numbers(rng, *shape[:2], len(PAIRS), least=0), small.expand(3), small.expand(3),
                   robust),
        Contacts(axes, points @ axes.T + 0.1, numbers(rng, *points.shape, least=-9, most=9).clamp_min(0)),
        Floor(up, (points @ up).flatten(0, 1).mean(0), numbers(rng, POINTS, least=0, most=20)),
    ]  # fmt: skip


def problem(seed: int, *, zoom: bool = True, robust: bool = True, prior: bool = True) -> tuple[Objective, Pose, Tensor]:
    rng = np.random.default_rng(seed)
    pose = random_pose(MODEL, rng, CLIPS, FRAMES)
    shared = 0.1 * numbers(rng, CLIPS, MODEL.groups + zoom)
    half = numbers(rng, MODEL.groups + zoom, MODEL.groups + zoom)
    evidence = all_evidence(rng, MODEL.points(pose, shared[:, : MODEL.groups]), robust)
    expected = torch.linalg.qr(numbers(rng, CLIPS, FRAMES, 22, 3, 3))[0]
    expected = expected * torch.linalg.det(expected)[..., None, None]
    objective = Objective(
        MODEL,
        evidence,
        (MODEL.lower + MODEL.upper) / 2,
        numbers(rng, len(MODEL.lower), least=0.1, most=2.0),
        half @ half.T + torch.eye(len(half)),
        zoom=zoom,
        expected=expected if prior else None,
        whitening=0.3 * numbers(rng, CLIPS, FRAMES, 22, 3, 3) if prior else None,
    )
    return objective, pose, shared


@given(seeds, st.booleans(), st.booleans())
@settings(max_examples=4)
def test_the_gradient_is_that_of_the_cost(seed: int, zoom: bool, robust: bool) -> None:
    objective, pose, shared = problem(seed, zoom=zoom, robust=robust)
    equations = objective.normal_equations(pose, shared, objective.linearise(pose, shared))
    clips = torch.arange(CLIPS)
    single = [objective.mapped(lambda array, frame=frame: array[:, frame : frame + 1]) for frame in range(FRAMES)]

    def of_frames(moved: Pose) -> Tensor:
        parts = [terms.linearise(moved[clips, frame : frame + 1], shared).cost for frame, terms in enumerate(single)]
        return torch.stack(parts, dim=1)

    assert torch.allclose(of_frames(pose).sum(1), objective.linearise(pose, shared).cost)
    assert close(2 * equations.gradient, by_unknowns(MODEL, pose, of_frames), 1e-5)
    by_shared = by_numbers(shared, lambda changed: objective.linearise(pose, changed).cost)
    assert close(2 * equations.shared_gradient, by_shared, 1e-5)
    gradient, hessian = objective.shared_equations(shared) or (None, None)
    assert gradient is not None and hessian is not None
    assert close(2 * gradient, by_numbers(shared, objective.shared_cost), 1e-5)


def residuals(objective: Objective, pose: Pose, shared: Tensor, at: tuple[Pose, Tensor]) -> Tensor:
    """All residuals [B, T, R], those of outliers shrunk as they are at the pose and shared unknowns ``at``."""
    parts = []
    for item in objective.evidence:
        rows, there = (
            item.rows(objective.features(p, s)[:, :, item.where], objective.log_zoom(s)).value
            for p, s in ((pose, shared), at)
        )
        shrink = 1 / (1 + there.square().sum(-1, keepdim=True) / ROBUST_SCALE**2) if item.robust else 1.0
        parts.append((rows * shrink).flatten(2))
    parts.append((pose.angles - objective.neutral) / objective.deviation)
    return torch.cat(parts, dim=-1)


@given(seeds, st.booleans(), st.booleans())
@settings(max_examples=6)
def test_the_hessian_is_that_of_the_residuals(seed: int, zoom: bool, robust: bool) -> None:
    """Every block: of frames, between frames and shared unknowns, and of these with the focal length among them."""
    objective, pose, shared = problem(seed, zoom=zoom, robust=robust, prior=False)
    equations = objective.normal_equations(pose, shared, objective.linearise(pose, shared))
    own = by_unknowns(MODEL, pose, lambda moved: residuals(objective, moved, shared, (pose, shared)))
    common = by_numbers(
        shared[:, None],
        lambda changed: residuals(objective, pose, changed[:, 0], (pose, shared)),
    )
    assert close(equations.hessian.tril(), (own.mT @ own).tril(), 1e-5)
    assert close(equations.coupling, own.mT @ common, 1e-5)
    assert close(equations.shared_hessian, (common.mT @ common).sum(1), 1e-5)


def test_lengths_that_are_given_are_those_of_the_shared_unknowns() -> None:
    objective, pose, shared = problem(0, zoom=False)
    given_lengths = objective.given(shared[0])
    nothing = shared[:1, :0]
    assert torch.equal(given_lengths.stretch(nothing), shared[:1])
    first = given_lengths.mapped(lambda array: array[:1]).linearise(pose[:1], nothing)
    assert torch.allclose(first.cost, objective.linearise(pose, shared).cost[:1])
    equations = given_lengths.mapped(lambda array: array[:1]).normal_equations(pose[:1], nothing, first)
    assert equations.coupling.shape[-1] == 0 and equations.shared_gradient.shape == (1, 0)


def test_frames_may_be_taken_apart() -> None:
    """Each frame as a clip of its own costs what it costs among others."""
    objective, pose, shared = problem(1, zoom=False)
    objective = objective.given(shared[0])
    whole = objective.linearise(pose, shared[:, :0])
    apart = objective.mapped(lambda array: array.reshape(CLIPS * FRAMES, 1, *array.shape[2:]))
    each = apart.linearise(pose.reshape(CLIPS * FRAMES, 1), torch.zeros(CLIPS * FRAMES, 0).double())
    assert torch.allclose(each.cost.reshape(CLIPS, FRAMES).sum(1), whole.cost)
    assert torch.allclose(each.pull.reshape(whole.pull.shape), whole.pull)


def test_a_true_pose_misses_nothing_and_others_miss_by_deviations() -> None:
    rng = np.random.default_rng(2)
    pose = random_pose(MODEL, rng, 1, 3)
    points, one = MODEL.points(pose), torch.ones(1, 3, POINTS).double()
    deviation = torch.tensor(0.01, dtype=torch.float64)
    neutral = (MODEL.lower + MODEL.upper) / 2
    objective = Objective(MODEL, [Positions(points, one, deviation, deviation)], neutral, neutral + 9)
    nothing = torch.zeros(1, 0).double()
    assert objective.misses(pose, nothing).max() < 1e-6
    shifted = dataclasses.replace(pose, root_position=pose.root_position + torch.tensor([0.03, 0.0, 0.0]))
    assert objective.misses(shifted, nothing).numpy() == pytest.approx(3 / math.sqrt(3), rel=1e-4)
