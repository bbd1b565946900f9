# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures that are hard or wrong: a result with honest confidence, or nobody, and never a crash."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from shared_data import SAMPLE, blazepose_files, noise_frames, people_videos, read_video
from video2rig.detection import BlazePose, PeopleStream, Tracked
from video2rig.detection.circles import radius
from video2rig.person import PersonChoice

COUNT = 9


@pytest.fixture(scope="module")
def model() -> BlazePose:
    blazepose_files()
    return BlazePose.load("cpu")


@pytest.fixture(scope="module")
def person() -> np.ndarray:
    """Frames [9,640,480,3] of the sample, or of a real video as small."""
    videos = [path for path in people_videos() if path == SAMPLE] or people_videos()
    if not videos:
        pytest.skip("no video of a person is here")
    frames = read_video(videos[0], COUNT, start=10)
    step = max(1, frames.shape[1] // 640)
    return np.ascontiguousarray(frames[:, ::step, ::step])


def everyone(model: BlazePose, images: np.ndarray, fps: float = 30.0) -> list[Tracked]:
    stream = PeopleStream(model, fps, PersonChoice.parse("everyone"))
    stream.push(np.ascontiguousarray(images))
    stream.finish()
    return stream.people()


@pytest.mark.parametrize("shape", [(16, 16), (1, 1), (1, 400), (400, 1), (17, 901), (240, 320)])
def test_nobody(model: BlazePose, shape: tuple[int, int]) -> None:
    assert everyone(model, noise_frames(5, *shape)) == []


@pytest.mark.parametrize("grey", [0, 90, 255])
def test_plain_frames_hold_nobody(model: BlazePose, grey: int) -> None:
    assert everyone(model, np.full((5, 120, 160, 3), grey, np.uint8)) == []


def test_very_dark_frames(model: BlazePose, person: np.ndarray) -> None:
    bright, dark = (everyone(model, (person * part).astype(np.uint8)) for part in (1.0, 0.04))
    assert len(bright) == 1
    # found in the dark or not, but not taken for as sure as in the light, and no ghosts
    assert len(dark) <= 1
    assert not dark or dark[0].confidence.mean() <= bright[0].confidence.mean() + 0.02


def test_half_a_person(model: BlazePose, person: np.ndarray) -> None:
    (whole,) = everyone(model, person)
    cut = round(float(np.nanmean(whole.positions[:, 23:25, 1])))
    people = everyone(model, person[:, : cut + 10])
    assert len(people) <= 1
    if people:  # the legs are outside of the frame, and it knows
        legs, head = people[0].confidence[:, 25:].mean(), people[0].confidence[:, :11].mean()
        assert legs < 0.5 < head


def test_mirrored_video(model: BlazePose, person: np.ndarray) -> None:
    (plain,), (mirrored,) = everyone(model, person), everyone(model, person[:, :, ::-1])
    twin = mirrored.positions * [-1, 1] + [person.shape[2] - 1, 0]
    sides = [0, 4, 5, 6, 1, 2, 3, *(k + 1 if k % 2 else k - 1 for k in range(7, 33))]
    size = np.nanmax(plain.positions[..., 1]) - np.nanmin(plain.positions[..., 1])
    away = np.linalg.norm(twin[:, sides] - plain.positions, axis=-1)
    assert np.nanmedian(away) < 0.02 * size, "what is left in the one is right in the other"


def test_upside_down_video(model: BlazePose, person: np.ndarray) -> None:
    (plain,) = everyone(model, person)
    people = everyone(model, person[:, ::-1, ::-1])
    assert len(people) <= 1
    if people and np.isfinite(people[0].positions).any():
        back = np.array([person.shape[2] - 1, person.shape[1] - 1]) - people[0].positions
        size = np.nanmax(plain.positions[..., 1]) - np.nanmin(plain.positions[..., 1])
        right = np.linalg.norm(back - plain.positions, axis=-1) < 0.1 * size
        # the network was not made for it: where it is wrong it must not be as sure as the right way up
        assert right.mean() > 0.7 or people[0].confidence.mean() < plain.confidence.mean()


def test_a_poster_beside_a_person(model: BlazePose, person: np.ndarray) -> None:
    """The picture of a person does not move: it is one more person, and the one who does is the largest."""
    _, height, width, _ = person.shape
    poster = cv2.resize(person[0], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    scene = np.concatenate([person, np.full((COUNT, height, width // 2 + 40, 3), 200, np.uint8)], 2)
    scene[:, 40 : 40 + height // 2, width + 20 : width + 20 + width // 2] = poster
    people = everyone(model, scene)
    assert 1 <= len(people) <= 2
    centres = [float(np.nanmean(p.positions[..., 0])) for p in people]
    assert centres[0] < width, "the largest is number 1"
    if len(people) == 2:
        assert centres[1] > width
        assert np.nanmax(np.ptp(people[1].positions, axis=0)) < 0.05 * height
    stream = PeopleStream(model, 30.0, PersonChoice.parse("largest"))
    stream.push(scene)
    stream.finish()
    assert np.nanmean(stream.people()[0].positions[..., 0]) < width


def test_thirty_people(model: BlazePose, person: np.ndarray) -> None:
    """A crowd in three rows: everyone once, each where they stand."""
    (found,) = model.find(torch.from_numpy(person[:1]))
    x, y, r = *found.circle[0, :2], float(radius(found.circle[0]))
    one = person[0, max(0, round(y - 1.15 * r)) : round(y + 1.15 * r), max(0, round(x - 0.8 * r)) : round(x + 0.8 * r)]
    one = cv2.resize(one, (110, round(110 * one.shape[0] / one.shape[1])), interpolation=cv2.INTER_AREA)
    crowd = np.concatenate([np.concatenate([one] * 10, 1)] * 3, 0)
    people = everyone(model, np.repeat(crowd[None], 6, 0))
    assert [p.number for p in people] == list(range(1, 31))
    hips = np.array([p.positions[2, 23:25].mean(0) for p in people])
    cells = {(int(y // one.shape[0]), int(x // one.shape[1])) for x, y in hips}
    assert len(cells) == 30


def test_thirty_people_far_from_each_other(model: BlazePose, person: np.ndarray) -> None:
    """Everyone is far too small for the detector in the whole frame, and in halves of it."""
    one = cv2.resize(person[0], (192, 256), interpolation=cv2.INTER_AREA)
    crowd = np.concatenate([np.concatenate([one] * 6, 1)] * 5, 0)
    (people,) = model.find_small(torch.from_numpy(crowd[None]))
    cells = {(int(y // 256), int(x // 192)) for x, y in people.circle[:, :2]}
    assert len(people.score) == len(cells) == 30
