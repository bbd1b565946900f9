# SPDX-License-Identifier: GPL-3.0-or-later
"""The bones of any armature as the solver's arrays, and the spaces in which their own rotations act."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import bpy
import numpy as np
from mathutils import Matrix, Quaternion

from .core.errors import Video2RigError
from .core.rest_rig import RestRig
from .core.retarget import Spaces
from .units import metres

_SCALE = 1e-4  # by which the axes of a scale may differ
_PROBES = 4
_STEADY = np.radians(0.3)  # a space that turns with a bone stays as it is, seen from that bone, within this


class RigError(Video2RigError):
    """An armature that cannot be read as a skeleton, or not be solved."""


def check_editable(rig: bpy.types.Object) -> None:
    """Make sure that an armature can be animated in this file.

    Raises:
        RigError: It is linked, an override that may not be edited, or its action is held by the NLA editor.
    """
    if rig.library is not None:
        raise RigError(f"{rig.name} is linked from another file; make a library override of it first")
    if rig.override_library is not None and rig.override_library.is_system_override:
        raise RigError(
            f"{rig.name} is a library override that is not editable; make it so (Outliner > Library Override > "
            "Make > Editable)"
        )
    if rig.animation_data is not None and rig.animation_data.use_tweak_mode:
        raise RigError(f"{rig.name} is in the NLA editor's tweak mode; leave it first (Tab in that editor)")


@contextmanager
def evaluated(rig: bpy.types.Object) -> Iterator[None]:
    """Have Blender evaluate an armature while a block runs, also where nothing of it is shown.

    Blender leaves out what is disabled in viewports or lies in an excluded collection: its place and pose are then not
    those that it will have.
    """
    context = bpy.context
    context.view_layer.update()
    if rig.evaluated_get(context.evaluated_depsgraph_get()).is_evaluated:
        yield
        return
    top, disabled = context.scene.collection, rig.hide_viewport
    linked = any(collection == top for collection in rig.users_collection)
    rig.hide_viewport = False
    if not linked:
        top.objects.link(rig)
    context.view_layer.update()
    try:
        yield
    finally:
        rig.hide_viewport = disabled
        if not linked:
            top.objects.unlink(rig)
        context.view_layer.update()


def placement(rig: bpy.types.Object) -> tuple[np.ndarray, float, np.ndarray]:
    """Return the object's rotation [3, 3], metres of its own unit, and place [3] in the world, metres.

    Raises:
        RigError: It is scaled unevenly or mirrored.
    """
    place, turn, scale = rig.matrix_world.decompose()
    size = sum(scale) / 3
    rebuilt = Matrix.LocRotScale(place, turn, (size, size, size))
    deviation = np.abs(np.array(rebuilt) - np.array(rig.matrix_world))[:3, :3].max()
    if size <= 0 or deviation > _SCALE * size:
        raise RigError(f"{rig.name} is scaled unevenly or mirrored; apply its scale (Object > Apply > Scale)")
    unit = metres(bpy.context.scene)
    return rotation(np.array(turn.to_matrix())), size * unit, np.array(place) * unit


def rotation(matrix: np.ndarray) -> np.ndarray:
    """Return the rotation nearest to a [..., 3, 3] matrix of 32-bit floats."""
    left, _, right = np.linalg.svd(matrix)
    return left @ right


def rest_rig(rig: bpy.types.Object) -> RestRig:
    """Return all bones of an armature at rest, as it stands in the world.

    Raises:
        RigError: It has no bones, has bones without a pose, or is scaled unevenly.
    """
    if rig.mode == "EDIT":
        rig.update_from_editmode()
    bones = list(rig.data.bones)  # parents come before children
    if not bones:
        raise RigError(f"{rig.name} has no bones")
    unborn = [bone.name for bone in bones if bone.name not in rig.pose.bones]
    if unborn:
        raise RigError(f"{rig.name}: leave edit mode first; the bone {unborn[0]!r} has no pose yet")
    turn, scale, place = placement(rig)
    order = {bone.name: number for number, bone in enumerate(bones)}
    frames = turn @ rotation(np.array([bone.matrix_local.to_3x3() for bone in bones], dtype=np.float64))
    heads = np.array([bone.head_local for bone in bones], dtype=np.float64) * scale
    tails = np.array([bone.tail_local for bone in bones], dtype=np.float64) * scale
    parents = tuple(-1 if bone.parent is None else order[bone.parent.name] for bone in bones)
    return RestRig(tuple(order), parents, frames, heads @ turn.T + place, tails @ turn.T + place, turn)


def active_constraints(bone: bpy.types.PoseBone) -> list[bpy.types.Constraint]:
    """Return a bone's constraints that move it."""
    return [c for c in bone.constraints if not c.mute and c.influence > 0 and c.type != "LIMIT_ROTATION"]


def spaces(rig: bpy.types.Object, rest: RestRig, bones: tuple[int, ...]) -> Spaces:
    """Return the spaces in which the own rotations of bones act.

    Bones in between keep the pose that they have. Where constraints move one of them, the armature is turned this way
    and that, and what follows what is read from Blender; the pose is put back.

    Args:
        rig: The armature. rest: Its bones. bones: [M] those that will be turned, by their numbers.

    Raises:
        RigError: A bone follows several others in part, through constraints.
    """
    moved = set()
    for bone in bones:
        way = [bone]
        for above in rest.ancestors(bone):
            if above in bones or not rig.data.bones[rest.names[way[-1]]].use_inherit_rotation:
                break
            way.append(above)
        moved |= {one for one in way[1:] if active_constraints(rig.pose.bones[rest.names[one]])}
    return _probed(rig, rest, bones) if moved else _hung(rig, rest, bones)


def _hung(rig: bpy.types.Object, rest: RestRig, bones: tuple[int, ...]) -> Spaces:
    """Return the spaces of bones that just hang on their parents."""
    number = {bone: index for index, bone in enumerate(bones)}
    above, turn = [], []
    for bone in bones:
        space, carrier, below = np.eye(3), -1, bone
        while True:
            parent = rest.parents[below]
            if parent < 0 or not rig.data.bones[rest.names[below]].use_inherit_rotation:
                space = rest.frames[below] @ space
                break
            space = rest.frames[parent].T @ rest.frames[below] @ space
            if parent in number:
                carrier = number[parent]
                break
            space = rotation(np.array(rig.pose.bones[rest.names[parent]].matrix_basis.to_3x3())) @ space
            below = parent
        above.append(carrier)
        turn.append(space)
    return Spaces(tuple(above), np.array(turn))


_CHANNELS = ("rotation_quaternion", "rotation_euler", "rotation_axis_angle")


@contextmanager
def _pose_kept(rig: bpy.types.Object, names: list[str]) -> Iterator[None]:
    kept = {name: [tuple(getattr(rig.pose.bones[name], channel)) for channel in _CHANNELS] for name in names}
    try:
        yield
    finally:
        for name, values in kept.items():
            for channel, value in zip(_CHANNELS, values, strict=True):
                setattr(rig.pose.bones[name], channel, value)
        bpy.context.view_layer.update()


def turn_bone(bone: bpy.types.PoseBone, quaternion: Quaternion) -> None:
    """Give a bone a rotation of its own, in its own rotation mode."""
    if bone.rotation_mode == "QUATERNION":
        bone.rotation_quaternion = quaternion
    elif bone.rotation_mode == "AXIS_ANGLE":
        axis, angle = quaternion.to_axis_angle()
        bone.rotation_axis_angle = (angle, *axis)
    else:
        bone.rotation_euler = quaternion.to_euler(bone.rotation_mode)


def _probed(rig: bpy.types.Object, rest: RestRig, bones: tuple[int, ...]) -> Spaces:
    """Return the spaces as Blender's evaluation shows them: each is the one that stays still, seen from its carrier."""
    names = [rest.names[bone] for bone in bones]
    rng = np.random.default_rng(1)
    turned, inside = np.empty((2, _PROBES, len(bones), 3, 3))
    world = placement(rig)[0]
    with _pose_kept(rig, names):
        for probe in range(_PROBES):
            own = rng.normal(size=(len(bones), 4)) * 0.25 + [1, 0, 0, 0]
            quaternions = [Quaternion(q / np.linalg.norm(q)) for q in own]
            for name, quaternion in zip(names, quaternions, strict=True):
                turn_bone(rig.pose.bones[name], quaternion)
            bpy.context.view_layer.update()
            evaluated = rig.evaluated_get(bpy.context.evaluated_depsgraph_get())
            for number, name in enumerate(names):
                turned[probe, number] = world @ rotation(np.array(evaluated.pose.bones[name].matrix.to_3x3()))
                inside[probe, number] = turned[probe, number] @ np.array(quaternions[number].to_matrix()).T
    above, turn = [], []
    for number, name in enumerate(names):
        best, steadiest, seen = -1, np.inf, inside[0, number]
        for carrier in range(-1, len(bones)):
            if carrier == number:
                continue
            from_carrier = (
                inside[:, number] if carrier < 0 else np.swapaxes(turned[:, carrier], -1, -2) @ inside[:, number]
            )
            chord = np.linalg.norm(from_carrier - from_carrier[0], axis=(-2, -1)).max() / np.sqrt(8)
            if 2 * np.arcsin(min(chord, 1.0)) < steadiest:
                best, steadiest, seen = carrier, 2 * np.arcsin(min(chord, 1.0)), from_carrier[0]
        if steadiest > _STEADY:
            raise RigError(
                f"{rig.name}: the bone {name!r} follows several bones in part, through constraints; set the rig's "
                "follow or isolate properties to 0 or 1, or map another bone"
            )
        above.append(best)
        turn.append(seen)
    return Spaces(tuple(above), np.array(turn))


def location_space(rig: bpy.types.Object, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return how a bone's location moves it: [3, 3] metres in the world for each unit, and [3] where it is at none.

    Bones above it keep the pose that they have.
    """
    bone = rig.data.bones[name]
    parent = rig.pose.bones[name].parent
    unit = metres(bpy.context.scene)

    def head(location: tuple[float, float, float]) -> np.ndarray:
        basis = Matrix.Translation(location)
        if parent is None:
            posed = bone.convert_local_to_pose(basis, bone.matrix_local)
        else:
            posed = bone.convert_local_to_pose(
                basis, bone.matrix_local, parent_matrix=parent.matrix, parent_matrix_local=parent.bone.matrix_local
            )
        return np.array((rig.matrix_world @ posed).translation, dtype=np.float64) * unit

    base = head((0.0, 0.0, 0.0))
    axes = [head(tuple(axis)) - base for axis in np.eye(3)]
    return np.stack(axes, axis=1), base
