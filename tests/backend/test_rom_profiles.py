# SPDX-License-Identifier: GPL-3.0-or-later
import dataclasses
import json
from importlib import resources

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared_data import SHARED
from strategies import skeletons
from video2rig.anatomy import MOTIONS, RIGIFY_ROLES, motion_words, split_role
from video2rig.human import default_human
from video2rig.kinematics import joint_positions
from video2rig.motion import Motion
from video2rig.rom_profiles import RomError, load_profile, with_profile
from video2rig.settings import ROM_PROFILES
from video2rig.skeleton import EULER_ORDERS, Skeleton, blender_finds

names = pytest.mark.parametrize("name", ROM_PROFILES)


def data(name: str) -> dict:
    return json.loads((resources.files("video2rig") / "rom" / f"{name}.json").read_text("utf-8"))


def test_the_profiles_are_the_files() -> None:
    files = {path.name for path in (resources.files("video2rig") / "rom").iterdir()}
    assert files == {f"{name}.json" for name in ROM_PROFILES}
    assert ROM_PROFILES[0] == "clinical"


@names
def test_every_number_stands_with_its_source(name: str) -> None:
    roles = [role for joint in data(name)["joints"] for role in joint["roles"]]
    assert len(set(roles)) == len(roles)
    for joint in data(name)["joints"]:
        assert joint["euler_order"] in EULER_ORDERS and joint["motions"]
        for row in joint["motions"]:
            assert set(row) - {"note"} == {"motion", "min", "max", "source", "checked"}
            assert row["source"] and isinstance(row["checked"], bool)
            assert "chosen" in row["source"] or not row["source"].startswith("chosen")
            assert row["min"] <= row["max"]


@names
def test_every_box_is_one_that_blender_decomposes_to_the_same_angles(name: str) -> None:
    for role, limits in load_profile(name).joints.items():
        largest = np.degrees(np.abs(limits.bounds).max(axis=1))
        assert largest.sum() < 270, role
        assert largest["XYZ".index(limits.euler_order[1])] < 85, role
        assert blender_finds(limits.euler_order, limits.bounds)
        # every profile can stand at rest
        assert (limits.bounds[:, 0] <= 0).all() and (limits.bounds[:, 1] >= 0).all(), role


@pytest.mark.parametrize(
    ("degrees", "found"),
    [((90, 89, 90), True), ((90, 91, 80), False), ((95, 85, 90), False), ((180, 45, 44), True)],
)
def test_the_rule_itself(degrees: tuple[float, ...], found: bool) -> None:
    x, y, z = np.radians(degrees)
    assert blender_finds("XYZ", np.array([[-0.1, x], [-y, 0], [0, z]])) == found


@names
def test_a_profile_is_symmetric_and_leaves_proportions_alone(name: str) -> None:
    human, limited = default_human(), with_profile(default_human(), name)
    for field in dataclasses.fields(Skeleton):
        if field.name not in ("rom", "euler_order"):
            assert np.array_equal(getattr(limited, field.name), getattr(human, field.name))
    for bone in (bone for bone in human.names if bone.endswith(".L")):
        left, right = limited.index(bone), limited.index(bone[:-2] + ".R")
        assert np.allclose(limited.rom[right, 0], limited.rom[left, 0])
        assert np.allclose(limited.rom[right, 1:], -limited.rom[left, 1:, ::-1])


def rows(name: str) -> dict[tuple[str, str], tuple[float, float]]:
    """Return the range of each role's motion as a profile's file has it."""
    return {
        (role, row["motion"].partition(" / ")[0]): (row["min"], row["max"])
        for joint in data(name)["joints"]
        for role in joint["roles"]
        for row in joint["motions"]
    }


needs_reference = pytest.mark.skipif(
    not (SHARED / "reference" / "rom.json").is_file(), reason=f"the reference numbers are not at {SHARED / 'reference'}"
)


@needs_reference
def test_kineposes_numbers_are_its_chains() -> None:
    chain = json.loads((SHARED / "reference" / "position_ik" / "imvip22_chain.json").read_text())
    x, y, z = ({joint["name"]: joint["rom_deg"][axis] for joint in chain["joints"]} for axis in range(3))
    got = rows("kinepose")
    assert got["hip", "flexion"] == (-x["HipL"][1], -x["HipL"][0])
    assert got["hip", "internal rotation"] == tuple(y["HipL"]) and got["hip", "abduction"] == tuple(z["HipL"])
    assert got["knee", "flexion"] == tuple(y["KneeL"])
    assert got["elbow", "flexion"] == (-z["ElbowL"][1], -z["ElbowL"][0])
    assert got["clavicle", "protraction"] == tuple(y["ClavicleL"])
    assert got["clavicle", "elevation"] == tuple(z["ClavicleL"])
    assert got["neck", "flexion"] == tuple(x["Neck"]) and got["neck", "bending to the right"] == tuple(y["Neck"])
    assert 3 * got["spine_lower", "flexion"][1] == pytest.approx(x["SpineLow"][1] + x["SpineUp"][1])
    shoulder = got["shoulder", "horizontal adduction"], got["shoulder", "internal rotation"]
    assert shoulder[0][0] == -x["ShoulderL"][1] and shoulder[0][1] == pytest.approx(-x["ShoulderL"][0] - 76.56)
    # its elbow bends towards the midline at rest, so that its rotation of 90 degrees is the anatomical zero
    assert shoulder[1] == pytest.approx((90 - y["ShoulderL"][1], 90 - y["ShoulderL"][0] - 30.96))
    assert got["shoulder", "abduction"] == pytest.approx((z["ShoulderL"][0], z["ShoulderL"][1] + 68.76))


@needs_reference
def test_opensims_numbers_are_its_models() -> None:
    models = json.loads((SHARED / "reference" / "rom.json").read_text())["opensim_degrees"]
    arms, legs = models["Rajagopal2016"], models["LaiUhlrich2022/RajagopalLaiUhlrich2023"]
    got = rows("opensim")
    for motion, coordinate in {
        ("hip", "flexion"): legs["hip_flexion"],
        ("hip", "abduction"): [-end for end in reversed(legs["hip_adduction"])],
        ("hip", "internal rotation"): legs["hip_rotation"],
        ("knee", "flexion"): legs["knee_angle"],
        ("ankle", "dorsiflexion"): legs["ankle_angle"],
        ("ankle", "inversion"): legs["subtalar"],
        ("toes", "extension"): legs["mtp"],
        ("elbow", "flexion"): legs["elbow_flex"],
        ("elbow", "pronation"): [end - 90 for end in legs["pro_sup"]],
        ("wrist", "flexion"): arms["wrist_flex"],
        ("wrist", "radial deviation"): [-end for end in reversed(arms["wrist_dev"])],
        ("shoulder", "internal rotation"): arms["arm_rot"],
        ("shoulder", "horizontal adduction"): [end * 84 / 90 for end in arms["arm_flex"]],
        ("shoulder", "abduction"): [-arms["arm_add"][1] + 45, -arms["arm_add"][0]],
    }.items():
        assert got[motion] == pytest.approx(coordinate), motion


def test_the_athlete_reaches_wherever_the_clinical_profile_does_with_clavicle_and_shoulder_together() -> None:
    athlete, clinical = (load_profile(name).joints for name in ("athlete", "clinical"))
    for role in set(clinical) - {"shoulder"}:
        assert (athlete[role].bounds[:, 0] <= clinical[role].bounds[:, 0] + 1e-9).all(), role
        assert (athlete[role].bounds[:, 1] >= clinical[role].bounds[:, 1] - 1e-9).all(), role

    def reach(joints: dict) -> float:
        return joints["shoulder"].bounds[2, 1] + joints["clavicle"].bounds[2, 1]

    assert reach(athlete) >= reach(clinical) - 1e-9


def test_roles_that_a_profile_does_not_speak_of_keep_what_they_have() -> None:
    human = default_human()
    opensim = with_profile(human, "opensim")
    for role in ("neck", "head", "left_clavicle", "pelvis"):
        joint = human.index(role)
        assert np.array_equal(opensim.rom[joint], human.rom[joint])
    nameless = dataclasses.replace(human, roles=("",) * len(human))
    assert np.array_equal(with_profile(nameless, "athlete").rom, human.rom)


@given(skeletons(), st.sampled_from(ROM_PROFILES))
def test_any_skeleton_takes_a_profile_by_role(skeleton: Skeleton, name: str) -> None:
    roles = ["right_knee" if joint % 2 else "" for joint in range(len(skeleton))]
    limited = with_profile(dataclasses.replace(skeleton, roles=tuple(roles)), name)
    assert np.array_equal(limited.rom[::2], skeleton.rom[::2])
    knee = load_profile(name).joints["knee"].bounds
    assert np.allclose(limited.rom[1::2], knee)  # about X alone, the same on both sides


def test_the_default_is_clinical_and_others_are_by_name() -> None:
    assert np.array_equal(default_human().rom, default_human(rom="clinical").rom)
    assert np.array_equal(default_human(1.6, "athlete").rom, with_profile(default_human(), "athlete").rom)
    knee = default_human().index("left_knee")
    assert np.degrees(default_human().rom[knee, 0]).tolist() == pytest.approx([-10, 135])
    assert np.degrees(default_human(rom="kinepose").rom[knee, 0]).tolist() == pytest.approx([0, 137.52])


@pytest.mark.parametrize("name", ["Athlete", "", "../human", "dancer"])
def test_an_unknown_name_is_refused_with_the_list(name: str) -> None:
    with pytest.raises(RomError, match="clinical, athlete, kinepose, opensim"):
        with_profile(default_human(), name)


def moved(role: str, axis: int, degrees: float) -> tuple[np.ndarray, np.ndarray, Skeleton]:
    """Turn one joint; return positions and orientations of all joints."""
    human = default_human()
    rotations = np.zeros((1, len(human), 4))
    rotations[..., 0] = 1
    rotations[0, human.index(role)] = np.insert(np.sin(np.radians(degrees) / 2) * np.eye(3)[axis], 0, 1)
    rotations[0, human.index(role), 0] = np.cos(np.radians(degrees) / 2)
    motion = Motion(human, np.zeros(1), rotations, human.offset[:1], np.ones((1, len(human))))
    positions, orientations = joint_positions(motion)
    return positions[0], orientations[0], human


# role, motion, joint that is moved (its bone's tail), direction in the world that it goes; figure faces -Y, left is +X
DIRECTIONS = [
    ("spine_lower", "flexion", "head", (0, -1, 0)),
    ("neck", "bending to the left", "head", (1, 0, 0)),
    ("left_clavicle", "elevation", "left_wrist", (0, 0, 1)),
    ("right_clavicle", "protraction", "right_wrist", (0, -1, 0)),
    ("left_shoulder", "abduction", "left_wrist", (1, 0, 1)),
    ("right_shoulder", "abduction", "right_wrist", (-1, 0, 1)),
    ("right_shoulder", "horizontal adduction", "right_wrist", (0, -1, 0)),
    ("left_elbow", "flexion", "left_wrist", (0, -1, 0)),
    ("right_wrist", "flexion", "right_wrist", (1, 0, -1)),
    ("right_wrist", "radial deviation", "right_wrist", (0, -1, 0)),
    ("left_hip", "flexion", "left_knee", (0, -1, 0)),
    ("right_hip", "abduction", "right_knee", (-1, 0, 0)),
    ("left_hip", "abduction", "left_knee", (1, 0, 0)),
    ("left_knee", "flexion", "left_ankle", (0, 1, 0)),
    ("right_ankle", "dorsiflexion", "right_toes", (0, 0, 1)),
    ("left_toes", "extension", "left_toes", (0, 0, 1)),
]


def axis_of(role: str, word: str) -> tuple[int, int]:
    """Return axis and direction of an anatomical motion, found by asking for its word."""
    found = [(axis, 1 if upper else -1) for axis in range(3) for upper in (True, False)]
    (match,) = [(axis, sign) for axis, sign in found if motion_words(role, axis, sign > 0) == word]
    return match


@pytest.mark.parametrize(("role", "word", "at", "way"), DIRECTIONS)
def test_motions_go_where_their_words_say(role: str, word: str, at: str, way: tuple[int, ...]) -> None:
    axis, sign = axis_of(role, word)
    tails = []
    for degrees in (0.0, 10.0 * sign):
        positions, orientations, human = moved(role, axis, degrees)
        joint = human.index(at)
        tails.append(positions[joint] + orientations[joint][:, 1] * human.length[joint])
    step = (tails[1] - tails[0]) / np.linalg.norm(tails[1] - tails[0])
    assert step @ np.array(way) / np.linalg.norm(way) > 0.6


@pytest.mark.parametrize(
    ("role", "word", "axis_in_bone", "way"),
    [
        # what turns about the bone itself is told by an axis of the bone: of the forearm that faces forwards, the
        # foot's sole, the thigh's back
        ("left_shoulder", "internal rotation", 2, (-1, 0, -1)),
        ("right_shoulder", "internal rotation", 2, (1, 0, -1)),
        ("left_elbow", "pronation", 2, (-1, 0, -1)),
        ("right_hip", "internal rotation", 2, (-1, 0, 0)),  # Z faces back, so it goes outwards
        ("left_ankle", "inversion", 2, (-1, 0, 0)),  # the sole turns to the middle
        ("head", "rotation to the left", 2, (1, 0, 0)),
    ],
)
def test_turns_about_a_bone_go_where_their_words_say(role: str, word: str, axis_in_bone: int, way: tuple) -> None:
    axis, sign = axis_of(role, word)
    turned = []
    for degrees in (0.0, 10.0 * sign):
        _, orientations, human = moved(role, axis, degrees)
        turned.append(orientations[human.index(role)][:, axis_in_bone])
    step = (turned[1] - turned[0]) / np.linalg.norm(turned[1] - turned[0])
    assert step @ np.array(way) / np.linalg.norm(way) > 0.6


def test_every_free_axis_of_every_profile_has_a_word() -> None:
    for name in ROM_PROFILES:
        for role, limits in load_profile(name).joints.items():
            named = {motion.axis for motion in MOTIONS[role]}
            free = {axis for axis in range(3) if limits.bounds[axis, 0] < limits.bounds[axis, 1]}
            assert free <= named


def test_joints_without_a_word_are_told_by_their_axis() -> None:
    assert motion_words("", 1, True) == "+Y" and motion_words("left_knee", 2, False) == "-Z"
    assert split_role("left_knee") == ("left", "knee") and split_role("spine_lower") == ("", "spine_lower")
    assert set(RIGIFY_ROLES.values()) == set(default_human().roles)
