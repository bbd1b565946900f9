# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from strategies import seeds
from synthetic import NAMES
from video2rig.camera import Camera
from video2rig.contacts import SHORTEST, Feet, find_contacts, floor_below, hold
from video2rig.ground import up_of_tilt
from video2rig.human import default_human
from video2rig.ik import BodyModel, Pose
from video2rig.ik.evidence import Positions
from video2rig.ik.objective import Objective
from video2rig.ik.solver import solve
from video2rig.keypoints import KEYPOINT_SETS, Keypoints, has_site
from video2rig.motion import Contact

MODEL = BodyModel.for_keypoints(default_human(), NAMES)
FEET = Feet(MODEL)
CAMERA = Camera.from_field_of_view(640, 480, 1.0).placed(
    np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]), np.array([0.0, 1.0, 4.0])
)
LEFT = [part for part, joint in enumerate(FEET.joints) if joint.endswith(".L")]


def walk(rate: float, seconds: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """Both feet stand; the left one swings a metre aside, 15 cm up, from 1.5 to 2 s. Places [T, F, 3] and times."""
    times = np.arange(0, seconds, 1 / rate)
    share = np.clip((times - 1.5) / 0.5, 0, 1)
    smooth = share * share * (3 - 2 * share)
    places = np.zeros((len(times), len(FEET.joints), 3))
    places[..., 2] = FEET.standing
    places[:, LEFT, 0] += smooth[:, None]
    places[:, LEFT, 2] += 0.15 * np.sin(np.pi * share)[:, None]
    return places, times


def seen(times: np.ndarray, confidence: float = 1.0) -> Keypoints:
    count = len(NAMES)
    return Keypoints("blazepose_33", np.zeros((len(times), count, 2)), np.full((len(times), count), confidence), times)


def of(joint: str, contacts: tuple[Contact, ...]) -> list[Contact]:
    return [contact for contact in contacts if contact.joint == joint]


@pytest.mark.parametrize("rate", [24.0, 60.0])
def test_a_stepping_foot_has_two_contacts_and_a_standing_one_has_one(rate: float) -> None:
    places, times = walk(rate)
    contacts, resting = find_contacts(FEET, places, seen(times), CAMERA)
    first, second = of("foot.L", contacts)
    assert first.start == 0 and first.end == pytest.approx(1.55, abs=0.12)
    assert second.start == pytest.approx(1.95, abs=0.12) and second.end == pytest.approx(times[-1])
    assert of("foot.R", contacts) == [Contact("foot.R", 0.0, float(times[-1]))]
    assert resting[0].all() and not resting[np.searchsorted(times, 1.75), LEFT].any()


def test_a_foot_that_is_not_seen_rests_on_nothing() -> None:
    places, times = walk(30.0)
    assert find_contacts(FEET, places, seen(times, 0.1), CAMERA)[0] == ()


def test_a_contact_does_not_outlive_a_gap() -> None:
    places, times = walk(30.0)
    keypoints = seen(times)
    confidence = keypoints.confidence.copy()
    confidence[60:90] = 0.0
    gapped = Keypoints("blazepose_33", keypoints.positions, confidence, times)
    contacts, resting = find_contacts(FEET, places, gapped, CAMERA)
    assert len(of("foot.R", contacts)) == 2 and not resting[60:90].any()


def test_a_raised_foot_rests_on_nothing() -> None:
    places, times = walk(30.0)
    places[:, LEFT, 2] += 0.4
    assert not of("foot.L", find_contacts(FEET, places, seen(times), CAMERA)[0])


def test_no_contact_is_shorter_than_a_tenth_of_a_second() -> None:
    places, times = walk(30.0)
    places[2:-2] += np.array([0, 0, 0.3])
    for contact in find_contacts(FEET, places, seen(times), CAMERA)[0]:
        assert contact.end - contact.start >= SHORTEST


def test_too_few_frames_have_no_contacts() -> None:
    places, times = walk(30.0)
    assert find_contacts(FEET, places[:2], seen(times[:2]), CAMERA)[0] == ()


def test_held_feet_are_asked_to_stand_where_they_were_on_the_floor() -> None:
    places, times = walk(30.0)
    _, resting = find_contacts(FEET, places, seen(times), CAMERA)
    up = up_of_tilt(0.2)
    forward = np.cross(up, [1.0, 0.0, 0.0])
    camera = Camera.from_field_of_view(64, 64, 1.0).placed(
        np.stack([[1.0, 0.0, 0.0], forward, up], axis=1), np.array([0.3, 1.0, 4.0])
    )
    held = hold(MODEL, FEET, places, resting, camera)
    local = places @ camera.rotation.T + camera.translation
    along_axes = local @ held.axes.numpy().T
    wanted = held.target.numpy()[0][:, FEET.keypoints]
    assert np.abs((along_axes - wanted)[resting]).max() < 0.05
    assert np.abs((along_axes - wanted)[resting][:, 2]).max() < 1e-9 + 0.08
    assert (held.weight.numpy()[0][:, FEET.keypoints][~resting] == 0).all()


def test_who_stands_on_a_box_is_not_pulled_to_the_floor() -> None:
    places, times = walk(30.0)
    places[:60, :, 2] += 1.0
    _, resting = find_contacts(FEET, places, seen(times), CAMERA)
    assert resting[5].all()
    height = hold(MODEL, FEET, places, resting, CAMERA).target.numpy()[0, 5, FEET.keypoints] @ np.array([0, 0, 1.0])
    origin = (CAMERA.rotation.T @ CAMERA.translation)[2]
    assert np.allclose(height - origin, places[5, :, 2])


def airborne(rate: float = 30.0) -> tuple[np.ndarray, np.ndarray]:
    """Both feet circle, 20 to 60 cm above their heights when standing, so that nothing ever seems to rest."""
    places, times = walk(rate)
    phase = 2 * np.pi * 1.5 * times[:, None] + np.arange(len(FEET.joints))
    places[..., 0] += 0.3 * np.cos(phase)
    places[..., 2] += 0.4 + 0.2 * np.sin(phase)
    return places, times


@given(seeds)
@settings(max_examples=10)
def test_who_never_leaves_the_floor_rests_on_a_part_in_each_frame_that_shows_one(seed: int) -> None:
    places, times = airborne()
    keypoints = seen(times)
    confidence = keypoints.confidence.copy()
    rng = np.random.default_rng(seed)
    confidence[rng.random(confidence.shape) < 0.3] = 0.0
    confidence[20:30, FEET.keypoints] = 0.0
    hidden = Keypoints("blazepose_33", keypoints.positions, confidence, times)
    assert not find_contacts(FEET, places, hidden, CAMERA)[1].any()
    contacts, resting = find_contacts(FEET, places, hidden, CAMERA, always=True)
    shows = confidence[:, FEET.keypoints] > 0
    assert np.array_equal(resting.any(axis=1), shows.any(axis=1))
    assert not (resting & ~shows).any()
    told = [[contact.start <= time <= contact.end for contact in contacts] for time in times]
    assert np.array_equal(np.any(told, axis=1), resting.any(axis=1))


def test_always_changes_nothing_for_who_stands() -> None:
    places, times = walk(30.0)
    one, other = (find_contacts(FEET, places, seen(times), CAMERA, always) for always in (False, True))
    assert one[0] == other[0] and np.array_equal(one[1], other[1])


def test_who_never_leaves_the_floor_stands_on_it_however_high_they_seem() -> None:
    places, times = walk(30.0)
    places[..., 2] += 0.4
    _, resting = find_contacts(FEET, places, seen(times), CAMERA, always=True)
    target = hold(MODEL, FEET, places, resting, CAMERA, always=True).target.numpy()[0][:, FEET.keypoints]
    origin = (CAMERA.rotation.T @ CAMERA.translation)[2]
    assert np.allclose((target[..., 2] - origin)[resting], np.broadcast_to(FEET.standing, resting.shape)[resting])


@pytest.mark.parametrize("always", [False, True])
@pytest.mark.parametrize("frames", [1, 2])
def test_the_shortest_sequences_have_contacts_that_are_valid(frames: int, always: bool) -> None:
    places, times = walk(30.0)
    contacts, resting = find_contacts(FEET, places[:frames], seen(times[:frames]), CAMERA, always)
    assert resting.shape == (frames, len(FEET.joints))
    assert all(contact.start <= contact.end for contact in contacts)


def test_no_part_of_a_foot_sinks_into_the_floor_that_it_was_seen_below() -> None:
    """A standing person whose feet are all seen too low by 5 cm."""
    rest = MODEL.skeleton.rest_matrices()[0]
    start = Pose(
        *(torch.tensor(part)[None, None] for part in (rest[:3, 3], rest[:3, :3])), torch.zeros(1, 1, 47).double()
    )
    start = MODEL.retract(start, torch.zeros(1, 1, MODEL.size).double())
    up = up_of_tilt(0.2)
    to_camera = np.stack([[1.0, 0.0, 0.0], np.cross(up, [1.0, 0.0, 0.0]), up], axis=1)
    camera = Camera.from_field_of_view(64, 64, 1.0).placed(to_camera, np.array([0.3, 1.0, 4.0]))
    turn, shift = torch.tensor(camera.rotation), torch.tensor(camera.translation)
    start = Pose(start.root_position @ turn.T + shift, turn @ start.root_rotation, start.angles)
    points = MODEL.points(start)
    floor = floor_below(MODEL, FEET, camera)
    feet = FEET.keypoints
    standing = (points @ floor.up - floor.level)[0, 0, feet]
    assert standing.abs().max() < 1e-9  # at rest every part is at its height when standing

    spots, confidence = points.clone(), torch.ones(points.shape[:3]).double()
    legs = [k for k, name in enumerate(NAMES) if name.partition("_")[2] in ("heel", "big_toe", "ankle", "knee")]
    spots[:, :, legs] -= 0.05 * floor.up
    noise = torch.tensor(0.03, dtype=torch.float64)
    seen_low = Positions(spots, confidence, noise, noise, robust=False)
    middle = (MODEL.lower + MODEL.upper) / 2
    sunk = []
    for evidence in ([seen_low], [seen_low, floor]):
        objective = Objective(MODEL, evidence, middle, (MODEL.upper - MODEL.lower))
        pose, _, _ = solve(objective, None, start, torch.zeros(1, 0).double())
        sunk.append(float((floor.level - MODEL.points(pose) @ floor.up)[0, 0, feet].max()))
    assert sunk[0] > 0.03
    assert sunk[1] < 0.02


@pytest.mark.parametrize("name", [name for name, points in KEYPOINT_SETS.items() if all(map(has_site, points))])
def test_every_set_has_feet(name: str) -> None:
    feet = Feet(BodyModel.for_keypoints(default_human(), KEYPOINT_SETS[name]))
    assert {joint[-2:] for joint in feet.joints} == {".L", ".R"}
    assert (feet.standing > 0).all()
