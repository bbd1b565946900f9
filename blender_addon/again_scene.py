# SPDX-License-Identifier: GPL-3.0-or-later
"""A take that was solved again becomes another action of the same armature, before the same camera."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import bpy
import numpy as np

from . import kept, keyframes, read_rig, retargeting, rig, take_scene, video_camera
from .compat import Interpolation
from .core.camera import Camera
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


def skeleton_to_solve(armature: bpy.types.Object, of: kept.Kept, rom: str) -> Skeleton:
    """Return what is solved: the armature's own bones.

    An armature that was made for its take, and whose limits nobody has edited, takes over the profile's limits. Limits
    that were edited by hand, and those of any other armature, are the armature's own.

    Raises:
        RigError: The armature cannot be solved.
    """
    skeleton = read_rig.skeleton_to_solve(armature, rom)
    if not (of.placement.built and _same_limits(skeleton, of.take.motion.skeleton)):
        return skeleton
    # what a profile does not speak of is the clinical one's, as in the default human
    return with_profile(with_profile(skeleton, "clinical"), rom)


def place(
    context: bpy.types.Context, armature: bpy.types.Object, of: kept.Kept, take: Take, interpolation: Interpolation
) -> tuple[bpy.types.Action, list[str]]:
    """Put a take that was solved again on its armature, as a new action; on any error the scene is as it was.

    The action that the armature has is kept in the file. Keys lie at the scene frames where the former ones lie. The
    camera takes the new place, if it still stands where the former take had put it.

    Args:
        of: What the former action keeps. take: The new one. interpolation: Between keys.

    Returns:
        The action, and what a user should know, one line each.

    Raises:
        RigError: The armature is no longer the one that was solved.
    """
    skeleton, clock = take.motion.skeleton, of.placement.clock
    read_rig.check_unchanged(armature, skeleton)
    limited = of.placement.built and not _same_limits(read_rig.skeleton_to_solve(armature), skeleton)
    posing = armature.mode == "POSE" and context.view_layer.objects.active == armature
    with evaluated(armature), unchanged_on_error(context, armature), _limits(armature, skeleton if limited else None):
        take_scene.keep_action(armature)
        action, pose = keyframes.write_motion(
            armature, take.motion, of.placement.name, rate=clock.rate, first=clock.first, interpolation=interpolation
        )
        kept.keep(action, take, of.placement)
        with _camera(context, of.placement.camera, of.take.camera, take.camera) as moved:
            context.scene.frame_set(context.scene.frame_current, subframe=context.scene.frame_subframe)
            frames = keyframes.frames_at(take.motion.times, clock.rate, clock.first)
            notices = retargeting.what_was_set(pose) + retargeting.what_holds(armature, pose, frames)
    if posing:
        bpy.ops.object.mode_set(mode="POSE")
    if limited:
        notices.append(f"the joint limits of {armature.name} are new; they hold its former actions too")
    if not moved and not _same_place(of.take.camera, take.camera):
        notices.append("the camera of this take is gone or was moved; it stays as it is")
    return action, notices


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
