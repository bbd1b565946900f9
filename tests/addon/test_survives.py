# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to an armature and a scene while a video is solved for them: a name, a bone, a mode, a collection."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_active_armature import kept

bpy = pytest.importorskip("bpy", reason="needs the bpy module or a Blender binary")


@pytest.fixture
def hero(addon: Any, empty: Any, human: Any) -> Any:
    """An armature that is chosen to be solved, with an action of its own."""
    rig = addon.rig.build_armature(empty, human, "hero", empty.scene.collection)
    rig.pose.bones["spine.006"].keyframe_insert("rotation_quaternion", frame=3)
    rig.animation_data.action.name = "idle"
    empty.scene.video2rig.armature = "ACTIVE"
    return rig


@pytest.fixture
def meanwhile(at_once: Any, addon: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """A function (change) that makes a change between the end of the next solve and its way into the scene."""
    solve = addon.job.solve_blocking

    def between(change: Callable[[], object]) -> None:
        def solve_then_change(work: Any, progress: Any) -> Any:
            takes = solve(work, progress)
            change()
            return takes

        monkeypatch.setattr(addon.job, "solve_blocking", solve_then_change)

    return between


def rename_bone(rig: Any) -> None:
    rig.data.bones["shin.L"].name = "lower leg"


def delete_bone(rig: Any) -> None:
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    rig.data.edit_bones.remove(rig.data.edit_bones["shin.L"])
    bpy.ops.object.mode_set(mode="OBJECT")


def delete_bone_and_stay_in_edit_mode(rig: Any) -> None:
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    rig.data.edit_bones.remove(rig.data.edit_bones["shin.L"])


@pytest.mark.parametrize("change", [rename_bone, delete_bone, delete_bone_and_stay_in_edit_mode])
def test_bones_that_changed_meanwhile_are_told_and_the_rig_is_left_alone(
    addon: Any, hero: Any, video: Path, meanwhile: Any, change: Callable[[Any], None]
) -> None:
    before = kept(hero)
    meanwhile(lambda: change(hero))
    with pytest.raises(RuntimeError, match=r"hero was changed while the video was solved \("):
        bpy.ops.video2rig.import_video(filepath=str(video))
    assert "what was solved is kept in this file, as walk" in addon.outcome.told[-1].text
    if hero.mode == "EDIT":
        bpy.ops.object.mode_set(mode="OBJECT")
    after = kept(hero)
    assert {key: after[key] for key in ("action", "objects", "cameras")} == {
        key: before[key] for key in ("action", "objects", "cameras")
    }
    assert sorted(after["actions"]) == sorted([*before["actions"], "walk"])


def rename_back(rig: Any) -> None:
    rig.data.bones["lower leg"].name = "shin.L"


def map_by_hand(rig: Any) -> None:
    from video2rig.human import default_human

    human, names = default_human(), rig.data.video2rig_bones
    for name, role in zip(human.names, human.roles, strict=True):
        setattr(names, role, name if name in rig.data.bones else "lower leg")
    names.kept = True


@pytest.mark.parametrize("mend", [rename_back, map_by_hand])
def test_what_was_solved_is_put_on_the_rig_when_its_bones_are_mended(
    addon: Any, empty: Any, human: Any, video: Path, backend: Any, monkeypatch: pytest.MonkeyPatch, mend: Any
) -> None:
    """Over a real server, twice: nothing of the video is read the second time."""
    rig = addon.rig.build_armature(empty, human, "hero", empty.scene.collection)
    empty.scene.video2rig.armature = "ACTIVE"
    solve = addon.job.solve_blocking

    def solve_then_rename(work: Any, progress: Any) -> Any:
        takes = solve(work, progress)
        rename_bone(rig)
        return takes

    monkeypatch.setattr(addon.job, "solve_blocking", solve_then_rename)
    with pytest.raises(RuntimeError, match="was changed while the video was solved"):
        bpy.ops.video2rig.import_video(filepath=str(video))
    monkeypatch.undo()
    backend()
    assert "bones that are gone or renamed: shin.L" in addon.outcome.told[0].text
    assert rig.animation_data is None or rig.animation_data.action is None
    take = bpy.data.actions["walk"]
    assert take.use_fake_user and len(addon.kept.read(take).take.motion) == 24
    path = str(video.with_name("kept.blend"))
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.open_mainfile(filepath=path)
    rig = bpy.data.objects["hero"]
    bpy.context.view_layer.objects.active = rig
    mend(rig)
    moved = video.with_name("moved.mp4")
    video.rename(moved)
    try:
        assert bpy.ops.video2rig.solve_take(take="walk") == {"FINISHED"}
    finally:
        moved.rename(video)
    assert rig.animation_data.action.name == "walk on hero"
    knee = "shin.L" if mend is rename_back else "lower leg"
    keyed = {curve.data_path for curve in addon.compat.fcurves(rig)}
    assert any(path.startswith(f'pose.bones["{knee}"].rotation') for path in keyed)


def test_an_armature_that_is_renamed_meanwhile_is_found(hero: Any, video: Path, meanwhile: Any) -> None:
    meanwhile(lambda: setattr(hero, "name", "heroine"))
    assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    assert bpy.data.objects["heroine"].animation_data.action.name == "walk"


def test_another_that_takes_over_its_name_is_not_taken_for_it(
    addon: Any, empty: Any, human: Any, hero: Any, video: Path, meanwhile: Any
) -> None:
    def swap() -> None:
        hero.name = "heroine"
        addon.rig.build_armature(empty, human, "hero", empty.scene.collection)

    meanwhile(swap)
    assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    assert bpy.data.objects["heroine"].animation_data.action.name == "walk"
    assert bpy.data.objects["hero"].animation_data is None


def test_an_armature_that_is_deleted_meanwhile_is_told(addon: Any, hero: Any, video: Path, meanwhile: Any) -> None:
    meanwhile(lambda: bpy.data.objects.remove(hero))
    with pytest.raises(RuntimeError, match="hero was removed while the video was solved"):
        bpy.ops.video2rig.import_video(filepath=str(video))
    # what was solved is there for another armature
    assert [action.name for action in bpy.data.actions] == ["idle", "walk"] and not bpy.data.cameras
    assert addon.kept.is_kept(bpy.data.actions["walk"])


@pytest.mark.parametrize("mode", ["EDIT", "POSE"])
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_edit_and_pose_mode(hero: Any, empty: Any, video: Path, meanwhile: Any, mode: str, when: str) -> None:
    rest = [tuple(map(tuple, bone.matrix_local)) for bone in hero.data.bones]
    if when == "before":
        bpy.ops.object.mode_set(mode=mode)
    else:
        meanwhile(lambda: bpy.ops.object.mode_set(mode=mode))
    assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    assert hero.animation_data.action.name == "walk" and bpy.data.actions["idle"].use_fake_user
    assert np.allclose([tuple(map(tuple, bone.matrix_local)) for bone in hero.data.bones], rest, atol=1e-6)
    assert empty.view_layer.objects.active == hero
    assert hero.mode == ("POSE" if mode == "POSE" else "OBJECT")


def test_edit_mode_of_another_armature(
    addon: Any, hero: Any, empty: Any, human: Any, video: Path, meanwhile: Any
) -> None:
    def elsewhere() -> None:
        addon.rig.build_armature(empty, human, "other", empty.scene.collection)
        bpy.ops.object.mode_set(mode="EDIT")
        bpy.context.view_layer.objects.active.data.edit_bones["spine.006"].length = 0.3

    meanwhile(elsewhere)
    assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    assert hero.animation_data.action.name == "walk"
    other = bpy.data.objects["other"]
    assert other.animation_data is None and other.data.bones["spine.006"].length == pytest.approx(0.3)


def hide_by_eye(rig: Any) -> None:
    rig.hide_set(True)


def hide_in_viewports(rig: Any) -> None:
    rig.hide_viewport = True


def hide_its_collection(rig: Any) -> None:
    _into(rig).hide_viewport = True


def exclude_its_collection(rig: Any) -> None:
    _into(rig)
    bpy.context.view_layer.layer_collection.children["props"].exclude = True


def hide_its_collection_by_eye(rig: Any) -> None:
    _into(rig)
    bpy.context.view_layer.layer_collection.children["props"].hide_viewport = True


def _into(rig: Any) -> Any:
    collection = bpy.data.collections.new("props")
    bpy.context.scene.collection.children.link(collection)
    collection.objects.link(rig)
    bpy.context.scene.collection.objects.unlink(rig)
    return collection


IN_COLLECTION = [hide_its_collection, hide_its_collection_by_eye, exclude_its_collection]
HIDING = [hide_by_eye, hide_in_viewports, *IN_COLLECTION]


@pytest.mark.parametrize("hide", HIDING)
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_hidden_armature_is_solved_and_moved_where_it_stands(
    addon: Any, hero: Any, empty: Any, video: Path, meanwhile: Any, hide: Callable[[Any], None], when: str
) -> None:
    if when == "before" and hide == exclude_its_collection:
        pytest.skip("what lies in an excluded collection cannot be active")

    def hide_and_move() -> None:
        hide(hero)
        empty.view_layer.update()
        hero.rotation_euler = (0, 0, 1)

    if when == "before":
        hero.location = (1, 2, 3)
        hide_and_move()
    else:
        hero.rotation_euler = (0, 0, 1)
        meanwhile(hide_and_move)
    assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    assert hero.animation_data.action.name == "walk"
    links = [collection.name for collection in hero.users_collection]
    assert links == (["props"] if hide in IN_COLLECTION else [empty.scene.collection.name])
    assert hero.hide_viewport == (hide == hide_in_viewports) and hero.hide_get() == (hide == hide_by_eye)
    # shown again, the root is where it was solved: at the world's origin
    hero.hide_viewport = False
    for collection in bpy.data.collections:
        collection.hide_viewport = False
    for layer in empty.view_layer.layer_collection.children:
        layer.exclude = layer.hide_viewport = False
    empty.scene.frame_set(1)
    assert np.abs((hero.matrix_world @ hero.pose.bones["spine"].matrix).translation).max() < 1e-5


@pytest.fixture
def library(addon: Any, empty: Any, human: Any, tmp_path: Path) -> Path:
    """A file with an animated armature in a collection."""
    collection = bpy.data.collections.new("cast")
    empty.scene.collection.children.link(collection)
    rig = addon.rig.build_armature(empty, human, "hero", collection)
    rig.pose.bones["spine.006"].keyframe_insert("rotation_quaternion", frame=3)
    rig.animation_data.action.name = "idle"
    path = tmp_path / "library.blend"
    bpy.data.libraries.write(str(path), {collection})
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    return path


def link(path: Path) -> Any:
    with bpy.data.libraries.load(str(path), link=True) as (_, there):
        there.collections = ["cast"]
    collection = bpy.data.collections["cast"]
    bpy.context.scene.collection.children.link(collection)
    bpy.context.view_layer.update()
    bpy.context.view_layer.objects.active = collection.objects["hero"]
    bpy.context.scene.video2rig.armature = "ACTIVE"
    return collection


def test_a_linked_rig_is_refused_with_a_way_out(library: Path, at_once: None, video: Path) -> None:
    link(library)
    with pytest.raises(RuntimeError, match="hero is linked from another file; make a library override of it first"):
        bpy.ops.video2rig.import_video(filepath=str(video))
    assert [action.name for action in bpy.data.actions] == ["idle"] and not bpy.data.cameras


@pytest.mark.parametrize("editable", [True, False])
def test_a_library_override_of_a_whole_cast(
    addon: Any, library: Path, at_once: None, video: Path, editable: bool
) -> None:
    collection = link(library)
    context = bpy.context
    override = collection.override_hierarchy_create(context.scene, context.view_layer, do_fully_editable=editable)
    hero = override.objects["hero"]
    context.view_layer.objects.active = hero
    assert hero.override_library is not None and hero.override_library.is_system_override != editable
    if not editable:
        with pytest.raises(RuntimeError, match="hero is a library override that is not editable; make it so"):
            bpy.ops.video2rig.import_video(filepath=str(video))
        return
    former = hero.animation_data.action
    assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    action = hero.animation_data.action
    assert action.name == "walk" and action.library is None
    assert former in bpy.data.actions.values() and former != action
    # the keys move it, and they come back with the file
    path = library.with_name("shot.blend")
    context.scene.frame_set(5)
    root = (hero.matrix_world @ hero.pose.bones["spine"].matrix).translation
    assert np.abs(root).max() < 1e-5
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    bpy.ops.wm.open_mainfile(filepath=str(path))
    hero = next(obj for obj in bpy.data.objects if obj.name == "hero" and obj.library is None)
    assert hero.animation_data.action.name == "walk"
    bpy.context.view_layer.objects.active = hero
    assert bpy.ops.video2rig.solve_again.poll()


def test_a_rig_in_the_tweak_mode_of_the_nla(hero: Any, at_once: None, video: Path, empty: Any) -> None:
    """Blender does not let go of an action whose strip is being tweaked."""
    animation = hero.animation_data
    idle = animation.action
    track = animation.nla_tracks.new()
    track.strips.new("idle", 1, idle)
    animation.action = None
    track.strips[0].select = True
    animation.nla_tracks.active = track
    animation.use_tweak_mode = True
    assert animation.use_tweak_mode
    with pytest.raises(RuntimeError, match="hero is in the NLA editor's tweak mode; leave it first"):
        bpy.ops.video2rig.import_video(filepath=str(video))
    assert animation.use_tweak_mode and animation.action == idle
    assert sorted(action.name for action in bpy.data.actions) == ["idle"]
    animation.use_tweak_mode = False
    assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    assert [strip.action.name for strip in animation.nla_tracks[0].strips] == ["idle"]
