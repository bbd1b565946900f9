# SPDX-License-Identifier: GPL-3.0-or-later
"""Solve Again: the kept keypoints of the active armature's take, with the panel's settings as they are now."""

from __future__ import annotations

import bpy
from bpy.types import Operator

from . import again_scene, held, job, kept, options, read_rig
from .core.errors import Video2RigError
from .core.skeleton import Skeleton
from .follow_job import FollowJob


class VIDEO2RIG_OT_solve_again(FollowJob, Operator):
    """Solve the active armature's take again with these settings, without its video. The action it has is kept"""

    bl_idname = "video2rig.solve_again"
    bl_label = "Solve Again"
    bl_options = {"UNDO"}  # noqa: RUF012 Blender wants a set

    _onto: held.HeldRig | None = None
    _kept: kept.Kept | None = None
    _skeleton: Skeleton | None = None

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Tell whether the active armature's action keeps a take."""
        action = _action(context)
        if job.current is not None or action is None or not kept.is_kept(action):
            cls.poll_message_set(
                "Select an armature whose action keeps a take" if job.current is None else "A video is being solved"
            )
            return False
        return True

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Solve beside the window."""
        return self._start(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Solve and wait for it."""
        return self._wait(context)

    def _open(self, context: bpy.types.Context) -> job.Solve:
        rig, action = read_rig.active_armature(context), _action(context)
        if action is None:
            raise Video2RigError(f"{rig.name} has no action")
        chosen = options.of(context)
        self._onto, self._kept = held.HeldRig.of(rig), kept.read(action)
        self._skeleton = again_scene.skeleton_to_solve(rig, self._kept, chosen.rom)
        return job.Again(self._kept.take, chosen.settings(), job.wanted_from_preferences(context), self._skeleton)

    def _place(self, context: bpy.types.Context, work: job.Again, takes: list[job.Take]) -> None:
        (take,) = takes
        assert self._kept is not None and self._onto is not None
        rig = self._onto.found(context.scene)
        action, notices = again_scene.place(context, rig, self._kept, take, options.of(context).interpolation)
        for notice in work.take_notices() + notices:
            self._tell("WARNING", notice)
        self.report({"INFO"}, f"{rig.name}: {len(take.motion)} frames, solved again as {action.name}")


def _action(context: bpy.types.Context) -> bpy.types.Action | None:
    rig = context.view_layer.objects.active
    if rig is None or rig.type != "ARMATURE" or rig.animation_data is None:
        return None
    return rig.animation_data.action
