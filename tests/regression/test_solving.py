# SPDX-License-Identifier: GPL-3.0-or-later
"""Inverse kinematics that begins from a regression, on what people really film."""

from __future__ import annotations

import numpy as np
import pytest

from random_network import random_network
from synthetic import NAMES, moving_person
from video2rig.keypoints import Keypoints
from video2rig.regression import RegressionError, Regressor, points
from video2rig.settings import Settings
from video2rig.solving import solve_keypoints
from video2rig.take import Take

SCENE = moving_person(np.random.default_rng(8), frames=45)
FACTS = {"name": "clip.mp4", "width": 1280, "height": 720, "fps": 30.0}
LEGS = [k for k, name in enumerate(NAMES) if name.endswith(("knee", "ankle", "heel", "toe"))]


@pytest.fixture(scope="module")
def regressor() -> Regressor:
    """A network that knows nothing: solutions need not be good, but sound."""
    return Regressor(random_network())


def solve(regressor: Regressor, keypoints: Keypoints) -> Take:
    settings = Settings(field_of_view=1.0, contacts="off")
    return solve_keypoints(keypoints, settings, FACTS, {}, regressor=regressor)


def changed(hidden: np.ndarray | None = None, moved: float = 0.0, frames: slice = slice(None)) -> Keypoints:
    """The scene's keypoints, some of them unseen [T, K], all of them moved, pixels."""
    own = SCENE.keypoints
    confidence = own.confidence if hidden is None else np.where(hidden, 0.0, own.confidence)
    return Keypoints(own.set_name, own.positions[frames] + moved, confidence[frames], own.times[frames])


def check(take: Take, frames: int) -> None:
    """Every number is one, and no joint leaves its range of motion."""
    assert len(take.motion) == frames
    for array in (take.motion.rotations, take.motion.root_position, take.motion.confidence):
        assert np.isfinite(array).all()
    np.testing.assert_allclose(np.linalg.norm(take.motion.rotations, axis=-1), 1.0, atol=1e-9)


def test_one_frame_has_a_pose(regressor: Regressor) -> None:
    check(solve(regressor, changed(frames=slice(7, 8))), 1)


def test_who_leaves_and_comes_back_is_not_trusted_between(regressor: Regressor) -> None:
    hidden = np.zeros((45, len(NAMES)), dtype=bool)
    hidden[10:35] = True
    take = solve(regressor, changed(hidden))
    check(take, 45)
    assert not take.motion.confidence[10:35].any()
    assert (take.motion.confidence[:10, 0] > 0).all() and (take.motion.confidence[35:, 0] > 0).all()


def test_only_an_upper_body_moves_above_legs_that_are_not_trusted(regressor: Regressor) -> None:
    hidden = np.zeros((45, len(NAMES)), dtype=bool)
    hidden[:, LEGS] = True
    take = solve(regressor, changed(hidden))
    check(take, 45)
    skeleton = take.motion.skeleton
    assert not take.motion.confidence[:, [skeleton.index(f"{side}_ankle") for side in ("left", "right")]].any()
    assert (take.motion.confidence[:, skeleton.index("left_elbow")] > 0).all()


def test_keypoints_outside_the_picture_are_solved_too(regressor: Regressor) -> None:
    check(solve(regressor, changed(moved=900.0)), 45)


def test_an_unknown_keypoint_set_is_refused(regressor: Regressor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points, "POINTS", ())
    with pytest.raises(RegressionError, match="blazepose_33"):
        solve(regressor, changed())
