# SPDX-License-Identifier: GPL-3.0-or-later
"""SMPL-X's and SMPL's joint names."""

from .family import Family, both_sides, centre

SMPL_X = Family(
    "smpl_x",
    "SMPL-X",
    centre(pelvis="pelvis", spine_lower="spine1", spine_middle="spine2", spine_upper="spine3", neck="neck", head="head")
    | both_sides(
        "left",
        "right",
        {
            "clavicle": "{}_collar",
            "shoulder": "{}_shoulder",
            "elbow": "{}_elbow",
            "wrist": "{}_wrist",
            "hip": "{}_hip",
            "knee": "{}_knee",
            "ankle": "{}_ankle",
            "toes": "{}_foot",
        },
    ),
)

SMPL = Family(
    "smpl",
    "SMPL",
    centre(pelvis="Pelvis", spine_lower="Spine1", spine_middle="Spine2", spine_upper="Spine3", neck="Neck", head="Head")
    | both_sides(
        "L",
        "R",
        {
            "clavicle": "{}_Collar",
            "shoulder": "{}_Shoulder",
            "elbow": "{}_Elbow",
            "wrist": ("{}_Wrist", "{}_Hand"),
            "hip": "{}_Hip",
            "knee": "{}_Knee",
            "ankle": "{}_Ankle",
            "toes": ("{}_Foot", "{}_Toe"),
        },
    ),
)
