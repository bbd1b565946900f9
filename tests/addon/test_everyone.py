# SPDX-License-Identifier: GPL-3.0-or-later
"""Several people of one video: an armature each, one camera, one undo step, and one file or several on export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_import import furnish, state

bpy = pytest.importorskip("bpy", reason="needs the bpy module or a Blender binary")

PEOPLE = [f"walk person {number}" for number in (1, 2, 3)]  # of the fake server: a metre apart along X


def events(capfd: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith('{"event"')]


def where(rig: Any) -> np.ndarray:
    """The root bone's head in the world."""
    bpy.context.view_layer.update()
    return np.array(rig.matrix_world @ rig.pose.bones[0].matrix)[:3, 3]


def test_everyone_gets_an_armature_and_an_action(addon: Any, backend: Any, empty: Any, video: Path) -> None:
    furnish()
    before = state()
    empty.scene.video2rig.person = "EVERYONE"
    assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    after = state()
    assert {obj.name for obj in bpy.data.collections["walk"].objects} == {*PEOPLE, "walk camera"}
    assert set(after["actions"]) - set(before["actions"]) == {*PEOPLE, "walk camera video"}
    assert after["render"] == before["render"] and after["range"] == before["range"]
    assert after["selected"] == PEOPLE and after["active"] == (PEOPLE[0], "OBJECT")
    for number, name in enumerate(PEOPLE):
        rig = bpy.data.objects[name]
        assert rig.animation_data.action.name == name
        assert rig.data.name == name
        assert np.allclose(where(rig), [number, 0, 0], atol=1e-5)


def test_one_of_several_has_the_videos_name(addon: Any, backend: Any, empty: Any, video: Path) -> None:
    empty.scene.video2rig.person = "NUMBER"
    empty.scene.video2rig.person_number = 2
    assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    assert np.allclose(where(bpy.data.objects["walk"]), [1, 0, 0], atol=1e-5)
    assert json.loads(bpy.data.actions["walk"]["video2rig_provenance"])["settings"]["person"] == "2"
    empty.scene.video2rig.person_number = 9
    before = state()
    with pytest.raises(RuntimeError, match="there is no person 9; 3 people were seen"):
        bpy.ops.video2rig.import_video(filepath=str(video))
    assert state() == before


@pytest.mark.parametrize("last", [1, 2, 3])
def test_a_failure_with_any_of_them_changes_nothing_but_that_the_takes_are_kept(
    addon: Any, backend: Any, empty: Any, video: Path, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    furnish()
    before = state()
    empty.scene.video2rig.person, empty.scene.video2rig.match_scene = "EVERYONE", True
    write, calls = addon.keyframes.write_motion, []

    def breaks(rig: Any, *arguments: Any, **named: Any) -> Any:
        calls.append(rig.name)
        if len(calls) == last:
            raise addon.core.errors.Video2RigError("broke on the way")
        return write(rig, *arguments, **named)

    monkeypatch.setattr(addon.keyframes, "write_motion", breaks)
    with pytest.raises(RuntimeError, match="broke on the way"):
        bpy.ops.video2rig.import_video(filepath=str(video))
    kept = [f"walk person {number}" for number in (1, 2, 3)]
    assert state() == before | {"actions": kept} and len(calls) == last
    assert [addon.kept.read(bpy.data.actions[name]).take.person for name in kept] == [1, 2, 3]


def test_everyone_on_one_armature_is_refused_before_anything_is_sent(
    addon: Any, empty: Any, human: Any, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    addon.rig.build_armature(empty, human, "hero", empty.scene.collection)
    before = state()
    empty.scene.video2rig.person, empty.scene.video2rig.armature = "EVERYONE", "ACTIVE"
    monkeypatch.setattr(addon.job, "reach", lambda wanted: pytest.fail("a server was asked for"))
    with pytest.raises(RuntimeError, match="everyone cannot be put on one armature; choose one person"):
        bpy.ops.video2rig.import_video(filepath=str(video))
    assert state() == before
    argv = ["convert", str(video), "-o", str(tmp_path / "o.blend"), "--armature", "hero", "--person", "everyone"]
    assert addon.command.run(argv) == 1
    assert "everyone cannot be put on one armature" in capfd.readouterr().err


def test_a_point_belongs_to_the_video_that_it_was_picked_in(addon: Any, backend: Any, empty: Any, video: Path) -> None:
    chosen = empty.scene.video2rig
    chosen.person = "POINT"
    before = state()
    with pytest.raises(RuntimeError, match="nobody was picked in this video; press Pick Person"):
        bpy.ops.video2rig.import_video(filepath=str(video))
    chosen.pick(str(video), 40.25, 30.0, 0.48)
    assert chosen.settings().person == "40.2,30.0@0.4800"
    with pytest.raises(RuntimeError, match="nobody was picked in this video"):
        bpy.ops.video2rig.import_video(filepath=str(video.with_name("other.mp4")))
    assert state() == before
    assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    made = json.loads(bpy.data.actions["walk"]["video2rig_provenance"])
    assert made["settings"]["person"] == "40.2,30.0@0.4800"


@pytest.mark.parametrize("size", [(1280, 720), (720, 1280), (96, 64), (1, 1), (10_000, 3)])
@pytest.mark.parametrize("region", [(1400, 800), (300, 900), (10, 10)])
def test_a_click_is_the_pixel_that_lies_there(addon: Any, size: tuple[int, int], region: tuple[int, int]) -> None:
    layout = addon.pick_person.Layout.fit(*size, *region)
    (left, bottom), _, (right, top), _ = layout.corners()
    assert left + right == pytest.approx(region[0]) and bottom + top == pytest.approx(region[1])
    assert (right - left) / (top - bottom) == pytest.approx(size[0] / size[1])
    # the middle of the first pixel of the video lies half a pixel inside the upper left corner
    half = layout.scale / 2
    assert layout.pixel(left + half, top - half) == pytest.approx((0, 0), abs=1e-6)
    assert layout.pixel(right - half, bottom + half) == pytest.approx((size[0] - 1, size[1] - 1), abs=1e-6)
    for x, y in ((left - 1e-3, top - half), (right + 1e-3, bottom + half), (left + half, top + 1e-3)):
        assert layout.pixel(x, y) is None


def test_frames_to_pick_in_are_those_of_the_time(addon: Any, video: Path) -> None:
    source = addon.core.frames.open_video(video)
    reader = addon.pick_person.Reader(source, 0.0)
    for time, index in ((0.0, 0), (0.4, 10), (0.41, 10), (0.43, 11), (0.2, 5), (99.0, 23), (0.0, 0)):
        reader.go(time)
        assert reader.frame.index == index, time
        # a bar moves three pixels a frame
        assert reader.frame.image[30, 3 * index + 5, 0] > 150


def test_convert_writes_one_file_for_all_or_one_each(
    addon: Any, backend: Any, video: Path, tmp_path: Path, capfd: Any
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    argv = ["convert", str(video), "-o", str(out / "take.blend"), "--person", "everyone", "--json-progress"]
    argv += ["--fbx", "--glb", "--bvh", "--picture", str(out / "take.png")]
    assert addon.command.run(argv) == 0
    written = [f"take.person{number}.bvh" for number in (1, 2, 3)]
    assert sorted(path.name for path in out.iterdir()) == ["take.blend", "take.fbx", "take.glb", *written, "take.png"]
    told = events(capfd)
    assert sorted(Path(path).name for path in told[-1]["files"]) == sorted(path.name for path in out.iterdir())
    assert [(one["person"], one["armature"], one["share"]) for one in told[-1]["people"]] == [
        (number + 1, name, 1.0) for number, name in enumerate(PEOPLE)
    ]
    assert any("person 4" in event["message"] for event in told if event["event"] == "notice")

    # nothing that the user did not name is replaced
    (out / "take.person7.bvh").write_text("mine")
    assert addon.command.run(argv) == 1
    assert "take.person1.bvh is there already" in events(capfd)[-1]["message"]
    assert (out / "take.person7.bvh").read_text() == "mine"
    assert addon.command.run([*argv, "--overwrite"]) == 0
    assert not (out / "take.person7.bvh").exists()

    bpy.ops.wm.open_mainfile(filepath=str(out / "take.blend"))
    assert [obj.name for obj in bpy.data.collections["walk"].objects if obj.type == "ARMATURE"] == PEOPLE
    assert [scene.camera.name for scene in bpy.data.scenes] == ["walk camera"]

    def come_back(path: Path) -> list[float]:
        """X of each armature that a file holds, in its middle."""
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
        if path.suffix == ".fbx":
            bpy.ops.import_scene.fbx(filepath=str(path), anim_offset=0.0)
        elif path.suffix == ".glb":
            bpy.ops.import_scene.gltf(filepath=str(path))
        else:
            bpy.ops.import_anim.bvh(filepath=str(path), axis_forward="Y", axis_up="Z", use_fps_scale=False)
        bpy.context.scene.frame_set(12)
        return sorted(float(where(obj)[0]) for obj in bpy.data.objects if obj.type == "ARMATURE")

    assert come_back(out / "take.fbx") == pytest.approx([0, 1, 2], abs=1e-4)
    assert come_back(out / "take.glb") == pytest.approx([0, 1, 2], abs=1e-4)
    for number, name in enumerate(written):
        assert come_back(out / name) == pytest.approx([number], abs=1e-4)


def test_a_bvh_holds_one_armature(addon: Any, empty: Any, human: Any, tmp_path: Path) -> None:
    rigs = [addon.rig.build_armature(empty, human, name, empty.scene.collection) for name in "ab"]
    with pytest.raises(addon.exports.ExportError, match="a BVH holds one armature, not 2"):
        addon.exports.export(empty, rigs, tmp_path / "take.bvh")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("person", ["nobody", "0", "3,4"])
def test_a_person_that_cannot_be_read_is_told(
    addon: Any, backend: Any, video: Path, tmp_path: Path, capfd: Any, person: str
) -> None:
    assert addon.command.run(["convert", str(video), "-o", str(tmp_path / "o.blend"), "--person", person]) == 1
    assert f"person is '{person}'; it can be 'largest', 'everyone'" in capfd.readouterr().err
    assert not list(tmp_path.glob("*.blend"))
