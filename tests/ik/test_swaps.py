# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import seeds
from video2rig.human import default_human
from video2rig.ik.swaps import (
    GROUPS,
    Mirror,
    find_swaps,
    mirror_by_names,
    mirror_by_places,
    relabelled,
)
from video2rig.keypoints import KEYPOINT_SETS, sites

NAMES = KEYPOINT_SETS["halpe_26"]
MIRROR = mirror_by_names(NAMES)


def body() -> np.ndarray:
    """[K, 3] metres, the default human at rest."""
    skeleton = default_human()
    joints, offsets = sites(skeleton, NAMES)
    rest = skeleton.rest_matrices()[joints]
    return rest[:, :3, 3] + np.einsum("kij,kj->ki", rest[:, :3, :3], offsets)


def moving(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
    """[T, K, 3] points that swing about their places at up to 1.5 Hz, each its own way, and wander together."""
    points = np.tile(body(), (len(times), 1, 1))
    apart = np.linalg.norm(body() - body()[MIRROR.twin], axis=-1, keepdims=True)
    for share, shape in ((0.15 * apart, points.shape[1:]), (0.08, (1, 3))):
        rate, phase = rng.uniform(0.2, 1.5, shape), rng.uniform(0, 2 * np.pi, shape)
        points += share * np.sin(2 * np.pi * rate * times[:, None, None] + phase)
    return points


def turning(times: np.ndarray, rate: float) -> np.ndarray:
    """[T, K, 3] a body that turns about the vertical, radians a second."""
    points, angle = body(), rate * times
    x = points[:, 0] * np.cos(angle)[:, None] - points[:, 1] * np.sin(angle)[:, None]
    y = points[:, 0] * np.sin(angle)[:, None] + points[:, 1] * np.cos(angle)[:, None]
    return np.stack([x, y, np.broadcast_to(points[:, 2], x.shape)], axis=-1)


def walking(times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[T, K, 2] metres seen from the side: arms and legs cross twice in every stride."""
    points = body()
    depth = points[:, 2].max() - points[:, 2]
    swing = np.array([{"left": 1.0, "right": -1.0}.get(name.split("_")[0], 0.0) for name in NAMES])
    swing = swing * np.where(MIRROR.group == GROUPS.index("arms"), -0.5, 1.0) * (MIRROR.group != GROUPS.index("head"))
    forward = 1.4 * times[:, None] + 0.35 * swing * depth * np.sin(2 * np.pi * 0.9 * times[:, None] + rng.uniform(0, 6))
    return np.stack([forward + points[:, 1], np.broadcast_to(points[:, 2], forward.shape)], axis=-1)


def bursts(rng: np.random.Generator, frames: int, rate: float) -> np.ndarray:
    """[T, G] bool: swaps of single frames up to a second of any groups, with calm in between."""
    swapped, begin = np.zeros((frames, len(GROUPS)), dtype=bool), int(rng.integers(20, 40))
    while True:
        end = begin + int(rng.choice([1, 2, 3, 5, 10, round(rate)]))
        if end > frames - 20:
            return swapped
        swapped[begin:end] = rng.random(len(GROUPS)) < 0.6
        begin = end + round(1.5 * rate) + int(rng.integers(5, 25))


def seen_by(rng: np.random.Generator, points: np.ndarray, dropouts: float) -> tuple[np.ndarray, np.ndarray]:
    """The points [T, K, D] with some of them NaN, and their confidence [T, K]."""
    hidden = rng.random(points.shape[:2]) < dropouts
    return np.where(hidden[..., None], np.nan, points), np.where(hidden, 0.0, rng.uniform(0.3, 1.0, hidden.shape))


@given(seeds, st.sampled_from([25.0, 30.0, 60.0]), st.floats(0.0, 0.006))
@settings(max_examples=40, deadline=None)
def test_bursts_on_smooth_motion_are_undone_exactly(seed: int, rate: float, noise: float) -> None:
    rng = np.random.default_rng(seed)
    times = np.arange(360) / rate
    truth = moving(rng, times)
    truth += noise * rng.normal(size=truth.shape)
    swapped = bursts(rng, len(times), rate)
    swapped[:, 2] &= noise < 0.002  # a face is small
    confidence = rng.uniform(0.3, 1.0, truth.shape[:2])
    points, trust = relabelled(truth, swapped, MIRROR), relabelled(confidence, swapped, MIRROR)
    found = find_swaps(points, trust, times, MIRROR)
    np.testing.assert_array_equal(found, swapped)
    np.testing.assert_array_equal(relabelled(points, found, MIRROR), truth)
    np.testing.assert_array_equal(relabelled(trust, found, MIRROR), confidence)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_swapped_together_is_found_together_though_a_face_is_small(seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = np.arange(100) / 60
    truth = moving(rng, times)[..., :2]
    truth += 0.02 * rng.normal(size=truth.shape)
    swapped = np.zeros((len(times), len(GROUPS)), dtype=bool)
    # as a detector flickered that mistook a real person's front for their back
    for begin, end in ((33, 34), (36, 37), (41, 44), (45, 66), (67, 68), (70, 73)):
        swapped[begin:end] = True
    found = find_swaps(relabelled(truth, swapped, MIRROR), np.ones(truth.shape[:2]), times, MIRROR)
    np.testing.assert_array_equal(found, swapped)


@given(seeds, st.floats(0.0, 0.02), st.sampled_from([0.0, 0.2]), st.sampled_from([(0, 1, 2), (0, 2), (1, 2), (0, 1)]))
@settings(max_examples=40, deadline=None)
def test_clean_motion_is_left_alone(seed: int, noise: float, dropouts: float, axes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.uniform(0.02, 0.05, 120))
    points = moving(rng, times)[..., axes]
    points, confidence = seen_by(rng, points + noise * rng.normal(size=points.shape), dropouts)
    assert not find_swaps(points, confidence, times, MIRROR).any()


@given(seeds, st.floats(0.0, 0.01), st.sampled_from([0.0, 0.2]))
@settings(max_examples=40, deadline=None)
def test_walking_seen_from_the_side_is_left_alone(seed: int, noise: float, dropouts: float) -> None:
    rng = np.random.default_rng(seed)
    times = np.arange(150) / 30
    points = walking(times, rng)
    points, confidence = seen_by(rng, points + noise * rng.normal(size=points.shape), dropouts)
    assert not find_swaps(points, confidence, times, MIRROR).any()


@given(seeds, st.floats(-6.0, 6.0), st.floats(0.0, 0.01), st.sampled_from([0.0, 0.2]), st.sampled_from([2, 3]))
@settings(max_examples=40, deadline=None)
def test_whoever_turns_exchanges_sides_in_the_picture(
    seed: int, rate: float, noise: float, dropouts: float, dimensions: int
) -> None:
    rng = np.random.default_rng(seed)
    times = np.arange(120) / 30
    points = turning(times, rate)[..., [0, 2] if dimensions == 2 else [0, 1, 2]]
    points, confidence = seen_by(rng, points + noise * rng.normal(size=points.shape), dropouts)
    assert not find_swaps(points, confidence, times, MIRROR).any()


def test_a_swap_is_found_while_somebody_turns_in_the_picture() -> None:
    times = np.arange(120) / 30
    points = turning(times, np.pi)[..., [0, 2]]
    swapped = np.zeros((len(times), len(GROUPS)), dtype=bool)
    swapped[25:35, :2] = True  # turned by 150 to 210 degrees: seen from behind
    found = find_swaps(relabelled(points, swapped, MIRROR), np.ones(points.shape[:2]), times, MIRROR)
    np.testing.assert_array_equal(found, swapped)


@given(seeds, st.integers(1, 3))
def test_the_shortest_sequences_are_left_alone(seed: int, frames: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(frames, len(NAMES), 3))
    found = find_swaps(points, np.ones(points.shape[:2]), np.arange(frames) / 30, MIRROR)
    assert found.shape == (frames, len(GROUPS)) and not found.any()


@pytest.mark.parametrize("place", [0.0, 1e6])
def test_who_stands_still_or_is_not_seen_is_left_alone(place: float) -> None:
    times = np.arange(50) / 30
    points = np.tile(body() + place, (50, 1, 1))
    assert not find_swaps(points, np.ones(points.shape[:2]), times, MIRROR).any()
    assert not find_swaps(points * np.nan, np.zeros(points.shape[:2]), times, MIRROR).any()
    same = np.zeros_like(points)
    assert not find_swaps(same, np.ones(points.shape[:2]), times, MIRROR).any()


def test_a_limb_that_is_never_seen_does_not_matter() -> None:
    rng, times = np.random.default_rng(0), np.arange(90) / 30
    points, confidence = moving(rng, times), np.ones((90, len(NAMES)))
    confidence[:, [NAMES.index(f"right_{part}") for part in ("shoulder", "elbow", "wrist")]] = 0.0
    assert not find_swaps(points, confidence, times, MIRROR).any()


def test_swapped_throughout_is_left_alone() -> None:
    rng, times = np.random.default_rng(0), np.arange(90) / 30
    points = relabelled(moving(rng, times), np.ones((90, len(GROUPS)), dtype=bool), MIRROR)
    assert not find_swaps(points, np.ones(points.shape[:2]), times, MIRROR).any()


@given(seeds, st.sampled_from(sorted(KEYPOINT_SETS)))
def test_relabelling_twice_changes_nothing(seed: int, set_name: str) -> None:
    rng = np.random.default_rng(seed)
    mirror = mirror_by_names(KEYPOINT_SETS[set_name])
    np.testing.assert_array_equal(mirror.twin[mirror.twin], np.arange(len(mirror.twin)))
    array = rng.normal(size=(5, len(mirror.twin), 2))
    swapped = rng.random((5, len(GROUPS))) < 0.5
    once = relabelled(array, swapped, mirror)
    np.testing.assert_array_equal(relabelled(once, swapped, mirror), array)
    moved = (once != array).any(axis=(0, 2))
    assert not moved[mirror.group < 0].any()


def test_points_without_names_mirror_one_another_by_their_places() -> None:
    skeleton = default_human()
    named = tuple(name for name in NAMES if "hip" not in name)  # those sit on the pelvis, which is on no side
    placed = mirror_by_places(tuple(f"m{k}" for k in range(len(named))), skeleton, sites(skeleton, named))
    by_names = mirror_by_names(named)
    limbs = by_names.group != GROUPS.index("head")  # the head is on no side either
    np.testing.assert_array_equal(placed.twin[limbs], by_names.twin[limbs])
    np.testing.assert_array_equal(placed.group[limbs], by_names.group[limbs])
    both = mirror_by_places(NAMES, skeleton, sites(skeleton, NAMES))
    np.testing.assert_array_equal(both.twin, MIRROR.twin)


def test_names_without_sides_have_no_mirror() -> None:
    mirror = mirror_by_names(("nose", "left_knee", "spine"))
    assert isinstance(mirror, Mirror)
    np.testing.assert_array_equal(mirror.twin, np.arange(3))
    np.testing.assert_array_equal(mirror.group, -1)
