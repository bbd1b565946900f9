# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures and statues are told from people by how little their shape changes, whatever the camera does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from video2rig.keypoints import KEYPOINT_SETS, Keypoints
from video2rig.stillness import FEWEST, MEAN_SECONDS, SEEN, STILL, most, still, stillness, sway

FPS = 30.0
COUNT = len(KEYPOINT_SETS["coco_17"])
TALL = 400.0  # px


def figure(seed: int = 0) -> np.ndarray:
    """[K,2] px: keypoints of somebody who is about TALL."""
    return np.random.default_rng(seed).uniform(0, 1, (COUNT, 2)) * (0.4 * TALL, TALL) + (300, 100)


def filmed(
    seconds: float = 4.0, jitter: float = 0.003, swing: float = 0.0, begin: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions, confidence and times of a figure whose keypoints jitter, and of which four swing from a time on."""
    rng = np.random.default_rng(1)
    times = np.arange(round(seconds * FPS)) / FPS
    positions = figure() + rng.normal(0, jitter * TALL, (len(times), COUNT, 2))
    arms = swing * TALL * np.sin(3 * times) * (times >= begin)
    positions[:, :4, 0] += arms[:, None]
    return positions, np.full((len(times), COUNT), 0.9), times


def naive(positions: np.ndarray, confidence: np.ndarray, times: np.ndarray) -> float:
    """The same number, frame by frame and keypoint by keypoint."""
    sure = [k for k in range(positions.shape[1]) if np.median(confidence[:, k]) > SEEN]
    shapes = [frame[sure] - frame[sure].mean(0) for frame in positions]
    shapes = [shape / np.sqrt((shape**2).sum()) for shape in shapes]
    rough = np.median(shapes, 0)
    rough = rough - rough.mean(0)
    alike = np.median([shape * (shape * rough).sum() for shape in shapes], 0)
    alike = alike - alike.mean(0)
    scaled = [shape * ((shape * alike).sum() / (shape**2).sum()) for shape in shapes]
    size = np.linalg.norm(alike.max(0) - alike.min(0))
    bins: dict[int, list[np.ndarray]] = {}
    for time, shape in zip(times, scaled, strict=True):
        bins.setdefault(int((time - times[0]) / MEAN_SECONDS), []).append((shape - alike) / size)
    means = [np.mean(part, 0) for part in bins.values()]
    lengths = sorted(np.sqrt(np.mean([(mean[k] ** 2).sum() for mean in means])) for k in range(len(sure)))
    quarter = lengths[-max(1, len(lengths) // 4) :]
    return float(np.mean(quarter))


@pytest.mark.parametrize("swing", [0.0, 0.01, 0.2])
def test_it_is_what_it_says(swing: float) -> None:
    seen = filmed(swing=swing)
    seen[1][:, 5] = SEEN / 2
    assert sway(*seen) == pytest.approx(naive(*seen), rel=1e-9)


def test_a_picture_is_still_and_a_person_is_not() -> None:
    found = still(*filmed())
    assert found is not None and found.sway < STILL and found.seconds == pytest.approx(4.0)
    assert str(found).startswith("hardly moves in 4.0 s (0.") and "a picture, a statue, or somebody" in str(found)
    assert still(*filmed(swing=0.05)) is None
    assert still(*filmed(seconds=20, swing=0.1, begin=19)) is None, "whoever moves once is no picture"
    assert still(*filmed(seconds=1.9)) is None, "too short to tell"


@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.01, 0.1]))
def test_the_camera_does_not_count(seed: int, swing: float) -> None:
    positions, confidence, times = filmed(seconds=2.5, jitter=0.0005, swing=swing)
    rng = np.random.default_rng(seed)
    pan = np.cumsum(rng.normal(0, 5, (len(times), 1, 2)), 0)
    zoom = np.exp(np.cumsum(rng.normal(0, 0.01, (len(times), 1, 1)), 0))
    filmed_so = sway(positions * zoom + pan, confidence, times)
    assert filmed_so == pytest.approx(sway(positions, confidence, times), rel=1e-9)


def test_what_is_not_seen_does_not_count() -> None:
    positions, confidence, times = filmed()
    positions[:, :4] += np.random.default_rng(2).normal(0, 50, (len(times), 4, 2))
    assert still(positions, confidence, times) is None
    confidence[:, :4] = 0.2
    assert still(positions, confidence, times) is not None
    positions[40:60], confidence[40:60] = np.nan, 0
    found = still(positions, confidence, times)
    assert found is not None and found.seconds == pytest.approx(4.0 - 20 / FPS)
    confidence[:, FEWEST - 1 :] = 0.2
    assert sway(positions, confidence, times) == np.inf and still(positions, confidence, times) is None
    assert sway(positions[:1], confidence[:1], times[:1]) == np.inf
    assert still(positions[:0], confidence[:0], times[:0]) is None


def test_frames_that_miss_keypoints_are_left_out_while_there_are_enough() -> None:
    positions, confidence, times = filmed()
    confidence[::3, 7], positions[::3, 7] = 0, np.nan
    assert np.isfinite(sway(positions, confidence, times))
    confidence[1::3, 8], positions[1::3, 8] = 0, np.nan
    assert sway(positions, confidence, times) == np.inf


def test_keypoints_are_taken_too() -> None:
    positions, confidence, times = filmed()
    assert stillness(Keypoints("coco_17", positions, confidence, times)) == still(positions, confidence, times)


def test_the_largest_quarter() -> None:
    assert most(np.array([8.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0])) == 7.0 and most(np.array([3.0, 5.0])) == 5.0
