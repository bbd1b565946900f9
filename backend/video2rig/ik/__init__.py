# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole-sequence temporal inverse kinematics, inside each joint's range of motion."""
