# SPDX-License-Identifier: GPL-3.0-or-later
"""A picture to judge a take by: the video's frame, the keypoints on it, and the posed armatures over it.

The bones become temporary meshes in a temporary scene, drawn by Workbench through the solved camera; nothing of
that stays.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import bpy
import cv2
import numpy as np

from . import keyframes, video_camera
from .core.errors import Video2RigError
from .core.frames import VideoSource
from .core.keypoints import Keypoints
from .core.take import Take
from .rig import side_of
from .units import metres

_COLOURS = {"left": (0.13, 0.45, 0.95), "right": (0.93, 0.26, 0.18), "centre": (0.98, 0.76, 0.18)}  # RGB
_BOX = (640, 560)  # width and height that each picture fits into, pixels
_BONE_WIDTH = 0.12  # of the bone's length
_SURE = 0.5  # a keypoint of less confidence is drawn hollow
_LIMBS = (
    ("shoulder", "elbow"),
    ("elbow", "wrist"),
    ("wrist", "index"),
    ("shoulder", "hip"),
    ("hip", "knee"),
    ("knee", "ankle"),
    ("ankle", "heel"),
    ("heel", "big_toe"),
    ("ankle", "big_toe"),
)


class PictureError(Video2RigError):
    """A picture that could not be drawn or written."""


def draw(
    context: bpy.types.Context,
    actors: Sequence[tuple[bpy.types.Object, Take]],
    source: VideoSource,
    path: Path,
    *,
    clock: video_camera.Clock,
    moments: Sequence[float] = (1 / 6, 1 / 2, 5 / 6),
) -> None:
    """Write the picture, one row a moment.

    Args:
        context: Of the scene that holds the armatures.
        actors: Each armature with its take, whose action it has; all of one video.
        source: The video.
        path: The .png to write.
        clock: How the video's time became scene frames.
        moments: Of the take's frames, as fractions of its length.

    Raises:
        PictureError: The file could not be written, or the video no longer reads.
    """
    take = actors[0][1]
    last = len(take.motion) - 1
    indices = sorted({round(moment * last) for moment in moments})
    images = _frames(source, indices)
    rows = []
    for index in indices:
        image = _fit(images[index], take.camera.width, take.camera.height)
        times = take.motion.times[index : index + 1]
        bones = [bone for rig, _ in actors for bone in _bones(context, rig, times, clock)]
        overlay = _render(take, bones, image.shape[1], image.shape[0])
        scale = image.shape[1] / take.camera.width
        seen = image.copy()
        for _, one in actors:
            _draw_keypoints(seen, one.keypoints, index, scale)
        panels = [image, seen, _over(image, overlay)]
        time = take.motion.times[index]
        titles = (f"video, {time:.2f} s", f"keypoints ({take.keypoints.set_name})", "armature")
        rows.append(np.hstack([_title(panel, title) for panel, title in zip(panels, titles, strict=True)]))
    _, data = cv2.imencode(".png", cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))
    try:
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise PictureError(f"{path} cannot be written: {error.strerror or error}") from error


def _frames(source: VideoSource, indices: Sequence[int]) -> dict[int, np.ndarray]:
    """Return the [H, W, 3] RGB frames at these indices."""
    found = {}
    for frame in source.frames():
        if frame.index in indices:
            found[frame.index] = frame.image
        if frame.index >= indices[-1]:
            break
    missing = [index for index in indices if index not in found]
    if missing:
        raise PictureError(f"the video has no frame {missing[0]} any more; was it changed since it was solved?")
    return found


def _fit(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return the image scaled to fit the box, with the proportions of ``width`` and ``height``."""
    scale = min(_BOX[0] / width, _BOX[1] / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _bones(
    context: bpy.types.Context, rig: bpy.types.Object, times: np.ndarray, clock: video_camera.Clock
) -> list[tuple[str, np.ndarray, float]]:
    """Return name, [4, 4] world matrix and length in metres of each evaluated bone at a time of the video."""
    scene = context.scene
    kept = scene.frame_current, scene.frame_subframe
    frame = float(keyframes.frames_at(times, clock.rate, clock.first)[0])
    try:
        scene.frame_set(int(frame // 1), subframe=frame % 1.0)
        evaluated = rig.evaluated_get(context.evaluated_depsgraph_get())
        unit = np.diag([metres(scene)] * 3 + [1.0])
        return [
            (bone.name, unit @ np.array(evaluated.matrix_world @ bone.matrix), bone.length)
            for bone in evaluated.pose.bones
        ]
    finally:
        scene.frame_set(kept[0], subframe=kept[1])


def octahedra(bones: Sequence[tuple[np.ndarray, float]]) -> tuple[np.ndarray, list[tuple[int, int, int]]]:
    """Return the [6 N, 3] corners, metres, and the triangles of N bones drawn as Blender draws them.

    Args:
        bones: [4, 4] matrix and length of each.
    """
    width = _BONE_WIDTH
    shape = np.array([[0, 0, 0], [1, 1, 1], [-1, 1, 1], [-1, 1, -1], [1, 1, -1], [0, 1, 0]], dtype=float)
    shape[1:5] *= [width, width, width]
    ring = [(1, 2), (2, 3), (3, 4), (4, 1)]
    faces = [(0, b, a) for a, b in ring] + [(5, a, b) for a, b in ring]
    corners = [(shape * length) @ matrix[:3, :3].T + matrix[:3, 3] for matrix, length in bones]
    triangles = [tuple(6 * n + corner for corner in face) for n in range(len(bones)) for face in faces]
    return np.concatenate(corners), triangles


@contextmanager
def _temporary(take: Take, bones: list[tuple[str, np.ndarray, float]]) -> Iterator[bpy.types.Scene]:
    """Give a scene with the bones as meshes and the solved camera, and take it all away again."""
    scene = bpy.data.scenes.new("Video2Rig picture")
    data: list[bpy.types.ID] = []
    objects: list[bpy.types.Object] = []
    try:
        for side, colour in _COLOURS.items():
            chosen = [(matrix, length) for name, matrix, length in bones if side_of(name) == side]
            if not chosen:
                continue
            corners, triangles = octahedra(chosen)
            mesh = bpy.data.meshes.new(f"Video2Rig {side}")
            data.append(mesh)
            mesh.from_pydata(corners.tolist(), [], triangles)
            obj = bpy.data.objects.new(mesh.name, mesh)
            objects.append(obj)
            obj.color = (*[channel**2.2 for channel in colour], 1.0)
            scene.collection.objects.link(obj)
        optics = bpy.data.cameras.new("Video2Rig picture")
        data.append(optics)
        camera = bpy.data.objects.new(optics.name, optics)
        objects.append(camera)
        video_camera.set_optics(optics, take.camera, take.camera.width / take.camera.height, 1.0)
        camera.matrix_world = video_camera.matrix_world(take.camera, 1.0)
        scene.collection.objects.link(camera)
        scene.camera = camera
        yield scene
    finally:
        for obj in objects:
            bpy.data.objects.remove(obj)
        bpy.data.batch_remove(data)
        bpy.data.scenes.remove(scene)


def _render(take: Take, bones: list[tuple[str, np.ndarray, float]], width: int, height: int) -> np.ndarray:
    """Return the [height, width, 4] RGBA of the bones seen by the solved camera."""
    with _temporary(take, bones) as scene, tempfile.TemporaryDirectory(prefix="video2rig-") as folder:
        render = scene.render
        render.engine = "BLENDER_WORKBENCH"
        render.resolution_x, render.resolution_y, render.resolution_percentage = width, height, 100
        render.film_transparent = True
        render.image_settings.file_format = "PNG"
        render.image_settings.color_mode = "RGBA"
        scene.view_settings.view_transform = "Standard"
        shading = scene.display.shading
        shading.light, shading.color_type = "STUDIO", "OBJECT"
        shading.show_object_outline = True
        scene.display.render_aa = "8"
        target = Path(folder) / "bones.png"
        render.filepath = str(target)
        try:
            bpy.ops.render.render(write_still=True, scene=scene.name)
        except RuntimeError as error:
            raise PictureError(f"Workbench cannot render here: {str(error).strip()}") from error
        image = cv2.imread(str(target), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise PictureError("Workbench rendered nothing; it needs OpenGL (on a bare Linux the package libegl1)")
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA)


def _over(image: np.ndarray, overlay: np.ndarray) -> np.ndarray:
    """Lay [H, W, 4] over [H, W, 3]."""
    alpha = overlay[..., 3:].astype(np.float32) / 255
    return (overlay[..., :3] * alpha + image * (1 - alpha)).round().astype(np.uint8)


def _draw_keypoints(image: np.ndarray, keypoints: Keypoints, index: int, scale: float) -> np.ndarray:
    """Draw one frame's keypoints on [H, W, 3], in place; ``scale`` is pixels of the image a pixel of the video."""
    positions = dict(zip(keypoints.names, keypoints.positions[index] * scale, strict=True))
    sure = dict(zip(keypoints.names, keypoints.confidence[index], strict=True))

    def colour(name: str) -> tuple[int, int, int]:
        side = name.split("_")[0]
        red, green, blue = _COLOURS.get(side, _COLOURS["centre"])
        return round(red * 255), round(green * 255), round(blue * 255)

    lines = [(f"{side}_{a}", f"{side}_{b}") for side in ("left", "right") for a, b in _LIMBS]
    lines += [("left_shoulder", "right_shoulder"), ("left_hip", "right_hip")]
    drawn = {name: tuple(np.round(xy).astype(int).tolist()) for name, xy in positions.items() if np.isfinite(xy).all()}
    for a, b in lines:
        if a in drawn and b in drawn:
            both = colour(a) if a.split("_")[0] == b.split("_")[0] else colour("centre")
            cv2.line(image, drawn[a], drawn[b], both, 2, cv2.LINE_AA)
    for name, point in drawn.items():
        cv2.circle(image, point, 4, (255, 255, 255), -1, cv2.LINE_AA)
        cv2.circle(image, point, 3, colour(name), -1 if sure[name] >= _SURE else 1, cv2.LINE_AA)
    return image


def _title(image: np.ndarray, text: str) -> np.ndarray:
    """Return the image with a dark bar and a title above it."""
    bar = np.full((28, image.shape[1], 3), 32, dtype=np.uint8)
    cv2.putText(bar, text, (8, 19), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (235, 235, 235), 1, cv2.LINE_AA)
    return np.vstack([bar, image])
