# SPDX-License-Identifier: GPL-3.0-or-later
"""MakeHuman and MPFB: the default rig. Its game engine rig has Unreal's names, its "cmu mb" rig those of `bvh.py`.

Upper and lower limbs have two bones each; the first turns and carries the second. Toes are single toes and stay.
"""

from .family import Family, both_sides, centre

DEFAULT = Family(
    "mpfb",
    "MakeHuman / MPFB",
    centre(
        pelvis="root", spine_lower="spine05", spine_middle="spine03", spine_upper="spine01", neck="neck01", head="head"
    )
    | both_sides(
        ".L",
        ".R",
        {
            "clavicle": "clavicle{}",
            "shoulder": "upperarm01{}",
            "elbow": "lowerarm01{}",
            "wrist": "wrist{}",
            "hip": "upperleg01{}",
            "knee": "lowerleg01{}",
            "ankle": "foot{}",
        },
    ),
    marks=("shoulder01.L", "upperleg02.L"),
)
