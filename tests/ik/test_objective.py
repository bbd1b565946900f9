# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import torch
from hypothesis import given, settings
from test_model import MODEL, numerical_jacobian

from strategies import seeds
from synthetic import moving_person
from video2rig.ik.model import Pose
from video2rig.ik.objective import Anchors, Objective
from video2rig.ik.observation import observe


def scene(seed: int, anchored: bool) -> tuple[Objective, Pose]:
    rng = np.random.default_rng(seed)
    person = moving_person(rng, frames=3, noise=20.0)
    anchors = Anchors(
        torch.eye(3, dtype=torch.float64),
        torch.tensor(rng.normal(size=(3, 33, 3))),
        torch.tensor(rng.uniform(0, 5, (3, 33, 3))),
    )
    observation = observe(person.keypoints, person.camera)
    depth = torch.full((3,), 3.5, dtype=torch.float64)
    return Objective(MODEL, observation, depth, anchors if anchored else None), person.pose


@given(seeds)
@settings(max_examples=6)
def test_the_gradient_of_the_terms_whose_lengths_are_free_is_that_of_their_cost(seed: int) -> None:
    objective, pose = scene(seed, anchored=True)
    objective.segment_weight = torch.zeros_like(objective.segment_weight)
    _, gradient, hessian = objective(pose)
    numerical = numerical_jacobian(MODEL, pose, lambda moved: objective(moved)[0][:, None])[:, 0]
    assert torch.allclose(2 * gradient, numerical, atol=1e-5 * float(numerical.abs().max()))
    assert torch.allclose(hessian, hessian.transpose(1, 2))
    assert (torch.linalg.eigvalsh(hessian) > -1e-6 * hessian.abs().max()).all()


def test_a_frame_that_seems_far_away_does_not_outweigh_the_others() -> None:
    rng = np.random.default_rng(0)
    person = moving_person(rng, frames=5)
    depth = torch.tensor([3.0, 3.1, 174.0, 3.0, 0.01], dtype=torch.float64)
    objective = Objective(MODEL, observe(person.keypoints, person.camera), depth)
    weight = objective.ray_weight.mean(dim=1)
    assert weight.max() <= 2.1 * weight[0] and weight.min() >= 0.4 * weight[0]


def test_a_true_pose_is_explained() -> None:
    person = moving_person(np.random.default_rng(1), frames=4)
    objective = Objective(MODEL, observe(person.keypoints, person.camera), person.pose.root_position[:, 2])
    assert objective.unexplained(person.pose).max() < 1e-6
