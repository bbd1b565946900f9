# SPDX-License-Identifier: GPL-3.0-or-later
"""3ds Max's Biped: ``Bip001 L Thigh``, with spaces or underscores."""

from .family import Family, both_sides, centre


def _either(name: str) -> tuple[str, str]:
    return name, name.replace(" ", "_")


BIPED = Family(
    "biped",
    "3ds Max Biped",
    centre(pelvis="Pelvis", spine_lower="Spine", spine_middle="Spine1", spine_upper="Spine2", neck="Neck", head="Head")
    | both_sides(
        "L",
        "R",
        {
            "clavicle": _either("{} Clavicle"),
            "shoulder": _either("{} UpperArm"),
            "elbow": _either("{} Forearm"),
            "wrist": _either("{} Hand"),
            "hip": _either("{} Thigh"),
            "knee": _either("{} Calf"),
            "ankle": _either("{} Foot"),
            "toes": _either("{} Toe0"),
        },
    ),
)
