# SPDX-License-Identifier: GPL-3.0-or-later
"""From 2D keypoints over time to rotations of the default human (after Zhou et al. 2016)."""
