# SPDX-License-Identifier: GPL-3.0-or-later
"""Doubt, marked on the timeline and coloured in the viewport; both go away without a trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

bpy = pytest.importorskip("bpy", reason="needs the bpy module or a Blender binary")

FPS = 25.0


def marks(action: Any) -> list[tuple[str, int]]:
    return sorted((marker.name, marker.frame) for marker in action.pose_markers)


def colours(rig: Any) -> dict[str, list[Any]]:
    return {
        bone.name: [bone.color.palette, *(tuple(getattr(bone.color.custom, s)) for s in ("normal", "select", "active"))]
        for bone in rig.pose.bones
    }


@pytest.fixture
def doubtful(addon: Any, empty: Any, human: Any) -> Any:
    """An armature at rest for 2 seconds, whose left hand is not seen from 0.4 to 0.8 s and whose right knee is bent as
    far as it can from 1 to 1.6 s."""
    from video2rig.keypoints import KEYPOINT_SETS

    times = np.arange(51) / FPS
    rotations = np.zeros((51, len(human), 4))
    rotations[..., 0] = 1.0
    middle = np.clip(0, human.rom[..., 0] + 0.1, human.rom[..., 1] - 0.1)  # away from all bounds
    from reference import quaternions_from_euler

    for joint, order in enumerate(human.euler_order):
        angles = np.tile(middle[joint], (51, 1))
        angles[:, human.rom[joint, :, 0] == human.rom[joint, :, 1]] = 0.0
        if human.names[joint] == "shin.R":
            angles[(times >= 1) & (times <= 1.6), 0] = human.rom[joint, 0, 1]
        rotations[:, joint] = quaternions_from_euler(angles, order)
    confidence = np.ones((51, len(human)))
    confidence[(times >= 0.4) & (times <= 0.8), human.index("left_wrist")] = 0.1
    core = addon.core
    motion = core.motion.Motion(human, times, rotations, np.tile(human.offset[0], (51, 1)), confidence)
    count = len(KEYPOINT_SETS["blazepose_33"])
    keypoints = core.keypoints.Keypoints("blazepose_33", np.zeros((51, count, 2)), np.ones((51, count)), times)
    camera = core.camera.Camera.from_field_of_view(64, 48, 1.0)
    take = core.take.Take(motion, keypoints, camera, {"name": "v"})
    rig = addon.rig.build_armature(empty, human, "human", empty.scene.collection)
    action, _ = addon.keyframes.write_motion(rig, motion, "take", rate=30.0, first=10)
    clock = addon.video_camera.Clock(30.0, 10)
    addon.kept.keep(action, take, addon.kept.Placement("take", clock, "", True))
    rig.pose.bones["forearm.R"].color.palette = "CUSTOM"
    rig.pose.bones["forearm.R"].color.custom.normal = (0.1, 0.2, 0.3)
    rig.pose.bones["hand.L"].color.palette = "THEME02"
    return rig


def test_doubt_is_marked_and_removed(addon: Any, doubtful: Any) -> None:
    action = doubtful.animation_data.action
    action.pose_markers.new("mine").frame = 12
    action.pose_markers.new("left heel down").frame = 13
    before = marks(action)
    for _ in range(2):
        assert bpy.ops.video2rig.mark_doubt() == {"FINISHED"}
    assert set(marks(action)) - set(before) == {
        ("unsure: left arm", 22),
        ("sure: left arm", 34),
        ("at limit: right knee flexion", 40),
        ("off limit: right knee flexion", 58),
    }
    assert len(marks(action)) == len(before) + 4
    assert not addon.core.contact_marks.is_contact("unsure: left arm")
    assert bpy.ops.video2rig.clear_doubt() == {"FINISHED"}
    assert marks(action) == before


def test_bones_are_coloured_in_their_frames_alone(addon: Any, doubtful: Any) -> None:
    scene, own, tint = bpy.context.scene, colours(doubtful), addon.doubt_colours
    scene.frame_set(1)
    assert bpy.ops.video2rig.colour_doubt() == {"FINISHED"}
    assert colours(doubtful) == own
    for frame, bone, colour in (
        (21, None, None),
        (22, "hand.L", tint.UNSURE),
        (34, "hand.L", tint.UNSURE),
        (36, None, None),
        (40, "shin.R", tint.LIMIT),
        (58, "shin.R", tint.LIMIT),
        (60, None, None),
    ):
        scene.frame_set(frame)
        now = colours(doubtful)
        assert {name for name in own if now[name] != own[name]} == ({bone} if bone else set()), frame
        if bone:
            assert now[bone][0] == "CUSTOM" and now[bone][1] == pytest.approx(colour, abs=0.5 / 255 + 1e-6)
    scene.frame_set(30)
    assert bpy.ops.video2rig.colour_doubt() == {"FINISHED"}
    assert colours(doubtful) == own and tint.COLOURED not in doubtful
    assert tint._on_frame not in bpy.app.handlers.frame_change_post
    scene.frame_set(31)
    assert colours(doubtful) == own


def test_a_saved_file_has_the_users_colours(addon: Any, doubtful: Any, tmp_path: Path) -> None:
    tint, own, path = addon.doubt_colours, colours(doubtful), str(tmp_path / "coloured.blend")
    assert bpy.ops.video2rig.colour_doubt() == {"FINISHED"}
    bpy.context.scene.frame_set(30)
    shown = colours(doubtful)
    assert shown != own
    bpy.ops.wm.save_as_mainfile(filepath=path, copy=True)
    assert colours(doubtful) == shown  # saving changes nothing that is seen
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    assert tint._on_frame not in bpy.app.handlers.frame_change_post
    # as a Blender without the add-on opens it: nothing of ours follows
    tint.unregister()
    try:
        bpy.ops.wm.open_mainfile(filepath=path)
        assert colours(bpy.data.objects["human"]) == own
        bpy.context.scene.frame_set(31)
        assert colours(bpy.data.objects["human"]) == own
    finally:
        tint.register()
    # and with it, where it goes on as it was
    bpy.ops.wm.open_mainfile(filepath=path)
    rig = bpy.data.objects["human"]
    assert colours(rig) == shown
    bpy.context.scene.frame_set(60)
    assert colours(rig) == own
    bpy.context.view_layer.objects.active = rig
    rig.pose.bones["hand.L"].name = "renamed"  # meanwhile
    bpy.context.scene.frame_set(30)
    assert bpy.ops.video2rig.colour_doubt() == {"FINISHED"}
    assert {name: c for name, c in colours(rig).items() if name != "renamed"} == {
        name: c for name, c in own.items() if name != "hand.L"
    }


def test_undo_gives_the_colours_back(addon: Any, doubtful: Any, tmp_path: Path) -> None:
    tint, own = addon.doubt_colours, colours(doubtful)
    bpy.context.scene.frame_set(30)
    bpy.ops.ed.undo_push(message="before")
    tint.switch_on(doubtful)
    bpy.ops.ed.undo_push(message="on")
    shown = colours(bpy.data.objects["human"])
    assert shown != own
    bpy.ops.ed.undo()
    rig = bpy.data.objects["human"]
    assert not tint.is_on(rig) and colours(rig) == own
    assert tint._on_frame not in bpy.app.handlers.frame_change_post
    bpy.ops.ed.redo()
    rig = bpy.data.objects["human"]
    assert tint.is_on(rig) and colours(rig) == shown
    assert tint._on_frame in bpy.app.handlers.frame_change_post
    tint.switch_off(rig)


def test_solving_again_marks_again(addon: Any, walk: Any, empty: Any) -> None:
    first = walk.animation_data.action
    stays = [{"title": "left elbow extension", "joint": "forearm.L", "intervals": [[0.0, 0.9]]}]
    import json

    first["video2rig_at_bounds"] = json.dumps(stays)
    assert bpy.ops.video2rig.mark_doubt() == {"FINISHED"}
    assert bpy.ops.video2rig.solve_again() == {"FINISHED"}
    again = walk.animation_data.action
    assert again != first and addon.doubt_marks.is_marked(again)
    # its own, not those of the former motion: at rest both elbows are straight
    assert {"at limit: left elbow extension", "at limit: right elbow extension"} <= {name for name, _ in marks(again)}
    assert bpy.ops.video2rig.clear_doubt() == {"FINISHED"}
    assert bpy.ops.video2rig.solve_again() == {"FINISHED"}
    assert not addon.doubt_marks.is_marked(walk.animation_data.action)
