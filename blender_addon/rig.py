# SPDX-License-Identifier: GPL-3.0-or-later
"""A Skeleton becomes an armature: the same bones, the same frames, the same limits.

What the solver bounded is what Blender clamps: each joint gets a Limit Rotation constraint in local space, in the
joint's own Euler order, with the joint's own range of motion. A solved pose therefore looks the same with the
constraints on and off, and a hand that edits it cannot leave the range.
"""

from __future__ import annotations

import bpy
import numpy as np
from mathutils import Matrix

from .core.skeleton import Skeleton
from .units import metres

LIMIT_NAME = "Range of motion"
_COLOURS = {"left": "THEME04", "right": "THEME01", "centre": "THEME09"}


def side_of(name: str) -> str:
    """Return ``"left"``, ``"right"`` or ``"centre"`` for a bone's name."""
    return {".L": "left", ".R": "right"}.get(name[-2:], "centre")


def build_armature(
    context: bpy.types.Context, skeleton: Skeleton, name: str, collection: bpy.types.Collection
) -> bpy.types.Object:
    """Make an armature of the skeleton in ``collection``, selected and active, in object mode.

    The collection must belong to the scene's view layer, and no other object may be in edit mode.
    """
    armature = bpy.data.armatures.new(name)
    rig = bpy.data.objects.new(name, armature)
    collection.objects.link(rig)
    context.view_layer.update()  # until then the layer does not list it
    for other in context.view_layer.objects:
        other.select_set(other == rig)
    context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    _add_bones(armature, skeleton, 1.0 / metres(context.scene))
    bpy.ops.object.mode_set(mode="OBJECT")
    for joint, bone_name in enumerate(skeleton.names):
        bone = armature.bones[bone_name]
        bone.color.palette = _COLOURS[side_of(bone_name)]
        pose_bone = rig.pose.bones[bone_name]
        pose_bone.rotation_mode = "QUATERNION"
        pose_bone.lock_scale = (True, True, True)
        if joint > 0:
            pose_bone.lock_location = (True, True, True)
            _limit(pose_bone, skeleton.euler_order[joint], skeleton.rom[joint])
    armature.display_type = "OCTAHEDRAL"
    rig.show_in_front = True
    return rig


def _add_bones(armature: bpy.types.Armature, skeleton: Skeleton, metre: float) -> None:
    """Add a bone a joint; `metre` is how many of the scene's units it has."""
    bones = armature.edit_bones
    for joint, matrix in enumerate(skeleton.rest_matrices()):
        bone = bones.new(skeleton.names[joint])
        matrix[:3, 3] *= metre
        bone.head = matrix[:3, 3]
        bone.tail = matrix[:3, 3] + matrix[:3, 1] * skeleton.length[joint] * metre
        # the matrix sets the roll too; head and tail come first because it keeps the length it finds
        bone.matrix = Matrix(matrix.tolist())
        if skeleton.parents[joint] >= 0:
            bone.parent = bones[skeleton.names[skeleton.parents[joint]]]


def set_limits(rig: bpy.types.Object, skeleton: Skeleton) -> None:
    """Give the bones of an armature that :func:`build_armature` made a skeleton's ranges of motion."""
    for joint, name in enumerate(skeleton.names):
        if joint > 0:
            _limit(rig.pose.bones[name], skeleton.euler_order[joint], skeleton.rom[joint])


def _limit(bone: bpy.types.PoseBone, euler_order: str, rom: np.ndarray) -> None:
    """Bound the bone's own rotation.

    Args:
        bone: The pose bone.
        euler_order: The order of the three angles.
        rom: [3, 2] lower and upper bound about x, y, z, radians.
    """
    there = [limit for limit in bone.constraints if limit.type == "LIMIT_ROTATION" and not limit.mute]
    constraint = there[0] if there else bone.constraints.new("LIMIT_ROTATION")
    if not there:
        constraint.name = LIMIT_NAME
    constraint.owner_space = "LOCAL"
    constraint.euler_order = euler_order
    constraint.use_transform_limit = True
    for axis, (lower, upper) in zip("xyz", rom.tolist(), strict=True):
        setattr(constraint, f"use_limit_{axis}", True)
        setattr(constraint, f"min_{axis}", lower)
        setattr(constraint, f"max_{axis}", upper)
        setattr(bone, f"lock_ik_{axis}", lower == upper)
        setattr(bone, f"use_ik_limit_{axis}", lower != upper)
        if lower == upper:
            continue
        # Blender's IK wants the rest pose inside its limits
        setattr(bone, f"ik_min_{axis}", min(lower, 0.0))
        setattr(bone, f"ik_max_{axis}", max(upper, 0.0))
