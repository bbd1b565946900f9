# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames -> people: their 2D keypoints with confidence, and what the detector knows of depth."""

from .. import device as _device  # noqa: F401  before torch: see there
from .blazepose import BlazePose
from .follow import Followed, FollowOne

__all__ = ["BlazePose", "FollowOne", "Followed"]
