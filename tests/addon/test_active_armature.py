# SPDX-License-Identifier: GPL-3.0-or-later
"""A video onto the active armature: its own skeleton is solved, it gets a new action, nothing else of it changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference import degrees_between, forward, quaternions_from_euler

bpy = pytest.importorskip("bpy", reason="needs the bpy module or a Blender binary")


@pytest.fixture
def rig(addon: Any, empty: Any, human: Any) -> Any:
    """An animator's armature: moved, turned and scaled, bones in several rotation modes, a bone above the pelvis and a
    prop, an action, a limit of its own."""
    rig = addon.rig.build_armature(empty, human, "hero", empty.scene.collection)
    bpy.ops.object.mode_set(mode="EDIT")
    bones = rig.data.edit_bones
    for name, head, tail in (("master", (0, 0, 0), (0, 0.5, 0)), ("prop", (1, 0, 0), (1, 0, 0.4))):
        bones.new(name)
        bones[name].head, bones[name].tail = head, tail
    bones["spine"].parent = bones["prop"].parent = bones["master"]
    bpy.ops.object.mode_set(mode="OBJECT")
    rig.location, rig.rotation_euler, rig.scale = (1, -2, 0.5), (0, 0, 0.8), (1.1, 1.1, 1.1)
    rig.pose.bones["shin.L"].rotation_mode = "XYZ"
    rig.pose.bones["upper_arm.R"].rotation_mode = "ZYX"
    rig.pose.bones["spine"].rotation_mode = "XZY"
    rig.pose.bones["shin.L"].constraints[0].max_x = 1.5
    rig.pose.bones["hand.L"].rotation_quaternion = (0.9, 0.3, 0.3, 0.1)
    rig.pose.bones["prop"].keyframe_insert("location", frame=3)
    rig.animation_data.action.name = "idle"
    empty.view_layer.update()
    return rig


def moving(addon: Any, skeleton: Any, count: int = 30) -> Any:
    """A motion of a skeleton whose joints swing through their whole range; free axes by half a turn."""
    times = np.arange(count) / 30
    joints = len(skeleton)
    phase = np.arange(joints * 3).reshape(joints, 3) * 0.7
    angles = skeleton.rom.mean(-1) + np.ptp(skeleton.rom, axis=-1) / 2 * np.sin(2.0 * times[:, None, None] + phase)
    angles[:, 0] = np.stack([0.2 * np.sin(times), 0 * times, 4.0 * times], axis=1)
    turns = [quaternions_from_euler(angles[:, j], skeleton.euler_order[j]) for j in range(joints)]
    path = skeleton.offset[0] + np.stack([0.4 * times, 0.3 * np.sin(times), 0.05 * np.cos(3 * times)], axis=1)
    return addon.core.motion.Motion(
        skeleton, times, np.stack(turns, axis=1), path, np.ones((count, joints)), (), {"device": "test"}
    )


def kept(rig: Any) -> dict[str, Any]:
    """All of the armature that must stay."""
    animation = rig.animation_data
    slot = getattr(animation, "action_slot", None)
    return {
        "action": (animation.action.name, animation.action.use_fake_user, slot and slot.identifier),
        "pose": {bone.name: tuple(map(tuple, bone.matrix_basis)) for bone in rig.pose.bones},
        "properties": {bone.name: sorted(bone.keys()) for bone in rig.pose.bones},
        "modes": [bone.rotation_mode for bone in rig.pose.bones],
        "limits": [(limit.min_x, limit.max_x) for bone in rig.pose.bones for limit in bone.constraints],
        "object": tuple(map(tuple, rig.matrix_world)),
        "objects": sorted(obj.name for obj in bpy.data.objects),
        "actions": sorted(action.name for action in bpy.data.actions if "camera" not in action.name),
        "cameras": sorted(camera.name for camera in bpy.data.cameras),
    }


def test_bones_stand_where_the_solver_put_them(addon: Any, empty: Any, rig: Any) -> None:
    solved = addon.read_rig.skeleton_to_solve(rig)
    assert "prop" not in solved.names and "master" not in solved.names
    motion = moving(addon, solved)
    addon.keyframes.write_motion(rig, motion, "take", rate=30.0, first=1)
    expected = forward(motion)
    for frame in range(1, 31):
        empty.scene.frame_set(frame)
        evaluated = rig.evaluated_get(empty.evaluated_depsgraph_get())
        for joint, name in enumerate(solved.names):
            world = np.array(evaluated.matrix_world @ evaluated.pose.bones[name].matrix)
            assert np.abs(world[:3, 3] - expected[frame - 1, joint, :3, 3]).max() < 1e-4, name
            turned = world[:3, :3] / np.cbrt(np.linalg.det(world[:3, :3]))
            # its Euler channels are interpolated by Blender as 32-bit floats, and its limits clamp the pose
            assert degrees_between(turned, expected[frame - 1, joint, :3, :3]) < 0.02, name


def test_euler_channels_do_not_jump(addon: Any, empty: Any, rig: Any) -> None:
    motion = moving(addon, addon.read_rig.skeleton_to_solve(rig), 60)
    addon.keyframes.write_motion(rig, motion, "take", rate=30.0, first=1)
    curves = {(c.data_path, c.array_index): addon.compat.read_channel(c)[1] for c in addon.compat.fcurves(rig)}
    euler = {path for path, _ in curves if path.endswith("rotation_euler")}
    assert euler == {f'pose.bones["{name}"].rotation_euler' for name in ("spine", "shin.L", "upper_arm.R")}
    # a turn by half a circle, or to the other of the two triples, would be a jump by pi
    assert max(np.abs(np.diff(curves[path, index])).max() for path in euler for index in range(3)) < 1.5
    # the root turns round and round
    assert max(np.ptp(curves['pose.bones["spine"].rotation_euler', index]) for index in range(3)) > 2 * np.pi


def test_an_import_onto_the_active_armature(addon: Any, backend: Any, empty: Any, rig: Any, video: Path) -> None:
    before = kept(rig)
    empty.scene.video2rig.armature = "ACTIVE"
    assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    after = kept(rig)
    assert after["action"][0] == "walk" and after["actions"] == ["idle", "walk"]
    assert bpy.data.actions["idle"].use_fake_user
    assert set(after["objects"]) - set(before["objects"]) == {"walk camera"}
    assert len(bpy.data.armatures) == 1
    for unchanged in ("modes", "limits", "object"):
        assert after[unchanged] == before[unchanged]
    assert set(json.loads(rig.animation_data.action["video2rig_provenance"])) == {"settings", "proportions"}
    assert empty.view_layer.objects.active == rig
    # the server's fake motion puts the root at the world's origin, at rest, whatever the object's own place
    world = np.array(rig.matrix_world @ rig.pose.bones["spine"].matrix)
    assert np.abs(world[:3, 3]).max() < 1e-5

    # once more: a third action, and the second is kept too
    assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    assert kept(rig)["actions"] == ["idle", "walk", "walk.001"]
    assert bpy.data.actions["walk"].use_fake_user


def test_an_armature_without_any_animation(addon: Any, backend: Any, empty: Any, human: Any, video: Path) -> None:
    rig = addon.rig.build_armature(empty, human, "bare", empty.scene.collection)
    empty.scene.video2rig.armature = "ACTIVE"
    assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    assert rig.animation_data.action.name == "walk"


def raising(addon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> None:
        raise addon.core.errors.Video2RigError("broke at the last step")

    monkeypatch.setattr(addon.keyframes.bounds, "find_at_bounds", breaks)


@pytest.mark.parametrize("animated", [True, False])
def test_a_failure_leaves_the_armature_as_it_was(
    addon: Any,
    backend: Any,
    empty: Any,
    rig: Any,
    video: Path,
    monkeypatch: pytest.MonkeyPatch,
    animated: bool,
) -> None:
    if not animated:
        rig.animation_data_clear()
        bpy.data.actions.remove(bpy.data.actions["idle"])
    before = kept(rig) if animated else [tuple(map(tuple, bone.matrix_basis)) for bone in rig.pose.bones]
    raising(addon, monkeypatch)
    empty.scene.video2rig.armature = "ACTIVE"
    with pytest.raises(RuntimeError, match="broke at the last step"):
        bpy.ops.video2rig.import_video(filepath=str(video))
    if animated:
        assert kept(rig) == before | {"actions": ["idle", "walk"]}
        empty.scene.frame_set(3)  # its action still moves it
        assert len(addon.compat.fcurves(rig)) == 3
    else:
        assert rig.animation_data is None and [action.name for action in bpy.data.actions] == ["walk"]
        assert [tuple(map(tuple, bone.matrix_basis)) for bone in rig.pose.bones] == before
    assert addon.kept.is_kept(bpy.data.actions["walk"])  # what was solved is not lost


def no_armature(rig: Any) -> None:
    bpy.context.view_layer.objects.active = None


def inverted(rig: Any) -> None:
    rig.pose.bones["shin.L"].constraints[0].min_x = 2.0


def no_legs(rig: Any) -> None:
    bpy.ops.object.mode_set(mode="EDIT")
    for bone in [bone for bone in rig.data.edit_bones if bone.name.startswith(("thigh", "shin", "foot", "toe"))]:
        rig.data.edit_bones.remove(bone)
    bpy.ops.object.mode_set(mode="OBJECT")


@pytest.mark.parametrize(
    ("change", "says"),
    [(no_armature, "no armature is active"), (inverted, "'shin.L' about X"), (no_legs, "legs were not found")],
)
def test_what_cannot_be_solved_is_told_before_anything_is_sent(
    addon: Any, empty: Any, rig: Any, video: Path, change: Callable[[Any], None], says: str, monkeypatch: Any
) -> None:
    change(rig)
    before = kept(rig)
    empty.scene.video2rig.armature = "ACTIVE"
    monkeypatch.setattr(addon.job, "reach", lambda wanted: pytest.fail("a server was asked for"))
    with pytest.raises(RuntimeError, match=says):
        bpy.ops.video2rig.import_video(filepath=str(video))
    assert kept(rig) == before


def test_an_armature_that_changed_meanwhile_is_left_alone(
    addon: Any, backend: Any, empty: Any, rig: Any, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    solve = addon.job.solve_blocking

    def meanwhile(work: Any, progress: Any) -> Any:
        take = solve(work, progress)
        rig.scale = (2, 2, 2)
        empty.view_layer.update()
        return take

    monkeypatch.setattr(addon.job, "solve_blocking", meanwhile)
    empty.scene.video2rig.armature = "ACTIVE"
    with pytest.raises(RuntimeError, match="hero was changed while"):
        bpy.ops.video2rig.import_video(filepath=str(video))
    assert sorted(action.name for action in bpy.data.actions) == ["idle", "walk"]
    assert addon.kept.is_kept(bpy.data.actions["walk"])


def test_the_command_line_takes_an_armature_by_name(
    addon: Any, backend: Any, empty: Any, rig: Any, video: Path, tmp_path: Path, capfd: Any
) -> None:
    out = str(tmp_path / "out.blend")
    assert addon.command.run(["convert", str(video), "-o", out, "--armature", "villain"]) == 1
    assert "no armature 'villain' in this scene; there are hero" in capfd.readouterr().err
    assert addon.command.run(["convert", str(video), "-o", out, "--armature", "hero"]) == 0
    bpy.ops.wm.open_mainfile(filepath=out)
    hero = bpy.data.objects["hero"]
    assert hero.animation_data.action.name == "walk" and len(bpy.data.armatures) == 1
    assert "idle" in bpy.data.actions


def test_joints_at_their_bounds_are_kept_with_the_action(addon: Any, empty: Any, human: Any) -> None:
    rig = addon.rig.build_armature(empty, human, "human", empty.scene.collection)
    count = 30
    rotations = np.zeros((count, len(human), 4))
    rotations[..., 0] = 1.0
    knee = human.index("left_knee")
    rotations[:, knee] = quaternions_from_euler(human.rom[knee, :, 1][None], human.euler_order[knee])
    times = np.arange(count) / 30
    motion = addon.core.motion.Motion(human, times, rotations, np.zeros((count, 3)), np.ones((count, len(human))))
    action, _ = addon.keyframes.write_motion(rig, motion, "take", rate=30.0, first=1)
    stays = addon.keyframes.at_bounds(action)
    assert stays[0]["title"] in ("left elbow extension", "right elbow extension", "left knee flexion")
    (stay,) = [stay for stay in stays if stay["joint"] == "shin.L"]
    assert stay["title"] == "left knee flexion" and stay["share"] == 1.0
    assert stay["intervals"] == [[0.0, pytest.approx(29 / 30)]]
    lines = addon.keyframes.at_bounds_lines(action, 2)
    assert len(lines) == 3 and lines[-1] == f"{len(stays) - 2} more" and "1.0 s (100%)" in lines[0]
