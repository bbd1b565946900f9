# SPDX-License-Identifier: GPL-3.0-or-later
"""A rig of other proportions takes over a person's pose, above the same floor and before the same camera."""

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from rig_examples import MAP, body
from synthetic import Scene, moving_person
from video2rig.bounds import joint_angles
from video2rig.human import default_human
from video2rig.ik.to_motion import local_quaternions
from video2rig.keypoints import KEYPOINT_SETS
from video2rig.kinematics import joint_positions, keypoint_positions
from video2rig.motion import Contact, Motion
from video2rig.onto_rig import leg_length, onto_rig, same_contacts
from video2rig.own_body import OwnBody
from video2rig.rig_skeleton import rig_skeleton
from video2rig.settings import Settings
from video2rig.skeleton import Skeleton
from video2rig.solving import solve_keypoints
from video2rig.take import MEASURED, OF_THE_ARMATURE, Take

NAMES = KEYPOINT_SETS["halpe_26"]
FACTS = {"name": "clip.mp4", "width": 1280, "height": 720, "fps": 30.0}
LIMBS = [
    (f"{side}_{begin}", f"{side}_{end}")
    for side in ("left", "right")
    for begin, end in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
]


def of_proportions(rng: np.random.Generator) -> Skeleton:
    """The default human, each of its bones longer or shorter by up to a third, alike on both sides."""
    human = default_human()
    factor = {role.replace("right_", "left_"): rng.uniform(0.7, 1.3) for role in human.roles}
    each = np.array([factor[role.replace("right_", "left_")] for role in human.roles])
    return human.scaled(each, each)


def wandering(rng: np.random.Generator, frames: int = 20) -> Motion:
    """A person whose joints turn slowly, in the middle of their ranges, on the way along the floor."""
    scene, times = moving_person(rng, frames=frames), np.arange(frames) / 30
    return Motion(
        scene.model.skeleton,
        times,
        local_quaternions(scene.model, scene.pose),
        rng.normal(0, 0.1, 3) + [0, 0, 1.0] + np.outer(times, rng.normal(0, 1, 3) * [1, 1, 0]),
        rng.uniform(0, 1, (frames, len(scene.model.skeleton))),
        (Contact("foot.L", 0.1, 0.3),),
    )


def directions(motion: Motion) -> np.ndarray:
    """[T, L, 3] of the limbs' segments."""
    places = joint_positions(motion)[0]
    ends = np.array([[motion.skeleton.index(role) for role in limb] for limb in LIMBS])
    along = places[:, ends[:, 1]] - places[:, ends[:, 0]]
    return along / np.linalg.norm(along, axis=-1, keepdims=True)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_segments_point_where_the_persons_do_whatever_the_proportions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    motion, rig = wandering(rng), of_proportions(rng)
    size = leg_length(rig) / leg_length(motion.skeleton)
    made = onto_rig(motion, rig, NAMES, size)
    assert made.skeleton.to_json() == rig.to_json()
    assert np.linalg.norm(directions(made) - directions(motion), axis=-1).max() < np.radians(0.1)
    hips = [
        joint_positions(one)[0][:, [one.skeleton.index("left_hip"), one.skeleton.index("right_hip")]].mean(1)
        for one in (made, motion)
    ]
    np.testing.assert_allclose(hips[0], size * hips[1], atol=1e-9)
    np.testing.assert_array_equal(made.times, motion.times)
    assert made.contacts == motion.contacts
    np.testing.assert_allclose(made.confidence, motion.confidence)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_neither_names_nor_rolls_nor_rest_poses_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    motion, made = wandering(rng), body(rng)
    for rest in (made.rest()[0], made.rest(rolls=rng.uniform(-3, 3, len(made.names)))[0]):
        rig = rig_skeleton(rest, MAP).skeleton
        moved = onto_rig(motion, rig, NAMES, 1.0)
        # toes and hips of the example lie a little differently on their bones
        assert np.degrees(np.linalg.norm(directions(moved) - directions(motion), axis=-1).max()) < 1.0
        assert {contact.joint for contact in moved.contacts} == {rig.names[rig.index("left_ankle")]}


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_a_narrower_range_of_motion_is_obeyed_and_the_rest_of_the_limb_makes_up_for_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    motion = wandering(rng)
    human = motion.skeleton
    rom, elbow = human.rom.copy(), human.index("left_elbow")
    rom[elbow, 0] = [0.0, np.radians(15)]
    made = onto_rig(motion, dataclasses.replace(human, rom=rom), NAMES, 1.0)
    angles = joint_angles(made)[:, 1:]
    assert (angles >= rom[1:, :, 0] - 1e-7).all() and (angles <= rom[1:, :, 1] + 1e-7).all()
    bent = joint_angles(motion)[:, elbow, 0] > np.radians(20)
    assume(bent.any())
    stopped, order = joint_angles(motion)[:, elbow], human.euler_order[elbow]
    stopped[:, 0] = stopped[:, 0].clip(*rom[elbow, 0])
    turn = Rotation.from_euler(order.lower(), stopped[:, ["XYZ".index(axis) for axis in order]])
    rotations = motion.rotations.copy()
    rotations[:, elbow] = turn.as_quat(scalar_first=True)
    alone = dataclasses.replace(motion, rotations=rotations)
    wrist = [keypoint_positions(one, ("left_wrist",))[bent, 0] for one in (motion, made, alone)]
    assert np.linalg.norm(wrist[1] - wrist[0], axis=1).mean() < np.linalg.norm(wrist[2] - wrist[0], axis=1).mean()


def test_contacts_go_by_role() -> None:
    rig = rig_skeleton(body(np.random.default_rng(0)).rest()[0], MAP).skeleton
    human = default_human()
    contacts = (Contact("foot.L", 0.0, 1.0), Contact("toe.R", 0.5, 0.6))
    there = same_contacts(contacts, human, rig)
    assert [rig.roles[rig.index(contact.joint)] for contact in there] == ["left_ankle", "right_toes"]
    assert same_contacts(there, rig, human) == contacts


@pytest.fixture(scope="module")
def scene() -> Scene:
    return moving_person(np.random.default_rng(3), frames=40, noise=1.0)


def solve(scene: Scene, rig: Skeleton | None, former: OwnBody | None = None, **changes) -> Take:
    chosen = dataclasses.replace(Settings(field_of_view=float(np.radians(60))), **changes)
    return solve_keypoints(scene.keypoints, chosen, FACTS, {}, skeleton=rig, former=former)


def test_a_rig_takes_over_what_is_solved_of_the_person_and_the_camera_sees_both_alike(scene: Scene) -> None:
    person, rig = solve(scene, None), of_proportions(np.random.default_rng(1))
    take = solve(scene, rig)
    assert take.motion.skeleton.to_json() == rig.to_json() and take.motion.provenance["proportions"] == OF_THE_ARMATURE
    assert person.own is None and person.motion.provenance["proportions"] == MEASURED
    assert take.own is not None
    # the legs of what is shown have given way to the floor
    others = [j for j, role in enumerate(rig.roles) if not role.endswith(("hip", "knee", "ankle", "toes"))]
    np.testing.assert_allclose(take.own.rotations[:, others], person.motion.rotations[:, others], rtol=0, atol=1e-12)
    arms = [number for number, limb in enumerate(LIMBS) if "shoulder" in limb[0] or "elbow" in limb[0]]
    apart = np.linalg.norm(directions(take.motion) - directions(person.motion), axis=-1)
    assert np.degrees(apart[:, arms].max()) < 0.1
    size = leg_length(rig) / leg_length(person.motion.skeleton)
    np.testing.assert_allclose(take.camera.position, size * person.camera.position, atol=1e-9)
    hips = [
        one.camera.project(joint_positions(one.motion)[0][:, [one.motion.skeleton.index("left_hip")]])
        for one in (take, person)
    ]
    assert np.abs(hips[0] - hips[1]).max() < 25  # pixels, as hips are as wide as the rig's


def test_an_armature_of_the_persons_own_measures_is_solved_as_such_when_told(scene: Scene) -> None:
    mine = scene.model.skeleton
    take = solve(scene, mine, proportions="armature")
    assert take.own is None and take.motion.skeleton.to_json() == mine.to_json()
    assert take.motion.provenance["proportions"] == OF_THE_ARMATURE and take.own_body() is None


def test_from_what_was_measured_the_same_comes_without_measuring(scene: Scene) -> None:
    rig = of_proportions(np.random.default_rng(2))
    first = Take.from_bytes(solve(scene, rig).to_bytes())
    body_of_first = first.own_body()
    assert body_of_first is not None and not body_of_first.is_of(rig)
    again = solve(scene, rig, body_of_first)
    assert again.own is not None and again.own.is_of(body_of_first.skeleton)
    cosine = np.abs((again.motion.rotations * first.motion.rotations).sum(-1)).clip(0, 1)
    assert np.degrees(2 * np.arccos(cosine)).mean() < 0.5
    # put on the person's own body, it is that body's motion
    alone = solve(scene, body_of_first.skeleton, body_of_first)
    assert alone.own is None and alone.motion.provenance["proportions"] == MEASURED
    # another range of motion is another profile's
    wide = solve(scene, rig, body_of_first, rom="athlete")
    assert wide.own is not None
    assert np.array_equal(wide.own.skeleton.rom, default_human(rom="athlete").rom)


def test_a_take_keeps_the_persons_own_body(scene: Scene) -> None:
    take = solve(scene, of_proportions(np.random.default_rng(4)))
    same = Take.from_bytes(take.to_bytes())
    assert take.own is not None and same.own is not None
    assert same.own.skeleton.to_json() == take.own.skeleton.to_json()
    assert same.own.camera.to_json() == take.own.camera.to_json()
    np.testing.assert_allclose(same.own.rotations, take.own.rotations, atol=1e-7)
    np.testing.assert_allclose(same.own.root_position, take.own.root_position, atol=1e-6)
