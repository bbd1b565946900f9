# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams of people: in a scripted scene whose truth is known, and with the networks on frames."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scene import FPS, CroppedScene, Scene, line

from shared_data import blazepose_files, needs_shared, people_videos, read_video
from video2rig.detection import BlazePose, Detector, PeopleStream, StreamError, Tracked
from video2rig.person import PersonChoice, PersonError

Place = tuple[float, float, float]


def stream(
    detector: Detector, images: np.ndarray, person: str = "largest", cuts: list[int] | None = None, fps: float = FPS
) -> PeopleStream:
    people = PeopleStream(detector, fps, PersonChoice.parse(person))
    for part in np.split(images, cuts or []):
        people.push(part)
    people.finish()
    return people


def follow(detector: Detector, images: np.ndarray, cuts: list[int] | None = None, fps: float = FPS) -> Tracked:
    people = stream(detector, images, "largest", cuts, fps).people()
    assert len(people) == 1
    return people[0]


def whom(result: Tracked) -> np.ndarray:
    """Per frame, the place in the scene's list of the person that came out; NaN where nobody did."""
    assert result.world is not None
    return result.world[:, 0, 2]


def everyone(detector: Detector, images: np.ndarray) -> list[np.ndarray]:
    return [whom(person) for person in stream(detector, images, "everyone").people()]


# ---- in a scene ---------------------------------------------------------------------------------------------------


@given(cuts=st.lists(st.integers(0, 70), max_size=6).map(sorted), kind=st.sampled_from([Scene, CroppedScene]))
@settings(max_examples=20, deadline=None)
def test_result_does_not_depend_on_the_cut(cuts: list[int], kind: type[Scene]) -> None:
    scene = kind(line(40, 1.5, 20), line(200, -2, 12, 7))
    images = scene.frames(70)
    one, other = (stream(scene, images, "everyone", c).people() for c in ([], cuts))
    assert [p.number for p in one] == [p.number for p in other] == [1, 2]
    for a, b in zip(one, other, strict=True):
        for x, y in zip(a[1:], b[1:], strict=True):
            np.testing.assert_array_equal(x, y)


@given(chunk=st.integers(1, 90))
@settings(max_examples=15, deadline=None)
def test_result_hardly_depends_on_the_chunk(chunk: int) -> None:
    scene = CroppedScene(line(40, 1.5, 20), line(200, -2, 12, 7))
    images, choice = scene.frames(70), PersonChoice.parse("everyone")
    results = []
    for kwargs in ({}, {"chunk": chunk}):
        people = PeopleStream(scene, FPS, choice, **kwargs)
        people.push(images)
        people.finish()
        results.append([person.positions for person in people.people()])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


def test_the_largest_is_followed() -> None:
    scene = CroppedScene(line(50, 0, 12), line(150, 0, 20))
    assert (whom(follow(scene, scene.frames(20))) == 1).all()


@pytest.mark.parametrize("speed", [0.5, 1.0, 1.5, 3.0])
@pytest.mark.parametrize("other_in_front", [True, False])
def test_identity_is_kept_when_another_crosses(speed: float, other_in_front: bool) -> None:
    person, other = line(120, 0.2, 20), line(120 - 45 * speed, speed, 18)
    scene = CroppedScene(person, other) if other_in_front else CroppedScene(other, person)
    who = whom(follow(scene, scene.frames(90)))
    mine = 0 if other_in_front else 1
    assert set(who[np.isfinite(who)]) == {mine}
    if speed >= 1:
        assert np.isfinite(who[-10:]).all(), "found again after the crossing"
    if not other_in_front:
        assert np.isfinite(who).all()


@pytest.mark.parametrize("kind", [Scene, CroppedScene])
def test_everyone_keeps_their_number_through_a_crossing(kind: type[Scene]) -> None:
    scene = kind(line(30, 1.5, 20), line(210, -1.5, 20), line(120, 0, 14))
    results = everyone(scene, scene.frames(110))
    assert len(results) == 3
    for who in results:
        assert len(set(who[np.isfinite(who)])) == 1
        assert np.isfinite(who[:20]).all() and np.isfinite(who[-15:]).all()


def test_numbers_are_in_the_order_of_appearance() -> None:
    scene = CroppedScene(line(200, 0, 20, 30), line(40, 0, 10), line(120, 0, 12, 12))
    results = everyone(scene, scene.frames(60))
    assert [np.nanmin(who) for who in results] == [1, 2, 0]


def test_thirty_people() -> None:
    scene = CroppedScene(*(line(4 + 8 * k, 0.1, 5) for k in range(30)))
    results = everyone(scene, scene.frames(40))
    assert sorted(float(np.nanmedian(who)) for who in results) == list(range(30))
    assert all(np.isfinite(who).all() for who in results)


@pytest.mark.parametrize(("number", "who"), [("1", 1), ("2", 0)])
def test_one_by_number(number: str, who: int) -> None:
    scene = CroppedScene(line(60, 0, 12), line(160, 0, 20))
    (person,) = stream(scene, scene.frames(40), number).people()
    assert person.number == int(number) and (whom(person) == who).all()


def test_a_number_that_nobody_has() -> None:
    scene = CroppedScene(line(60, 0, 12))
    with pytest.raises(PersonError, match="person 4 was asked for, but 1 person was seen"):
        stream(scene, scene.frames(40), "4").people()


def test_one_by_a_point() -> None:
    scene = CroppedScene(line(60, 0, 12), line(160, 0, 20))
    (person,) = stream(scene, scene.frames(60), "61,29@1.0").people()
    assert (whom(person) == 0).all()
    with pytest.raises(PersonError, match="nobody stands at 110,50 after 1 s"):
        stream(scene, scene.frames(60), "110,50@1").people()
    with pytest.raises(PersonError, match=r"in the 2\.0 s of the video"):
        stream(scene, scene.frames(60), "61,29@9").people()


@pytest.mark.parametrize("cuts", [[], [1, 7, 40], list(range(1, 90))])
@pytest.mark.parametrize("frame", [0, 44, 89])
def test_the_point_is_in_the_frame_of_its_time_however_frames_are_spaced(cuts: list[int], frame: int) -> None:
    scene = CroppedScene(line(20, 2, 12), line(220, -2, 14))
    images, times = scene.frames(90), np.concatenate([np.arange(45) * 0.01, 0.45 + np.arange(45) * 0.06])
    choice = PersonChoice("point", point=(20 + 2 * frame, 30), time=float(times[frame]) + 0.002)
    people = PeopleStream(scene, FPS, choice)
    for part, then in zip(np.split(images, cuts), np.split(times, cuts), strict=True):
        people.push(part, then)
    people.finish()
    (person,) = people.people()
    assert whom(person)[frame] == 0


def test_a_point_after_the_last_frame() -> None:
    scene = CroppedScene(line(60, 0, 12))
    assert stream(scene, scene.frames(60), f"60,30@{59.4 / FPS:.4f}").people()
    with pytest.raises(PersonError, match=r"nobody stands at 60,30 after 1\.9867 s"):
        stream(scene, scene.frames(60), f"60,30@{59.6 / FPS:.4f}").people()


@pytest.mark.parametrize("person", ["largest", "everyone", "3", "4,4@0"])
@pytest.mark.parametrize("kind", [Scene, CroppedScene])
def test_nobody(person: str, kind: type[Scene]) -> None:
    scene = kind()
    people = stream(scene, scene.frames(11), person)
    assert people.people() == [] and people.seen() == 0


def test_a_single_frame() -> None:
    scene = CroppedScene(line(60, 0, 12), line(160, 0, 20))
    people = stream(scene, scene.frames(1), "everyone").people()
    assert [whom(person).tolist() for person in people] == [[1], [0]]


def test_the_detector_may_miss_them_for_long() -> None:
    scene = CroppedScene(line(40, 1.0, 20), blind=lambda frame: frame > 0)
    assert (whom(follow(scene, scene.frames(80))) == 0).all()


def test_they_leave_and_come_back_while_another_stays() -> None:
    def way(t: int) -> Place | None:
        return (100.0, 30.0, 20.0) if t < 40 or t >= 120 else None

    scene = CroppedScene(line(200, 0, 14), way)
    who = whom(follow(scene, scene.frames(150)))
    assert (who[:40] == 1).all()
    assert np.isnan(who[40:116]).all(), "the other one is not taken for them"
    assert (who[125:] == 1).all()


def test_a_first_choice_that_vanishes_at_once_was_none() -> None:
    scene = CroppedScene(line(60, 0, 14), line(180, 0, 20, 0, 6))
    who = whom(follow(scene, scene.frames(110)))
    assert (who[:6] == 1).all() and (who[-30:] == 0).all()


def test_a_short_miss_is_a_gap_and_no_loss() -> None:
    def way(t: int) -> Place | None:
        return None if 20 <= t < 25 else (40.0 + 2 * t, 30.0, 20.0)

    scene = CroppedScene(way, blind=lambda frame: frame > 0)
    who = whom(follow(scene, scene.frames(60)))
    assert np.isnan(who[20:25]).all()
    assert np.isfinite(np.delete(who, range(20, 25))).all()


def test_fast_people_are_looked_at_again() -> None:
    def way(t: int) -> Place:
        return 100.0 + 25 * np.sin(t / 8), 30.0, 20.0

    scene = CroppedScene(way)
    result = follow(scene, scene.frames(60))
    truth = np.array([way(t)[:2] for t in range(60)])
    np.testing.assert_allclose(result.positions[:, 0], truth, atol=1e-3)


def test_only_the_wanted_are_looked_at_in_every_frame() -> None:
    ways = [line(20 + 40 * k, 0, 12) for k in range(5)]
    counts = []
    for person in ("largest", "2", "everyone"):
        scene = CroppedScene(*ways)
        stream(scene, scene.frames(120), person)
        counts.append(scene.looked)
    assert counts[0] <= 2 * 120 and counts[1] <= 3 * 120 and counts[2] >= 5 * 120


def test_who_is_not_asked_for_costs_little() -> None:
    person, other = line(60, 0, 20), line(190, 0, 12)
    looked = []
    for ways in ((person,), (person, other)):
        scene = CroppedScene(*ways)
        assert (whom(follow(scene, scene.frames(120))) == 0).all()
        looked.append(scene.looked)
    assert looked[1] == looked[0], "the other is found now and then, and not looked at in between"


def test_a_chunk_is_a_few_calls() -> None:
    scene = CroppedScene(line(40, 0.5, 20), line(180, 0, 12))
    people = PeopleStream(scene, FPS, PersonChoice.parse("everyone"), chunk=128)
    people.push(scene.frames(1280))
    people.finish()
    assert scene.calls <= 4 * 11, "the detector once, each look once, a chunk"


def test_bad_streams() -> None:
    scene, choice = CroppedScene(), PersonChoice.parse("largest")
    for fps in (0.0, -1.0, float("nan")):
        with pytest.raises(StreamError, match="frame rate"):
            PeopleStream(scene, fps, choice)
    with pytest.raises(StreamError, match="1 to"):
        PeopleStream(scene, FPS, choice, views=16)
    with pytest.raises(StreamError, match="at least 1"):
        PeopleStream(scene, FPS, choice, chunk=0)
    people = PeopleStream(scene, FPS, choice)
    with pytest.raises(StreamError, match="uint8"):
        people.push(np.zeros((1, 8, 8, 3), np.float32))
    with pytest.raises(StreamError, match=r"\[1, 8, 8, 4\]"):
        people.push(np.zeros((1, 8, 8, 4), np.uint8))
    people.push(np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(StreamError, match="size changed"):
        people.push(np.zeros((1, 8, 9, 3), np.uint8))
    with pytest.raises(StreamError, match="not finished"):
        people.people()
    people.finish()
    with pytest.raises(StreamError, match="after the stream was finished"):
        people.push(np.zeros((1, 8, 8, 3), np.uint8))
    empty = PeopleStream(scene, FPS, choice)
    empty.finish()
    assert empty.people() == []


def test_memory_is_flat() -> None:
    scene = CroppedScene(line(100, 0, 20))
    people = PeopleStream(scene, FPS, PersonChoice.parse("everyone"))
    image = np.zeros((1, 720, 1280, 3), np.uint8)
    people.push(image)
    assert people._ring is not None and len(people._ring) <= 48
    tracemalloc.start()
    for _ in range(150):
        people.push(image)
    assert tracemalloc.get_traced_memory()[0] < image.nbytes, "torch holds the frames, numpy none"
    tracemalloc.stop()


# ---- with the networks --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> BlazePose:
    blazepose_files()
    return BlazePose.load("cpu")


def small_person(count: int) -> np.ndarray:
    """Real frames (or the sample's), at a third of their size."""
    videos = people_videos()
    if not videos:
        pytest.skip("no video of a person is here")
    frames = read_video(videos[0], count)
    step = max(1, frames.shape[1] // 640)
    return np.ascontiguousarray(frames[:, ::step, ::step])


def test_a_real_person_whatever_the_cut(model: BlazePose) -> None:
    images = small_person(21)
    one, other = follow(model, images), follow(model, images, [1, 2, 9, 17])
    assert one.world is not None and other.world is not None
    np.testing.assert_array_equal(one.positions, other.positions)
    np.testing.assert_array_equal(one.world, other.world)
    assert np.isfinite(one.positions).all() and one.confidence.mean() > 0.5
    assert np.abs(one.world[:, 23:25].mean(1)).max() < 0.05, "world landmarks are centred on the hips"
    assert (one.world[:, 0, 1] < one.world[:, 27, 1]).all(), "y goes down, from the nose to the ankle"


@needs_shared
def test_a_real_person_who_leaves_and_comes_back(model: BlazePose) -> None:
    images = small_person(8)
    result = follow(model, np.concatenate([images, np.full_like(images, 90), images]), fps=4.0)
    seen = np.isfinite(result.positions[:, 0, 0])
    assert seen[:8].all() and not seen[8:16].any() and seen[18:].all()


def test_more_views_calm_the_depth(model: BlazePose) -> None:
    images, jitter, places = small_person(21), [], []
    for views in (1, 4):
        people = PeopleStream(model, FPS, PersonChoice.parse("largest"), views=views)
        people.push(images)
        people.finish()
        (person,) = people.people()
        assert person.world is not None
        jitter.append(np.abs(np.diff(person.world[..., 2], 2, axis=0)).mean())
        places.append(person.positions)
    assert jitter[1] < jitter[0]
    assert np.abs(places[0] - places[1]).mean() < 0.01 * images.shape[1]
