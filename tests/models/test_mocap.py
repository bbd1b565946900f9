# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mocap_figures import JOINTS, crouch, database, t_pose
from scipy.spatial.transform import Rotation

from models.kinematic_regressor import gait, legs, posture, retarget, trust
from models.kinematic_regressor.database import Database, MocapError, euler_angles, forward
from models.kinematic_regressor.ground import root_path
from models.kinematic_regressor.mocap import Clips, load_clips
from shared_data import SHARED
from strategies import seeds
from video2rig.human import default_human

FOLDER = SHARED / "data" / "mocap"
HUMAN = default_human()
SHORT = np.radians(10.0)
needs_mocap = pytest.mark.skipif(not (FOLDER / "cmu_val.npz").is_file(), reason=f"no motion capture at {FOLDER}")


@functools.cache
def clips(corrected: bool) -> Clips:
    return load_clips(FOLDER / "cmu_val.npz", corrected)


def on_human(data: Database, corrected: bool) -> tuple[np.ndarray, np.ndarray]:
    """Positions [N, 22, 3] and orientations of the human in the clips of a database."""
    turned, placed = forward(data, data.rotations)
    stands = legs.stance(data, placed)
    bones = retarget.bone_orientations(data, turned, HUMAN)
    knees = legs.knee_flexion(bones, HUMAN)
    if corrected:
        knees = legs.straightened(knees, legs.knee_excess(data, knees, stands)[:, None])
    legs.set_legs(bones, HUMAN, list(data.clips.values()), knees)
    local, _ = retarget.joint_rotations(bones, HUMAN)
    about_root, _ = retarget.positions(local, np.zeros((len(local), 3)), HUMAN)
    return retarget.positions(local, root_path(data, placed, about_root, HUMAN, stands), HUMAN)


def random_pose(seed: int, spread: float) -> Database:
    rng = np.random.default_rng(seed)
    rotations, root = t_pose(3)
    turns = Rotation.from_rotvec(rng.normal(0, spread, (21, 3))).as_matrix()
    return database(rotations @ turns, root)


def test_a_t_pose_is_one_of_the_human_on_the_floor() -> None:
    placed, turned = on_human(database(*t_pose(5)), corrected=False)
    rest = HUMAN.rest_matrices()
    for joint, bone in enumerate(HUMAN.names):
        if bone.startswith(("upper_arm", "forearm", "hand")):
            outwards = [1 if bone.endswith("L") else -1, 0, 0]
            assert np.allclose(turned[:, joint, :, 1], outwards, atol=1e-6), bone
        else:
            assert np.allclose(turned[:, joint], rest[joint, :3, :3], atol=1e-6), bone
    feet = [HUMAN.index(f"{bone}.{side}") for bone in ("foot", "toe") for side in "LR"]
    assert np.allclose(placed[:, feet, 2], rest[feet, 2, 3], atol=1e-3)


@given(seeds, st.floats(-np.pi, np.pi))
def test_a_figure_that_is_turned_about_the_vertical_turns_the_human(seed: int, yaw: float) -> None:
    plain = random_pose(seed, 0.3)
    rotations = plain.rotations.copy()
    rotations[:, 0] = Rotation.from_euler("y", yaw).as_matrix() @ rotations[:, 0]
    expected = Rotation.from_euler("z", yaw).as_matrix() @ on_human(plain, corrected=False)[1]
    assert np.allclose(on_human(database(rotations, plain.root), corrected=False)[1], expected, atol=1e-5)


@given(seeds, st.floats(0.0, 1.2))
def test_rotations_are_inside_the_range_of_motion(seed: int, spread: float) -> None:
    data = random_pose(seed, spread)
    bones = retarget.bone_orientations(data, forward(data, data.rotations)[0], HUMAN)
    retarget.raise_shoulders(bones, HUMAN)
    legs.set_legs(bones, HUMAN, list(data.clips.values()), legs.knee_flexion(bones, HUMAN))
    assert_inside(retarget.joint_rotations(bones, HUMAN)[0])


def assert_inside(local: np.ndarray, tolerance: float = 1e-6) -> None:
    for joint in range(1, len(HUMAN)):
        bounds = HUMAN.rom[joint]
        angles = euler_angles(local[:, joint], HUMAN.euler_order[joint], bounds)
        again = retarget.euler_rotations(angles.clip(*bounds.T), HUMAN.euler_order[joint])
        assert np.abs(again - local[:, joint]).max() < tolerance, HUMAN.names[joint]


def test_what_is_inside_the_range_of_motion_is_kept() -> None:
    rng = np.random.default_rng(5)
    angles = rng.uniform(0.9 * HUMAN.rom[..., 0], 0.9 * HUMAN.rom[..., 1], (20, len(HUMAN), 3))
    local = np.stack(
        [retarget.euler_rotations(angles[:, j], order) for j, order in enumerate(HUMAN.euler_order)], axis=1
    )
    _, bones = retarget.positions(local, np.zeros((20, 3)), HUMAN)
    found, excess = retarget.joint_rotations(bones, HUMAN)
    assert np.abs(found - local).max() < 1e-6
    assert excess.max() < 1e-6


def test_a_child_makes_up_for_a_parent_that_was_held_back() -> None:
    rotations, root = t_pose(2)
    rotations[:, JOINTS.index("chest")] = Rotation.from_euler("x", 100, degrees=True).as_matrix()
    rotations[:, JOINTS.index("neck")] = Rotation.from_euler("x", -100, degrees=True).as_matrix()
    data = database(rotations, root)
    bones = retarget.bone_orientations(data, forward(data, rotations)[0], HUMAN)
    _, turned = retarget.positions(retarget.joint_rotations(bones, HUMAN)[0], np.zeros((2, 3)), HUMAN)
    pitch = [np.degrees(np.arcsin(-turned[0, HUMAN.index(b), 2, 2])) for b in ("spine.003", "spine.004", "spine.006")]
    assert pitch[0] == pytest.approx(80.0, abs=0.01)  # three joints of 26.7 degrees
    assert pitch[2] == pytest.approx(80.0 - 2 * 22.5, abs=0.01)


def test_collar_bones_raise_an_arm_that_the_shoulder_alone_cannot() -> None:
    rotations, root = t_pose(2)
    rotations[:, JOINTS.index("l_upperarm")] = Rotation.from_euler("z", 80, degrees=True).as_matrix()
    data = database(rotations, root)
    bones = retarget.bone_orientations(data, forward(data, rotations)[0], HUMAN)
    arm = HUMAN.index("upper_arm.L")
    assert np.degrees(retarget.joint_rotations(bones, HUMAN)[1][0, arm]) == pytest.approx(25.0, abs=0.1)
    retarget.raise_shoulders(bones, HUMAN)
    assert np.degrees(retarget.joint_rotations(bones, HUMAN)[1][:, arm]).max() < 1.0


@given(seeds, st.floats(0.0, 2.2))
def test_set_legs_bends_hinges_and_keeps_the_line_from_hip_to_ankle(seed: int, knee: float) -> None:
    data = random_pose(seed, 0.4)
    bones = retarget.bone_orientations(data, forward(data, data.rotations)[0], HUMAN)
    before = bones.copy()
    flexion = np.full((3, 2), knee)
    legs.set_legs(bones, HUMAN, list(data.clips.values()), flexion)
    assert np.allclose(legs.knee_flexion(bones, HUMAN), knee, atol=1e-6)
    for side in "LR":
        thigh, shin = HUMAN.index(f"thigh.{side}"), HUMAN.index(f"shin.{side}")
        assert np.allclose(bones[:, thigh, :, 0], bones[:, shin, :, 0])  # the hinge's axis
        lines = [
            b[:, thigh, :, 1] * HUMAN.length[thigh] + b[:, shin, :, 1] * HUMAN.length[shin] for b in (before, bones)
        ]
        unit = [line / np.linalg.norm(line, axis=-1, keepdims=True) for line in lines]
        assert np.allclose(*unit, atol=1e-6)


@given(st.floats(0.0, 2.5), st.floats(0.0, 0.4), st.floats(0.001, 0.1))
def test_straightened_knees_keep_their_order_and_never_hyperextend(knee: float, excess: float, more: float) -> None:
    low, high = legs.straightened(np.array([knee, knee + more]), np.array([excess, excess]))
    assert 0.0 <= low <= high
    assert low <= knee
    assert knee - low <= excess + 1e-9


def test_knees_without_excess_stay() -> None:
    knees = np.linspace(0, 2.5, 50)
    assert (legs.straightened(knees, np.zeros(50)) == knees).all()


def test_excess_is_what_standing_knees_are_over_normal_ones() -> None:
    bias = np.radians(15.0)
    data = database(*t_pose(3000), lengths=(2900, 100), subjects=("stands", "crouches"))
    knees = np.tile(bias + legs.STANCE_KNEE, (3000, 2))
    knees[2900:] += np.radians(30.0)
    excess = legs.knee_excess(data, knees, np.ones((3000, 2), dtype=bool))
    assert excess[0] == pytest.approx(bias, abs=np.radians(0.2))
    assert excess[-1] == legs.LARGEST_EXCESS


def test_a_subject_who_never_stands_has_the_typical_excess() -> None:
    data = database(*t_pose(10))
    excess = legs.knee_excess(data, np.ones((10, 2)), np.zeros((10, 2), dtype=bool))
    assert np.allclose(excess, legs.TYPICAL_EXCESS)


def test_feet_stay_on_the_floor_while_knees_are_straightened() -> None:
    knee = np.radians(30.0 + 15.0 * np.sin(np.linspace(0, 12, 240)))
    data = database(*crouch(knee))
    before, _ = on_human(data, corrected=False)
    after, turned = on_human(data, corrected=True)
    bent = [np.degrees(legs.knee_flexion(bones, HUMAN)).mean() for bones in (turned, on_human(data, False)[1])]
    assert bent[0] < bent[1] - 8.0
    for bone in ("foot.L", "foot.R", "toe.L", "toe.R"):
        joint = HUMAN.index(bone)
        assert np.linalg.norm(after[:, joint] - before[:, joint], axis=-1).max() < 5e-3, bone
        assert np.ptp(after[:, joint], axis=0).max() < 8e-3, bone
    assert (after[:, 0, 2] - before[:, 0, 2]).mean() > 0.01  # the hips rise instead


def test_a_clip_that_floats_is_put_on_the_floor() -> None:
    rotations, root = t_pose(30)
    placed, _ = on_human(database(rotations, root + [0.0, 0.07, 0.0]), corrected=False)
    feet = [HUMAN.index(f"{bone}.{side}") for bone in ("foot", "toe") for side in "LR"]
    assert np.allclose(placed[:, feet, 2], HUMAN.rest_matrices()[feet, 2, 3], atol=1e-3)


def test_a_tilted_head_is_levelled_and_shared_with_the_neck() -> None:
    rotations, root = t_pose(2000)
    rotations[:, JOINTS.index("head")] = Rotation.from_euler("x", 20, degrees=True).as_matrix()
    data = database(rotations, root)
    turned, placed = forward(data, rotations)
    bones = retarget.bone_orientations(data, turned, HUMAN)
    posture.level_heads(bones, data, HUMAN, legs.stance(data, placed))
    assert np.degrees(np.arcsin(-bones[:, HUMAN.index("spine.006"), 2, 2])).max() == pytest.approx(1.0, abs=0.1)
    assert np.degrees(np.arcsin(-bones[:, HUMAN.index("spine.004"), 2, 2])).max() == pytest.approx(0.5, abs=0.1)


def test_feet_and_hands_lose_a_constant_tilt_and_keep_what_moves() -> None:
    swing = np.radians(10.0) * np.sin(np.linspace(0, 12 * np.pi, 2001))
    rotations, root = t_pose(2001)
    rotations[:, JOINTS.index("l_foot")] = Rotation.from_euler("x", (swing + 0.2)[:, None]).as_matrix()
    rotations[:, JOINTS.index("l_hand")] = Rotation.from_euler("z", (swing - 0.2)[:, None]).as_matrix()
    data = database(rotations, root)
    turned, placed = forward(data, rotations)
    bones = retarget.bone_orientations(data, turned, HUMAN)
    stands = legs.stance(data, placed)
    posture.level_feet(bones, data, HUMAN, stands)
    posture.straighten_hands(bones, data, HUMAN, stands)
    forearm, hand, foot = (HUMAN.index(bone) for bone in ("forearm.L", "hand.L", "foot.L"))
    flat = HUMAN.rest_matrices()[foot, 2, 1]
    pitch = np.arcsin(bones[:, foot, 2, 1]) - np.arcsin(flat)
    assert np.allclose(pitch, -swing, atol=0.02)
    wrist = (bones[:, forearm] @ HUMAN.rest_rotation[hand]).transpose(0, 2, 1) @ bones[:, hand]
    flexion = Rotation.from_matrix(wrist).as_euler("YXZ")
    assert np.allclose(flexion[:, 1], -swing, atol=0.02)
    assert np.abs(flexion[:, [0, 2]]).max() < 1e-6


def test_trust_is_low_where_the_capture_is_frozen_wrong_or_glitching() -> None:
    rotations, root = t_pose(40)
    moving = Rotation.from_euler("x", np.linspace(0, 0.3, 40)[:, None]).as_matrix()
    rotations[:, JOINTS.index("l_toes")] = moving
    data = database(rotations, root, lengths=(20, 20), subjects=("somebody", "cmu60"))
    data.broken[10] = True
    local = np.tile(np.eye(3), (40, len(HUMAN), 1, 1))
    local[30:, HUMAN.index("hand.L")] = Rotation.from_euler("x", 60, degrees=True).as_matrix()
    excess = np.zeros((40, len(HUMAN)))
    excess[35, HUMAN.index("upper_arm.R")] = 1.0
    weight = trust.trust(data, local, excess, HUMAN)
    assert weight[35, HUMAN.index("upper_arm.R")] == 0.0
    assert weight[35, HUMAN.index("upper_arm.L")] > 0.0
    assert (weight[10 - trust.GLITCH_MARGIN : 10 + trust.GLITCH_MARGIN + 1] == 0).all()
    jump = slice(30 - 1 - trust.GLITCH_MARGIN, 30 + trust.GLITCH_MARGIN + 1)
    assert (weight[jump, HUMAN.index("hand.L")] == 0).all()
    assert (weight[jump, HUMAN.index("hand.R")] > 0).all()
    assert weight[0, HUMAN.index("toe.L")] == 1.0
    assert weight[0, HUMAN.index("toe.R")] == np.float32(trust.FROZEN_TOES)
    assert weight[0, HUMAN.index("shoulder.L")] == np.float32(trust.FROZEN_CLAVICLE)
    assert weight[0, HUMAN.index("forearm.L")] == 1.0
    assert weight[-1, HUMAN.index("forearm.L")] == np.float32(trust.TWISTED["elbow"])


def test_normal_gait_is_not_off_itself() -> None:
    for joint, values in gait.NORMAL.items():
        curve = np.interp(np.linspace(0, 1, gait.SAMPLES), gait.PHASES, values)
        assert gait.from_normal(curve, joint) == pytest.approx(0.0, abs=1e-9)
        assert gait.from_normal(curve + 3.0, joint) == pytest.approx(3.0)


def test_cycles_are_found_from_one_contact_to_the_next() -> None:
    frames = np.arange(120)
    ahead = 0.3 * np.cos(2 * np.pi * frames[:, None] / 30.0 + [0.0, np.pi])
    nothing = np.zeros(1)
    path = np.stack([0 * frames, -0.04 * frames, 0 * frames], axis=1)
    walking = Clips(HUMAN, nothing, path, nothing, np.array([0]), np.array([120]), ("a",), ("b",), ("Walk",), ("c",))
    left = [(a, b) for side, a, b in gait.cycles(walking, ahead) if side == 0]
    assert left == [(30, 60), (60, 90)]
    assert len(gait.cycles(walking, ahead)) == 5
    assert gait.cycles(replace(walking, action=("run",)), ahead) == []


def test_absent_mocap_is_told(tmp_path: Path) -> None:
    with pytest.raises(MocapError, match="no motion capture"):
        load_clips(tmp_path / "cmu_val.npz")


@needs_mocap
def test_clips_are_motion_of_the_human_inside_its_range_of_motion() -> None:
    val = clips(True)
    frames = len(val.root)
    assert val.rotation.shape == (frames, 22, 3, 3)
    assert val.root.shape == (frames, 3)
    assert val.trust.shape == (frames, 22)
    assert {val.rotation.dtype, val.root.dtype, val.trust.dtype} == {np.dtype(np.float32)}
    assert val.start[0] == 0
    assert (val.start[1:] == (val.start + val.length)[:-1]).all()
    assert val.start[-1] + val.length[-1] == frames
    assert len(val) == len(val.subject) == len(val.action) == len(val.source) == len(val.start)
    assert 0.0 <= val.trust.min() <= val.trust.max() <= 1.0
    assert_inside(val.rotation.astype(float), tolerance=1e-4)


@needs_mocap
def test_corrected_clips_walk_more_like_normal_gait() -> None:
    walks = [gait.walk(clips(corrected)) for corrected in (False, True)]
    cycles = gait.cycles(clips(False), walks[0].ahead)
    assert cycles
    for joint in gait.NORMAL:
        off = [gait.from_normal(gait.curves(getattr(walk, joint), cycles).mean(axis=0), joint) for walk in walks]
        assert off[1] < 0.8 * off[0], joint
