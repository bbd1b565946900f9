# SPDX-License-Identifier: GPL-3.0-or-later
"""The toy problem of Zhou et al. 2016, Deep Kinematic Pose Regression (section 4.1), remade."""
