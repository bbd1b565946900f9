# SPDX-License-Identifier: GPL-3.0-or-later
"""Of several answers for a limb, the one that fits the picture and the frames around it."""

from __future__ import annotations

import numpy as np
import roma
import torch

from synthetic import moving_person
from video2rig.human import default_human
from video2rig.regression import Regression
from video2rig.regression.hypotheses import most_plausible

SCENE = moving_person(np.random.default_rng(2), frames=30)
HUMAN = default_human()
ARM = [HUMAN.index(f"left_{role}") for role in ("shoulder", "elbow", "wrist")]


def truth() -> np.ndarray:
    """The scene's local rotations [T, J, 3, 3]."""
    model = SCENE.model
    rotation = model.chain.local_rotations(model.full_angles(SCENE.pose.angles)).clone()
    rotation[:, 0] = model.chain.rest_rotation[0].T @ SCENE.pose.root_rotation
    return rotation.numpy()


def with_arm_turned(rotation: np.ndarray, angle: float, frames: slice = slice(None)) -> np.ndarray:
    turned = rotation.copy()
    turned[frames, ARM[0]] @= roma.rotvec_to_rotmat(torch.tensor([angle, 0.0, 0.0])).double().numpy()
    return turned


def said(prediction: np.ndarray, other: np.ndarray) -> Regression:
    return Regression(HUMAN, prediction, np.full((*prediction.shape[:2], 3), 0.2), other[:, None])


def test_the_answer_that_projects_onto_the_keypoints_is_taken() -> None:
    true, wrong = truth(), with_arm_turned(truth(), 1.0)
    for regression in (said(wrong, true), said(true, wrong)):
        found = most_plausible(regression, SCENE.keypoints, SCENE.camera, HUMAN)
        np.testing.assert_allclose(found.rotation, true)


def test_an_arm_that_nobody_sees_goes_on_as_it_went() -> None:
    true = truth()
    hidden = SCENE.keypoints.confidence.copy()
    names = SCENE.keypoints.names
    hidden[10:20, [k for k, n in enumerate(names) if n.startswith("left") and n[5:] in ("elbow", "wrist", "thumb")]] = 0
    hidden[10:20, [names.index(f"left_{part}") for part in ("pinky", "index")]] = 0
    keypoints = type(SCENE.keypoints)(
        SCENE.keypoints.set_name, SCENE.keypoints.positions, hidden, SCENE.keypoints.times
    )
    jumping = with_arm_turned(true, 2.0, slice(10, 20))
    other = with_arm_turned(with_arm_turned(true, 2.0), -2.0, slice(10, 20))
    found = most_plausible(said(jumping, other), keypoints, SCENE.camera, HUMAN)
    np.testing.assert_allclose(found.rotation, true, atol=1e-6)


def test_limbs_are_chosen_each_by_itself_and_nothing_else_changes() -> None:
    true = truth()
    wrong = with_arm_turned(true, 1.0)
    other = true.copy()
    other[:, [HUMAN.index("neck"), HUMAN.index("right_hip")]] = np.eye(3)
    found = most_plausible(said(wrong, other), SCENE.keypoints, SCENE.camera, HUMAN).rotation
    np.testing.assert_allclose(found, true)


def test_nobody_seen_leaves_the_prediction() -> None:
    true = truth()
    nobody = type(SCENE.keypoints)(
        SCENE.keypoints.set_name,
        np.full_like(SCENE.keypoints.positions, np.nan),
        np.zeros_like(SCENE.keypoints.confidence),
        SCENE.keypoints.times,
    )
    found = most_plausible(said(true, with_arm_turned(true, 1.0)), nobody, SCENE.camera, None)
    np.testing.assert_allclose(found.rotation, true)
