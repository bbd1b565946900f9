# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenPose: everyone in a frame at once, from heat maps of their parts and fields along their limbs."""

from ... import device as _device  # noqa: F401  before torch: see there
from .checkpoint import load_network
from .detector import OpenPose
from .mobilenet import MobileNetOpenPose
from .network import OpenPoseNetwork
from .stages import OpenPoseError, StagedNetwork, StageOutput

__all__ = [
    "MobileNetOpenPose",
    "OpenPose",
    "OpenPoseError",
    "OpenPoseNetwork",
    "StageOutput",
    "StagedNetwork",
    "load_network",
]
