# SPDX-License-Identifier: GPL-3.0-or-later
"""Noise and smoothness that a sequence itself tells."""

import numpy as np
import pytest
import torch

from synthetic import moving_person
from video2rig.human import default_human
from video2rig.ik.from_markers import sequence_of_points
from video2rig.ik.model import BodyModel
from video2rig.ik.sequence import Estimates, estimate
from video2rig.keypoints import KEYPOINT_SETS

MODEL = BodyModel.for_keypoints(default_human(), KEYPOINT_SETS["h36m_17"])


def estimated(
    seed: int, noise: float, *, pace: float = 1.0, outliers: float = 0.0, missing: float = 0.0, lengths: bool = False
) -> Estimates:
    """What is estimated of 120 frames of a moving person.

    Args:
        noise: Standard deviation of a coordinate, metres. pace: How fast joints turn.
        outliers: Share of points that are off by half a metre. missing: Share of points that are not seen.
    """
    rng = np.random.default_rng(seed)
    scene = moving_person(rng, 120, pace=pace)
    points = MODEL.points(scene.pose)
    spots = points + noise * torch.tensor(rng.normal(size=points.shape))
    spots[torch.tensor(rng.random(points.shape[:2]) < outliers)] += 0.5
    confidence = torch.tensor((rng.random(points.shape[:2]) >= missing).astype(np.float64))
    sequence = sequence_of_points(MODEL, scene.keypoints.times, spots[None], confidence[None], lengths)
    return estimate(sequence, MODEL.no_stretch(1), None, lambda done, total: None)[0]


def deviation(estimates: Estimates) -> float:
    (found,) = estimates.evidence_deviation
    assert found is not None
    return float(found)


@pytest.mark.parametrize("noise", [0.002, 0.005, 0.01])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_noise_is_found(noise: float, seed: int) -> None:
    assert deviation(estimated(seed, noise)) == pytest.approx(noise, rel=0.05)


def test_outliers_and_what_is_not_seen_are_no_noise() -> None:
    assert deviation(estimated(2, 0.005, outliers=0.03)) == pytest.approx(0.005, rel=0.15)
    assert deviation(estimated(3, 0.005, missing=0.2)) == pytest.approx(0.005, rel=0.1)


def test_lengths_that_are_unknown_do_not_pass_for_noise() -> None:
    assert deviation(estimated(4, 0.005, lengths=True)) == pytest.approx(0.005, rel=0.05)


def test_noiseless_points_are_followed_closely() -> None:
    assert deviation(estimated(5, 0.0)) < 0.001


def test_slow_motions_are_smoothed_more_than_fast_ones() -> None:
    weights = [estimated(6, 0.005, pace=pace).weight[0, 6:].log().median() for pace in (1.0, 2.0, 4.0)]
    assert weights[0] > weights[1] + 1 and weights[1] > weights[2] + 1
