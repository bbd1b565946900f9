# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_model import MODEL, numerical_jacobian

from strategies import seeds
from synthetic import NAMES, random_pose
from video2rig.ik import terms
from video2rig.ik.model import Pose


def draw(seed: int, frames: int = 2) -> tuple[np.random.Generator, Pose]:
    rng = np.random.default_rng(seed)
    return rng, random_pose(MODEL, rng, frames)


def check(term, pose: Pose) -> None:
    """A term's Jacobian against central differences, in units of its largest entry."""
    value, jacobian = term(pose)
    numerical = numerical_jacobian(MODEL, pose, lambda moved: term(moved)[0])
    assert value.shape == jacobian.shape[:2]
    assert torch.allclose(jacobian, numerical, atol=1e-6 * float(numerical.abs().max()) + 1e-9)


@given(seeds)
@settings(max_examples=8)
def test_reprojection(seed: int) -> None:
    rng, pose = draw(seed)
    rays = torch.tensor(rng.normal(size=(2, len(NAMES), 2)))
    weight = torch.tensor(rng.uniform(0, 50, (2, len(NAMES))))
    check(lambda p: terms.reprojection(*MODEL.points_and_jacobian(p), rays, weight), pose)


@given(seeds)
@settings(max_examples=8)
def test_segments_but_for_the_change_of_their_own_length(seed: int) -> None:
    rng, pose = draw(seed)
    pairs = torch.tensor([[11, 13], [23, 25], [29, 31]])
    direction = torch.nn.functional.normalize(torch.tensor(rng.normal(size=(2, 3, 3))), dim=-1)
    weight = torch.tensor(rng.uniform(1, 30, (2, 3, 3)))
    points = MODEL.points(pose)
    length = (points[:, pairs[:, 1]] - points[:, pairs[:, 0]]).norm(dim=-1, keepdim=True)

    def with_fixed_length(moved: Pose) -> torch.Tensor:
        points = MODEL.points(moved)
        return ((points[:, pairs[:, 1]] - points[:, pairs[:, 0]] - length * direction) * weight).flatten(1)

    value, jacobian = terms.segments(*MODEL.points_and_jacobian(pose), pairs, direction, weight)
    assert torch.allclose(value, with_fixed_length(pose))
    assert torch.allclose(jacobian, numerical_jacobian(MODEL, pose, with_fixed_length), atol=1e-5)


def test_a_segment_in_its_direction_has_no_residual_whatever_its_length() -> None:
    points = torch.tensor([[[0.0, 0, 0], [0, 0, 0.2]], [[0, 0, 0], [0, 0, 3.0]]], dtype=torch.float64)
    direction = torch.tensor([0.0, 0, 1.0], dtype=torch.float64).expand(2, 1, 3)
    jacobian = torch.zeros(2, 2, 3, 6, dtype=torch.float64)
    value, _ = terms.segments(points, jacobian, torch.tensor([[0, 1]]), direction, torch.ones(2, 1, 3).double())
    assert torch.equal(value, torch.zeros(2, 3).double())


@given(seeds)
@settings(max_examples=8)
def test_anchors(seed: int) -> None:
    rng, pose = draw(seed)
    axes = torch.linalg.qr(torch.tensor(rng.normal(size=(3, 3))))[0]
    target, weight = torch.tensor(rng.normal(size=(2, 2, len(NAMES), 3)))
    check(lambda p: terms.anchors(*MODEL.points_and_jacobian(p), axes, target, weight.abs()), pose)


@given(seeds, st.sampled_from([1, 2, 3]))
def test_the_robust_kernels_step_is_the_gradient_of_its_cost(seed: int, group: int) -> None:
    rng = np.random.default_rng(seed)
    value = torch.tensor(rng.normal(0, 3, (2, 2 * group)), requires_grad=True)
    jacobian = torch.eye(2 * group, dtype=torch.float64).expand(2, -1, -1)
    cost, rows = terms.robust(terms.Residuals(value, jacobian), group, 2.0)
    (gradient,) = torch.autograd.grad(cost.sum(), value)
    half = (rows.jacobian.transpose(1, 2) @ rows.value[..., None])[..., 0]
    assert torch.allclose(gradient / 2, half)


def test_an_outlier_pulls_ever_less() -> None:
    jacobian = torch.ones(1, 1, 1, dtype=torch.float64)
    pulls = []
    for error in (1.0, 10.0, 1000.0):
        value = torch.tensor([[error]], dtype=torch.float64)
        cost, rows = terms.robust(terms.Residuals(value, jacobian), 1, 4.0)
        pulls.append(float(rows.value * rows.jacobian[..., 0]))
        assert cost <= 16
    assert pulls[1] > pulls[2] and pulls[2] == pytest.approx(0, abs=1e-6)
