# SPDX-License-Identifier: GPL-3.0-or-later
"""A Take becomes objects of the scene: armature, action and camera, in a collection named after the video."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import bpy

from . import keyframes, read_rig, retargeting, rig, video_camera
from .compat import Interpolation
from .core.camera import Camera
from .core.frames import VideoInfo
from .core.take import Take
from .scene_guard import unchanged_on_error


class Placed(NamedTuple):
    """What a take became."""

    rig: bpy.types.Object
    camera: bpy.types.Object
    action: bpy.types.Action
    collection: bpy.types.Collection
    clock: video_camera.Clock
    notices: list[str]
    """What a user should know of the armature: bones that something else holds."""


def match_scene(scene: bpy.types.Scene, camera: Camera, fps: float, duration: float) -> None:
    """Give the scene the video's frame rate, size and length."""
    whole = max(1, math.ceil(fps - 1e-6))
    scene.render.fps = whole
    # 30000/1001 and its like are 30 over 1.001; a float base holds any other rate too
    scene.render.fps_base = float(Fraction(whole / fps).limit_denominator(100_000))
    scene.render.resolution_x, scene.render.resolution_y = camera.width, camera.height
    scene.render.resolution_percentage = 100
    scene.frame_end = scene.frame_start + max(0, round(duration * fps))


def _keep_action(armature: bpy.types.Object) -> None:
    """Keep the armature's action in the file when another takes its place."""
    if armature.animation_data is not None and armature.animation_data.action is not None:
        armature.animation_data.action.use_fake_user = True


def place(
    context: bpy.types.Context,
    take: Take,
    info: VideoInfo,
    *,
    match: bool,
    interpolation: Interpolation = "LINEAR",
    onto: bpy.types.Object | None = None,
) -> Placed:
    """Put a take into the scene; on any error the scene is as it was.

    Args:
        context: Of the scene.
        take: What the solver returned.
        info: The video it was solved from.
        match: Whether the scene takes over the video's rate, size and length. Else nothing of the scene is set, and
            keys lie at their own time on the scene's clock.
        interpolation: Between keys.
        onto: The armature whose skeleton was solved; None builds a new one. It gets a new action, and the one that it
            had is kept in the file.

    Raises:
        RigError: The armature is no longer the one that was solved.
    """
    scene = context.scene
    name = Path(info.path).stem or "take"
    if onto is not None:
        read_rig.check_unchanged(onto, take.motion.skeleton)
    with unchanged_on_error(context, onto):
        times = take.motion.times
        if match:
            match_scene(scene, take.camera, info.fps, float(times[-1]))
        clock = video_camera.Clock(keyframes.scene_rate(scene), scene.frame_start)
        collection = bpy.data.collections.new(name)
        scene.collection.children.link(collection)
        camera = video_camera.add_camera(scene, take.camera, f"{name} camera", collection)
        video_camera.add_background(camera, Path(info.path), info.fps, float(times[-1]), clock)
        if onto is None:
            armature = rig.build_armature(context, take.motion.skeleton, name, collection)
        else:
            armature = onto
            _keep_action(armature)
        action, pose = keyframes.write_pose(
            armature, take.motion, name, rate=clock.rate, first=clock.first, interpolation=interpolation
        )
        scene.frame_set(scene.frame_current, subframe=scene.frame_subframe)
        notices = (
            []
            if onto is None
            else retargeting.what_holds(armature, pose, keyframes.frames_at(times, clock.rate, clock.first))
        )
    return Placed(armature, camera, action, collection, clock, notices)
