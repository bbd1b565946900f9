# SPDX-License-Identifier: GPL-3.0-or-later
"""Rigify: the human metarig, and the FK controls of the rig that is generated from it (Blender 4 and 5)."""

from .family import Family, Switch, both_sides, centre

METARIG = Family(
    "rigify_metarig",
    "Rigify metarig",
    centre(
        pelvis="spine",
        spine_lower="spine.001",
        spine_middle="spine.002",
        spine_upper="spine.003",
        neck=("spine.004", "neck"),
        head=("spine.006", "spine.005", "head"),
    )
    | both_sides(
        ".L",
        ".R",
        {
            "clavicle": "shoulder{}",
            "shoulder": "upper_arm{}",
            "elbow": "forearm{}",
            "wrist": "hand{}",
            "hip": "thigh{}",
            "knee": "shin{}",
            "ankle": "foot{}",
            "toes": "toe{}",
        },
    ),
)

# the torso carries pelvis and lower spine; the two spine controls above the pivot bend the upper
GENERATED = Family(
    "rigify_generated",
    "Rigify, generated rig (FK controls)",
    centre(pelvis="torso", spine_middle="spine_fk.002", spine_upper="spine_fk.003", neck="neck", head="head")
    | both_sides(
        ".L",
        ".R",
        {
            "clavicle": "shoulder{}",
            "shoulder": "upper_arm_fk{}",
            "elbow": "forearm_fk{}",
            "wrist": "hand_fk{}",
            "hip": "thigh_fk{}",
            "knee": "shin_fk{}",
            "ankle": "foot_fk{}",
            "toes": ("toe_fk{}", "toe{}"),
        },
    ),
    marks=("upper_arm_parent.L", "thigh_parent.L", "hips", "chest"),
    switches=(
        *(
            Switch(f"{limb}_parent{side}", "IK_FK", 1.0, "limbs to FK")
            for limb in ("upper_arm", "thigh")
            for side in (".L", ".R")
        ),
        Switch("torso", "neck_follow", 0.0, "neck follows the chest"),
        Switch("torso", "head_follow", 0.0, "head follows the neck"),
    ),
)
