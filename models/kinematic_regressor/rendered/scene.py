# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures of a posed body: Blender's Workbench draws the body, a painted room is put behind it.

The camera does not move, so that one picture of the room serves a whole clip; Workbench needs no environment then,
which is most of its time.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import bpy
import cv2
import numpy as np
from mathutils import Matrix
from scipy.ndimage import gaussian_filter

from video2rig.camera import Camera

from .body import Body

ROOM = 10.0  # half the width of the room, metres
CEILING = 7.0


class Scene:
    """One body before one camera; `picture` draws a frame."""

    def __init__(self, body: Body, camera: Camera, floor: float, rng: np.random.Generator) -> None:
        """Set up Blender's only scene anew.

        Args:
            body: Who is drawn. camera: From where. floor: Height of the floor, metres.
            rng: Draws the room, the light and the faults of the video camera.
        """
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self._scene = scene = bpy.context.scene
        self._folder = tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        self._file = Path(self._folder.name) / "frame.png"
        render, shading = scene.render, scene.display.shading
        render.engine = "BLENDER_WORKBENCH"
        render.resolution_x, render.resolution_y = camera.width, camera.height
        render.film_transparent = True
        render.image_settings.file_format, render.image_settings.color_mode = "PNG", "RGBA"
        render.image_settings.compression = 0
        render.threads_mode, render.threads = "FIXED", 1
        render.filepath = str(self._file)
        scene.view_settings.view_transform = "Standard"
        scene.view_settings.exposure = rng.uniform(0.4, 1.2)  # the studio light is dim
        scene.display.render_aa = "OFF"  # a pass over the whole picture takes a CPU longer than the body does
        light = np.array([rng.uniform(-1, 1), rng.uniform(0.4, 1), rng.uniform(-0.3, 1)])
        scene.display.light_direction = tuple(light / np.linalg.norm(light))
        shading.light, shading.color_type = "STUDIO", "VERTEX"
        shading.show_shadows = shading.show_cavity = shading.show_specular_highlight = False

        self._mesh = _painted_mesh(scene, body)
        _add_camera(scene, camera)
        self._room = room(camera, floor, rng)
        self._blur, self._noise = rng.uniform(0.5, 1.3), rng.uniform(0.0, 8.0)
        self._quality = int(rng.integers(30, 95))
        self._rng = rng

    def picture(self, vertices: np.ndarray) -> np.ndarray:
        """Return the picture [H, W, 3], uint8 RGB, of the body with these vertices [V, 3] in the world."""
        self._mesh.vertices.foreach_set("co", vertices.astype(np.float32).ravel())
        self._mesh.update()
        bpy.ops.render.render(write_still=True)
        drawn = cv2.cvtColor(cv2.imread(str(self._file), cv2.IMREAD_UNCHANGED), cv2.COLOR_BGRA2RGBA).astype(np.float32)
        share = drawn[..., 3:] / 255
        picture = drawn[..., :3] * share + self._room * (1 - share)
        picture = cv2.GaussianBlur(picture, (0, 0), self._blur)
        picture += self._rng.standard_normal(picture.shape, dtype=np.float32) * self._noise
        picture = picture.clip(0, 255).astype(np.uint8)
        coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, self._quality])[1]
        return cv2.imdecode(coded, cv2.IMREAD_COLOR)


def room(camera: Camera, floor: float, rng: np.random.Generator) -> np.ndarray:
    """Return the picture [H, W, 3], float32 0 to 255, of a random room: tiles or planks, walls with pictures on them.

    Args:
        camera: From where it is seen, inside the room. floor: Height of the floor, metres.
    """
    pixels = np.stack(np.meshgrid(np.arange(camera.width), np.arange(camera.height)), axis=-1)
    rays = np.concatenate([(pixels - camera.center) / camera.focal, np.ones((*pixels.shape[:2], 1))], axis=-1)
    rays = rays @ camera.rotation
    eye = camera.position - [0, 0, floor]
    walls = np.array([-ROOM, -ROOM, 0.0]), np.array([ROOM, ROOM, CEILING])
    with np.errstate(divide="ignore"):
        reach = np.where(rays < 0, walls[0] - eye, walls[1] - eye) / rays
    side = reach.argmin(axis=-1)  # 0, 1: a wall; 2: floor or ceiling
    place = eye + rays * reach.min(axis=-1, keepdims=True)

    x, y, z = np.moveaxis(place, -1, 0)
    size = rng.uniform(0.15, 0.8, 2)
    tiles = (np.floor(x / size[0]) + np.floor(y / size[1]) * rng.integers(0, 2)) % 2
    wall_colour, floor_colour = _muted(rng, 0.3, 0.95), _muted(rng, 0.15, 0.8)
    picture = np.where((side == 2)[..., None], floor_colour * (1 - rng.uniform(0, 0.3) * tiles[..., None]), wall_colour)
    picture[(side == 2) & (z > 1)] = 0.85
    along = np.where(side == 0, y, x)
    for _ in range(rng.integers(6, 24)):
        left, low = rng.uniform(-ROOM, ROOM), rng.uniform(0, 2.2)
        wide, high = rng.uniform(0.3, 2.0, 2)
        inside = (along > left) & (along < left + wide) & (z > low) & (z < low + high)
        which = rng.integers(2), rng.integers(2)
        inside &= (side == which[0]) & ((place[..., which[0]] > 0) == which[1])
        picture[inside] = _muted(rng, 0.05, 0.95)
    grain = np.zeros(side.shape)
    for sigma in (1, 6, 25):
        grain += gaussian_filter(rng.standard_normal(side.shape), sigma, mode="wrap") * sigma
    return (255 * picture * (1 + 0.05 * grain[..., None])).clip(0, 255).astype(np.float32)


def _muted(rng: np.random.Generator, low: float, high: float) -> np.ndarray:
    """Return a colour [3] of little saturation."""
    return (rng.uniform(low, high) + rng.normal(0, 0.06, 3)).clip(0, 1)


def _add_camera(scene: bpy.types.Scene, camera: Camera) -> None:
    data = bpy.data.cameras.new("camera")
    data.sensor_fit = "VERTICAL" if camera.height >= camera.width else "HORIZONTAL"
    data.angle = 2 * np.arctan(max(camera.width, camera.height) / 2 / camera.focal)
    data.clip_start, data.clip_end = 0.05, 50.0
    placed = np.eye(4)
    placed[:3, :3] = camera.rotation.T * [1, -1, -1]  # Blender's camera looks along -Z with Y up
    placed[:3, 3] = camera.position
    view = bpy.data.objects.new("camera", data)
    view.matrix_world = Matrix(placed.tolist())
    scene.collection.objects.link(view)
    scene.camera = view


def _painted_mesh(scene: bpy.types.Scene, body: Body) -> bpy.types.Mesh:
    mesh = bpy.data.meshes.new("body")
    mesh.from_pydata(body.vertices.tolist(), [], body.faces.tolist())
    linear = np.where(body.colours <= 0.04045, body.colours / 12.92, ((body.colours + 0.055) / 1.055) ** 2.4)
    layer = mesh.color_attributes.new("paint", "FLOAT_COLOR", "POINT")
    layer.data.foreach_set("color", np.c_[linear, np.ones(len(linear))].astype(np.float32).ravel())
    mesh.color_attributes.active_color = layer
    mesh.polygons.foreach_set("use_smooth", np.ones(len(mesh.polygons), dtype=bool))
    scene.collection.objects.link(bpy.data.objects.new("body", mesh))
    return mesh
