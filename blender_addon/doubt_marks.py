# SPDX-License-Identifier: GPL-3.0-or-later
"""Marks of doubt on the timeline: markers of the action, two for each stretch that should be looked at."""

from __future__ import annotations

import json
from typing import Any

import bpy
from bpy.types import Operator

from . import contact_markers, kept, keyframes, layers
from .core.contact_marks import Mark
from .core.doubt import WORDS, doubts
from .edit_take import OnTake

_MOST = 30
"""Stretches that are marked: more could not be read."""


def mark(action: bpy.types.Action) -> int:
    """Mark the longest stretches of doubt on an action that keeps a take, and return how many there are.

    Raises:
        TakeError: The action keeps none.
    """
    clock = kept.placement_of(action).clock
    clear(action)
    found = doubts(_entries(action, keyframes.UNSURE), keyframes.at_bounds(action), _MOST)
    for doubt in found:
        ends = zip(doubt.names, (doubt.start, doubt.end), strict=True)
        contact_markers.add(action, [Mark(name, contact_markers.frame_of(time, clock)) for name, time in ends])
    return len(found)


def clear(action: bpy.types.Action) -> int:
    """Take the marks of doubt from an action, and return how many there were."""
    ours = [marker for marker in action.pose_markers if marker.name.startswith(WORDS)]
    for marker in ours:
        action.pose_markers.remove(marker)
    return len(ours)


def is_marked(action: bpy.types.Action) -> bool:
    """Tell whether an action has marks of doubt."""
    return any(marker.name.startswith(WORDS) for marker in action.pose_markers)


def _entries(action: bpy.types.Action, name: str) -> list[dict[str, Any]]:
    text = action.get(name)
    return json.loads(text) if isinstance(text, str) else []


class VIDEO2RIG_OT_mark_doubt(OnTake, Operator):
    """Mark where limbs were hardly seen and joints are at the end of their range, as markers of the action"""

    bl_idname = "video2rig.mark_doubt"
    bl_label = "Mark Unsure Frames"

    def _work(self, context: bpy.types.Context, armature: bpy.types.Object, holder: layers.Holder) -> str:
        count = mark(holder.action)
        return f"{holder.action.name}: {count} stretches to look at" if count else f"{holder.action.name}: no doubts"


class VIDEO2RIG_OT_clear_doubt(OnTake, Operator):
    """Remove the marks of doubt; your own markers and the contacts stay"""

    bl_idname = "video2rig.clear_doubt"
    bl_label = "Remove Marks of Doubt"

    def _work(self, context: bpy.types.Context, armature: bpy.types.Object, holder: layers.Holder) -> str:
        return f"{holder.action.name}: {clear(holder.action)} marks removed"
