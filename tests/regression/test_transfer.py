# SPDX-License-Identifier: GPL-3.0-or-later
"""What the regression says of the default human, said of other skeletons."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from hypothesis import given
from scipy.spatial.transform import Rotation

from strategies import seeds
from video2rig.human import default_human
from video2rig.ik import BodyModel, Pose
from video2rig.ik.start import pose_of_rotations
from video2rig.ik.terms import prior_rotations
from video2rig.keypoints import KEYPOINT_SETS
from video2rig.kinematics import KinematicChain
from video2rig.paper_human import paper_human
from video2rig.regression import Regression, rotation_prior
from video2rig.skeleton import Skeleton

HUMAN = default_human()
FRAMES = 3


def something_said(rng: np.random.Generator) -> Regression:
    """A regression that says any pose inside the range of motion, before any camera."""
    angles = torch.tensor(rng.uniform(HUMAN.rom[..., 0], HUMAN.rom[..., 1], (FRAMES, *HUMAN.rom.shape[:2])))
    rotation = KinematicChain(HUMAN).local_rotations(angles).numpy()
    rotation[:, 0] = Rotation.random(FRAMES, rng=rng).as_matrix()
    deviation = rng.uniform(0.05, 0.5, (FRAMES, len(HUMAN), 3))
    return Regression(HUMAN, rotation, deviation, rotation[:, None])


def joints_of(skeleton: Skeleton, rotation: np.ndarray) -> np.ndarray:
    """Joints [T, J, 3] of local rotations, the root's its orientation."""
    local = torch.tensor(rotation)
    local[:, 0] = torch.tensor(skeleton.rest_rotation[0]).T @ local[:, 0]
    return KinematicChain(skeleton).forward(local, torch.zeros(len(local), 3, dtype=local.dtype))[0].numpy()


def with_other_axes(skeleton: Skeleton, rng: np.random.Generator) -> Skeleton:
    """The same body at rest with other names and other axes of its bones."""
    turn = Rotation.random(len(skeleton), rng=rng).as_matrix()
    before = [np.eye(3) if parent < 0 else turn[parent] for parent in skeleton.parents]
    return dataclasses.replace(
        skeleton,
        names=tuple(f"bone {joint}" for joint in range(len(skeleton))),
        rest_rotation=np.stack([b.T @ r @ t for b, r, t in zip(before, skeleton.rest_rotation, turn, strict=True)]),
        offset=np.stack([b.T @ o for b, o in zip(before, skeleton.offset, strict=True)]),
    )


def in_another_rest_pose(skeleton: Skeleton, rng: np.random.Generator) -> Skeleton:
    """The same body with arms, legs and neck elsewhere at rest, and facing elsewhere."""
    rest = skeleton.rest_rotation.copy()
    for role in ("left_shoulder", "right_shoulder", "left_elbow", "right_hip", "left_knee", "neck"):
        # none of these turns about the bone
        rest[skeleton.index(role)] @= Rotation.from_rotvec(rng.uniform(-0.6, 0.6) * np.array([0.8, 0, 0.6])).as_matrix()
    rest[0] = Rotation.from_euler("z", rng.uniform(-3, 3)).as_matrix() @ rest[0]
    return dataclasses.replace(skeleton, rest_rotation=rest)


@given(seeds)
def test_a_body_with_other_axes_stands_as_the_human_was_said_to(seed: int) -> None:
    rng = np.random.default_rng(seed)
    said = something_said(rng)
    expected = said.rotation.copy()
    expected[:, 0] = HUMAN.rest_rotation[0] @ expected[:, 0]
    for skeleton in (HUMAN, with_other_axes(HUMAN, rng)):
        found = rotation_prior(said, skeleton)
        np.testing.assert_allclose(joints_of(skeleton, found.rotation), joints_of(HUMAN, expected), atol=1e-9)


def test_a_body_that_rests_otherwise_stands_as_the_human_was_said_to() -> None:
    rng = np.random.default_rng(3)
    said = something_said(rng)
    expected = said.rotation.copy()
    expected[:, 0] = HUMAN.rest_rotation[0] @ expected[:, 0]
    truth = joints_of(HUMAN, expected)
    skeleton = in_another_rest_pose(HUMAN, rng)
    found = joints_of(skeleton, rotation_prior(said, skeleton).rotation)
    # how legs and arms rest does not matter; what is level at rest, they share
    limbs = [
        HUMAN.index(f"{side}_{role}") for side in ("left", "right") for role in ("elbow", "wrist", "knee", "ankle")
    ]
    above = [HUMAN.parents[joint] for joint in limbs]
    np.testing.assert_allclose(found[:, limbs] - found[:, above], truth[:, limbs] - truth[:, above], atol=0.02)


@given(seeds)
def test_an_error_costs_what_its_deviation_says_on_any_axes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    said = something_said(rng)
    error = 1e-3 * rng.normal(size=said.deviation.shape)
    true = dataclasses.replace(
        said,
        rotation=said.rotation @ Rotation.from_rotvec(error.reshape(-1, 3)).as_matrix().reshape(said.rotation.shape),
    )
    costs = []
    for skeleton in (HUMAN, with_other_axes(HUMAN, rng)):
        prior, truth = rotation_prior(said, skeleton), rotation_prior(true, skeleton)
        wrong = truth.rotation @ np.swapaxes(prior.rotation, -1, -2)
        vector = Rotation.from_matrix(wrong.reshape(-1, 3, 3)).as_rotvec().reshape(error.shape)
        costs.append(np.square((prior.whitening @ vector[..., None])[..., 0]).sum(-1))
    expected = np.square(error / said.deviation).sum(-1)
    share = costs[0] / expected
    np.testing.assert_allclose(share, share.mean(), rtol=1e-2)  # neighbouring frames count for less than one
    assert 0.01 < share.mean() <= 1
    np.testing.assert_allclose(costs[1], costs[0], rtol=1e-2)


def test_what_a_skeleton_lacks_is_not_told_and_what_it_has_is() -> None:
    said = something_said(np.random.default_rng(5))
    skeleton = paper_human()
    prior = rotation_prior(said, skeleton)
    free = skeleton.free_axes().any(axis=1)
    assert not prior.whitening[:, ~free].any()
    assert (np.abs(np.linalg.det(prior.whitening[:, free])) > 0).all()
    nameless = dataclasses.replace(HUMAN, roles=("",) * len(HUMAN))
    assert not rotation_prior(said, nameless).whitening.any()


@given(seeds)
def test_the_solver_begins_where_the_regression_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = BodyModel.for_keypoints(HUMAN, KEYPOINT_SETS["blazepose_33"])
    prior = rotation_prior(something_said(rng), HUMAN)
    rotation, whitening = torch.tensor(prior.rotation), torch.tensor(prior.whitening)
    pose: Pose = pose_of_rotations(model, rotation)
    assert ((pose.angles >= model.lower) & (pose.angles <= model.upper)).all()
    np.testing.assert_allclose(prior_rotations(model, pose, rotation, whitening).value, 0.0, atol=1e-5)
