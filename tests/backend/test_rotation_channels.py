# SPDX-License-Identifier: GPL-3.0-or-later
"""Euler angles, axis and angle over time: the same rotations, without jumps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from video2rig.motion import hemisphere_continuous
from video2rig.rotation_channels import axis_angle_curves, euler_curves
from video2rig.skeleton import EULER_ORDERS

seeds = st.integers(0, 2**32 - 1)


def turning(rng: np.random.Generator, frames: int = 400) -> np.ndarray:
    """Return [T, 4] quaternions wxyz of a rotation that wanders by at most a few degrees a frame."""
    speed = np.cumsum(rng.normal(0, 0.01, (frames, 3)), axis=0)
    speed *= np.minimum(1.0, 0.06 / np.linalg.norm(speed, axis=1, keepdims=True))
    turned = [Rotation.random(rng=rng)]
    for step in speed[1:]:
        turned.append(Rotation.from_rotvec(step) * turned[-1])
    return hemisphere_continuous(np.roll(Rotation.concatenate(turned).as_quat(), 1, axis=-1))


def nearest_triples(quaternions: np.ndarray, order: str) -> np.ndarray:
    """Return [T, 3] angles about x, y, z, each frame's of all equal ones the nearest to the frame before."""
    columns = ["XYZ".index(axis) for axis in order]
    result = np.empty((len(quaternions), 3))
    for frame, quaternion in enumerate(np.roll(quaternions, -1, axis=-1)):
        a, b, c = Rotation.from_quat(quaternion).as_euler(order.lower())
        triples = [np.array([a, b, c]), np.array([a + np.pi, np.pi - b, c + np.pi])]
        if frame == 0:
            wrapped = [(t + np.pi) % (2 * np.pi) - np.pi for t in triples]
            best = min(wrapped, key=lambda t: np.abs(t).sum())
        else:
            before = result[frame - 1, columns]
            turned = [t + 2 * np.pi * np.round((before - t) / (2 * np.pi)) for t in triples]
            best = min(turned, key=lambda t: np.abs(t - before).sum())
        result[frame, columns] = best
    return result


@pytest.mark.parametrize("order", EULER_ORDERS)
@given(seed=seeds)
@settings(max_examples=15, deadline=None)
def test_euler_angles_are_the_nearest_of_all_that_make_the_rotation(order: str, seed: int) -> None:
    quaternions = turning(np.random.default_rng(seed))
    found = euler_curves(quaternions, order)
    columns = ["XYZ".index(axis) for axis in order]
    made = np.roll(Rotation.from_euler(order.lower(), found[:, columns]).as_quat(), 1, axis=-1)
    assert np.abs(np.abs((made * quaternions).sum(-1)) - 1).max() < 1e-9
    assert np.abs(found - nearest_triples(quaternions, order)).max() < 1e-6


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_axis_and_angle_are_continuous_through_rest_and_beyond_half_a_turn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    # a door: it swings through rest, rests there for a while, and turns round twice
    angle = np.concatenate(
        [np.linspace(0.8, -0.9, 60), np.linspace(-0.9, 0, 20), np.zeros(10), np.linspace(0, 13, 300)]
    )
    door = np.roll(Rotation.from_rotvec(angle[:, None] * axis).as_quat(), 1, axis=-1)
    for quaternions in (hemisphere_continuous(door), turning(rng)):
        found = axis_angle_curves(quaternions)
        made = np.roll(Rotation.from_rotvec(found[:, :1] * found[:, 1:]).as_quat(), 1, axis=-1)
        assert np.abs(np.abs((made * quaternions).sum(-1)) - 1).max() < 1e-9
        assert np.abs(np.linalg.norm(found[:, 1:], axis=1) - 1).max() < 1e-9
        assert ((found[1:, 1:] * found[:-1, 1:]).sum(-1) > -1e-9).all()
    found = axis_angle_curves(hemisphere_continuous(door))
    assert np.abs(found[:, 1:] - axis).max() < 1e-5 and np.abs(found[:, 0] - angle).max() < 1e-6


def test_no_rotation_has_any_axis() -> None:
    assert axis_angle_curves(np.tile([1.0, 0, 0, 0], (3, 1))).tolist() == [[0, 0, 1, 0]] * 3
