# SPDX-License-Identifier: GPL-3.0-or-later
"""What an animator does with a take that is on an armature: see and restore its markers, lay corrections over it."""

from __future__ import annotations

import bpy
from bpy.props import FloatProperty
from bpy.types import Operator

from . import contact_markers, job, kept, layers, options, read_rig, sparse
from .core.errors import Video2RigError


class OnTake:
    """The part of an operator that works on the active armature's take, at once; another part says what it does."""

    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012 Blender wants a set

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Tell whether the active armature has a motion that keeps a take."""
        if job.current is not None or layers.holder_of(context.view_layer.objects.active) is None:
            cls.poll_message_set(  # type: ignore[attr-defined]
                "Select an armature whose action keeps a take" if job.current is None else "A video is being solved"
            )
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Do it, or say why it cannot be done."""
        try:
            armature = read_rig.active_armature(context)
            holder = layers.shown_by(armature)
            if holder is None:
                raise Video2RigError(f"{armature.name} has no action")
            told = self._work(context, armature, holder)
        except Video2RigError as error:
            self.report({"ERROR"}, str(error))  # type: ignore[attr-defined]
            return {"CANCELLED"}
        self.report({"INFO"}, told)  # type: ignore[attr-defined]
        return {"FINISHED"}

    def _work(self, context: bpy.types.Context, armature: bpy.types.Object, holder: layers.Holder) -> str:
        """Do it, and return what a user should read.

        Raises:
            Video2RigError: It cannot be done; nothing was changed.
        """
        raise NotImplementedError


class VIDEO2RIG_OT_mark_contacts(OnTake, Operator):
    """Put the markers that tell when heels and toes rest back as they were solved. Your other markers stay"""

    bl_idname = "video2rig.mark_contacts"
    bl_label = "Contacts as Solved"

    def _work(self, context: bpy.types.Context, armature: bpy.types.Object, holder: layers.Holder) -> str:
        of = kept.read(holder.action)
        contact_markers.mark(holder.action, of.take.motion, of.placement.clock)
        return f"{holder.action.name}: {len(of.take.motion.contacts)} contacts"


class VIDEO2RIG_OT_show_markers(Operator):
    """Show the markers where they can be moved, added and deleted: an Action Editor with Show Pose Markers on.

    An editor of keys that is open becomes one, else the timeline does"""

    bl_idname = "video2rig.show_markers"
    bl_label = "Show Contact Markers"
    bl_options = {"INTERNAL"}  # noqa: RUF012 Blender wants a set

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Tell whether the active armature's own action has them; those of a strip are edited in tweak mode."""
        if (holder := layers.holder_of(context.view_layer.objects.active)) is None:
            cls.poll_message_set("Select an armature whose action keeps a take")
            return False
        if holder.strip is not None:
            cls.poll_message_set("The motion is a strip: press Tab on it in the NLA editor to edit its markers")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Turn one editor over."""
        editors = [area for area in context.screen.areas if area.type == "DOPESHEET_EDITOR"] if context.screen else []
        if not editors:
            self.report({"ERROR"}, "There is no timeline or dope sheet in this workspace; open an Action Editor")
            return {"CANCELLED"}
        # in the timeline an animator jumps about: another editor is better where there is one
        area = min(editors, key=lambda area: area.ui_type == "TIMELINE")
        area.spaces.active.ui_mode = "ACTION"
        area.spaces.active.show_pose_markers = True
        area.tag_redraw()
        return {"FINISHED"}


class VIDEO2RIG_OT_add_corrections(OnTake, Operator):
    """Lay an empty layer over the motion, to be keyed by hand. Solve Again changes the motion beneath it alone"""

    bl_idname = "video2rig.add_corrections"
    bl_label = "Add Correction Layer"

    def _work(self, context: bpy.types.Context, armature: bpy.types.Object, holder: layers.Holder) -> str:
        action = layers.add_corrections(armature)
        return f"{armature.name}: key corrections in {action.name}; they are added to {holder.action.name}"


class VIDEO2RIG_OT_reduce_keys(OnTake, Operator):
    """Make a new action with few keys, joined by smooth curves that are easy to edit. The action you have is kept"""

    bl_idname = "video2rig.reduce_keys"
    bl_label = "Reduce Keys"

    tolerance: FloatProperty(  # type: ignore[valid-type]
        description="How far a bone may turn away from the motion at any frame. The hips may be off by 5 mm for each "
        "degree",
        options={"SKIP_SAVE"},
        **options.TOLERANCE,
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Tell whether the active armature has an action."""
        active = context.view_layer.objects.active
        if job.current is not None or active is None or active.type != "ARMATURE" or layers.shown_by(active) is None:
            cls.poll_message_set("Select an armature that has an action")
            return False
        return True

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Take the tolerance of the panel."""
        self.tolerance = options.of(context).key_tolerance
        return self.execute(context)

    def _work(self, context: bpy.types.Context, armature: bpy.types.Object, holder: layers.Holder) -> str:
        slot = layers.slot_of(armature, holder)
        found = sparse.reduce_action(armature, holder.action, slot, self.tolerance)
        if not found.before:
            bpy.data.actions.remove(found.action)
            raise Video2RigError(f"{holder.action.name} has no keys on bones of {armature.name}")
        found.action.name = f"{holder.action.name} sparse"
        layers.exchange(armature, holder, found.action, found.slot)
        context.scene.frame_set(context.scene.frame_current, subframe=context.scene.frame_subframe)
        if found.left:
            self.report({"WARNING"}, f"left as they were, since modifiers change their curves: {', '.join(found.left)}")
        told = f"{found.after:,} of {found.before:,} keys ({found.after / found.before:.0%})"
        return f"{found.action.name}: {told}; {holder.action.name} is kept"
