# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenes of any rate, range, unit and number; names and paths of any kind; and what stays when the add-on is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_import import state

bpy = pytest.importorskip("bpy", reason="needs the bpy module or a Blender binary")

RATES = {"23.976": (24, 1.001), "25": (25, 1.0), "30": (30, 1.0), "59.94": (60, 1.001)}


def write_video(path: Path, fps: float, count: int = 24) -> Path:
    import cv2

    # OpenCV opens no file of such a name itself
    plain = path.with_name("plain.mp4")
    writer = cv2.VideoWriter(str(plain), cv2.VideoWriter.fourcc(*"mp4v"), fps, (96, 64))
    for index in range(count):
        writer.write(np.full((64, 96, 3), 5 * index, np.uint8))
    writer.release()
    return plain.rename(path)


def times_of(addon: Any, video: Path) -> np.ndarray:
    return np.array([frame.time for frame in addon.core.frames.open_video(video).frames()])


def height(rig: Any) -> float:
    """From the lowest head or tail of a bone to the highest, in units, in the world."""
    ends = [rig.matrix_world @ end for bone in rig.data.bones for end in (bone.head_local, bone.tail_local)]
    return max(end.z for end in ends) - min(end.z for end in ends)


@pytest.mark.parametrize("first", [0, 1, 1001])
@pytest.mark.parametrize("fps", [24000 / 1001, 25.0, 50.0])
@pytest.mark.parametrize("rate", RATES)
def test_keys_lie_at_the_scenes_own_time(
    addon: Any, at_once: None, empty: Any, tmp_path: Path, rate: str, fps: float, first: int
) -> None:
    scene = empty.scene
    scene.render.fps, scene.render.fps_base = RATES[rate]
    scene.frame_start, scene.frame_end = first, first + 50
    video = write_video(tmp_path / "walk.mp4", fps)
    assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    rig, camera = bpy.data.objects["walk"], bpy.data.objects["walk camera"].data
    seconds = times_of(addon, video)
    assert np.abs(np.diff(seconds) - 1 / fps).max() < 2e-3
    a_second = scene.render.fps / scene.render.fps_base
    for curve in addon.compat.fcurves(rig):
        frames, _ = addon.compat.read_channel(curve)
        assert np.abs((frames - first) / a_second - seconds).max() < 1e-4
    assert (scene.render.fps, scene.frame_start, scene.frame_end) == (RATES[rate][0], first, first + 50)
    # the picture behind the armature is the one of that moment
    user = camera.background_images[0].image_user
    for frame in range(first, int(first + seconds[-1] * a_second) + 1):
        scene.frame_set(frame)
        shown = frame - user.frame_start + user.frame_offset
        assert abs(shown / fps - (frame - first) / a_second) <= 0.5 / fps + 1e-4


@pytest.mark.parametrize("first", [0, 1001])
def test_the_scene_that_takes_over_the_videos_rate(
    addon: Any, at_once: None, empty: Any, tmp_path: Path, first: int
) -> None:
    empty.scene.frame_start, empty.scene.frame_end = first, first + 50
    empty.scene.video2rig.match_scene = True
    video = write_video(tmp_path / "walk.mp4", 60000 / 1001)
    assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    scene = empty.scene
    assert scene.render.fps == 60 and scene.render.fps_base == pytest.approx(1.001, abs=1e-5)
    assert (scene.frame_start, scene.frame_end) == (first, first + 23)
    assert bpy.data.objects["walk"].animation_data.action.frame_range[:] == pytest.approx((first, first + 23), abs=2e-3)


@pytest.mark.parametrize("system", ["METRIC", "IMPERIAL", "NONE"])
@pytest.mark.parametrize("scale", [0.01, 1.0, 10.0])
def test_a_person_is_as_tall_as_blender_says(
    addon: Any, at_once: None, empty: Any, video: Path, scale: float, system: str
) -> None:
    unit = empty.scene.unit_settings
    unit.system, unit.scale_length = system, scale
    metre = 1.0 if system == "NONE" else 1 / scale
    assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    rig, camera = bpy.data.objects["walk"], bpy.data.objects["walk camera"]
    tall = height(rig)
    assert 1.6 * metre < tall < 1.8 * metre
    solved = addon.kept.read(rig.animation_data.action).take
    empty.view_layer.update()
    assert np.allclose(camera.matrix_world.translation, solved.camera.position * metre, atol=1e-5 * metre)
    # read back, it is what was solved
    skeleton, former = addon.read_rig.skeleton_to_solve(rig), solved.motion.skeleton
    order = [former.names.index(name) for name in skeleton.names]
    assert np.allclose(skeleton.length, former.length[order], rtol=1e-5)
    assert np.allclose(skeleton.offset, former.offset[order], atol=1e-5)
    # a second person, onto the same armature, goes to the same place
    rig.location = (3 * metre, 0, 0)
    empty.scene.video2rig.armature = "ACTIVE"
    assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    empty.scene.frame_set(5)
    assert np.abs((rig.matrix_world @ rig.pose.bones["spine"].matrix).translation).max() < 1e-5 * metre


def test_a_take_is_solved_again_in_the_scenes_unit(addon: Any, backend: Any, empty: Any, video: Path) -> None:
    empty.scene.unit_settings.scale_length = 0.01
    assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    rig, camera = bpy.data.objects["walk"], bpy.data.objects["walk camera"]
    empty.scene.video2rig.smoothing_hz = 2.0  # the fake server's take is as many metres high
    assert bpy.ops.video2rig.solve_again() == {"FINISHED"}
    assert not addon.outcome.told
    take = addon.kept.read(rig.animation_data.action).take
    empty.view_layer.update()
    assert np.allclose(camera.matrix_world.translation, take.camera.position * 100, atol=1e-3)
    assert (rig.matrix_world @ rig.pose.bones["spine"].matrix).translation.z == pytest.approx(200, abs=1e-3)


def test_a_height_is_told_in_the_scenes_unit(addon: Any, empty: Any) -> None:
    chosen = empty.scene.video2rig
    chosen.height = 1.9
    assert chosen.settings().height == pytest.approx(1.9)
    empty.scene.unit_settings.scale_length = 0.01
    chosen.height = 190
    assert chosen.settings().height == pytest.approx(1.9)
    chosen.height = 500
    with pytest.raises(addon.core.settings.SettingsError, match="height"):
        chosen.settings()


def test_the_scene_of_the_start_gets_the_take(addon: Any, at_once: None, empty: Any, video: Path, human: Any) -> None:
    """The window shows another scene by the time that the solve is over."""
    first = empty.scene
    first.render.fps, first.frame_start = 50, 7
    other = bpy.data.scenes.new("other")
    held = addon.held.HeldScene.of(empty)
    source = addon.core.frames.open_video(video)
    settings = first.video2rig.settings()
    work = addon.job.Job(video, settings, addon.preferences.Wanted(None, None))
    takes = addon.job.solve_blocking(work, None)
    first.name = "shot 1"
    with empty.temp_override(scene=other, view_layer=other.view_layers[0]):
        assert bpy.context.scene == other
        with held.current(bpy.context):
            addon.take_scene.place(bpy.context, takes, source.info, match=False)
        assert bpy.context.scene == other
    assert [obj.name for obj in other.objects] == []
    rig = first.objects["walk"]
    assert rig.animation_data.action.frame_range[0] == 7 and first.camera.name == "walk camera"
    assert first.view_layers[0].objects.active == rig
    bpy.data.scenes.remove(first)
    gone = pytest.raises(addon.rig_bones.RigError, match="the scene Scene was removed while the video was solved")
    with gone, held.current(bpy.context):
        pass


NAMES = ["Ünïcödé 走る", "n" * 63, "n" * 120, 'quote " and \\ slash', "dots.and.001"]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_videos_and_armatures(addon: Any, at_once: None, empty: Any, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "später 映像"
    folder.mkdir()
    video = write_video(folder / f"{name}.mp4", 25.0)
    for _ in range(2):  # of the same name twice: Blender numbers them within its length of a name
        assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    rigs = [obj for obj in bpy.data.objects if obj.type == "ARMATURE"]
    assert len({rig.animation_data.action for rig in rigs}) == 2
    assert all(addon.compat.fcurves(rig) for rig in rigs)
    rig = rigs[0]
    empty.view_layer.objects.active = rig
    if len(rig.name.encode()) <= 63:
        assert rig.name.startswith(name[:50])
    # bones of such names are keyed too
    for bone in rig.data.bones:
        bone.name = f"{bone.name} {name}"[:63]
    addon.mapping.keep(rig, addon.mapping.Mapping(_bones_of(addon, rig, rigs[1]), "", "", ""))
    for limited in rig.pose.bones:
        for limit in list(limited.constraints):
            limited.constraints.remove(limit)
    empty.scene.video2rig.armature = "ACTIVE"
    assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    curves = addon.compat.fcurves(rig)
    assert curves and all(rig.path_resolve(curve.data_path) is not None for curve in curves)


def _bones_of(addon: Any, rig: Any, like: Any) -> dict[str, str]:
    """The bones of an armature whose bones stand in the order of another's, by role."""
    order = like.data.bones.keys()
    return {role: rig.data.bones[order.index(bone)].name for role, bone in addon.mapping.of(like).bones.items()}


def test_a_video_that_is_gone_by_then_is_told_and_the_motion_comes_all_the_same(
    addon: Any, at_once: None, empty: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = write_video(tmp_path / "walk.mp4", 25.0)
    solve = addon.job.solve_blocking

    def solve_then_remove(work: Any, progress: Any) -> Any:
        takes = solve(work, progress)
        video.unlink()
        return takes

    monkeypatch.setattr(addon.job, "solve_blocking", solve_then_remove)
    assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    assert addon.compat.fcurves(bpy.data.objects["walk"])
    assert not bpy.data.objects["walk camera"].data.background_images
    write_video(video, 25.0)
    info = addon.core.frames.open_video(video).info
    takes = solve(addon.job.Job(video, empty.scene.video2rig.settings(), addon.preferences.Wanted(None, None)), None)
    video.unlink()
    placed = addon.take_scene.place(empty, takes, info, match=False)
    assert len(placed.notices) == 1 and "walk.mp4 cannot be shown behind the armature" in placed.notices[0]


def test_undo_and_redo(addon: Any, at_once: None, empty: Any, video: Path) -> None:
    empty.preferences.edit.use_global_undo = True
    bpy.ops.ed.undo_push(message="before")
    before = state()
    assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    bpy.ops.ed.undo_push(message="imported")
    imported = state()
    curves = len(addon.compat.fcurves(bpy.data.objects["walk"]))
    for _ in range(2):
        assert bpy.ops.ed.undo() == {"FINISHED"}
        assert {k: v for k, v in state().items() if k != "scenes"} == {k: v for k, v in before.items() if k != "scenes"}
        assert bpy.ops.ed.redo() == {"FINISHED"}
        assert state() == imported and len(addon.compat.fcurves(bpy.data.objects["walk"])) == curves
    # what is held on to is found after an undo and a redo
    rig = bpy.data.objects["walk"]
    held = addon.held.HeldRig.of(rig), addon.held.HeldScene.of(bpy.context)
    bpy.ops.object.empty_add()
    bpy.ops.ed.undo_push(message="something else")
    bpy.ops.ed.undo()
    assert held[0].found(bpy.context.scene) == bpy.data.objects["walk"]
    with held[1].current(bpy.context):
        pass


LOOK = """
import json, sys, bpy
path = sys.argv[-1]
bpy.ops.wm.open_mainfile(filepath=path)
scene, rig = bpy.context.scene, bpy.data.objects["walk"]
assert not hasattr(scene, "video2rig"), "the add-on is there"
found = {"poses": [], "limits": [], "keys": sorted(rig.animation_data.action.keys())}
for frame in (1, 8, 20):
    scene.frame_set(frame)
    evaluated = rig.evaluated_get(bpy.context.evaluated_depsgraph_get())
    found["poses"].append([[list(row) for row in bone.matrix] for bone in evaluated.pose.bones])
    found["confidence"] = [bone["confidence"] for bone in rig.pose.bones]
for bone in rig.pose.bones:
    found["limits"] += [[c.name, c.type, c.min_x, c.max_x, c.owner_space] for c in bone.constraints]
found["camera"] = [list(row) for row in bpy.data.objects["walk camera"].matrix_world]
print("FOUND" + json.dumps(found), flush=True)
if len(sys.argv) > 2 and sys.argv[-2] == "save":
    bpy.ops.wm.save_as_mainfile(filepath=path)
"""


def without_the_addon(path: Path, tmp_path: Path, *words: str) -> dict[str, Any]:
    """Open a file in another Blender that has never heard of the add-on; return what it finds."""
    script = tmp_path / "look.py"
    script.write_text(LOOK)
    program = bpy.app.binary_path
    start = (
        [program, "-b", "--factory-startup", "--python-exit-code", "1", "-P", str(script), "--"]
        if program
        else [
            sys.executable,
            str(script),
        ]
    )
    resources = tmp_path / "bare"
    resources.mkdir(exist_ok=True)
    done = subprocess.run(
        [*start, *words, str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "BLENDER_USER_RESOURCES": str(resources)},
    )
    assert "Traceback" not in done.stderr and "Error" not in done.stderr + done.stdout, done.stderr + done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("FOUND")]
    return json.loads(line.removeprefix("FOUND"))


def test_a_saved_file_without_the_addon(addon: Any, at_once: None, empty: Any, tmp_path: Path) -> None:
    video = write_video(tmp_path / "walk.mp4", 25.0)
    assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    rig = bpy.data.objects["walk"]
    action = rig.animation_data.action
    for curve in addon.compat.fcurves(rig):  # not just the rest pose
        if curve.data_path.endswith("rotation_quaternion") and curve.array_index:
            for point in curve.keyframe_points:
                point.co.y = 0.02 * point.co.x
    take = bytes(action["video2rig_take"])
    path = tmp_path / "saved.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    here: dict[str, Any] = {"poses": []}
    for frame in (1, 8, 20):
        empty.scene.frame_set(frame)
        evaluated = rig.evaluated_get(empty.evaluated_depsgraph_get())
        here["poses"].append([[list(row) for row in bone.matrix] for bone in evaluated.pose.bones])
    limits = [[c.name, c.type, c.min_x, c.max_x, c.owner_space] for bone in rig.pose.bones for c in bone.constraints]
    camera = [list(row) for row in bpy.data.objects["walk camera"].matrix_world]

    found = without_the_addon(path, tmp_path, "save")
    assert np.allclose(found["poses"], here["poses"], atol=1e-6) and np.ptp(found["poses"], axis=0).max() > 0.1
    assert found["limits"] == limits and len(limits) == 21 and found["camera"] == camera
    assert {"video2rig_provenance", "video2rig_contacts", "video2rig_take"} <= set(found["keys"])
    assert found["confidence"] == [1.0] * 22

    # and saved by that Blender, it is still solved again by this one
    bpy.ops.wm.open_mainfile(filepath=str(path))
    action = bpy.data.objects["walk"].animation_data.action
    assert bytes(action["video2rig_take"]) == take and addon.kept.read(action).take.video["name"] == "walk.mp4"


def test_places_that_cannot_be_written(addon: Any, empty: Any, human: Any, tmp_path: Path) -> None:
    """A file in the way of a folder stands for a folder without permission, which an administrator would have."""
    addon.rig.build_armature(empty, human, "hero", empty.scene.collection)
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "absent"):
        with pytest.raises(RuntimeError, match=r"bones\.json cannot be written: .*(Not a directory|No such file)"):
            bpy.ops.video2rig.save_bones(filepath=str(folder / "bones.json"))
    with pytest.raises(RuntimeError, match=r"absent\.json cannot be read as a map of bones"):
        bpy.ops.video2rig.load_bones(filepath=str(tmp_path / "absent.json"))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no folder that nobody may write to is known here")
def test_a_folder_that_cannot_be_written_is_told_before_anything_is_solved(
    addon: Any, video: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addon.job, "reach", lambda wanted: pytest.fail("a server was asked for"))
    assert addon.command.run(["convert", str(video), "-o", "/proc/out.blend"]) == 1
    assert "/proc/out.blend cannot be written" in capfd.readouterr().err


def test_motion_beyond_the_end_of_the_scene_is_told(addon: Any, at_once: None, empty: Any, video: Path) -> None:
    for end, told in ((23, ["the motion goes on to frame 24, and the scene ends at 23"]), (24, [])):
        empty.scene.render.fps, empty.scene.frame_end = 25, end
        assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
        assert [line.text for line in addon.outcome.told] == told
        assert empty.scene.frame_end == end
    empty.scene.frame_end, empty.scene.video2rig.match_scene = 5, True
    assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    assert not addon.outcome.told


def test_several_videos_at_once_are_told(addon: Any, at_once: None, empty: Any, video: Path) -> None:
    names = [{"name": video.name}, {"name": "run.mp4"}, {"name": "jump.mp4"}]
    assert bpy.ops.video2rig.import_video(filepath=str(video), files=names) == {"FINISHED"}
    (line,) = addon.outcome.told
    assert line.text == "one video at a time: this is walk.mp4; left out: run.mp4, jump.mp4"
    assert bpy.ops.video2rig.import_video(filepath=str(video), files=names[:1]) == {"FINISHED"}
    assert not addon.outcome.told


def test_a_server_that_cannot_write_its_connection(
    addon: Any, backend: Any, empty: Any, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VIDEO2RIG_CONNECTION", str(tmp_path / "file" / "connection.json"))
    before = state()
    with pytest.raises(RuntimeError) as told:
        bpy.ops.video2rig.import_video(filepath=str(video))
    assert "Traceback" not in str(told.value) and "nothing can be written to" in str(told.value), told.value
    assert state() == before
