# SPDX-License-Identifier: GPL-3.0-or-later
"""Points on a body and their derivatives; bodies are the default human and any small tree."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from derivatives import by_numbers, by_unknowns, close
from strategies import bodies, seeds
from synthetic import NAMES, random_pose
from video2rig.human import default_human
from video2rig.ik.model import BodyModel, skew
from video2rig.keypoints import sites
from video2rig.skeleton import Skeleton

HUMAN = BodyModel.for_keypoints(default_human(), NAMES, np.array([[11, 13], [0, 28], [23, 24]]))


def single_joint(roles: str = "pelvis") -> Skeleton:
    turn = np.eye(3)[None]
    return Skeleton(("only",), (-1,), (roles,), turn, np.zeros((1, 3)), np.ones(1), ("XYZ",), np.zeros((1, 3, 2)))


def locked_human() -> BodyModel:
    human = dataclasses.replace(default_human(), rom=np.zeros((22, 3, 2)))
    return BodyModel.for_keypoints(human, NAMES, np.array([[11, 13]]))


def single_points() -> BodyModel:
    place = np.array([[0.0, 0, 0], [0.1, 0.3, -0.2]])
    return BodyModel(single_joint(), (np.zeros(2, dtype=np.int64), place), np.array([[0, 1]]))


SPECIAL = [pytest.param(HUMAN, id="human"), pytest.param(single_points(), id="one joint")]
SPECIAL += [pytest.param(locked_human(), id="no free angle")]


def check_jacobian(model: BodyModel, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pose = random_pose(model, rng, 2, 2)
    stretch = torch.tensor(rng.normal(0, 0.2, (2, model.groups)))
    jacobian, by_length = model.jacobian(pose, stretch[:, None])
    assert close(jacobian, by_unknowns(model, pose, lambda moved: model.points(moved, stretch)))
    assert close(by_length, by_numbers(stretch, lambda changed: model.points(pose, changed)))


def check_twins(model: BodyModel, seed: int) -> None:
    """What is compiled against its twin in torch."""
    rng = np.random.default_rng(seed)
    pose = random_pose(model, rng, 2, 3)
    stretch = torch.tensor(rng.normal(0, 0.2, (2, model.groups)))
    for given_stretch, for_torch in ((stretch, stretch[:, None]), (stretch[0], stretch[0]), (None, None)):
        assert torch.allclose(model.points(pose, given_stretch), model.points_by_torch(pose, for_torch))
        for one, other in zip(model.joints(pose, given_stretch), model.joints_by_torch(pose, for_torch), strict=True):
            assert torch.allclose(one, other)
    features = model.features(pose).shape[2]
    half = torch.tensor(rng.normal(size=(2, 3, features, 3, 3)))
    half[torch.tensor(rng.random((2, 3, features)) < 0.3)] = 0.0
    pull = (half @ torch.tensor(rng.normal(size=(3, 1))))[..., 0]
    for lengths in (False, True):
        compiled = model.normal_equations(pose, stretch, pull, half @ half.mT, lengths=lengths)
        naive = model.normal_equations_by_torch(pose, stretch, pull, half @ half.mT, lengths=lengths)
        assert torch.allclose(compiled.hessian.tril(), naive.hessian.tril())
        for part in ("gradient", "coupling", "shared_gradient", "shared_hessian"):
            one, other = getattr(compiled, part), getattr(naive, part)
            assert one.shape == other.shape and torch.allclose(one, other), part
    one_for_all = stretch[:1], stretch[:1].expand(2, -1)
    compiled = model.normal_equations(pose, one_for_all[0], pull, half @ half.mT, lengths=False)
    naive = model.normal_equations_by_torch(pose, one_for_all[1], pull, half @ half.mT, lengths=False)
    assert torch.allclose(compiled.hessian.tril(), naive.hessian.tril())
    step = torch.tensor(rng.normal(0, 1, (2, 3, model.size)))
    moved, naive_moved = model.moved(pose, step), model.moved_by_torch(pose, step)
    assert torch.allclose(moved.root_rotation, naive_moved.root_rotation)
    assert torch.allclose(moved.angles, naive_moved.angles)


@given(bodies(), seeds)
def test_the_jacobian_of_the_points_of_any_body_equals_the_numerical_one(model: BodyModel, seed: int) -> None:
    check_jacobian(model, seed)


@given(bodies(), seeds)
def test_what_is_compiled_for_any_body_equals_its_twin(model: BodyModel, seed: int) -> None:
    check_twins(model, seed)


@pytest.mark.parametrize("model", SPECIAL)
@given(seed=seeds)
@settings(max_examples=3)
def test_the_same_for_a_human_one_joint_and_no_free_angle(model: BodyModel, seed: int) -> None:
    check_jacobian(model, seed)
    check_twins(model, seed)


@given(bodies(), seeds)
@settings(max_examples=20)
def test_points_of_a_stretched_body_are_those_of_the_stretched_skeleton(model: BodyModel, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pose = random_pose(model, rng, 3)
    stretch = rng.normal(0, 0.2, model.groups)
    scaled = model.lengths.apply(model.skeleton, stretch)
    group = np.append(np.exp(stretch), 1.0)[model.lengths.site_group]
    again = BodyModel(scaled, (model.sites[0], model.sites[1] * group[:, None]), model.pairs)
    assert torch.allclose(model.points(pose, torch.tensor(stretch)), again.points(pose))


@given(bodies(), seeds)
def test_no_step_leaves_the_range_of_motion(model: BodyModel, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pose = random_pose(model, rng, 4)
    moved = model.retract(pose, torch.tensor(rng.normal(0, 10, (4, model.size))))
    assert ((moved.angles >= model.lower) & (moved.angles <= model.upper)).all()
    assert torch.allclose(torch.linalg.det(moved.root_rotation), torch.ones(4, dtype=torch.float64))


def test_unknowns_of_a_frame_are_the_53_of_the_default_human() -> None:
    assert HUMAN.size == 53


def test_left_and_right_share_their_lengths() -> None:
    human = default_human()
    stretch = np.random.default_rng(0).normal(0, 0.1, HUMAN.groups)
    scaled = HUMAN.lengths.apply(human, stretch)
    for joint, name in enumerate(human.names):
        if name.endswith(".L"):
            twin = human.index(name.replace(".L", ".R"))
            assert scaled.length[joint] == scaled.length[twin]
            assert np.allclose(np.linalg.norm(scaled.offset[joint]), np.linalg.norm(scaled.offset[twin]))


def test_the_sites_of_a_model_are_where_keypoints_sit() -> None:
    joint, place = sites(default_human(), NAMES)
    assert np.array_equal(HUMAN.site_joint.numpy(), joint) and np.array_equal(HUMAN.site_offset.numpy(), place)


@given(seeds)
def test_skew_is_the_cross_product(seed: int) -> None:
    one, two = torch.tensor(np.random.default_rng(seed).normal(size=(2, 5, 3)))
    assert torch.allclose((skew(one) @ two[..., None])[..., 0], torch.linalg.cross(one, two))
