# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole-sequence temporal inverse kinematics, inside each joint's range of motion."""

from .evidence import Contacts, Floor
from .from_camera import CameraSolver, FormerPoses, RotationPrior, Solution
from .from_markers import solve_markers, solve_markers_together
from .model import BodyModel, Pose
from .to_motion import NobodySeen, to_motion
from .within_range import within_range

__all__ = [
    "BodyModel",
    "CameraSolver",
    "Contacts",
    "Floor",
    "FormerPoses",
    "NobodySeen",
    "Pose",
    "RotationPrior",
    "Solution",
    "solve_markers",
    "solve_markers_together",
    "to_motion",
    "within_range",
]
