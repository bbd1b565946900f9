# SPDX-License-Identifier: GPL-3.0-or-later
"""Sparse keys: what Blender evaluates stays within the bound at every frame, and nothing is overwritten."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference import degrees_between, matrices, quaternions_from_euler

bpy = pytest.importorskip("bpy", reason="needs the bpy module or a Blender binary")

BOUND = float(np.radians(0.5))
MODES = {"forearm.L": "XZY", "spine.001": "AXIS_ANGLE", "thigh.R": "ZYX"}


def animated(addon: Any, context: Any, motion: Any, **keys: Any) -> Any:
    rig = addon.rig.build_armature(context, motion.skeleton, "human", context.scene.collection)
    for name, mode in MODES.items():
        rig.pose.bones[name].rotation_mode = mode
    addon.keyframes.write_motion(rig, motion, "take", rate=29.97, first=1, **keys)
    return rig


def off(addon: Any, rig: Any, motion: Any, rate: float = 29.97) -> tuple[float, float]:
    """The largest angle in degrees between local rotations as Blender evaluates the curves and the motion's, and of
    the root's place in metres."""
    frames = addon.keyframes.frames_at(motion.times, rate, 1)
    curves = {(curve.data_path, curve.array_index): curve for curve in addon.compat.fcurves(rig)}
    angle = 0.0
    for joint, name in enumerate(motion.skeleton.names):
        mode = rig.pose.bones[name].rotation_mode
        prop = {"QUATERNION": "rotation_quaternion", "AXIS_ANGLE": "rotation_axis_angle"}.get(mode, "rotation_euler")
        path = f'pose.bones["{name}"].{prop}'
        width = 3 if prop == "rotation_euler" else 4
        values = np.array([[curves[path, i].evaluate(f) for i in range(width)] for f in frames.tolist()])
        if prop == "rotation_euler":
            values = quaternions_from_euler(values, mode)
        elif prop == "rotation_axis_angle":
            axis = values[:, 1:] / np.linalg.norm(values[:, 1:], axis=1, keepdims=True)
            values = np.column_stack([np.cos(values[:, 0] / 2), np.sin(values[:, :1] / 2) * axis])
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        angle = max(angle, degrees_between(matrices(values), matrices(motion.rotations[:, joint])).max())
    path = f'pose.bones["{motion.skeleton.names[0]}"].location'
    place = np.array([[curves[path, i].evaluate(f) for i in range(3)] for f in frames.tolist()])
    wanted = place_of(rig, motion)
    return angle, float(np.linalg.norm(place - wanted, axis=1).max())


def place_of(rig: Any, motion: Any) -> np.ndarray:
    rest = np.array(rig.data.bones[motion.skeleton.names[0]].matrix_local)
    return (motion.root_position - rest[:3, 3]) @ rest[:3, :3]


def keys_of(addon: Any, rig: Any) -> dict[str, set[tuple[float, ...]]]:
    """The frames of the keys of each bone's curves: one tuple where all are common."""
    found: dict[str, set[tuple[float, ...]]] = {}
    for curve in addon.compat.fcurves(rig):
        found.setdefault(curve.data_path.split('"')[1], set()).add(tuple(addon.compat.read_channel(curve)[0].tolist()))
    return found


def test_every_frame_is_within_the_bound_as_blender_evaluates(addon: Any, empty: Any, make_motion: Any) -> None:
    motion = make_motion(np.arange(240) / 25.0)
    rig = animated(addon, empty, motion, bound=BOUND)
    angle, place = off(addon, rig, motion)
    assert 0.05 < angle <= 0.5 + 1e-3 and 1e-5 < place <= 0.0025 + 1e-5, (angle, place)
    keys = keys_of(addon, rig)
    assert all(len(common) == 1 for common in keys.values())
    count = sum(len(next(iter(common))) for common in keys.values())
    assert count < 0.5 * 240 * len(motion.skeleton), f"{count} of {240 * len(motion.skeleton)} are left"
    assert rig.animation_data.action.frame_range[:] == pytest.approx((1, 1 + 239 / 25 * 29.97), abs=1e-3)
    curve = addon.compat.fcurves(rig)[0]
    assert {(k.interpolation, k.handle_left_type, k.handle_right_type) for k in curve.keyframe_points} == {
        ("BEZIER", "ALIGNED", "ALIGNED")
    }


def test_reduce_keys_makes_a_new_action(addon: Any, empty: Any, make_motion: Any, tmp_path: Path) -> None:
    motion = make_motion(np.arange(240) / 25.0)
    rig = animated(addon, empty, motion)
    former = rig.animation_data.action
    before = {(c.data_path, c.array_index): addon.compat.read_channel(c)[1].tolist() for c in addon.compat.fcurves(rig)}
    former.pose_markers.new("apex").frame = 5
    assert bpy.ops.video2rig.reduce_keys(tolerance=BOUND) == {"FINISHED"}
    action = rig.animation_data.action
    assert action.name == "take sparse" and former.use_fake_user
    angle, place = off(addon, rig, motion)
    assert 0.05 < angle <= 0.5 + 1e-3 and place <= 0.0025 + 1e-5
    assert all(len(common) == 1 for common in keys_of(addon, rig).values())
    assert "apex" in {marker.name for marker in action.pose_markers}
    assert action["video2rig_provenance"] == former["video2rig_provenance"]
    # reduced again it is held between its keys too
    count = sum(len(c.keyframe_points) for c in addon.compat.fcurves(rig))
    assert bpy.ops.video2rig.reduce_keys(tolerance=BOUND) == {"FINISHED"}
    assert rig.animation_data.action.name == "take sparse sparse"
    angle, place = off(addon, rig, motion)
    assert angle <= 1.0 + 1e-3 and place <= 0.005 + 1e-5
    assert sum(len(c.keyframe_points) for c in addon.compat.fcurves(rig)) < 1.5 * count
    # the first action is as it was
    rig.animation_data.action = former
    if hasattr(former, "slots"):
        rig.animation_data.action_slot = former.slots[0]
    now = {(c.data_path, c.array_index): addon.compat.read_channel(c)[1].tolist() for c in addon.compat.fcurves(rig)}
    assert now == before


def test_other_curves_are_left_alone(addon: Any, empty: Any, make_motion: Any) -> None:
    motion = make_motion(np.arange(60) / 30.0)
    rig = animated(addon, empty, motion)
    rig.location.x = 2
    rig.keyframe_insert("location", frame=3)
    noisy = next(c for c in addon.compat.fcurves(rig) if "shin.L" in c.data_path and "rotation" in c.data_path)
    noisy.modifiers.new("NOISE")
    alone = {c.data_path: len(c.keyframe_points) for c in addon.compat.fcurves(rig) if "shin.L" in c.data_path}
    assert bpy.ops.video2rig.reduce_keys(tolerance=BOUND) == {"FINISHED"}
    curves = addon.compat.fcurves(rig)
    assert {c.data_path: len(c.keyframe_points) for c in curves if "shin.L" in c.data_path} == alone
    assert [len(c.keyframe_points) for c in curves if c.data_path == "location"] == [1, 1, 1]
    empty.view_layer.objects.active = None
    assert not bpy.ops.video2rig.reduce_keys.poll()


def test_sparse_keys_by_choice(addon: Any, backend: Any, walk: Any, empty: Any, video: Path) -> None:
    chosen = empty.scene.video2rig
    chosen.keys = "SPARSE"
    assert chosen.key_bound() == pytest.approx(BOUND)
    assert bpy.ops.video2rig.solve_again() == {"FINISHED"}
    # the fake solver's take stands still: two keys a bone are enough
    assert {len(c.keyframe_points) for c in addon.compat.fcurves(walk)} == {2}
    assert bpy.ops.video2rig.add_corrections() == {"FINISHED"}
    assert bpy.ops.video2rig.solve_again() == {"FINISHED"}
    assert bpy.ops.video2rig.reduce_keys() == {"FINISHED"}
    strip = walk.animation_data.nla_tracks[0].strips[0]
    assert strip.action.name == "walk.002 sparse" and addon.kept.is_kept(strip.action)
    assert walk.animation_data.action.name == "walk.001 corrections"


def test_a_long_take_is_quick(addon: Any, empty: Any, make_motion: Any) -> None:
    motion = make_motion(np.arange(10_000) / 30.0)
    animated(addon, empty, motion)
    began = time.process_time()
    assert bpy.ops.video2rig.reduce_keys(tolerance=BOUND) == {"FINISHED"}
    seconds = time.process_time() - began
    assert seconds < 10, f"10,000 frames of {len(motion.skeleton)} bones took {seconds:.1f} s"
    print(f"10,000 frames of {len(motion.skeleton)} bones: {seconds:.1f} s")
