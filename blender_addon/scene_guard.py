# SPDX-License-Identifier: GPL-3.0-or-later
"""All or nothing: what fails on the way into a scene leaves that scene as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

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
def unchanged_on_error(context: bpy.types.Context, rig: bpy.types.Object | None = None) -> Iterator[None]:
    """Run a block that adds to the scene; if it raises, take away all that it added and put back what it set.

    Args:
        context: Of the scene. rig: An armature of the scene that the block may animate.
    """
    with _animation_kept(rig) if rig is not None else nullcontext(), _scene_kept(context):
        yield


@contextmanager
def _animation_kept(rig: bpy.types.Object) -> Iterator[None]:
    """Put an armature's action, pose and custom properties back if the block raises."""
    animation = rig.animation_data
    action = animation.action if animation else None
    slot = getattr(animation, "action_slot", None)
    fake = action is not None and action.use_fake_user
    bones = {bone.name: (bone.matrix_basis.copy(), _numbers(bone)) for bone in rig.pose.bones}
    try:
        yield
    except BaseException:
        if animation is None:
            rig.animation_data_clear()
        else:
            animation.action = action
            if slot is not None:
                animation.action_slot = slot
        if action is not None:
            action.use_fake_user = fake
        for name, (basis, keys) in bones.items():
            bone = rig.pose.bones[name]
            bone.matrix_basis = basis
            for key in set(bone.keys()) - set(keys):
                del bone[key]
            for key, value in keys.items():
                if value is not None and bone[key] != value:
                    bone[key] = value
        raise


def _numbers(bone: bpy.types.PoseBone) -> dict[str, bool | int | float | None]:
    """Return a bone's custom properties, and the values of those that are numbers."""
    return {key: value if isinstance(value, bool | int | float) else None for key, value in bone.items()}


@contextmanager
def _scene_kept(context: bpy.types.Context) -> Iterator[None]:
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
