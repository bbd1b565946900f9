# SPDX-License-Identifier: GPL-3.0-or-later
"""Pick Person: the video's frame is laid over the 3D view, and a click on somebody says whom to solve.

The frame is read as the solver reads it, upright and at its own time, and drawn without any image of Blender's: nothing
is added to the file, and a click is a pixel of the video whatever the scene's frame rate or camera is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import blf
import bpy
import gpu
import numpy as np
from bpy.types import Operator
from gpu_extras.batch import batch_for_shader

from . import compat, job, keyframes, options
from .core.errors import Video2RigError
from .core.frames import Frame, VideoSource, fitted, open_video

_LARGEST = 1920
"""Pixels of the longer side of the picture that is shown."""

_STEP = 0.5
"""Seconds from one picture to the next by wheel or arrow key."""

_HELP = "Click on the person    Wheel or arrow keys: another moment    Esc: cancel"
_MARGIN = 40


class Layout(NamedTuple):
    """Where a picture lies in a region: its lower left corner, and region pixels for each of the video's."""

    left: float
    bottom: float
    scale: float
    width: int
    height: int

    @classmethod
    def fit(cls, width: int, height: int, region_width: int, region_height: int) -> Layout:
        """Return the largest picture of a video of this size that fits into a region, in its middle."""
        room = max(region_width - 2 * _MARGIN, 16), max(region_height - 2 * _MARGIN, 16)
        scale = min(room[0] / width, room[1] / height)
        return cls((region_width - width * scale) / 2, (region_height - height * scale) / 2, scale, width, height)

    def pixel(self, x: float, y: float) -> tuple[float, float] | None:
        """Return the pixel of the video at a place in the region, or None beside the picture.

        Regions count upwards from the lower left corner of their first pixel; a video's pixels are counted downwards,
        and (0, 0) is the middle of the first.
        """
        column = (x - self.left) / self.scale - 0.5
        row = self.height - (y - self.bottom) / self.scale - 0.5
        inside = -0.5 <= column < self.width - 0.5 and -0.5 <= row < self.height - 0.5
        return (column, row) if inside else None

    def corners(self) -> list[tuple[float, float]]:
        """Return the picture's corners in the region: lower left, lower right, upper right, upper left."""
        right, top = self.left + self.width * self.scale, self.bottom + self.height * self.scale
        return [(self.left, self.bottom), (right, self.bottom), (right, top), (self.left, top)]


class Reader:
    """Frames of a video by time: forwards by reading on, backwards by reading again from the beginning.

    Attributes:
        frame: The frame that was asked for last.
    """

    def __init__(self, source: VideoSource, time: float) -> None:
        """Read the frame of a time.

        Raises:
            VideoError: It cannot be read.
        """
        self._source = source
        self._frames: Iterator[Frame] = source.frames()
        self.frame = next(self._frames)
        self.go(time)

    def go(self, time: float) -> None:
        """Read the last frame that begins at a time in seconds or before it; the last of all where there is none later.

        Raises:
            VideoError: It cannot be read.
        """
        half = 0.5 / self._source.info.fps
        if time < self.frame.time - half:
            self._frames = self._source.frames()
            self.frame = next(self._frames)
        while self.frame.time + half < time:
            following = next(self._frames, None)
            if following is None:
                return
            self.frame = following


class VIDEO2RIG_OT_pick_person(Operator):
    """Click on the person in the video whom to solve"""

    bl_idname = "video2rig.pick_person"
    bl_label = "Pick Person"
    bl_options = {"UNDO"}  # noqa: RUF012 Blender wants a set

    _area: bpy.types.Area
    _region: bpy.types.Region
    _reader: Reader
    _path: str
    _texture: gpu.types.GPUTexture | None = None
    _handler: object = None

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Tell whether there is a video, and nothing is being solved."""
        if job.current is not None or not options.of(context).filepath:
            cls.poll_message_set("Choose a video first" if job.current is None else "A video is being solved")
            return False
        return context.area is not None and context.area.type == "VIEW_3D"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Show the frame of the scene's current time."""
        scene = context.scene
        self._path = bpy.path.abspath(options.of(context).filepath)
        time = (scene.frame_current_final - scene.frame_start) / keyframes.scene_rate(scene)
        try:
            source = open_video(self._path)
            inside = 0.0 <= time <= source.info.duration
            self._reader = Reader(source, time if inside else 0.0)
        except Video2RigError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self._area = context.area
        self._region = next(region for region in context.area.regions if region.type == "WINDOW")
        self._handler = bpy.types.SpaceView3D.draw_handler_add(self._draw, (), "WINDOW", "POST_PIXEL")
        context.window.cursor_modal_set("CROSSHAIR")
        context.window_manager.modal_handler_add(self)
        self._area.tag_redraw()
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Wait for the click."""
        if event.type in ("ESC", "RIGHTMOUSE") and event.value == "PRESS":
            return self._end(context, "CANCELLED")
        try:
            if event.type in _STEPS and event.value == "PRESS":
                self._reader.go(max(0.0, self._reader.frame.time + _STEPS[event.type] * _STEP))
                self._texture = None
                self._area.tag_redraw()
        except Video2RigError as error:
            self.report({"ERROR"}, str(error))
            return self._end(context, "CANCELLED")
        if event.type == "LEFTMOUSE" and event.value == "PRESS":
            pixel = self._layout().pixel(event.mouse_x - self._region.x, event.mouse_y - self._region.y)
            if pixel is None:
                self.report({"WARNING"}, "Click on a person in the picture, or press Esc")
                return {"RUNNING_MODAL"}
            options.of(context).pick(self._path, *pixel, self._reader.frame.time)
            return self._end(context, "FINISHED")
        return {"RUNNING_MODAL"}

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender ends the operator: another file is opened, or the window closes."""
        self._end(context, "CANCELLED")

    def _end(self, context: bpy.types.Context, result: str) -> set[str]:
        if self._handler is not None:
            bpy.types.SpaceView3D.draw_handler_remove(self._handler, "WINDOW")
            self._handler = None
        self._texture = None
        if context.window is not None:
            context.window.cursor_modal_restore()
        self._area.tag_redraw()
        return {result}

    def _layout(self) -> Layout:
        height, width = self._reader.frame.image.shape[:2]
        return Layout.fit(width, height, self._region.width, self._region.height)

    def _draw(self) -> None:
        """Called by Blender for every 3D view; draws in the one of the click alone."""
        if bpy.context.area != self._area:
            return
        if self._texture is None:
            self._texture = _texture(self._reader.frame)
        layout = self._layout()
        whole = (0, 0), (self._region.width, 0), (self._region.width, self._region.height), (0, self._region.height)
        gpu.state.blend_set("ALPHA")
        colour = gpu.shader.from_builtin("UNIFORM_COLOR")
        colour.bind()
        colour.uniform_float("color", (0.05, 0.05, 0.05, 0.85))
        batch_for_shader(colour, "TRI_FAN", {"pos": whole}).draw(colour)
        gpu.state.blend_set("NONE")
        picture = gpu.shader.from_builtin("IMAGE")
        picture.bind()
        picture.uniform_sampler("image", self._texture)
        corners = {"pos": layout.corners(), "texCoord": ((0, 1), (1, 1), (1, 0), (0, 0))}
        batch_for_shader(picture, "TRI_FAN", corners).draw(picture)
        blf.size(0, 13)
        blf.color(0, 1, 1, 1, 1)
        blf.position(0, max(layout.left, 12), max(layout.bottom - 20, 8), 0)
        blf.draw(0, f"{self._reader.frame.time:.2f} s    {_HELP}")


_STEPS = {"WHEELUPMOUSE": -1, "WHEELDOWNMOUSE": 1, "LEFT_ARROW": -1, "RIGHT_ARROW": 1}


def _texture(frame: Frame) -> gpu.types.GPUTexture:
    """Return a frame as the graphics card draws it, first row first."""
    image = fitted(frame, _LARGEST)[0].image
    height, width = image.shape[:2]
    colours = np.ones((height, width, 4), dtype=np.float32)
    colours[..., :3] = _shades()[image]
    data = gpu.types.Buffer("FLOAT", colours.size, colours.ravel())
    return gpu.types.GPUTexture((width, height), format="RGBA16F", data=data)


def _shades() -> np.ndarray:
    """Return [256] what to draw for each value of an sRGB picture so that the screen shows that value."""
    srgb = np.arange(256, dtype=np.float32) / 255
    if not compat.DRAWS_LINEAR:
        return srgb
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4).astype(np.float32)
