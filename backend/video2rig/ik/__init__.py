# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole-sequence temporal inverse kinematics, inside each joint's range of motion."""

from .model import BodyModel, Pose
from .objective import Anchors
from .solve import NobodySeen, SequenceSolver, Solution

__all__ = ["Anchors", "BodyModel", "NobodySeen", "Pose", "SequenceSolver", "Solution"]
