# SPDX-License-Identifier: GPL-3.0-or-later
"""FBX, GLB and BVH, with the settings under which the motion comes back as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import addon_utils
import bpy

from . import compat
from .core.errors import Video2RigError

Rigs = Sequence[bpy.types.Object]


class ExportError(Video2RigError):
    """A file that could not be exported."""


def _fbx(rigs: Rigs, path: Path, first: int, last: int) -> None:
    # without a skin FBX holds no bind pose, and readers take the current frame's pose for the rest pose
    with ExitStack() as stack:
        for rig in rigs:
            stack.enter_context(compat.rest_key(rig, first - 1))
        bpy.context.scene.frame_set(first - 1)
        bpy.ops.export_scene.fbx(
            filepath=str(path),
            use_selection=True,
            object_types={"ARMATURE"},
            add_leaf_bones=False,
            bake_anim_use_all_actions=False,
            bake_anim_use_nla_strips=False,
            bake_anim_simplify_factor=0.0,
        )


def _glb(rigs: Rigs, path: Path, first: int, last: int) -> None:
    bpy.ops.export_scene.gltf(
        filepath=str(path),
        export_format="GLB",
        use_selection=True,
        export_animation_mode="ACTIVE_ACTIONS",
        export_optimize_animation_size=False,
        export_extras=True,
    )


def _bvh(rigs: Rigs, path: Path, first: int, last: int) -> None:
    bpy.ops.export_anim.bvh(filepath=str(path), frame_start=first, frame_end=last, rotate_mode="NATIVE")


_EXPORTERS: dict[str, tuple[str, Callable[[Rigs, Path, int, int], None]]] = {
    ".fbx": ("io_scene_fbx", _fbx),
    ".glb": ("io_scene_gltf2", _glb),
    ".bvh": ("io_anim_bvh", _bvh),
}


def export(context: bpy.types.Context, rigs: Rigs, path: Path) -> None:
    """Write armatures and their actions to one file; the format follows the file's ending.

    Each whole scene frame from the first action's first key to the last one's last is written, at the scene's rate.

    Args:
        context: Of the scene that holds the armatures.
        rigs: The armatures; a .bvh holds one alone.
        path: Ending in .fbx, .glb or .bvh.

    Raises:
        ExportError: The format is unknown or cannot hold so many, or the file could not be written.
    """
    suffix = path.suffix.lower()
    if suffix not in _EXPORTERS:
        raise ExportError(f"{path} cannot be exported: the format must be one of {', '.join(_EXPORTERS)}")
    if suffix == ".bvh" and len(rigs) != 1:
        raise ExportError(f"{path} cannot be exported: a BVH holds one armature, not {len(rigs)}")
    module, exporter = _EXPORTERS[suffix]
    if not any(addon_utils.check(module)) and addon_utils.enable(module) is None:
        raise ExportError(f"{path} cannot be exported: this Blender lacks its add-on {module}")
    ranges = [rig.animation_data.action.frame_range for rig in rigs]
    start, end = int(min(span[0] for span in ranges)), round(max(span[1] for span in ranges))
    with _alone(context, rigs, start, end):
        try:
            exporter(rigs, path, start, end)
        except (RuntimeError, OSError) as error:
            raise ExportError(f"{path} cannot be exported: {str(error).strip().splitlines()[-1]}") from error
    if not path.is_file() or path.stat().st_size == 0:
        raise ExportError(f"{path} cannot be exported: Blender wrote nothing; is the disk full?")


@contextmanager
def _alone(context: bpy.types.Context, rigs: Rigs, start: int, end: int) -> Iterator[None]:
    """Select the armatures alone and set the scene's range to their actions'; put all back afterwards."""
    scene, layer = context.scene, context.view_layer
    layer.update()
    active, selected = layer.objects.active, [obj for obj in layer.objects if obj.select_get()]
    span = scene.frame_start, scene.frame_end, scene.frame_current, scene.frame_subframe
    try:
        for obj in layer.objects:
            obj.select_set(obj in rigs)
        layer.objects.active = rigs[0]
        scene.frame_start, scene.frame_end = start, end
        yield
    finally:
        for obj in layer.objects:
            obj.select_set(obj in selected)
        layer.objects.active = active
        scene.frame_start, scene.frame_end = span[:2]
        scene.frame_set(span[2], subframe=span[3])
