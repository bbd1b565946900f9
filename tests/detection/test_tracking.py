# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is who: the motion model's mathematics, the assignment, and people who cross, hide, come and go."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from video2rig.detection import People
from video2rig.detection.circles import between, moved, radius, same_body, smoothed, turned
from video2rig.detection.tracking import Tracker, assign, grown

FPS, EVERY = 30.0, 4
numbers = st.floats(-200, 200)
circles = st.tuples(numbers, numbers, st.floats(1, 90), st.floats(-3.1, 3.1)).map(
    lambda c: np.array([c[0], c[1], c[2] * np.cos(c[3]), c[2] * np.sin(c[3])])
)


# ---- circles ------------------------------------------------------------------------------------------------------


@given(a=circles, b=circles, part=st.floats(0, 1))
def test_between_two_circles(a: np.ndarray, b: np.ndarray, part: float) -> None:
    np.testing.assert_allclose(between(a, b, np.array(0.0)), a, atol=1e-9)
    np.testing.assert_allclose(between(a, b, np.array(1.0)), b, atol=1e-6)
    middle = between(a, b, np.array(part))
    low, high = sorted([float(radius(a)), float(radius(b))])
    assert low - 1e-6 <= radius(middle) <= high + 1e-6
    assert abs(float(turned(a, middle))) <= abs(float(turned(a, b))) + 1e-6


@given(circle=circles, angle=st.floats(-3, 3), scale=st.floats(0.5, 2))
def test_moved_circles(circle: np.ndarray, angle: float, scale: float) -> None:
    other = moved(circle, (0.25, 0.0), scale, angle)
    assert float(turned(circle, other)) == pytest.approx(angle, abs=1e-6)
    assert float(radius(other)) == pytest.approx(scale * float(radius(circle)))
    np.testing.assert_allclose(other[:2] - circle[:2], [radius(circle) / 2, 0], atol=1e-6)
    assert same_body(circle, circle)


def naive_smoothed(rows: np.ndarray, sigma: float, reach: int) -> np.ndarray:
    """Weighted least squares of a line, frame by frame."""
    result = np.full_like(rows, np.nan)
    for t in range(len(rows)):
        near = [s for s in range(max(0, t - reach), min(len(rows), t + reach + 1)) if np.isfinite(rows[s]).all()]
        if t not in near:
            continue
        offsets = np.array(near) - t
        weight = np.exp(-0.25 * (offsets / sigma) ** 2)  # of the residuals, not of their squares
        design = np.stack([np.ones(len(near)), offsets], 1)
        if len(near) == 1:
            result[t] = rows[t]
        else:
            result[t] = np.linalg.lstsq(weight[:, None] * design, weight[:, None] * rows[near], rcond=None)[0][0]
    return result


@given(seed=st.integers(0, 10_000), sigma=st.floats(0.8, 6), reach=st.integers(1, 12), gaps=st.floats(0, 0.6))
@settings(deadline=None)
def test_smoothing_equals_its_naive_twin(seed: int, sigma: float, reach: int, gaps: float) -> None:
    random = np.random.default_rng(seed)
    rows = random.normal(size=(random.integers(1, 30), 4)) * 100
    rows[random.random(len(rows)) < gaps] = np.nan
    got, expected = smoothed(rows, sigma, reach), naive_smoothed(rows, sigma, reach)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    # where all weight is on one frame, the mean stands in for a line that nothing determines
    np.testing.assert_allclose(got, expected, atol=2.0 if sigma < 1.2 else 1e-6)


@given(seed=st.integers(0, 1000))
def test_a_line_is_kept_as_it_is(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = random.normal(size=4) + np.arange(25)[:, None] * random.normal(size=4)
    rows[random.random(25) < 0.3] = np.nan
    got = smoothed(rows, 4.0, 10)
    np.testing.assert_allclose(got, rows, atol=1e-9)


# ---- the motion model ---------------------------------------------------------------------------------------------


@given(a=st.floats(0.01, 2), b=st.floats(0.01, 2), power=st.floats(0, 50), seed=st.integers(0, 1000))
def test_uncertainty_grows_the_same_in_one_step_or_two(a: float, b: float, power: float, seed: int) -> None:
    root = np.random.default_rng(seed).normal(size=(2, 2))
    covariance = root @ root.T
    np.testing.assert_allclose(
        grown(grown(covariance, a, power), b, power), grown(covariance, a + b, power), rtol=1e-9, atol=1e-9
    )


@given(x=numbers, speed=st.floats(-60, 60), size=st.floats(15, 60))
@settings(deadline=None)
def test_steady_motion_is_learned(x: float, speed: float, size: float) -> None:
    tracker = Tracker(FPS, 10_000, 10_000)
    for step in range(12):
        tracker.step(step * EVERY, people((x + 300 + speed * step * EVERY / FPS, 300, size)))
    (track,) = tracker.tracks
    assert track.velocity[0] == pytest.approx(speed, abs=0.02 * size)
    assert np.linalg.eigvalsh(track.covariance).min() >= 0


@given(rate=st.floats(-4, 4))
@settings(deadline=None)
def test_turning_is_learned(rate: float) -> None:
    tracker, expected = Tracker(FPS, 1000, 1000), []
    for step in range(10):
        angle = rate * step * EVERY / FPS
        found = people((300, 300, 40))
        found.circle[0, 2:] = 40 * np.sin(angle), -40 * np.cos(angle)
        if step == 9:
            tracker.step(step * EVERY, people(), look=lambda circle: expected.append(circle[0]) or people((0, 0, 1)))
            assert abs(float(turned(found.circle[0], expected[0]))) < 0.3 + 0.1 * abs(rate)
        else:
            tracker.step(step * EVERY, found)


# ---- the assignment -----------------------------------------------------------------------------------------------


def naive_cost(cost: np.ndarray, unmatched: float) -> float:
    rows, columns = cost.shape
    best = np.inf
    for count in range(min(rows, columns) + 1):
        for chosen in itertools.combinations(range(rows), count):
            for order in itertools.permutations(range(columns), count):
                pairs = sum(cost[i, j] for i, j in zip(chosen, order, strict=True))
                best = min(best, pairs + unmatched * (rows + columns - 2 * count))
    return best


@given(rows=st.integers(0, 4), columns=st.integers(0, 4), seed=st.integers(0, 10_000))
@settings(deadline=None)
def test_the_assignment_is_the_cheapest(rows: int, columns: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    cost = np.where(random.random((rows, columns)) < 0.3, np.inf, random.uniform(0, 60, (rows, columns)))
    pairs = assign(cost, 20.0)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
    total = sum(cost[i, j] for i, j in pairs) + 20.0 * (rows + columns - 2 * len(pairs))
    assert total == pytest.approx(naive_cost(cost, 20.0))


# ---- people who come and go ---------------------------------------------------------------------------------------


def people(*places: tuple[float, float, float], pose: float = 0.0) -> People:
    """Standing people at (x, y, radius), of two keypoints; `pose` moves the second one sideways, in radii."""
    rows = np.array(places, float).reshape(-1, 3)
    circle = np.stack([rows[:, 0], rows[:, 1], 0 * rows[:, 0], -rows[:, 2]], 1)
    head = rows[:, :2] + np.stack([pose * rows[:, 2], -0.8 * rows[:, 2]], 1)
    positions = np.stack([rows[:, :2], head], 1)
    return People(np.ones(len(rows)), circle, positions, np.ones((len(rows), 2)))


def run(tracker: Tracker, steps: list[People], first: int = 0) -> list[dict[int, tuple[float, bool]]]:
    """Of every key frame, what each number's track knows: x and whether it is seen."""
    result = []
    for k, found in enumerate(steps, first):
        tracker.step(k * EVERY, found)
        result.append({track.number: (float(track.circle[0]), track.seen) for track in tracker.tracks})
    return result


def test_two_who_cross_keep_their_numbers() -> None:
    def at(k: int) -> People:
        a, b = 50 + 6 * k, 250 - 6 * k
        return people((a, 100, 40), (b, 104, 42)) if abs(a - b) > 16 else people((max(a, b), 100, 42))

    steps = run(Tracker(FPS, 300, 400), [at(k) for k in range(34)])
    assert steps[-1][1] == (pytest.approx(250 - 6 * 33, abs=1), True)
    assert steps[-1][2] == (pytest.approx(50 + 6 * 33, abs=1), True)


def test_the_pose_tells_apart_who_stands_in_one_place() -> None:
    tracker = Tracker(FPS, 300, 400)

    def both(swapped: bool, distance: float) -> People:
        parts = [people((100, 100, 40), pose=-0.4), people((100 + distance, 100, 40), pose=0.4)]
        return People(*(np.concatenate(c) for c in list(zip(*parts[:: -1 if swapped else 1], strict=True))[:4]))

    for k in range(6):
        tracker.step(k * EVERY, both(False, 24))
    first = {track.number: track.positions[1, 0] - track.circle[0] for track in tracker.tracks}  # type: ignore[index]
    middle = people((112, 100, 40), (112, 100, 40))
    middle.positions[0, 1, 0] += 16
    middle.positions[1, 1, 0] -= 16
    tracker.step(6 * EVERY, middle)
    last = {track.number: track.positions[1, 0] - track.circle[0] for track in tracker.tracks}  # type: ignore[index]
    assert len(first) == 2 and last == pytest.approx(first)


@pytest.mark.parametrize("missing", [2, 5, 9])
def test_a_short_occlusion_is_no_loss(missing: int) -> None:
    there = [people((50 + 5 * k, 100, 40)) for k in range(30)]
    steps = [*there[:10], *[people()] * missing, *there[10 + missing :]]
    result = run(Tracker(FPS, 300, 400), steps)
    assert all(set(step) <= {0, 1} for step in result) and result[-1][1][1]


def test_who_is_gone_for_long_is_gone() -> None:
    tracker = Tracker(FPS, 300, 400)
    steps = run(tracker, [people((100, 100, 40))] * 5 + [people()] * 20 + [people((100, 100, 40))] * 5)
    assert steps[20] == {} and set(steps[-1]) == {2} and tracker.numbered == 2


def test_a_single_sighting_is_nobody() -> None:
    tracker = Tracker(FPS, 300, 400)
    run(tracker, [people((100, 100, 40)), people(), people(), people((300, 100, 40)), people((300, 100, 40))])
    assert tracker.numbered == 1


def test_part_of_a_body_is_nobody() -> None:
    tracker = Tracker(FPS, 300, 400)
    whole, part = (100, 100, 40), (115, 115, 20)
    run(tracker, [people(whole)] * 4 + [people(whole, part)] * 2 + [people(whole)] * 4)
    assert tracker.numbered == 1


@pytest.mark.parametrize(("lost", "numbered"), [(True, 1), (False, 2)])
def test_who_goes_on_where_another_is_lost_is_that_one(lost: bool, numbered: int) -> None:
    tracker = Tracker(FPS, 300, 400)
    crouching, again = (100, 100, 40), (120, 100, 40)
    run(tracker, [people(crouching)] * 4 + [people(crouching, again)] * 2)
    steps = run(tracker, [people(again) if lost else people(crouching, again)] * 4, first=6)
    assert tracker.numbered == numbered and sorted(steps[-1]) == list(range(1, numbered + 1))
    assert tracker.tracks[-1].circle[0] == pytest.approx(120)


def test_who_rests_is_where_they_are_expected_without_a_look() -> None:
    tracker, looked = Tracker(FPS, 300, 400), []

    def look(circles: np.ndarray) -> People:
        looked.extend(circles[:, 0].tolist())
        return people(*((float(x), 100, 40) for x in circles[:, 0]))

    for k in range(6):
        tracker.step(k * EVERY, people((50 + 4 * k, 100, 40), (250, 100, 40)))
    now = tracker.step(6 * EVERY, people(), look, {tracker.tracks[0].key})
    assert looked == [pytest.approx(250)]
    assert now.seen.all() and now.circle[0, 0] == pytest.approx(74, abs=1)
    assert tracker.tracks[0].last == 5 * EVERY and tracker.tracks[1].last == 6 * EVERY


def test_who_is_hidden_is_kept_longer() -> None:
    tracker = Tracker(FPS, 300, 400)
    apart = people((100, 100, 40), (160, 100, 40))
    for k in range(6):
        tracker.step(k * EVERY, apart)

    def look(circles: np.ndarray) -> People:
        return people(*[(160, 100, 40)] * len(circles))  # only the one in front shows

    walking = [people((160, 100, 40))] * 16
    tracker.tracks[0].velocity = np.array([60.0, 0.0])
    tracker.tracks[0].circle[0] = 130.0
    for k, found in enumerate(walking, 6):
        tracker.tracks[0].velocity = tracker.tracks[0].velocity * 0.5
        tracker.step(k * EVERY, found, look)
    assert {track.number: track.hidden for track in tracker.tracks} == {1: True, 2: False}


@given(seed=st.integers(0, 500))
@settings(max_examples=30, deadline=None)
def test_thirty_walkers_keep_their_numbers(seed: int) -> None:
    random = np.random.default_rng(seed)
    start, speed = np.arange(30) * 60.0 + 100, random.uniform(-20, 20, 30)
    tracker = Tracker(FPS, 2000, 4000)
    for k in range(20):
        xs = start + speed * k * EVERY / FPS
        order = random.permutation(30)
        jitter = random.normal(size=30)
        tracker.step(k * EVERY, people(*((xs[i] + jitter[i], 500 + 40 * (i % 7), 30.0) for i in order)))
    assert tracker.numbered == len(tracker.tracks) == 30
    ends = sorted(float(track.circle[0]) for track in tracker.tracks)
    assert all(track.seen and track.sightings == 20 for track in tracker.tracks)
    np.testing.assert_allclose(ends, np.sort(start + speed * 19 * EVERY / FPS), atol=6)
