# SPDX-License-Identifier: GPL-3.0-or-later
"""Live in Blender over a real server, a video as the camera: what is shown, what stays, and what never does."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from test_import import state

bpy = pytest.importorskip("bpy", reason="needs the bpy module or a Blender binary")

PATIENCE = 60.0
TICK, ESC = SimpleNamespace(type="TIMER", value="NOTHING"), SimpleNamespace(type="ESC", value="PRESS")
CHANNELS = ("location", "rotation_quaternion", "rotation_euler", "rotation_axis_angle", "scale")


def make_video(path: Path, frames: int, grey: int) -> Path:
    import cv2

    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (96, 64))
    for _ in range(frames):
        writer.write(np.full((64, 96, 3), grey, np.uint8))
    writer.release()
    return path


@pytest.fixture(scope="session")
def show(tmp_path_factory: pytest.TempPathFactory, addon: Any) -> Path:
    """Twenty seconds of a bright picture: the fake server sees somebody in it."""
    return make_video(tmp_path_factory.mktemp("live") / "show.mp4", 500, 200)


@pytest.fixture
def stage(addon: Any, backend: Any, empty: Any, show: Path) -> Iterator[Callable[..., Any]]:
    """A function that starts the operator's work by hand, as no timer fires in background mode."""

    class ByHand(addon.live_operators.FollowLive):
        def __init__(self) -> None:
            self.said: list[str] = []
            self.ended: set[str] | None = None

        def report(self, kind: set[str], text: str) -> None:
            self.said.append(text)

        def _solve(self) -> None:
            assert bpy.ops.video2rig.solve_recording() == {"FINISHED"}

        def begin(self) -> ByHand:
            self.run = self._run = self._open(bpy.context)
            self._scene = addon.held.HeldScene.of(bpy.context)
            addon.live_run.current = self.run
            self.run.start()
            return self

        def pump(self, until: Callable[[], bool] = lambda: False) -> ByHand:
            """Let the timer tick until something holds, or it has ended."""
            deadline = time.monotonic() + PATIENCE
            while self.ended is None and not until():
                assert time.monotonic() < deadline, f"waited too long; {self.run.status}; {self.said}"
                answer = self.modal(bpy.context, TICK)
                if "CANCELLED" in answer or "FINISHED" in answer:
                    self.ended = answer
                time.sleep(0.01)
            return self

        def escape(self) -> ByHand:
            assert self.modal(bpy.context, ESC) == {"RUNNING_MODAL"}
            return self.pump()

    def start(path: Path = show) -> ByHand:
        chosen = bpy.context.scene.video2rig_live
        chosen.kind, chosen.address = "STREAM", str(path)
        return ByHand()

    yield start
    addon.live_run.shutdown()


def shown(run: Any) -> Callable[[], bool]:
    return lambda: run.pace() is not None


def sessions(addon: Any) -> int:
    wanted = addon.job.wanted_from_preferences(bpy.context)
    return addon.core.greeting.probe(addon.job.reach(wanted)).sessions


def pose_of(rig: Any) -> dict[str, Any]:
    return {
        bone.name: ([tuple(getattr(bone, name)) for name in CHANNELS], dict(bone.items())) for bone in rig.pose.bones
    }


def test_a_new_armature_moves_without_keys_and_goes_away(addon: Any, stage: Any, empty: Any) -> None:
    cube = bpy.data.objects.new("cube", bpy.data.meshes.new("cube"))
    empty.scene.collection.objects.link(cube)
    cube.select_set(True)
    empty.view_layer.objects.active = cube
    before = state()
    live = stage().begin()
    live.pump(shown(live.run))
    rig = bpy.data.objects["Video2Rig Live"]
    assert rig.animation_data is None and not bpy.data.actions
    # what the user works on stays what it is
    assert empty.view_layer.objects.active == cube and cube.select_get() and not rig.select_get()
    heights, moments = [], []
    for _ in range(4):
        moments.append(time.monotonic())
        live.pump(lambda: time.monotonic() > moments[-1] + 0.5)
        bpy.context.view_layer.update()
        evaluated = rig.evaluated_get(bpy.context.evaluated_depsgraph_get())
        heights.append((evaluated.matrix_world @ evaluated.pose.bones[0].matrix)[2][3])
    # the fake server raises the root by a metre a second
    assert 0.6 < (heights[-1] - heights[0]) / (moments[-1] - moments[0]) < 1.4
    pace = live.run.pace()
    assert 2 < pace.drawn <= pace.rate * 1.2 < 40 and 2 / 25 < pace.latency < 2.0
    live.escape()
    assert live.ended == {"CANCELLED"} and state() == before and not live.said
    assert sessions(addon) == 0 and addon.live_run.current is None and addon.live_run.recorded is None


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.3, 0.6, 1.0, 2.0])
def test_escape_at_any_time_leaves_the_scene_as_it_was(addon: Any, stage: Any, delay: float) -> None:
    before = state()
    live, began = stage().begin(), time.monotonic()
    live.pump(lambda: time.monotonic() - began >= delay).escape()
    assert state() == before and addon.live_run.current is None and not live.said
    assert sessions(addon) == 0


def test_an_armature_gets_its_pose_back(addon: Any, stage: Any, empty: Any, human: Any) -> None:
    rig = addon.rig.build_armature(empty, human, "mine", empty.scene.collection)
    rig.location, rig.rotation_euler = (1.0, 2.0, 0.0), (0.0, 0.0, 0.7)
    bone = rig.pose.bones["forearm.L"]
    bone.rotation_mode, bone.rotation_euler, bone["twist"] = "XYZ", (7.0, 0.1, 0.2), 0.5
    rig.pose.bones["thigh.R"].rotation_quaternion = (0.9, 0.4, 0.1, 0.0)
    bone.keyframe_insert("rotation_euler", frame=1)
    empty.view_layer.update()
    bpy.ops.object.mode_set(mode="POSE")
    before, pose, action = state(), pose_of(rig), rig.animation_data.action
    keys = [(curve.data_path, addon.compat.read_channel(curve)[1].tolist()) for curve in addon.compat.fcurves(rig)]
    empty.scene.video2rig.armature = "ACTIVE"
    live = stage().begin()
    live.pump(shown(live.run))
    live.pump(lambda: live.run.began is None or rig.pose.bones[0].location.length > 0.2)
    assert pose_of(rig) != pose
    bpy.context.view_layer.update()
    held = rig.evaluated_get(bpy.context.evaluated_depsgraph_get()).pose.bones["forearm.L"].rotation_euler
    assert np.allclose(held, 0.0, atol=1e-6), "the action's keys hold the live pose"
    live.escape()
    assert pose_of(rig) == pose and state() == before and rig.animation_data.action == action
    after = [(curve.data_path, addon.compat.read_channel(curve)[1].tolist()) for curve in addon.compat.fcurves(rig)]
    assert after == keys


@pytest.mark.parametrize("onto", ["", "mine"])
def test_what_was_recorded_becomes_a_take(addon: Any, stage: Any, empty: Any, human: Any, onto: str) -> None:
    if onto:
        rig = addon.rig.build_armature(empty, human, "mine", empty.scene.collection)
        empty.scene.video2rig.armature = "ACTIVE"
    fps = empty.scene.render.fps
    live = stage().begin()
    live.pump(shown(live.run))
    assert bpy.ops.video2rig.live_record() == {"FINISHED"} and not bpy.ops.video2rig.live_record.poll()
    live.pump(lambda: live.run.recording.seconds > 1.0)
    assert bpy.ops.video2rig.live_stop() == {"FINISHED"}
    live.pump()
    assert addon.live_run.recorded is None and "Video2Rig Live" not in bpy.data.objects
    rig = bpy.data.objects[onto or "Live show"]
    action = rig.animation_data.action
    kept = addon.kept.read(action)
    times = kept.take.motion.times
    assert times[0] == 0.0 and times[-1] >= 1.0 and len(times) > 10 and kept.take.keypoints.seen().all()
    assert kept.take.video["name"] == "show.mp4" and kept.take.motion.provenance["live"]
    assert np.allclose(action.frame_range, (1, 1 + times[-1] * fps), atol=2e-3) and empty.scene.render.fps == fps
    camera = bpy.data.objects["Live show camera"]
    assert not camera.data.background_images and not bpy.data.images
    # and it can be solved again like any other
    empty.view_layer.objects.active = rig
    assert bpy.ops.video2rig.solve_again() == {"FINISHED"}


def test_escape_keeps_the_recording_and_solves_nothing(addon: Any, stage: Any) -> None:
    before = state()
    live = stage().begin()
    live.pump(shown(live.run))
    bpy.ops.video2rig.live_record()
    live.pump(lambda: len(live.run.recording) > 10).escape()
    assert state() == before
    count = len(addon.live_run.recorded.recording)
    assert count > 10 and not live.said
    assert bpy.ops.video2rig.solve_recording() == {"FINISHED"}
    assert len(addon.kept.read(bpy.data.actions["Live show"]).take.motion) == count
    assert not bpy.ops.video2rig.solve_recording.poll()


def test_a_recording_for_an_armature_that_is_gone_is_solved_and_kept(
    addon: Any, stage: Any, empty: Any, human: Any
) -> None:
    rig = addon.rig.build_armature(empty, human, "hero", empty.scene.collection)
    empty.scene.video2rig.armature = "ACTIVE"
    live = stage().begin()
    live.pump(shown(live.run))
    bpy.ops.video2rig.live_record()
    live.pump(lambda: len(live.run.recording) > 10).escape()
    count = len(addon.live_run.recorded.recording)
    bpy.data.objects.remove(rig)
    with pytest.raises(RuntimeError, match="hero was removed while the video was solved"):
        bpy.ops.video2rig.solve_recording()
    assert "what was solved is kept in this file, as Live show" in addon.outcome.told[-1].text
    assert len(addon.kept.read(bpy.data.actions["Live show"]).take.motion) == count
    assert not bpy.ops.video2rig.solve_recording.poll()
    other = addon.rig.build_armature(empty, human, "other", empty.scene.collection)
    empty.view_layer.objects.active = other
    assert bpy.ops.video2rig.solve_take(take="Live show") == {"FINISHED"}
    assert other.animation_data.action.name == "Live show on other"


def test_a_dead_server_ends_it_and_another_one_solves_what_was_recorded(addon: Any, stage: Any) -> None:
    live = stage().begin()
    live.pump(shown(live.run))
    bpy.ops.video2rig.live_record()
    live.pump(lambda: len(live.run.recording) > 10)
    os.kill(addon.core.connection.Connection.load(os.environ["VIDEO2RIG_CONNECTION"]).pid, signal.SIGKILL)
    live.pump()
    (line,) = [line for line in live.said if line.startswith("Live ended")]
    assert "broke" in line or "does not answer" in line
    assert "what was recorded is kept" in line and "\n" not in line
    assert "Video2Rig Live" not in bpy.data.objects
    assert len(addon.kept.read(bpy.data.actions["Live show"]).take.motion) > 10


def test_nobody_in_view_is_told_and_the_rig_stays(addon: Any, stage: Any, tmp_path: Path) -> None:
    live = stage(make_video(tmp_path / "dark.mp4", 200, 0)).begin()
    live.pump(lambda: live.run.status == "Nobody in view")
    live.escape()
    assert not live.said


def test_what_is_not_there_is_told(addon: Any, stage: Any, backend: Any, tmp_path: Path) -> None:
    before = state()
    chosen = bpy.context.scene.video2rig
    chosen.device = "cuda"
    live = stage().begin().pump()
    assert "'cuda' was asked for, but there is none" in live.said[0]
    chosen.device = "auto"
    live = stage(tmp_path / "none.mp4").begin().pump()
    assert "there is no file" in live.said[0]
    live = stage()
    bpy.context.scene.video2rig_live.kind, bpy.context.scene.video2rig_live.camera = "CAMERA", 98
    live.begin().pump()
    assert live.said[0].startswith("Live ended: camera 98: cannot be opened") or "no picture" in live.said[0]
    addon.job.shutdown()
    backend().unlink()
    live = stage().begin().pump()
    assert live.said and "video2rig" in live.said[0]
    assert state() == before


def test_what_cannot_begin_is_refused_at_once(addon: Any, stage: Any, empty: Any) -> None:
    live, chosen = stage(), empty.scene.video2rig_live
    chosen.address = ""
    with pytest.raises(Exception, match="no stream or video was given"):
        live._open(empty)
    chosen.address = "rtsp://192.0.2.1/stream"
    if not bpy.app.online_access:
        with pytest.raises(Exception, match="Blender is set to stay offline"):
            live._open(empty)
    empty.scene.video2rig.armature = "ACTIVE"
    live = stage()
    with pytest.raises(Exception, match="no armature is active"):
        live._open(empty)
    with pytest.raises(RuntimeError, match="live needs a window"):
        bpy.ops.video2rig.live()


@pytest.mark.parametrize("harm", ["rename", "delete bone", "delete", "edit"])
def test_an_armature_that_is_changed_in_the_midst(addon: Any, stage: Any, empty: Any, human: Any, harm: str) -> None:
    rig = addon.rig.build_armature(empty, human, "mine", empty.scene.collection)
    empty.scene.video2rig.armature = "ACTIVE"
    live = stage().begin()
    live.pump(shown(live.run))
    if harm == "rename":
        rig.name = "yours"
        began = time.monotonic()
        live.pump(lambda: time.monotonic() - began > 0.5)
        assert live.ended is None and not live.said
        live.escape()
        assert all(bone.location.length == 0 for bone in rig.pose.bones)
    elif harm == "delete":
        bpy.data.objects.remove(rig)
        live.pump()
        assert "the armature of the live preview is gone" in live.said[0]
    elif harm == "edit":
        bpy.ops.object.mode_set(mode="EDIT")
        began = time.monotonic()
        live.pump(lambda: time.monotonic() - began > 0.5)
        bpy.ops.object.mode_set(mode="OBJECT")
        live.escape()
        assert not live.said
    else:
        bpy.ops.object.mode_set(mode="EDIT")
        rig.data.edit_bones.remove(rig.data.edit_bones["hand.L"])
        bpy.ops.object.mode_set(mode="OBJECT")
        live.pump()
        assert "was changed in the live preview: it has no bone" in live.said[0] and "hand.L" in live.said[0]
    assert sessions(addon) == 0


def test_another_file_ends_it(addon: Any, stage: Any) -> None:
    live = stage().begin()
    live.pump(shown(live.run))
    run = live.run
    live.cancel(bpy.context)  # as Blender calls it before it opens a file
    assert run.wait(10.0) and addon.live_run.current is None and "Video2Rig Live" not in bpy.data.objects
    assert sessions(addon) == 0
