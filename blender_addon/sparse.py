# SPDX-License-Identifier: GPL-3.0-or-later
"""Few keys in the place of one a frame: when a motion is written, and of an action that is there."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import bpy
import numpy as np

from . import compat
from .compat import fcurves_of
from .core.key_reduction import Channels, reduce_keys
from .retargeting import Channel
from .rig_bones import location_space

REACH = np.degrees(0.005)
"""Metres that the body may be off for each radian that a bone may be: 5 mm a degree."""

_PATH = re.compile(r'pose\.bones\["((?:[^"\\]|\\.)*)"\](?:(\.\w+)|\["confidence"\])')
_TURNS = {"QUATERNION": ".rotation_quaternion", "AXIS_ANGLE": ".rotation_axis_angle"}
_WIDE = 2.0  # frames: between keys that are further apart, whole frames are held too


class Keyed(NamedTuple):
    """Which frames of a bone are keyed: their numbers [K], and the slopes [K, C] of its curves by property.

    Properties without slopes are keyed there with the interpolation that is chosen.
    """

    keys: np.ndarray
    slopes: dict[str, np.ndarray]


class Reduced(NamedTuple):
    """What became of an action.

    Attributes:
        action, slot: The new one. before, after: How many keys there were, and are. left: Bones left as they were.
    """

    action: bpy.types.Action
    slot: Any
    before: int
    after: int
    left: list[str]


def keyed(
    rig: bpy.types.Object, frames: np.ndarray, channels: Sequence[Channel], bound: float | None
) -> dict[str, Keyed]:
    """Return which frames each bone is keyed at.

    Args:
        rig: The armature. frames: [T] scene frames. channels: Of all bones, [T, C] values each.
        bound: Radians that a bone may be off; None keys every frame.
    """
    bones: dict[str, list[Channel]] = {}
    for channel in channels:
        bones.setdefault(channel.bone, []).append(channel)
    every = Keyed(np.arange(len(frames)), {})
    return {bone: every if bound is None else _of_bone(rig, frames, own, bound) for bone, own in bones.items()}


def _of_bone(rig: bpy.types.Object, frames: np.ndarray, channels: Sequence[Channel], bound: float) -> Keyed:
    stored = frames.astype(np.float32).astype(np.float64)  # as keys are
    kept = reduce_keys(stored, [_channels(rig, channel, bound) for channel in channels])
    return Keyed(kept.keys, {one.prop: slopes for one, slopes in zip(channels, kept.slopes, strict=True)})


def _channels(rig: bpy.types.Object, channel: Channel, bound: float) -> Channels:
    if channel.prop == ".location":
        metres = np.linalg.norm(location_space(rig, channel.bone)[0], ord=2)  # the most for one unit
        return Channels("VECTOR", channel.values, REACH * bound / float(metres))
    if channel.prop == ".scale":
        return Channels("VECTOR", channel.values, bound)  # of a bone's end as much as a turn by it
    return Channels(rig.pose.bones[channel.bone].rotation_mode, channel.values, bound)


def reduce_action(rig: bpy.types.Object, action: bpy.types.Action, slot: Any, bound: float) -> Reduced:
    """Return a copy of an action in which bones have as few keys as the bound allows; the action stays as it is.

    Rotations, locations and scales of a bone get common frames, and our confidence too; all other curves are copied.
    What a curve tells at the frames of its keys is held, and at whole frames where keys are far apart. Bones with
    curves that modifiers change are left as they are.

    Args:
        rig: The armature whose bones the action moves. action, slot: Which; the slot is None where there are no slots.
        bound: Radians that a bone may be off.
    """
    new = action.copy()
    own = compat.copied_slot(new, slot)
    bones: dict[str, dict[str, dict[int, bpy.types.FCurve]]] = {}
    for curve in fcurves_of(new, own):
        found = _PATH.fullmatch(curve.data_path)
        name = bpy.utils.unescape_identifier(found[1]) if found else ""
        if found and name in rig.pose.bones:
            bones.setdefault(name, {}).setdefault(found[2] or "", {})[curve.array_index] = curve
    before = after = 0
    left = []
    for name, curves in bones.items():
        bone = rig.pose.bones[name]
        turns = _TURNS.get(bone.rotation_mode, ".rotation_euler")
        moved = {prop: curves[prop] for prop in (turns, ".location", ".scale") if prop in curves}
        several = [curve for prop in moved.values() for curve in prop.values()]
        told = list(curves.get("", {}).values())
        count = sum(len(curve.keyframe_points) for curve in several + told)
        before += count
        if any(modifier for curve in several for modifier in curve.modifiers if not modifier.mute):
            left.append(name)
        elif several:
            _reduce_bone(rig, bone, moved, told, bound)
        after += sum(len(curve.keyframe_points) for curve in several + told)
    return Reduced(new, own, before, after, left)


def _reduce_bone(
    rig: bpy.types.Object,
    bone: bpy.types.PoseBone,
    moved: dict[str, dict[int, bpy.types.FCurve]],
    told: list[bpy.types.FCurve],
    bound: float,
) -> None:
    frames = _frames([curve for prop in moved.values() for curve in prop.values()])
    channels = []
    for prop, curves in moved.items():
        # what is not keyed stays as the bone has it
        values = np.tile(np.array(getattr(bone, prop[1:]), dtype=np.float64), (len(frames), 1))
        for index, curve in curves.items():
            values[:, index] = _values(curve, frames)
        channels.append(Channel(bone.name, prop, values))
    found = _of_bone(rig, frames, channels, bound)
    confidence = [(curve, _values(curve, frames[found.keys])) for curve in told]
    for channel in channels:
        for index, curve in moved[channel.prop].items():
            slopes = found.slopes[channel.prop][:, index]
            compat.set_keys(curve, frames[found.keys], channel.values[found.keys, index], slopes=slopes)
    for curve, values in confidence:
        compat.set_keys(curve, frames[found.keys], values)


def _frames(curves: Sequence[bpy.types.FCurve]) -> np.ndarray:
    """Return the frames at which curves are held: those of their keys, and whole ones where keys are far apart."""
    frames = np.unique(np.concatenate([compat.read_channel(curve)[0] for curve in curves])).astype(np.float64)
    between = [
        np.arange(np.floor(begin) + 1, np.ceil(end))
        for begin, end in itertools.pairwise(frames.tolist())
        if end - begin > _WIDE
    ]
    return np.unique(np.concatenate([frames, *between]))


def _values(curve: bpy.types.FCurve, frames: np.ndarray) -> np.ndarray:
    """Return [T] values of a curve at [T] frames."""
    at, values = compat.read_channel(curve)
    if np.array_equal(at, frames):
        return values.astype(np.float64)
    return np.array([curve.evaluate(frame) for frame in frames.tolist()])
