# SPDX-License-Identifier: GPL-3.0-or-later
"""What is compiled for CPUs equals its twin in torch."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from strategies import seeds
from video2rig.human import default_human
from video2rig.ik import clips, dispatch, elimination, single_frames, solver
from video2rig.ik.evidence import Contacts, Directions, Evidence, Floor, Positions, Rays
from video2rig.ik.model import BodyModel, Pose
from video2rig.ik.objective import Objective
from video2rig.ik.smoothness import Smoothness
from video2rig.keypoints import KEYPOINT_SETS, sites

NAMES = KEYPOINT_SETS["blazepose_33"]
PAIRS = np.array([[NAMES.index(a), NAMES.index(b)] for a, b in (("left_hip", "left_knee"), ("nose", "right_wrist"))])
MODEL = BodyModel(default_human(), sites(default_human(), NAMES), PAIRS)
TURNS = st.sampled_from([0.0, 1e-9, 1e-5, 1e-3, 0.1, 1.0, 3.0, math.pi - 1e-4])
"""Angles by which roots turn, with those where series and special cases of the formulas take over."""


def randomness(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(random: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=random, dtype=torch.float64)


def poses(random: torch.Generator, clips: int, frames: int, turn: float = 1.0) -> Pose:
    """Poses inside the range of motion, many angles at their bounds; the root turns by ``turn`` from frame to frame."""
    axes = torch.nn.functional.normalize(normal(random, clips, frames, 3), dim=-1)
    rotation = [roma.rotvec_to_rotmat(normal(random, clips, 3))]
    for frame in range(1, frames):
        rotation.append(roma.rotvec_to_rotmat(turn * axes[:, frame]) @ rotation[-1])
    share = torch.rand(clips, frames, len(MODEL.lower), generator=random, dtype=torch.float64).mul(1.4).sub(0.2)
    angles = torch.clamp(MODEL.lower + share.clamp(0, 1) * (MODEL.upper - MODEL.lower), MODEL.lower, MODEL.upper)
    return Pose(normal(random, clips, frames, 3), torch.stack(rotation, dim=1), angles)


def same(one: Tensor, other: Tensor, tolerance: float = 1e-9) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=tolerance, atol=tolerance)


@given(seeds, st.booleans())
@settings(max_examples=10)
def test_points_and_their_normal_equations(seed: int, lengths: bool) -> None:
    random = randomness(seed)
    pose, stretch = poses(random, 2, 3), 0.2 * normal(random, 2, MODEL.groups)
    assert same(MODEL.points(pose, stretch), MODEL.points_by_torch(pose, stretch[:, None]))
    for compiled, naive in zip(MODEL.joints(pose, stretch), MODEL.joints_by_torch(pose, stretch[:, None]), strict=True):
        assert same(compiled, naive)

    features = len(NAMES) + len(PAIRS)
    half = normal(random, 2, 3, features, 3, 3)
    half[:, :, 4] = 0.0
    pull, information = (half @ normal(random, 3, 1))[..., 0], half @ half.mT
    compiled = MODEL.normal_equations(pose, stretch, pull, information, lengths=lengths)
    naive = MODEL.normal_equations_by_torch(pose, stretch, pull, information, lengths=lengths)
    assert same(compiled.hessian.tril(), naive.hessian.tril())
    for part in ("gradient", "coupling", "shared_gradient", "shared_hessian"):
        assert same(getattr(compiled, part), getattr(naive, part))


@given(seeds, TURNS)
@settings(max_examples=20)
def test_steps_of_poses(seed: int, turn: float) -> None:
    random = randomness(seed)
    pose, step = poses(random, 2, 3), normal(random, 2, 3, MODEL.size)
    step[..., 3:6] = turn * torch.nn.functional.normalize(step[..., 3:6], dim=-1)
    compiled, naive = MODEL.moved(pose, step), MODEL.moved_by_torch(pose, step)
    assert same(compiled.root_position, naive.root_position) and same(compiled.angles, naive.angles)
    assert same(compiled.root_rotation, naive.root_rotation)


def test_what_each_kind_of_evidence_asks_of_points() -> None:
    """All kinds, robust or not, some points not seen; also behind the camera and below the floor."""
    random = randomness(0)
    points, trust = normal(random, 2, 3, 4, 3), torch.rand(2, 3, 4, generator=random, dtype=torch.float64)
    trust[0, 1, 2] = 0.0
    small, axes = torch.tensor(0.2, dtype=torch.float64), torch.linalg.qr(normal(random, 3, 3))[0]
    kinds: list[Evidence] = [
        Positions(normal(random, 2, 3, 4, 3), trust, small, small),
        Rays(normal(random, 2, 3, 4, 2), trust, normal(random, 2, 3).abs(), small, small),
        Directions(1, normal(random, 2, 3, 3, 3), trust[..., 1:], small * torch.ones(3), small * torch.ones(3)),
        Contacts(axes, normal(random, 2, 3, 4, 3), normal(random, 2, 3, 4, 3).clamp_min(0)),
        Floor(axes[2], normal(random, 4), normal(random, 4).abs()),
    ]
    for seen, scale in itertools.product(kinds, (4.0, math.inf)):
        results = []
        for compiled in (True, False):
            pull, information = points.clone(), points[..., None].repeat(1, 1, 1, 1, 3)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(dispatch, "is_compiled", lambda device, compiled=compiled: compiled)
                results.append((seen.gather(points, None, scale, pull, information), pull, information))
        assert results[0][0].all()
        assert all(same(one, other) for one, other in zip(*results, strict=True))


@given(seeds, st.floats(1e-6, 3.1), st.booleans())
@settings(max_examples=10)
def test_terms_on_angles(seed: int, error: float, regressed: bool) -> None:
    random = randomness(seed)
    pose, joints = poses(random, 2, 3), len(MODEL.skeleton)
    local = MODEL.chain.local_rotations(MODEL.full_angles(pose.angles)).clone()
    local[..., 0, :, :] = pose.root_rotation
    miss = error * torch.nn.functional.normalize(normal(random, 2, 3, joints, 3), dim=-1)
    whitening = normal(random, 2, 3, joints, 3, 3)
    whitening[:, 1, 5:9] = 0.0
    objective = Objective(MODEL, [], normal(random, len(MODEL.lower)), normal(random, len(MODEL.lower)).exp())
    if regressed:
        expected = roma.rotvec_to_rotmat(miss) @ local
        objective = dataclasses.replace(objective, expected=expected, whitening=whitening)
    results = []
    for compiled in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dispatch, "is_compiled", lambda device, compiled=compiled: compiled)
            at = objective.linearise(pose, pose.angles.new_zeros(2, 0))
            equations = objective.normal_equations(pose, pose.angles.new_zeros(2, 0), at)
        results.append((at.cost, equations.gradient, equations.hessian.tril()))
    assert all(same(one, other, 1e-6) for one, other in zip(*results, strict=True))


@given(seeds, TURNS, st.integers(1, 6), st.sampled_from([2, 3]))
@settings(max_examples=40)
def test_smoothness(seed: int, turn: float, frames: int, order: int) -> None:
    random = randomness(seed)
    pose = poses(random, 2, frames, turn)
    times = torch.rand(frames, generator=random, dtype=torch.float64).add(0.2).cumsum(0).numpy()
    weight = 10.0 * normal(random, 2, MODEL.size).exp()
    bounded = torch.rand(MODEL.size, generator=random) < 0.3
    smoothness = Smoothness(times, weight, 0.7, order, bounded)
    compiled, naive = smoothness.differences(pose), smoothness.differences_by_torch(pose)
    assert all(same(one, other, 1e-7) for one, other in zip(compiled, naive, strict=True))
    assert same(smoothness.gradient(naive), smoothness.gradient_by_torch(naive))
    assert same(smoothness.hessian_bands(naive), smoothness.hessian_bands_by_torch(naive))


@given(seeds)
@settings(max_examples=10)
def test_bounds_of_the_range_of_motion(seed: int) -> None:
    random = randomness(seed)
    pose, gradient = poses(random, 2, 3), normal(random, 2, 3, MODEL.size)
    compiled = clips.bound_by_range(MODEL, pose, gradient)
    assert compiled.any() and torch.equal(compiled, clips.bound_by_range_by_torch(MODEL, pose, gradient))


@given(seeds, st.integers(1, 5), st.booleans())
@settings(max_examples=30)
def test_solutions(seed: int, frames: int, coupled: bool) -> None:
    random = randomness(seed)
    size = 7
    half = normal(random, 2, frames, size, size)
    weight = normal(random, 2, size).exp()
    smoothness = Smoothness(np.arange(frames), weight, 1.0)
    differences = max(frames - 2, 0)
    bands = smoothness.hessian_bands_by_torch(
        smoothness.differences_by_torch(
            Pose(half[..., 0, :3], torch.eye(3, dtype=torch.float64).expand(2, frames, 3, 3), half[..., 1, :1])
        )
    )
    assert bands.shape == (2, 3, frames, size) and (bands.any() or not differences)
    free = torch.rand(2, frames, size, generator=random) < 0.8
    right = normal(random, 2, frames, size, 3) * free[..., None]
    damping = torch.tensor([1e-3, 0.5], dtype=torch.float64)
    arguments = (half @ half.mT, bands if coupled else None, free, damping, right)
    products, combine, failed = elimination.eliminate(*arguments)
    naive, _ = elimination.solve_frames_by_torch(*arguments)
    share = normal(random, 2, 3)
    assert not failed.any() and same(combine(share), (naive @ share[:, None, :, None])[..., 0], 1e-6)
    assert same(products, right.flatten(1, 2).mT @ naive.flatten(1, 2), 1e-6)


@pytest.mark.parametrize("coupled", [False, True])
def test_clips_that_have_no_solution_are_told(coupled: bool) -> None:
    hessian = torch.eye(4, dtype=torch.float64).expand(3, 5, 4, 4).clone()
    hessian[1, 3, 2, 2], hessian[2, 4, 0, 0] = -1.0, math.nan
    bands = torch.zeros(3, 3, 5, 4, dtype=torch.float64) if coupled else None
    free, right = torch.ones(3, 5, 4, dtype=torch.bool), torch.ones(3, 5, 4, 1, dtype=torch.float64)
    damping = torch.full((3,), 1e-3, dtype=torch.float64)
    _, _, failed = elimination.eliminate(hessian, bands, free, damping, right)
    assert failed.tolist() == [False, True, True]


@given(seeds, st.booleans(), st.booleans())
@settings(max_examples=10)
def test_frames_by_themselves(seed: int, robust: bool, each_its_lengths: bool) -> None:
    """The compiled solver against the one that takes clips of one frame side by side."""
    random = randomness(seed)
    pose, frames = poses(random, 5, 1), 5
    pose = dataclasses.replace(pose, angles=pose.angles.clamp(MODEL.lower, MODEL.upper))
    lengths = 0.1 * normal(random, frames, 1, MODEL.groups) if each_its_lengths else 0.1 * normal(random, MODEL.groups)
    points = MODEL.points(pose) + 0.05 * normal(random, frames, 1, len(NAMES), 3)
    trust, deviation = torch.rand(frames, 1, len(NAMES), generator=random).double(), torch.tensor(0.02).double()
    seen = Positions(points, trust, deviation, deviation, robust=robust)
    middle = (MODEL.lower + MODEL.upper) / 2
    objective = Objective(MODEL, [seen], middle, middle * 0 + 1.0, lengths=lengths)
    start, nothing = MODEL.retract(pose, 0.2 * normal(random, frames, 1, MODEL.size)), torch.zeros(frames, 0).double()
    assert single_frames.are_compiled(objective, start)
    found, _, cost = solver.solve(objective, None, start, nothing, iterations=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(single_frames, "are_compiled", lambda objective, pose: False)
        naive, _, naive_cost = solver.solve(objective, None, start, nothing, iterations=8)
    assert same(cost, naive_cost, 1e-6) and same(found.angles, naive.angles, 1e-5)
    assert same(found.root_rotation, naive.root_rotation, 1e-5)
