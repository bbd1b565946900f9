# SPDX-License-Identifier: GPL-3.0-or-later
"""Auto-Rig Pro: the FK controls of its rig, and the bones of what it exports to game engines."""

from .family import Family, Switch, both_sides, centre

CONTROLS = Family(
    "auto_rig_pro",
    "Auto-Rig Pro (FK controls)",
    centre(
        pelvis=("c_root_master.x", "c_root.x"),
        spine_lower="c_spine_01.x",
        spine_middle="c_spine_02.x",
        spine_upper="c_spine_03.x",
        neck="c_neck.x",
        head="c_head.x",
    )
    | both_sides(
        ".l",
        ".r",
        {
            "clavicle": "c_shoulder{}",
            "shoulder": "c_arm_fk{}",
            "elbow": "c_forearm_fk{}",
            "wrist": "c_hand_fk{}",
            "hip": "c_thigh_fk{}",
            "knee": "c_leg_fk{}",
            "ankle": "c_foot_fk{}",
            "toes": "c_toes_fk{}",
        },
    ),
    marks=("c_traj", "c_pos", "c_hand_ik.l", "c_foot_ik.l"),
    switches=tuple(
        Switch(f"c_{end}_ik{side}", "ik_fk_switch", 1.0, "limbs to FK")
        for end in ("hand", "foot")
        for side in (".l", ".r")
    ),
)

EXPORTED = Family(
    "auto_rig_pro_exported",
    "Auto-Rig Pro (exported)",
    centre(
        pelvis="root.x",
        spine_lower="spine_01.x",
        spine_middle="spine_02.x",
        spine_upper="spine_03.x",
        neck="neck.x",
        head="head.x",
    )
    | both_sides(
        ".l",
        ".r",
        {
            "clavicle": "shoulder{}",
            "shoulder": ("arm_stretch{}", "arm{}", "arm_fk{}"),
            "elbow": ("forearm_stretch{}", "forearm{}", "forearm_fk{}"),
            "wrist": "hand{}",
            "hip": ("thigh_stretch{}", "thigh{}", "thigh_fk{}"),
            "knee": ("leg_stretch{}", "leg{}", "leg_fk{}"),
            "ankle": "foot{}",
            "toes": "toes_01{}",
        },
    ),
)
