# SPDX-License-Identifier: GPL-3.0-or-later
"""Unreal's mannequins: Manny and Quinn (five bones of the spine, two of the neck) and that of Unreal 4 (three, one).

MakeHuman's and MPFB's game engine rig has the names of the latter. Of five bones of the spine the first, the third and
the last turn.
"""

from .family import Family, both_sides, centre

_LIMBS = both_sides(
    "_l",
    "_r",
    {
        "clavicle": "clavicle{}",
        "shoulder": "upperarm{}",
        "elbow": "lowerarm{}",
        "wrist": "hand{}",
        "hip": "thigh{}",
        "knee": "calf{}",
        "ankle": "foot{}",
        "toes": "ball{}",
    },
)


def _spine(*bones: str) -> dict[str, tuple[str, ...]]:
    lower, middle, upper = bones
    return centre(
        pelvis="pelvis", spine_lower=lower, spine_middle=middle, spine_upper=upper, neck="neck_01", head="head"
    )


MANNY = Family("unreal", "Unreal (Manny, Quinn)", _spine("spine_01", "spine_03", "spine_05") | _LIMBS)
UE4 = Family("unreal_4", "Unreal 4, MPFB game engine", _spine("spine_01", "spine_02", "spine_03") | _LIMBS)
