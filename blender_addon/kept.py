# SPDX-License-Identifier: GPL-3.0-or-later
"""The take that an action was made from, kept on the action itself: packed bytes in a custom property.

It goes where the action goes: into saved files, through undo, along when an armature is appended or linked.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import bpy

from .core.take import Take, TakeError
from .video_camera import Clock

TAKE = "video2rig_take"
PLACED = "video2rig_placed"
"""On an action, how its keys were placed; on a camera, the mark by which its actions know it."""


class Placement(NamedTuple):
    """How a take came into the scene.

    Attributes:
        name: Of its first action. clock: How the video's time became scene frames.
        camera: The mark of its camera.
        built: Whether the armature was made for it, with the limits of a profile.
    """

    name: str
    clock: Clock
    camera: str
    built: bool


class Kept(NamedTuple):
    """What an action keeps."""

    take: Take
    placement: Placement


def keep(action: bpy.types.Action, take: Take, placement: Placement) -> None:
    """Keep a take on the action that it became."""
    action[TAKE] = take.to_bytes()
    action[PLACED] = json.dumps(
        {
            "name": placement.name,
            "rate": placement.clock.rate,
            "first": placement.clock.first,
            "camera": placement.camera,
            "built": placement.built,
        }
    )


def is_kept(action: bpy.types.Action) -> bool:
    """Tell whether an action keeps a take; nothing of it is read."""
    return TAKE in action and PLACED in action


def placement_of(action: bpy.types.Action) -> Placement:
    """Return how the take of an action was placed; the take itself is not read.

    Raises:
        TakeError: It keeps nothing, or what it keeps cannot be read.
    """
    if not is_kept(action):
        raise TakeError(f"the action {action.name} keeps no take; solve the video itself")
    try:
        placed = json.loads(action[PLACED])
        return Placement(
            str(placed["name"]),
            Clock(float(placed["rate"]), int(placed["first"])),
            str(placed["camera"]),
            bool(placed["built"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise TakeError(f"the action {action.name} keeps a take that cannot be read ({error})") from error


def read(action: bpy.types.Action) -> Kept:
    """Return what an action keeps.

    Raises:
        TakeError: It keeps nothing, or what it keeps cannot be read.
    """
    placement = placement_of(action)
    try:
        return Kept(Take.from_bytes(bytes(action[TAKE])), placement)
    except (KeyError, TypeError, ValueError) as error:
        raise TakeError(f"the action {action.name} keeps a take that cannot be read ({error})") from error
