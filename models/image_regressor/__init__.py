# SPDX-License-Identifier: GPL-3.0-or-later
"""The image regressor of Zhou et al. 2016, Deep Kinematic Pose Regression (section 4.2)."""
