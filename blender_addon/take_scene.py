# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes become objects of the scene: an armature and action a person, and one camera, in a collection named after the
video."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import bpy
import numpy as np

from . import compat, kept, keyframes, limbs, read_rig, retargeting, rig, video_camera
from .compat import Interpolation
from .core.camera import Camera
from .core.frames import VideoInfo
from .core.take import Take
from .rig_bones import evaluated
from .scene_guard import unchanged_on_error


class Actor(NamedTuple):
    """What one person's take became."""

    take: Take
    rig: bpy.types.Object
    action: bpy.types.Action


class Placed(NamedTuple):
    """What the takes of a video became."""

    actors: list[Actor]
    camera: bpy.types.Object
    collection: bpy.types.Collection
    clock: video_camera.Clock
    notices: list[str]
    """What a user should know: bones that something else holds, a video that cannot be shown."""

    @property
    def rigs(self) -> list[bpy.types.Object]:
        """The armatures, by their people's numbers."""
        return [actor.rig for actor in self.actors]


def match_scene(scene: bpy.types.Scene, camera: Camera, fps: float, duration: float) -> None:
    """Give the scene the video's frame rate, size and length."""
    whole = max(1, math.ceil(fps - 1e-6))
    scene.render.fps = whole
    # 30000/1001 and its like are 30 over 1.001; a float base holds any other rate too
    scene.render.fps_base = float(Fraction(whole / fps).limit_denominator(100_000))
    scene.render.resolution_x, scene.render.resolution_y = camera.width, camera.height
    scene.render.resolution_percentage = 100
    scene.frame_end = scene.frame_start + max(0, round(duration * fps))


def keep_action(armature: bpy.types.Object) -> tuple[bpy.types.Action, Any] | None:
    """Keep the armature's action in the file when another takes its place; return it with its slot, if there is one."""
    if armature.animation_data is None or armature.animation_data.action is None:
        return None
    armature.animation_data.action.use_fake_user = True
    return armature.animation_data.action, compat.slot_of(armature)


def place(
    context: bpy.types.Context,
    takes: Sequence[Take],
    info: VideoInfo,
    *,
    match: bool,
    interpolation: Interpolation = "LINEAR",
    bound: float | None = None,
    off: frozenset[str] = frozenset(),
    onto: bpy.types.Object | None = None,
    background: bool = True,
) -> Placed:
    """Put the takes of a video into the scene; on any error the scene is as it was.

    Args:
        context: Of the scene.
        takes: What the solver returned: of one person or more, in one world before one camera. Of several, each
            armature and action is named after the video and the person's number.
        info: The video it was solved from.
        match: Whether the scene takes over the video's rate, size and length. Else nothing of the scene is set, and
            keys lie at their own time on the scene's clock.
        interpolation: Between keys.
        bound: Radians that a bone may be off at any frame, for few keys; None keys every frame.
        off: Limbs that are not solved: they keep the keys that the armature has for them, or rest on a new one.
        onto: The armature whose skeleton was solved, for one take; None builds new ones. It gets a new action, and the
            one that it had is kept in the file.
        background: Whether the camera shows the video.

    Raises:
        RigError: The armature is no longer the one that was solved.
    """
    scene = context.scene
    name = Path(info.path).stem or "take"
    if onto is not None:
        (take,) = takes
        read_rig.check_unchanged(onto, take.motion.skeleton)
    posing = onto is not None and onto.mode == "POSE" and context.view_layer.objects.active == onto
    with nullcontext() if onto is None else evaluated(onto), unchanged_on_error(context, onto):
        solved, duration = takes[0].camera, float(max(take.motion.times[-1] for take in takes))
        if match:
            match_scene(scene, solved, info.fps, duration)
        clock = video_camera.Clock(keyframes.scene_rate(scene), scene.frame_start)
        collection = bpy.data.collections.new(name)
        scene.collection.children.link(collection)
        camera = video_camera.add_camera(scene, solved, f"{name} camera", collection)
        actors, notices = [], []
        end = math.ceil(keyframes.frames_at(np.array([duration]), clock.rate, clock.first)[0])
        if end > scene.frame_end:
            notices.append(f"the motion goes on to frame {end}, and the scene ends at {scene.frame_end}")
        try:
            if background:
                video_camera.add_background(camera, Path(info.path), info.fps, duration, clock)
        except video_camera.BackgroundError as error:
            notices.append(str(error))  # the motion does not need it
        camera[kept.PLACED] = uuid4().hex
        for take in takes:
            own = name if len(takes) == 1 else f"{name} person {take.person}"
            former = None
            if onto is None:
                armature = rig.build_armature(context, take.motion.skeleton, own, collection)
            else:
                armature = onto
                former = keep_action(armature)
            action, pose = keyframes.write_motion(
                armature,
                take.motion,
                own,
                rate=clock.rate,
                first=clock.first,
                interpolation=interpolation,
                bound=bound,
                off=off,
            )
            if former is not None:
                limbs.carry_over(armature, *former, pose.left)
            kept.keep(action, take, kept.Placement(own, clock, camera[kept.PLACED], onto is None))
            actors.append(Actor(take, armature, action))
        if len(actors) > 1:
            for actor in actors:
                actor.rig.select_set(True)
            context.view_layer.objects.active = actors[0].rig
        scene.frame_set(scene.frame_current, subframe=scene.frame_subframe)
        if onto is not None:
            frames = keyframes.frames_at(takes[0].motion.times, clock.rate, clock.first)
            notices += retargeting.what_was_set(pose) + retargeting.what_holds(onto, pose, frames)
    if posing:
        bpy.ops.object.mode_set(mode="POSE")
    return Placed(actors, camera, collection, clock, notices)
