# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs between Blenders from 4.2 on, actions and F-curves above all; no other module asks for the version.

Up to 4.3 an action owns its F-curves. From 4.4 on it has slots, and the F-curves belong to the channelbag of a
slot; 5.0 took ``Action.fcurves`` away. Keys are written in bulk: ``keyframe_insert`` needs minutes where
``foreach_set`` needs a fraction of a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import bpy
import numpy as np

from .core.key_reduction import handles

Interpolation = Literal["LINEAR", "BEZIER", "CONSTANT"]

MOVIES_STAND_UPRIGHT = bpy.app.version >= (4, 4, 0)
"""Whether this Blender turns a movie as its stream asks for; earlier ones show a phone's video lying down."""


DRAWS_LINEAR = bpy.app.version < (5, 0, 0)
"""Whether what is drawn over a view is turned from linear to sRGB on its way to the screen; later ones show it raw."""


def new_action(owner: bpy.types.ID, name: str) -> bpy.types.Action:
    """Give ``owner`` a fresh action (and, where there are slots, a slot of it); whatever it had is kept aside."""
    animation = owner.animation_data or owner.animation_data_create()
    action = bpy.data.actions.new(name)
    animation.action = action
    if hasattr(action, "slots"):
        animation.action_slot = action.slots.new(id_type=owner.id_type, name=owner.name)
    return action


def slot_of(owner: bpy.types.ID) -> Any:
    """Return the slot of the owner's action; None where it has none, or this Blender has no slots."""
    return getattr(owner.animation_data, "action_slot", None)


def set_action(owner: bpy.types.ID, action: bpy.types.Action | None, slot: Any) -> None:
    """Let an action animate ``owner``, by a slot of it where there are slots."""
    owner.animation_data.action = action
    if action is not None and slot is not None:
        owner.animation_data.action_slot = slot


def strip_slot(strip: bpy.types.NlaStrip) -> Any:
    """Return the slot that a strip plays; None where there are no slots."""
    return getattr(strip, "action_slot", None)


def set_strip_slot(strip: bpy.types.NlaStrip, slot: Any) -> None:
    """Let a strip play a slot of its action, where there are slots."""
    if slot is not None and hasattr(strip, "action_slot"):
        strip.action_slot = slot


def copied_slot(action: bpy.types.Action, slot: Any) -> Any:
    """Return the slot of a copied action that a slot of the original became; None where there are no slots."""
    return None if slot is None else action.slots[slot.identifier]


def _store(action: bpy.types.Action, slot: Any, create: bool) -> Any:
    """Return what owns the F-curves and groups of an action's slot: the action itself, or its channelbag."""
    if not hasattr(action, "slots"):
        return action
    if not action.layers:
        if not create:
            return None
        action.layers.new("Layer")
    layer = action.layers[0]
    if not create and (not layer.strips or slot is None):
        return None
    strip = layer.strips[0] if layer.strips else layer.strips.new(type="KEYFRAME")
    return strip.channelbag(slot, ensure=create)


def fcurves(owner: bpy.types.ID) -> list[bpy.types.FCurve]:
    """Return the F-curves that animate ``owner``; none where it has no action."""
    if owner.animation_data is None or owner.animation_data.action is None:
        return []
    return fcurves_of(owner.animation_data.action, slot_of(owner))


def fcurves_of(action: bpy.types.Action, slot: Any) -> list[bpy.types.FCurve]:
    """Return the F-curves of an action's slot, which is None where there are no slots."""
    store = _store(action, slot, create=False)
    return [] if store is None else list(store.fcurves)


def write_channels(
    owner: bpy.types.ID,
    data_path: str,
    frames: np.ndarray,
    values: np.ndarray,
    *,
    group: str = "",
    interpolation: Interpolation = "LINEAR",
    indexed: bool = True,
    slopes: np.ndarray | None = None,
) -> None:
    """Write the keys of one animated property, all its components at once.

    Args:
        owner: The datablock, with an action of :func:`new_action`.
        data_path: The property, as in ``pose.bones["spine"].rotation_quaternion``.
        frames: [T] scene frames, rising; fractions are kept.
        values: [T, C] one column a component.
        group: Name of the channel group in the editors.
        interpolation: Of every key.
        indexed: False where the property is a single number and ``values`` has one column.
        slopes: [T, C] of smooth curves through the keys, a frame; they say how keys are joined.
    """
    store = _store(owner.animation_data.action, slot_of(owner), create=True)
    values = np.asarray(values)
    for component in range(values.shape[1]):
        curve = store.fcurves.new(data_path, index=component) if indexed else store.fcurves.new(data_path)
        if group:
            # the group argument of fcurves.new changed its name and meaning between versions
            curve.group = store.groups.get(group) or store.groups.new(group)
        slope = None if slopes is None else slopes[:, component]
        set_keys(curve, frames, values[:, component], interpolation, slope)


def set_keys(
    curve: bpy.types.FCurve,
    frames: np.ndarray,
    values: np.ndarray,
    interpolation: Interpolation = "LINEAR",
    slopes: np.ndarray | None = None,
) -> None:
    """Give a curve other keys than it has.

    Args:
        curve: Which. frames: [T] rising. values: [T] of the keys. interpolation: Of every key.
        slopes: [T] of a smooth curve through the keys, a frame: handles lie at a third of the time. None lets Blender
            find them where the interpolation is Bezier.
    """
    of_key = bpy.types.Keyframe.bl_rna.properties
    code = of_key["interpolation"].enum_items["BEZIER" if slopes is not None else interpolation].value
    handle = of_key["handle_left_type"].enum_items["AUTO_CLAMPED" if slopes is None else "ALIGNED"].value
    points = curve.keyframe_points
    points.clear()
    points.add(len(frames))
    points.foreach_set("co", np.column_stack([frames, values]).astype(np.float32).ravel())
    points.foreach_set("interpolation", np.full(len(frames), code, dtype=np.int32))
    for side in ("handle_left_type", "handle_right_type"):
        points.foreach_set(side, np.full(len(frames), handle, dtype=np.int32))
    if slopes is not None:
        for side, place in zip(("handle_left", "handle_right"), handles(frames, values, slopes), strict=True):
            points.foreach_set(side, place.astype(np.float32).ravel())
    curve.update()


def copy_curve(owner: bpy.types.ID, curve: bpy.types.FCurve) -> None:
    """Copy an F-curve, keys and handles and all, to the owner's action, which has none of its property yet."""
    store = _store(owner.animation_data.action, slot_of(owner), create=True)
    new = store.fcurves.new(curve.data_path, index=curve.array_index)
    if curve.group is not None:
        new.group = store.groups.get(curve.group.name) or store.groups.new(curve.group.name)
    count = len(curve.keyframe_points)
    new.keyframe_points.add(count)
    for name, width, kind in _OF_KEY:
        values = np.empty(width * count, dtype=kind)
        curve.keyframe_points.foreach_get(name, values)
        new.keyframe_points.foreach_set(name, values)
    new.extrapolation = curve.extrapolation
    new.update()


_OF_KEY = (
    ("co", 2, np.float32),
    ("handle_left", 2, np.float32),
    ("handle_right", 2, np.float32),
    ("handle_left_type", 1, np.int32),
    ("handle_right_type", 1, np.int32),
    ("interpolation", 1, np.int32),
    ("easing", 1, np.int32),
)


def read_channel(curve: bpy.types.FCurve) -> tuple[np.ndarray, np.ndarray]:
    """Return the [T] frames and [T] values of a curve's keys."""
    co = np.empty(2 * len(curve.keyframe_points), dtype=np.float32)
    curve.keyframe_points.foreach_get("co", co)
    return co[0::2], co[1::2]


_MOVING = (".rotation_quaternion", ".rotation_euler", ".rotation_axis_angle", ".location")


@contextmanager
def rest_key(rig: bpy.types.Object, frame: int) -> Iterator[None]:
    """Hold an armature's rest pose at a frame before its action's first key, for as long as the block runs."""
    curves = [curve for curve in fcurves(rig) if curve.data_path.endswith(_MOVING)]
    try:
        for curve in curves:
            # no rotation: the quaternion's w is 1; an axis is any axis, and Blender's own is Y
            one = {"rotation_quaternion": 0, "rotation_axis_angle": 2}.get(curve.data_path.rpartition(".")[2])
            curve.keyframe_points.insert(frame, 1.0 if curve.array_index == one else 0.0, options={"FAST"})
        yield
    finally:
        for curve in curves:
            if curve.keyframe_points[0].co.x == frame:
                curve.keyframe_points.remove(curve.keyframe_points[0])
