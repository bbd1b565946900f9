# SPDX-License-Identifier: GPL-3.0-or-later
"""The add-on as users get it: its zip, installed as an extension into the Blender that runs the tests.

Works in the bpy module and in a real binary (see run_in_blender.py). Blender's settings live in a scratch folder.
What stays registered at exit crashes 4.2 and hangs 4.5, so the add-on is disabled at the end.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "bl_ext.user_default.video2rig"

sys.path[:0] = [str(ROOT), str(ROOT / "backend"), str(Path(__file__).parent)]

_scratch: str | None = None
if "bpy" not in sys.modules:
    # read by Blender when bpy is imported, and never again
    _scratch = tempfile.mkdtemp(prefix="video2rig-blender-")
    os.environ["BLENDER_USER_RESOURCES"] = _scratch


class Addon:
    """The installed add-on's modules as attributes: ``addon.rig``, ``addon.core.take``."""

    def __init__(self, package: str, zip_path: Path) -> None:
        self._package = package
        self.zip_path = zip_path

    def __getattr__(self, name: str) -> Any:
        try:
            return importlib.import_module(f"{self._package}.{name}")
        except ModuleNotFoundError as error:
            raise AttributeError(f"the add-on has no module {name!r}") from error

    @property
    def core(self) -> Addon:
        return Addon(f"{self._package}.core", self.zip_path)


@pytest.fixture(scope="session")
def addon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addon]:
    """Install the zip; take it out again at the end."""
    bpy = pytest.importorskip("bpy", reason="needs the bpy module or a Blender binary")
    import addon_utils
    import build_addon

    path = build_addon.build(build_addon.current_platform(), tmp_path_factory.mktemp("zip"))
    if "bl_pkg" not in bpy.context.preferences.addons:
        addon_utils.enable("bl_pkg")
    # the files of an installed zip take precedence over nothing: an old one must go first
    if PACKAGE in bpy.context.preferences.addons:
        addon_utils.disable(PACKAGE)
    bpy.ops.extensions.package_install_files(filepath=str(path), repo="user_default", enable_on_install=True)
    assert PACKAGE in bpy.context.preferences.addons, "the extension did not install"
    yield Addon(PACKAGE, path)
    addon_utils.disable(PACKAGE)


@pytest.fixture
def empty(addon: Addon) -> Any:
    """An empty file; gives its context."""
    import bpy

    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    return bpy.context


@pytest.fixture(scope="session")
def human(addon: Addon) -> Any:
    """The default human, as the add-on's own Skeleton."""
    from video2rig.human import default_human

    return addon.core.skeleton.Skeleton.from_json(default_human().to_json())


@pytest.fixture(scope="session")
def make_motion(addon: Addon, human: Any) -> Any:
    """A function (times) -> Motion: every joint swings within its range, the root walks and turns."""
    from reference import quaternions_from_euler

    def make(times: np.ndarray) -> Any:
        joints = len(human)
        phase = np.arange(joints * 3).reshape(joints, 3) * 0.7
        swing = 0.5 + 0.45 * np.sin(2.0 * times[:, None, None] + phase)
        angles = human.rom[..., 0] + (human.rom[..., 1] - human.rom[..., 0]) * swing
        angles[:, 0] = np.stack([0.2 * np.sin(times), 0 * times, 4.0 * times], axis=1)
        rotations = np.stack(
            [quaternions_from_euler(angles[:, j], human.euler_order[j]) for j in range(joints)], axis=1
        )
        root = human.offset[0] + np.stack([0.4 * times, 0.3 * np.sin(times), 0.05 * np.cos(3 * times)], axis=1)
        confidence = 0.5 + 0.5 * np.sin(times[:, None] + np.arange(joints))
        contact = addon.core.motion.Contact(human.names[-1], float(times[0]), float(times[-1]))
        return addon.core.motion.Motion(
            human, times, rotations, root, confidence, (contact,), {"device": "test", "settings": {"height": None}}
        )

    return make


@pytest.fixture
def at_once(addon: Addon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Solve without a server: everybody stands at rest, a metre apart, from the first to the last frame."""
    monkeypatch.setattr(addon.job, "solve_blocking", lambda work, progress: _solved(addon, work))


def _solved(addon: Addon, work: Any) -> list[Any]:
    from video2rig.human import default_human

    skeleton = work._skeleton or addon.core.skeleton.Skeleton.from_json(default_human().to_json())
    times = np.array([frame.time for frame in work.source.frames()])
    info, count = work.source.info, len(times)
    rotations = np.zeros((count, len(skeleton), 4))
    rotations[..., 0] = 1.0
    camera = addon.core.camera.Camera.from_field_of_view(info.width, info.height, 1.0)
    seen = np.zeros((count, 33, 2), np.float32), np.ones((count, 33), np.float32)
    takes = []
    for number in range(1, 4 if work._settings.person == "everyone" else 2):
        root = np.tile([number - 1.0, 0.0, 0.0], (count, 1))
        told = {"settings": work._settings.to_json()}
        motion = addon.core.motion.Motion(skeleton, times, rotations, root, np.ones((count, len(skeleton))), (), told)
        keypoints = addon.core.keypoints.Keypoints("blazepose_33", *seen, times, None)
        takes.append(addon.core.take.Take(motion, keypoints, camera, info.facts(), number))
    return takes


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the scratch settings; leave the module before its own glTF exporter hangs or crashes it at exit."""
    if _scratch is not None:
        shutil.rmtree(_scratch, ignore_errors=True)
    bpy = sys.modules.get("bpy")
    if bpy is not None and not bpy.app.binary_path:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(getattr(config, "video2rig_status", 0)))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Keep the status for :func:`pytest_unconfigure`."""
    session.config.video2rig_status = exitstatus  # type: ignore[attr-defined]


FAKE_SERVER = ROOT / "tests" / "wire" / "fake_server.py"


@pytest.fixture
def backend(addon: Addon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A function (*flags) that makes the add-on's backend a real server with a pipeline that sees nothing.

    A Blender binary's Python has no backend: $VIDEO2RIG_TEST_PYTHON names one that does.
    """
    import bpy

    python = os.environ.get("VIDEO2RIG_TEST_PYTHON") or ("" if bpy.app.binary_path else sys.executable)
    if not python:
        pytest.skip("$VIDEO2RIG_TEST_PYTHON does not name a Python that has the backend")
    folder = tmp_path / "backend"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("VIDEO2RIG_CONNECTION", str(folder / "connection.json"))

    def use(*flags: str) -> Path:
        program = folder / "video2rig"
        # the checkout's own backend, whichever one that Python has
        program.write_text(
            f'#!/bin/sh\nPYTHONPATH="{ROOT / "backend"}" exec "{python}" "{FAKE_SERVER}" "$@" {" ".join(flags)}\n'
        )
        program.chmod(0o755)
        monkeypatch.setenv("VIDEO2RIG_COMMAND", str(program))
        return program

    use()
    yield use
    addon.job.shutdown()


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory, addon: Addon) -> Path:
    """A video of 24 frames at 25 a second, 96x64 pixels."""
    import cv2

    path = tmp_path_factory.mktemp("video") / "walk.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (96, 64))
    for index in range(24):
        image = np.full((64, 96, 3), 40, np.uint8)
        image[10:50, 3 * index : 3 * index + 12] = (80, 160, 240)
        writer.write(image)
    writer.release()
    return path


@pytest.fixture
def walk(addon: Addon, backend: Any, empty: Any, video: Path) -> Iterator[Any]:
    """The armature of an imported video, in a furnished scene; the video cannot be read any more."""
    import bpy
    from test_import import furnish

    furnish()
    moved = video.with_name("moved.mp4")
    assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    video.rename(moved)
    yield bpy.data.objects["walk"]
    moved.rename(video)
