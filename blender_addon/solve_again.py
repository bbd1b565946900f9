# SPDX-License-Identifier: GPL-3.0-or-later
"""Solve Again: kept keypoints, on the active armature, with the panel's settings as they are now."""

from __future__ import annotations

import bpy
from bpy.props import EnumProperty
from bpy.types import Operator

from . import again_scene, contact_markers, held, job, kept, layers, limbs, options, read_rig
from .core.errors import Video2RigError
from .core.settings import MARKED
from .core.skeleton import Skeleton
from .follow_job import FollowJob


class _Again(FollowJob):
    """The part of an operator that solves a kept take on the active armature; another part says whose it is."""

    bl_options = {"UNDO"}  # noqa: RUF012 Blender wants a set

    _onto: held.HeldRig | None = None
    _kept: kept.Kept | None = None
    _skeleton: Skeleton | None = None

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Solve beside the window."""
        return self._start(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Solve and wait for it."""
        return self._wait(context)

    def _action(self, rig: bpy.types.Object) -> bpy.types.Action:
        """Return the action whose take is solved.

        Raises:
            Video2RigError: There is none.
        """
        raise NotImplementedError

    def _open(self, context: bpy.types.Context) -> job.Solve:
        rig = read_rig.active_armature(context)
        action, holder, chosen = self._action(rig), layers.holder_of(rig), options.of(context)
        own = None if holder is None else kept.read(holder.action)
        of = own if own is not None and holder is not None and holder.action == action else None
        of = of or _onto_another(kept.read(action), rig.name)
        self._skeleton, profile = again_scene.skeleton_to_solve(rig, own, chosen.rom)
        # limits that were edited once stay the armature's own
        self._onto, self._kept = held.HeldRig.of(rig), of._replace(placement=of.placement._replace(built=profile))
        settings, contacts = chosen.settings(), None
        if settings.contacts == MARKED:
            contacts = contact_markers.read(action, self._kept, self._skeleton)
        elif contact_markers.edited(action, self._kept):
            self._tell(
                "WARNING", f"the contact markers of {action.name} were edited; Foot Contacts: As Marked takes them"
            )
        wanted = job.wanted_from_preferences(context)
        return job.Again(self._kept.take, settings, wanted, self._skeleton, contacts)

    def _place(self, context: bpy.types.Context, work: job.Again, takes: list[job.Take]) -> None:
        (take,) = takes
        assert self._kept is not None and self._onto is not None
        rig, chosen = self._onto.found(context.scene), options.of(context)
        action, notices = again_scene.place(
            context,
            rig,
            layers.shown_by(rig),
            self._kept,
            take,
            interpolation=chosen.interpolation,
            bound=chosen.key_bound(),
            off=limbs.switched_off(chosen.limbs),
        )
        for notice in work.take_notices() + notices:
            self._tell("WARNING", notice)
        told = f"{rig.name}: {len(take.motion)} frames, solved again as {action.name}"
        self.report({"INFO"}, told)  # type: ignore[attr-defined]


def _onto_another(of: kept.Kept, rig: str) -> kept.Kept:
    """Return a take as it is put on an armature that is not its own: the camera stays with the one that it is of."""
    return of._replace(placement=of.placement._replace(name=f"{of.placement.name} on {rig}", camera=""))


class VIDEO2RIG_OT_solve_again(_Again, Operator):
    """Solve the active armature's take again with these settings, without its video. The action it has is kept"""

    bl_idname = "video2rig.solve_again"
    bl_label = "Solve Again"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Tell whether the active armature's action keeps a take."""
        if job.current is not None or layers.holder_of(context.view_layer.objects.active) is None:
            cls.poll_message_set(
                "Select an armature whose action keeps a take" if job.current is None else "A video is being solved"
            )
            return False
        return True

    def _action(self, rig: bpy.types.Object) -> bpy.types.Action:
        found = layers.holder_of(rig)
        if found is None:
            raise Video2RigError(f"no action of {rig.name} keeps a take; solve the video itself")
        return found.action


_takes: list[tuple[str, str, str]] = []  # Blender does not keep what it shows


def _kept_takes(self: Operator, context: bpy.types.Context | None) -> list[tuple[str, str, str]]:
    _takes[:] = [
        (action.name, action.name, f"Solve the take that {action.name} keeps")
        for action in bpy.data.actions
        if kept.is_kept(action)
    ]
    return _takes


class VIDEO2RIG_OT_solve_take(_Again, Operator):
    """Solve any take of this file on the active armature: another person's, or another character's motion on this one.
    Its own action is kept"""

    bl_idname = "video2rig.solve_take"
    bl_label = "Solve Another Take"

    take: EnumProperty(  # type: ignore[valid-type]
        name="Take", description="The action that keeps the take", items=_kept_takes, options={"SKIP_SAVE"}
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Tell whether an armature is active and the file has takes."""
        active = context.view_layer.objects.active
        if job.current is not None or active is None or active.type != "ARMATURE" or not any_take():
            cls.poll_message_set(
                "Select an armature, in a file that has takes" if job.current is None else "A video is being solved"
            )
            return False
        return True

    def _action(self, rig: bpy.types.Object) -> bpy.types.Action:
        action = bpy.data.actions.get(self.take)
        if action is None:
            raise Video2RigError(f"there is no action {self.take!r}")
        return action


def any_take() -> bool:
    """Tell whether any action of the file keeps a take."""
    return any(kept.is_kept(action) for action in bpy.data.actions)
