# SPDX-License-Identifier: GPL-3.0-or-later
"""Following one person: in a scripted scene whose truth is known, and with the networks on frames."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from shared_data import blazepose_files, needs_shared, noise_frames, people_videos, read_video
from video2rig.detection.blazepose import BlazePose, Landmarks, People, Roi
from video2rig.detection.follow import SECOND_PASS_CROPS, Followed, FollowOne, StreamError, local_line

HEIGHT, WIDTH, FPS = 60, 240, 30.0

Way = Callable[[int], tuple[float, float, float] | None]
"""Frame number -> hip x, hip y, radius in px; None where the person is out of view."""


class Scene:
    """Stands in for the networks: people on known ways, later ones nearer to the camera.

    The frame number is written into the frame's first pixels. A crop shows the nearest person whose hips lie in its
    middle, as the landmark network does; the person's place in the list comes out as the world landmarks' z.
    """

    device, batch = torch.device("cpu"), 4

    def __init__(self, *ways: Way, blind: Callable[[int], bool] = lambda frame: False) -> None:
        self.ways, self.blind, self.held = ways, blind, 0

    def frames(self, count: int) -> np.ndarray:
        images = np.zeros((count, HEIGHT, WIDTH, 3), np.uint8)
        images[:, 0, 0, 0], images[:, 0, 0, 1] = np.arange(count) % 256, np.arange(count) // 256
        return images

    def detect(self, images: Tensor, *, tiles: bool = False) -> list[People]:
        found = []
        for number in self._numbers(images):
            there = [place for way in self.ways if (place := way(number)) is not None and not self.blind(number)]
            # someone right behind another is not detected
            seen = [p for i, p in enumerate(there) if all(abs(p[0] - q[0]) > 0.4 * q[2] for q in there[i + 1 :])]
            rows = np.array(seen, float).reshape(-1, 3)
            hip = rows[:, :2] + 2.0  # detectors are rough
            found.append(
                People(np.ones(len(rows)), np.zeros((len(rows), 4)), hip, hip - np.array([0, 1]) * rows[:, 2:])
            )
        return found

    def landmarks(self, images: Tensor, roi: Roi, frame: Tensor) -> Landmarks:
        numbers, count = self._numbers(images), len(frame)
        points, world, person = torch.zeros(count, 39, 3), torch.zeros(count, 39, 3), torch.zeros(count)
        for row in range(count):
            for who, way in enumerate(self.ways):
                place = way(numbers[int(frame[row])])
                radius = float(roi.size[row]) / 2.5
                if place is None or np.hypot(*(roi.centre[row].numpy() - place[:2])) > 0.7 * radius:
                    continue
                person[row] = 1.0
                points[row, :, :2] = torch.tensor(place[:2])
                points[row, 34, 1] -= place[2]
                world[row, :, 2] = who
        ones = torch.ones(count, 39)
        return Landmarks(points, ones, ones, person, world)

    @staticmethod
    def _numbers(images: Tensor) -> list[int]:
        return (images[:, 0, 0, 0].int() + 256 * images[:, 0, 0, 1].int()).tolist()


def follow(model: Scene | BlazePose, images: np.ndarray, cuts: list[int] | None = None, **options: float) -> Followed:
    follower = FollowOne(cast(BlazePose, model), **{"fps": FPS, **options})  # type: ignore[arg-type]
    for part in np.split(images, cuts or []):
        follower.push(part)
    follower.finish()
    return follower.keypoints()


def whom(result: Followed) -> np.ndarray:
    """Per frame, the place in the scene's list of the person that came out; NaN where nobody did."""
    return result.world[:, 0, 2]


def line(x: float, speed: float, radius: float, first: int = 0, last: int = 10**6) -> Way:
    return lambda t: (x + speed * t, 30.0, radius) if first <= t < last else None


@given(cuts=st.lists(st.integers(0, 50), max_size=6).map(sorted))
@settings(max_examples=15, deadline=None)
def test_result_does_not_depend_on_the_cut(cuts: list[int]) -> None:
    scene = Scene(line(40, 1.5, 20), line(200, -2, 12, 7))
    images = scene.frames(50)
    for one, other in zip(follow(scene, images), follow(scene, images, cuts), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_largest_is_followed() -> None:
    scene = Scene(line(50, 0, 12), line(150, 0, 20))
    assert (whom(follow(scene, scene.frames(20))) == 1).all()


@pytest.mark.parametrize("speed", [0.5, 1.0, 1.5, 3.0])
@pytest.mark.parametrize("other_in_front", [True, False])
def test_identity_is_kept_when_another_crosses(speed: float, other_in_front: bool) -> None:
    person, other = line(120, 0.2, 20), line(120 - 45 * speed, speed, 18)
    scene = Scene(person, other) if other_in_front else Scene(other, person)
    who = whom(follow(scene, scene.frames(90)))
    mine = 0 if other_in_front else 1
    assert set(who[np.isfinite(who)]) == {mine}
    if speed >= 1:
        assert np.isfinite(who[-10:]).all(), "found again after the crossing"
    if not other_in_front:
        assert np.isfinite(who).all()


def test_the_detector_may_miss_them_for_long() -> None:
    scene = Scene(line(40, 1.0, 20), blind=lambda frame: frame > 0)
    assert (whom(follow(scene, scene.frames(80))) == 0).all()


def test_nobody() -> None:
    scene = Scene()
    result = follow(scene, scene.frames(11))
    assert np.isnan(result.positions).all() and np.isnan(result.world).all()
    assert not result.confidence.any() and result.confidence.shape == (11, 33)


def test_they_leave_and_come_back_while_another_stays() -> None:
    def way(t: int) -> tuple[float, float, float] | None:
        return (100.0, 30.0, 20.0) if t < 40 or t >= 100 else None

    scene = Scene(line(200, 0, 14), way)
    who = whom(follow(scene, scene.frames(130)))
    assert (who[:40] == 1).all()
    assert np.isnan(who[40:100]).all(), "the other one is not taken for them"
    assert (who[105:] == 1).all()


def test_a_first_choice_that_vanishes_at_once_was_none() -> None:
    scene = Scene(line(60, 0, 14), line(180, 0, 20, 0, 6))
    who = whom(follow(scene, scene.frames(90)))
    assert (who[:6] == 1).all() and (who[-30:] == 0).all()


def test_a_short_miss_is_a_gap_and_no_loss() -> None:
    def way(t: int) -> tuple[float, float, float] | None:
        return None if 20 <= t < 25 else (40.0 + 2 * t, 30.0, 20.0)

    scene = Scene(way, blind=lambda frame: frame > 0)
    who = whom(follow(scene, scene.frames(60)))
    assert np.isnan(who[20:25]).all()
    assert np.isfinite(np.delete(who, range(20, 25))).all()


@given(seed=st.integers(0, 1000))
def test_a_line_is_kept_as_it_is(seed: int) -> None:
    random = np.random.default_rng(seed)
    offsets = np.sort(random.choice(np.arange(-12, 13), random.integers(2, 20), replace=False))
    slope, start = random.normal(size=3), random.normal(size=3)
    got = local_line(offsets, start + offsets[:, None] * slope, 5.0)
    if np.ptp(offsets) > 2:
        np.testing.assert_allclose(got, start, atol=1e-9)
    assert np.isfinite(got).all()


def test_bad_streams() -> None:
    scene = cast(BlazePose, Scene())
    for fps in (0.0, -1.0, float("nan")):
        with pytest.raises(StreamError, match="frame rate"):
            FollowOne(scene, fps)
    with pytest.raises(StreamError, match="1 to 5"):
        FollowOne(scene, crops=6)
    follower = FollowOne(scene)
    with pytest.raises(StreamError, match="uint8"):
        follower.push(np.zeros((1, 8, 8, 3), np.float32))
    with pytest.raises(StreamError, match=r"\[1, 8, 8, 4\]"):
        follower.push(np.zeros((1, 8, 8, 4), np.uint8))
    follower.push(np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(StreamError, match="size changed"):
        follower.push(np.zeros((1, 8, 9, 3), np.uint8))
    with pytest.raises(StreamError, match="not finished"):
        follower.keypoints()
    follower.finish()
    assert follower.keypoints().positions.shape == (1, 33, 2)
    with pytest.raises(StreamError, match="after the stream was finished"):
        follower.push(np.zeros((1, 8, 8, 3), np.uint8))
    empty = FollowOne(scene)
    empty.finish()
    assert empty.keypoints().world.shape == (0, 33, 3)


def test_no_more_than_the_look_ahead_is_held() -> None:
    scene = Scene(line(100, 0, 20))
    follower = FollowOne(cast(BlazePose, scene), FPS)
    frame_bytes = 720 * 1280 * 3
    image = np.zeros((1, 720, 1280, 3), np.uint8)
    tracemalloc.start()
    for _ in range(60):
        follower.push(image)
    assert len(follower._waiting) < 12 + scene.batch
    assert tracemalloc.get_traced_memory()[0] < 5 * frame_bytes, "torch holds the frames, numpy none"
    tracemalloc.stop()


# ---- with the networks --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> BlazePose:
    blazepose_files()
    return BlazePose.load("cpu")


@pytest.mark.parametrize("shape", [(16, 16), (1, 1), (17, 901)])
def test_frames_without_a_person(model: BlazePose, shape: tuple[int, int]) -> None:
    result = follow(model, noise_frames(5, *shape))
    assert np.isnan(result.positions).all() and not result.confidence.any()


def small_person(count: int) -> np.ndarray:
    """Real frames (or the sample's), at a third of their size."""
    videos = people_videos()
    if not videos:
        pytest.skip("no video of a person is here")
    frames = read_video(videos[0], count)
    step = max(1, frames.shape[1] // 640)
    return np.ascontiguousarray(frames[:, ::step, ::step])


def test_real_person_whatever_the_cut(model: BlazePose) -> None:
    images = small_person(14)
    one, other = follow(model, images), follow(model, images, [1, 2, 9])
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.isfinite(one.positions).all() and one.confidence.mean() > 0.5
    hips = one.world[:, 23:25].mean(1)
    assert np.abs(hips).max() < 0.05, "world landmarks are centred on the hips"
    assert (one.world[:, 0, 1] < one.world[:, 27, 1]).all(), "y goes down, from the nose to the ankle"


@needs_shared
def test_person_who_leaves_and_comes_back(model: BlazePose) -> None:
    images = small_person(8)
    away = np.full_like(images, 90)
    result = follow(model, np.concatenate([images, away, images]), fps=4.0)
    seen = np.isfinite(result.positions[:, 0, 0])
    assert seen[:8].all() and not seen[8:16].any() and seen[18:].all()


def test_more_crops_calm_the_depth(model: BlazePose) -> None:
    images = small_person(14)
    one, many = (follow(model, images, crops=n) for n in (1, len(SECOND_PASS_CROPS)))
    jitter = [np.abs(np.diff(r.world[..., 2], 2, axis=0)).mean() for r in (one, many)]
    assert jitter[1] < jitter[0]
    assert np.abs(one.positions - many.positions).mean() < 0.01 * images.shape[1]
