# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given

from strategies import seeds
from video2rig.human import DEFAULT_HEIGHT, default_human
from video2rig.keypoints import sites
from video2rig.paper_human import paper_human
from video2rig.regression.points import POINTS
from video2rig.regression.proportions import SEGMENTS, bone_segments, offset_segments, proportions, stretched
from video2rig.skeleton import Skeleton

HUMAN = default_human()


def scaled(logarithms: np.ndarray) -> Skeleton:
    """The default human with segments of other lengths."""
    factors = np.append(np.exp(logarithms), 1.0)
    return HUMAN.scaled(factors[offset_segments(HUMAN)], factors[bone_segments(HUMAN)])


@given(seeds)
def test_proportions_are_the_factors_that_a_body_was_scaled_by(seed: int) -> None:
    logarithms = np.random.default_rng(seed).normal(0, 0.1, len(SEGMENTS))
    assert proportions(scaled(logarithms)) == pytest.approx(logarithms, abs=1e-9)


@given(seeds)
def test_stretched_offsets_and_sites_are_those_of_the_scaled_body(seed: int) -> None:
    logarithms = np.random.default_rng(seed).normal(0, 0.1, len(SEGMENTS))
    body = scaled(logarithms)
    offset = stretched(torch.tensor(HUMAN.offset), offset_segments(HUMAN), torch.tensor(logarithms)).numpy()
    assert np.allclose(offset[1:], body.offset[1:])
    joints, at_rest = sites(HUMAN, POINTS)
    placed = stretched(torch.tensor(at_rest), bone_segments(HUMAN)[joints], torch.tensor(logarithms)).numpy()
    # where a body faces follows from its torso's slope, which proportions change a little
    assert np.allclose(placed, sites(body, POINTS)[1], atol=2e-3)


def test_a_taller_body_is_larger_in_all_segments() -> None:
    assert proportions(HUMAN) == pytest.approx(np.zeros(len(SEGMENTS)))
    taller = proportions(default_human(height=2.1))
    assert taller == pytest.approx(np.full(len(SEGMENTS), np.log(2.1 / DEFAULT_HEIGHT)))


def test_a_segment_that_a_skeleton_lacks_counts_as_average() -> None:
    coarse = paper_human()
    assert not any(role.endswith("toes") for role in coarse.roles)
    assert proportions(coarse)[SEGMENTS.index("foot")] == 0.0
    assert np.isfinite(proportions(coarse)).all() and proportions(coarse).any()
