# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from models.kinematic_regressor import metrics
from strategies import seeds
from video2rig.human import default_human

HUMAN = default_human()


def places(seed: int, frames: int = 4, joints: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(frames, joints, 3))


@given(seeds)
def test_joint_errors_are_distances_from_the_root(seed: int) -> None:
    truth = places(seed)
    assert metrics.joint_errors(truth + [3.0, -1.0, 2.0], truth) == pytest.approx(np.zeros((4, 5)), abs=1e-9)
    off = truth.copy()
    off[:, 2] += [0.3, 0.0, 0.4]
    assert metrics.joint_errors(off, truth)[:, 1] == pytest.approx(np.full(4, 0.5))
    assert np.delete(metrics.joint_errors(off, truth), 1, axis=1).max() == 0


@given(seeds, st.floats(0.2, 5.0))
def test_a_similarity_has_no_aligned_error_and_a_mirror_image_has(seed: int, size: float) -> None:
    truth = places(seed)
    turn = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
    assert np.abs(metrics.aligned_errors(size * truth @ turn.T + [1.0, 2.0, 3.0], truth)).max() < 1e-9
    assert metrics.aligned_errors(truth * [-1.0, 1.0, 1.0], truth).max() > 0.05


@given(seeds)
def test_aligned_errors_equal_their_naive_twin(seed: int) -> None:
    truth = places(seed)
    found = truth + 0.5 * places(seed + 1)
    for errors, own, true in zip(metrics.aligned_errors(found, truth), found, truth, strict=True):
        own, true = own - own.mean(0), true - true.mean(0)
        turned = Rotation.align_vectors(true, own)[0].apply(own)
        size = (turned * true).sum() / np.square(own).sum()
        assert errors == pytest.approx(np.linalg.norm(size * turned - true, axis=1), abs=1e-6)


@given(seeds)
def test_rotation_errors_are_the_angles_between(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, vectors = Rotation.random(8, rng=rng).as_matrix().reshape(2, 4, 3, 3), rng.normal(size=(2, 4, 3))
    vectors *= rng.uniform(0, 3.1, (2, 4, 1)) / np.linalg.norm(vectors, axis=-1, keepdims=True)
    found = truth @ Rotation.from_rotvec(-vectors.reshape(-1, 3)).as_matrix().reshape(2, 4, 3, 3)
    assert metrics.rotation_vectors(found, truth) == pytest.approx(vectors, abs=1e-6)
    assert metrics.rotation_errors(found, truth) == pytest.approx(np.linalg.norm(vectors, axis=-1), abs=1e-6)


@given(st.floats(-np.pi, np.pi), seeds)
def test_twist_is_the_turn_about_the_bone(angle: float, seed: int) -> None:
    truth = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
    twisted = truth @ Rotation.from_euler("y", angle).as_matrix()
    assert metrics.twist_errors(twisted[None, None], truth[None, None]) == pytest.approx(abs(angle), abs=1e-6)


@given(st.floats(0.0, 3.0), st.floats(-np.pi, np.pi))
def test_a_swing_has_no_twist(angle: float, about: float) -> None:
    swing = Rotation.from_rotvec(angle * np.array([np.cos(about), 0.0, np.sin(about)])).as_matrix()
    assert metrics.twist_errors(swing[None, None], np.eye(3)[None, None]) == pytest.approx(0.0, abs=1e-6)


@given(st.floats(-3.0, 3.0), st.floats(0.0, 3.0), st.floats(-np.pi, np.pi))
def test_twist_is_what_a_swing_leaves(twist: float, swing: float, about: float) -> None:
    found = Rotation.from_rotvec(swing * np.array([np.cos(about), 0.0, np.sin(about)])) * Rotation.from_rotvec(
        [0.0, twist, 0.0]
    )
    truth = np.eye(3)[None, None]
    assert metrics.twist_errors(found.as_matrix()[None, None], truth) == pytest.approx(abs(twist), abs=1e-5)


@given(seeds)
def test_one_constant_rotation_a_joint_is_taken_out(seed: int) -> None:
    rng = np.random.default_rng(seed)
    constant = rng.normal(size=(1, 3, 3)).repeat(20, axis=0)
    assert metrics.without_offsets(constant).max() < 1e-6
    wandering = 0.1 * rng.normal(size=(4000, 1, 3))
    offset = Rotation.from_rotvec(rng.normal(size=3))
    both = (offset * Rotation.from_rotvec(wandering[:, 0])).as_rotvec()[:, None]
    left = metrics.without_offsets(both)
    assert left.mean() == pytest.approx(np.linalg.norm(wandering, axis=-1).mean(), rel=0.02)


def test_acceleration_errors_know_nothing_of_steady_motion() -> None:
    truth = places(0, frames=9)
    time = np.arange(9)[:, None] / 30
    drifting, falling = truth.copy(), truth.copy()
    drifting[:, 3] += time * [1.0, 2.0, 3.0] + 5.0
    falling[:, 3] += 0.5 * 9.81 * time**2 * [0.0, 0.0, -1.0]
    assert metrics.acceleration_errors(drifting, truth).max() < 1e-9
    errors = metrics.acceleration_errors(falling, truth)
    assert errors[:, 3] == pytest.approx(np.full(7, 9.81)) and np.delete(errors, 3, axis=1).max() < 1e-9


def test_bones_that_keep_their_length_do_not_deviate() -> None:
    rest = np.tile(HUMAN.rest_matrices()[:, :3, 3], (40, 1, 1))
    turns = Rotation.random(40, rng=np.random.default_rng(0)).as_matrix()
    assert metrics.length_deviation(np.einsum("tij,tkj->tki", turns, rest), HUMAN) < 1e-9
    forearm = rest.copy()
    wrist, elbow = HUMAN.index("left_wrist"), HUMAN.index("left_elbow")
    along = rest[0, wrist] - rest[0, elbow]
    forearm[::2, wrist] += 0.02 * along / np.linalg.norm(along)
    assert metrics.length_deviation(forearm, HUMAN) == pytest.approx(0.01 / 8)


def test_moving_joints_are_those_that_the_mocap_tells() -> None:
    roles = [HUMAN.roles[joint] for joint in metrics.moving_joints(HUMAN)]
    assert len(roles) == 17 and "pelvis" not in roles
    assert not any(role.endswith(("clavicle", "toes")) for role in roles)
