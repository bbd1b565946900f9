# SPDX-License-Identifier: GPL-3.0-or-later
"""The limits that an animator gave an armature's joints: Limit Rotation constraints in local space, and locks."""

from __future__ import annotations

import math
from collections.abc import Iterable

import bpy
import numpy as np

from .core.rom_profiles import JointRange
from .core.skeleton import EULER_ORDERS, ROOT_RANGE
from .rig_bones import RigError


def limits_of(rig: bpy.types.Object, bones: Iterable[str]) -> dict[str, JointRange]:
    """Return the ranges of those bones that have a Limit Rotation, by name, about their own axes.

    Raises:
        RigError: A limit cannot be a range of motion.
    """
    there = [rig.pose.bones[name] for name in bones]
    return {bone.name: JointRange(*range_of(rig, bone, False)) for bone in there if limit_of(rig, bone) is not None}


def range_of(rig: bpy.types.Object, bone: bpy.types.PoseBone, root: bool) -> tuple[str, np.ndarray]:
    """Return a bone's Euler order and its [3, 2] range of motion, radians.

    Raises:
        RigError: Its limits cannot be one.
    """
    order = bone.rotation_mode if bone.rotation_mode in EULER_ORDERS else "XYZ"
    bounds = np.tile(ROOT_RANGE, (3, 1))
    if root:
        return order, bounds
    limit = limit_of(rig, bone)
    if limit is not None:
        order = limit.euler_order if limit.euler_order in EULER_ORDERS else order
        for index, axis in enumerate("xyz"):
            if getattr(limit, f"use_limit_{axis}"):
                lower, upper = getattr(limit, f"min_{axis}"), getattr(limit, f"max_{axis}")
                if lower > upper:
                    raise RigError(
                        f"{rig.name}: the limits of the bone {bone.name!r} about {axis.upper()} are inverted "
                        f"({math.degrees(lower):.1f} to {math.degrees(upper):.1f} degrees); "
                        "the minimum must not exceed the maximum"
                    )
                bounds[index] = np.clip((lower, upper), *ROOT_RANGE)
    for index in range(3):
        if bone.lock_rotation[index]:
            bounds[index] = np.clip(0.0, *bounds[index])
    return order, bounds


def limit_of(rig: bpy.types.Object, bone: bpy.types.PoseBone) -> bpy.types.LimitRotationConstraint | None:
    """Return a bone's Limit Rotation; None where it has none that works.

    Raises:
        RigError: It cannot be a range of motion; the message names the bone.
    """
    limits = [
        limit for limit in bone.constraints if limit.type == "LIMIT_ROTATION" and not limit.mute and limit.influence > 0
    ]
    if not limits:
        return None
    where = f"{rig.name}: the Limit Rotation of the bone {bone.name!r}"
    if len(limits) > 1:
        raise RigError(f"{where} is there {len(limits)} times; keep one, or mute the others")
    (limit,) = limits
    if limit.owner_space != "LOCAL":
        raise RigError(f"{where} does not work in local space; set its Owner to Local Space, or mute it")
    if limit.influence < 1:
        raise RigError(f"{where} has an influence of {limit.influence:.2f}; a range of motion has 1, or is muted")
    return limit
