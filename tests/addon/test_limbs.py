# SPDX-License-Identifier: GPL-3.0-or-later
"""Limbs that are switched off keep what they have; takes of others are solved on the armature that is active."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

bpy = pytest.importorskip("bpy", reason="needs the bpy module or a Blender binary")

ARM = ("shoulder.L", "upper_arm.L", "forearm.L", "hand.L")
ALL = {"LEFT_ARM", "RIGHT_ARM", "LEFT_LEG", "RIGHT_LEG", "HEAD"}


def curves_of(addon: Any, rig: Any, bone: str) -> dict[tuple[str, int], list[Any]]:
    """Keys of a bone's curves, with their handles and kinds."""
    found = {}
    for curve in addon.compat.fcurves(rig):
        if f'"{bone}"' in curve.data_path:
            found[curve.data_path, curve.array_index] = [
                (*p.co, *p.handle_left, *p.handle_right, p.interpolation, p.handle_left_type, p.handle_right_type)
                for p in curve.keyframe_points
            ]
    return found


def edit(addon: Any, rig: Any, bone: str) -> None:
    """Turn a bone by hand in the middle of its curve, with a handle of its own."""
    curve = next(c for c in addon.compat.fcurves(rig) if f'"{bone}"].rotation' in c.data_path and c.array_index == 1)
    point = curve.keyframe_points[7]
    point.co.y = 0.3
    point.interpolation = "BEZIER"
    point.handle_left_type = point.handle_right_type = "FREE"
    point.handle_right = (point.co.x + 0.2, 0.5)
    curve.update()


def test_a_limb_that_is_off_keeps_its_keys(addon: Any, walk: Any, empty: Any) -> None:
    chosen = empty.scene.video2rig
    assert chosen.limbs == ALL and addon.limbs.switched_off(chosen.limbs) == frozenset()
    for bone in ("forearm.L", "forearm.R"):
        edit(addon, walk, bone)
    kept = {bone: curves_of(addon, walk, bone) for bone in (*ARM, "forearm.R")}
    chosen.limbs = ALL - {"LEFT_ARM"}
    assert bpy.ops.video2rig.solve_again() == {"FINISHED"}
    assert walk.animation_data.action.name == "walk.001"
    for bone in ARM:
        assert curves_of(addon, walk, bone) == kept[bone]
    assert curves_of(addon, walk, "forearm.R") != kept["forearm.R"]  # solved anew
    titles = [stay["title"] for stay in addon.keyframes.at_bounds(walk.animation_data.action)]
    assert sorted(titles) == ["left elbow extension", "right elbow extension"]
    # beneath a layer of corrections it is the same
    assert bpy.ops.video2rig.add_corrections() == {"FINISHED"}
    assert bpy.ops.video2rig.solve_again() == {"FINISHED"}
    strip = walk.animation_data.nla_tracks[0].strips[0]
    walk.animation_data.action = strip.action
    if hasattr(strip, "action_slot"):
        walk.animation_data.action_slot = strip.action_slot
    assert curves_of(addon, walk, "forearm.L") == kept["forearm.L"]


def test_a_limb_that_was_never_solved_rests(addon: Any, backend: Any, empty: Any, video: Path) -> None:
    empty.scene.video2rig.limbs = ALL - {"LEFT_ARM", "HEAD"}
    assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    rig = bpy.data.objects["walk"]
    assert not any(curves_of(addon, rig, bone) for bone in (*ARM, "spine.006"))
    assert curves_of(addon, rig, "forearm.R")
    assert "left elbow extension" not in {s["title"] for s in addon.keyframes.at_bounds(rig.animation_data.action)}
    empty.scene.video2rig.limbs = ALL
    assert bpy.ops.video2rig.solve_again() == {"FINISHED"}
    assert all(curves_of(addon, rig, bone) for bone in (*ARM, "spine.006"))


def test_a_video_on_an_armature_keeps_its_limbs_too(addon: Any, backend: Any, walk: Any, empty: Any) -> None:
    chosen = empty.scene.video2rig
    edit(addon, walk, "forearm.L")
    kept = curves_of(addon, walk, "forearm.L")
    chosen.armature, chosen.limbs = "ACTIVE", ALL - {"LEFT_ARM"}
    (there,) = Path(bpy.data.images[0].filepath).parent.glob("moved.mp4")
    assert bpy.ops.video2rig.import_video(filepath=str(there)) == {"FINISHED"}
    assert walk.animation_data.action.name == "moved"
    assert curves_of(addon, walk, "forearm.L") == kept


def test_another_persons_take_on_this_armature(addon: Any, backend: Any, empty: Any, video: Path) -> None:
    empty.scene.video2rig.person = "EVERYONE"
    assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    rig, other = bpy.data.objects["walk person 1"], bpy.data.objects["walk person 2"]
    camera = np.array(bpy.data.objects["walk camera"].matrix_world)
    empty.view_layer.objects.active = rig
    theirs = bytes(other.animation_data.action["video2rig_take"])
    assert bpy.ops.video2rig.solve_take(take="walk person 2") == {"FINISHED"}
    action = rig.animation_data.action
    assert action.name == "walk person 2 on walk person 1" and bpy.data.actions["walk person 1"].use_fake_user
    take = addon.kept.read(action).take
    assert take.person == 2 and set(take.motion.skeleton.names) == set(rig.data.bones.keys())
    assert np.allclose(np.array(bpy.data.objects["walk camera"].matrix_world), camera)
    assert bytes(other.animation_data.action["video2rig_take"]) == theirs
    # an armature without any take
    mine = addon.rig.build_armature(empty, take.motion.skeleton, "mine", empty.scene.collection)
    assert not bpy.ops.video2rig.solve_again.poll()
    assert bpy.ops.video2rig.solve_take(take="walk person 3") == {"FINISHED"}
    assert mine.animation_data.action.name == "walk person 3 on mine"
    assert bpy.ops.video2rig.solve_again() == {"FINISHED"}
    assert mine.animation_data.action.name == "walk person 3 on mine.001"
    with pytest.raises((RuntimeError, TypeError), match=r"gone|not found"):
        bpy.ops.video2rig.solve_take(take="gone")


def test_a_bone_that_is_mapped_no_longer_goes_back_to_rest(addon: Any, backend: Any, empty: Any, walk: Any) -> None:
    """The neck was mapped wrongly: solved again with another map, the wrong bone does not keep its last pose."""
    bpy.ops.object.mode_set(mode="EDIT")
    extra = walk.data.edit_bones.new("extra")
    extra.head, extra.tail = (0, 0, 2), (0, 0, 2.2)
    bpy.ops.object.mode_set(mode="OBJECT")
    former = walk.animation_data.action
    path = 'pose.bones["extra"].rotation_quaternion'
    addon.compat.write_channels(walk, path, np.array([1.0]), np.array([[0.8, 0.6, 0.0, 0.0]]), group="extra")
    empty.scene.frame_set(2)
    assert walk.pose.bones["extra"].rotation_quaternion.x == pytest.approx(0.6)
    with pytest.MonkeyPatch.context() as patch:

        def breaks(*_: object, **__: object) -> None:
            raise addon.core.errors.Video2RigError("broke at the last step")

        patch.setattr(addon.retargeting, "what_holds", breaks)
        with pytest.raises(RuntimeError, match="broke at the last step"):
            bpy.ops.video2rig.solve_again()
    assert walk.pose.bones["extra"].rotation_quaternion.x == pytest.approx(0.6)
    assert walk.animation_data.action == former
    assert bpy.ops.video2rig.solve_again() == {"FINISHED"}
    assert walk.pose.bones["extra"].rotation_quaternion.x == pytest.approx(0.0)
