# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from random_network import random_network
from synthetic import moving_person
from video2rig.camera import Camera
from video2rig.human import default_human
from video2rig.keypoints import KEYPOINT_SETS, Keypoints
from video2rig.regression import Regression, RegressionError, Regressor, regressor
from video2rig.regression.features import FEATURES, turn_to
from video2rig.regression.network import save
from video2rig.regression.points import POINTS

SCENE = moving_person(np.random.default_rng(4), frames=60)
CAMERA, KEYPOINTS = SCENE.camera, SCENE.keypoints
HUMAN = default_human()


@pytest.fixture(scope="module")
def regress() -> Regressor:
    return Regressor(random_network(), with_alternatives=True)


def some(frames: slice, times: np.ndarray | None = None) -> Keypoints:
    """Some frames of the scene, at their own times or others."""
    own = KEYPOINTS.times[frames] if times is None else times
    return Keypoints(KEYPOINTS.set_name, KEYPOINTS.positions[frames], KEYPOINTS.confidence[frames], own)


def assert_same(one: Regression, other: Regression, tolerance: float = 1e-5) -> None:
    for field in ("rotation", "deviation", "alternatives"):
        assert np.allclose(getattr(one, field), getattr(other, field), atol=tolerance), field


def test_answers_are_rotations_that_the_body_can_make(regress: Regressor) -> None:
    found = regress.predict(KEYPOINTS, CAMERA)
    assert found.rotation.shape == (60, 22, 3, 3) and found.deviation.shape == (60, 22, 3)
    assert found.alternatives.shape == (60, 2, 22, 3, 3)
    for rotation in (found.rotation, found.alternatives):
        assert np.allclose(rotation @ rotation.swapaxes(-1, -2), np.eye(3), atol=1e-5)
        knee = Rotation.from_matrix(rotation[..., HUMAN.index("left_knee"), :, :].reshape(-1, 3, 3)).as_rotvec()
        low, high = HUMAN.rom[HUMAN.index("left_knee"), 0]
        assert (knee[:, 0] >= low - 1e-5).all() and (knee[:, 0] <= high + 1e-5).all()
        assert np.abs(knee[:, 1:]).max() < 1e-6
    assert (found.deviation > 0).all()
    assert np.array_equal(found.alternatives[:, :, 0], np.repeat(found.rotation[:, None, 0], 2, axis=1))


def test_windows_answer_as_one_piece_does(regress: Regressor, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = regress.predict(KEYPOINTS, CAMERA)
    for frames in (1, 7, 59, 60):
        monkeypatch.setattr(regressor, "_WINDOW", frames)
        assert_same(regress.predict(KEYPOINTS, CAMERA), whole)


def test_only_rays_count_not_pixels(regress: Regressor) -> None:
    larger = Camera(2 * CAMERA.width, 2 * CAMERA.height, 2 * CAMERA.focal, 2 * CAMERA.center, np.eye(3), np.zeros(3))
    twice = Keypoints(KEYPOINTS.set_name, 2 * KEYPOINTS.positions, KEYPOINTS.confidence, KEYPOINTS.times)
    assert_same(regress.predict(twice, larger), regress.predict(KEYPOINTS, CAMERA), tolerance=1e-4)


def test_the_answer_turns_with_the_camera() -> None:
    network = random_network()
    where = slice(3 * len(POINTS) + 1, 3 * len(POINTS) + 3)  # the one feature that tells where the person stands
    assert network.enter.weight.shape[1] == FEATURES
    network.enter.weight.data[:, where] = 0.0
    regress = Regressor(network)
    camera = Camera.from_field_of_view(1000, 1000, 1.0)
    rays = 0.01 * np.random.default_rng(1).normal(size=(1, len(KEYPOINT_SETS["coco_17"]), 2)).clip(-2, 2)
    turn = turn_to(regress._rest.new_tensor([0.3, -0.2])).double().numpy().T
    points = np.concatenate([rays, np.ones_like(rays[..., :1])], -1) @ turn.T
    ahead, aside = (
        regress.predict(
            Keypoints("coco_17", seen * camera.focal + camera.center, np.ones(seen.shape[:2]), np.zeros(1)), camera
        )
        for seen in (rays, points[..., :2] / points[..., 2:])
    )
    turned = HUMAN.rest_rotation[0].T @ turn @ HUMAN.rest_rotation[0] @ ahead.rotation[:, 0]
    assert np.allclose(aside.rotation[:, 0], turned, atol=0.05)
    assert np.abs(ahead.rotation[:, 0] - turned).max() > 0.2
    assert np.allclose(aside.rotation[:, 1:], ahead.rotation[:, 1:], atol=0.05)


def test_a_fast_video_is_read_as_several_of_the_networks_rate(regress: Regressor) -> None:
    fast = regress.predict(some(slice(None), np.arange(60) / 60), CAMERA)
    for phase in (0, 1):
        slow = regress.predict(some(slice(phase, None, 2), np.arange(30) / 30), CAMERA)
        assert np.allclose(fast.rotation[phase::2], slow.rotation, atol=1e-5)


def test_a_slow_video_is_read_with_frames_between(regress: Regressor) -> None:
    found = regress.predict(some(slice(None), np.arange(60) / 15), CAMERA)
    positions = np.empty((119, *KEYPOINTS.positions.shape[1:]))
    positions[::2] = KEYPOINTS.positions
    positions[1::2] = (KEYPOINTS.positions[:-1] + KEYPOINTS.positions[1:]) / 2
    confidence = np.empty((119, *KEYPOINTS.confidence.shape[1:]))
    confidence[::2] = KEYPOINTS.confidence
    confidence[1::2] = (KEYPOINTS.confidence[:-1] + KEYPOINTS.confidence[1:]) / 2
    between = Keypoints(KEYPOINTS.set_name, positions, confidence, np.arange(119) / 30)
    assert np.allclose(found.rotation, regress.predict(between, CAMERA).rotation[::2], atol=1e-5)


@pytest.mark.parametrize("rate", [3.0, 24.0, 25.0, 29.97, 50.0, 1000.0])
def test_every_rate_has_an_answer_for_every_frame(regress: Regressor, rate: float) -> None:
    for frames in (1, 2, 5, 40):
        found = regress.predict(some(slice(0, frames), np.arange(frames) / rate), CAMERA)
        assert len(found.rotation) == len(found.deviation) == len(found.alternatives) == frames
        assert np.isfinite(found.rotation).all()


def test_frames_may_come_when_they_like(regress: Regressor) -> None:
    times = np.cumsum(np.random.default_rng(2).uniform(0.025, 0.042, 60))
    times[30:] += 5.0  # out of the picture for a while
    assert np.isfinite(regress.predict(some(slice(None), times), CAMERA).rotation).all()


def test_what_is_not_seen_may_be_anything(regress: Regressor) -> None:
    confidence = KEYPOINTS.confidence.copy()
    confidence[10:40] = 0.0
    confidence[:, ::3] = 0.0
    hidden = np.where(confidence[..., None] > 0, KEYPOINTS.positions, np.nan)
    for positions in (hidden, np.where(confidence[..., None] > 0, KEYPOINTS.positions, -1e9)):
        found = regress.predict(Keypoints(KEYPOINTS.set_name, positions, confidence, KEYPOINTS.times), CAMERA)
        assert np.isfinite(found.rotation).all() and np.isfinite(found.deviation).all()
        assert_same(found, regress.predict(replace(KEYPOINTS, confidence=confidence), CAMERA))


def test_nobody_in_the_whole_clip_still_has_an_answer(regress: Regressor) -> None:
    nobody = replace(KEYPOINTS, confidence=np.zeros_like(KEYPOINTS.confidence))
    assert np.isfinite(regress.predict(nobody, CAMERA).rotation).all()


def test_a_child_is_answered_as_an_adult_of_its_proportions(regress: Regressor) -> None:
    child, adult = (regress.predict(KEYPOINTS, CAMERA, default_human(height=height)) for height in (1.0, 1.9))
    assert_same(child, adult)
    legs = np.array([1.3 if role.endswith(("knee", "ankle")) else 1.0 for role in HUMAN.roles])
    longer = HUMAN.scaled(legs, np.ones(22))
    assert np.abs(regress.predict(KEYPOINTS, CAMERA, longer).rotation - adult.rotation).max() > 1e-3


def test_no_frame_and_no_known_keypoint_are_refused(regress: Regressor, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RegressionError, match="no frame"):
        regress.predict(some(slice(0, 0)), CAMERA)
    monkeypatch.setitem(KEYPOINT_SETS, "mouths", ("left_mouth", "right_mouth"))
    mouths = Keypoints("mouths", np.ones((3, 2, 2)), np.ones((3, 2)), np.arange(3.0))
    with pytest.raises(RegressionError, match="mouths"):
        regress.predict(mouths, CAMERA)


def test_a_regressor_is_read_from_its_weights(regress: Regressor, tmp_path: Path) -> None:
    save(random_network(), tmp_path / "weights.safetensors")
    read = Regressor.load(tmp_path / "weights.safetensors", with_alternatives=True)
    assert_same(read.predict(KEYPOINTS, CAMERA), regress.predict(KEYPOINTS, CAMERA))
