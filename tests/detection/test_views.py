# SPDX-License-Identifier: GPL-3.0-or-later
"""Several looks at the same people become one, also where one of them does not see a keypoint."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from video2rig.detection.detector import People, mean_of
from video2rig.detection.lanes import carried
from video2rig.detection.sights import Sights, blended, columns_of, filled, unsteady

COUNT, KEYPOINTS = 2, 3


@st.composite
def people(draw: st.DrawFn) -> People:
    """Two people with three keypoints, some of them unseen."""
    confidence = draw(arrays(float, (COUNT, KEYPOINTS), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])))
    unseen = np.where(confidence[..., None] > 0, 0.0, np.nan)
    places = st.floats(-100, 100)
    return People(
        draw(arrays(float, COUNT, elements=st.floats(0, 1))),
        draw(arrays(float, (COUNT, 4), elements=places)),
        draw(arrays(float, (COUNT, KEYPOINTS, 2), elements=places)) + unseen,
        confidence,
        draw(arrays(float, (COUNT, KEYPOINTS, 3), elements=places)) + unseen,
    )


@given(st.lists(people(), min_size=1, max_size=4))
def test_the_mean_is_over_the_views_that_see_a_keypoint(views: list[People]) -> None:
    mean = mean_of(views)
    assert mean.world is not None
    for i in range(COUNT):
        for k in range(KEYPOINTS):
            seeing = [view for view in views if view.confidence[i, k] > 0]
            assert mean.confidence[i, k] == np.mean([view.confidence[i, k] for view in views])
            if not seeing:
                assert np.isnan(mean.positions[i, k]).all() and np.isnan(mean.world[i, k]).all()
                continue
            np.testing.assert_allclose(mean.positions[i, k], np.mean([v.positions[i, k] for v in seeing], axis=0))


@given(people(), people(), st.floats(0, 1), st.floats(0, 1))
def test_a_second_look_never_loses_what_one_of_them_sees(
    first: People, second: People, old: float, trust: float
) -> None:
    share = np.full((COUNT, KEYPOINTS), old)
    positions, confidence, world = blended(
        columns_of(first), columns_of(second), share, np.full((COUNT, KEYPOINTS), trust)
    )
    assert np.isfinite(confidence).all()
    there = confidence > 0
    assert np.isfinite(positions[there]).all() and np.isfinite(world[there]).all()
    one, two = first.confidence > 0, second.confidence > 0
    assert (there == (one | two))[~(one & two)].all()
    np.testing.assert_allclose(positions[one & ~two], first.positions[one & ~two], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(positions[two & ~one], second.positions[two & ~one], rtol=1e-6, atol=1e-6)
    mixed = old * first.positions + (1 - old) * second.positions
    np.testing.assert_allclose(positions[one & two], mixed[one & two], rtol=1e-4, atol=1e-4)


@given(st.data(), st.integers(1, 12))
def test_what_is_left_out_is_carried_over_from_the_rows_beside_it(data: st.DataObject, count: int) -> None:
    base = data.draw(arrays(float, (count, 2), elements=st.floats(-10, 10)))
    away = data.draw(arrays(float, (count, 2), elements=st.sampled_from([-1.0, 0.0, 2.0, np.nan])))
    whole = carried(base + away, base)
    for row in range(count):
        for column in range(2):
            beside = [away[i, column] for i in (row - 1, row + 1) if 0 <= i < count]
            known = [value for value in beside if np.isfinite(value)]
            expected = base[row, column] + np.mean(known) if known else np.nan
            np.testing.assert_allclose(whole[row, column], expected, atol=1e-9)


def looks(count: int, bend: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Two looks at keypoints on a parabola over so many frames, in which the second one differs by a constant."""
    steps = np.arange(count, dtype=float)[:, None, None] + np.arange(KEYPOINTS)[:, None]
    places = np.concatenate([3 * steps, bend * steps**2], -1)
    return [places, np.full((count, KEYPOINTS), 0.7)], [places - 3.0, np.full((count, KEYPOINTS), 0.5)]


@given(st.integers(5, 12), st.floats(-2, 2), st.booleans())
def test_looks_that_take_turns_are_as_if_both_had_seen_all_frames(count: int, bend: float, other: bool) -> None:
    first, second = looks(count, bend)
    turn = np.arange(count) % 2 == int(other)
    parts = []
    for look, mine in ((first, turn), (second, ~turn)):
        hole = np.where(mine, 1.0, np.nan)[:, None, None]
        parts.append([look[0] * hole, look[1] * mine[:, None]])
    for seen, whole in zip(filled(*parts), (first, second), strict=True):
        inner = slice(2, -2)  # the outermost frames have too few beside them
        np.testing.assert_allclose(seen[0][inner], whole[0][inner], atol=1e-6)
        np.testing.assert_allclose(seen[1][inner], whole[1][inner], atol=1e-6)


def test_a_look_that_is_there_is_kept_and_one_alone_stands_for_both() -> None:
    first, second = looks(6, 0.5)
    for seen, whole in zip(filled(first, second), (first, second), strict=True):
        np.testing.assert_array_equal(seen[0], whole[0])
    nothing = [np.full_like(second[0], np.nan), np.zeros_like(second[1])]
    for seen in filled(first, nothing):
        np.testing.assert_array_equal(seen[0], first[0])


def test_frames_are_unsteady_where_the_looks_disagree_and_not_where_the_body_moves() -> None:
    steps = np.arange(11.0)[:, None, None] * np.ones((KEYPOINTS, 1))
    moving = np.concatenate([9 * steps, 0.7 * steps**2 - 0.02 * steps**3], -1)
    other = np.where(np.arange(11) % 2 == 0, 0.0, 20.0)[:, None, None]
    for bias, apart in ((0.0, 0.0), (other, np.hypot(20, 20) / 100)):
        away = unsteady([moving + bias, np.ones((11, KEYPOINTS))], np.full(11, 100.0))
        assert np.isnan(away[[0, 1, -2, -1]]).all()
        np.testing.assert_allclose(away[2:-2], apart, atol=1e-9)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 100)), min_size=1, max_size=6), st.integers(0, 150))
def test_sights_remember_what_was_put_until_it_is_forgotten(parts: list[tuple[int, int]], before: int) -> None:
    sights, truth = Sights(0), np.full(400, np.nan)
    for begin, count in parts:
        frames = np.arange(begin, begin + count)
        truth[frames] = frames
        sights.put(frames, [np.tile(frames[:, None, None], (1, KEYPOINTS, 2)), np.ones((count, KEYPOINTS))])
    sights.forget(before)
    truth[:before] = np.nan
    positions, confidence = sights.take(np.arange(400))
    np.testing.assert_array_equal(positions[:, 0, 0], truth)
    np.testing.assert_array_equal(confidence[:, 0], np.isfinite(truth))
