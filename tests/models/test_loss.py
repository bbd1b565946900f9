# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.kinematic_regressor.batches import Batch, Batches
from models.kinematic_regressor.database import euler_angles
from models.kinematic_regressor.heads import HEADS, kinematic
from models.kinematic_regressor.loss import LIMBS, Loss, joint_loss
from small_clips import small_clips
from video2rig.regression.motion_parameters import MotionParameters
from video2rig.regression.network import Prediction, Shape

CLIPS = small_clips()
SKELETON = CLIPS.skeleton
BATCHES = Batches(CLIPS, 1)
PARAMETERS = MotionParameters(SKELETON)
LEAST = 1.1e-3  # of a length or norm, which are kept off 0


def drawn() -> Batch:
    """A batch whose rotations are all believed."""
    batch = BATCHES.draw(6, 9)
    return replace(batch, trust=torch.ones_like(batch.trust))


def truth(batch: Batch) -> Prediction:
    """The prediction that is right."""
    rotation = batch.rotation.numpy()
    angles = np.zeros((*rotation.shape[:3], 3))
    for joint in range(1, len(SKELETON)):
        own = rotation[:, :, joint].reshape(-1, 3, 3)
        found = euler_angles(own, SKELETON.euler_order[joint], SKELETON.rom[joint])
        angles[:, :, joint] = found.reshape(*rotation.shape[:2], 3)
    parameters = PARAMETERS.written(batch.rotation, torch.tensor(angles, dtype=torch.float32))
    doubt = torch.full((*parameters.shape[:2], len(SKELETON), 3), -2.0)
    return Prediction(parameters, doubt, parameters[:, :, None].repeat(1, 1, 2, 1))


def loss() -> Loss:
    return Loss(SKELETON, PARAMETERS, BATCHES.bodies)


def test_nothing_is_wrong_at_the_truth() -> None:
    batch = drawn()
    _, parts = loss()(truth(batch), batch)
    for name in ("joints", "speed", "local", "global", "others"):
        assert 0 < parts[name] < (2 if name == "local" else 1) * LEAST + 2e-4, name
    places = torch.cat([batch.joints, batch.points], -2).flatten(-2)
    _, parts = joint_loss(replace(truth(batch), parameters=places), batch)
    assert parts["joints"] < LEAST and parts["speed"] < LEAST


def test_each_part_measures_its_own_error() -> None:
    batch, right = drawn(), truth(drawn())
    right = truth(batch)
    off = right.parameters.clone()
    off[:, :, -1] += 0.3  # a hinge: the last toe
    _, parts = loss()(replace(right, parameters=off), batch)
    _, known = loss()(right, batch)
    frobenius = 2 * np.sqrt(2) * np.sin(0.15)
    for name in ("local", "global"):
        assert parts[name] - known[name] == pytest.approx(frobenius / len(SKELETON), rel=0.02)
    assert parts["joints"] > known["joints"]


def test_what_is_not_trusted_does_not_count() -> None:
    batch = drawn()
    blind = replace(batch, trust=torch.zeros_like(batch.trust))
    _, parts = loss()(replace(truth(batch), parameters=truth(batch).parameters + 0.2), blind)
    assert parts["local"] == parts["global"] == parts["doubt"] == 0.0 and parts["joints"] > 0.01


@pytest.mark.parametrize("head", HEADS)
def test_gradients_are_finite_for_every_head(head: str) -> None:
    network, of_head = HEADS[head](BATCHES, Shape(width=16))
    batch = drawn()
    value, _ = of_head(network(batch.features), batch)
    value.backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.abs().max() > 0 for gradient in gradients)


def test_gradients_are_finite_at_the_truth() -> None:
    batch = drawn()
    right = truth(batch)
    parameters = right.parameters.clone().requires_grad_()
    others = right.alternatives.clone().requires_grad_()
    value, _ = loss()(replace(right, parameters=parameters, alternatives=others), batch)
    value.backward()
    assert parameters.grad is not None and parameters.grad.isfinite().all()
    assert others.grad is not None and others.grad.isfinite().all()


def test_rotations_alone_teach_the_parameter_head_and_joints_the_joint_head() -> None:
    batch = drawn()
    _, of_parameters = HEADS["parameter"](BATCHES, Shape(width=16))
    longer = replace(batch, joints=2 * batch.joints, points=2 * batch.points)
    assert of_parameters(truth(batch), batch)[0] == of_parameters(truth(batch), longer)[0]
    _, of_joints = HEADS["joint"](BATCHES, Shape(width=16))
    places = replace(truth(batch), parameters=torch.cat([batch.joints, batch.points], -2).flatten(-2))
    turned = replace(batch, rotation=batch.rotation.mT)
    assert of_joints(places, batch)[0] == of_joints(places, turned)[0]


def test_doubt_is_least_at_the_true_deviation() -> None:
    batch = BATCHES.draw(200, 1)
    batch = replace(batch, trust=torch.ones_like(batch.trust))
    generator = torch.Generator().manual_seed(0)
    right = truth(batch)
    knee = PARAMETERS.written(
        torch.zeros(len(SKELETON), 3, 3),
        torch.eye(3)[0] * (torch.arange(len(SKELETON)) == SKELETON.index("left_knee"))[:, None],
    ).argmax()
    off = right.parameters.clone()
    off[..., knee] += 0.2 * torch.randn(200, 1, generator=generator)
    deviation = (off - right.parameters)[..., knee].square().mean().sqrt()
    joint = SKELETON.index("left_knee")

    def doubted(log_deviation: float, axis: int) -> float:
        doubt = right.log_deviation.clone()
        doubt[:, :, joint, axis] = log_deviation
        return loss()(replace(right, parameters=off, log_deviation=doubt), batch)[1]["doubt"]

    least = doubted(float(deviation.log()), 0)
    assert least < doubted(float(deviation.log()) - 0.2, 0) and least < doubted(float(deviation.log()) + 0.2, 0)
    # about an axis that the knee has not nothing is ever wrong; certainty ends at half a degree
    assert doubted(np.log(0.01), 1) < doubted(np.log(0.007), 1) < doubted(np.log(0.004), 1)


def test_the_nearest_alternative_of_each_limb_counts() -> None:
    batch = drawn()
    right = truth(batch)
    wrong = replace(right, parameters=right.parameters.roll(1, dims=0), alternatives=right.alternatives.roll(1, dims=0))
    far = loss()(wrong, batch)[1]["others"]
    one_right = wrong.alternatives.clone()
    one_right[:, :, 1] = right.parameters
    near = loss()(replace(wrong, alternatives=one_right), batch)[1]["others"]
    assert near < 0.1 * far
    certain = loss()(replace(right, alternatives=wrong.alternatives), batch)[1]["others"]
    assert certain < 0.1 * far, "the prediction itself is among the answers"


def test_limbs_are_joints_of_the_body() -> None:
    assert len({role for limb in LIMBS for role in limb}) == 12
    assert all(role in SKELETON.roles for limb in LIMBS for role in limb)


def test_a_new_kinematic_network_stands_upright_before_a_level_camera() -> None:
    network, _ = kinematic(BATCHES, Shape(width=16))
    turned = BATCHES.bodies.places(
        PARAMETERS.rotations(network.mean), *(BATCHES.bodies.chain.offset, torch.zeros(33, 3))
    )[2]
    assert turned[0, 1, 1] < -0.9 and turned[0, 2, 2] < -0.9
