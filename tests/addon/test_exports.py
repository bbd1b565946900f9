# SPDX-License-Identifier: GPL-3.0-or-later
"""FBX, GLB and BVH bring the motion back as it was."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference import degrees_between, pose_matrices
from test_keyframes import animate

bpy = pytest.importorskip("bpy", reason="needs the bpy module or a Blender binary")

FRAMES = 40


def turned_from_rest(rig: Any, names: tuple[str, ...], stretch: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return [F, J, 3] bone heads, metres, and [F, J, 3, 3] turns from rest in the world.

    The turn from rest does not depend on a bone's roll, which BVH does not keep. ``stretch`` is scene frames a frame
    of the take.
    """
    order = [[bone.name for bone in rig.pose.bones].index(name) for name in names]
    rest = np.array([rig.matrix_world @ rig.data.bones[name].matrix_local for name in names])[:, :3, :3]
    rest /= np.linalg.norm(rest, axis=1, keepdims=True)
    heads, turns = [], []
    for frame in range(1, FRAMES + 1):
        bpy.context.scene.frame_set(int(frame * stretch), subframe=frame * stretch % 1.0)
        world = pose_matrices(rig)[order]
        heads.append(world[:, :3, 3])
        rotation = world[:, :3, :3] / np.linalg.norm(world[:, :3, :3], axis=1, keepdims=True)
        turns.append(rotation @ rest.transpose(0, 2, 1))
    return np.array(heads), np.array(turns)


def bring_back(path: Path) -> Any:
    before = set(bpy.data.objects)
    if path.suffix == ".fbx":
        bpy.ops.import_scene.fbx(filepath=str(path), anim_offset=0.0)
    elif path.suffix == ".glb":
        bpy.ops.import_scene.gltf(filepath=str(path))
    else:
        bpy.ops.import_anim.bvh(filepath=str(path), axis_forward="Y", axis_up="Z", use_fps_scale=False)
    return next(obj for obj in bpy.data.objects if obj not in before and obj.type == "ARMATURE")


@pytest.mark.parametrize("fps", [(30, 1.0), (30, 1.001)])
@pytest.mark.parametrize("kind", ["fbx", "glb", "bvh"])
def test_comes_back_exact(
    addon: Any, empty: Any, make_motion: Any, tmp_path: Path, kind: str, fps: tuple[int, float]
) -> None:
    scene = empty.scene
    scene.render.fps, scene.render.fps_base = fps
    rate = fps[0] / fps[1]
    motion = make_motion(np.arange(FRAMES) / rate)
    rig = animate(addon, empty, motion, rate=rate)
    expected_heads, expected_turns = turned_from_rest(rig, motion.skeleton.names)
    other = bpy.data.objects.new("other", None)
    scene.collection.objects.link(other)
    bpy.context.view_layer.objects.active = other
    scene.frame_set(7)

    path = tmp_path / f"take.{kind}"
    addon.exports.export(empty, [rig], path)
    assert (scene.frame_current, scene.frame_start, scene.frame_end) == (7, 1, 250)
    assert rig.animation_data.action.frame_range[0] == 1
    assert bpy.context.view_layer.objects.active == other and rig.select_get() and not other.select_get()

    back = bring_back(path)
    # Blender's FBX reader takes 29.97 for 30, so that frames come out 1.001 apart; the times in the file are right
    stretch = back.animation_data.action.frame_range[1] / FRAMES
    assert stretch == pytest.approx(1.0, abs=1e-6) or (kind == "fbx" and stretch == pytest.approx(fps[1], abs=1e-5))
    heads, turns = turned_from_rest(back, motion.skeleton.names, stretch)
    assert np.abs(heads - expected_heads).max() < 1e-4
    assert degrees_between(turns, expected_turns).max() < 0.1


@pytest.mark.parametrize("kind", ["fbx", "glb"])
def test_two_people_come_back_from_one_file(
    addon: Any, empty: Any, make_motion: Any, tmp_path: Path, kind: str
) -> None:
    """Each with its own motion: the one is the other's, backwards and elsewhere."""
    motion = make_motion(np.arange(FRAMES) / 30)
    backwards = dataclasses.replace(
        motion, rotations=motion.rotations[::-1], root_position=motion.root_position[::-1] + [2.0, 1.0, 0.0]
    )
    empty.scene.render.fps = 30
    rigs = [animate(addon, empty, one, rate=30.0) for one in (motion, backwards)]
    names = motion.skeleton.names
    expected = {rig.name: turned_from_rest(rig, names) for rig in rigs}
    addon.exports.export(empty, rigs, tmp_path / f"both.{kind}")
    for rig in rigs:
        bpy.data.objects.remove(rig)
    for action in list(bpy.data.actions):
        bpy.data.actions.remove(action)
    bring_back(tmp_path / f"both.{kind}")
    assert len(expected) == 2 and {obj.name for obj in bpy.data.objects if obj.type == "ARMATURE"} == set(expected)
    for name, (heads, turns) in expected.items():
        back = turned_from_rest(bpy.data.objects[name], names)
        assert np.abs(back[0] - heads).max() < 1e-4
        assert degrees_between(back[1], turns).max() < 0.1


def test_unknown_format_is_refused(addon: Any, empty: Any, make_motion: Any, tmp_path: Path) -> None:
    rig = animate(addon, empty, make_motion(np.arange(3) / 30.0))
    with pytest.raises(addon.exports.ExportError, match=r"\.fbx, \.glb, \.bvh"):
        addon.exports.export(empty, [rig], tmp_path / "take.obj")
