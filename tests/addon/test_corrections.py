# SPDX-License-Identifier: GPL-3.0-or-later
"""A layer of corrections over a solved motion: it composes as it should, and survives solving again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference import degrees_between, multiply, pose_matrices, quaternions_from_euler
from test_solve_again import height

bpy = pytest.importorskip("bpy", reason="needs the bpy module or a Blender binary")

QUATERNION, EULER = "upper_arm.L", "forearm.L"
FRAMES = (1.0, 2.5, 7.0, 13.25, 20.0)


def poses(rig: Any) -> np.ndarray:
    """[T, J, 4, 4] at some frames, whole ones and others."""
    found = []
    for frame in FRAMES:
        bpy.context.scene.frame_set(int(frame), subframe=frame % 1)
        found.append(pose_matrices(rig))
    return np.array(found)


@pytest.fixture
def solved(addon: Any, empty: Any, make_motion: Any) -> Any:
    """An armature with a motion of fractional frames, some bones turned by Euler angles."""
    motion = make_motion(0.02 + np.arange(40) / 30.0)
    rig = addon.rig.build_armature(empty, motion.skeleton, "human", empty.scene.collection)
    rig.pose.bones[EULER].rotation_mode = "XZY"
    rig.pose.bones["spine"].rotation_mode = "AXIS_ANGLE"
    action, _ = addon.keyframes.write_motion(rig, motion, "take", rate=23.976, first=1)
    for bone in rig.pose.bones:
        for constraint in bone.constraints:
            constraint.mute = True
    return rig, action


def test_an_empty_layer_changes_nothing(addon: Any, solved: Any) -> None:
    rig, action = solved
    before = poses(rig)
    corrections = addon.layers.add_corrections(rig)
    assert rig.animation_data.action == corrections != action and corrections.name == "take corrections"
    assert np.abs(poses(rig) - before).max() < 1e-6
    holder = addon.layers.shown_by(rig)
    assert holder.action == corrections  # no take is kept on it
    with pytest.raises(addon.layers.LayerError, match="no action to correct"):
        addon.layers.add_corrections(bpy.data.objects.new("bare", bpy.data.armatures.new("bare")))


def test_corrections_compose(addon: Any, solved: Any) -> None:
    """Quaternions turn the bone further about its own axes, Euler angles and locations are added."""
    rig, _ = solved
    local: dict[str, list[np.ndarray]] = {QUATERNION: [], EULER: [], "location": []}
    for frame in FRAMES:
        bpy.context.scene.frame_set(int(frame), subframe=frame % 1)
        lower = np.array(rig.pose.bones[QUATERNION].rotation_quaternion)
        local[QUATERNION].append(lower / np.linalg.norm(lower))  # between keys its curves are not of unit length
        local[EULER].append(np.array(rig.pose.bones[EULER].rotation_euler))
        local["location"].append(np.array(rig.pose.bones[0].location))
    addon.layers.add_corrections(rig)
    turn, angles, step = np.array([np.cos(0.2), np.sin(0.2), 0.0, 0.0]), np.array([0.1, -0.2, 0.3]), [0.0, 0.1, 0.2]
    for bone, prop, value in (
        (QUATERNION, "rotation_quaternion", turn),
        (EULER, "rotation_euler", angles),
        (rig.pose.bones[0].name, "location", np.array(step)),
    ):
        path = f'pose.bones["{bone}"].{prop}'
        addon.compat.write_channels(rig, path, np.array([1.0, 30.0]), np.tile(value, (2, 1)), group=bone)
    for number, frame in enumerate(FRAMES):
        bpy.context.scene.frame_set(int(frame), subframe=frame % 1)
        shown = np.array(rig.pose.bones[QUATERNION].rotation_quaternion)
        shown /= np.linalg.norm(shown)
        wanted = multiply(local[QUATERNION][number][None], turn[None])[0]
        assert min(np.abs(shown - wanted).max(), np.abs(shown + wanted).max()) < 1e-5
        assert np.allclose(rig.pose.bones[EULER].rotation_euler, local[EULER][number] + angles, atol=1e-5)
        assert np.allclose(rig.pose.bones[0].location, local["location"][number] + step, atol=1e-5)


def test_a_key_shows_what_the_hand_posed(addon: Any, solved: Any) -> None:
    rig, _ = solved
    addon.layers.add_corrections(rig)
    arm, forearm = rig.pose.bones[QUATERNION], rig.pose.bones[EULER]
    # a pose that is keyed as it is says that nothing is corrected
    bpy.context.scene.frame_set(3)
    assert arm.keyframe_insert("rotation_quaternion") and forearm.keyframe_insert("rotation_euler")
    for curve in addon.compat.fcurves(rig):
        still = 1.0 if curve.data_path.endswith("quaternion") and curve.array_index == 0 else 0.0
        assert curve.evaluate(3) == pytest.approx(still, abs=1e-5)
    bpy.context.scene.frame_set(7)
    arm.rotation_quaternion, forearm.rotation_euler = (0.8, 0.6, 0.0, 0.0), (0.4, 0.5, -0.6)
    assert arm.keyframe_insert("rotation_quaternion") and forearm.keyframe_insert("rotation_euler")
    bpy.context.scene.frame_set(1)
    bpy.context.scene.frame_set(7)
    assert np.allclose(arm.rotation_quaternion, (0.8, 0.6, 0.0, 0.0), atol=1e-5)
    assert np.allclose(forearm.rotation_euler, (0.4, 0.5, -0.6), atol=1e-5)


def test_corrections_survive_solving_again(addon: Any, walk: Any, empty: Any, tmp_path: Path) -> None:
    first = walk.animation_data.action
    assert bpy.ops.video2rig.add_corrections() == {"FINISHED"}
    corrections = walk.animation_data.action
    empty.scene.frame_set(5)
    arm = walk.pose.bones[QUATERNION]
    arm.rotation_quaternion = quaternions_from_euler(np.array([[0.0, 0.0, 0.5]]), "XYZ")[0]
    assert arm.keyframe_insert("rotation_quaternion")
    keys = {c.data_path: addon.compat.read_channel(c)[1].tolist() for c in addon.compat.fcurves(walk)}
    turned = pose_matrices(walk)[:, :3, :3]
    for number, hertz in enumerate((2.0, 3.0), start=1):
        empty.scene.video2rig.smoothing_hz = hertz
        assert bpy.ops.video2rig.solve_again.poll()
        assert bpy.ops.video2rig.solve_again() == {"FINISHED"}
        (strip,) = walk.animation_data.nla_tracks[0].strips
        assert walk.animation_data.action == corrections and strip.action.name == f"walk.{number:03}"
        assert walk.animation_data.action_blend_type == "COMBINE" and walk.animation_data.use_nla
        assert height(walk) == pytest.approx(hertz, abs=1e-5)  # the new motion is beneath
        assert degrees_between(pose_matrices(walk)[:, :3, :3], turned).max() < 1e-3  # and the arm still turned
        assert addon.kept.read(strip.action).take.motion.provenance["again"]
    assert {c.data_path: addon.compat.read_channel(c)[1].tolist() for c in addon.compat.fcurves(walk)} == keys
    assert first.use_fake_user and bpy.data.actions["walk.001"].use_fake_user
    path = str(tmp_path / "layers.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.open_mainfile(filepath=path)
    rig = bpy.data.objects["walk"]
    bpy.context.view_layer.objects.active = rig
    bpy.ops.ed.undo_push(message="before")
    assert bpy.ops.video2rig.solve_again() == {"FINISHED"}
    bpy.ops.ed.undo_push(message="after")
    bpy.ops.ed.undo()
    rig = bpy.data.objects["walk"]
    assert rig.animation_data.nla_tracks[0].strips[0].action.name == "walk.002"
    assert rig.animation_data.action.name == "walk corrections"


def test_failures_leave_the_layers(addon: Any, walk: Any, empty: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bpy.ops.video2rig.add_corrections() == {"FINISHED"}
    with pytest.raises(RuntimeError, match="has a layer above its motion already: the action walk corrections"):
        bpy.ops.video2rig.add_corrections()
    animation = walk.animation_data
    before = animation.action, animation.nla_tracks[0].strips[0].action, sorted(bpy.data.actions.keys())

    def breaks(*_: object, **__: object) -> None:
        raise addon.core.errors.Video2RigError("broke at the last step")

    with monkeypatch.context() as patch:
        patch.setattr(addon.retargeting, "what_holds", breaks)
        with pytest.raises(RuntimeError, match="broke at the last step"):
            bpy.ops.video2rig.solve_again()
    now = animation.action, animation.nla_tracks[0].strips[0].action, sorted(bpy.data.actions.keys())
    assert now == before and animation.use_nla and animation.action_blend_type == "COMBINE"
    animation.nla_tracks[0].mute = True
    assert not bpy.ops.video2rig.solve_again.poll()
    animation.nla_tracks[0].mute = False
    animation.nla_tracks[0].strips[0].select = True
    animation.nla_tracks.active = animation.nla_tracks[0]
    animation.use_tweak_mode = True
    assert animation.use_tweak_mode
    with pytest.raises(RuntimeError, match="tweak mode; leave it first"):
        bpy.ops.video2rig.solve_again()
