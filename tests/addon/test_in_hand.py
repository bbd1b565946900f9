# SPDX-License-Identifier: GPL-3.0-or-later
"""While the user drags something, nothing comes into the scene and nothing goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_import import state
from test_live_preview import show, shown, stage

bpy = pytest.importorskip("bpy", reason="needs the bpy module or a Blender binary")
__all__ = ["show", "stage"]  # fixtures

TICK = SimpleNamespace(type="TIMER", value="NOTHING")


def manager(*windows: list[str]) -> Any:
    """Return what stands for a window manager: the operators that run in each window."""
    return SimpleNamespace(
        windows=[
            SimpleNamespace(modal_operators=[SimpleNamespace(bl_idname=name, name=name.lower()) for name in names])
            for names in windows
        ]
    )


def test_what_counts(addon: Any) -> None:
    found = addon.in_hand.found
    assert found(manager()) == found(manager([], [])) == ""
    assert found(manager(["VIDEO2RIG_OT_import_video"], ["VIDEO2RIG_OT_live"])) == ""
    assert found(manager([], ["VIDEO2RIG_OT_import_video", "TRANSFORM_OT_translate"])) == "transform_ot_translate"
    assert "modal_operators" in bpy.types.Window.bl_rna.properties
    assert found(bpy.context.window_manager) == ""


@pytest.fixture
def hand(addon: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A function that says what the user is in the middle of."""
    what = [""]
    monkeypatch.setattr(addon.in_hand, "found", lambda manager: what[0])
    return lambda name: what.__setitem__(0, name)


@pytest.fixture
def follow(addon: Any, empty: Any, backend: Any) -> Callable[[Path], Any]:
    """A function that starts an import's work by hand, as no timer fires in background mode."""

    class ByHand(addon.follow_job.FollowJob):
        said: list[str]

        def report(self, kind: set[str], text: str) -> None:
            self.said.append(text)

        def _place(self, context: Any, work: Any, takes: Any) -> None:
            addon.take_scene.place(context, takes, work.source.info, match=False)

        def tick(self) -> set[str]:
            return self.modal(bpy.context, TICK)

    def start(video: Path) -> Any:
        by_hand = ByHand()
        by_hand.said = []
        wanted = addon.job.wanted_from_preferences(bpy.context)
        by_hand._job = addon.job.Job(video, empty.scene.video2rig.settings(), wanted)
        by_hand._scene = addon.held.HeldScene.of(bpy.context)
        by_hand._job.start()
        return by_hand

    return start


def test_a_solve_waits_for_the_user(addon: Any, video: Path, follow: Any, hand: Callable[[str], None]) -> None:
    before = state()
    one = follow(video)
    work = one._job
    assert work.wait(60.0)
    hand("Move")
    for _ in range(3):
        assert one.tick() == {"PASS_THROUGH"}
        assert work.waits_for == "Move" and state() == before and not one.said
    hand("")
    assert one.tick() == {"FINISHED"}
    assert bpy.data.objects["walk"].animation_data.action.name == "walk"


def test_a_failure_does_not_wait(addon: Any, video: Path, follow: Any, hand: Callable[[str], None]) -> None:
    hand("Move")
    one = follow(video)
    one._job.cancel()
    assert one._job.wait(60.0)
    assert one.tick() == {"CANCELLED"} and one.said == ["Cancelled; the scene is as it was"]


def test_live_waits_for_the_user(addon: Any, stage: Any, hand: Callable[[str], None]) -> None:
    before = state()
    hand("Move")
    live = stage().begin()
    live.pump(lambda: live.run.began is not None)
    for _ in range(3):
        assert live.modal(bpy.context, TICK) == {"PASS_THROUGH"}
    assert state() == before
    hand("")
    live.pump(shown(live.run))
    assert "Video2Rig Live" in bpy.data.objects
    hand("Move")
    live.run.cancel()
    deadline = time.monotonic() + 60.0
    while not live.run.done and time.monotonic() < deadline:
        assert live.modal(bpy.context, TICK) == {"PASS_THROUGH"}
        time.sleep(0.02)
    assert live.modal(bpy.context, TICK) == {"PASS_THROUGH"} and "Video2Rig Live" in bpy.data.objects
    hand("")
    live.pump()
    assert live.ended and state() == before
