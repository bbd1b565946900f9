# SPDX-License-Identifier: GPL-3.0-or-later
"""File > Import > Video to Armature over a real server: what comes into a scene, and what never does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

bpy = pytest.importorskip("bpy", reason="needs the bpy module or a Blender binary")

KINDS = ("objects", "collections", "armatures", "cameras", "meshes", "actions", "images", "movieclips", "scenes")


def state() -> dict[str, Any]:
    """Return all that an import could leave behind in the scene."""
    scene = bpy.context.scene
    layer = bpy.context.view_layer
    layer.update()
    found: dict[str, Any] = {kind: sorted(item.name for item in getattr(bpy.data, kind)) for kind in KINDS}
    found["render"] = (scene.render.fps, scene.render.fps_base, scene.render.resolution_x, scene.render.resolution_y)
    found["range"] = (scene.frame_start, scene.frame_end, scene.frame_current, scene.frame_subframe)
    found["camera"] = scene.camera and scene.camera.name
    found["active"] = layer.objects.active and (layer.objects.active.name, layer.objects.active.mode)
    found["selected"] = sorted(obj.name for obj in layer.objects if obj.select_get())
    return found


def furnish() -> None:
    """Put a selected mesh in edit mode, another object and a camera into the scene, and set a frame."""
    scene = bpy.context.scene
    camera = bpy.data.objects.new("mine", bpy.data.cameras.new("mine"))
    mesh = bpy.data.objects.new("cube", bpy.data.meshes.new("cube"))
    for obj in (camera, mesh, bpy.data.objects.new("empty", None)):
        scene.collection.objects.link(obj)
    scene.camera = camera
    scene.render.fps, scene.render.fps_base = 24, 1.001
    scene.frame_set(17, subframe=0.25)
    bpy.context.view_layer.update()
    mesh.select_set(True)
    bpy.data.objects["empty"].select_set(True)
    bpy.context.view_layer.objects.active = mesh
    bpy.ops.object.mode_set(mode="EDIT")


def test_import_into_a_scene_in_use(addon: Any, backend: Any, empty: Any, video: Path) -> None:
    furnish()
    before = state()
    assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    after = state()
    assert after["render"] == before["render"] and after["range"] == before["range"]
    assert after["camera"] == "mine"
    assert after["active"] == ("walk", "OBJECT") and after["selected"] == ["walk"]
    assert set(after["collections"]) - set(before["collections"]) == {"walk"}
    assert {obj.name for obj in bpy.data.collections["walk"].objects} == {"walk", "walk camera"}

    rate = 24 / 1.001
    rig = bpy.data.objects["walk"]
    assert np.allclose(rig.animation_data.action.frame_range, (1, 1 + 23 / 25 * rate), atol=2e-3)
    camera = bpy.data.objects["walk camera"].data
    (curve,) = addon.compat.fcurves(camera)
    frames, offsets = addon.compat.read_channel(curve)
    pictures = frames + offsets  # with the background's first frame at scene frame 1
    assert camera.background_images[0].image_user.frame_start == 1
    assert np.abs((pictures - 1) / 25 - (frames - 1) / rate).max() <= 0.5 / 25 + 1e-6


def test_same_video_twice(addon: Any, backend: Any, empty: Any, video: Path) -> None:
    for _ in range(2):
        assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    assert sorted(child.name for child in empty.scene.collection.children) == ["walk", "walk.001"]
    actions = {obj.animation_data.action.name for obj in bpy.data.objects if obj.type == "ARMATURE"}
    assert len(actions) == 2


def test_match_scene_by_choice(addon: Any, backend: Any, empty: Any, video: Path) -> None:
    empty.scene.video2rig.match_scene = True
    assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    assert state()["render"] == (25, 1.0, 96, 64) and state()["range"][:2] == (1, 24)
    assert not addon.compat.fcurves(bpy.data.objects["walk camera"].data)


def test_failures_change_nothing(
    addon: Any, backend: Any, empty: Any, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish()
    before = state()
    (tmp_path / "no.mp4").write_bytes(b"no video at all" * 100)
    for path, says in (("", "no video"), (tmp_path / "absent.mp4", "absent"), (tmp_path / "no.mp4", "not a video")):
        with pytest.raises(RuntimeError, match=says):
            bpy.ops.video2rig.import_video(filepath=str(path))
        assert state() == before

    empty.scene.video2rig.height = 2.5  # the fake pipeline refuses it
    with pytest.raises(RuntimeError, match="nobody is this tall"):
        bpy.ops.video2rig.import_video(filepath=str(video))
    empty.scene.video2rig.height = 0.0
    assert state() == before

    empty.scene.video2rig.match_scene = True

    def breaks(*_: object, **__: object) -> None:
        raise addon.core.errors.Video2RigError("broke at the last step")

    monkeypatch.setattr(addon.keyframes, "write_motion", breaks)
    with pytest.raises(RuntimeError, match="broke at the last step"):
        bpy.ops.video2rig.import_video(filepath=str(video))
    assert state() == before | {"actions": ["walk"]}  # what was solved is kept
    assert addon.kept.is_kept(bpy.data.actions["walk"])


def test_cancel_frees_the_session(addon: Any, backend: Callable[..., Path], empty: Any, video: Path) -> None:
    backend("--push-seconds", "0.1", "--limits", "'" + json.dumps({"sessions": 1}) + "'")
    before = state()
    settings = empty.scene.video2rig.settings()
    wanted = addon.job.wanted_from_preferences(empty)
    job = addon.job.Job(video, settings, wanted)
    job.start()
    deadline = time.monotonic() + 60
    while job.progress().done < 1 and time.monotonic() < deadline and not job.done:
        time.sleep(0.02)
    assert not job.done and job.progress().stage == "detecting"
    job.cancel()
    assert job.wait(10)
    with pytest.raises(addon.core.errors.Cancelled):
        job.result()
    assert state() == before
    # the server takes one session at a time: another gets in once the first one's last push is over
    for attempt in range(10):
        again = addon.job.Job(video, settings, wanted)
        try:
            assert [len(take.motion) for take in addon.job.solve_blocking(again, lambda progress: None)] == [24]
            break
        except addon.core.link.ServerError as error:
            assert "sessions are open" in str(error) and attempt < 9
            time.sleep(0.5)


def test_other_computers_need_online_access(addon: Any, empty: Any, tmp_path: Path) -> None:
    import zmq

    public, secret = (key.decode() for key in zmq.curve_keypair())
    remote = addon.core.connection.Connection(
        "tcp://192.0.2.7:5555", "tcp://192.0.2.7:5556", public, public, secret, 1, 1, "0.1.0"
    )
    preferences = addon.preferences.of(empty)
    preferences.connection_file = str(remote.save(tmp_path / "connection.json"))
    try:
        if bpy.app.online_access:
            assert preferences.wanted().remote == remote
        else:
            with pytest.raises(addon.preferences.PreferencesError, match="online access"):
                preferences.wanted()
    finally:
        preferences.connection_file = ""


def test_camera_projects_as_the_solver_does(addon: Any, empty: Any) -> None:
    from bpy_extras.object_utils import world_to_camera_view
    from mathutils import Vector

    angle = 0.3
    rotation = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]) @ np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    camera = addon.core.camera.Camera(640, 480, 555.0, np.array([300.0, 260.0]), rotation, np.array([0.1, 1.0, 4.0]))
    points = np.array([[0.3, 0.2, 0.9], [-0.5, 0.1, 1.7], [0.0, -0.4, 0.0]])
    scene = empty.scene
    for width, height in ((640, 480), (1920, 1080), (500, 1000)):
        scene.render.resolution_x, scene.render.resolution_y = width, height
        obj = addon.video_camera.add_camera(scene, camera, "solved", scene.collection)
        empty.view_layer.update()
        # the video fits into the frame, centred: its size in the scene's pixels
        scale = min(width / 640, height / 480)
        margin = np.array([width - 640 * scale, height - 480 * scale]) / 2
        for point, pixel in zip(points, camera.project(points), strict=True):
            x, y, depth = world_to_camera_view(scene, obj, Vector(point))
            assert depth > 0
            # pixels are indices, so the middle of the first one is half a pixel inside
            assert np.allclose((x * width, (1 - y) * height), (pixel + 0.5) * scale + margin, atol=0.05)
