# SPDX-License-Identifier: GPL-3.0-or-later
"""Video2Rig: a video of a person becomes joint rotations on a rigged armature."""

__version__ = "0.1.0"
