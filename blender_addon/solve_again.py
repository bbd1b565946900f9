# SPDX-License-Identifier: GPL-3.0-or-later
"""Solve Again: the kept keypoints of the active armature's take, with the panel's settings as they are now."""

from __future__ import annotations

import bpy
from bpy.types import Operator

from . import again_scene, contact_markers, job, kept, layers, options, read_rig
from .core.errors import Video2RigError
from .core.settings import MARKED
from .core.skeleton import Skeleton
from .follow_job import FollowJob


class VIDEO2RIG_OT_solve_again(FollowJob, Operator):
    """Solve the active armature's take again with these settings, without its video. The action it has is kept"""

    bl_idname = "video2rig.solve_again"
    bl_label = "Solve Again"
    bl_options = {"UNDO"}  # noqa: RUF012 Blender wants a set

    _onto = ""  # name of the armature: pointers do not survive an undo in the meantime
    _kept: kept.Kept | None = None
    _skeleton: Skeleton | None = None

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Tell whether the active armature's action keeps a take."""
        if job.current is not None or layers.holder_of(context.view_layer.objects.active) is None:
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
        rig = read_rig.active_armature(context)
        layers.check_free(rig)
        action = self._holder(rig).action
        chosen = options.of(context)
        self._onto, self._kept = rig.name, kept.read(action)
        self._skeleton = again_scene.skeleton_to_solve(rig, self._kept, chosen.rom)
        settings, contacts = chosen.settings(), None
        if settings.contacts == MARKED:
            contacts = contact_markers.read(action, self._kept, self._skeleton)
        elif contact_markers.edited(action, self._kept):
            self.report(
                {"WARNING"}, f"the contact markers of {action.name} were edited; Foot Contacts: As Marked takes them"
            )
        wanted = job.wanted_from_preferences(context)
        return job.Again(self._kept.take, settings, wanted, self._skeleton, contacts)

    def _place(self, context: bpy.types.Context, work: job.Again, takes: list[job.Take]) -> None:
        (take,) = takes
        assert self._kept is not None
        rig = read_rig.armature_named(self._onto)
        layers.check_free(rig)
        chosen = options.of(context)
        action, notices = again_scene.place(
            context, rig, self._holder(rig), self._kept, take, chosen.interpolation, chosen.key_bound()
        )
        for notice in work.take_notices() + notices:
            self.report({"WARNING"}, notice)
        self.report({"INFO"}, f"{rig.name}: {len(take.motion)} frames, solved again as {action.name}")

    def _holder(self, rig: bpy.types.Object) -> layers.Holder:
        found = layers.holder_of(rig)
        if found is None:
            raise Video2RigError(f"no action of {rig.name} keeps a take; solve the video itself")
        return found
