# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import seeds
from video2rig.camera import Camera
from video2rig.ground import estimate_up, place_camera, up_of_tilt

angles = st.floats(-0.6, 0.6)


@given(angles)
def test_an_upright_person_tells_most_of_the_tilt(tilt: float) -> None:
    up = up_of_tilt(tilt)
    feet = np.array([0.1, 0.8, 4.0]) + np.zeros((10, 3))
    found = estimate_up(feet + 1.4 * up, feet)
    assert np.linalg.norm(found) == pytest.approx(1)
    assert np.arccos(np.clip(found @ up, -1, 1)) <= 0.2 * abs(tilt) + 1e-6


@given(seeds, angles)
def test_the_world_stands_on_its_floor_under_the_camera(seed: int, tilt: float) -> None:
    rng = np.random.default_rng(seed)
    feet, root = rng.normal(size=(30, 4, 3)) + [0, 1, 5], rng.normal(size=(30, 3)) + [0, 0, 5]
    camera = place_camera(Camera.from_field_of_view(640, 480, 1.0), up_of_tilt(tilt), feet, np.full(4, 0.02), root)
    assert np.allclose(camera.rotation @ camera.rotation.T, np.eye(3)) and np.linalg.det(camera.rotation) > 0
    world = (feet - camera.translation) @ camera.rotation
    assert np.quantile(world[..., 2].min(axis=1), 0.1) == pytest.approx(0.02)
    assert np.allclose(((root[0] - camera.translation) @ camera.rotation)[:2], 0)
    assert camera.rotation[2, 1] > 0  # looks along +Y
    assert camera.rotation[0, 2] == pytest.approx(0)  # level
    assert np.allclose(camera.rotation @ world[3, 2] + camera.translation, feet[3, 2])
