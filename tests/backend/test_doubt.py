# SPDX-License-Identifier: GPL-3.0-or-later
import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import random_motion, seeds
from video2rig.bounds import find_at_bounds, to_json
from video2rig.doubt import SHORTEST, UNSURE, WORDS, Doubt, doubts, find_unsure
from video2rig.human import default_human
from video2rig.limbs import LIMBS, limb_of, limbs_of
from video2rig.motion import Motion

spans = st.lists(st.tuples(st.floats(0, 20), st.floats(0, 3)).map(lambda s: [s[0], s[0] + s[1]]), max_size=8)


def with_confidence(confidence: np.ndarray) -> Motion:
    motion = random_motion(np.random.default_rng(0), len(confidence))
    whole = np.ones((len(confidence), len(motion.skeleton)))
    whole[:, motion.skeleton.index("left_elbow")] = confidence
    return dataclasses.replace(motion, times=np.arange(len(confidence)) / 10, confidence=whole)


def test_every_joint_has_a_limb() -> None:
    human = default_human()
    limbs = dict(zip(human.names, limbs_of(human), strict=True))
    assert set(limbs.values()) == set(LIMBS)
    assert limbs["shoulder.L"] == limbs["hand.L"] == "left arm" and limbs["toe.R"] == "right leg"
    assert limbs["spine"] == limbs["spine.003"] == "body" and limbs["spine.004"] == "head"
    nameless = dataclasses.replace(human, roles=tuple("" if "toe" in role else role for role in human.roles))
    assert limbs_of(nameless) == limbs_of(human)
    assert limb_of("") == ""


@given(seeds)
def test_unsure_intervals_are_the_frames_below_the_threshold(seed: int) -> None:
    confidence = np.random.default_rng(seed).uniform(0, 0.7, 40)
    motion = with_confidence(confidence)
    found = find_unsure(motion)
    told = np.zeros(40, dtype=bool)
    for entry in found:
        assert (entry["joint"], entry["role"]) == ("forearm.L", "left_elbow")
        for start, end in entry["intervals"]:
            told |= (motion.times >= start) & (motion.times <= end)
    assert np.array_equal(told, confidence < UNSURE)


@given(
    st.dictionaries(st.sampled_from(["left_elbow", "left_wrist", "head", ""]), spans, max_size=4), st.integers(1, 30)
)
def test_stretches_are_few_apart_and_long_enough(drawn: dict[str, list[list[float]]], most: int) -> None:
    unsure = [{"joint": role, "role": role, "intervals": intervals} for role, intervals in drawn.items()]
    found = doubts(unsure, [], most)
    assert len(found) <= most and [doubt.start for doubt in found] == sorted(doubt.start for doubt in found)
    for limb in LIMBS:
        own = [doubt for doubt in found if doubt.what == limb]
        assert all(doubt.end - doubt.start >= SHORTEST for doubt in own)
        assert all(later.start > former.end for former, later in itertools.pairwise(own))
    every = doubts(unsure, [], 1000)
    shortest = min((doubt.end - doubt.start for doubt in found), default=0.0)
    assert all(doubt in found or doubt.end - doubt.start <= shortest for doubt in every)
    # whatever was unsure for long is inside of one of them
    for role, intervals in drawn.items():
        for start, end in intervals:
            if role and end - start >= SHORTEST:
                assert any(d.what == limb_of(role) and d.start <= start and d.end >= end for d in every)


def test_limits_are_told_by_joint_and_motion() -> None:
    motion = with_confidence(np.ones(20))
    angles = motion.rotations.copy()
    angles[:] = [1, 0, 0, 0]
    still = dataclasses.replace(motion, rotations=angles)
    at_bounds = to_json(find_at_bounds(still))
    found = doubts(find_unsure(still), at_bounds, 100)
    assert found and {doubt.kind for doubt in found} == {"limit"}
    assert {doubt.what for doubt in found} == {stay["title"] for stay in at_bounds}
    assert all(doubt.start == 0 and doubt.end == pytest.approx(1.9) for doubt in found)


def test_marks_begin_with_known_words() -> None:
    names = [name for kind in ("unsure", "limit") for name in Doubt(kind, "left knee flexion", 0, 1).names]
    assert names == [
        "unsure: left knee flexion",
        "sure: left knee flexion",
        "at limit: left knee flexion",
        "off limit: left knee flexion",
    ]
    assert all(name.startswith(WORDS) for name in names)
