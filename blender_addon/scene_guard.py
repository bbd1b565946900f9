# SPDX-License-Identifier: GPL-3.0-or-later
"""All or nothing: what fails on the way into a scene leaves that scene as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import bpy

_COLLECTIONS = (
    "objects",
    "collections",
    "scenes",
    "armatures",
    "cameras",
    "meshes",
    "materials",
    "actions",
    "images",
    "movieclips",
)
_RENDER = ("fps", "fps_base", "resolution_x", "resolution_y", "resolution_percentage")
_SCENE = ("frame_start", "frame_end", "camera")


@contextmanager
def unchanged_on_error(context: bpy.types.Context) -> Iterator[None]:
    """Run a block that adds to the scene; if it raises, take away all that it added and put back what it set."""
    scene, layer = context.scene, context.view_layer
    layer.update()
    known = {kind: {item.session_uid for item in getattr(bpy.data, kind)} for kind in _COLLECTIONS}
    render = {key: getattr(scene.render, key) for key in _RENDER}
    settings = {key: getattr(scene, key) for key in _SCENE}
    frame = scene.frame_current_final
    active, selected = layer.objects.active, [obj for obj in layer.objects if obj.select_get()]
    mode = context.mode if active is None else active.mode
    try:
        if mode != "OBJECT":
            bpy.ops.object.mode_set(mode="OBJECT")
        yield
    except BaseException:
        if layer.objects.active is not None and layer.objects.active.mode != "OBJECT":
            bpy.ops.object.mode_set(mode="OBJECT")
        for kind in _COLLECTIONS:
            store = getattr(bpy.data, kind)
            for item in [item for item in store if item.session_uid not in known[kind]]:
                store.remove(item)
        for key, value in render.items():
            setattr(scene.render, key, value)
        for key, value in settings.items():
            setattr(scene, key, value)
        if scene.frame_current_final != frame:
            scene.frame_set(int(frame), subframe=frame % 1.0)
        layer.update()
        for obj in layer.objects:
            obj.select_set(obj in selected)
        layer.objects.active = active
        if active is not None and mode != "OBJECT":
            bpy.ops.object.mode_set(mode=mode)
        raise
