# SPDX-License-Identifier: GPL-3.0-or-later
"""A Motion becomes keys: by the video's own time, on a fresh action."""

from __future__ import annotations

import json
from typing import Any

import bpy
import numpy as np
from mathutils import Quaternion

from . import compat
from .core import bounds
from .core.motion import Motion

AT_BOUNDS = "video2rig_at_bounds"
CONFIDENCE = "confidence"
CONTACTS = "video2rig_contacts"
PROVENANCE = "video2rig_provenance"

# keys are stored as 32-bit floats, which tell 0.001 of a frame apart at frame 10,000
_WHOLE = 1e-3


def scene_rate(scene: bpy.types.Scene) -> float:
    """Return the scene's frames a second."""
    return scene.render.fps / scene.render.fps_base


def frames_at(times: np.ndarray, rate: float, first: float) -> np.ndarray:
    """Return [T] scene frames of [T] times in seconds; fractions stay, unless they are rounding errors."""
    frames = first + np.asarray(times, dtype=np.float64) * rate
    whole = np.round(frames)
    return np.where(np.abs(frames - whole) < _WHOLE, whole, frames)


def root_locations(rig: bpy.types.Object, motion: Motion) -> np.ndarray:
    """Return [T, 3] locations of the root's pose bone: its way from rest, in its rest frame, in the armature's units.

    The object stands where it does; bones above the root are taken at rest.
    """
    rest = np.array(rig.matrix_world @ rig.data.bones[motion.skeleton.names[0]].matrix_local, dtype=np.float64)
    return (motion.root_position - rest[:3, 3]) @ np.linalg.inv(rest[:3, :3]).T


def _rotation_channel(bone: bpy.types.PoseBone, quaternions: np.ndarray) -> tuple[str, np.ndarray]:
    """Return the property that turns a bone, and its values [T, C] for [T, 4] quaternions wxyz."""
    if bone.rotation_mode == "QUATERNION":
        return ".rotation_quaternion", quaternions
    angles = [Quaternion(quaternions[0]).to_euler(bone.rotation_mode)]
    for quaternion in quaternions[1:]:
        angles.append(Quaternion(quaternion).to_euler(bone.rotation_mode, angles[-1]))
    return ".rotation_euler", np.array(angles)


def write_motion(
    rig: bpy.types.Object,
    motion: Motion,
    name: str,
    *,
    rate: float,
    first: float,
    interpolation: compat.Interpolation = "LINEAR",
) -> bpy.types.Action:
    """Put a motion on an armature of the same skeleton, on an action of its own.

    Each bone is turned in its own rotation mode: by a quaternion, or in an Euler order.

    Args:
        rig: The armature, as :func:`.rig.build_armature` makes it or :func:`.read_rig.skeleton_to_solve` takes it.
        motion: What to write.
        name: Of the action.
        rate: The scene's frames a second.
        first: The scene frame of the video's time 0.
        interpolation: Between keys.
    """
    action = compat.new_action(rig, name)
    frames = frames_at(motion.times, rate, first)

    def write(bone: str, prop: str, values: np.ndarray, indexed: bool = True) -> None:
        path = f'pose.bones["{bpy.utils.escape_identifier(bone)}"]{prop}'
        compat.write_channels(rig, path, frames, values, group=bone, interpolation=interpolation, indexed=indexed)

    for joint, bone in enumerate(motion.skeleton.names):
        if joint == 0:
            write(bone, ".location", root_locations(rig, motion))
        pose_bone = rig.pose.bones[bone]
        write(bone, *_rotation_channel(pose_bone, motion.rotations[:, joint]))
        pose_bone[CONFIDENCE] = 1.0
        pose_bone.id_properties_ui(CONFIDENCE).update(
            min=0.0, max=1.0, description="How well the video showed this joint"
        )
        write(bone, f'["{CONFIDENCE}"]', motion.confidence[:, joint : joint + 1], indexed=False)
    action[CONTACTS] = json.dumps(
        [{"joint": c.joint, "start": float(c.start), "end": float(c.end)} for c in motion.contacts]
    )
    action[AT_BOUNDS] = json.dumps(bounds.to_json(bounds.find_at_bounds(motion)))
    action[PROVENANCE] = json.dumps(motion.provenance)
    return action


def at_bounds(action: bpy.types.Action) -> list[dict[str, Any]]:
    """Return which joints sat at the end of their range, the longest first, as `bounds.to_json` tells it."""
    text = action.get(AT_BOUNDS)
    return json.loads(text) if isinstance(text, str) else []


def at_bounds_lines(action: bpy.types.Action, most: int) -> list[str]:
    """Return the longest stays at the end of a range as a user reads them, one a line."""
    stays = at_bounds(action)
    lines = [f"{stay['title']} {stay['seconds']:.1f} s ({stay['share']:.0%})" for stay in stays[:most]]
    return lines + [f"{len(stays) - most} more"] * (len(stays) > most)


def provenance(action: bpy.types.Action) -> dict[str, Any]:
    """Return how the motion on an action was made; nothing if it is not one of ours."""
    text = action.get(PROVENANCE)
    return json.loads(text) if isinstance(text, str) else {}
