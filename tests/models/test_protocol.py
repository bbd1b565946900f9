# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import numpy as np
import pytest

from models.kinematic_regressor.evaluate import placed, predicted, score
from models.kinematic_regressor.protocol import WIDTH, sequences
from random_network import random_network
from small_clips import small_clips
from video2rig.keypoints import KEYPOINT_SETS, has_site
from video2rig.regression import Regressor

CLIPS = small_clips(lengths=(50, 20, 300))
TESTS = sequences(CLIPS, seed=11)


def test_every_frame_of_a_clip_is_tested_but_for_short_rests() -> None:
    assert [len(test.rotation) for test in TESTS] == [50, 128, 128, 44]
    assert [test.name for test in TESTS] == ["clip 0", "clip 2", "clip 2", "clip 2"]
    assert len(sequences(CLIPS, seed=11, per_window=3)) == 12


def test_the_same_seed_draws_the_same_test() -> None:
    for one, other in zip(TESTS, sequences(CLIPS, seed=11), strict=True):
        assert np.array_equal(one.keypoints.positions, other.keypoints.positions)
        assert np.array_equal(one.rotation, other.rotation) and one.camera.focal == other.camera.focal
        assert np.array_equal(one.body.offset, other.body.offset)
    different = sequences(CLIPS, seed=12)
    assert all(one.camera.focal != other.camera.focal for one, other in zip(TESTS, different, strict=True))


@pytest.mark.parametrize("keypoint_set", [name for name, points in KEYPOINT_SETS.items() if all(map(has_site, points))])
def test_without_noise_keypoints_are_the_pictures_of_the_joints(keypoint_set: str) -> None:
    names = KEYPOINT_SETS[keypoint_set]
    for test in sequences(CLIPS, seed=1, noise=0.0, keypoint_set=keypoint_set):
        assert test.joints[..., 2].min() > 0.3
        for role in ("left_wrist", "right_ankle"):
            joint = test.joints[:, test.body.index(role)]
            pixels = test.camera.focal * joint[:, :2] / joint[:, 2:] + test.camera.center
            off = np.linalg.norm(test.keypoints.positions[:, names.index(role)] - pixels, axis=-1)
            assert (off < 0.06 * test.camera.focal / joint[:, 2]).all()  # within 6 cm
        positions = test.keypoints.positions
        assert positions.min() > -1 and positions.max() < WIDTH + 1
        assert np.radians(29.9) < 2 * np.arctan(WIDTH / 2 / test.camera.focal) < np.radians(160)


def test_noise_is_5_pixels_in_each_axis() -> None:
    jitter = np.concatenate([np.diff(test.keypoints.positions, n=3, axis=0).reshape(-1) for test in TESTS])
    still = np.concatenate(
        [np.diff(test.keypoints.positions, n=3, axis=0).reshape(-1) for test in sequences(CLIPS, seed=11, noise=0.0)]
    )
    assert np.sqrt((jitter.var() - still.var()) / 20) == pytest.approx(5.0, rel=0.1)  # 1 + 9 + 9 + 1


def test_the_truth_is_consistent_and_scores_0() -> None:
    tests = sequences(CLIPS, seed=2)
    for test in tests:
        again = placed(test.body, test.rotation) + test.joints[:, :1]
        assert np.abs(again - test.joints).max() < 1e-6
    table = score(tests, [test.rotation for test in tests], [test.joints for test in tests])
    assert table.keys() > {"MPJPE", "PA-MPJPE", "MPJAS", "twist of the hip"}
    for name, value in table.items():
        assert value == pytest.approx(0.0, abs=1e-3), name


def test_bodies_differ_in_size_and_proportions() -> None:
    tests = sequences(CLIPS, seed=3, per_window=20)
    stature = np.log([test.body.offset[1:].__abs__().sum() for test in tests])
    assert 0.02 < stature.std() < 0.1
    shin, thigh = (
        np.log([np.linalg.norm(test.body.offset[test.body.index(role)]) for test in tests])
        for role in ("left_ankle", "left_knee")
    )
    assert 0.03 < (shin - thigh).std() < 0.12


def test_what_is_unknown_is_not_told() -> None:
    regressor = Regressor(random_network())
    test = TESTS[0]
    known, camera = predicted(regressor, test)
    unknown, guess = predicted(regressor, test, known=False)
    assert camera.focal == test.camera.focal
    assert 2 * np.arctan(WIDTH / 2 / guess.focal) == pytest.approx(np.radians(55))
    assert np.abs(known.rotation - unknown.rotation).max() > 1e-3
