# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend's own wheel, which the add-on brings: what pyproject.toml describes, and it installs."""

import base64
import hashlib
import importlib.metadata
import io
import subprocess
import sys
import threading
import tomllib
import zipfile
from pathlib import Path

import build_addon

from video2rig import child
from video2rig.installation import program_of, python_of
from video2rig.package_index import configured
from video2rig.uv_tools import Tools


def test_the_wheel_is_what_pyproject_describes() -> None:
    name, data = build_addon.backend_wheel()
    assert build_addon.backend_wheel() == (name, data)  # byte for byte
    with zipfile.ZipFile(io.BytesIO(data)) as wheel:
        files = {entry: wheel.read(entry) for entry in wheel.namelist()}
    (record,) = [entry for entry in files if entry.endswith(".dist-info/RECORD")]
    for line in files[record].decode().splitlines():
        path, digest, size = line.rsplit(",", 2)
        if path != record:
            assert len(files[path]) == int(size)
            right = base64.urlsafe_b64encode(hashlib.sha256(files[path]).digest()).decode().rstrip("=")
            assert digest == f"sha256={right}"
    assert len(files[record].decode().splitlines()) == len(files)
    modules = {path.relative_to(build_addon.BACKEND.parent).as_posix() for path in build_addon.BACKEND.rglob("*.py")}
    assert {entry for entry in files if entry.endswith(".py")} == modules
    assert any(entry.startswith("video2rig/rom/") for entry in files)
    info = importlib.metadata.PathDistribution(zipfile.Path(io.BytesIO(data), record.rpartition("/")[0] + "/"))
    with (build_addon.ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    assert info.requires == project["dependencies"]
    assert info.metadata["Version"] == build_addon.version()
    assert info.metadata["Requires-Python"] == project["requires-python"]
    assert {point.name: point.value for point in info.entry_points} == project["scripts"]


def test_the_wheel_installs_and_brings_its_weights(alone: None, tmp_path: Path) -> None:
    """Without its dependencies: the program starts, and finds weights in the installation."""
    name, data = build_addon.backend_wheel()
    (tmp_path / name).write_bytes(data)
    tools = Tools(tmp_path, configured(), lambda text: None, threading.Event())
    tools.prepare(None)
    tools.run("venv", "--no-project", "--python", sys.executable, tmp_path / "env")
    tools.run("pip", "install", "--python", python_of(tmp_path / "env"), "--no-deps", tmp_path / name)
    environment = child.clean_environment()
    said = subprocess.check_output([program_of(tmp_path / "env"), "--version"], text=True, env=environment)
    assert said.strip() == f"video2rig {build_addon.version()}"
    # put there by an offline bundle
    blazepose = tmp_path / "env" / "share" / "video2rig" / "blazepose"
    blazepose.mkdir()
    (blazepose / "pose_detection.tflite").write_bytes(b"not it")
    code = "from video2rig import weights; [print(e.name, e.place, sep=': ') for e in weights.status()]"
    said = subprocess.check_output([python_of(tmp_path / "env"), "-c", code], text=True, env=environment)
    assert "kinematic_regressor: the installation" in said
    assert f"the installation ({blazepose}): pose_detection.tflite is truncated" in said
