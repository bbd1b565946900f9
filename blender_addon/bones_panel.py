# SPDX-License-Identifier: GPL-3.0-or-later
"""The map of bones in the panel: shown, found, edited, saved and loaded."""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import StringProperty
from bpy.types import Operator, Panel

from . import job, kept, layers, mapping, options, outcome, read_rig
from .core.errors import Video2RigError
from .core.rig_skeleton import REQUIRED, SIDES

_ARM, _LEG = ("clavicle", "shoulder", "elbow", "wrist"), ("hip", "knee", "ankle", "toes")
_SECTIONS = (
    ("Trunk", ("pelvis", "spine_lower", "spine_middle", "spine_upper", "neck", "head")),
    *(
        (f"{side.title()} {limb}", tuple(f"{side}_{role}" for role in roles))
        for limb, roles in (("Arm", _ARM), ("Leg", _LEG))
        for side in SIDES
    ),
)
_LABEL = 0.36  # of the width


class _OnArmature(Operator):
    """An operator on the active armature that reports errors instead of raising them."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Tell whether an armature is active."""
        active = context.view_layer.objects.active
        return active is not None and active.type == "ARMATURE"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Do it, or tell why not."""
        try:
            told = self.run(read_rig.active_armature(context))
        except Video2RigError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self.report({"INFO"}, told)
        return {"FINISHED"}

    def run(self, rig: bpy.types.Object) -> str:
        """Do it and return what to tell."""
        raise NotImplementedError


class VIDEO2RIG_OT_find_bones(_OnArmature):
    """Find which bone is which, by names of known rigs or by structure"""

    bl_idname = "video2rig.find_bones"
    bl_label = "Find Bones"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012 Blender wants a set

    def run(self, rig: bpy.types.Object) -> str:
        """Find the bones and keep them."""
        made = mapping.found(rig)
        mapping.keep(rig, made._replace(travel=rig.data.video2rig_bones.travel))
        return f"{rig.name}: {len(made.bones)} bones {made.told}"


class VIDEO2RIG_OT_forget_bones(_OnArmature):
    """Forget the list; bones are then found anew for each video"""

    bl_idname = "video2rig.forget_bones"
    bl_label = "Forget Bones"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012 Blender wants a set

    def run(self, rig: bpy.types.Object) -> str:
        """Forget the map."""
        rig.data.video2rig_bones.kept = False
        return f"{rig.name}: bones are found anew"


class _WithFile(_OnArmature):
    filepath: StringProperty(  # type: ignore[valid-type]
        name="File", description="A list of bones, as Save Bones writes it", subtype="FILE_PATH"
    )
    filter_glob: StringProperty(default="*.json", options={"HIDDEN"})  # type: ignore[valid-type]

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for the file."""
        if not self.filepath:
            self.filepath = f"{bpy.path.clean_name(context.view_layer.objects.active.name)}.json"
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}


class VIDEO2RIG_OT_save_bones(_WithFile):
    """Save which bone is which to a file, for other armatures of the same rig"""

    bl_idname = "video2rig.save_bones"
    bl_label = "Save Bones"

    def run(self, rig: bpy.types.Object) -> str:
        """Write the map."""
        path = Path(bpy.path.abspath(self.filepath)).with_suffix(".json")
        mapping.save(mapping.of(rig), path)
        return f"saved {path.name}"


class VIDEO2RIG_OT_load_bones(_WithFile):
    """Load which bone is which from a file"""

    bl_idname = "video2rig.load_bones"
    bl_label = "Load Bones"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012 Blender wants a set

    def run(self, rig: bpy.types.Object) -> str:
        """Read the map and keep it."""
        made = mapping.load(rig, Path(bpy.path.abspath(self.filepath)))
        mapping.keep(rig, made)
        return f"{rig.name}: {len(made.bones)} bones {made.told}"


class VIDEO2RIG_PT_bones(Panel):
    """Which bone is which, folded away."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Video2Rig"
    bl_label = "Bones"
    bl_parent_id = "VIDEO2RIG_PT_main"
    bl_order = 10  # the first one
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012 Blender wants a set

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Show it where an armature of the user's is solved."""
        active = context.view_layer.objects.active
        if active is None or active.type != "ARMATURE":
            return False
        if options.of(context).armature == "ACTIVE":
            return True
        held = layers.holder_of(active)  # solved again, its take is mapped anew
        return held is not None and not kept.placement_of(held.action).built

    def draw(self, context: bpy.types.Context) -> None:
        """List the roles with a field for each bone."""
        layout = self.layout
        layout.enabled = job.current is None
        armature = context.view_layer.objects.active.data
        bones = armature.video2rig_bones
        row = layout.row(align=True)
        row.operator(VIDEO2RIG_OT_find_bones.bl_idname, icon="VIEWZOOM")
        row.operator(VIDEO2RIG_OT_load_bones.bl_idname, text="", icon="FILE_FOLDER")
        row.operator(VIDEO2RIG_OT_save_bones.bl_idname, text="", icon="FILE_TICK")
        row.operator(VIDEO2RIG_OT_forget_bones.bl_idname, text="", icon="X")
        if not bones.kept:
            layout.label(text="Found anew for each video", icon="INFO")
            return
        if bones.told:
            outcome.draw_line(layout.column(align=True), context, bones.told[:1].upper() + bones.told[1:], "INFO")
        for heading, roles in _SECTIONS:
            column = layout.column(align=True)
            column.label(text=heading)
            for role in roles:
                _draw_role(column, bones, armature, role)
        row = layout.split(factor=_LABEL)
        row.label(text="Travel")
        row.prop_search(bones, mapping.TRAVEL, armature, "bones", text="")


def _draw_role(
    layout: bpy.types.UILayout, kept: mapping.VIDEO2RIG_PG_bones, armature: bpy.types.Armature, role: str
) -> None:
    row = layout.split(factor=_LABEL, align=True)
    row.label(text=mapping.title(role))
    bone = getattr(kept, role)
    wrong = bone not in armature.bones if bone else role in REQUIRED
    field = row.row(align=True)
    field.alert = wrong
    field.prop_search(kept, role, armature, "bones", text="", icon="ERROR" if wrong else "BONE_DATA")
