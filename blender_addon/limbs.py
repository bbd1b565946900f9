# SPDX-License-Identifier: GPL-3.0-or-later
"""Limbs that are not solved keep the keys that the armature had for them, edits by hand included."""

from __future__ import annotations

import re
from typing import Any

import bpy

from . import compat
from .compat import fcurves, fcurves_of
from .core.limbs import BODY, LIMBS, limbs_of
from .core.skeleton import Skeleton
from .retargeting import Pose

_PATH = re.compile(r'pose\.bones\["((?:[^"\\]|\\.)*)"\]')

ITEMS = [
    (limb.upper().replace(" ", "_"), limb.title(), f"Solve the {limb}; off, it keeps the keys that it has")
    for limb in LIMBS
    if limb != BODY
]
"""What can be switched off, as a property lists it: the body, whose hips carry the rest, cannot."""


def switched_off(chosen: set[str]) -> frozenset[str]:
    """Return the limbs that are not among those that were chosen, by their identifiers in :data:`ITEMS`."""
    return frozenset(identifier.lower().replace("_", " ") for identifier, _, _ in ITEMS if identifier not in chosen)


def without(pose: Pose, skeleton: Skeleton, off: frozenset[str]) -> Pose:
    """Return a pose without the bones of limbs that are switched off."""
    limbs = limbs_of(skeleton)
    left = frozenset(bone for bone, joint in pose.joints.items() if limbs[joint] in off)
    return pose._replace(
        channels=[channel for channel in pose.channels if channel.bone not in left],
        joints={bone: joint for bone, joint in pose.joints.items() if bone not in left},
        turned={bone: turned for bone, turned in pose.turned.items() if bone not in left},
        left=left,
    )


def carry_over(armature: bpy.types.Object, former: bpy.types.Action, slot: Any, bones: frozenset[str]) -> None:
    """Copy the curves of bones from a former action to the armature's own; what the bones lack there stays.

    Args:
        armature: Whose. former, slot: The slot is None where there are no slots. bones: By name.
    """
    there = {(curve.data_path, curve.array_index) for curve in fcurves(armature)}
    for curve in fcurves_of(former, slot):
        if _bone(curve) in bones and (curve.data_path, curve.array_index) not in there:
            compat.copy_curve(armature, curve)


def rest_where_unkeyed(
    armature: bpy.types.Object, former: bpy.types.Action, slot: Any, except_for: frozenset[str]
) -> None:
    """Put bones that a former action moved, and the armature's own does not, back to rest: other bones are mapped now.

    Args:
        armature: Whose. former, slot: The slot is None where there are no slots. except_for: Bones that stay.
    """
    now = {_bone(curve) for curve in fcurves(armature)}
    for name in {_bone(curve) for curve in fcurves_of(former, slot)} - now - except_for:
        if name in armature.pose.bones:
            armature.pose.bones[name].matrix_basis.identity()


def _bone(curve: bpy.types.FCurve) -> str:
    """Return the bone that a curve moves, or ""."""
    found = _PATH.match(curve.data_path)
    return bpy.utils.unescape_identifier(found[1]) if found else ""
