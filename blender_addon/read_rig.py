# SPDX-License-Identifier: GPL-3.0-or-later
"""An armature becomes a Skeleton: its bones, its proportions, and the limits that an animator gave its joints.

The other way of `rig.py`. A Limit Rotation constraint in local space is a joint's range of motion; what such a
constraint would clamp is never solved. An armature of Rigify's names that carries such limits is solved as it is; any
other one by the map of its bones (`mapping.py`, `retargeting.py`).
"""

from __future__ import annotations

import bpy
import numpy as np

from . import mapping
from .core.anatomy import RIGIFY_ROLES
from .core.keypoints import KEYPOINT_SETS, site
from .core.skeleton import Skeleton, blender_finds
from .joint_limits import limit_of, limits_of, range_of
from .retargeting import is_own, target_of
from .rig_bones import RigError, check_editable, evaluated, placement, rotation
from .units import metres

_SAME = 1e-4  # metres, or of a matrix: the same rest pose, in 32-bit floats
_SEEN = "blazepose_33"  # the keypoints that the detector gives
_NAMES = {role: name for name, role in RIGIFY_ROLES.items()}


def read_skeleton(rig: bpy.types.Object) -> Skeleton:
    """Return an armature's skeleton, at rest, where it stands in the world.

    The root is the bone that carries the pelvis by Rigify's name, else the only bone without a parent. Bones above
    the pelvis and beside it are left out; those above are taken at rest. The scene's Unit Scale tells what a metre is.

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
    turn, scale, place = placement(rig)
    bones = _with_parents_first(rig, _root(rig))
    names = [bone.name for bone in bones]
    parents = (-1, *(names.index(bone.parent.name) for bone in bones[1:]))

    frames = np.array([rotation(np.array(bone.matrix_local.to_3x3())) for bone in bones])
    heads = np.array([bone.head_local for bone in bones], dtype=np.float64) * scale
    rest, offset = turn @ frames, heads @ turn.T + place
    for joint, parent in enumerate(parents):
        if parent >= 0:
            rest[joint] = frames[parent].T @ frames[joint]
            offset[joint] = frames[parent].T @ (heads[joint] - heads[parent])
    unborn = [name for name in names if name not in rig.pose.bones]
    if unborn:
        raise RigError(f"{rig.name}: leave edit mode first; the bone {unborn[0]!r} has no pose yet")
    ranges = [range_of(rig, rig.pose.bones[name], root=joint == 0) for joint, name in enumerate(names)]
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


def skeleton_to_solve(rig: bpy.types.Object, rom: str = "clinical") -> Skeleton:
    """Return the skeleton of an armature that is solved for a video, standing at the world's origin.

    Where the armature's bones have Rigify's names and some of them a Limit Rotation, it is their own, limits, axes and
    all; the floor is at the height of the armature's own origin, and bones that no bone with a role hangs on (fingers,
    faces, hair) are left out. Else it is that of `core.rig_skeleton`, with the bones that the armature's map names.

    Args:
        rig: The armature.
        rom: Range-of-motion profile of joints that have no limits of their own.

    Raises:
        RigError: See :func:`read_skeleton` and :func:`.mapping.of`; or the motion could not be written to a bone.
    """
    if rig.type != "ARMATURE":
        raise RigError(f"{rig.name} is no armature")
    check_editable(rig)
    with evaluated(rig):
        return _skeleton_to_solve(rig, rom)


def _skeleton_to_solve(rig: bpy.types.Object, rom: str) -> Skeleton:
    if not _is_solved_as_it_is(rig):
        bones = mapping.of(rig).bones
        _check_writable(rig, rig.pose.bones[bones["pelvis"]])
        return target_of(rig, bones, rom, limits_of(rig, bones.values())).skeleton
    skeleton = read_skeleton(rig)
    _check_writable(rig, rig.pose.bones[skeleton.names[0]])
    kept = [bool(role) for role in skeleton.roles]
    for joint in range(len(skeleton) - 1, 0, -1):
        kept[skeleton.parents[joint]] |= kept[joint]
    chosen = [joint for joint, keep in enumerate(kept) if keep]
    offset = skeleton.offset[chosen].copy()
    offset[0] -= np.array(rig.matrix_world.translation) * metres(bpy.context.scene)
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


def _is_solved_as_it_is(rig: bpy.types.Object) -> bool:
    """Tell whether bones have Rigify's names, hang on one another, and some have limits: the rig is the model then."""
    if rig.mode == "EDIT":
        rig.update_from_editmode()
    bones, kept = rig.data.bones, rig.data.video2rig_bones
    needed = {role: _NAMES[role] for role in _needed_roles()}
    if any(name not in bones or name not in rig.pose.bones for name in needed.values()):
        return False
    if not all(bones[name].use_inherit_rotation for role, name in needed.items() if role != "pelvis"):
        return False
    if kept.kept and any(getattr(kept, role) not in ("", name) for role, name in _NAMES.items()):
        return False
    return any(limit_of(rig, rig.pose.bones[name]) is not None for name in needed.values())


def told_of(rig: bpy.types.Object, skeleton: Skeleton) -> str:
    """Return in a line how an armature is solved."""
    if is_own(rig, skeleton):
        return f"{rig.name}: its own limits"
    missing = [
        role.replace("_", " ")
        for role, name in zip(skeleton.roles, skeleton.names, strict=True)
        if name not in rig.data.bones
    ]
    return f"{rig.name}: bones {mapping.of(rig).told}" + (f"; it lacks {', '.join(missing)}" if missing else "")


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
    check_editable(active)
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
    try:
        now = skeleton_to_solve(rig)
    except RigError as error:
        raise RigError(f"{rig.name} was changed while the video was solved ({error})") from None
    same = now.names == solved.names and now.parents == solved.parents
    if not same or np.abs(now.rest_matrices() - solved.rest_matrices()).max() > _SAME:
        gone = [name for name in solved.names if name not in now.names and name not in rig.data.bones]
        what = f" (bones that are gone or renamed: {', '.join(gone[:4])})" if gone else ""
        raise RigError(f"{rig.name} was changed while the video was solved{what}")


def _needed_roles() -> set[str]:
    return {"neck", "left_hip", "right_hip"} | {site(name)[0] for name in KEYPOINT_SETS[_SEEN]}


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


def _check_writable(rig: bpy.types.Object, root: bpy.types.PoseBone) -> None:
    if root.bone.use_connect and root.parent is not None:
        raise RigError(
            f"{rig.name}: the bone {root.name!r} is connected to its parent and cannot travel; disconnect it"
        )
