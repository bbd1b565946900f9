# SPDX-License-Identifier: GPL-3.0-or-later
"""Motion capture: the CMU database as BVH and as ASF, and BVH files with collars."""

from .family import Family, both_sides, centre
from .mixamo import LIMBS

CMU = Family(
    "cmu",
    "CMU motion capture (BVH)",
    centre(
        pelvis="Hips",
        spine_lower="LowerBack",
        spine_middle="Spine",
        spine_upper="Spine1",
        neck=("Neck", "Neck1"),
        head="Head",
    )
    | both_sides("Left", "Right", LIMBS),
    marks=("LHipJoint",),
)

ASF = Family(
    "cmu_asf",
    "CMU motion capture (ASF)",
    centre(
        pelvis="root",
        spine_lower="lowerback",
        spine_middle="upperback",
        spine_upper="thorax",
        neck="lowerneck",
        head="head",
    )
    | both_sides(
        "l",
        "r",
        {
            "clavicle": "{}clavicle",
            "shoulder": "{}humerus",
            "elbow": "{}radius",
            "wrist": ("{}wrist", "{}hand"),
            "hip": "{}femur",
            "knee": "{}tibia",
            "ankle": "{}foot",
            "toes": "{}toes",
        },
    ),
)

COLLAR = Family(
    "bvh_collar",
    "Motion capture (BVH)",
    centre(
        pelvis="Hips",
        spine_lower=("Spine", "Chest"),
        spine_middle="Chest2",
        spine_upper=("Chest4", "Chest3", "UpperChest"),
        neck="Neck",
        head="Head",
    )
    | both_sides(
        "Left",
        "Right",
        {
            "clavicle": "{}Collar",
            "shoulder": ("{}UpArm", "{}Shoulder"),
            "elbow": ("{}LowArm", "{}Elbow"),
            "wrist": ("{}Hand", "{}Wrist"),
            "hip": ("{}UpLeg", "{}Hip"),
            "knee": ("{}LowLeg", "{}Knee"),
            "ankle": ("{}Foot", "{}Ankle"),
            "toes": ("{}Toe", "{}ToeBase"),
        },
    ),
)
