# SPDX-License-Identifier: GPL-3.0-or-later
"""Terms on points: their derivatives by the points, and what their residuals mean."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from derivatives import close
from strategies import seeds
from video2rig.ik import terms

SHAPE = (2, 3, 4)  # clips, frames, points


def draw(seed: int) -> tuple[np.random.Generator, Tensor]:
    rng = np.random.default_rng(seed)
    return rng, torch.tensor(rng.normal(size=(*SHAPE, 3)))


def check(term, points: Tensor, step: float = 1e-6) -> None:
    """The derivatives [..., R, 3] of a term's values by its points against central differences."""
    rows = term(points)
    columns = []
    for axis in range(3):
        shift = torch.zeros(3, dtype=torch.float64)
        shift[axis] = step
        columns.append((term(points + shift).value - term(points - shift).value) / (2 * step))
    numerical = torch.stack(columns, dim=-1)
    assert close(rows.by_point.expand_as(numerical), numerical)


@given(seeds, st.sampled_from([-1.0, 1.0]))
def test_reprojection_before_and_behind_the_nearest_depth(seed: int, side: float) -> None:
    rng, points = draw(seed)
    points[..., 2] = terms.MIN_DEPTH + side * torch.tensor(rng.uniform(0.01, 3, SHAPE))
    rays, weight = torch.tensor(rng.normal(size=(*SHAPE, 2))), torch.tensor(rng.uniform(0, 50, SHAPE))
    check(lambda moved: terms.reprojection(moved, rays, weight), points)


@given(seeds)
def test_reprojection_by_the_focal_length(seed: int) -> None:
    rng, points = draw(seed)
    points[..., 2] = torch.tensor(rng.uniform(0.3, 3, SHAPE))
    rays, weight, step = torch.tensor(rng.normal(size=(*SHAPE, 2))), torch.tensor(rng.uniform(0, 50, SHAPE)), 1e-6

    def values(zoom: float) -> Tensor:
        return terms.reprojection(points, rays * math.exp(-zoom), weight * math.exp(zoom)).value

    derivative = terms.reprojection_by_zoom(terms.reprojection(points, rays, weight), rays, weight)
    assert close(derivative, (values(step) - values(-step)) / (2 * step))


def test_a_point_behind_the_camera_is_pulled_to_its_ray_with_a_finite_force() -> None:
    points = torch.tensor([[[[0.5, 0.0, -3.0]]]], dtype=torch.float64)
    rows = terms.reprojection(points, torch.zeros(1, 1, 1, 2).double(), torch.ones(1, 1, 1).double())
    assert torch.isfinite(rows.value).all() and rows.by_point.abs().max() <= 1 / terms.MIN_DEPTH
    assert (rows.by_point[..., 2] == 0).all()


@given(seeds)
def test_positions(seed: int) -> None:
    rng, points = draw(seed)
    target, weight = torch.tensor(rng.normal(size=(*SHAPE, 3))), torch.tensor(rng.uniform(0, 9, SHAPE))
    check(lambda moved: terms.positions(moved, target, weight), points)


@given(seeds)
def test_directions(seed: int) -> None:
    rng, segments = draw(seed)
    direction = torch.nn.functional.normalize(torch.tensor(rng.normal(size=(*SHAPE, 3))), dim=-1)
    weight = torch.tensor(rng.uniform(0, 30, (*SHAPE, 3)))
    check(lambda moved: terms.directions(moved, direction, weight), segments + 0.05 * segments.sign())


def test_a_segment_in_its_direction_has_no_residual_whatever_its_length() -> None:
    segments = torch.tensor([[[[0.0, 0, 0.2], [0, 0, 3.0], [0, 0, 0]]]], dtype=torch.float64)
    direction = torch.tensor([0.0, 0, 1.0], dtype=torch.float64).expand(1, 1, 3, 3)
    rows = terms.directions(segments, direction, torch.ones(1, 1, 3, 3).double())
    assert torch.equal(rows.value, torch.zeros(1, 1, 3, 3).double()) and torch.isfinite(rows.by_point).all()


@given(seeds)
def test_contact(seed: int) -> None:
    rng, points = draw(seed)
    axes = torch.linalg.qr(torch.tensor(rng.normal(size=(3, 3))))[0]
    target, weight = torch.tensor(rng.normal(size=(*SHAPE, 3))), torch.tensor(rng.uniform(0, 9, (*SHAPE, 3)))
    check(lambda moved: terms.contact(moved, axes, target, weight), points)


@given(seeds, st.sampled_from([-1.0, 1.0]), st.floats(1e-5, 2.0))
def test_the_floor_on_both_sides_of_its_kink(seed: int, side: float, distance: float) -> None:
    """A point that lies ``distance`` above or below the level that it keeps."""
    rng, points = draw(seed)
    up = torch.nn.functional.normalize(torch.tensor(rng.normal(size=3)), dim=0)
    level, weight = torch.tensor(rng.normal(size=SHAPE[2])), torch.tensor(rng.uniform(0.1, 9, SHAPE[2]))
    points = points + (level + side * distance - points @ up)[..., None] * up
    check(lambda moved: terms.floor(moved, up, level, weight), points)
    rows = terms.floor(points, up, level, weight)
    expected = torch.zeros(SHAPE).double() if side > 0 else (-distance * weight).expand(SHAPE)
    assert torch.allclose(rows.value[..., 0], expected)
    assert bool((rows.by_point == 0).all()) == (side > 0)


@given(seeds, st.sampled_from([1, 2, 3]), st.floats(0.5, 8.0))
def test_the_robust_kernels_step_is_the_gradient_of_its_cost(seed: int, size: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    value = torch.tensor(rng.normal(0, 3, (2, 3, 4, size)), requires_grad=True)
    by_point = torch.tensor(rng.normal(size=(2, 3, 4, size, 3)))
    cost, rows = terms.robust(terms.Rows(value, by_point), scale)
    (gradient,) = torch.autograd.grad(cost.sum(), value)
    half = (rows.by_point.mT @ rows.value[..., None])[..., 0]
    assert torch.allclose(half, (by_point.mT @ gradient[..., None])[..., 0] / 2)


@given(seeds)
def test_without_a_scale_the_kernel_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = terms.Rows(torch.tensor(rng.normal(0, 9, (*SHAPE, 2))), torch.tensor(rng.normal(size=(*SHAPE, 2, 3))))
    cost, same = terms.robust(rows, math.inf)
    assert torch.allclose(cost, rows.value.square().sum(-1)) and torch.equal(same.value, rows.value)


def test_an_outlier_pulls_ever_less() -> None:
    by_point = torch.ones(1, 1, 3, dtype=torch.float64)
    pulls = []
    for error in (1.0, 10.0, 1000.0):
        cost, rows = terms.robust(terms.Rows(torch.tensor([[error]], dtype=torch.float64), by_point), 4.0)
        pulls.append(float(rows.value * rows.by_point[..., 0]))
        assert cost <= 16
    assert pulls[1] > pulls[2] and pulls[2] == pytest.approx(0, abs=1e-6)
