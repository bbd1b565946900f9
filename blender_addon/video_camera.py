# SPDX-License-Identifier: GPL-3.0-or-later
"""The solved camera in the scene, with the video behind it, so that the armature stands on the person."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import bpy
import numpy as np
from mathutils import Matrix

from . import compat
from .core.camera import Camera
from .core.errors import Video2RigError
from .core.frames import stream_rotation
from .units import metres

SENSOR = 36.0
"""Width in millimetres of the film back that a focal length is told against."""

_FLIP = np.diag([1.0, -1.0, -1.0])  # OpenCV looks along +Z with Y down, Blender along -Z with Y up


class BackgroundError(Video2RigError):
    """A video that this Blender cannot show."""


class Clock(NamedTuple):
    """How the video's time becomes scene frames."""

    rate: float  # scene frames a second
    first: int  # scene frame of the video's time 0


def matrix_world(camera: Camera, unit: float) -> Matrix:
    """Return the camera object's matrix in the world of a scene whose unit is so many metres."""
    matrix = np.eye(4)
    matrix[:3, :3] = camera.rotation.T @ _FLIP
    matrix[:3, 3] = camera.position / unit
    return Matrix(matrix.tolist())


def set_optics(data: bpy.types.Camera, camera: Camera, scene_aspect: float, unit: float) -> None:
    """Give a Blender camera the focal length and the principal point of a solved one.

    Blender fits the video into the frame by the side that touches first. The sensor follows the same side, so that
    picture and lens agree whatever the scene's resolution is.

    Args:
        data: Whose optics to set.
        camera: The solved camera.
        scene_aspect: Width over height of the scene's picture.
        unit: Metres of the scene's unit.
    """
    wide = scene_aspect > camera.width / camera.height
    side = camera.height if wide else camera.width
    data.type = "PERSP"
    data.sensor_fit = "VERTICAL" if wide else "HORIZONTAL"
    data.sensor_width = data.sensor_height = SENSOR
    data.lens = camera.focal * SENSOR / side
    # pixels are indices: the middle of the picture lies between the middle two
    data.shift_x = ((camera.width - 1) / 2 - camera.center[0]) / side
    data.shift_y = (camera.center[1] - (camera.height - 1) / 2) / side
    data.clip_start, data.clip_end = 0.01 / unit, 1000.0 / unit


def aspect(scene: bpy.types.Scene) -> float:
    """Return width over height of what the scene renders."""
    render = scene.render
    return render.resolution_x * render.pixel_aspect_x / (render.resolution_y * render.pixel_aspect_y)


def add_camera(scene: bpy.types.Scene, camera: Camera, name: str, collection: bpy.types.Collection) -> bpy.types.Object:
    """Add the solved camera to ``collection``; it becomes the scene's only where the scene had none."""
    data = bpy.data.cameras.new(name)
    unit = metres(scene)
    set_optics(data, camera, aspect(scene), unit)
    data.display_size = 0.3 / unit
    obj = bpy.data.objects.new(name, data)
    obj.matrix_world = matrix_world(camera, unit)
    collection.objects.link(obj)
    if scene.camera is None:
        scene.camera = obj
    return obj


def add_background(camera: bpy.types.Object, video: Path, fps: float, duration: float, clock: Clock) -> None:
    """Show the video through the camera, each picture at its own time.

    Blender plays a movie at one picture a scene frame. Where the scene's rate is another, keys on the offset bring
    up the picture that belongs to each scene frame.

    Args:
        camera: The camera object.
        video: A video file, or a folder of numbered images.
        fps: Pictures a second of the video.
        duration: Of the video, seconds.
        clock: How the video's time becomes scene frames.

    Raises:
        BackgroundError: Blender cannot open the video, or it is gone; nothing was added.
    """
    data = camera.data
    image, first_number = _load(video)
    background = data.background_images.new()
    background.image = image
    background.alpha = 1.0
    background.display_depth = "BACK"
    background.frame_method = "FIT"
    _stand_upright(background, stream_rotation(video))
    user = background.image_user
    user.use_auto_refresh = True
    user.frame_start = clock.first
    count = math.ceil(duration * clock.rate - 1e-3) + 1
    user.frame_duration = count
    user.frame_offset = first_number - 1
    data.show_background_images = True

    scene_frames = np.arange(count)
    pictures = np.round(scene_frames * (fps / clock.rate))
    offsets = pictures - scene_frames
    if offsets.any():
        compat.new_action(data, f"{camera.name} video")
        compat.write_channels(
            data,
            "background_images[0].image_user.frame_offset",
            clock.first + scene_frames,
            (offsets + first_number - 1)[:, None],
            interpolation="CONSTANT",
            indexed=False,
        )


def _stand_upright(background: bpy.types.CameraBackgroundImage, turn: int) -> None:
    """Turn the picture as the video's stream asks for, where this Blender's reader has not done it.

    Args:
        background: With its image. turn: Degrees clockwise, of a phone that was held otherwise.
    """
    if not turn or compat.MOVIES_STAND_UPRIGHT:
        return
    background.rotation = math.radians(turn)
    width, height = background.image.size
    if turn % 180 and width and height:
        # the picture was fitted lying down
        background.scale = max(width, height) / min(width, height)


def _image(path: Path) -> bpy.types.Image:
    try:
        return bpy.data.images.load(str(path), check_existing=False)
    except RuntimeError as error:
        why = str(error).strip().removeprefix("Error: ")
        raise BackgroundError(f"{path.name} cannot be shown behind the armature: {why}") from None


def _load(video: Path) -> tuple[bpy.types.Image, int]:
    """Return the video as an image datablock, and the number of its first picture.

    Raises:
        BackgroundError: Blender cannot open it, or the folder holds no pictures.
    """
    if not video.is_dir():
        return _image(video), 1
    pictures = sorted(path for path in video.iterdir() if path.suffix.lower() in bpy.path.extensions_image)
    if not pictures:
        raise BackgroundError(f"{video.name} cannot be shown behind the armature: the folder holds no pictures")
    image = _image(pictures[0])
    image.source = "SEQUENCE"
    stem = pictures[0].stem
    digits = stem[len(stem.rstrip("0123456789")) :]
    return image, int(digits or 1)
