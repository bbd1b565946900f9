# SPDX-License-Identifier: GPL-3.0-or-later
"""Contacts that somebody has marked are held, and no others."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fake_people import FakeBackend
from synthetic import FACING, NAMES, moving_person, see
from video2rig.contacts import Feet, on_frames, rest_in
from video2rig.human import default_human
from video2rig.ik import BodyModel, Pose
from video2rig.ik.prior import relaxed_pose
from video2rig.kinematics import keypoint_positions
from video2rig.motion import Contact
from video2rig.pipeline import Pipeline, solve_seen
from video2rig.seen import ContactsError, Seen, contacts_from_json, contacts_to_json
from video2rig.settings import Settings

FACTS = {"name": "clip.mp4", "width": 1280, "height": 720, "fps": 30.0}
SETTINGS = Settings(field_of_view=float(np.radians(60)), height=1.75, contacts="marked", regression=False)
FEET = Feet(BodyModel.for_keypoints(default_human(), NAMES))
TIMES = np.arange(60) / 30.0

moments = st.floats(0.0, 1.96)
intervals = st.tuples(st.sampled_from(("foot.L", "foot.R", "toe.L", "toe.R")), moments, moments).map(
    lambda drawn: Contact(drawn[0], min(drawn[1:]), max(drawn[1:]))
)


@given(st.lists(intervals, max_size=6))
def test_parts_rest_in_the_frames_of_their_intervals_alone(contacts: list[Contact]) -> None:
    resting = rest_in(FEET, tuple(contacts), TIMES)
    for part, joint in enumerate(FEET.joints):
        for frame, time in enumerate(TIMES):
            # nearer to an edge than times are told, either will do
            if all(min(abs(time - contact.start), abs(time - contact.end)) > 2e-5 for contact in contacts):
                own = [contact for contact in contacts if contact.joint == joint]
                assert resting[frame, part] == any(contact.start <= time <= contact.end for contact in own)


@given(st.integers(0, 59), st.integers(0, 59))
def test_times_that_were_told_in_text_are_those_of_the_frames(one: int, other: int) -> None:
    start, end = (float(TIMES[frame]) for frame in sorted((one, other)))
    told = contacts_from_json(contacts_to_json((Contact("toe.R", start, end),)))
    assert on_frames(told, default_human(), TIMES) == (Contact("toe.R", start, end),)


@given(st.lists(intervals, max_size=6))
def test_contacts_survive_their_json(contacts: list[Contact]) -> None:
    read = contacts_from_json(contacts_to_json(tuple(contacts)))
    assert [contact.start for contact in read] == sorted(contact.start for contact in read)
    wanted, got = (sorted((c.joint, round(c.start, 6), round(c.end, 6)) for c in some) for some in (contacts, read))
    assert got == wanted


@pytest.mark.parametrize(
    ("contacts", "says"),
    [
        (None, "only where a take is solved again"),
        ((Contact("hand.L", 0.0, 1.0),), "no contact of 'hand.L'; feet are foot.L, toe.L, foot.R, toe.R"),
        ((Contact("foot.L", 5.0, 6.0),), r"foot.L from 5.00 to 6.00 s lies outside of the video, .* 0.00 to 1.97 s"),
        ((Contact("foot.L", 1.005, 1.02),), "or between two of its frames"),
    ],
)
def test_contacts_that_cannot_be_held_are_named(contacts: tuple[Contact, ...] | None, says: str) -> None:
    with pytest.raises(ContactsError, match=says):
        on_frames(contacts, default_human(), TIMES)


def test_a_video_has_no_marks() -> None:
    with pytest.raises(ContactsError, match="only where a take is solved again"):
        Pipeline(SETTINGS, FACTS, FakeBackend())  # type: ignore[arg-type]


def test_a_foot_is_held_where_it_was_marked() -> None:
    """Somebody stands still and is seen to tremble; the right foot is marked to rest in the second half."""
    scene = moving_person(np.random.default_rng(0), frames=60, noise=2.0)
    relaxed, _ = relaxed_pose(scene.model.skeleton, scene.model.dof_joint, scene.model.dof_axis)
    standing = Pose(
        torch.tensor([[0.0, 0.0, 4.0]], dtype=torch.float64).expand(60, 3),
        FACING.expand(60, 3, 3),
        relaxed.expand(60, -1),
    )
    keypoints = see(scene.model, standing, scene.camera, scene.keypoints.times, np.random.default_rng(1), noise=4.0)
    times = keypoints.times
    marked = (Contact("foot.R", float(times[30]), float(times[59])),)
    take = solve_seen(Seen(keypoints, 1, None, marked), SETTINGS, FACTS, FakeBackend())  # type: ignore[arg-type]
    assert take.motion.contacts == marked
    heels = keypoint_positions(take.motion, ("left_heel", "right_heel"))
    slide = np.linalg.norm(np.diff(heels, axis=0), axis=-1)
    assert slide[30:, 1].max() < 1e-3  # metres from frame to frame
    assert slide[30:, 0].mean() > 1e-3 and slide[:25, 1].mean() > 1e-3
    auto = dataclasses.replace(SETTINGS, contacts="auto")
    found = solve_seen(Seen(keypoints, 1, None, marked), auto, FACTS, FakeBackend())  # type: ignore[arg-type]
    assert {contact.joint for contact in found.motion.contacts} == {"foot.L", "foot.R", "toe.L", "toe.R"}
