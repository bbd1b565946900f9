# SPDX-License-Identifier: GPL-3.0-or-later
"""Rigs of every family: found, and then moved in Blender exactly as their skeleton was solved to move."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference import degrees_between, forward, quaternions_from_euler
from rigs import KINDS, build, rigify

bpy = pytest.importorskip("bpy", reason="needs the bpy module or a Blender binary")
from mathutils import Quaternion  # noqa: E402


def moving(addon: Any, skeleton: Any, count: int = 24, seed: int = 0) -> Any:
    """A motion of a skeleton whose joints swing through their whole range, and which walks and turns."""
    rng = np.random.default_rng(seed)
    times = np.arange(count) / 24
    joints = len(skeleton)
    phase = rng.uniform(0, 6, (joints, 3))
    angles = skeleton.rom.mean(-1) + np.ptp(skeleton.rom, axis=-1) / 2 * np.sin(2.0 * times[:, None, None] + phase)
    angles[:, 0] = np.stack([0.2 * np.sin(times), 0 * times, 4.0 * times], axis=1)
    turns = [quaternions_from_euler(angles[:, j], skeleton.euler_order[j]) for j in range(joints)]
    path = skeleton.offset[0] + np.stack([0.4 * times, 0.3 * np.sin(times), 0.05 * np.cos(3 * times)], axis=1)
    return addon.core.motion.Motion(
        skeleton, times, np.stack(turns, axis=1), path, rng.uniform(0, 1, (count, joints)), (), {"device": "test"}
    )


def shown(rig: Any, names: list[str], frame: int) -> np.ndarray:
    """Return [N, 4, 4] world matrices of bones at a frame, as Blender evaluates them; axes of length one."""
    bpy.context.scene.frame_set(frame)
    evaluated = rig.evaluated_get(bpy.context.evaluated_depsgraph_get())
    found = np.array([evaluated.matrix_world @ evaluated.pose.bones[name].matrix for name in names], dtype=np.float64)
    found[:, :3, :3] /= np.cbrt(np.linalg.det(found[:, :3, :3]))[:, None, None]
    return found


def play(addon: Any, context: Any, rig: Any, frames: int = 24) -> tuple[Any, Any, Any]:
    """Solve nothing: write a motion of the rig's skeleton. Return the skeleton, the motion and what was keyed."""
    skeleton = addon.read_rig.skeleton_to_solve(rig)
    motion = moving(addon, skeleton, frames)
    _, pose = addon.keyframes.write_motion(rig, motion, "take", rate=24.0, first=1)
    return skeleton, motion, pose


def errors(rig: Any, skeleton: Any, motion: Any, show: dict[str, str] | None = None) -> tuple[float, float]:
    """Return the largest distance of joint centres from the solved ones, metres, over all mapped joints and frames; and
    the largest rotation between neighbouring frames that exceeds the motion's own, degrees.

    Args:
        show: Bones whose heads are looked at in place of mapped ones.
    """
    expected = forward(motion)
    joints = [j for j, name in enumerate(skeleton.names) if j and name in rig.data.bones]
    names = [(show or {}).get(skeleton.names[j], skeleton.names[j]) for j in joints]
    apart, over, before = 0.0, 0.0, None
    for frame in range(len(motion)):
        now = shown(rig, names, frame + 1)
        apart = max(apart, float(np.linalg.norm(now[:, :3, 3] - expected[frame, joints, :3, 3], axis=1).max()))
        if before is not None:
            own = degrees_between(expected[frame, joints, :3, :3], expected[frame - 1, joints, :3, :3])
            over = max(over, float((degrees_between(now[:, :3, :3], before[:, :3, :3]) - own).max()))
        before = now
    return apart, over


@pytest.mark.parametrize("name", KINDS)
def test_joint_centres_stand_where_they_were_solved(addon: Any, empty: Any, human: Any, name: str) -> None:
    rig = build(empty, human, KINDS[name], np.random.default_rng(5))
    rig.location = (0, 0, 0)
    found = addon.mapping.of(rig)
    assert found.family == KINDS[name].family, found
    skeleton, motion, pose = play(addon, empty, rig)
    apart, over = errors(rig, skeleton, motion)
    assert apart < 2e-4 and over < 0.1
    assert addon.retargeting.what_holds(rig, pose, np.arange(1, 25)) == []
    # the skeleton is the default human's but for what the rig's bones are: same axes, same ranges
    for joint, role in enumerate(skeleton.roles):
        if skeleton.names[joint] in rig.data.bones and "spine" not in role and role not in ("neck", "head"):
            assert np.abs(skeleton.rom[joint] - human.rom[human.index(role)]).max() < 1e-6, role
    assert skeleton.offset[0, 2] == pytest.approx(human.offset[0, 2], abs=0.02)


@pytest.mark.parametrize("name", KINDS)
def test_hands_and_feet_reach_where_the_source_pose_scaled_to_the_rig_has_them(
    addon: Any, empty: Any, human: Any, name: str
) -> None:
    """Joint by joint the rotations of another body: of the same proportions but for where its spine bends."""
    scale = 1.15
    rig = build(empty, human, KINDS[name], np.random.default_rng(15), height=scale)
    skeleton = addon.read_rig.skeleton_to_solve(rig)
    source = moving(addon, human)
    given = dict(zip(human.roles, np.moveaxis(source.rotations, 1, 0), strict=True))
    free = dict(zip(skeleton.roles, skeleton.free_axes().any(axis=1), strict=True))
    still = np.tile([1.0, 0, 0, 0], (len(source), 1))
    turned = np.stack([given[role] if free[role] else still for role in skeleton.roles], axis=1)
    motion = dataclasses.replace(
        source, skeleton=skeleton, rotations=turned, root_position=source.root_position * scale
    )
    addon.keyframes.write_motion(rig, motion, "take", rate=24.0, first=1)
    ends = [f"{side}_{role}" for side in ("left", "right") for role in ("wrist", "ankle")]
    if free["neck"]:
        ends.append("head")
    expected = forward(source)[..., :3, 3][:, [human.index(role) for role in ends]] * scale
    worst = 0.0
    for frame in range(len(source)):
        reached = shown(rig, [skeleton.names[skeleton.index(role)] for role in ends], frame + 1)[:, :3, 3]
        worst = max(worst, float(np.linalg.norm(reached - expected[frame], axis=1).max()))
    assert worst < 0.02 * 1.75 * scale, f"{worst / 1.75 / scale:.1%} of the height"


@pytest.mark.parametrize("name", KINDS)
def test_a_placed_and_parented_rig_moves_in_the_world_as_it_was_solved(
    addon: Any, empty: Any, human: Any, name: str
) -> None:
    rig = build(empty, human, KINDS[name], np.random.default_rng(6), height=1.2)
    holder = bpy.data.objects.new("holder", None)
    empty.scene.collection.objects.link(holder)
    holder.location, holder.rotation_euler, holder.scale = (1, 2, 0.1), (0.0, 0, 0.7), (1.3,) * 3
    rig.parent = holder
    # the pose that bones without a role have is theirs, and the solved ones go on from there
    for bone in rig.pose.bones:
        if bone.name in ("LHipJoint", "upperarm02.L", "lowerleg02.R", "spine_02", "spine04"):
            addon.rig_bones.turn_bone(bone, Quaternion((0.98, 0.1, 0.1, 0.1)).normalized())
    rig.data.bones[addon.mapping.of(rig).bones["left_elbow"]].use_inherit_rotation = False
    rig.data.bones[addon.mapping.of(rig).bones["pelvis"]].use_local_location = False
    empty.view_layer.update()
    skeleton, motion, pose = play(addon, empty, rig, 12)
    assert addon.retargeting.what_holds(rig, pose, np.arange(1, 13)) == []
    expected = forward(motion)
    hips = [skeleton.index(f"{side}_hip") for side in ("left", "right")]
    for frame in (0, 7, 11):
        now = shown(rig, [skeleton.names[j] for j in hips], frame + 1)[:, :3, 3]
        if name != "cmu":  # whose left hip was moved by hand
            assert np.abs(now - expected[frame, hips, :3, 3]).max() < 5e-4


@pytest.fixture(scope="module")
def generated(addon: Any) -> Path:
    """A file with Rigify's generated rig."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    rig = rigify(bpy.context, generate=True)
    rig.name = "generated"
    path = Path(bpy.app.tempdir) / "generated.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path), copy=True)
    return path


def test_rigifys_generated_rig_is_moved_by_its_fk_controls(addon: Any, generated: Path) -> None:
    bpy.ops.wm.open_mainfile(filepath=str(generated))
    context, rig = bpy.context, bpy.data.objects["generated"]
    context.view_layer.objects.active = rig
    assert addon.mapping.of(rig).family == "rigify_generated"
    assert rig.pose.bones["thigh_parent.L"]["IK_FK"] == 0.0
    skeleton, motion, pose = play(addon, context, rig)
    assert rig.pose.bones["thigh_parent.L"]["IK_FK"] == 1.0
    assert addon.retargeting.what_was_set(pose) == [
        "set and keyed on the rig: limbs to FK, neck follows the chest, head follows the neck"
    ]
    apart, over = errors(rig, skeleton, motion)
    assert apart < 5e-4 and over < 0.2
    assert addon.retargeting.what_holds(rig, pose, np.arange(1, 25)) == []
    # what deforms the body goes along
    deform = {
        f"{part}_fk{side}": f"DEF-{part}{side}"
        for part in ("upper_arm", "forearm", "hand", "thigh", "shin", "foot", "toe")
        for side in (".L", ".R")
    }
    apart, _ = errors(rig, skeleton, motion, deform)
    assert apart < 0.005
    keyed = {curve.data_path for curve in addon.compat.fcurves(rig)}
    assert 'pose.bones["upper_arm_parent.R"]["IK_FK"]' in keyed


def test_rigifys_metarig_is_solved_with_the_default_limits(addon: Any, empty: Any, human: Any) -> None:
    rig = rigify(empty, generate=False)
    assert addon.mapping.of(rig).family == "rigify_metarig"
    skeleton, motion, _ = play(addon, empty, rig)
    assert skeleton.roles == human.roles and set(skeleton.names) == set(human.names)
    assert np.abs(skeleton.rom - human.rom).max() < 1e-6
    apart, over = errors(rig, skeleton, motion)
    assert apart < 2e-4 and over < 0.1


def test_limits_of_single_bones_are_kept_in_their_own_axes(addon: Any, empty: Any, human: Any) -> None:
    rig = build(empty, human, KINDS["mixamo"], np.random.default_rng(7))
    limit = rig.pose.bones["mixamorig:LeftForeArm"].constraints.new("LIMIT_ROTATION")
    limit.owner_space = "LOCAL"
    limit.use_limit_x = limit.use_limit_y = limit.use_limit_z = True
    limit.min_x, limit.max_x, limit.min_y, limit.max_y, limit.min_z, limit.max_z = -0.2, 1.0, -0.1, 0.1, 0.0, 0.0
    skeleton, motion, pose = play(addon, empty, rig)
    joint = skeleton.index("left_elbow")
    assert np.allclose(skeleton.rom[joint], [(-0.2, 1.0), (-0.1, 0.1), (0, 0)])
    apart, over = errors(rig, skeleton, motion)
    assert apart < 2e-4 and over < 0.1  # so the constraint clamps nothing
    assert addon.retargeting.what_holds(rig, pose, np.arange(1, 25)) == []


def test_a_bone_that_travels_takes_the_path_along_the_floor(addon: Any, empty: Any, human: Any) -> None:
    rig = build(empty, human, KINDS["unreal"], np.random.default_rng(8))
    bpy.ops.object.mode_set(mode="EDIT")
    root = rig.data.edit_bones.new("root")
    root.head, root.tail = (0, 0, 0), (0, 20, 0)
    rig.data.edit_bones["pelvis"].parent = root
    bpy.ops.object.mode_set(mode="OBJECT")
    rig.pose.bones["root"].rotation_mode = "QUATERNION"
    addon.mapping.keep(rig, addon.mapping.of(rig)._replace(travel="root"))
    skeleton, motion, _ = play(addon, empty, rig)
    apart, _ = errors(rig, skeleton, motion)
    assert apart < 2e-4
    start, end = (shown(rig, ["root"], frame)[0, :3, 3] for frame in (1, 24))
    assert np.linalg.norm(end - start) > 0.3 and end[2] == pytest.approx(0, abs=1e-5)
    hips = [shown(rig, ["pelvis", "root"], frame)[:, :3, 3] for frame in (1, 12, 24)]
    beside = np.array([here[0, :2] - here[1, :2] for here in hips])
    assert np.ptp(beside, axis=0).max() < 1e-4
    addon.mapping.keep(rig, addon.mapping.of(rig)._replace(travel="head"))
    with pytest.raises(addon.rig_bones.RigError, match="'head' that should travel does not carry 'pelvis'"):
        addon.retargeting.pose_on(rig, motion)


@pytest.mark.parametrize("name", ["cmu", "smpl_x"])
def test_the_rest_pose_before_a_take_is_at_rest_in_every_rotation_mode(
    addon: Any, empty: Any, human: Any, name: str
) -> None:
    rig = build(empty, human, KINDS[name], np.random.default_rng(14))
    play(addon, empty, rig, 4)
    with addon.compat.rest_key(rig, 0):
        empty.scene.frame_set(0)
        turned = [np.array(bone.matrix_basis) for bone in rig.pose.bones]
        assert np.abs(np.array(turned) - np.eye(4)).max() < 1e-6
    assert {int(addon.compat.read_channel(curve)[0][0]) for curve in addon.compat.fcurves(rig)} == {1}


def test_a_rig_that_is_changed_while_it_is_solved_is_left_alone(addon: Any, empty: Any, human: Any) -> None:
    rig = build(empty, human, KINDS["mixamo"], np.random.default_rng(13))
    skeleton = addon.read_rig.skeleton_to_solve(rig)
    bpy.ops.object.mode_set(mode="EDIT")
    addon.read_rig.check_unchanged(rig, skeleton)  # edit mode alone changes nothing
    bone = rig.data.edit_bones["mixamorig:LeftLeg"]
    bone.tail += bone.x_axis * 10
    bone.head += bone.x_axis * 10
    with pytest.raises(addon.rig_bones.RigError, match="mixamo was changed while the video was solved"):
        addon.read_rig.check_unchanged(rig, skeleton)
    rig.data.edit_bones.remove(bone)
    bpy.ops.object.mode_set(mode="OBJECT")
    with pytest.raises(addon.rig_bones.RigError, match="mixamo was changed while the video was solved"):
        addon.read_rig.check_unchanged(rig, skeleton)


def test_a_bone_that_a_constraint_holds_is_told(addon: Any, empty: Any, human: Any) -> None:
    rig = build(empty, human, KINDS["smpl_x"], np.random.default_rng(9))
    target = bpy.data.objects.new("target", None)
    empty.scene.collection.objects.link(target)
    target.location = (0.3, -1, 1)
    constraint = rig.pose.bones["left_elbow"].constraints.new("IK")
    constraint.target, constraint.chain_count = target, 2
    _, _, pose = play(addon, empty, rig)
    lines = addon.retargeting.what_holds(rig, pose, np.arange(1, 25))
    assert len(lines) == 1 and "'left_elbow' is held by its constraints ('IK')" in lines[0]
    constraint.mute = True
    assert addon.retargeting.what_holds(rig, pose, np.arange(1, 25)) == []


def test_parents_through_constraints_are_found_out(addon: Any, empty: Any, human: Any) -> None:
    """Arms hang on a bone without a parent, which an Armature constraint takes along, as rigs' space switches do."""
    rig = build(empty, human, KINDS["vroid"], np.random.default_rng(10))
    bpy.ops.object.mode_set(mode="EDIT")
    bones = rig.data.edit_bones
    for side in "LR":
        socket = bones.new(f"socket.{side}")
        socket.head, socket.tail = bones[f"J_Bip_{side}_UpperArm"].head, bones[f"J_Bip_{side}_UpperArm"].tail
        bones[f"J_Bip_{side}_UpperArm"].parent = socket
    bpy.ops.object.mode_set(mode="OBJECT")
    for side in "LR":
        follow = rig.pose.bones[f"socket.{side}"].constraints.new("ARMATURE").targets.new()
        follow.target, follow.subtarget = rig, f"J_Bip_{side}_Shoulder"
    empty.view_layer.update()
    before = [tuple(map(tuple, bone.matrix_basis)) for bone in rig.pose.bones]
    skeleton = addon.read_rig.skeleton_to_solve(rig)
    addon.retargeting.pose_on(rig, moving(addon, skeleton))
    assert [tuple(map(tuple, bone.matrix_basis)) for bone in rig.pose.bones] == before
    skeleton, motion, _ = play(addon, empty, rig)
    apart, over = errors(rig, skeleton, motion)
    assert apart < 2e-4 and over < 0.1
    # one that follows by half cannot be told in keys
    half = rig.pose.bones["socket.L"].constraints[0]
    half.influence = 0.5
    with pytest.raises(addon.rig_bones.RigError, match="'J_Bip_L_UpperArm' follows several bones in part"):
        addon.retargeting.pose_on(rig, motion)


def test_the_map_is_kept_edited_saved_and_loaded(addon: Any, empty: Any, human: Any, tmp_path: Path) -> None:
    rig = build(empty, human, KINDS["unknown"], np.random.default_rng(11))
    kept = rig.data.video2rig_bones
    assert not kept.kept
    assert bpy.ops.video2rig.find_bones() == {"FINISHED"}
    assert kept.kept and kept.left_knee == "q_6" and "structure" in kept.told
    kept.spine_middle = ""
    path = tmp_path / "bones.json"
    assert bpy.ops.video2rig.save_bones(filepath=str(path)) == {"FINISHED"}
    assert json.loads(path.read_text())["bones"]["left_knee"] == "q_6"
    skeleton = addon.read_rig.skeleton_to_solve(rig)
    assert not skeleton.rom[skeleton.index("spine_middle")].any()
    assert "it lacks spine middle, neck" in addon.read_rig.told_of(rig, skeleton)
    # the file is kept with the armature, and a file tells another armature
    blend = tmp_path / "rig.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(blend), copy=True)
    bpy.ops.wm.open_mainfile(filepath=str(blend))
    rig = bpy.data.objects["unknown"]
    bpy.context.view_layer.objects.active = rig
    assert rig.data.video2rig_bones.left_knee == "q_6" and rig.data.video2rig_bones.spine_middle == ""
    assert bpy.ops.video2rig.forget_bones() == {"FINISHED"}
    assert addon.mapping.of(rig).bones["spine_middle"] == "k2"
    assert bpy.ops.video2rig.load_bones(filepath=str(path)) == {"FINISHED"}
    assert "spine_middle" not in addon.mapping.of(rig).bones
    rig.data.bones["q_6"].name = "other"
    with pytest.raises(RuntimeError, match="does not fit unknown: the bone 'q_6', mapped to left knee, is not there"):
        bpy.ops.video2rig.load_bones(filepath=str(path))
    with pytest.raises(addon.rig_bones.RigError, match="'q_6', mapped to left knee, is not there; see Bones"):
        addon.read_rig.skeleton_to_solve(rig)
    path.write_text("{}")
    with pytest.raises(RuntimeError, match="cannot be read as a map of bones"):
        bpy.ops.video2rig.load_bones(filepath=str(path))


def test_what_a_vrm_says_of_itself_comes_first(addon: Any, empty: Any) -> None:
    from types import SimpleNamespace as Held

    def held(name: str) -> Held:
        return Held(node=Held(bone_name=name))

    names = addon.families.vrm.HUMANOID_NAMES
    one = Held(left_upper_arm=held("arm one"), hips=held("hip one"), head=held("gone"))
    zero = [Held(bone="leftHand", node=Held(bone_name="hand zero")), Held(bone="hips", node=Held(bone_name="hip zero"))]
    extension = Held(vrm1=Held(humanoid=Held(human_bones=one)), vrm0=Held(humanoid=Held(human_bones=zero)))
    found = addon.mapping.vrm_bones(extension, {"arm one", "hip one", "hip zero", "hand zero"})
    assert found == {"pelvis": "hip one", "left_shoulder": "arm one", "left_wrist": "hand zero"}
    assert set(names) == set(addon.core.rig_skeleton.ROLES)


def test_a_library_override_is_animated_and_a_linked_rig_refused(
    addon: Any, empty: Any, human: Any, tmp_path: Path
) -> None:
    rig = build(empty, human, KINDS["mixamo"], np.random.default_rng(12))
    path = tmp_path / "library.blend"
    bpy.data.libraries.write(str(path), {rig})
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    context = bpy.context
    with bpy.data.libraries.load(str(path), link=True) as (_, there):
        there.objects = ["mixamo"]
    linked = bpy.data.objects["mixamo"]
    context.scene.collection.objects.link(linked)
    with pytest.raises(addon.rig_bones.RigError, match="linked from another file; make a library override"):
        addon.read_rig.skeleton_to_solve(linked)
    override = linked.override_create(remap_local_usages=True)
    override.override_library.is_system_override = False
    context.view_layer.objects.active = override
    context.view_layer.update()
    skeleton, motion, _ = play(addon, context, override)
    apart, over = errors(override, skeleton, motion)
    assert apart < 2e-4 and over < 0.1
    # its data is linked all the same
    with pytest.raises(RuntimeError, match="are linked from another file and cannot keep a map"):
        bpy.ops.video2rig.find_bones()
