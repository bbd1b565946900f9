# SPDX-License-Identifier: GPL-3.0-or-later
"""VRM: VRoid Studio's bone names, and the format's own humanoid names.

An armature that the VRM add-on imported says itself which bone is which; that is read first.
"""

from .family import Family, both_sides, centre

HUMANOID_NAMES: dict[str, str] = {
    "pelvis": "hips",
    "spine_lower": "spine",
    "spine_middle": "chest",
    "spine_upper": "upperChest",
    "neck": "neck",
    "head": "head",
} | {
    f"{side}_{role}": side + name
    for side in ("left", "right")
    for role, name in {
        "clavicle": "Shoulder",
        "shoulder": "UpperArm",
        "elbow": "LowerArm",
        "wrist": "Hand",
        "hip": "UpperLeg",
        "knee": "LowerLeg",
        "ankle": "Foot",
        "toes": "Toes",
    }.items()
}
"""Name of each role in the VRM specification."""

VROID = Family(
    "vroid",
    "VRM (VRoid)",
    centre(
        pelvis="J_Bip_C_Hips",
        spine_lower="J_Bip_C_Spine",
        spine_middle="J_Bip_C_Chest",
        spine_upper="J_Bip_C_UpperChest",
        neck="J_Bip_C_Neck",
        head="J_Bip_C_Head",
    )
    | both_sides(
        "L",
        "R",
        {
            "clavicle": "J_Bip_{}_Shoulder",
            "shoulder": "J_Bip_{}_UpperArm",
            "elbow": "J_Bip_{}_LowerArm",
            "wrist": "J_Bip_{}_Hand",
            "hip": "J_Bip_{}_UpperLeg",
            "knee": "J_Bip_{}_LowerLeg",
            "ankle": "J_Bip_{}_Foot",
            "toes": "J_Bip_{}_ToeBase",
        },
    ),
)

HUMANOID = Family("vrm", "VRM (humanoid names)", {role: (name,) for role, name in HUMANOID_NAMES.items()})
