# SPDX-License-Identifier: GPL-3.0-or-later
"""Doubt in the viewport: bones that were hardly seen are magenta, those at the end of their range orange.

Bones have their own colours again when it is switched off, and in every saved file, so that a file that is opened
without the add-on shows nothing of it. The own colours lie on the armature meanwhile, and with them the fact that it is
on.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from functools import lru_cache
from typing import Any

import bpy
from bpy.app.handlers import persistent
from bpy.types import Operator

from . import kept, keyframes, layers
from .edit_take import OnTake

COLOURED = "video2rig_colours"
"""On an armature whose bones show doubt: their own colours."""

UNSURE, LIMIT = (0.95, 0.05, 0.85), (1.0, 0.45, 0.0)  # neither is the colour of a side
_SHADES = ("normal", "select", "active")
_NEAR = 0.5  # scene frames by which an interval may be missed: its ends may lie between frames
_SAME = 0.6 / 255  # Blender keeps colours in bytes
_LIGHTER = {"normal": 0.0, "select": 0.35, "active": 0.6}


def is_on(armature: bpy.types.Object) -> bool:
    """Tell whether an armature's bones show doubt."""
    return COLOURED in armature


def switch_on(armature: bpy.types.Object) -> None:
    """Let an armature's bones show doubt, in this frame and all others."""
    if not is_on(armature):
        armature[COLOURED] = json.dumps({bone.name: _colours(bone) for bone in armature.pose.bones})
    follow()
    update(armature)


def switch_off(armature: bpy.types.Object) -> None:
    """Give an armature's bones their own colours back."""
    if is_on(armature):
        _restore(armature)
        del armature[COLOURED]
    follow()


def update(armature: bpy.types.Object) -> None:
    """Colour an armature's bones as the frame asks for; it must be switched on."""
    own = _own(armature[COLOURED])
    shown = _shown_now(armature)
    for bone in armature.pose.bones:
        colour = shown.get(bone.name)
        if colour is None:
            _set(bone, own.get(bone.name))
        else:
            _set(bone, ["CUSTOM", *(_lightened(colour, _LIGHTER[shade]) for shade in _SHADES)])


def _lightened(colour: tuple[float, float, float], share: float) -> list[float]:
    return [channel + (1 - channel) * share for channel in colour]


def _shown_now(armature: bpy.types.Object) -> dict[str, tuple[float, float, float]]:
    """Return the colours of the bones that are in doubt in the scene's frame."""
    holder = layers.holder_of(armature)
    if holder is None:
        return {}
    clock = kept.placement_of(holder.action).clock
    seconds = (bpy.context.scene.frame_current_final - clock.first) / clock.rate
    shown = {}
    for name, colour in ((keyframes.AT_BOUNDS, LIMIT), (keyframes.UNSURE, UNSURE)):
        text = holder.action.get(name)
        for joint, starts, ends in _table(text) if isinstance(text, str) else ():
            last = bisect_right(starts, seconds + _NEAR / clock.rate) - 1
            if last >= 0 and seconds <= ends[last] + _NEAR / clock.rate:
                shown[joint] = colour
    return shown


@lru_cache(maxsize=8)
def _table(text: str) -> list[tuple[str, list[float], list[float]]]:
    """Return joints, and starts and ends of their intervals, of JSON that an action keeps."""
    return [(entry["joint"], *map(list, zip(*entry["intervals"], strict=True))) for entry in json.loads(text)]


@lru_cache(maxsize=8)
def _own(text: str) -> dict[str, list[Any]]:
    return json.loads(text)


def _colours(bone: bpy.types.PoseBone) -> list[Any]:
    return [bone.color.palette, *(list(getattr(bone.color.custom, shade)) for shade in _SHADES)]


def _set(bone: bpy.types.PoseBone, colours: list[Any] | None) -> None:
    """Give a bone its palette and custom colours, where they are others; a bone that is new keeps what it has."""
    if colours is None:
        return
    now = _colours(bone)
    if now[0] != colours[0]:
        bone.color.palette = colours[0]
    for shade, before, after in zip(_SHADES, now[1:], colours[1:], strict=True):
        if max(abs(one - other) for one, other in zip(before, after, strict=True)) > _SAME:
            setattr(bone.color.custom, shade, after)


def _restore(armature: bpy.types.Object) -> None:
    own = _own(armature[COLOURED])
    for bone in armature.pose.bones:
        _set(bone, own.get(bone.name))


def _coloured() -> list[bpy.types.Object]:
    return [obj for obj in bpy.data.objects if COLOURED in obj and obj.type == "ARMATURE" and obj.library is None]


def follow() -> None:
    """Follow the frames where any armature is switched on, and only there."""
    handlers = bpy.app.handlers.frame_change_post
    wanted, there = bool(_coloured()), _on_frame in handlers
    if wanted and not there:
        handlers.append(_on_frame)
    elif there and not wanted:
        handlers.remove(_on_frame)


@persistent
def _on_frame(scene: bpy.types.Scene, *_: object) -> None:
    if bpy.app.is_job_running("RENDER"):
        return  # bones are not rendered, and this is another thread
    for obj in scene.objects:
        if obj.type == "ARMATURE" and COLOURED in obj and obj.library is None:
            update(obj)


@persistent
def _on_state(*_: object) -> None:
    """Another file, or another state of it: who is switched on may have changed."""
    follow()
    for armature in _coloured():
        update(armature)


@persistent
def _before_save(*_: object) -> None:
    for armature in _coloured():
        _restore(armature)


_HANDLERS = {
    "load_post": _on_state,
    "undo_post": _on_state,
    "redo_post": _on_state,
    "save_pre": _before_save,
    "save_post": _on_state,
}


def register() -> None:
    """Follow files, undo and saving."""
    for name, handler in _HANDLERS.items():
        getattr(bpy.app.handlers, name).append(handler)
    # a file that is open already; it may not be looked at before registering is over
    bpy.app.timers.register(_on_state, first_interval=0.0)


def unregister() -> None:
    """Give every bone its own colours back, and follow nothing any more."""
    if bpy.app.timers.is_registered(_on_state):
        bpy.app.timers.unregister(_on_state)
    for armature in _coloured():
        _restore(armature)
    for name, handler in {**_HANDLERS, "frame_change_post": _on_frame}.items():
        handlers = getattr(bpy.app.handlers, name)
        if handler in handlers:
            handlers.remove(handler)


class VIDEO2RIG_OT_colour_doubt(OnTake, Operator):
    """Colour bones in each frame: magenta where the video hardly showed them, orange at the end of their range.

    Switched off, they have their own colours back; a saved file always has those"""

    bl_idname = "video2rig.colour_doubt"
    bl_label = "Colour Unsure Bones"

    def _work(self, context: bpy.types.Context, armature: bpy.types.Object, holder: layers.Holder) -> str:
        if is_on(armature):
            switch_off(armature)
            return f"{armature.name}: its own colours again"
        switch_on(armature)
        return f"{armature.name}: magenta where the video hardly showed a bone, orange at the end of its range"
