# SPDX-License-Identifier: GPL-3.0-or-later
"""Contacts as pose markers: shown as they were solved, read as they were edited, over a real server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

bpy = pytest.importorskip("bpy", reason="needs the bpy module or a Blender binary")


def marks(action: Any) -> list[tuple[str, int]]:
    return sorted((marker.name, marker.frame) for marker in action.pose_markers)


def mark(action: Any, *named: tuple[str, int]) -> None:
    for name, frame in named:
        action.pose_markers.new(name).frame = frame


def clear(action: Any) -> None:
    while action.pose_markers:
        action.pose_markers.remove(action.pose_markers[0])


def contacts_of(action: Any) -> list[dict[str, Any]]:
    return json.loads(action["video2rig_contacts"])


@pytest.mark.parametrize("rate", [24.0, 29.97, 60.0])
def test_a_motion_shows_its_contacts(addon: Any, empty: Any, make_motion: Any, rate: float) -> None:
    import dataclasses

    contact = addon.core.motion.Contact
    told = (contact("foot.L", 0.1, 0.5), contact("toe.R", 0.3, 0.3), contact("foot.L", 0.7, 1.0))
    motion = dataclasses.replace(make_motion(np.arange(31) / 30.0), contacts=told)
    rig = addon.rig.build_armature(empty, motion.skeleton, "human", empty.scene.collection)
    action, _ = addon.keyframes.write_motion(rig, motion, "take", rate=rate, first=10)
    at = [10 + round(time * rate) for time in (0.1, 0.5, 0.3, 0.7, 1.0)]
    assert marks(action) == sorted(
        [
            ("left heel down", at[0]),
            ("left heel up", at[1]),
            ("right toes down", at[2]),
            ("right toes up", at[2]),
            ("left heel down", at[3]),
            ("left heel up", at[4]),
        ]
    )


def test_edited_contacts_are_solved(addon: Any, walk: Any, empty: Any, tmp_path: Path) -> None:
    empty.scene.video2rig.contacts = "marked"
    action, rate = walk.animation_data.action, 24 / 1.001
    mark(action, ("left foot down", 3), ("left heel up", 9), ("Left Toes up", 11), ("apex", 7), ("stand up", 5))
    assert bpy.ops.video2rig.solve_again() == {"FINISHED"}
    again = walk.animation_data.action
    assert again != action
    # of the video's frames, 25 a second from scene frame 1, those next to the markers
    start, heel, toes = (round((frame - 1) / rate * 25) / 25 for frame in (3, 9, 11))
    wanted = [{"joint": "foot.L", "start": start, "end": heel}, {"joint": "toe.L", "start": start, "end": toes}]
    got = sorted(contacts_of(again), key=lambda contact: contact["joint"])
    assert [contact["joint"] for contact in got] == ["foot.L", "toe.L"]
    for one, other in zip(got, wanted, strict=True):
        assert (one["start"], one["end"]) == pytest.approx((other["start"], other["end"]), abs=1e-6)
    # shown in the words of solved contacts, the animator's own markers with them
    new = [("left heel down", 3), ("left heel up", 9), ("left toes down", 3), ("left toes up", 11)]
    assert marks(again) == sorted([*new, ("apex", 7), ("stand up", 5)])
    # they survive a saved file, undo and appending
    path = str(tmp_path / "marked.blend")
    name = again.name
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.open_mainfile(filepath=path)
    again = bpy.data.actions[name]
    assert marks(again) == sorted([*new, ("apex", 7), ("stand up", 5)])
    next(marker for marker in again.pose_markers if marker.name == "left heel up").frame = 6
    bpy.ops.ed.undo_push(message="moved")
    clear(again)
    bpy.ops.ed.undo_push(message="cleared")
    bpy.ops.ed.undo()
    again = bpy.data.actions[name]
    assert ("left heel up", 6) in marks(again)
    assert bpy.ops.video2rig.solve_again() == {"FINISHED"}
    third = bpy.data.objects["walk"].animation_data.action
    (moved,) = [contact for contact in contacts_of(third) if contact["joint"] == "foot.L"]
    assert moved["end"] == pytest.approx(round((6 - 1) / rate * 25) / 25, abs=1e-6)
    assert moved["start"] == pytest.approx(start, abs=1e-9)
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    with bpy.data.libraries.load(path) as (_, wanted_data):
        wanted_data.objects = ["walk"]
    (rig,) = wanted_data.objects
    assert ("left heel up", 6) in marks(rig.animation_data.action)


def test_markers_that_were_not_moved_are_the_times_that_were_solved(addon: Any, walk: Any, empty: Any) -> None:
    empty.scene.video2rig.contacts = "marked"
    mark(walk.animation_data.action, ("right heel down", 4), ("right heel up", 15))
    assert bpy.ops.video2rig.solve_again() == {"FINISHED"}
    first = contacts_of(walk.animation_data.action)
    assert bpy.ops.video2rig.solve_again() == {"FINISHED"}
    assert walk.animation_data.action.name == "walk.002"
    second = contacts_of(walk.animation_data.action)
    assert [list(c.values())[1:] for c in second] == [pytest.approx(list(c.values())[1:], abs=1e-6) for c in first]


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ([("left heel up", 4)], '"left heel up" at frame 4 has no "left heel down" before it'),
        ([("left heal down", 4), ("left heel up", 8)], '"left heal down" at frame 4 is no contact'),
        ([("left heel down", 4)], '"left heel down" at frame 4 has no "left heel up" after it'),
        ([("left heel down", 90), ("left heel up", 95)], '"left heel down" at frame 90 lies outside of the take'),
        ([], "has no contact markers"),
    ],
)
def test_markers_that_make_no_sense_change_nothing(
    addon: Any, walk: Any, empty: Any, named: list[tuple[str, int]], says: str
) -> None:
    empty.scene.video2rig.contacts = "marked"
    action = walk.animation_data.action
    mark(action, *named)
    actions = sorted(bpy.data.actions.keys())
    with pytest.raises(RuntimeError, match=says):
        bpy.ops.video2rig.solve_again()
    assert walk.animation_data.action == action and sorted(bpy.data.actions.keys()) == actions
    assert marks(action) == sorted(named)
    # and they can be had back as they were solved
    mark(action, ("apex", 3))
    assert bpy.ops.video2rig.mark_contacts() == {"FINISHED"}
    assert marks(action) == [("apex", 3)]  # the fake solver found no contacts


def test_a_new_video_has_no_markers_and_edited_ones_are_not_forgotten(
    addon: Any, backend: Any, walk: Any, empty: Any, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = empty.scene.video2rig
    chosen.contacts = "marked"
    assert chosen.settings().contacts == "marked" and chosen.settings_for("other.mp4").contacts == "auto"
    chosen.contacts = "auto"
    action = walk.animation_data.action
    of = addon.kept.read(action)
    assert not addon.contact_markers.edited(action, of)
    mark(action, ("left heel down", 3), ("left heel up", 9))
    assert addon.contact_markers.edited(action, of)
