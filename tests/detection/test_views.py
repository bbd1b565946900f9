# SPDX-License-Identifier: GPL-3.0-or-later
"""Several looks at the same people become one, also where one of them does not see a keypoint."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from video2rig.detection.detector import People, mean_of
from video2rig.detection.lanes import Lane, carried

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
    lane, frames = Lane(0, 0), np.arange(COUNT)
    lane.set_looked(frames, first)
    share = np.full((COUNT, KEYPOINTS), old)
    lane.blend(frames, second, share, np.full((COUNT, KEYPOINTS), trust))
    positions, confidence, world = lane.results(COUNT)
    assert world is not None
    assert np.isfinite(confidence).all()
    known = confidence > 0
    assert np.isfinite(positions[known]).all() and np.isfinite(world[known]).all()
    one, two = first.confidence > 0, second.confidence > 0
    assert (known == (one | two))[~(one & two)].all()
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


def test_frames_that_the_first_look_left_out_take_its_difference_from_the_second() -> None:
    """Two looks that differ by a constant: as if the first look had been at every frame."""
    lane, frames = Lane(0, 5), np.arange(5, 12)
    ones, places = np.ones((7, KEYPOINTS)), np.cumsum(np.ones((7, KEYPOINTS, 2)), axis=0)
    second = People(np.ones(7), np.zeros((7, 4)), places, 0.5 * ones, None)
    first = second._replace(positions=places + 3.0, confidence=0.7 * ones)
    skipped = frames % 2 != 0
    lane.use(frames, np.zeros((7, 4)))
    lane.set_looked(frames[~skipped], first.picked(~skipped))
    lane.carry(frames, second)
    positions, confidence, _ = lane.results(12)
    np.testing.assert_allclose(positions[5:], first.positions)
    np.testing.assert_allclose(confidence[5:], first.confidence, rtol=1e-6)


def test_a_left_out_look_is_in_doubt_where_the_looks_beside_it_disagree_or_the_body_jumps() -> None:
    frames, circle = np.arange(9), np.tile([0.0, 0.0, 0.0, -100.0], (9, 1))
    still = np.tile(np.arange(KEYPOINTS * 2.0).reshape(KEYPOINTS, 2), (9, 1, 1))
    second = People(np.ones(9), circle, still.copy(), np.ones((9, KEYPOINTS)), None)
    second.positions[7] += 20.0  # a jump of a fifth of the radius
    lane, looked = Lane(0, 0), frames % 2 == 0
    first = second._replace(positions=second.positions.copy())
    first.positions[2] += 20.0  # both looks disagree
    lane.set_looked(frames[looked], first.picked(looked))
    assert lane.doubtful(frames, second)[~looked].tolist() == [True, True, False, True]
    assert lane.doubtful(frames[3:4], second.picked(frames == 3)).tolist() == [True]  # no look beside
