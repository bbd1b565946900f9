# SPDX-License-Identifier: GPL-3.0-or-later
"""Corrections by hand in a layer above the solved motion, so that solving again leaves them as they are.

The solved action becomes a strip of the NLA editor. Above it lies the armature's own action, empty at first, which is
combined with it: keys turn bones further by what they say, locations and Euler angles are added. Only what is keyed
there is corrected.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import bpy

from . import compat, kept
from .core.errors import Video2RigError
from .rig_bones import check_editable


class LayerError(Video2RigError):
    """A layer that cannot be made."""


class Holder(NamedTuple):
    """What holds an armature's motion.

    Attributes:
        action: With the keys. strip: Of the NLA editor, by which it moves the armature; None where it is the armature's
            own action.
    """

    action: bpy.types.Action
    strip: bpy.types.NlaStrip | None


def holder_of(armature: bpy.types.Object | None) -> Holder | None:
    """Return what holds the take of an armature: its own action, or the topmost strip that keeps one.

    Muted tracks and strips hold nothing. None where no take is kept.
    """
    animation = armature.animation_data if armature is not None and armature.type == "ARMATURE" else None
    if animation is None:
        return None
    if animation.action is not None and kept.is_kept(animation.action):
        return Holder(animation.action, None)
    for track in reversed(animation.nla_tracks):
        for strip in reversed([] if track.mute else track.strips):
            if not strip.mute and strip.action is not None and kept.is_kept(strip.action):
                return Holder(strip.action, strip)
    return None


def shown_by(armature: bpy.types.Object | None) -> Holder | None:
    """Return what holds an armature's take, or else its own action; None where it has neither."""
    found = holder_of(armature)
    animation = armature.animation_data if armature is not None else None
    if found is None and animation is not None and animation.action is not None:
        return Holder(animation.action, None)
    return found


def slot_of(armature: bpy.types.Object, holder: Holder) -> Any:
    """Return the slot by which what holds the motion moves the armature; None where there are no slots."""
    return compat.slot_of(armature) if holder.strip is None else compat.strip_slot(holder.strip)


def add_corrections(armature: bpy.types.Object) -> bpy.types.Action:
    """Lay the armature's action into a strip, and an empty one above it, which is returned.

    Raises:
        LayerError: The armature has no action, or has a layer of corrections already.
        RigError: It cannot be animated in this file.
    """
    check_editable(armature)
    found = shown_by(armature)
    if found is None:
        raise LayerError(f"{armature.name} has no action to correct")
    animation = armature.animation_data
    if found.strip is not None:
        if animation.action is not None:
            raise LayerError(
                f"{armature.name} has a layer above its motion already: the action {animation.action.name}"
            )
    else:
        slot = compat.slot_of(armature)
        track = animation.nla_tracks.new()
        track.name = found.action.name
        strip = track.strips.new(found.action.name, math.floor(found.action.frame_range[0]), found.action)
        compat.set_strip_slot(strip, slot)
        _fit(strip)
    action = compat.new_action(armature, f"{found.action.name} corrections")
    animation.action_blend_type = "COMBINE"
    animation.action_influence = 1.0
    animation.use_nla = True
    return action


@contextmanager
def alone(armature: bpy.types.Object, holder: Holder | None) -> Iterator[None]:
    """For as long as the block runs, let the armature's action work alone where a strip holds its motion.

    Then the action that the armature had comes back, and with it the layers.
    """
    if holder is None or holder.strip is None:
        yield
        return
    animation = armature.animation_data
    action, slot, layered = animation.action, compat.slot_of(armature), animation.use_nla
    animation.use_nla = False
    try:
        yield
    finally:
        compat.set_action(armature, action, slot)
        animation.use_nla = layered


def exchange(armature: bpy.types.Object, holder: Holder, action: bpy.types.Action, slot: Any) -> None:
    """Put another action where one holds the armature's motion; the former is kept in the file.

    Args:
        armature: Whose motion. holder: What holds it. action, slot: What will; the slot is None where there are none.
    """
    holder.action.use_fake_user = True
    if holder.strip is None:
        compat.set_action(armature, action, slot)
        return
    former = holder.strip.name
    holder.strip.action = action
    compat.set_strip_slot(holder.strip, slot)
    holder.strip.name = action.name
    for track in armature.animation_data.nla_tracks:
        if track.name == former:
            track.name = action.name
    _fit(holder.strip)


def _fit(strip: bpy.types.NlaStrip) -> None:
    """Let a strip play its action at the very frames of its keys, fractions included."""
    start, end = strip.action.frame_range
    first, last = math.floor(start), max(math.ceil(end), math.floor(start) + 1)
    strip.action_frame_start, strip.action_frame_end = first, last
    strip.frame_start, strip.frame_end = first, last
