# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import torch
from hypothesis import given, settings

from strategies import seeds
from synthetic import NAMES, random_pose
from video2rig.human import default_human
from video2rig.ik.model import BodyModel, Pose, skew

MODEL = BodyModel(default_human(), NAMES)


def numerical_jacobian(model: BodyModel, pose: Pose, function, step: float = 1e-6) -> torch.Tensor:
    """Central differences of ``function(pose)`` [T, R] by the unknowns; bounds are lifted so that steps are whole."""
    free = BodyModel(model.skeleton, model.keypoint_names)
    free.lower, free.upper = model.lower - 1, model.upper + 1
    columns = []
    for unknown in range(model.size):
        shift = torch.zeros(len(pose), model.size, dtype=torch.float64)
        shift[:, unknown] = step
        columns.append((function(free.retract(pose, shift)) - function(free.retract(pose, -shift))) / (2 * step))
    return torch.stack(columns, dim=-1)


@given(seeds)
@settings(max_examples=10)
def test_the_jacobian_of_the_points_equals_the_numerical_one(seed: int) -> None:
    pose = random_pose(MODEL, np.random.default_rng(seed), 2)
    points, jacobian = MODEL.points_and_jacobian(pose)
    assert torch.equal(points, MODEL.points(pose))
    assert torch.allclose(jacobian, numerical_jacobian(MODEL, pose, MODEL.points), atol=1e-6)


@given(seeds)
def test_no_step_leaves_the_range_of_motion(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pose = random_pose(MODEL, rng, 4)
    moved = MODEL.retract(pose, torch.tensor(rng.normal(0, 10, (4, MODEL.size))))
    assert ((moved.angles >= MODEL.lower) & (moved.angles <= MODEL.upper)).all()
    assert torch.allclose(torch.linalg.det(moved.root_rotation), torch.ones(4, dtype=torch.float64))


def test_unknowns_of_a_frame_are_the_53_of_the_default_human() -> None:
    assert MODEL.size == 53


@given(seeds)
def test_skew_is_the_cross_product(seed: int) -> None:
    one, two = torch.tensor(np.random.default_rng(seed).normal(size=(2, 5, 3)))
    assert torch.allclose((skew(one) @ two[..., None])[..., 0], torch.linalg.cross(one, two))
