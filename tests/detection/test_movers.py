# SPDX-License-Identifier: GPL-3.0-or-later
"""The largest person is passed over where they are a picture beside somebody who moves, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from scene import FPS, CroppedScene, Scene, line
from torch import Tensor

from shared_data import SAMPLE, blazepose_files, read_video
from video2rig.detection import BlazePose, People, PeopleStream, Tracked
from video2rig.detection.movers import Movers, Seen, instead_of
from video2rig.detection.tracking import Track
from video2rig.person import PersonChoice

SHAPE = np.array([[-0.3, 0], [0.3, 0], [-0.4, -0.8], [0.4, -0.8], [-0.6, -0.3], [0.6, -0.3], [-0.2, 0.8], [0.2, 0.8]])
Swing = Callable[[int, int], float]
"""Who, and the frame -> how far they lift the arms, in radii."""


def shape(lift: float) -> np.ndarray:
    return SHAPE + np.array([[0, 0], [0, 0], [0, 0], [0, 0], [0, lift], [0, -lift], [0, 0], [0, 0]])


def with_limbs(people: People, numbers: list[int], swing: Swing) -> People:
    assert people.world is not None
    rows = zip(people.circle, people.world[:, 0, 2].astype(int).tolist(), numbers, strict=True)
    positions = [circle[:2] + np.hypot(*circle[2:]) * shape(swing(who, number)) for circle, who, number in rows]
    count = len(SHAPE)
    return people._replace(
        positions=np.array(positions, np.float32).reshape(-1, count, 2),
        confidence=np.ones((len(numbers), count), np.float32),
        world=np.repeat(people.world[:, :1], count, 1),
    )


class Figures(CroppedScene):
    """People with limbs."""

    def __init__(self, swing: Swing, *ways: Callable) -> None:
        super().__init__(*ways)
        self.swing = swing

    def find(self, images: Tensor) -> list[People]:
        numbers = (images[:, 0, 0, 0].int() + 256 * images[:, 0, 0, 1].int()).tolist()
        pairs = zip(super().find(images), numbers, strict=True)
        return [with_limbs(people, [number] * len(people.score), self.swing) for people, number in pairs]

    def look(self, images: Tensor, circles: Tensor, frame: Tensor) -> People:
        numbers = (images[:, 0, 0, 0].int() + 256 * images[:, 0, 0, 1].int())[frame].tolist()
        return with_limbs(super().look(images, circles, frame), numbers, self.swing)


class FoundFigures(Figures):
    """The same, of a detector that cannot look at one person."""

    look = None  # type: ignore[assignment]


def waving(*who: int, begin: int = 0) -> Swing:
    return lambda person, frame: 0.5 * np.sin(frame / 5) if person in who and frame >= begin else 0.0


POSTER, PERSON = line(60, 0, 20), line(180, 0, 12)


def seen(scene: Scene, frames: int, person: str = "largest") -> tuple[Tracked, PeopleStream]:
    stream = PeopleStream(scene, FPS, PersonChoice.parse(person))
    stream.push(scene.frames(frames))
    stream.finish()
    (only,) = stream.people()
    return only, stream


@pytest.mark.parametrize("kind", [Figures, FoundFigures])
def test_a_picture_is_passed_over_for_somebody_who_moves(kind: type[Figures]) -> None:
    person, stream = seen(kind(waving(1), POSTER, PERSON), 120)
    assert stream.passed_over == 1 and person.number == 2
    assert (person.confidence > 0).all() and np.allclose(person.positions.mean((0, 1))[0], 180, atol=2)


def test_somebody_who_comes_later_is_taken_too() -> None:
    person, stream = seen(Figures(waving(1), POSTER, line(180, 0, 12, first=75)), 120)
    assert stream.passed_over == 1 and person.number == 2
    there = (person.confidence > 0).all(1)
    assert there[80:].all() and not there[:70].any()


@pytest.mark.parametrize(
    ("swing", "ways", "frames"),
    [
        (waving(), (POSTER, PERSON), 120),  # nobody moves
        (waving(0, 1), (POSTER, PERSON), 120),  # both do
        (waving(0, 1, begin=100), (POSTER, PERSON), 130),  # both do at last
        (waving(1), (POSTER, PERSON), 50),  # too short to tell
        (waving(1), (POSTER, line(180, 0, 12, first=60, last=70)), 120),  # hardly anybody else
    ],
)
def test_else_the_largest_is_taken(swing: Swing, ways: tuple, frames: int) -> None:
    person, stream = seen(Figures(swing, *ways), frames)
    assert stream.passed_over == 0 and person.number == 1 and (person.confidence > 0).all()


def test_who_is_asked_for_is_taken_still_or_not() -> None:
    for choice in ("1", "60,30@1"):
        person, stream = seen(Figures(waving(1), POSTER, PERSON), 120, choice)
        assert stream.passed_over == 0 and person.number == 1


def test_others_are_looked_at_only_until_the_largest_moves() -> None:
    both, one = Figures(waving(0, 1), POSTER, PERSON), Figures(waving(0), POSTER)
    late = Figures(waving(0, 1, begin=120), POSTER, PERSON)
    for scene in (both, one, late):
        seen(scene, 240)
    assert both.looked < 1.3 * one.looked and late.looked > 1.4 * one.looked


# ---- its parts ----------------------------------------------------------------------------------------------------


def track(positions: np.ndarray, key: int = 0, confidence: float = 0.9) -> Track:
    sure = np.full(len(positions), confidence)
    return Track(key, np.array([0, 0, 0, -1.0]), np.zeros(2), np.eye(2), 0, 0, 1.0, positions, sure)


def test_one_glitch_is_no_motion() -> None:
    movers = Movers()
    for lift in (0.0, 0.5, 0.0, 0.5, 0.0):
        movers.see([track(shape(lift))])
        assert not movers.moves(0)
    for lift in (0.5, 0.5):
        movers.see([track(shape(lift))])
    assert movers.moves(0)


def test_walking_away_unchanged_is_no_motion_and_neither_is_what_is_hardly_seen() -> None:
    movers = Movers()
    for step in range(6):
        lift = 0.3 * (step % 4)
        movers.see([track((1 + 0.1 * step) * SHAPE + 3.0 * step), track(shape(lift), 1, 0.3)])
    assert not movers.moves(0) and not movers.moves(1)
    movers.see([track(SHAPE[:2], 2)])
    assert movers.moves(2), "two keypoints have no shape"


def test_of_those_who_move_the_one_who_is_seen_best_is_taken() -> None:
    times = np.arange(90) / 30
    sure = np.ones((90, len(SHAPE)))
    still = Seen(1, np.repeat(100 * SHAPE[None], 90, 0), sure)
    small, large = (
        Seen(number, size * np.array([shape(0.5 * np.sin(3 * time)) for time in times]), sure)
        for number, size in ((2, 20), (3, 40))
    )
    assert instead_of(still, [small, large, still], times) is large
    assert instead_of(still, [still], times) is None and instead_of(large, [small], times) is None
    gone = np.where(np.arange(90)[:, None] < 10, sure, 0)
    brief = Seen(3, np.where(gone[..., None] > 0, large.positions, np.nan), gone)
    assert instead_of(still, [small, brief], times) is small


# ---- the real detector --------------------------------------------------------------------------------------------


def test_a_real_poster_beside_a_real_person() -> None:
    blazepose_files()
    if not SAMPLE.is_file():
        pytest.skip(f"the sample is not at {SAMPLE}")
    frames = read_video(SAMPLE, 66)
    stream = PeopleStream(BlazePose.load("cpu"), 30.0, PersonChoice.parse("largest"))
    for index, frame in enumerate(frames):
        image = np.full((640, 960, 3), 90, np.uint8)
        image[:, :480] = frames[10]
        image[160:, 540:900] = cv2.resize(frame, (360, 480), interpolation=cv2.INTER_AREA)
        shift = np.array([[1, 0, 3 * np.sin(index / 7)], [0, 1, 2 * np.cos(index / 9)]], np.float32)
        image = cv2.warpAffine(image, shift, (960, 640), borderMode=cv2.BORDER_REPLICATE)
        image = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)
        stream.push(image[None])
    stream.finish()
    (person,) = stream.people()
    assert stream.passed_over != 0 and person.number != stream.passed_over
    assert (person.confidence > 0).any(1).mean() > 0.95 and np.nanmedian(person.positions[..., 0]) > 540
