# SPDX-License-Identifier: GPL-3.0-or-later
"""Terms on angles and local rotations: their derivatives by the unknowns of a frame."""

import math

import numpy as np
import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from derivatives import by_unknowns, close
from strategies import bodies, seeds
from synthetic import NAMES, random_pose
from video2rig.human import default_human
from video2rig.ik import terms
from video2rig.ik.model import ROOT_DOFS, BodyModel, Pose, skew

HUMAN = BodyModel.for_keypoints(default_human(), NAMES)
ANGLES = [1e-9, 1e-6, 9.9e-4, 1.01e-3, 1e-2, 0.5, 2.0, 3.0, math.pi - 1e-3, math.pi - 1e-6]
"""With those on both sides of where the series takes over, and up to where the logarithm ends."""


def unit(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.nn.functional.normalize(torch.tensor(rng.normal(size=(*shape, 3))), dim=-1)


def expected_near(model: BodyModel, pose: Pose, rng: np.random.Generator, error: float) -> Tensor:
    """Rotations [..., J, 3, 3] that local ones miss by up to ``error`` radians."""
    local = model.chain.local_rotations(model.full_angles(pose.angles)).clone()
    local[..., 0, :, :] = pose.root_rotation
    miss = unit(rng, *local.shape[:-2]) * error * torch.tensor(rng.uniform(0, 1, (*local.shape[:-2], 1)))
    return roma.rotvec_to_rotmat(-miss) @ local


def check_prior(model: BodyModel, seed: int, error: float) -> None:
    rng = np.random.default_rng(seed)
    pose = random_pose(model, rng, 2, 2)
    expected = expected_near(model, pose, rng, error)
    whitening = torch.tensor(rng.normal(0, 3, (*expected.shape[:-2], 3, 3)))
    whitening[torch.tensor(rng.random(expected.shape[:-2]) < 0.2)] = 0.0
    rows = terms.prior_rotations(model, pose, expected, whitening)
    numerical = by_unknowns(model, pose, lambda moved: terms.prior_rotations(model, moved, expected, whitening).value)
    assert rows.value.shape == (2, 2, 3 * len(model.skeleton))
    assert close(rows.by_unknown, numerical, 1e-5)


@given(bodies(), seeds, st.floats(0.0, 3.0))
@settings(max_examples=40)
def test_expected_rotations_of_any_body(model: BodyModel, seed: int, error: float) -> None:
    check_prior(model, seed, error)


@given(seeds, st.floats(0.0, 3.0))
@settings(max_examples=4)
def test_expected_rotations_of_a_human(seed: int, error: float) -> None:
    check_prior(HUMAN, seed, error)


@given(seeds, st.floats(0.0, 3.0))
@settings(max_examples=20)
def test_an_expected_rotation_costs_its_mahalanobis_distance(seed: int, error: float) -> None:
    rng = np.random.default_rng(seed)
    pose = random_pose(HUMAN, rng, 1, 1)
    half = torch.tensor(rng.normal(size=(3, 3)))
    covariance = half @ half.T + 0.1 * torch.eye(3)
    whitening = torch.zeros(1, 1, 22, 3, 3).double()
    whitening[..., 0, :, :] = torch.linalg.inv(torch.linalg.cholesky(covariance))
    miss = error * unit(rng)
    expected = torch.eye(3).double().repeat(1, 1, 22, 1, 1)
    expected[..., 0, :, :] = roma.rotvec_to_rotmat(-miss) @ pose.root_rotation
    cost = terms.prior_rotations(HUMAN, pose, expected, whitening).value.square().sum()
    assert float(cost) == pytest.approx(float(miss @ torch.linalg.solve(covariance, miss)), rel=1e-6, abs=1e-9)


@given(seeds)
@settings(max_examples=5)
def test_the_neutral_pose(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pose = random_pose(HUMAN, rng, 2, 2)
    neutral, deviation = torch.tensor(rng.normal(size=47)), torch.tensor(rng.uniform(0.1, 2, 47))
    _, by_angle = terms.neutral_pose(pose.angles, neutral, deviation)
    numerical = by_unknowns(HUMAN, pose, lambda moved: terms.neutral_pose(moved.angles, neutral, deviation)[0])
    assert close(torch.diag(by_angle).expand_as(numerical[..., ROOT_DOFS:]), numerical[..., ROOT_DOFS:])
    assert not numerical[..., :ROOT_DOFS].any()


@pytest.mark.parametrize("angle", ANGLES)
@given(seed=seeds)
@settings(max_examples=5)
def test_the_inverse_left_jacobian_undoes_the_left_one(angle: float, seed: int) -> None:
    """The left Jacobian as its power series, the sum of K^n / (n + 1)!."""
    vector = angle * unit(np.random.default_rng(seed))
    matrix = skew(vector)
    term = left = torch.eye(3).double()
    for power in range(1, 60):
        term = term @ matrix / (power + 1)
        left = left + term
    assert torch.allclose(terms.inverse_left_jacobian(vector) @ left, torch.eye(3).double(), atol=1e-9)


@pytest.mark.parametrize("angle", [1e-6, 1e-3, 1.0, 3.0, 3.14])
def test_the_inverse_left_jacobian_is_the_derivative_of_the_logarithm(angle: float) -> None:
    vector, step = angle * unit(np.random.default_rng(0)), 1e-7
    turn = roma.rotvec_to_rotmat(vector)
    columns = []
    for axis in torch.eye(3).double():
        ahead, behind = (roma.rotmat_to_rotvec(roma.rotvec_to_rotmat(s * axis) @ turn) for s in (step, -step))
        columns.append((ahead - behind) / (2 * step))
    assert torch.allclose(terms.inverse_left_jacobian(vector), torch.stack(columns, dim=-1), atol=1e-4)
