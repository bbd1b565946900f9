# SPDX-License-Identifier: GPL-3.0-or-later
"""A motion on the armature: the same places at the same times, in keys that can be edited."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference import degrees_between, forward, pose_matrices

bpy = pytest.importorskip("bpy", reason="needs the bpy module or a Blender binary")


def animate(addon: Any, context: Any, motion: Any, rate: float = 30.0, first: int = 1, **kwargs: Any) -> Any:
    rig = addon.rig.build_armature(context, motion.skeleton, "human", context.scene.collection)
    addon.keyframes.write_motion(rig, motion, "take", rate=rate, first=first, **kwargs)
    return rig


def largest_errors(rig: Any, motion: Any, frames: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """Return the largest distance in metres and angle in degrees between Blender's bones and [T, J, 4, 4]."""
    order = [motion.skeleton.names.index(bone.name) for bone in rig.pose.bones]
    metres = degrees = 0.0
    for frame, world in zip(frames, expected[:, order], strict=True):
        bpy.context.scene.frame_set(int(frame), subframe=float(frame) % 1.0)
        got = pose_matrices(rig)
        metres = max(metres, float(np.abs(got[:, :3, 3] - world[:, :3, 3]).max()))
        degrees = max(degrees, float(degrees_between(got[:, :3, :3], world[:, :3, :3]).max()))
    return metres, degrees


@pytest.mark.parametrize("interpolation", ["LINEAR", "BEZIER"])
def test_bones_stand_where_the_solver_put_them(addon: Any, empty: Any, make_motion: Any, interpolation: str) -> None:
    motion = make_motion(np.arange(45) / 30.0)
    rig = animate(addon, empty, motion, interpolation=interpolation)
    metres, degrees = largest_errors(rig, motion, np.arange(1, 46), forward(motion))
    assert metres < 1e-4 and degrees < 0.01
    codes = {point.interpolation for c in addon.compat.fcurves(rig) for point in c.keyframe_points}
    assert codes == {interpolation}


def test_solvers_kinematics_is_blenders(addon: Any, empty: Any, make_motion: Any) -> None:
    torch = pytest.importorskip("torch", reason="the solver's kinematics runs on torch")
    kinematics = pytest.importorskip("video2rig.kinematics")
    motion = make_motion(np.arange(20) / 25.0)
    rig = animate(addon, empty, motion, rate=25.0)
    chain = kinematics.KinematicChain(motion.skeleton)
    from reference import matrices

    positions, rotations = chain.forward(
        torch.from_numpy(matrices(motion.rotations)), torch.from_numpy(np.array(motion.root_position))
    )
    expected = np.tile(np.eye(4), (*rotations.shape[:2], 1, 1))
    expected[..., :3, :3], expected[..., :3, 3] = rotations.numpy(), positions.numpy()
    metres, degrees = largest_errors(rig, motion, np.arange(1, 21), expected)
    assert metres < 1e-4 and degrees < 0.01


def test_keys_lie_at_the_videos_own_times(addon: Any, empty: Any, make_motion: Any) -> None:
    """Variable frame rate, a scene of another rate: keys fall between frames, and nothing is resampled."""
    rng = np.random.default_rng(5)
    times = np.concatenate([[0.0], np.cumsum(rng.uniform(0.02, 0.06, 50))])
    motion = make_motion(times)
    rig = animate(addon, empty, motion, rate=24.0, first=10)
    frames = 10 + times * 24.0
    for curve in addon.compat.fcurves(rig):
        keyed, _ = addon.compat.read_channel(curve)
        assert np.abs(keyed - frames).max() < 2e-3
    metres, degrees = largest_errors(rig, motion, frames, forward(motion))
    assert metres < 5e-4 and degrees < 0.1
    assert empty.scene.render.fps == 24 and empty.scene.frame_end == 250


def test_rounding_errors_make_no_fractions(addon: Any) -> None:
    times = np.arange(10_000) * 1001 / 30000
    frames = addon.keyframes.frames_at(times, 30 / 1.001, 1)
    assert (frames == np.arange(1, 10_001)).all()


@pytest.mark.parametrize("fps", [23.976, 24000 / 1001, 25.0, 29.97, 30000 / 1001, 59.94, 12.5, 119.88, 14.9])
def test_scene_takes_over_any_rate(addon: Any, empty: Any, human: Any, fps: float) -> None:
    camera = addon.core.camera.Camera(640, 361, 700.0, np.array([320.0, 180.5]), np.eye(3), np.zeros(3))
    addon.take_scene.match_scene(empty.scene, camera, fps, 100 / fps)
    assert addon.keyframes.scene_rate(empty.scene) == pytest.approx(fps, rel=1e-5)
    assert (empty.scene.frame_start, empty.scene.frame_end) == (1, 101)
    assert (empty.scene.render.resolution_x, empty.scene.render.resolution_y) == (640, 361)


def test_quaternions_never_jump(addon: Any, empty: Any, make_motion: Any) -> None:
    motion = make_motion(np.arange(200) / 30.0)  # the root turns more than twice
    rig = animate(addon, empty, motion)
    curves = {(c.data_path, c.array_index): addon.compat.read_channel(c)[1] for c in addon.compat.fcurves(rig)}
    for name in motion.skeleton.names:
        keys = np.stack([curves[f'pose.bones["{name}"].rotation_quaternion', i] for i in range(4)], axis=1)
        assert ((keys[1:] * keys[:-1]).sum(axis=1) > 0).all()
        assert np.abs(np.linalg.norm(keys, axis=1) - 1).max() < 1e-5


def test_confidence_is_animated_and_facts_survive_the_file(
    addon: Any, empty: Any, make_motion: Any, tmp_path: Path
) -> None:
    motion = make_motion(np.arange(30) / 30.0)
    animate(addon, empty, motion)
    path = tmp_path / "take.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path), copy=True)
    bpy.ops.wm.open_mainfile(filepath=str(path))
    rig = bpy.data.objects["human"]
    for frame in (1, 17, 30):
        bpy.context.scene.frame_set(frame)
        for joint, name in enumerate(motion.skeleton.names):
            assert rig.pose.bones[name]["confidence"] == pytest.approx(motion.confidence[frame - 1, joint], abs=1e-5)
    action = rig.animation_data.action
    contact = motion.contacts[0]
    assert json.loads(action[addon.keyframes.CONTACTS]) == [
        {"joint": contact.joint, "start": contact.start, "end": contact.end}
    ]
    assert addon.keyframes.provenance(action) == motion.provenance


def test_each_take_has_its_own_action(addon: Any, empty: Any, make_motion: Any) -> None:
    motion = make_motion(np.arange(5) / 30.0)
    rig = animate(addon, empty, motion)
    first = rig.animation_data.action
    second, _ = addon.keyframes.write_motion(rig, motion, "take", rate=30.0, first=1)
    assert first != second and rig.animation_data.action == second
    assert len(addon.compat.fcurves(rig)) == 3 + len(motion.skeleton) * 5


def test_ten_thousand_frames_are_quick(addon: Any, empty: Any, make_motion: Any) -> None:
    motion = make_motion(np.arange(10_000) / 30.0)
    rig = addon.rig.build_armature(empty, motion.skeleton, "human", empty.scene.collection)
    started = time.perf_counter()
    addon.keyframes.write_motion(rig, motion, "take", rate=30.0, first=1)
    seconds = time.perf_counter() - started
    keys = sum(len(curve.keyframe_points) for curve in addon.compat.fcurves(rig))
    assert keys == 10_000 * (3 + len(motion.skeleton) * 5)
    assert seconds < 15, f"{keys} keys took {seconds:.1f} s; one by one they would take minutes"
