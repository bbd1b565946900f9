# SPDX-License-Identifier: GPL-3.0-or-later
"""A Motion becomes keys: by the video's own time, on a fresh action."""

from __future__ import annotations

import json
from typing import Any

import bpy
import numpy as np

from . import compat, contact_markers, limbs, retargeting, sparse
from .core import bounds
from .core.doubt import find_unsure
from .core.limbs import limb_of, limbs_of
from .core.motion import Motion
from .video_camera import Clock

AT_BOUNDS = "video2rig_at_bounds"
CONFIDENCE = "confidence"
CONTACTS = "video2rig_contacts"
PROVENANCE = "video2rig_provenance"
UNSURE = "video2rig_unsure"

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


def write_motion(
    rig: bpy.types.Object,
    motion: Motion,
    name: str,
    *,
    rate: float,
    first: int,
    interpolation: compat.Interpolation = "LINEAR",
    bound: float | None = None,
    off: frozenset[str] = frozenset(),
) -> tuple[bpy.types.Action, retargeting.Pose]:
    """Put a motion on the armature whose skeleton it has, on an action of its own.

    Each bone is turned in its own rotation mode: by a quaternion, in an Euler order, or by axis and angle.

    Args:
        rig: The armature, as :func:`.rig.build_armature` makes it or :func:`.read_rig.skeleton_to_solve` takes it.
        motion: What to write.
        name: Of the action.
        rate: The scene's frames a second.
        first: The scene frame of the video's time 0.
        interpolation: Between keys.
        bound: Radians that a bone may be off at any frame, for few keys joined by smooth curves; None keys every frame.
        off: Limbs that get no keys.

    Returns:
        The action, and what was keyed.

    Raises:
        RigError: The armature is not the one whose skeleton the motion has.
    """
    action = compat.new_action(rig, name)
    pose = limbs.without(retargeting.pose_on(rig, motion), motion.skeleton, off)
    frames = frames_at(motion.times, rate, first)

    def write(bone: str, prop: str, values: np.ndarray, at: sparse.Keyed, indexed: bool = True) -> None:
        path = f'pose.bones["{bpy.utils.escape_identifier(bone)}"]{prop}'
        compat.write_channels(
            rig,
            path,
            frames[at.keys],
            values[at.keys],
            group=bone,
            interpolation=interpolation,
            indexed=indexed,
            slopes=at.slopes.get(prop),
        )

    keyed = sparse.keyed(rig, frames, pose.channels, bound)
    for bone, prop, values in pose.channels:
        write(bone, prop, values, keyed[bone])
    for bone, joint in pose.joints.items():
        pose_bone = rig.pose.bones[bone]
        pose_bone[CONFIDENCE] = 1.0
        pose_bone.id_properties_ui(CONFIDENCE).update(
            min=0.0, max=1.0, description="How well the video showed this joint"
        )
        write(bone, f'["{CONFIDENCE}"]', motion.confidence[:, joint : joint + 1], keyed[bone], indexed=False)
    for switch in pose.switches:
        key = bpy.utils.escape_identifier(switch.key)
        write(switch.bone, f'["{key}"]', np.array([[switch.value]]), sparse.Keyed(np.array([0]), {}), indexed=False)
    action[CONTACTS] = json.dumps(
        [{"joint": c.joint, "start": float(c.start), "end": float(c.end)} for c in motion.contacts]
    )
    contact_markers.mark(action, motion, Clock(rate, first))
    of_joint = dict(zip(motion.skeleton.names, limbs_of(motion.skeleton), strict=True))
    stays = [stay for stay in bounds.find_at_bounds(motion) if of_joint[stay.joint] not in off]
    action[AT_BOUNDS] = json.dumps(bounds.to_json(tuple(stays)))
    action[UNSURE] = json.dumps(find_unsure(motion))
    action[PROVENANCE] = json.dumps(motion.provenance)
    return action, pose


def keep_stays(former: bpy.types.Action, action: bpy.types.Action, off: frozenset[str]) -> None:
    """Take along when joints of limbs sat at the end of their range, where their keys are those of a former action.

    Args:
        former, action: From which to which. off: The limbs.
    """
    stays = at_bounds(action) + [stay for stay in at_bounds(former) if limb_of(stay.get("role", "")) in off]
    action[AT_BOUNDS] = json.dumps(sorted(stays, key=lambda stay: -stay.get("seconds", 0.0)))


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
