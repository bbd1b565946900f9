# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from torch import Tensor

from strategies import seeds
from video2rig.regression.features import FEATURES, features, turn_to
from video2rig.regression.points import POINTS
from video2rig.regression.proportions import SEGMENTS

SHAPE = slice(0, 2 * len(POINTS))

tangents = st.one_of(st.floats(-3, 3), st.floats(-1e-7, 1e-7), st.floats(-1e4, 1e4))


def read(rays: Tensor, confidence: Tensor, known: float = 1.0) -> tuple[Tensor, Tensor]:
    """Features and turns of one clip; the proportions are told as 0.1 each."""
    proportions = torch.full((1, len(SEGMENTS)), 0.1)
    told, turn = features(rays[None], confidence[None], proportions, torch.tensor([known]), torch.tensor([known]))
    return told[0], turn[0]


def person(seed: int, frames: int = 3, size: float = 0.1) -> Tensor:
    """Rays [T, P, 2] to a person in the middle of the picture."""
    generator = torch.Generator().manual_seed(seed)
    return size * torch.randn(frames, len(POINTS), 2, generator=generator).clamp(-2, 2)


def through(turn: Tensor, rays: Tensor) -> Tensor:
    """The same points through a camera that was turned about its centre."""
    points = torch.cat([rays, torch.ones_like(rays[..., :1])], -1) @ turn.T
    return points[..., :2] / points[..., 2:]


@given(tangents, tangents)
def test_turn_to_is_the_smallest_rotation_that_takes_a_ray_to_the_axis(x: float, y: float) -> None:
    turn = turn_to(torch.tensor([x, y], dtype=torch.float64)).numpy()
    ray = np.array([x, y, 1.0]) / np.linalg.norm([x, y, 1.0])
    assert np.allclose(turn @ ray, [0, 0, 1], atol=1e-12)
    assert np.allclose(turn @ turn.T, np.eye(3), atol=1e-12) and np.linalg.det(turn) > 0
    assert Rotation.from_matrix(turn).magnitude() == pytest.approx(np.arctan(np.hypot(x, y)), abs=1e-7)


@given(seeds, st.floats(-1, 1), st.floats(-1, 1))
def test_a_person_looks_the_same_wherever_the_camera_has_turned(seed: int, x: float, y: float) -> None:
    rays = person(seed, size=0.01)
    seen = torch.ones(rays.shape[:2])
    ahead, _ = read(rays, seen)
    aside, _ = read(through(turn_to(torch.tensor([x, y])).T, rays), seen)
    # what is left is of second order: the middle of turned points is not quite the turned middle
    assert torch.allclose(aside[:, SHAPE], ahead[:, SHAPE], atol=0.08)


def test_a_camera_that_is_turned_to_the_person_is_what_the_turn_says() -> None:
    rays = person(1) + torch.tensor([0.8, -0.4])
    told, turn = read(rays, torch.ones(rays.shape[:2]))
    size = (told[:, 3 * len(POINTS)] - 2).exp()
    for frame in range(len(rays)):
        assert torch.allclose(
            told[frame, SHAPE].reshape(-1, 2) * size[frame], through(turn[frame], rays[frame]), atol=1e-5
        )


@given(seeds)
def test_what_is_not_seen_is_not_read(seed: int) -> None:
    rays = person(seed, frames=4)
    confidence = torch.rand(rays.shape[:2], generator=torch.Generator().manual_seed(seed))
    confidence[torch.rand(confidence.shape, generator=torch.Generator().manual_seed(seed + 1)) < 0.4] = 0.0
    confidence[3] = 0.0
    lost = torch.where(confidence[..., None] > 0, rays, torch.nan)
    for one, other in zip(read(rays, confidence), read(lost, confidence), strict=True):
        assert torch.equal(one, other) and one.isfinite().all()


def test_nobody_in_a_frame_leaves_the_camera_where_it_is() -> None:
    told, turn = read(torch.full((2, len(POINTS), 2), torch.nan), torch.zeros(2, len(POINTS)))
    assert torch.equal(turn, torch.eye(3).expand(2, 3, 3)) and told.isfinite().all()


def test_proportions_are_read_only_where_they_are_known() -> None:
    rays = person(2)
    seen = torch.ones(rays.shape[:2])
    known, unknown = (read(rays, seen, known)[0] for known in (1.0, 0.0))
    assert known.shape == (3, FEATURES)
    assert torch.allclose(known[:, -12:], torch.tensor([0.8] * 10 + [1.0, 1.0])) and (unknown[:, -12:] == 0).all()
    assert torch.equal(known[:, :-12], unknown[:, :-12])


def test_a_point_gone_astray_is_held_back() -> None:
    rays = person(3)
    rays[:, 0] = 1e6
    seen = torch.ones(rays.shape[:2])
    seen[:, 0] = 0.02
    told, _ = read(rays, seen)
    assert told.abs().max() <= 6.0
