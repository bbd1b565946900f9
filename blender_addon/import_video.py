# SPDX-License-Identifier: GPL-3.0-or-later
"""File > Import > Video to Armature, and a video dropped into the 3D view.

In a window the operator is modal, in background mode it waits: see `follow_job.py`.
"""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import CollectionProperty, StringProperty
from bpy.types import FileHandler, Operator

from . import held, job, keyframes, limbs, options, read_rig, take_scene, unplaced
from .core.errors import Video2RigError
from .follow_job import FollowJob

EXTENSIONS = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")


class VIDEO2RIG_OT_import_video(FollowJob, Operator):
    """Turn a video of people into animated armatures with joint limits"""

    bl_idname = "video2rig.import_video"
    bl_label = "Video to Armature"
    bl_options = {"UNDO"}  # noqa: RUF012 Blender wants a set

    filepath: StringProperty(  # type: ignore[valid-type]
        name="Video",
        description="A video of people; none opens the file browser",
        subtype="FILE_PATH",
        options={"SKIP_SAVE"},
    )
    directory: StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE", "HIDDEN"})  # type: ignore[valid-type]
    files: CollectionProperty(  # type: ignore[valid-type]
        type=bpy.types.OperatorFileListElement, options={"SKIP_SAVE", "HIDDEN"}
    )
    filter_glob: StringProperty(  # type: ignore[valid-type]
        default=";".join(f"*{extension}" for extension in EXTENSIONS), options={"HIDDEN"}
    )

    _browsed = False
    _onto: held.HeldRig | None = None

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for a file if none was given, else start."""
        if self.filepath:
            return self._start(context)
        self._browsed = True
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Solve and wait for it; after the file browser, hand over to the modal way."""
        if self._browsed and not bpy.app.background:
            # an operator that comes back from the file browser cannot become modal itself
            chosen = [{"name": file.name} for file in self.files]
            bpy.ops.video2rig.import_video("INVOKE_DEFAULT", filepath=self.filepath, files=chosen)
            return {"CANCELLED"}
        return self._wait(context)

    def _path(self) -> str:
        if self.filepath:
            return bpy.path.abspath(self.filepath)
        raise Video2RigError("no video was given; choose one, or drop it into the 3D view")

    def _open(self, context: bpy.types.Context) -> job.Job:
        path, chosen = self._path(), options.of(context)
        this = Path(path).name
        if others := [file.name for file in self.files if file.name != this]:
            self._tell("WARNING", f"one video at a time: this is {this}; left out: {', '.join(others)}")
        self._onto, skeleton = None, None
        if chosen.armature == "ACTIVE":
            rig = read_rig.active_armature(context)
            self._onto, skeleton = held.HeldRig.of(rig), read_rig.skeleton_to_solve(rig, chosen.rom)
            self.report({"INFO"}, read_rig.told_of(rig, skeleton))
        return job.Job(path, chosen.settings_for(path), job.wanted_from_preferences(context), skeleton)

    def _start(self, context: bpy.types.Context) -> set[str]:
        begun = super()._start(context)
        if "RUNNING_MODAL" in begun:
            options.of(context).filepath = self.filepath
        return begun

    def _keep(self, context: bpy.types.Context, takes: list[take_scene.Take]) -> str:
        return unplaced.keep(context, takes, Path(self.filepath).stem or "take")

    def _place(self, context: bpy.types.Context, work: job.Job, takes: list[take_scene.Take]) -> None:
        chosen = options.of(context)
        placed = take_scene.place(
            context,
            takes,
            work.source.info,
            match=chosen.match_scene,
            interpolation=chosen.interpolation,
            bound=chosen.key_bound(),
            off=limbs.switched_off(chosen.limbs),
            onto=self._onto.found(context.scene) if self._onto else None,
        )
        for notice in work.take_notices() + placed.notices:
            self._tell("WARNING", notice)
        device = takes[0].motion.provenance.get("device", "")
        told = placed.rigs[0].name + (f" and {len(placed.rigs) - 1} more" if len(placed.rigs) > 1 else "")
        told += f": {len(takes[0].motion)} frames" + (f", solved on {device}" if device else "")
        stays = keyframes.at_bounds_lines(placed.actors[0].action, 2) if len(takes) == 1 else []
        self.report({"INFO"}, told + (f"; at the end of their range: {', '.join(stays)}" if stays else ""))
        if not bpy.app.background and context.window.scene == context.scene:
            look_through(context, placed.camera)


def look_through(context: bpy.types.Context, camera: bpy.types.Object) -> None:
    """Turn one 3D view to the solved camera, without taking the scene's own camera away."""
    areas = [area for area in context.screen.areas if area.type == "VIEW_3D"]
    if not areas:
        return
    space = max(areas, key=lambda area: area.width * area.height).spaces.active
    if context.scene.camera != camera:
        space.use_local_camera = True
        space.camera = camera
    space.region_3d.view_perspective = "CAMERA"


class VIDEO2RIG_OT_cancel(Operator):
    """End the solve that is running; the scene stays as it is"""

    bl_idname = "video2rig.cancel"
    bl_label = "Cancel"
    bl_options = {"INTERNAL"}  # noqa: RUF012 Blender wants a set

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Tell whether there is anything to cancel."""
        return job.current is not None

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Ask the worker to stop."""
        if job.current is not None:
            job.current.cancel()
        return {"FINISHED"}


class VIDEO2RIG_FH_video(FileHandler):
    """A video dropped into the 3D view."""

    bl_idname = "VIDEO2RIG_FH_video"
    bl_label = "Video to Armature"
    bl_import_operator = VIDEO2RIG_OT_import_video.bl_idname
    bl_file_extensions = ";".join(EXTENSIONS)

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        """Take videos in 3D views alone."""
        return context.area is not None and context.area.type == "VIEW_3D"


def menu(self: bpy.types.Menu, context: bpy.types.Context) -> None:
    """Draw the entry of File > Import."""
    self.layout.operator(VIDEO2RIG_OT_import_video.bl_idname, text="Video to Armature (.mp4, .mov, ...)")
