# SPDX-License-Identifier: GPL-3.0-or-later
"""A person's mirror image moves as the person does, mirrored."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from random_network import random_network
from synthetic import moving_person
from video2rig.human import default_human
from video2rig.keypoints import sites
from video2rig.kinematics import KinematicChain
from video2rig.regression import Regression, Regressor
from video2rig.regression.mirror import mirror_image, mirrored, predict_symmetrically

SCENE = moving_person(np.random.default_rng(6), frames=12)
HUMAN = default_human()


def truth() -> tuple[Regression, np.ndarray]:
    """What a perfect regression says of the scene, and where the root is [T, 3]."""
    model, pose = SCENE.model, SCENE.pose
    rotation = model.chain.local_rotations(model.full_angles(pose.angles)).clone()
    rotation[:, 0] = model.chain.rest_rotation[0].T @ pose.root_rotation
    deviation = np.random.default_rng(0).uniform(0.1, 0.5, (12, 22, 3))
    return Regression(HUMAN, rotation.numpy(), deviation, rotation.numpy()[:, None]), pose.root_position.numpy()


def assert_same(one: Regression, other: Regression) -> None:
    for field in ("rotation", "deviation"):
        np.testing.assert_allclose(getattr(one, field), getattr(other, field), atol=1e-5)


def test_the_mirrored_body_projects_onto_the_mirror_image() -> None:
    regression, root = truth()
    joint, offset = sites(HUMAN, SCENE.keypoints.names)
    local = torch.tensor(mirrored(regression).rotation)
    places, turned = KinematicChain(HUMAN).forward(local, torch.tensor(root * [-1, 1, 1]))
    points = places[:, joint] + (turned[:, joint] @ torch.tensor(offset)[..., None])[..., 0]
    image = mirror_image(SCENE.keypoints, SCENE.camera)
    pixels = (points[..., :2] / points[..., 2:]).numpy() * SCENE.camera.focal + SCENE.camera.center
    np.testing.assert_allclose(pixels, image.positions, atol=1e-6)


def test_mirrored_twice_is_as_it_was() -> None:
    regression, _ = truth()
    assert_same(mirrored(mirrored(regression)), regression)
    twice = mirror_image(mirror_image(SCENE.keypoints, SCENE.camera), SCENE.camera)
    np.testing.assert_allclose(twice.positions, SCENE.keypoints.positions, atol=1e-9)


def test_the_mirror_image_is_answered_by_the_mirrored_answer() -> None:
    regressor = Regressor(random_network())
    known = (SCENE.camera, None, True)
    one = predict_symmetrically(regressor, SCENE.keypoints, *known)
    other = predict_symmetrically(regressor, mirror_image(SCENE.keypoints, SCENE.camera), *known)
    assert_same(mirrored(other), one)
    alone = regressor.predict(SCENE.keypoints, SCENE.camera)
    apart = np.swapaxes(alone.rotation, -1, -2) @ one.rotation
    assert Rotation.from_matrix(apart.reshape(-1, 3, 3)).magnitude().max() > 1e-3
