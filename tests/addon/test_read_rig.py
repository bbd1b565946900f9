# SPDX-License-Identifier: GPL-3.0-or-later
"""An armature read back: what `rig.py` built, what an animator changed of it, and armatures of others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from reference import matrices

bpy = pytest.importorskip("bpy", reason="needs the bpy module or a Blender binary")

PROFILES = ("clinical", "athlete", "kinepose", "opensim")


def built(addon: Any, context: Any, skeleton: Any) -> Any:
    rig = addon.rig.build_armature(context, skeleton, "human", context.scene.collection)
    context.view_layer.update()
    return rig


def in_order_of(read: Any, skeleton: Any) -> Any:
    """Return a skeleton with the joints in another's order; Blender has an order of its own."""
    assert sorted(read.names) == sorted(skeleton.names)
    order = [read.names.index(name) for name in skeleton.names]
    return dataclasses.replace(
        read,
        names=tuple(read.names[j] for j in order),
        parents=tuple(-1 if read.parents[j] < 0 else order.index(read.parents[j]) for j in order),
        roles=tuple(read.roles[j] for j in order),
        rest_rotation=read.rest_rotation[order],
        offset=read.offset[order],
        length=read.length[order],
        euler_order=tuple(read.euler_order[j] for j in order),
        rom=read.rom[order],
    )


def assert_same(read: Any, skeleton: Any) -> None:
    read = in_order_of(read, skeleton)
    for field in ("names", "parents", "roles", "euler_order"):
        assert getattr(read, field) == getattr(skeleton, field), field
    for field, tolerance in (("rest_rotation", 1e-5), ("offset", 1e-6), ("length", 1e-6), ("rom", 1e-6)):
        assert np.abs(getattr(read, field) - getattr(skeleton, field)).max() < tolerance, field


def profile(addon: Any, name: str, height: float = 1.75) -> Any:
    from video2rig.human import default_human

    return addon.core.skeleton.Skeleton.from_json(default_human(height, name).to_json())


@pytest.mark.parametrize("name", PROFILES)
def test_what_was_built_is_read_back(addon: Any, empty: Any, name: str) -> None:
    skeleton = profile(addon, name, height=1.6)
    assert_same(addon.read_rig.read_skeleton(built(addon, empty, skeleton)), skeleton)


def test_a_limit_that_was_edited_is_the_range_that_is_read(addon: Any, empty: Any, human: Any) -> None:
    rig = built(addon, empty, human)
    knee, shoulder = (rig.pose.bones[name].constraints[0] for name in ("shin.L", "upper_arm.R"))
    knee.min_x, knee.max_x = 0.1, 1.2
    shoulder.use_limit_z = False
    shoulder.euler_order = "ZYX"
    read = in_order_of(addon.read_rig.read_skeleton(rig), human)
    rom = human.rom.copy()
    rom[human.index("left_knee"), 0] = 0.1, 1.2
    rom[human.index("right_shoulder"), 2] = -np.pi, np.pi
    assert np.abs(read.rom - rom).max() < 1e-6
    assert read.euler_order[human.index("right_shoulder")] == "ZYX"


def test_edit_mode_is_read_as_it_stands(addon: Any, empty: Any, human: Any) -> None:
    rig = built(addon, empty, human)
    bpy.ops.object.mode_set(mode="EDIT")
    rig.data.edit_bones["shin.L"].tail.z -= 0.02
    read = addon.read_rig.read_skeleton(rig)
    assert read.length[read.index("left_knee")] == pytest.approx(
        human.length[human.index("left_knee")] + 0.02, abs=1e-5
    )


def hand_made(context: Any, bones: dict[str, tuple[str | None, tuple, tuple]]) -> Any:
    """An armature of name: (parent, head, tail)."""
    rig = bpy.data.objects.new("mine", bpy.data.armatures.new("mine"))
    context.scene.collection.objects.link(rig)
    context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    for name, (parent, head, tail) in bones.items():
        bone = rig.data.edit_bones.new(name)
        bone.head, bone.tail = head, tail
        bone.parent = rig.data.edit_bones[parent] if parent else None
    bpy.ops.object.mode_set(mode="OBJECT")
    context.view_layer.update()
    return rig


ARM = {"a": (None, (0, 0, 0), (0, 0, 1)), "b": ("a", (0, 0, 1), (0, 1, 1)), "c": ("b", (0, 1, 1), (1, 1, 1))}


def test_bones_without_a_constraint_are_free_and_locks_are_locks(addon: Any, empty: Any) -> None:
    rig = hand_made(empty, ARM)
    rig.pose.bones["b"].rotation_mode = "ZXY"
    rig.pose.bones["c"].lock_rotation = (True, False, True)
    limit = rig.pose.bones["c"].constraints.new("LIMIT_ROTATION")
    limit.owner_space, limit.use_limit_z, limit.min_z, limit.max_z = "LOCAL", True, 0.5, 1.0
    read = addon.read_rig.read_skeleton(rig)
    assert read.names == ("a", "b", "c") and read.roles == ("", "", "") and read.parents == (-1, 0, 1)
    assert np.allclose(read.rom[1], [-np.pi, np.pi]) and read.euler_order == ("XYZ", "ZXY", "XYZ")
    assert np.allclose(read.rom[2], [(0, 0), (-np.pi, np.pi), (0.5, 0.5)])
    assert read.free_axes()[2].tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("order", "mode", "expected"),
    [("AUTO", "YXZ", "YXZ"), ("AUTO", "QUATERNION", "XYZ"), ("AUTO", "AXIS_ANGLE", "XYZ"), ("ZYX", "YXZ", "ZYX")],
)
def test_the_euler_order_is_the_one_that_blender_clamps_in(
    addon: Any, empty: Any, order: str, mode: str, expected: str
) -> None:
    rig = hand_made(empty, ARM)
    bone = rig.pose.bones["b"]
    bone.rotation_mode = mode
    limit = bone.constraints.new("LIMIT_ROTATION")
    limit.owner_space, limit.euler_order = "LOCAL", order
    for axis in "xyz":
        setattr(limit, f"use_limit_{axis}", True)
    limit.max_x, limit.max_y, limit.max_z = 1.0, 0.8, 0.6
    read = addon.read_rig.read_skeleton(rig)
    assert read.euler_order[1] == expected
    # a pose inside the box of that order is left alone by Blender
    from reference import quaternions_from_euler

    quaternion = quaternions_from_euler(np.array([[0.99, 0.79, 0.59]]), expected)
    if mode == "QUATERNION":
        bone.rotation_quaternion = quaternion[0]
    elif mode == "AXIS_ANGLE":
        return  # its channels are four numbers of another kind
    else:
        from mathutils import Quaternion

        bone.rotation_euler = Quaternion(quaternion[0]).to_euler(mode)
    empty.view_layer.update()
    local = np.array(rig.convert_space(pose_bone=bone, matrix=bone.matrix, from_space="POSE", to_space="LOCAL"))
    assert np.abs(local[:3, :3] - matrices(quaternion)[0]).max() < 1e-5


def test_the_objects_place_turn_and_scale_are_the_worlds(addon: Any, empty: Any, human: Any) -> None:
    rig = built(addon, empty, human)
    rig.location, rig.rotation_euler, rig.scale = (1, 2, 3), (0.3, -0.4, 2.0), (0.5, 0.5, 0.5)
    empty.view_layer.update()
    read = in_order_of(addon.read_rig.read_skeleton(rig), human)
    rest = read.rest_matrices()
    for joint, name in enumerate(human.names):
        world = np.array(rig.matrix_world @ rig.data.bones[name].matrix_local)
        assert np.abs(rest[joint, :3, 3] - world[:3, 3]).max() < 1e-5
        assert np.abs(rest[joint, :3, :3] - world[:3, :3] / 0.5).max() < 1e-5
    assert np.allclose(read.length, human.length / 2, atol=1e-6)


def test_the_pelvis_is_the_root_wherever_it_hangs(addon: Any, empty: Any) -> None:
    bones = {
        "master": (None, (0, 0, 0), (0, 1, 0)),
        "spine": ("master", (0, 0, 1), (0, 0, 1.2)),
        "thigh.L": ("spine", (0.1, 0, 1), (0.1, 0, 0.5)),
        "prop": ("master", (1, 0, 0), (1, 0, 1)),
        "loose": (None, (2, 0, 0), (2, 0, 1)),
    }
    read = addon.read_rig.read_skeleton(hand_made(empty, bones))
    assert read.names == ("spine", "thigh.L") and read.roles == ("pelvis", "left_hip")
    assert np.allclose(read.rest_matrices()[:, :3, 3], [(0, 0, 1), (0.1, 0, 1)], atol=1e-6)


def limit_on(rig: Any, bone: str = "b") -> Any:
    limit = rig.pose.bones[bone].constraints.new("LIMIT_ROTATION")
    limit.owner_space = "LOCAL"
    limit.use_limit_x = True
    return limit


def inverted(rig: Any) -> None:
    limit = limit_on(rig)
    limit.min_x, limit.max_x = 1.0, -1.0


def in_world_space(rig: Any) -> None:
    limit_on(rig).owner_space = "WORLD"


def twice(rig: Any) -> None:
    limit_on(rig), limit_on(rig)


def half(rig: Any) -> None:
    limit_on(rig).influence = 0.5


def uneven(rig: Any) -> None:
    rig.scale = (1, 2, 1)


def mirrored(rig: Any) -> None:
    rig.scale = (-1, 1, 1)


def not_inheriting(rig: Any) -> None:
    rig.data.bones["c"].use_inherit_rotation = False


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (inverted, r"'b' about X are inverted \(57.3 to -57.3 degrees\)"),
        (in_world_space, "'b' does not work in local space"),
        (twice, "'b' is there 2 times"),
        (half, "'b' has an influence of 0.50"),
        (uneven, "scaled unevenly"),
        (mirrored, "mirrored"),
        (not_inheriting, "'c' does not inherit"),
    ],
)
def test_what_cannot_be_a_range_is_refused_by_name(
    addon: Any, empty: Any, change: Callable[[Any], None], says: str
) -> None:
    rig = hand_made(empty, ARM)
    change(rig)
    empty.view_layer.update()
    with pytest.raises(addon.read_rig.RigError, match=says) as error:
        addon.read_rig.read_skeleton(rig)
    assert str(error.value).startswith("mine") and "\n" not in str(error.value)


def test_muted_limits_are_none(addon: Any, empty: Any) -> None:
    rig = hand_made(empty, ARM)
    inverted(rig)
    rig.pose.bones["b"].constraints[0].mute = True
    assert np.allclose(addon.read_rig.read_skeleton(rig).rom[1], [-np.pi, np.pi])


def test_no_armature_no_bones_and_several_roots(addon: Any, empty: Any) -> None:
    read, error = addon.read_rig.read_skeleton, addon.read_rig.RigError
    with pytest.raises(error, match="is no armature"):
        read(bpy.data.objects.new("cube", bpy.data.meshes.new("cube")))
    with pytest.raises(error, match="has no bones"):
        read(hand_made(empty, {}))
    with pytest.raises(error, match=r"2 bones without a parent \(a, b\) and none named 'spine'"):
        read(hand_made(empty, {"a": (None, (0, 0, 0), (0, 0, 1)), "b": (None, (1, 0, 0), (1, 0, 1))}))


def test_fingers_are_left_out_of_what_is_solved_and_the_object_stands_at_the_origin(
    addon: Any, empty: Any, human: Any
) -> None:
    rig = built(addon, empty, human)
    bpy.ops.object.mode_set(mode="EDIT")
    hand = rig.data.edit_bones["hand.L"]
    finger = rig.data.edit_bones.new("finger")
    finger.head, finger.tail, finger.parent = hand.tail, hand.tail + hand.vector, hand
    # a bone between two that have roles stays in
    between = rig.data.edit_bones.new("twist.L")
    arm, fore = rig.data.edit_bones["upper_arm.L"], rig.data.edit_bones["forearm.L"]
    between.head, between.tail, between.parent = arm.center, arm.tail, arm
    fore.parent = between
    bpy.ops.object.mode_set(mode="OBJECT")
    rig.location = (5, 0, 7)
    empty.view_layer.update()
    solved = addon.read_rig.skeleton_to_solve(rig)
    assert "finger" not in solved.names and "twist.L" in solved.names
    assert set(solved.names) - {"twist.L"} == set(human.names)
    assert np.abs(solved.offset[0] - human.offset[0]).max() < 1e-5
    assert solved.lowest() == pytest.approx(human.lowest(), abs=1e-5)
    addon.read_rig.check_unchanged(rig, solved)
    rig.scale = (2, 2, 2)
    empty.view_layer.update()
    with pytest.raises(addon.read_rig.RigError, match="was changed while"):
        addon.read_rig.check_unchanged(rig, solved)


def test_limits_that_blender_may_misread_are_told(addon: Any, empty: Any, human: Any, video: Any) -> None:
    rig = built(addon, empty, human)
    solved = addon.read_rig.skeleton_to_solve(rig)
    assert addon.read_rig.warnings(solved) == []
    rig.pose.bones["forearm.L"].constraints[0].use_limit_y = False
    rig.pose.bones["thigh.R"].constraints[0].max_z = 1.7  # the middle axis of its order
    rig.pose.bones["spine.006"].constraints[0].mute = True  # no constraint, nothing that could misread it
    solved = addon.read_rig.skeleton_to_solve(rig)
    (line,) = addon.read_rig.warnings(solved)
    assert "forearm.L, thigh.R are" in line
    work = addon.job.Job(video, addon.core.settings.Settings(), None, solved)
    assert work.take_notices() == [line]


def connected(rig: Any) -> None:
    bpy.ops.object.mode_set(mode="EDIT")
    bones = rig.data.edit_bones
    above = bones.new("above")
    above.head, above.tail = (0, 0, 0), bones["spine"].head
    bones["spine"].parent, bones["spine"].use_connect = above, True
    bpy.ops.object.mode_set(mode="OBJECT")


def linked(rig: Any) -> None:
    """Link the armature from a file of its own, and forget the local one."""
    name = rig.name
    path = f"{bpy.app.tempdir}linked.blend"
    bpy.data.libraries.write(path, {rig})
    bpy.data.objects.remove(rig)
    with bpy.data.libraries.load(path, link=True) as (_, there):
        there.objects = [name]
    bpy.context.scene.collection.objects.link(there.objects[0])


@pytest.mark.parametrize(
    ("change", "says"),
    [(connected, "'spine' is connected to its parent"), (linked, "linked from another file; make a library override")],
)
def test_what_cannot_be_solved_is_refused_by_name(
    addon: Any, empty: Any, human: Any, change: Callable[[Any], None], says: str
) -> None:
    rig = built(addon, empty, human)
    change(rig)
    rig = next(obj for obj in bpy.data.objects if obj.type == "ARMATURE")
    with pytest.raises(addon.read_rig.RigError, match=says):
        addon.read_rig.skeleton_to_solve(rig)
