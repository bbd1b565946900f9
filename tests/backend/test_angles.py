# SPDX-License-Identifier: GPL-3.0-or-later
"""Joint angles: zeros, signs, independence of rest pose and rolls, continuity, and that they say the whole pose."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from anatomical import FACING_X, HUMAN, SINGLE, about, anatomical, motion_of, turned_root
from strategies import random_motion, seeds
from video2rig.angles import AnglesError, JointAngles, anatomical_frames, continuous_cardan, joint_angles
from video2rig.kinematics import joint_positions
from video2rig.motion import Motion
from video2rig.skeleton import EULER_ORDERS, Skeleton


def in_degrees(motion: Motion) -> dict[str, np.ndarray]:
    angles = joint_angles(motion)
    return dict(zip(angles.names, angles.in_degrees().T, strict=True))


def rested_otherwise(motion: Motion, rng: np.random.Generator, arms: float, legs: float) -> Motion:
    """The same motion of a figure whose arms and legs are raised sideways at rest and whose bones are rolled anyhow."""
    skeleton = motion.skeleton
    count, parents = len(skeleton), np.array(skeleton.parents)
    raised = np.tile(np.eye(3), (count, 1, 1))
    for side, sign in (("right", 1), ("left", -1)):
        raised[skeleton.index(f"{side}_shoulder")] = about("z", sign * arms)[0]
        raised[skeleton.index(f"{side}_hip")] = about("z", -sign * legs)[0]
    frame = skeleton.rest_matrices()[:, :3, :3]
    flat = [skeleton.index(f"{side}_{part}") for side in ("left", "right") for part in ("ankle", "toes")]
    for joint in range(1, count):
        if joint not in flat:
            frame[joint] = frame[parents[joint]] @ skeleton.rest_rotation[joint] @ raised[joint]
    roll = about("y", rng.uniform(-180, 180, count))
    frame = frame @ roll
    rest_rotation, offset = frame.copy(), skeleton.offset.copy()
    rest_rotation[1:] = frame[parents[1:]].transpose(0, 2, 1) @ frame[1:]
    offset[1:] = np.einsum("jba,jb->ja", roll[parents[1:]], skeleton.offset[1:])
    other = dataclasses.replace(
        skeleton,
        names=tuple(f"b{j}" for j in range(count)),
        rest_rotation=rest_rotation,
        offset=offset,
        euler_order=tuple(rng.choice(EULER_ORDERS, count).tolist()),
    )
    turned = joint_positions(motion)[1] @ roll
    local = rest_rotation.transpose(0, 2, 1) @ turned
    local[:, 1:] = rest_rotation[1:].transpose(0, 2, 1) @ turned[:, parents[1:]].transpose(0, 1, 3, 2) @ turned[:, 1:]
    rotations = Rotation.from_matrix(local.reshape(-1, 3, 3)).as_quat(scalar_first=True).reshape(-1, count, 4)
    return Motion(other, motion.times, rotations, motion.root_position, motion.confidence)


def test_the_anatomical_pose_is_zero() -> None:
    angles = joint_angles(motion_of(HUMAN, anatomical(HUMAN)))
    values = dict(zip(angles.names, angles.in_degrees()[0], strict=True))
    translations = [values.pop(f"pelvis_t{axis}") for axis in "xyz"]
    assert max(abs(value) for value in values.values()) < 1e-9, values
    # the middle of the iliac spines is in front of the hips and above them
    hips = HUMAN.rest_matrices()[HUMAN.index("left_hip"), 2, 3]
    assert translations == pytest.approx([0.0741, hips + 0.0693, 0.0], abs=1e-3)
    assert len(values) == 3 + 6 + 2 * 14, "every coordinate of the model is there"


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", SINGLE)
def test_a_motion_about_one_axis_is_that_angle(name: str, side: str) -> None:
    joint, axis, signs = SINGLE[name]
    turns = anatomical(HUMAN)
    amount = np.linspace(-60, 60, 7)
    before = turns.get(f"{side}_{joint}", np.eye(3)[None])
    turn = about(axis, signs[side] * amount)
    # pronation and flexion share a bone: flexion comes first, then the turn about the forearm
    turns[f"{side}_{joint}"] = turn @ before if axis == "x" or joint == "wrist" else before @ turn
    turns = {joint: np.broadcast_to(turn, (7, 3, 3)) for joint, turn in turns.items()}
    angles = in_degrees(motion_of(HUMAN, turns, 7))
    column = f"{name}_{side[0]}"
    assert np.allclose(angles.pop(column), amount, atol=1e-8)
    for other in (key for key in angles if "_t" not in key[6:9]):
        assert np.abs(angles[other]).max() < 1e-7, other


@pytest.mark.parametrize(
    ("joints", "axis", "name"),
    [
        (("spine_lower", "spine_middle", "spine_upper"), "x", "lumbar_extension"),
        (("spine_lower", "spine_middle", "spine_upper"), "z", "lumbar_bending"),
        (("spine_lower", "spine_middle", "spine_upper"), "y", "lumbar_rotation"),
        (("neck", "head"), "x", "neck_flexion"),
        (("neck", "head"), "z", "neck_bending"),
        (("neck", "head"), "y", "neck_rotation"),
    ],
)
def test_spine_and_neck_add_up(joints: tuple[str, ...], axis: str, name: str) -> None:
    turns = anatomical(HUMAN) | {joint: about(axis, 8.0) for joint in joints}
    angles = in_degrees(motion_of(HUMAN, turns))
    # bones flex about +X, which is OpenSim's -Z; to the right about +Z; to the left about +Y
    assert angles.pop(name)[0] == pytest.approx((-8 if axis == "x" else 8) * len(joints))
    others = [value[0] for key, value in angles.items() if key.startswith(("lumbar", "neck", "hip", "arm"))]
    assert np.abs(others).max() < 1e-8


@pytest.mark.parametrize(("axis", "name"), [("x", "pelvis_list"), ("y", "pelvis_rotation"), ("z", "pelvis_tilt")])
def test_the_pelvis_turns_about_opensims_axes(axis: str, name: str) -> None:
    world = {"x": "y", "y": "z", "z": "x"}[axis]  # OpenSim's X, Y and Z are our Y, Z and X
    turned = about(world, 12.0)[0] @ FACING_X
    angles = in_degrees(motion_of(HUMAN, anatomical(HUMAN) | {"spine": turned_root(HUMAN, turned)}))
    assert angles[name][0] == pytest.approx(12.0)
    others = {"pelvis_tilt", "pelvis_list", "pelvis_rotation"} - {name}
    assert max(abs(angles[other][0]) for other in others) < 1e-8


def test_a_step_to_the_left_moves_the_pelvis_along_opensims_axes() -> None:
    motion = motion_of(HUMAN, {}, 2)
    moved = dataclasses.replace(motion, root_position=motion.root_position + [[0, 0, 0], [0.3, 0.2, 0.1]])
    angles = joint_angles(moved)
    step = [np.diff(angles[f"pelvis_t{axis}"])[0] for axis in "xyz"]
    assert step == pytest.approx([0.2, 0.1, 0.3])


@given(seeds, st.floats(-50, 40), st.floats(0, 20))
def test_rest_pose_rolls_and_euler_orders_do_not_matter(seed: int, arms: float, legs: float) -> None:
    rng = np.random.default_rng(seed)
    motion = random_motion(rng, 4)
    other = rested_otherwise(motion, rng, arms, legs)
    assert np.allclose(joint_positions(other)[0], joint_positions(motion)[0], atol=1e-9)
    expected, angles = joint_angles(motion), joint_angles(other)
    assert angles.names == expected.names
    off = (angles.values - expected.values + np.pi) % (2 * np.pi) - np.pi
    assert np.abs(off).max() < 1e-6


def mirrored(values: np.ndarray, side: str) -> np.ndarray:
    return values * ([1, -1, -1] if side == "l" else [1, 1, 1])


@given(seeds)
def test_the_angles_say_the_orientation_of_every_segment(seed: int) -> None:
    motion = random_motion(np.random.default_rng(seed), 5)
    angles = joint_angles(motion)
    _, rotations = joint_positions(motion)
    frames = {name: rotations[:, joint] @ axes for name, (joint, axes) in anatomical_frames(HUMAN).items()}
    zero = np.zeros(5)

    def check(proximal: str, distal: str, z: np.ndarray, x: np.ndarray, y: np.ndarray, side: str) -> None:
        again = Rotation.from_euler("ZXY", mirrored(np.stack([z, x, y], axis=1), side)).as_matrix()
        assert np.allclose(frames[proximal] @ again, frames[distal], atol=1e-6), distal

    check("pelvis", "trunk", *(angles[f"lumbar_{turn}"] for turn in ("extension", "bending", "rotation")), "")
    check("trunk", "head", *(angles[f"neck_{turn}"] for turn in ("flexion", "bending", "rotation")), "")
    for side, word in (("r", "right"), ("l", "left")):

        def of(name: str, side: str = side) -> np.ndarray:
            return angles[f"{name}_{side}"]

        check("pelvis", f"{word}_thigh", of("hip_flexion"), of("hip_adduction"), of("hip_rotation"), side)
        check(f"{word}_thigh", f"{word}_shank", -of("knee_angle"), zero, zero, side)
        check(f"{word}_shank_at_ankle", f"{word}_foot", of("ankle_angle"), of("subtalar_angle"), zero, side)
        check(f"{word}_foot", f"{word}_toes", -of("mtp_angle"), zero, zero, side)
        check("torso", f"{word}_upper_arm", of("arm_flex"), of("arm_add"), of("arm_rot"), side)
        check(f"{word}_upper_arm", f"{word}_forearm", of("elbow_flex"), zero, of("pro_sup"), side)
        check(f"{word}_forearm", f"{word}_hand", of("wrist_flex"), of("wrist_dev"), zero, side)


def test_an_arm_raised_sideways_through_the_horizontal_does_not_jump() -> None:
    amount = np.arange(0.0, 176.0, 5.0)  # through exactly 90 degrees, where the outer angles are one
    turns = {joint: np.broadcast_to(turn, (len(amount), 3, 3)) for joint, turn in anatomical(HUMAN).items()}
    turns["right_shoulder"] = about("z", 50 - amount)
    angles = in_degrees(motion_of(HUMAN, turns, len(amount)))
    assert np.allclose(angles["arm_add_r"], -amount, atol=1e-6)
    assert np.abs(angles["arm_flex_r"]).max() < 1e-6 and np.abs(angles["arm_rot_r"]).max() < 1e-6


def test_a_figure_that_spins_twice_has_turned_by_720_degrees() -> None:
    turn = np.linspace(0, 720, 60)
    world = about("z", turn) @ FACING_X
    rest = HUMAN.rest_rotation[0]
    rotation = in_degrees(motion_of(HUMAN, {"spine": rest.T @ world @ rest}, 60))["pelvis_rotation"]
    assert np.allclose(np.diff(rotation), np.diff(turn), atol=1e-6)
    assert abs(rotation.mean()) <= 180 + 1e-9


@given(seeds)
def test_cardan_angles_are_continuous_and_say_the_rotation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    knots = rng.normal(size=(6, 3)) * [2.5, 1.6, 2.5]
    path = np.stack([np.interp(np.linspace(0, 5, 800), np.arange(6), axis) for axis in knots.T], axis=1)
    # keep off the pole, where fast turns are real
    path[:, 1] = np.where(np.abs(np.cos(path[:, 1])) < 0.1, path[:, 1] + 0.3, path[:, 1])
    rotations = Rotation.from_euler("ZXY", path).as_matrix()
    angles = continuous_cardan(rotations)
    assert np.allclose(Rotation.from_euler("ZXY", angles).as_matrix(), rotations, atol=1e-9)
    smooth = np.abs(np.diff(path, axis=0)).max(axis=1) < 0.1
    assert np.abs(np.diff(angles, axis=0)[smooth]).max() < 0.11


def test_singular_orientations_alone_are_told_too() -> None:
    rotations = Rotation.from_euler("ZXY", [[0.3, np.pi / 2, 0.2], [0.4, np.pi / 2, 0.5]]).as_matrix()
    angles = continuous_cardan(rotations)
    assert np.allclose(Rotation.from_euler("ZXY", angles).as_matrix(), rotations, atol=1e-6)


def without(skeleton: Skeleton, *roles: str) -> Skeleton:
    return dataclasses.replace(skeleton, roles=tuple("" if role in roles else role for role in skeleton.roles))


def test_absent_roles_are_absent_columns() -> None:
    rng = np.random.default_rng(0)
    legs_only = without(HUMAN, *(role for role in HUMAN.roles if not role.endswith(("hip", "knee", "ankle", "pelvis"))))
    names = joint_angles(random_motion(rng, 3, legs_only)).names
    assert names[6:] == tuple(
        f"{name}_{side}"
        for side in "rl"
        for name in ("hip_flexion", "hip_adduction", "hip_rotation", "knee_angle", "ankle_angle", "subtalar_angle")
    )
    no_elbow = joint_angles(random_motion(rng, 3, without(HUMAN, "left_elbow"))).names
    assert "arm_flex_l" in no_elbow and "elbow_flex_r" in no_elbow
    assert not {"elbow_flex_l", "pro_sup_l", "wrist_flex_l"} & set(no_elbow)


@pytest.mark.parametrize("role", ["pelvis", "left_hip", "right_hip"])
def test_a_skeleton_without_hips_is_refused(role: str) -> None:
    with pytest.raises(AnglesError, match=f"has no {role}"):
        joint_angles(random_motion(np.random.default_rng(0), 3, without(HUMAN, role)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ()}, "one name"),
        ({"names": ("a", "a")}, "differ"),
        ({"values": np.zeros((2, 2))}, "shape"),
        ({"values": np.full((3, 2), np.nan)}, "not finite"),
        ({"times": np.zeros(3)}, "rise"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(change: dict, message: str) -> None:
    table = JointAngles(("knee_angle_r", "pelvis_tx"), np.ones((3, 2)), np.arange(3.0))
    assert np.allclose(table.in_degrees()[0], [np.degrees(1), 1])
    with pytest.raises(AnglesError, match="knee_angle_l"):
        table["knee_angle_l"]
    with pytest.raises(AnglesError, match=message):
        dataclasses.replace(table, **change)


def test_lengths_are_told_from_angles_by_opensims_names() -> None:
    names = ("pelvis_tx", "sh_tz_r", "Abs_t1", "pelvis_tilt", "subtalar_angle_r", "Abs_r3", "mtp_angle_l", "tx")
    table = JointAngles(names, np.zeros((1, len(names))), np.zeros(1))
    assert table.translations.tolist() == [True, True, True, False, False, False, False, True]
