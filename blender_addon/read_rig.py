# SPDX-License-Identifier: GPL-3.0-or-later
"""An armature becomes a Skeleton: its bones, its proportions, and the limits that an animator gave its joints.

The other way of `rig.py`. A Limit Rotation constraint in local space is a joint's range of motion; what such a
constraint would clamp is never solved.
"""

from __future__ import annotations

import math

import bpy
import numpy as np
from mathutils import Matrix

from .core.anatomy import RIGIFY_ROLES
from .core.errors import Video2RigError
from .core.keypoints import KEYPOINT_SETS, site
from .core.skeleton import EULER_ORDERS, ROOT_RANGE, Skeleton, blender_finds

_SAME = 1e-4  # metres, or of a matrix: the same rest pose, in 32-bit floats
_SCALE = 1e-4  # by which the axes of a scale may differ
_SEEN = "blazepose_33"  # the keypoints that the detector gives
_NAMES = {role: name for name, role in RIGIFY_ROLES.items()}


class RigError(Video2RigError):
    """An armature that cannot be read as a skeleton, or not be solved."""


def read_skeleton(rig: bpy.types.Object) -> Skeleton:
    """Return an armature's skeleton, at rest, where it stands in the world.

    The root is the bone that carries the pelvis by Rigify's name, else the only bone without a parent. Bones above
    the pelvis and beside it are left out; those above are taken at rest. One unit of Blender is one metre.

    A joint's range comes from its Limit Rotation: axes without a limit are free (-180 to 180 degrees), axes whose
    rotation is locked stay at rest, or at the limit nearest to it. A muted constraint is none. The Euler order is the
    constraint's, or the bone's own where the constraint says "Default" or there is none, XYZ for quaternions.

    Args:
        rig: The armature; its world matrix must be up to date.

    Raises:
        RigError: It is no armature or an empty one, several bones could be the root, the object is scaled unevenly, a
            bone does not turn with its parent, or its limits cannot be a range of motion; the message names the bone.
    """
    if rig.type != "ARMATURE":
        raise RigError(f"{rig.name} is no armature")
    if rig.mode == "EDIT":
        rig.update_from_editmode()
    turn, scale, place = _placement(rig)
    bones = _with_parents_first(rig, _root(rig))
    names = [bone.name for bone in bones]
    parents = (-1, *(names.index(bone.parent.name) for bone in bones[1:]))

    frames = np.array([_rotation(np.array(bone.matrix_local.to_3x3())) for bone in bones])
    heads = np.array([bone.head_local for bone in bones], dtype=np.float64) * scale
    rest, offset = turn @ frames, heads @ turn.T + place
    for joint, parent in enumerate(parents):
        if parent >= 0:
            rest[joint] = frames[parent].T @ frames[joint]
            offset[joint] = frames[parent].T @ (heads[joint] - heads[parent])
    unborn = [name for name in names if name not in rig.pose.bones]
    if unborn:
        raise RigError(f"{rig.name}: leave edit mode first; the bone {unborn[0]!r} has no pose yet")
    ranges = [_range_of(rig, rig.pose.bones[name], root=joint == 0) for joint, name in enumerate(names)]
    return Skeleton(
        tuple(names),
        parents,
        tuple(RIGIFY_ROLES.get(name, "") for name in names),
        rest,
        offset,
        np.array([bone.length for bone in bones]) * scale,
        tuple(order for order, _ in ranges),
        np.array([bounds for _, bounds in ranges]),
    )


def skeleton_to_solve(rig: bpy.types.Object) -> Skeleton:
    """Return the part of an armature's skeleton that a video tells about, standing at the world's origin.

    The floor is at the height of the armature's own origin. Bones that no bone with a role hangs on, and that have no
    role themselves (fingers, faces, hair), are left out and keep their pose.

    Raises:
        RigError: See :func:`read_skeleton`; or bones are missing that the detector's keypoints sit on, or the motion
            could not be written to a bone.
    """
    skeleton = read_skeleton(rig)
    absent = sorted(_NAMES[role] for role in _needed_roles() if role not in skeleton.roles)
    if absent:
        raise RigError(f"{rig.name} cannot be solved: it lacks the bones {', '.join(absent)} (Rigify's names)")
    kept = [bool(role) for role in skeleton.roles]
    for joint in range(len(skeleton) - 1, 0, -1):
        kept[skeleton.parents[joint]] |= kept[joint]
    chosen = [joint for joint, keep in enumerate(kept) if keep]
    for joint in chosen:
        _check_writable(rig, rig.pose.bones[skeleton.names[joint]], root=joint == 0)
    offset = skeleton.offset[chosen].copy()
    offset[0] -= np.array(rig.matrix_world.translation)
    return Skeleton(
        tuple(skeleton.names[joint] for joint in chosen),
        tuple(chosen.index(skeleton.parents[joint]) if joint else -1 for joint in chosen),
        tuple(skeleton.roles[joint] for joint in chosen),
        skeleton.rest_rotation[chosen],
        offset,
        skeleton.length[chosen],
        tuple(skeleton.euler_order[joint] for joint in chosen),
        skeleton.rom[chosen],
    )


def warnings(skeleton: Skeleton) -> list[str]:
    """Return what a user should know of limits that are solved, one line each; mostly nothing."""
    ambiguous = [
        name
        for name, order, rom in zip(skeleton.names[1:], skeleton.euler_order[1:], skeleton.rom[1:], strict=True)
        if (np.abs(rom) < np.pi - _SAME).any() and not blender_finds(order, rom)
    ]
    if not ambiguous:
        return []
    names = ", ".join(sorted(ambiguous)[:4]) + (f" and {len(ambiguous) - 4} more" if len(ambiguous) > 4 else "")
    return [
        f"the limits of {names} are so wide, or leave an axis so free, that Limit Rotation may read a rotation as "
        "another triple of angles: some poses will look different with the constraint than they were solved"
    ]


def active_armature(context: bpy.types.Context) -> bpy.types.Object:
    """Return the active object if it is an armature that can be animated.

    Raises:
        RigError: It is not.
    """
    active = context.view_layer.objects.active
    if active is None or active.type != "ARMATURE":
        raise RigError("no armature is active; select one, or have a new one made")
    if active.library is not None:
        raise RigError(f"{active.name} is linked from another file; make a library override of it first")
    return active


def armature_named(name: str) -> bpy.types.Object:
    """Return an armature of the scene by its object's name.

    Raises:
        RigError: There is none; the message lists those that exist.
    """
    armatures = {obj.name: obj for obj in bpy.context.view_layer.objects if obj.type == "ARMATURE"}
    if name not in armatures:
        there = ", ".join(armatures) if armatures else "none at all"
        raise RigError(f"there is no armature {name!r} in this scene; there are {there}")
    return armatures[name]


def check_unchanged(rig: bpy.types.Object, solved: Skeleton) -> None:
    """Make sure that an armature still is what was solved.

    Raises:
        RigError: Its bones are others, or rest elsewhere.
    """
    now = skeleton_to_solve(rig)
    same = now.names == solved.names and now.parents == solved.parents
    if not same or np.abs(now.rest_matrices() - solved.rest_matrices()).max() > _SAME:
        raise RigError(f"{rig.name} was changed while the video was solved; solve it again")


def _needed_roles() -> set[str]:
    return {"neck", "left_hip", "right_hip"} | {site(name)[0] for name in KEYPOINT_SETS[_SEEN]}


def _placement(rig: bpy.types.Object) -> tuple[np.ndarray, float, np.ndarray]:
    """Return the object's rotation [3, 3], scale, and place [3] in the world, metres."""
    place, turn, scale = rig.matrix_world.decompose()
    size = sum(scale) / 3
    rebuilt = Matrix.LocRotScale(place, turn, (size, size, size))
    deviation = np.abs(np.array(rebuilt) - np.array(rig.matrix_world))[:3, :3].max()
    if size <= 0 or deviation > _SCALE * size:
        raise RigError(f"{rig.name} is scaled unevenly or mirrored; apply its scale (Object > Apply > Scale)")
    return _rotation(np.array(turn.to_matrix())), size, np.array(place)


def _rotation(matrix: np.ndarray) -> np.ndarray:
    """Return the rotation nearest to a [3, 3] matrix of 32-bit floats."""
    left, _, right = np.linalg.svd(matrix)
    return left @ right


def _root(rig: bpy.types.Object) -> bpy.types.Bone:
    bones = rig.data.bones
    pelvis = bones.get(_NAMES["pelvis"])
    if pelvis is not None:
        return pelvis
    roots = [bone for bone in bones if bone.parent is None]
    if not roots:
        raise RigError(f"{rig.name} has no bones")
    if len(roots) > 1:
        names = ", ".join(bone.name for bone in roots[:5]) + (", ..." if len(roots) > 5 else "")
        raise RigError(
            f"{rig.name} has {len(roots)} bones without a parent ({names}) and none named {_NAMES['pelvis']!r}: "
            "which of them carries the pelvis cannot be told"
        )
    return roots[0]


def _with_parents_first(rig: bpy.types.Object, root: bpy.types.Bone) -> list[bpy.types.Bone]:
    bones = [root]
    for bone in bones:
        bones.extend(bone.children)
    for bone in bones[1:]:
        if not bone.use_inherit_rotation:
            raise RigError(f"{rig.name}: the bone {bone.name!r} does not inherit its parent's rotation")
    return bones


def _range_of(rig: bpy.types.Object, bone: bpy.types.PoseBone, root: bool) -> tuple[str, np.ndarray]:
    """Return a bone's Euler order and its [3, 2] range of motion, radians."""
    order = bone.rotation_mode if bone.rotation_mode in EULER_ORDERS else "XYZ"
    bounds = np.tile(ROOT_RANGE, (3, 1))
    if root:
        return order, bounds
    limit = _limit_of(rig, bone)
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


def _limit_of(rig: bpy.types.Object, bone: bpy.types.PoseBone) -> bpy.types.LimitRotationConstraint | None:
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


def _check_writable(rig: bpy.types.Object, bone: bpy.types.PoseBone, root: bool) -> None:
    where = f"{rig.name}: the bone {bone.name!r}"
    if bone.rotation_mode == "AXIS_ANGLE":
        raise RigError(f"{where} rotates by axis and angle; choose quaternions or an Euler order")
    if root and (bone.bone.use_connect and bone.parent is not None):
        raise RigError(f"{where} is connected to its parent and cannot travel; disconnect it")
    if root and not bone.bone.use_local_location:
        raise RigError(f"{where} does not move along its own axes; switch its Local Location on")
