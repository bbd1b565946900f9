# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_model import MODEL

from strategies import seeds
from synthetic import random_pose
from video2rig.ik.model import Pose
from video2rig.ik.smoothness import Smoothness, weight_for_cutoff


def penalty(seed: int, frames: int) -> tuple[Smoothness, Pose]:
    rng = np.random.default_rng(seed)
    weight = torch.tensor(rng.uniform(0.1, 5, MODEL.size))
    pose = random_pose(MODEL, rng, frames)
    pose = Pose(pose.root_position, torch.eye(3, dtype=torch.float64).expand(frames, 3, 3), pose.angles)
    return Smoothness(np.cumsum(rng.uniform(0.01, 0.05, frames)), weight, 0.03), pose


@given(seeds, st.integers(1, 7))
@settings(max_examples=20)
def test_gradient_and_bands_are_those_of_the_cost(seed: int, frames: int) -> None:
    smoothness, pose = penalty(seed, frames)
    flat = pose.angles.clone().requires_grad_()
    (expected,) = torch.autograd.grad(
        smoothness.cost(Pose(pose.root_position, pose.root_rotation, flat)) + 0 * flat.sum(), flat
    )
    assert torch.allclose(2 * smoothness.gradient(pose)[:, 6:], expected)

    bands = smoothness.hessian_bands(frames)
    dense = torch.zeros(MODEL.size, frames, frames, dtype=torch.float64)
    for lag in range(min(3, frames)):
        for t in range(frames - lag):
            dense[:, t, t + lag] = dense[:, t + lag, t] = bands[lag, t]
    difference = torch.zeros(max(frames - 2, 0), frames, dtype=torch.float64)
    for t in range(frames - 2):
        difference[t, t : t + 3] = smoothness.stencil[t]
    assert torch.allclose(dense, (difference.T @ difference) * smoothness.weight[:, None, None])


def test_steady_motion_costs_nothing_even_at_a_variable_frame_rate() -> None:
    times = np.cumsum([0.02, 0.05, 0.01, 0.03, 0.04])
    smoothness = Smoothness(times, torch.ones(MODEL.size, dtype=torch.float64), 0.03)
    steady = torch.from_numpy(times)[:, None] * torch.linspace(-1, 1, len(MODEL.lower), dtype=torch.float64)
    pose = Pose(torch.from_numpy(times)[:, None].expand(5, 3), torch.eye(3).double().expand(5, 3, 3), steady)
    assert float(smoothness.cost(pose)) == pytest.approx(0, abs=1e-20)


@pytest.mark.parametrize("cutoff", [2.0, 6.0])
@pytest.mark.parametrize("rate", [25.0, 60.0])
def test_a_motion_at_the_cut_off_frequency_is_halved(cutoff: float, rate: float) -> None:
    frames, deviation = 2000, 0.3
    weight = float(weight_for_cutoff(torch.tensor([deviation], dtype=torch.float64), cutoff, rate))
    wave = np.sin(2 * np.pi * cutoff * np.arange(frames) / rate)
    second = np.diff(np.eye(frames), n=2, axis=0)
    smooth = np.linalg.solve(np.eye(frames) / deviation**2 + weight * second.T @ second, wave / deviation**2)
    middle = slice(frames // 4, -frames // 4)
    assert smooth[middle] @ wave[middle] / (wave[middle] @ wave[middle]) == pytest.approx(0.5, abs=0.01)


def test_the_frame_rate_changes_nothing_of_a_given_motion() -> None:
    """The same curve, sampled evenly, unevenly and twice as densely, costs the same for each second."""
    rng = np.random.default_rng(0)
    costs = []
    for times in (np.arange(0, 20, 0.02), np.cumsum(rng.uniform(0.01, 0.03, 1000)), np.arange(0, 20, 0.01)):
        smoothness = Smoothness(times, torch.ones(1, dtype=torch.float64), 0.02)
        wave = torch.from_numpy(np.sin(2 * np.pi * times))
        costs.append(float((smoothness.stencil * wave.unfold(0, 3, 1)).sum(1).square().sum()) / np.ptp(times))
    assert costs == pytest.approx([costs[0]] * 3, rel=0.05)
