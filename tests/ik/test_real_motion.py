# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import functools
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from models.kinematic_regressor.database import MocapError
from shared_data import ROOT, SHARED
from strategies import seeds
from video2rig.motion import Motion

sys.path.insert(0, str(ROOT / "benchmarks"))

import cmu
import real_motion

FOLDER = SHARED / "data" / "mocap"
pytestmark = pytest.mark.skipif(not (FOLDER / "cmu_val.npz").is_file(), reason=f"no motion capture at {FOLDER}")


@functools.cache
def body() -> cmu.Body:
    return cmu.Body.of(cmu.Database.load(FOLDER / "cmu_train.npz", every=20))


@functools.cache
def database() -> cmu.Database:
    return cmu.Database.load(FOLDER / "cmu_val.npz")


@functools.cache
def clips() -> list[tuple[str, Motion, np.ndarray]]:
    return [clip for clip in body().clips(database()) if len(clip[1]) < 130]


def turned(motion: Motion, role: str, axis: np.ndarray, angle: float) -> Motion:
    """The motion with a joint turned in its own frame."""
    joint = motion.skeleton.index(role)
    rotations = motion.rotations.copy()
    own = Rotation.from_quat(rotations[:, joint], scalar_first=True) * Rotation.from_rotvec(axis * angle)
    rotations[:, joint] = own.as_quat(scalar_first=True)
    return replace(motion, rotations=rotations)


def test_true_motions_lie_inside_the_range_of_motion() -> None:
    skeleton = body().skeleton
    for _, motion, _ in clips():
        for joint in range(1, len(skeleton)):
            local = Rotation.from_quat(motion.rotations[:, joint], scalar_first=True).as_matrix()
            bounds = skeleton.rom[joint]
            angles = cmu.euler_angles(local, skeleton.euler_order[joint], bounds)
            assert (angles >= bounds[:, 0] - 1e-6).all(), skeleton.names[joint]
            assert (angles <= bounds[:, 1] + 1e-6).all(), skeleton.names[joint]


def test_anatomical_elbows_and_wrists_move_no_joint_and_keep_the_hands() -> None:
    data = database()
    frames = data.clips["cmu_02_05"]
    before, after = data.rotations[frames], cmu.anatomical(data.joints, data.rotations[frames])

    def forward(local: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        turned, placed = local.copy(), np.zeros(local.shape[:3])
        for joint, parent in enumerate(data.parents):
            if parent >= 0:
                turned[:, joint] = turned[:, parent] @ local[:, joint]
                placed[:, joint] = placed[:, parent] + turned[:, parent] @ data.offset[joint]
        return turned, placed

    (old, where), (new, there) = forward(before), forward(after)
    assert np.linalg.norm(there - where, axis=-1).max() < 1e-3
    hands = [data.joints.index(name) for name in ("l_hand", "r_hand")]
    cosine = (np.einsum("tjik,tjik->tj", old[:, hands], new[:, hands]) - 1) / 2
    assert np.degrees(np.arccos(cosine.clip(-1, 1))).mean() < 1.0
    for side in "lr":
        elbow = Rotation.from_matrix(after[:, data.joints.index(f"{side}_forearm")]).as_euler("YZX")
        wrist = Rotation.from_matrix(after[:, data.joints.index(f"{side}_hand")]).as_euler("XYZ")
        assert np.abs(elbow[:, 1]).max() < 1e-9
        assert np.abs(wrist[:, 0]).max() < 1e-9


@given(seeds, st.sampled_from(cmu.EULER_ORDERS))
def test_euler_angles_make_the_rotation_and_choose_the_set_inside_the_bounds(seed: int, order: str) -> None:
    rng = np.random.default_rng(seed)
    middle = rng.uniform(-2.0, 2.0, 3)
    bounds = np.stack([middle - 0.5, middle + 0.5], axis=1)
    angles = rng.uniform(bounds[:, 0], bounds[:, 1], (8, 3))
    axes = ["XYZ".index(axis) for axis in order]
    rotations = Rotation.from_euler(order.lower(), angles[:, axes])
    found = cmu.euler_angles(rotations.as_matrix(), order, bounds)
    again = Rotation.from_euler(order.lower(), found[:, axes])
    assert (again.inv() * rotations).magnitude().max() < 1e-6
    gimbal = np.abs(np.cos(angles[:, axes[1]])) < 0.05
    assert np.allclose(found[~gimbal], angles[~gimbal], atol=1e-6)


@given(st.floats(-3.0, 3.0), st.sampled_from(["left", "right"]), st.sampled_from(list(real_motion.TWISTS)))
def test_a_turn_about_the_bone_is_twist_and_one_across_it_is_none(angle: float, side: str, role: str) -> None:
    truth = clips()[0][1]
    skeleton = truth.skeleton
    child = skeleton.offset[skeleton.index(f"{side}_{real_motion.TWISTS[role]}")]
    bone = child / np.linalg.norm(child)
    across = np.cross(bone, [0.3, 0.5, 0.8])
    count = sum(not any(tip in name for tip in real_motion._TIPS) for name in skeleton.roles)
    for axis, share in (
        (bone, 0.5),
        (across / np.linalg.norm(across), 0.0),
    ):  # the mean of a turned side and a true one
        errors, twist = real_motion.rotation_errors(truth, turned(truth, f"{side}_{role}", axis, angle))
        assert errors.mean() * count == pytest.approx(abs(np.degrees(angle)), abs=1e-4)
        assert twist[role] == pytest.approx(share * abs(np.degrees(angle)), abs=1e-4)
        assert all(value.max() < 1e-4 for other, value in twist.items() if other != role)


def test_a_perfect_solver_has_no_error_and_the_raw_error_is_the_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    clip, seed = clips()[0], [3, 1]
    truth = replace(clip[1], skeleton=real_motion.subject(body().skeleton, np.random.default_rng(seed)))
    monkeypatch.setattr(real_motion, "solve_markers", lambda *_, **__: truth)
    noisy = real_motion.Disturbance("", 0.010, 0.2, False)
    mpjas, *twists, residual, raw, mine, raw_acceleration, acceleration = real_motion.score(
        body(), clip, {**body().centres, **body().extra}, noisy, seed
    )
    assert max(mpjas, *twists, mine, acceleration) < 1e-4
    mean_length = 10 * np.sqrt(8 / np.pi)  # of a 3D Gaussian
    assert residual == pytest.approx(mean_length, rel=0.05)
    assert raw > 0.9 * mean_length
    assert raw_acceleration > 20


@given(seeds)
def test_swaps_exchange_left_and_right_for_at_most_five_frames(seed: int) -> None:
    names = ("pelvis", "left_hip", "left_big_toe", "right_hip", "right_big_toe", "left_wrist", "right_wrist")
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(200, len(names), 3))
    what = real_motion.Disturbance("", 0.0, 0.2, True)
    markers, swapped = real_motion.disturb(names, points, np.arange(200) / 30, what, rng)
    seen = markers.confidence > 0
    assert 0.7 < seen.mean() < 0.9
    twin = [0, 3, 4, 1, 2, 6, 5]
    expected = np.where(swapped[..., None], points[:, twin], points)
    assert np.array_equal(markers.positions[seen], expected[seen])
    assert not swapped[:, 0].any()
    assert swapped.any()
    edges = np.diff(np.pad(swapped.any(axis=1).astype(int), 1))
    lengths = np.flatnonzero(edges < 0) - np.flatnonzero(edges > 0)
    assert lengths.max() <= 5


def test_a_folder_without_clips_is_refused(tmp_path) -> None:
    with pytest.raises(MocapError, match="no motion capture"):
        real_motion.print_table(tmp_path, 0, quick=True)
