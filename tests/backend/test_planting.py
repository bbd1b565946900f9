# SPDX-License-Identifier: GPL-3.0-or-later
"""Resting feet stand still: to the millimetre, inside the range of motion, and nothing but the legs gives way."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from rig_examples import MAP, body
from video2rig import solving
from video2rig.bounds import joint_angles
from video2rig.keypoints import KEYPOINT_SETS, Keypoints, sites
from video2rig.kinematics import keypoint_positions
from video2rig.motion import Contact, Motion
from video2rig.onto_rig import onto_rig
from video2rig.planting import SOLES, planted
from video2rig.rig_skeleton import rig_skeleton
from video2rig.settings import Settings
from video2rig.skeleton import Skeleton
from video2rig.solving import solve_keypoints
from video2rig.take import Take

SAMPLE = Path(__file__).parents[1] / "sample" / "sample_truth.npz"
LEGS = tuple(f"{side}_{part}" for side in ("left", "right") for part in ("hip", "knee", "ankle", "toes"))


def standing(skeleton: Skeleton) -> np.ndarray:
    joints, offset = sites(skeleton, SOLES)
    rest = skeleton.rest_matrices()[joints]
    return rest[:, 2, 3] + np.einsum("si,si->s", rest[:, 2, :3], offset)


def fastest_slide(motion: Motion) -> float:
    """Return the largest speed along the floor, from frame to frame, of any part that rests, metres a second."""
    joints, _ = sites(motion.skeleton, SOLES)
    places = keypoint_positions(motion, SOLES)
    found = []
    for contact in motion.contacts:
        part = [motion.skeleton.names[joint] for joint in joints].index(contact.joint)
        inside = (motion.times >= contact.start - 1e-9) & (motion.times <= contact.end + 1e-9)
        steps = np.linalg.norm(np.diff(places[inside, part, :2], axis=0), axis=1)
        found.append(float((steps / np.diff(motion.times[inside])).max(initial=0.0)))
    return max(found)


def swaying(rng: np.random.Generator, frames: int = 60) -> Motion:
    """A person who stands with bent knees; body and legs sway, so that the feet slide and sink by some millimetres."""
    skeleton = rig_skeleton(body(rng).rest()[0], MAP).skeleton
    times = np.arange(frames) / 30

    def wander(*shape: int) -> np.ndarray:
        noise = gaussian_filter1d(rng.normal(size=(frames, *shape)), 5, axis=0, mode="reflect")
        return noise / noise.std()

    angles = np.radians(0.4) * wander(len(skeleton), 3)
    for side in ("left", "right"):
        angles[:, skeleton.index(f"{side}_hip"), 0] -= np.radians(15)
        angles[:, skeleton.index(f"{side}_knee"), 0] += np.radians(30)
        angles[:, skeleton.index(f"{side}_ankle"), 0] -= np.radians(15)
    angles = np.clip(angles, skeleton.rom[..., 0], skeleton.rom[..., 1])
    angles[:, 0] = 0.0
    turned = np.empty((frames, len(skeleton), 4))
    for joint, order in enumerate(skeleton.euler_order):
        columns = ["XYZ".index(axis) for axis in order]
        turned[:, joint] = np.roll(Rotation.from_euler(order.lower(), angles[:, joint, columns]).as_quat(), 1, axis=-1)
    motion = Motion(skeleton, times, turned, np.zeros((frames, 3)), np.ones((frames, len(skeleton))))
    lowest = keypoint_positions(motion, SOLES)[..., 2] - standing(skeleton)
    root = 0.003 * wander(3) - [0, 0, lowest.mean()]
    names = [skeleton.names[joint] for joint in sites(skeleton, SOLES)[0]]
    rests = ((0, 0.0, times[-1]), (1, 0.3, 1.2), (2, 0.5, 1.5), (3, 0.5, times[-1]))
    contacts = tuple(Contact(names[part], start, float(end)) for part, start, end in rests)
    return dataclasses.replace(motion, root_position=root, contacts=contacts)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_resting_parts_stand_still_and_only_legs_give_way(seed: int) -> None:
    motion = swaying(np.random.default_rng(seed))
    assert fastest_slide(motion) > 0.02
    made = planted(motion)
    assert fastest_slide(made) < 0.005
    skeleton = motion.skeleton
    assert (keypoint_positions(made, SOLES)[..., 2] - standing(skeleton)).min() > -0.001
    others = [joint for joint, role in enumerate(skeleton.roles) if role not in LEGS]
    assert (made.rotations[:, others] == motion.rotations[:, others]).all()
    assert np.abs(made.root_position - motion.root_position).max() < 0.02
    angles = joint_angles(made)[:, 1:]
    assert (angles > skeleton.rom[1:, :, 0] - 1e-6).all() and (angles < skeleton.rom[1:, :, 1] + 1e-6).all()
    # nothing jumps: a leg turns in a frame by little more than it did
    change = np.abs(np.diff(joint_angles(made) - joint_angles(motion), axis=0)[:, 1:])
    assert np.degrees(change.max()) < 4.0


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_a_heel_that_rests_with_toes_twice_does_not_move_between(seed: int) -> None:
    """The foot turns while the heel rests, and toes come down twice: both places are a foot's length from the heel."""
    motion = swaying(np.random.default_rng(seed))
    names = [motion.skeleton.names[joint] for joint in sites(motion.skeleton, SOLES)[0]]
    rests = ((0, 0.0, float(motion.times[-1])), (1, 0.0, 0.7), (1, 1.1, 1.9))
    resting = dataclasses.replace(motion, contacts=tuple(Contact(names[part], *when) for part, *when in rests))
    turned = motion.skeleton.index("left_toes")
    # toes point elsewhere in the second rest, as a detector sees them that is not sure
    bent = Rotation.from_rotvec(np.radians(12) * (motion.times[:, None] > 0.9) * [1.0, 0.0, 0.0])
    rotations = resting.rotations.copy()
    rotations[:, turned] = np.roll(bent.as_quat(), 1, axis=-1)
    made = planted(dataclasses.replace(resting, rotations=rotations))
    heel = keypoint_positions(made, SOLES)[:, 0]
    assert np.linalg.norm(np.diff(heel[:, :2], axis=0), axis=1).max() < 0.0002  # metres from frame to frame
    assert fastest_slide(made) < 0.005


def test_what_is_far_from_any_rest_is_as_it_was() -> None:
    motion = swaying(np.random.default_rng(1))
    lifted = motion.root_position + [0, 0, 0.3]
    first = motion.contacts[0]._replace(end=0.4)
    made = planted(dataclasses.replace(motion, contacts=(first,), root_position=lifted))
    late = motion.times > 0.4 + 0.21
    assert np.abs(made.rotations[late] - motion.rotations[late]).max() < 1e-9
    assert np.abs(made.root_position[late] - lifted[late]).max() < 1e-9
    assert np.abs(made.rotations[~late] - motion.rotations[~late]).max() > 1e-4


def test_without_contacts_above_the_floor_nothing_changes() -> None:
    motion = swaying(np.random.default_rng(2))
    free = dataclasses.replace(motion, contacts=(), root_position=motion.root_position + [0, 0, 0.3])
    assert planted(free) is free


@pytest.mark.parametrize("seed", [2, 3])
def test_feet_stand_still_on_a_rig_of_other_proportions(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample's motion, as a detector with a pixel of noise sees it, solved on a rig's own skeleton.

    The rig takes over the person's feet as they stand still already.
    """
    truth = Take.load(SAMPLE)
    few = slice(0, 60)
    names = KEYPOINT_SETS["blazepose_33"]
    points = keypoint_positions(truth.motion, names)[few]
    camera, rng = truth.camera, np.random.default_rng(seed)
    pixels = camera.project(points) + rng.normal(0, 1.0, (*points.shape[:2], 2))
    seen = points @ camera.rotation.T
    middle = seen[:, [names.index("left_hip"), names.index("right_hip")]].mean(axis=1, keepdims=True)
    keypoints = Keypoints("blazepose_33", pixels, np.ones(points.shape[:2]), truth.motion.times[few], seen - middle)
    skeleton = rig_skeleton(body(rng).rest(rolls=rng.uniform(-3, 3, len(body().names)))[0], MAP).skeleton
    facts = {"width": camera.width, "height": camera.height}
    taken_over: list[Motion] = []
    monkeypatch.setattr(solving, "onto_rig", lambda person, *rest: taken_over.append(person) or onto_rig(person, *rest))
    motion = solve_keypoints(keypoints, Settings(field_of_view=0.8), facts, {}, skeleton=skeleton).motion
    assert len(motion.contacts) >= 2
    assert fastest_slide(motion) < 0.005
    assert (keypoint_positions(motion, SOLES)[..., 2] - standing(skeleton)).min() > -0.005
    (person,) = taken_over
    assert fastest_slide(person) < 0.005


@pytest.mark.parametrize("locked", [LEGS[:4], LEGS])
def test_legs_that_cannot_turn_leave_it_to_the_pelvis(locked: tuple[str, ...]) -> None:
    motion = swaying(np.random.default_rng(4))
    rom = motion.skeleton.rom.copy()
    joints = [motion.skeleton.index(role) for role in locked]
    rom[joints] = 0.0
    stiff = dataclasses.replace(motion, skeleton=dataclasses.replace(motion.skeleton, rom=rom))
    found = planted(stiff)
    assert np.allclose(found.rotations[:, joints], motion.rotations[:, joints], atol=1e-9)
    assert np.isfinite(found.root_position).all()
    assert not np.allclose(found.root_position, motion.root_position, atol=1e-4)
