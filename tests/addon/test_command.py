# SPDX-License-Identifier: GPL-3.0-or-later
"""``blender -b --command video2rig``: files, exit codes, JSON lines, and nothing half done."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

bpy = pytest.importorskip("bpy", reason="needs the bpy module or a Blender binary")


def events(capfd: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith('{"event"')]


def test_convert_writes_all_that_is_asked(
    addon: Any, backend: Callable[..., Path], video: Path, tmp_path: Path, capfd: Any
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    argv = ["convert", str(video), "-o", str(out / "take.blend"), "--fbx", "--glb", str(out / "other.glb"), "--bvh"]
    assert addon.command.run([*argv, "--picture", str(out / "take.png"), "--json-progress"]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "other.glb",
        "take.blend",
        "take.bvh",
        "take.fbx",
        "take.png",
    ]
    told = events(capfd)
    assert told[-1]["event"] == "done" and told[-1]["frames"] == 24
    assert {event["event"] for event in told[:-1]} == {"progress"}
    assert all({"stage", "done", "total", "fps", "seconds_left"} <= set(event) for event in told[:-1])
    import cv2  # out of the extension

    picture = cv2.imread(str(out / "take.png"))
    assert picture is not None and picture.shape[1] % 3 == 0

    bpy.ops.wm.open_mainfile(filepath=str(out / "take.blend"))
    scene = bpy.context.scene
    assert [child.name for child in scene.collection.children] == ["walk"]
    rig = bpy.data.objects["walk"]
    assert (scene.render.fps / scene.render.fps_base, scene.frame_start, scene.frame_end) == (25.0, 1, 24)
    assert (scene.render.resolution_x, scene.render.resolution_y) == (96, 64)
    assert tuple(rig.animation_data.action.frame_range) == (1.0, 24.0)
    assert scene.camera.name == "walk camera"
    background = scene.camera.data.background_images[0]
    assert Path(bpy.path.abspath(background.image.filepath)) == video
    assert (background.image_user.frame_start, background.image_user.frame_duration) == (1, 24)
    assert not bpy.data.meshes


def test_sparse_keys(addon: Any, backend: Any, video: Path, tmp_path: Path, capfd: Any) -> None:
    out = tmp_path / "out.blend"
    assert addon.command.run(["convert", str(video), "-o", str(out), "--sparse-keys", "0.5"]) == 0
    bpy.ops.wm.open_mainfile(filepath=str(out))
    curves = addon.compat.fcurves(bpy.data.objects["walk"])
    assert {len(curve.keyframe_points) for curve in curves} == {2}  # the fake solver's take stands still
    capfd.readouterr()
    for wrong in ("0", "-1", "90", "few"):
        assert addon.command.run(["convert", str(video), "-o", str(out), "--sparse-keys", wrong]) == 2
        assert "--sparse-keys" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("absent.mp4", None, "absent.mp4"),
        ("empty.mp4", b"", "empty"),
        ("noise.mp4", bytes(range(256)) * 40, "not a video"),
    ],
)
def test_unreadable_video(
    addon: Any, backend: Any, tmp_path: Path, capfd: Any, name: str, content: bytes | None, says: str
) -> None:
    source, target = tmp_path / name, tmp_path / "out.blend"
    if content is not None:
        source.write_bytes(content)
    target.write_bytes(b"an older take")
    assert addon.command.run(["convert", str(source), "-o", str(target)]) == 1
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("video2rig:")]
    assert says in line
    assert target.read_bytes() == b"an older take"


def test_failure_in_the_backend(addon: Any, backend: Any, video: Path, tmp_path: Path, capfd: Any) -> None:
    argv = ["convert", str(video), "-o", str(tmp_path / "out.blend"), "--height", "2.5", "--json-progress"]
    assert addon.command.run(argv) == 1
    assert "nobody is this tall" in events(capfd)[-1]["message"]
    assert not (tmp_path / "out.blend").exists()


def test_absent_backend(
    addon: Any, backend: Any, video: Path, tmp_path: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEO2RIG_COMMAND", str(tmp_path / "nowhere"))
    assert addon.command.run(["convert", str(video), "-o", str(tmp_path / "out.blend")]) == 1
    assert "nowhere" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (["convert"], 2, "required"),
        (["convert", "VIDEO", "-o", "out.txt"], 1, ".blend"),
        (["convert", "VIDEO", "-o", "no/such/folder/out.blend"], 1, "there is no folder"),
        (["convert", "VIDEO", "-o", "out.blend", "--picture", "p.jpg"], 1, ".png"),
        (["convert", "VIDEO", "-o", "out.blend", "--height", "17"], 1, "height"),
        (["convert", "VIDEO", "-o", "out.blend", "--device", "abacus"], 2, "abacus"),
    ],
)
def test_wrong_arguments(
    addon: Any,
    backend: Any,
    video: Path,
    tmp_path: Path,
    capfd: Any,
    monkeypatch: pytest.MonkeyPatch,
    argv: list[str],
    code: int,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert addon.command.run([str(video) if word == "VIDEO" else word for word in argv]) == code
    assert says in capfd.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("extra", [[], ["--fbx"], ["--bvh"]])
def test_full_disk_leaves_the_old_file(
    addon: Any, backend: Any, video: Path, tmp_path: Path, capfd: Any, extra: list[str]
) -> None:
    """A limit on the size of files fails as a full disk does: the write comes back short."""
    resource = pytest.importorskip("resource", reason="limits on file size are POSIX's")
    out = tmp_path / "out"
    out.mkdir()
    target = out / "take.blend"
    target.write_bytes(b"an older take")
    old_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16 * 1024, limits[1]))
    try:
        code = addon.command.run(["convert", str(video), "-o", str(target), *extra])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, old_handler)
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("video2rig:")]
    assert code == 1 and "cannot be" in line
    assert [path.name for path in out.iterdir()] == ["take.blend"]
    assert target.read_bytes() == b"an older take"


def test_doctor(addon: Any, backend: Any, capfd: Any) -> None:
    assert addon.command.run(["doctor"]) == 0
    told = capfd.readouterr().out
    assert bpy.app.version_string in told and "server: answers at tcp://127.0.0.1" in told


def test_interpolation_and_open_scene(addon: Any, backend: Any, empty: Any, video: Path, tmp_path: Path) -> None:
    """--keep-scene adds to the file that is open, by time at its own rate."""
    empty.scene.render.fps = 50
    bpy.data.texts.new("mine")
    argv = ["convert", str(video), "-o", str(tmp_path / "out.blend"), "--keep-scene", "--interpolation", "bezier"]
    assert addon.command.run(argv) == 0
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "out.blend"))
    assert "mine" in bpy.data.texts and bpy.context.scene.render.fps == 50
    rig = bpy.data.objects["walk"]
    assert np.allclose(rig.animation_data.action.frame_range, (1, 1 + 23 * 2), atol=2e-3)
    codes = {point.interpolation for c in addon.compat.fcurves(rig) for point in c.keyframe_points}
    assert codes == {"BEZIER"}
