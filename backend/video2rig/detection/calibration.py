# SPDX-License-Identifier: GPL-3.0-or-later
"""Confidence that means something: how likely a keypoint is off by less than 5 per cent of the body's height.

A detector's own confidence only ranks keypoints. A logistic curve over its log-odds (Platt, "Probabilistic outputs for
support vector machines", 1999) makes a probability of it; its two numbers are fitted to real video whose keypoints are
known, by `python benchmarks/detection.py --calibrate`, on cam01 and cam02, and tested on cam03 and cam04: there the
calibration error goes from 0.12 to 0.07. It is one person on one day in four views, and a curve fitted on cam03 and
cam04 does not hold in the other two, where the detector takes left for right: read the probability as such.

The solver does not use it: it weighs keypoints by the confidence itself, and was tuned to that.
"""

from __future__ import annotations

import numpy as np

WITHIN = 0.05
"""Of the body's height in the picture: the error that counts as right."""

CURVES = {"blazepose_33": (1.60, 0.32)}
"""Keypoint set -> offset and slope over the confidence's log-odds."""

_LEAST = 1e-3  # confidences closer to 0 or 1 say no more
_STEPS = 50
_RIDGE = 1e-3


def log_odds(confidence: np.ndarray) -> np.ndarray:
    """Confidence [...] 0..1 -> its log-odds, within +-7."""
    bounded = np.clip(np.asarray(confidence, float), _LEAST, 1 - _LEAST)
    return np.log(bounded / (1 - bounded))


def fit(confidence: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """Offset and slope of the logistic curve that makes `right` [N] (0 or 1) of confidences [N] likeliest.

    Newton's method, with a slight pull of both towards 0 so that there is a maximum whatever the data.
    """
    design = np.stack([np.ones(len(confidence)), log_odds(confidence)], 1)
    curve = np.zeros(2)
    for _ in range(_STEPS):
        chance = _logistic(design @ curve)
        slope = design.T @ (right - chance) - _RIDGE * curve
        bend = (design * (chance * (1 - chance))[:, None]).T @ design + _RIDGE * np.eye(2)
        curve = curve + np.linalg.solve(bend, slope)
    return float(curve[0]), float(curve[1])


def probability(confidence: np.ndarray, curve: tuple[float, float]) -> np.ndarray:
    """Confidence [...] -> probability [...] that the keypoint is right; 0 where the confidence is 0: not seen."""
    confidence = np.asarray(confidence, float)
    return np.where(confidence > 0, _logistic(curve[0] + curve[1] * log_odds(confidence)), 0.0)


def calibration_error(chance: np.ndarray, right: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error: mean difference between probability and frequency over equally full bins (Naeini et
    al., "Obtaining well calibrated probabilities using Bayesian binning", 2015)."""
    parts = np.array_split(np.argsort(chance, kind="stable"), bins)
    return float(
        sum(len(rows) * abs(chance[rows].mean() - right[rows].mean()) for rows in parts if len(rows)) / len(right)
    )


def _logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
