# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders the posed body in a small room with Blender's Workbench, one PNG a frame.

Workbench has no textures here: every surface is painted by its vertices, finely enough to look like a photograph
of planks, plaster and posters. Its stencil shadow gives the moving shadow on the floor.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix
from scipy.ndimage import gaussian_filter

from video2rig.camera import Camera

LIGHT = (-0.35, 0.85, 0.40)  # Workbench's own axes: light falls along (-x, z, -y) of the world
ROOM = 6.0  # width and depth of the floor, metres
WALL_HEIGHT = 3.6
GRAIN = 260  # vertices along each edge of a painted surface


def render_frames(
    frames: Iterator[np.ndarray], faces: np.ndarray, colours: np.ndarray, camera: Camera, folder: Path
) -> None:
    """Render each frame's vertices [V,3] (metres, world) to `folder`/0000.png, 0001.png, ..."""
    scene = _empty_scene(camera)
    _build_room(scene, np.random.default_rng(7))
    body = None
    for number, vertices in enumerate(frames):
        if body is None:
            body = _painted_mesh(scene, "body", vertices, faces, colours, smooth=True)
        body.data.vertices.foreach_set("co", vertices.astype(np.float32).ravel())
        body.data.update()
        scene.render.filepath = str(folder / f"{number:04d}.png")
        bpy.ops.render.render(write_still=True)


def _empty_scene(camera: Camera) -> bpy.types.Scene:
    """An empty Workbench scene seen through `camera`."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    render, shading = scene.render, scene.display.shading
    render.engine = "BLENDER_WORKBENCH"
    render.resolution_x, render.resolution_y = camera.width, camera.height
    render.image_settings.file_format = "PNG"
    render.threads_mode, render.threads = "FIXED", 1
    scene.view_settings.view_transform = "Standard"
    scene.view_settings.exposure = 1.0  # the studio light is dim
    scene.display.render_aa = "8"
    scene.display.light_direction = LIGHT
    shading.light, shading.color_type = "STUDIO", "VERTEX"
    shading.show_shadows, shading.shadow_intensity = True, 0.45
    shading.show_cavity, shading.cavity_type = True, "BOTH"
    shading.show_specular_highlight = False

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
    return scene


def _build_room(scene: bpy.types.Scene, rng: np.random.Generator) -> None:
    """A floor of planks, two plastered walls with posters, and a few boxes along them."""
    half = ROOM / 2
    u, v = np.meshgrid(np.linspace(0, 1, GRAIN), np.linspace(0, 1, GRAIN))

    plank = np.floor(u * ROOM / 0.16).astype(int)
    joint = (v * ROOM + 0.7 * (plank % 3)) % 1.9 < 0.03
    seam = (u * ROOM / 0.16) % 1 < 0.12
    tone = (
        1 + 0.10 * rng.standard_normal(plank.max() + 1)[plank] + 0.05 * _noise(rng, (9, 1)) + 0.03 * _noise(rng, (1, 1))
    )
    floor = np.array([0.52, 0.38, 0.25]) * (tone * np.where(seam | joint, 0.72, 1.0))[..., None]
    _surface(scene, "floor", (-half, -half, 0), (ROOM, 0, 0), (0, ROOM, 0), floor)

    walls = {"back": ((-half, half, 0), (ROOM, 0, 0)), "left": ((half, half, 0), (0, -ROOM, 0)),
             "right": ((-half, -half, 0), (0, ROOM, 0))}  # fmt: skip
    posters = {"back": ((0.12, 0.3, 0.42, 0.75), (0.66, 0.84, 0.5, 0.72)), "left": ((0.3, 0.5, 0.4, 0.8),),
               "right": ((0.45, 0.75, 0.35, 0.7),)}  # fmt: skip
    for name, (corner, along) in walls.items():
        paint = (
            np.array([0.62, 0.66, 0.64]) * (1 + 0.035 * _noise(rng, (18, 18)) + 0.02 * _noise(rng, (2, 2)))[..., None]
        )
        for left, right, low, high in posters[name]:
            inside = (u > left) & (u < right) & (v > low) & (v < high)
            paint[inside] = (rng.uniform(0.2, 0.8, 3) * (1 + 0.3 * _noise(rng, (12, 12)))[..., None])[inside]
        paint[v < 0.035] = 0.86
        _surface(scene, name, corner, along, (0, 0, WALL_HEIGHT), paint)

    for x, y, size, colour in (
        (-2.3, 2.5, (0.7, 0.5, 0.8), (0.35, 0.45, 0.35)),
        (-2.5, 1.6, (0.4, 0.4, 0.4), (0.65, 0.55, 0.30)),
        (2.4, 2.4, (0.5, 0.6, 1.3), (0.42, 0.30, 0.24)),
    ):
        corners = np.array([[i, j, k] for i in (-0.5, 0.5) for j in (-0.5, 0.5) for k in (0, 1)]) * size + [x, y, 0]
        sides = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
        box = _painted_mesh(scene, "box", corners, sides, np.tile(colour, (8, 1)), smooth=False)
        box.display.show_shadows = False


def _noise(rng: np.random.Generator, size: tuple[float, float]) -> np.ndarray:
    """Smooth noise [GRAIN,GRAIN] of unit variance; `size`: its grain along both axes, in vertices."""
    field = gaussian_filter(rng.standard_normal((GRAIN, GRAIN)), size, mode="wrap")
    return field / field.std()


def _surface(
    scene: bpy.types.Scene,
    name: str,
    corner: tuple[float, float, float],
    along: tuple[float, float, float],
    across: tuple[float, float, float],
    paint: np.ndarray,
) -> None:
    """A flat rectangle of GRAIN x GRAIN vertices with colours `paint` [GRAIN,GRAIN,3]; it casts no shadow."""
    u, v = np.meshgrid(np.linspace(0, 1, GRAIN), np.linspace(0, 1, GRAIN))
    vertices = np.array(corner) + u.reshape(-1, 1) * np.array(along) + v.reshape(-1, 1) * np.array(across)
    index = np.arange(GRAIN * GRAIN).reshape(GRAIN, GRAIN)
    faces = np.stack([index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]], -1).reshape(-1, 4)
    surface = _painted_mesh(scene, name, vertices, faces, paint.reshape(-1, 3).clip(0, 1), smooth=True)
    surface.display.show_shadows = False


def _painted_mesh(
    scene: bpy.types.Scene, name: str, vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray, *, smooth: bool
) -> bpy.types.Object:
    """A mesh object of quads [F,4] with sRGB vertex colours [V,3]."""
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(vertices.tolist(), [], faces.tolist())
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    layer = mesh.color_attributes.new("paint", "FLOAT_COLOR", "POINT")
    layer.data.foreach_set("color", np.c_[linear, np.ones(len(linear))].astype(np.float32).ravel())
    mesh.color_attributes.active_color = layer
    mesh.polygons.foreach_set("use_smooth", np.full(len(mesh.polygons), smooth))
    made = bpy.data.objects.new(name, mesh)
    scene.collection.objects.link(made)
    return made
