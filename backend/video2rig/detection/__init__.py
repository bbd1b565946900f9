# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames -> people: their 2D keypoints with confidence, and what the detector knows of depth."""

from .. import device as _device  # noqa: F401  before torch: see there
from .blazepose import BlazePose
from .detector import CropDetector, Detector, People, TilingDetector
from .stream import PeopleStream, StreamError, Tracked

__all__ = [
    "BlazePose",
    "CropDetector",
    "Detector",
    "People",
    "PeopleStream",
    "StreamError",
    "TilingDetector",
    "Tracked",
]
