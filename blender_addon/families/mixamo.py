# SPDX-License-Identifier: GPL-3.0-or-later
"""Mixamo's auto-rigger: ``mixamorig:LeftUpLeg``; the prefix may differ or be absent."""

from .family import Family, both_sides, centre

LIMBS = {
    "clavicle": "{}Shoulder",
    "shoulder": "{}Arm",
    "elbow": "{}ForeArm",
    "wrist": "{}Hand",
    "hip": "{}UpLeg",
    "knee": "{}Leg",
    "ankle": "{}Foot",
    "toes": "{}ToeBase",
}
"""Names of arms and legs, shared with motion capture of MotionBuilder's naming."""

MIXAMO = Family(
    "mixamo",
    "Mixamo",
    centre(pelvis="Hips", spine_lower="Spine", spine_middle="Spine1", spine_upper="Spine2", neck="Neck", head="Head")
    | both_sides("Left", "Right", LIMBS),
)
