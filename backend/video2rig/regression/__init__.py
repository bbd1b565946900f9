# SPDX-License-Identifier: GPL-3.0-or-later
"""Kinematic regression: 2D keypoints over time to rotations that a body can make (after Zhou et al. 2016)."""

from .network import RegressionError
from .regressor import Regression, Regressor
from .transfer import predictor, rotation_prior

__all__ = ["Regression", "RegressionError", "Regressor", "predictor", "rotation_prior"]
