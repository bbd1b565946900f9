# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import numpy as np
import torch
from hypothesis import given

from models.kinematic_regressor.cameras import Range, film
from models.kinematic_regressor.chance import Random
from strategies import seeds


def walk(seed: int, clips: int = 30, frames: int = 40) -> torch.Tensor:
    """Paths [B, T, 3] of people who wander a metre or two."""
    draw = Random(seed)
    return 0.03 * draw.normal(clips, frames, 3).cumsum(1) + torch.tensor([5.0, -3.0, 0.95])


def centres(rotation: torch.Tensor, seen: torch.Tensor, path: torch.Tensor) -> np.ndarray:
    """Where the cameras stand, [B, T, 3]."""
    return (path - (rotation.mT @ seen[..., None])[..., 0]).numpy()


@given(seeds)
def test_cameras_are_rotations_that_see_the_person_before_them(seed: int) -> None:
    rotation, seen = film(walk(seed), Random(seed), Range())
    assert torch.allclose(rotation @ rotation.mT, torch.eye(3).expand_as(rotation), atol=1e-5)
    assert (torch.linalg.det(rotation) > 0).all()
    assert seen[..., 2].min() > 1.0
    assert (seen[..., 1] / seen[..., 2]).abs().max() < 1.0


@given(seeds)
def test_a_steady_camera_stands_still_and_a_moving_one_does_not(seed: int) -> None:
    path = walk(seed)
    steady_rotation, steady_seen = film(path, Random(seed), Range(moving=0.0))
    assert torch.equal(steady_rotation, steady_rotation[:, :1].expand_as(steady_rotation))
    where = centres(steady_rotation, steady_seen, path)
    assert np.abs(where - where[:, :1]).max() < 1e-4
    moving_rotation, _ = film(path, Random(seed), Range(moving=1.0))
    assert ((moving_rotation - moving_rotation[:, :1]).abs().amax((1, 2, 3)) > 1e-4).all()


def test_cameras_stand_all_around_at_the_heights_and_distances_asked_for() -> None:
    path = walk(0, clips=2000)
    rotation, seen = film(path, Random(1), Range(moving=0.0))
    away = centres(rotation, seen, path)[:, 0] - path.mean(1).numpy()
    azimuth = np.histogram(np.arctan2(away[:, 1], away[:, 0]), bins=8, range=(-np.pi, np.pi))[0]
    assert azimuth.min() > 180
    distance = np.linalg.norm(away, axis=-1)
    elevation = np.degrees(np.arcsin(away[:, 2] / distance))
    assert elevation.min() > -15.1 and elevation.max() < 40.1 and np.ptp(elevation) > 50
    assert distance.min() > 1.7 and distance.max() < 8.1 and np.ptp(distance) > 5
    up = -rotation[:, 0, 1, 2]  # how far the picture's upward direction is the world's
    assert up.min() > 0.5


def test_a_camera_keeps_clear_of_who_walks_towards_it() -> None:
    path = torch.zeros(50, 60, 3)
    path[..., 1] = torch.linspace(-4, 4, 60)
    _, seen = film(path, Random(3), Range(distance=(1.8, 2.0)))
    assert seen[..., 2].min() > 0.3
