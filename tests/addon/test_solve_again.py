# SPDX-License-Identifier: GPL-3.0-or-later
"""Solve Again: kept keypoints over a real server, a new action on the same armature, and nothing else of the scene."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_import import state

bpy = pytest.importorskip("bpy", reason="needs the bpy module or a Blender binary")


def height(rig: Any) -> float:
    """Of the root; the fake server's take of so many hertz is as many metres high when it is solved again."""
    bpy.context.view_layer.update()
    return float((rig.matrix_world @ rig.pose.bones[0].matrix)[2][3])


def limits(rig: Any) -> list[tuple[float, ...]]:
    return [
        (limit.min_x, limit.max_x, limit.min_y, limit.max_y, limit.min_z, limit.max_z)
        for bone in rig.pose.bones
        for limit in bone.constraints
    ]


def camera_state() -> Any:
    camera = bpy.data.objects["walk camera"]
    bpy.context.view_layer.update()
    return np.array(camera.matrix_world).tolist(), camera.data.lens, camera.data.shift_x


def test_a_new_action_and_the_old_one_kept(addon: Any, walk: Any, empty: Any) -> None:
    before, old = state(), walk.animation_data.action
    keys = {c.data_path: addon.compat.read_channel(c)[1].tolist() for c in addon.compat.fcurves(walk)}
    empty.scene.frame_start = 40  # the new keys lie where the former ones lie
    for number, hertz in enumerate((2.0, 3.0), start=1):
        empty.scene.video2rig.smoothing_hz = hertz
        assert bpy.ops.video2rig.solve_again() == {"FINISHED"}
        action = walk.animation_data.action
        assert action.name == f"walk.{number:03}" and height(walk) == pytest.approx(hertz, abs=1e-5)
        assert action.frame_range[:] == old.frame_range[:]
        assert json.loads(action["video2rig_provenance"])["again"]
    after = state()
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {"actions", "range"}  # the range was set above
    assert set(after["actions"]) - set(before["actions"]) == {"walk.001", "walk.002"}
    assert old.use_fake_user and bpy.data.actions["walk.001"].use_fake_user
    # the former action is as it was
    walk.animation_data.action = old
    if hasattr(old, "slots"):
        walk.animation_data.action_slot = old.slots[0]
    assert {c.data_path: addon.compat.read_channel(c)[1].tolist() for c in addon.compat.fcurves(walk)} == keys


def test_the_take_survives_a_saved_file_undo_and_appending(addon: Any, walk: Any, empty: Any, tmp_path: Path) -> None:
    kept = bytes(walk.animation_data.action["video2rig_take"])
    take = addon.core.take.Take.from_bytes(kept)
    assert len(take.motion) == 24 and take.keypoints.seen().all() and take.video["name"] == "walk.mp4"
    path = str(tmp_path / "kept.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.open_mainfile(filepath=path)
    assert bytes(bpy.data.actions["walk"]["video2rig_take"]) == kept
    bpy.context.scene.video2rig.smoothing_hz = 2.5
    bpy.ops.ed.undo_push(message="before")
    assert bpy.ops.video2rig.solve_again() == {"FINISHED"}
    assert height(bpy.data.objects["walk"]) == pytest.approx(2.5, abs=1e-5)
    bpy.ops.ed.undo_push(message="after")
    assert bpy.ops.ed.undo() == {"FINISHED"}
    assert "walk.001" not in bpy.data.actions
    assert bpy.data.objects["walk"].animation_data.action == bpy.data.actions["walk"]
    assert bytes(bpy.data.actions["walk"]["video2rig_take"]) == kept
    for link in (False, True):
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
        with bpy.data.libraries.load(path, link=link) as (_, wanted):
            wanted.objects = ["walk"]
        (rig,) = wanted.objects
        bpy.context.scene.collection.objects.link(rig)
        assert bytes(rig.animation_data.action["video2rig_take"]) == kept
        bpy.context.view_layer.objects.active = rig
        if link:
            with pytest.raises(RuntimeError, match="linked from another file"):
                bpy.ops.video2rig.solve_again()
        else:
            assert bpy.ops.video2rig.solve_again() == {"FINISHED"}
            assert rig.animation_data.action.name == "walk.001"


def test_the_camera_goes_along_unless_it_was_moved(addon: Any, walk: Any, empty: Any) -> None:
    camera = bpy.data.objects["walk camera"]
    first = camera_state()
    assert bpy.ops.video2rig.solve_again() == {"FINISHED"}
    second = camera_state()
    assert second[0] != first[0] and second[1:] == first[1:]
    take = addon.kept.read(walk.animation_data.action).take
    assert np.allclose(second[0], np.array(addon.video_camera.matrix_world(take.camera, 1.0)), atol=1e-6)
    # by hand: it stays, also where the next take has it elsewhere
    camera.location.x += 1
    moved = camera_state()
    walk.animation_data.action = bpy.data.actions["walk"]
    assert bpy.ops.video2rig.solve_again() == {"FINISHED"}
    assert camera_state() == moved


def test_limits_follow_the_profile_or_the_hand(addon: Any, walk: Any, empty: Any) -> None:
    clinical = limits(walk)
    empty.scene.video2rig.rom = "athlete"
    assert bpy.ops.video2rig.solve_again() == {"FINISHED"}
    athlete = limits(walk)
    solved = addon.kept.read(walk.animation_data.action).take.motion.skeleton
    assert athlete != clinical and len(athlete) == len(clinical) == len(solved) - 1
    from video2rig.human import default_human

    human = default_human(1.75, "athlete")
    wanted = dict(zip(human.names, human.rom, strict=True))
    assert all(np.allclose(rom, wanted[name], atol=1e-6) for name, rom in zip(solved.names, solved.rom, strict=True))
    assert np.allclose(athlete, [wanted[bone.name].ravel() for bone in walk.pose.bones if bone.constraints], atol=1e-6)
    empty.scene.video2rig.rom = "clinical"
    assert bpy.ops.video2rig.solve_again() == {"FINISHED"}
    assert np.allclose(limits(walk), clinical, atol=1e-6)
    # a limit that an animator edits is solved, whatever the profile
    walk.pose.bones["shin.L"].constraints[0].max_x = 1.0
    empty.scene.video2rig.rom = "athlete"
    edited = limits(walk)
    for _ in range(2):  # and it stays so
        assert bpy.ops.video2rig.solve_again() == {"FINISHED"}
        assert limits(walk) == edited
        solved = addon.kept.read(walk.animation_data.action).take.motion.skeleton
        assert solved.rom[solved.names.index("shin.L"), 0, 1] == pytest.approx(1.0)


def test_failures_change_nothing(addon: Any, walk: Any, empty: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = empty.scene.video2rig
    chosen.rom = "athlete"
    bpy.ops.object.mode_set(mode="POSE")
    before = state(), limits(walk), camera_state(), walk.animation_data.action.name
    chosen.height = 2.5  # the fake pipeline refuses it
    with pytest.raises(RuntimeError, match="nobody is this tall"):
        bpy.ops.video2rig.solve_again()
    chosen.height = 0.0
    assert (state(), limits(walk), camera_state(), walk.animation_data.action.name) == before

    def breaks(*_: object, **__: object) -> None:
        raise addon.core.errors.Video2RigError("broke at the last step")

    with monkeypatch.context() as patch:
        patch.setattr(addon.retargeting, "what_holds", breaks)
        with pytest.raises(RuntimeError, match="broke at the last step"):
            bpy.ops.video2rig.solve_again()
    assert (state(), limits(walk), camera_state(), walk.animation_data.action.name) == before
    assert bpy.ops.video2rig.solve_again() == {"FINISHED"}
    assert walk.mode == "POSE" and state()["active"] == before[0]["active"]

    walk.animation_data.action["video2rig_take"] = b"PK damaged"
    before = state()
    with pytest.raises(RuntimeError, match="is not a take"):
        bpy.ops.video2rig.solve_again()
    assert state() == before
    del walk.animation_data.action["video2rig_take"]
    assert not bpy.ops.video2rig.solve_again.poll()


def test_one_of_several_stays_in_the_world_of_all(addon: Any, backend: Any, empty: Any, video: Path) -> None:
    empty.scene.video2rig.person = "EVERYONE"
    assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    camera = camera_state()
    rig = bpy.data.objects["walk person 2"]
    empty.view_layer.objects.active = rig
    empty.scene.video2rig.person = "LARGEST"
    assert bpy.ops.video2rig.solve_again() == {"FINISHED"}
    assert rig.animation_data.action.name == "walk person 2.001" and camera_state() == camera
    take = addon.kept.read(rig.animation_data.action).take
    assert take.person == 2 and take.motion.provenance["settings"]["person"] == "everyone"
    for other in (1, 3):
        assert bpy.data.objects[f"walk person {other}"].animation_data.action.name == f"walk person {other}"


def test_cancel_leaves_everything(addon: Any, backend: Any, walk: Any, empty: Any) -> None:
    addon.job.stop_server()
    backend("--solve-seconds", "30")
    before = state()
    kept = addon.kept.read(walk.animation_data.action)
    skeleton, _ = addon.again_scene.skeleton_to_solve(walk, kept, "clinical")
    wanted = addon.job.wanted_from_preferences(empty)
    work = addon.job.Again(kept.take, empty.scene.video2rig.settings(), wanted, skeleton)
    work.start()
    deadline = time.monotonic() + 60
    while work.progress().stage != "solving" and time.monotonic() < deadline and not work.done:
        time.sleep(0.02)
    assert work.progress().stage == "solving"
    work.cancel()
    assert work.wait(10)
    with pytest.raises(addon.core.errors.Cancelled):
        work.result()
    assert state() == before
