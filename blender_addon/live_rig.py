# SPDX-License-Identifier: GPL-3.0-or-later
"""A live pose on an armature: no keys, no undo step, and everything as it was at the end."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np

from . import read_rig, retargeting, rig
from .core.live_client import LivePose
from .core.motion import Motion
from .core.skeleton import Skeleton
from .held import HeldRig
from .rig_bones import RigError

NAME = "Video2Rig Live"
_CHANNELS = ("location", "rotation_quaternion", "rotation_euler", "rotation_axis_angle", "scale")


class Preview:
    """An armature that is posed live: a new one, which goes away at the end, or one that takes its former pose back.

    It is known by its session's number: pointers do not survive an undo, and names may change.
    """

    def __init__(self, context: bpy.types.Context, skeleton: Skeleton, onto: HeldRig | None) -> None:
        """Begin. skeleton: What poses are of. onto: The armature; None makes one.

        Raises:
            RigError: There is no such armature, or it is not the one whose skeleton this is.
        """
        self._skeleton, self._built = skeleton, onto is None
        armature = _build(context, skeleton) if onto is None else onto.found(context.scene)
        self._uid, self._name = armature.session_uid, armature.name
        self._former = {} if self._built else _pose_of(armature)
        try:
            if not self._built:
                read_rig.check_unchanged(armature, skeleton)
            self._onto = retargeting.Onto(armature, skeleton)
        except BaseException:
            self.end()
            raise

    def show(self, pose: LivePose) -> None:
        """Put a pose on the armature; one in edit mode is left alone.

        Raises:
            RigError: The armature, or a bone of it, is gone.
        """
        armature = self._armature()
        if armature is None:
            raise RigError("the armature of the live preview is gone")
        if armature.mode == "EDIT":
            return
        one = (array[None] for array in (pose.rotations, pose.root_position, pose.confidence))
        motion = Motion(self._skeleton, np.zeros(1), *one)
        try:
            for bone, prop, values in self._onto.pose(armature, motion).channels:
                setattr(armature.pose.bones[bone], prop.removeprefix("."), values[0])
        except KeyError as error:
            raise RigError(f"{armature.name} was changed in the live preview: it has no bone {error} now") from None

    def end(self) -> None:
        """Take the armature away, or give it its former pose."""
        armature = self._armature()
        if armature is None:
            return
        if self._built:
            data = armature.data
            bpy.data.objects.remove(armature)
            bpy.data.armatures.remove(data)
            return
        for name, (channels, numbers) in self._former.items():
            bone = armature.pose.bones.get(name)
            if bone is None:
                continue
            for channel, value in zip(_CHANNELS, channels, strict=True):
                setattr(bone, channel, value)
            for key, value in numbers.items():
                if key in bone and bone[key] != value:
                    bone[key] = value
        armature.update_tag()

    def _armature(self) -> bpy.types.Object | None:
        named = bpy.data.objects.get(self._name)
        if named is None or named.session_uid != self._uid:
            named = next((obj for obj in bpy.data.objects if obj.session_uid == self._uid), None)
        if named is not None:
            self._name = named.name
        return named


def _pose_of(armature: bpy.types.Object) -> dict[str, tuple[list[Any], dict[str, Any]]]:
    """Return each bone's own transform, and those of its custom properties that are numbers."""
    return {
        bone.name: (
            [tuple(getattr(bone, channel)) for channel in _CHANNELS],
            {key: value for key, value in bone.items() if isinstance(value, bool | int | float)},
        )
        for bone in armature.pose.bones
    }


def _build(context: bpy.types.Context, skeleton: Skeleton) -> bpy.types.Object:
    """Return a new armature; what is active, selected and in pose mode stays so."""
    layer = context.view_layer
    active, selected = layer.objects.active, [obj for obj in layer.objects if obj.select_get()]
    mode = "OBJECT" if active is None else active.mode
    if mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    armature = rig.build_armature(context, skeleton, NAME, context.scene.collection)
    for obj in layer.objects:
        obj.select_set(obj in selected)
    layer.objects.active = active
    if mode != "OBJECT":
        bpy.ops.object.mode_set(mode=mode)
    return armature
