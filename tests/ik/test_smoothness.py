# SPDX-License-Identifier: GPL-3.0-or-later
"""Differences in time: their cost, gradient and Hessian, on even and uneven times, of roots that turn."""

import math

import numpy as np
import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from derivatives import by_each, close
from strategies import bodies, seeds
from synthetic import random_pose
from video2rig.ik.model import BodyModel, Pose
from video2rig.ik.smoothness import Smoothness, SmoothnessError, weight_for_cutoff

ORDERS = st.sampled_from([2, 3])
TURNS = st.sampled_from([0.0, 1e-6, 1e-3, 0.1, 1.0, 2.5, 3.0])
"""Angles by which a root turns from frame to frame, radians."""


def trajectory(model: BodyModel, rng: np.random.Generator, clips: int, frames: int, turn: float) -> Pose:
    """Random poses whose root turns by an angle from frame to frame, each time about another axis."""
    pose = random_pose(model, rng, clips, frames)
    axes = torch.nn.functional.normalize(torch.tensor(rng.normal(size=(clips, frames, 3))), dim=-1)
    rotation = pose.root_rotation.clone()
    for frame in range(1, frames):
        rotation[:, frame] = roma.rotvec_to_rotmat(turn * axes[:, frame]) @ rotation[:, frame - 1]
    return Pose(pose.root_position, rotation, pose.angles)


def penalty(rng: np.random.Generator, model: BodyModel, clips: int, frames: int, order: int) -> Smoothness:
    """On uneven times, some unknowns among those that may jump."""
    weight = torch.tensor(rng.uniform(0.1, 5, (clips, model.size)))
    bounded = torch.tensor(rng.random(model.size) < 0.4)
    return Smoothness(np.cumsum(rng.uniform(0.01, 0.05, frames)), weight, 0.03, order, bounded)


@given(bodies(max_joints=3), seeds, st.integers(1, 6), ORDERS, TURNS)
@settings(max_examples=30)
def test_the_gradient_is_that_of_the_cost(model: BodyModel, seed: int, frames: int, order: int, turn: float) -> None:
    rng = np.random.default_rng(seed)
    smoothness = penalty(rng, model, 2, frames, order)
    pose = trajectory(model, rng, 2, frames, turn)
    numerical = by_each(model, pose, lambda moved: smoothness.differences(moved).cost.sum()[None])[0]
    assert close(2 * smoothness.gradient(smoothness.differences(pose)), numerical, 1e-5)
    assert close(2 * smoothness.gradient_by_torch(smoothness.differences_by_torch(pose)), numerical, 1e-5)


def dense(smoothness: Smoothness, weight: Tensor, frames: int) -> Tensor:
    """Half the Hessian [B, D, T, T] for weights [B, T - order, D], from a dense matrix of differences."""
    order = smoothness.order
    matrix = torch.zeros(max(frames - order, 0), frames, dtype=torch.float64)
    for row in range(len(matrix)):
        matrix[row, row : row + order + 1] = smoothness.stencil[row]
    return torch.einsum("ws,bwd,wt->bdst", matrix, weight, matrix)


@given(bodies(max_joints=3), seeds, st.integers(1, 7), ORDERS)
@settings(max_examples=30)
def test_bands_are_those_of_a_dense_construction(model: BodyModel, seed: int, frames: int, order: int) -> None:
    rng = np.random.default_rng(seed)
    smoothness = penalty(rng, model, 2, frames, order)
    differences = smoothness.differences(trajectory(model, rng, 2, frames, 0.3))
    bands = smoothness.hessian_bands(differences)
    assert bands.shape == (2, order + 1, frames, model.size)
    banded = torch.zeros(2, model.size, frames, frames, dtype=torch.float64)
    for lag in range(min(order + 1, frames)):
        for t in range(frames - lag):
            banded[:, :, t, t + lag] = banded[:, :, t + lag, t] = bands[:, lag, t]
        assert (bands[:, lag, frames - lag :] == 0).all()
    assert torch.allclose(banded, dense(smoothness, differences.weight, frames))


@given(seeds, st.integers(3, 6), ORDERS)
@settings(max_examples=20)
def test_bands_of_unknowns_that_do_not_jump_are_the_hessian_of_the_cost(seed: int, frames: int, order: int) -> None:
    """Positions and angles enter linearly: their Gauss-Newton Hessian is the true one."""
    rng = np.random.default_rng(seed)
    smoothness = Smoothness(np.cumsum(rng.uniform(0.01, 0.05, frames)), torch.tensor([2.0] * 7).double(), 0.03, order)
    still = torch.eye(3, dtype=torch.float64).expand(1, frames, 3, 3)

    def cost(angles: Tensor) -> Tensor:
        pose = Pose(torch.zeros(1, frames, 3).double(), still, angles[None, :, None])
        return smoothness.differences_by_torch(pose).cost[0]

    angles = torch.tensor(rng.normal(size=frames))
    hessian = torch.autograd.functional.hessian(cost, angles)
    weight = torch.full((1, max(frames - order, 0), 7), 2.0, dtype=torch.float64)
    assert torch.allclose(hessian / 2, dense(smoothness, weight, frames)[0, 6])


def test_small_steps_have_the_differences_by_which_those_of_a_trajectory_change() -> None:
    rng = np.random.default_rng(0)
    smoothness = Smoothness(np.cumsum(rng.uniform(0.01, 0.05, 5)), torch.ones(8).double(), 0.03)
    step = torch.tensor(rng.normal(size=(2, 5, 8)))
    expected = torch.einsum("wl,bwdl->bwd", smoothness.stencil, step.unfold(1, 3, 1))
    assert torch.allclose(smoothness.of_steps(step), expected)


@pytest.mark.parametrize("order", [2, 3])
def test_steady_motion_costs_nothing_even_at_a_variable_frame_rate(order: int) -> None:
    times = np.cumsum([0.02, 0.05, 0.01, 0.03, 0.04])
    smoothness = Smoothness(times, torch.ones(11, dtype=torch.float64), 0.03, order)
    seconds = torch.from_numpy(times)[:, None]
    turn = roma.rotvec_to_rotmat(20 * seconds * torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64))
    pose = Pose(seconds.expand(5, 3), turn, seconds * torch.linspace(-1, 1, 5, dtype=torch.float64))
    assert float(smoothness.differences(pose.reshape(1, 5)).cost) == pytest.approx(0, abs=1e-20)


def test_a_jump_of_a_hinge_costs_no_more_than_its_bound() -> None:
    weight, bounded = torch.ones(8).double(), torch.tensor([False] * 7 + [True])
    costs = []
    for height in (0.1, 1e3, 1e6):
        angles = torch.zeros(1, 6, 2, dtype=torch.float64)
        angles[0, 3:, 1] = height
        still = Pose(torch.zeros(1, 6, 3).double(), torch.eye(3).double().expand(1, 6, 3, 3), angles)
        costs.append(float(Smoothness(np.arange(6.0), weight, 1.0, bounded=bounded).differences(still).cost))
    assert costs[0] == pytest.approx(2 * 0.1**2, rel=0.01)
    assert costs[1] == pytest.approx(costs[2], rel=1e-3) and costs[2] <= 2 * 16


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("cutoff", [2.0, 6.0])
@pytest.mark.parametrize("rate", [25.0, 60.0])
def test_a_motion_at_the_cut_off_frequency_is_halved(cutoff: float, rate: float, order: int) -> None:
    frames, deviation = 1000, 0.3
    weight = float(weight_for_cutoff(torch.tensor([deviation], dtype=torch.float64), cutoff, rate, order))
    wave = np.sin(2 * np.pi * cutoff * np.arange(frames) / rate)
    difference = np.diff(np.eye(frames), n=order, axis=0)
    smooth = np.linalg.solve(np.eye(frames) / deviation**2 + weight * difference.T @ difference, wave / deviation**2)
    middle = slice(frames // 4, -frames // 4)
    assert smooth[middle] @ wave[middle] / (wave[middle] @ wave[middle]) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("order", [2, 3])
def test_the_frame_rate_changes_nothing_of_a_given_motion(order: int) -> None:
    """The same curve, sampled evenly, unevenly and twice as densely, costs the same for each second."""
    rng = np.random.default_rng(0)
    costs = []
    for times in (np.arange(0, 20, 0.02), np.cumsum(rng.uniform(0.01, 0.03, 1000)), np.arange(0, 20, 0.01)):
        smoothness = Smoothness(times, torch.ones(7, dtype=torch.float64), 0.02, order)
        wave = torch.from_numpy(np.sin(2 * np.pi * times))
        turn = torch.eye(3).double().expand(1, len(times), 3, 3)
        pose = Pose(torch.zeros(1, len(times), 3).double(), turn, wave[None, :, None])
        costs.append(float(smoothness.differences(pose).cost) / np.ptp(times))
    assert costs == pytest.approx([costs[0]] * 3, rel=0.05)


def test_times_that_do_not_rise_and_a_cut_off_of_zero_are_refused() -> None:
    with pytest.raises(SmoothnessError, match="rise"):
        Smoothness(np.array([0.0, 0.1, 0.1]), torch.ones(7).double(), 0.1)
    with pytest.raises(SmoothnessError, match="above 0 Hz"):
        weight_for_cutoff(torch.ones(1).double(), 0.0, 30.0)


def test_frames_that_all_but_coincide_do_not_outweigh_the_others() -> None:
    smoothness = Smoothness(np.array([0.0, 1.0, 1.0 + 1e-9, 2.0, 3.0]), torch.ones(7).double(), 1.0)
    assert math.isfinite(float(smoothness.stencil.abs().max())) and smoothness.stencil.abs().max() < 200
