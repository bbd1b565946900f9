# SPDX-License-Identifier: GPL-3.0-or-later
"""File > Import > Video to Armature, and a video dropped into the 3D view.

In a window the operator is modal: a worker solves, a timer asks how far it is, Esc ends it. Nothing is added to the
scene before the solve is over, so a cancelled one has nothing to undo. In background mode the same job runs in a
blocking ``execute``.
"""

from __future__ import annotations

import bpy
from bpy.props import CollectionProperty, StringProperty
from bpy.types import FileHandler, Operator

from . import job, keyframes, options, read_rig, take_scene
from .core.client import Progress
from .core.errors import Cancelled, Video2RigError

EXTENSIONS = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")
_TICK = 0.1  # seconds


def progress_text(progress: Progress) -> str:
    """Return progress as a user reads it."""
    text = progress.stage.capitalize()
    if progress.total:
        text += f" {progress.done}/{progress.total}"
    if progress.fps:
        text += f", {progress.fps:.1f} fps"
    if progress.seconds_left is not None:
        minutes, seconds = divmod(round(progress.seconds_left), 60)
        text += f", {minutes}:{seconds:02} left"
    return text


class VIDEO2RIG_OT_import_video(Operator):
    """Turn a video of people into animated armatures with joint limits"""

    bl_idname = "video2rig.import_video"
    bl_label = "Video to Armature"
    bl_options = {"UNDO"}  # noqa: RUF012 Blender wants a set

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})  # type: ignore[valid-type]
    directory: StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE", "HIDDEN"})  # type: ignore[valid-type]
    files: CollectionProperty(  # type: ignore[valid-type]
        type=bpy.types.OperatorFileListElement, options={"SKIP_SAVE", "HIDDEN"}
    )
    filter_glob: StringProperty(  # type: ignore[valid-type]
        default=";".join(f"*{extension}" for extension in EXTENSIONS), options={"HIDDEN"}
    )

    _job: job.Job | None = None
    _timer: bpy.types.Timer | None = None
    _browsed = False
    _onto = ""  # name of the armature that is solved: pointers do not survive an undo in the meantime

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
            bpy.ops.video2rig.import_video("INVOKE_DEFAULT", filepath=self.filepath)
            return {"CANCELLED"}
        try:
            work = self._open(context)
            takes = job.solve_blocking(work, lambda progress: None)
            self._place(context, work, takes)
        except Video2RigError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Follow the worker; leave everything else to Blender."""
        work = self._job
        if work is None:
            return {"CANCELLED"}
        if event.type == "ESC" and event.value == "PRESS":
            work.cancel()
            return {"RUNNING_MODAL"}
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        if not work.done:
            self._show(context, work)
            return {"PASS_THROUGH"}
        self._end(context)
        try:
            self._place(context, work, work.result())
        except Cancelled:
            self.report({"INFO"}, "Cancelled; the scene is as it was")
            return {"CANCELLED"}
        except Exception as error:
            # whatever went wrong on the worker, the user reads it here and the scene is untouched
            self.report({"ERROR"}, job.describe(error))
            return {"CANCELLED"}
        return {"FINISHED"}

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender ends the operator: another file is opened, or the window closes."""
        if self._job is not None:
            self._job.cancel()
            self._end(context)

    def _path(self) -> str:
        if self.filepath:
            return bpy.path.abspath(self.filepath)
        raise Video2RigError("no video was given; choose one, or drop it into the 3D view")

    def _open(self, context: bpy.types.Context) -> job.Job:
        path, chosen = self._path(), options.of(context)
        self._onto, skeleton = "", None
        if chosen.armature == "ACTIVE":
            rig = read_rig.active_armature(context)
            self._onto, skeleton = rig.name, read_rig.skeleton_to_solve(rig, chosen.rom)
            self.report({"INFO"}, read_rig.told_of(rig, skeleton))
        return job.Job(path, chosen.settings_for(path), job.wanted_from_preferences(context), skeleton)

    def _start(self, context: bpy.types.Context) -> set[str]:
        if job.current is not None:
            self.report({"ERROR"}, "A video is being solved already; cancel it first, or wait")
            return {"CANCELLED"}
        try:
            self._job = self._open(context)
        except Video2RigError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        options.of(context).filepath = self.filepath
        job.current = self._job
        self._job.start()
        manager = context.window_manager
        self._timer = manager.event_timer_add(_TICK, window=context.window)
        manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def _show(self, context: bpy.types.Context, work: job.Job) -> None:
        for notice in work.take_notices():
            self.report({"WARNING"}, notice)
        text = "Cancelling" if work.cancelling else f"{progress_text(work.progress())} (Esc cancels)"
        context.workspace.status_text_set(f"Video2Rig: {text}")
        _redraw(context)

    def _end(self, context: bpy.types.Context) -> None:
        if self._timer is not None:
            context.window_manager.event_timer_remove(self._timer)
            self._timer = None
        if context.workspace is not None:
            context.workspace.status_text_set(None)
        job.current = None
        self._job = None
        _redraw(context)

    def _place(self, context: bpy.types.Context, work: job.Job, takes: list[take_scene.Take]) -> None:
        chosen = options.of(context)
        placed = take_scene.place(
            context,
            takes,
            work.source.info,
            match=chosen.match_scene,
            interpolation=chosen.interpolation,
            onto=read_rig.armature_named(self._onto) if self._onto else None,
        )
        for notice in work.take_notices() + placed.notices:
            self.report({"WARNING"}, notice)
        device = takes[0].motion.provenance.get("device", "")
        told = placed.rigs[0].name + (f" and {len(placed.rigs) - 1} more" if len(placed.rigs) > 1 else "")
        told += f": {len(takes[0].motion)} frames" + (f", solved on {device}" if device else "")
        stays = keyframes.at_bounds_lines(placed.actors[0].action, 2) if len(takes) == 1 else []
        self.report({"INFO"}, told + (f"; at the end of their range: {', '.join(stays)}" if stays else ""))
        if not bpy.app.background:
            look_through(context, placed.camera)


def _redraw(context: bpy.types.Context) -> None:
    for window in context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                area.tag_redraw()


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
