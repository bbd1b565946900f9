# SPDX-License-Identifier: GPL-3.0-or-later
"""A take that was solved again becomes another action of the same armature, before the same camera."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import bpy
import numpy as np

from . import (
    compat,
    contact_markers,
    doubt_marks,
    kept,
    keyframes,
    layers,
    limbs,
    read_rig,
    retargeting,
    rig,
    video_camera,
)
from .compat import Interpolation
from .core.camera import Camera
from .core.doubt import WORDS
from .core.rom_profiles import with_profile
from .core.skeleton import Skeleton
from .core.take import Take
from .rig_bones import evaluated
from .scene_guard import unchanged_on_error
from .units import metres

_SAME = 1e-4  # metres, radians, or of a matrix: in 32-bit floats
_PLACE = ("location", "rotation_euler", "rotation_quaternion", "rotation_axis_angle", "scale")
_OPTICS = (
    "type",
    "sensor_fit",
    "sensor_width",
    "sensor_height",
    "lens",
    "shift_x",
    "shift_y",
    "clip_start",
    "clip_end",
)


def skeleton_to_solve(armature: bpy.types.Object, own: kept.Kept | None, rom: str) -> tuple[Skeleton, bool]:
    """Return what is solved, the armature's own bones, and whether their limits are the profile's.

    An armature that was made for its take, and whose limits nobody has edited, takes over the profile's limits. Limits
    that were edited by hand, and those of any other armature, are the armature's own.

    Args:
        armature: What to solve. own: What its motion keeps, where that is a take. rom: Range-of-motion profile.

    Raises:
        RigError: The armature cannot be solved.
    """
    skeleton = read_rig.skeleton_to_solve(armature, rom)
    if own is None or not (own.placement.built and _same_limits(skeleton, own.take.motion.skeleton)):
        return skeleton, False
    # what a profile does not speak of is the clinical one's, as in the default human
    return with_profile(with_profile(skeleton, "clinical"), rom), True


def place(
    context: bpy.types.Context,
    armature: bpy.types.Object,
    holder: layers.Holder | None,
    of: kept.Kept,
    take: Take,
    *,
    interpolation: Interpolation = "LINEAR",
    bound: float | None = None,
    off: frozenset[str] = frozenset(),
) -> tuple[bpy.types.Action, list[str]]:
    """Put a take that was solved again on its armature, as a new action; on any error the scene is as it was.

    The former action is kept in the file; corrections in a layer above it stay as they are, and bones that no longer
    move go back to rest. Keys lie at the scene frames where the former ones lie. The camera takes the new place, if it
    still stands where the former take had put it.

    Args:
        armature: Whose motion it is. holder: The former action, or the strip that plays it; None where there is none.
        of: What was solved again. take: The new one. interpolation: Between keys.
        bound: Radians that a bone may be off at any frame, for few keys; None keys every frame.
        off: Limbs that keep the keys that they have.

    Returns:
        The action, and what a user should know, one line each.

    Raises:
        RigError: The armature is no longer the one that was solved.
    """
    skeleton, clock = take.motion.skeleton, of.placement.clock
    read_rig.check_unchanged(armature, skeleton)
    limited = of.placement.built and not _same_limits(read_rig.skeleton_to_solve(armature), skeleton)
    posing = armature.mode == "POSE" and context.view_layer.objects.active == armature
    former = None if holder is None else (holder.action, layers.slot_of(armature, holder))
    with evaluated(armature), unchanged_on_error(context, armature), _limits(armature, skeleton if limited else None):
        with layers.alone(armature, holder):
            action, pose = keyframes.write_motion(
                armature,
                take.motion,
                of.placement.name,
                rate=clock.rate,
                first=clock.first,
                interpolation=interpolation,
                bound=bound,
                off=off,
            )
            slot = compat.slot_of(armature)
            kept.keep(action, take, of.placement)
            if former is not None:
                _carry_over(armature, former, action, pose, off)
            with _camera(context, of.placement.camera, of.take.camera, take.camera) as moved:
                context.scene.frame_set(context.scene.frame_current, subframe=context.scene.frame_subframe)
                frames = keyframes.frames_at(take.motion.times, clock.rate, clock.first)
                notices = retargeting.what_was_set(pose) + retargeting.what_holds(armature, pose, frames)
        if holder is not None:
            layers.exchange(armature, holder, action, slot)
        context.scene.frame_set(context.scene.frame_current, subframe=context.scene.frame_subframe)
    if posing:
        bpy.ops.object.mode_set(mode="POSE")
    if limited:
        notices.append(f"the joint limits of {armature.name} are new; they hold its former actions too")
    if not moved and not _same_place(of.take.camera, take.camera):
        if of.placement.camera:
            notices.append("the camera of this take is gone or was moved; it stays as it is")
        else:
            notices.append(f"no camera was set: {armature.name} stands where the take's camera sees it")
    return action, notices


def _carry_over(
    armature: bpy.types.Object,
    former: tuple[bpy.types.Action, Any],
    action: bpy.types.Action,
    pose: retargeting.Pose,
    off: frozenset[str],
) -> None:
    """Take along what is the animator's: limbs that are not solved, markers, and whether doubt is marked."""
    limbs.carry_over(armature, *former, pose.left)
    limbs.rest_where_unkeyed(armature, *former, except_for=pose.left)
    keyframes.keep_stays(former[0], action, off)
    contact_markers.carry_over(former[0], action, WORDS)
    if doubt_marks.is_marked(former[0]):
        doubt_marks.mark(action)


def _same_limits(one: Skeleton, other: Skeleton) -> bool:
    if sorted(one.names) != sorted(other.names):
        return False
    pairs = [(joint, other.names.index(name)) for joint, name in enumerate(one.names) if one.parents[joint] >= 0]
    return all(
        one.euler_order[mine] == other.euler_order[its] and np.abs(one.rom[mine] - other.rom[its]).max() < _SAME
        for mine, its in pairs
    )


def _same_place(one: Camera, other: Camera) -> bool:
    return one.to_json() == other.to_json()


@contextmanager
def _limits(armature: bpy.types.Object, skeleton: Skeleton | None) -> Iterator[None]:
    """Give an armature a skeleton's limits; put its own back if the block raises."""
    if skeleton is None:
        yield
        return
    before = read_rig.skeleton_to_solve(armature)
    try:
        rig.set_limits(armature, skeleton)
        yield
    except BaseException:
        rig.set_limits(armature, before)
        raise


@contextmanager
def _camera(context: bpy.types.Context, mark: str, former: Camera, now: Camera) -> Iterator[list[bpy.types.Object]]:
    """Move the cameras with a mark that stand where the former take put them; back again if the block raises."""
    unit = metres(context.scene)
    place = np.array(video_camera.matrix_world(former, unit))
    cameras = [
        obj
        for obj in context.scene.objects
        if obj.type == "CAMERA"
        and obj.library is None
        and obj.data.library is None
        and obj.get(kept.PLACED) == mark
        and np.abs(np.array(obj.matrix_world) - place).max() < _SAME * max(1.0, np.abs(place).max())
    ]
    before = [
        (obj, {key: tuple(getattr(obj, key)) for key in _PLACE}, {key: getattr(obj.data, key) for key in _OPTICS})
        for obj in cameras
    ]
    try:
        for obj in cameras:
            video_camera.set_optics(obj.data, now, video_camera.aspect(context.scene), unit)
            obj.matrix_world = video_camera.matrix_world(now, unit)
        yield cameras
    except BaseException:
        for obj, placed, optics in before:
            for owner, values in ((obj, placed), (obj.data, optics)):
                for key, value in values.items():
                    setattr(owner, key, value)
        raise
