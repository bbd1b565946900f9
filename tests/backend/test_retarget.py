# SPDX-License-Identifier: GPL-3.0-or-later
"""A rig's own skeleton, and motion put back onto its bones: any rolls, any rest pose, any place."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from rig_examples import MAP, Body, body, moving, swing
from video2rig.human import default_human
from video2rig.keypoints import KEYPOINT_SETS, sites
from video2rig.motion import Motion
from video2rig.rest_rig import RestRig
from video2rig.retarget import (
    Spaces,
    bone_orientations,
    in_spaces,
    matrices,
    orientations,
    quaternions,
    root_path,
)
from video2rig.rig_skeleton import MapError, RigSkeleton, check_map, rig_skeleton, smallest_rotation
from video2rig.rom_profiles import JointRange

seeds = st.integers(0, 2**32 - 1)


def degrees(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    chord = np.linalg.norm(a - b, axis=(-2, -1)) / np.sqrt(8)
    return np.degrees(2 * np.arcsin(np.clip(chord, 0, 1)))


def own_spaces(rig: RestRig, target: RigSkeleton) -> Spaces:
    """Return the spaces of a rig whose bones just hang on their parents."""
    above, turn = [], []
    for bone in target.bones:
        mapped = next((parent for parent in rig.ancestors(bone) if parent in target.bones), -1)
        above.append(-1 if mapped < 0 else target.bones.index(mapped))
        turn.append(rig.frames[bone] if mapped < 0 else rig.frames[mapped].T @ rig.frames[bone])
    return Spaces(tuple(above), np.array(turn))


def played(rig: RestRig, target: RigSkeleton, motion: Motion) -> tuple[np.ndarray, np.ndarray]:
    """Return where a rig's bones are, [T, B, 3], and their axes [T, B, 3, 3], when a motion is keyed on its bones."""
    world = orientations(motion)
    own = matrices(in_spaces(bone_orientations(target, world), own_spaces(rig, target)))
    path = root_path(target, motion, world)
    heads, turned = np.empty((len(motion), len(rig), 3)), np.empty((len(motion), len(rig), 3, 3))
    for bone, parent in enumerate(rig.parents):
        turned[:, bone] = rig.frames[bone]
        heads[:, bone] = rig.heads[bone]
        if parent >= 0:
            turned[:, bone] = turned[:, parent] @ rig.frames[parent].T @ rig.frames[bone]
            step = rig.frames[parent].T @ (rig.heads[bone] - rig.heads[parent])
            heads[:, bone] = heads[:, parent] + turned[:, parent] @ step
        if bone in target.bones:
            number = target.bones.index(bone)
            turned[:, bone] = turned[:, bone] @ own[:, number]
            if number == 0:
                heads[:, bone] = path
    return heads, turned


def joints_of(motion: Motion) -> np.ndarray:
    """Return [T, J, 3] joint centres of a motion."""
    world, skeleton = orientations(motion), motion.skeleton
    places = np.tile(motion.root_position[:, None], (1, len(skeleton), 1))
    for joint, parent in enumerate(skeleton.parents):
        if parent >= 0:
            places[:, joint] = places[:, parent] + world[:, parent] @ skeleton.offset[joint]
    return places


def random_rest(made: Body, rng: np.random.Generator, most: float = 1.4) -> dict[str, np.ndarray]:
    """Return swings of arms and legs; feet stay flat on the floor, turned outward or inward."""
    swings = {}
    for suffix in ("_l", "_r"):
        for bones in (("arm", "lower_arm", "palm"), ("leg", "lower_leg")):
            for name in bones:
                bone = made.names.index(name + suffix)
                along = made.tails[bone] - made.heads[bone]
                limit = {"palm": 0.5, "leg": 0.5, "lower_leg": 0.5}.get(name, most)
                swings[name + suffix] = swing(along, rng.uniform(0, limit), rng.uniform(0, 2 * np.pi))
        leg = swings["leg" + suffix] @ swings["lower_leg" + suffix]
        swings["foot" + suffix] = leg.T @ Rotation.from_euler("z", rng.uniform(-0.6, 0.6)).as_matrix()
    return swings


def random_place(rng: np.random.Generator) -> tuple[np.ndarray, float, np.ndarray]:
    return Rotation.random(rng=rng).as_matrix(), float(rng.uniform(0.3, 3)), rng.normal(size=3)


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_the_same_motion_on_any_rolls_and_rest_pose_is_the_same_animation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    made = body(rng)
    plain, _ = made.rest()
    other, turned = made.rest(random_rest(made, rng), rng.uniform(-np.pi, np.pi, len(made.names)))
    targets = [rig_skeleton(rig, MAP) for rig in (plain, other)]
    motion = moving(targets[0].skeleton, rng)
    # the skeletons are the same to the last joint, whatever the rest pose
    for field in ("rest_rotation", "offset", "length", "rom"):
        difference = np.abs(getattr(targets[0].skeleton, field) - getattr(targets[1].skeleton, field))
        # but for its height above the floor: feet that hang in the air tell it less well
        assert difference[field == "offset" :].max() < 1e-6, field
        assert difference.max() < 0.05, field
    heads, axes = played(plain, targets[0], motion)
    other_heads, other_axes = played(other, targets[1], dataclasses.replace(motion, skeleton=targets[1].skeleton))
    skin = axes @ np.swapaxes(plain.frames, -1, -2)
    other_skin = other_axes @ np.swapaxes(other.frames, -1, -2) @ turned
    assert degrees(skin, other_skin).max() < 0.5
    assert np.abs(heads - other_heads).max() < 1e-6


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_joint_centres_are_those_that_were_solved(seed: int) -> None:
    rng = np.random.default_rng(seed)
    made = body(rng)
    rig, _ = made.rest(random_rest(made, rng), rng.uniform(-np.pi, np.pi, len(made.names)), random_place(rng))
    target = rig_skeleton(rig, MAP)
    motion = moving(target.skeleton, rng)
    heads, axes = played(rig, target, motion)
    solved = joints_of(motion)
    for joint, bone in list(zip(target.joints, target.bones, strict=True))[1:]:
        assert np.abs(heads[:, bone] - solved[:, joint]).max() < 1e-6 * rig.size(), rig.names[bone]
    # no flips: neighbouring frames of a bone differ as little as those of its joint
    world = orientations(motion)
    for joint, bone in zip(target.joints, target.bones, strict=True):
        step = degrees(axes[1:, bone], axes[:-1, bone])
        assert np.allclose(step, degrees(world[1:, joint], world[:-1, joint]), atol=1e-4)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_where_a_rig_stands_and_how_large_it_is_changes_no_angle(seed: int) -> None:
    rng = np.random.default_rng(seed)
    made = body(rng)
    swings, place = random_rest(made, rng), random_place(rng)
    plain, placed = (rig_skeleton(made.rest(swings, None, where)[0], MAP).skeleton for where in (None, place))
    assert np.abs(plain.rest_rotation - placed.rest_rotation).max() < 1e-6
    assert np.abs(plain.offset[1:] * place[1] - placed.offset[1:]).max() < 1e-6
    assert np.abs(plain.length * place[1] - placed.length).max() < 1e-6


def test_a_rig_of_the_default_humans_proportions_is_the_default_human() -> None:
    human = default_human()
    bones = {role: name for role, name in zip(human.roles, human.names, strict=True)}
    rest = human.rest_matrices()
    tails = rest[:, :3, 3] + rest[:, :3, 1] * human.length[:, None]
    rig = RestRig(human.names, human.parents, rest[:, :3, :3], rest[:, :3, 3], tails)
    made = rig_skeleton(rig, bones)
    assert made.skeleton.names == human.names and made.skeleton.roles == human.roles
    for field in ("rest_rotation", "offset", "length", "rom"):
        assert np.abs(getattr(made.skeleton, field) - getattr(human, field)).max() < 1e-6, field
    assert np.abs(made.turn - np.eye(3)).max() < 1e-6 and np.abs(made.root_offset).max() < 1e-6


@pytest.mark.parametrize("angle", [-50.0, -25.0, 0.0, 40.0])
def test_arms_may_rest_out_or_down(angle: float) -> None:
    made = body()
    swings = {
        "arm_l": Rotation.from_euler("y", -np.radians(angle)).as_matrix(),
        "arm_r": Rotation.from_euler("y", np.radians(angle)).as_matrix(),
    }
    rig, _ = made.rest(swings)
    expected, found = rig_skeleton(made.rest()[0], MAP).skeleton, rig_skeleton(rig, MAP).skeleton
    assert np.abs(expected.rest_matrices() - found.rest_matrices()).max() < 1e-6


def test_the_detectors_points_have_their_places_on_it() -> None:
    """The palm, the sole and the face of a rig with any rolls lie where the default human has them."""
    rng = np.random.default_rng(3)
    made = body()
    rig, _ = made.rest(random_rest(made, rng), rng.uniform(-3, 3, len(made.names)))
    found, human = rig_skeleton(rig, MAP).skeleton, default_human()
    names = KEYPOINT_SETS["blazepose_33"]

    def places(skeleton: object) -> np.ndarray:
        joints, offset = sites(skeleton, names)  # type: ignore[arg-type]
        rest = skeleton.rest_matrices()[joints]  # type: ignore[attr-defined]
        return rest[:, :3, 3] + np.einsum("kij,kj->ki", rest[:, :3, :3], offset)

    assert np.abs(places(found) - places(human)).max() < 0.005


def test_what_a_rig_lacks_does_not_turn_and_its_range_goes_to_the_neighbour() -> None:
    rig, _ = body().rest()
    bones = {role: bone for role, bone in MAP.items() if role not in ("spine_lower", "spine_middle", "left_toes")}
    made = rig_skeleton(rig, bones)
    skeleton, human = made.skeleton, default_human()
    for role in ("spine_lower", "spine_middle", "left_toes"):
        assert not skeleton.rom[skeleton.index(role)].any()
    whole = sum(human.rom[human.index(role)] for role in ("spine_lower", "spine_middle", "spine_upper"))
    assert np.allclose(skeleton.rom[skeleton.index("spine_upper")], whole)
    assert len(made.bones) == len(bones) == len(human) - 3
    assert skeleton.names[skeleton.index("left_toes")] == "toe.L"


def test_a_bones_own_limits_keep_its_own_axes_and_zero() -> None:
    rng = np.random.default_rng(1)
    made = body()
    rig, _ = made.rest(random_rest(made, rng), rng.uniform(-3, 3, len(made.names)))
    limit = JointRange("ZYX", np.radians([[-10.0, 20], [0, 0], [-5, 5]]))
    target = rig_skeleton(rig, MAP, limits={"lower_arm_l": limit})
    skeleton = target.skeleton
    joint = skeleton.index("left_elbow")
    assert skeleton.euler_order[joint] == "ZYX" and np.allclose(skeleton.rom[joint], limit.bounds)
    motion = moving(skeleton, rng)
    number = target.joints.index(joint)
    own = in_spaces(bone_orientations(target, orientations(motion)), own_spaces(rig, target))
    assert degrees(matrices(own[:, number]), matrices(motion.rotations[:, joint])).max() < 1e-4


def test_the_floor_is_the_objects_origin_where_that_lies_under_the_soles_and_else_the_soles() -> None:
    made = body()
    standing = rig_skeleton(made.rest()[0], MAP).skeleton.offset[0, 2]
    for height in (0.0, 0.02, 1.0):
        lifted, _ = made.rest(place=(np.eye(3), 1.0, np.array([5.0, 2.0, height])))
        skeleton = rig_skeleton(lifted, MAP, origin=np.array([5.0, 2.0, 0.0])).skeleton
        expected = standing + (height if height < 0.05 else 0.0)
        assert skeleton.offset[0] == pytest.approx([0, 0, expected], abs=0.02)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"left_knee": ""}, "bones are missing for: left knee"),
        ({"left_knee": "nothing"}, "'nothing', mapped to left knee, is not there"),
        ({"left_knee": "lower_leg_r"}, "'lower_leg_r' is mapped to both"),
        ({"tail": "tail_a"}, "no role 'tail'"),
        ({"neck": "leg_twist_l", "left_knee": "leg_l", "left_hip": "hips", "pelvis": "root"}, ""),
    ],
)
def test_a_map_that_cannot_be_solved_is_refused(change: dict[str, str], says: str) -> None:
    rig, _ = body().rest()
    if says:
        with pytest.raises(MapError, match=says):
            check_map(rig, MAP | change)
    else:
        check_map(rig, MAP | change)


def test_joints_at_one_place_are_refused() -> None:
    made = body()
    made.heads[made.names.index("lower_leg_l")] = made.heads[made.names.index("leg_l")]
    with pytest.raises(MapError, match=r"'leg_l' .left hip. and 'lower_leg_l' .left knee. begin at the same place"):
        rig_skeleton(made.rest()[0], MAP)


@given(seeds)
@settings(max_examples=50, deadline=None)
def test_quaternions_and_matrices_are_one_another(seed: int) -> None:
    rng = np.random.default_rng(seed)
    turns = Rotation.random(50, rng=rng)
    near = Rotation.from_rotvec(np.pi * (1 - 1e-9) * np.eye(3)[rng.integers(0, 3, 5)])
    for rotations in (turns, near, Rotation.identity(3)):
        given_, found = np.roll(rotations.as_quat(), 1, axis=-1), quaternions(rotations.as_matrix())
        assert np.abs(np.abs((given_ * found).sum(-1)) - 1).max() < 1e-9
        assert np.abs(matrices(given_) - rotations.as_matrix()).max() < 1e-9


@given(seeds)
def test_the_smallest_rotation_turns_one_direction_into_the_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, 3))
    for before, after in ((a, b), (a, a), (a, -a), (a, -a + 1e-7 * b)):
        turn = smallest_rotation(before, after)
        assert np.allclose(turn @ before / np.linalg.norm(before), after / np.linalg.norm(after), atol=1e-6)
        assert np.allclose(turn.T @ turn, np.eye(3), atol=1e-6) and np.linalg.det(turn) > 0
        # no larger than the angle between them
        between = np.arccos(np.clip(before @ after / np.linalg.norm(before) / np.linalg.norm(after), -1, 1))
        assert np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)) == pytest.approx(between, abs=1e-3)
