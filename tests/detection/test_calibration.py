# SPDX-License-Identifier: GPL-3.0-or-later
"""The curve that makes a probability of a confidence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from video2rig.detection.calibration import CURVES, calibration_error, fit, log_odds, probability


@given(offset=st.floats(-1.5, 1.5), slope=st.floats(0.1, 1.5), seed=st.integers(0, 100))
def test_the_curve_behind_the_data_is_found(offset: float, slope: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    confidence = random.beta(1.5, 1.0, 20_000)
    chance = probability(confidence, (offset, slope))
    right = (random.random(20_000) < chance).astype(float)
    found = fit(confidence, right)
    assert found == pytest.approx((offset, slope), abs=0.12)
    assert calibration_error(probability(confidence, found), right) < 0.03


@given(seed=st.integers(0, 100))
def test_no_curve_is_likelier(seed: int) -> None:
    random = np.random.default_rng(seed)
    confidence, right = random.random(80), (random.random(80) < 0.7).astype(float)

    def likelihood(curve: tuple[float, float]) -> float:
        chance = probability(confidence, curve)
        return float(np.log(np.where(right > 0, chance, 1 - chance)).sum())

    best = fit(confidence, right)
    for step in ((0.1, 0.0), (-0.1, 0.0), (0.0, 0.1), (0.0, -0.1)):
        assert likelihood(best) >= likelihood((best[0] + step[0], best[1] + step[1])) - 1e-3


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_data_that_are_all_alike(right: float) -> None:
    curve = fit(np.linspace(0.1, 0.9, 30), np.full(30, right))
    assert np.isfinite(curve).all() and abs(float(probability(np.array(0.5), curve)) - right) < 0.1


def test_probabilities() -> None:
    chance = probability(np.array([0.0, 0.01, 0.5, 0.99, 1.0]), CURVES["blazepose_33"])
    assert chance[0] == 0 and (np.diff(chance) > 0).all() and chance[-1] < 1
    assert np.isfinite(log_odds(np.array([0.0, 1.0]))).all()


def test_calibration_error_of_a_liar() -> None:
    right = np.tile([0.0, 1.0], 500)
    assert calibration_error(np.full(1000, 0.9), right) == pytest.approx(0.4, abs=0.05)
    assert calibration_error(np.full(1000, 0.5), right) < 0.05
