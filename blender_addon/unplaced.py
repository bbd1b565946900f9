# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes that could not be put onto their armature are kept in the file: what was solved is not lost.

Each becomes an action without keys that holds the take, as any action of a take does. Solve Another Take then puts it
on an armature, from its keypoints, without the video.
"""

from __future__ import annotations

from collections.abc import Sequence

import bpy

from . import kept, keyframes
from .core.take import Take
from .video_camera import Clock


def keep(context: bpy.types.Context, takes: Sequence[Take], name: str) -> str:
    """Keep takes in the file, and return what the user should know of them.

    Args:
        context: Whose scene's clock their keys will lie on. takes: What was solved. name: Of their actions.
    """
    clock = Clock(keyframes.scene_rate(context.scene), context.scene.frame_start)
    names = []
    for take in takes:
        own = name if len(takes) == 1 else f"{name} person {take.person}"
        action = bpy.data.actions.new(own)
        action.use_fake_user = True
        kept.keep(action, take, kept.Placement(own, clock, "", False))
        names.append(action.name)
    return (
        f"what was solved is kept in this file, as {', '.join(names)}: once that is mended, select an armature and "
        "choose it in Edit Take > Solve Another Take; the video is not needed"
    )
