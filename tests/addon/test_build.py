# SPDX-License-Identifier: GPL-3.0-or-later
"""The zips: complete, pinned, the same bytes every time; no Blender needed."""

from __future__ import annotations

import ast
import hashlib
import io
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import build_addon  # noqa: E402


def imports(path: Path) -> set[str]:
    """Return the top-level names of all absolute imports of a module, those inside functions included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_same_input_same_bytes(tmp_path: Path) -> None:
    target = build_addon.current_platform()
    first = build_addon.build(target, tmp_path / "a")
    second = build_addon.build(target, tmp_path / "b")
    assert build_addon.sha256(first) == build_addon.sha256(second)
    with zipfile.ZipFile(first) as archive:
        entries = archive.infolist()
    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {entry.external_attr >> 16 for entry in entries} == {0o100644}


def test_zip_is_complete(tmp_path: Path) -> None:
    target = build_addon.current_platform()
    with zipfile.ZipFile(build_addon.build(target, tmp_path)) as archive:
        names = set(archive.namelist())
        manifest = tomllib.loads(archive.read("blender_manifest.toml").decode())
        for wheel in build_addon.WHEELS[target]:
            assert hashlib.sha256(archive.read(f"wheels/{wheel.filename}")).hexdigest() == wheel.sha256
        for module in build_addon.core_modules():
            assert archive.read(f"core/{module}.py") == (build_addon.BACKEND / f"{module}.py").read_bytes()
    assert {"__init__.py", "LICENSE", "core/__init__.py"} <= names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]
    assert {name.removeprefix("./") for name in manifest["wheels"]} == {n for n in names if n.startswith("wheels/")}


@pytest.mark.parametrize("target", build_addon.WHEELS)
def test_manifest_of_each_platform(target: str) -> None:
    manifest = tomllib.loads(build_addon.manifest(target))
    assert manifest["id"] == "video2rig" and manifest["version"] == build_addon.version()
    assert manifest["blender_version_min"] == "4.2.0"
    assert manifest["license"] == ["SPDX:GPL-3.0-or-later"]
    assert manifest["platforms"] == [target]
    assert set(manifest["permissions"]) == {"network", "files", "camera"}
    # Blender refuses reasons that end in punctuation or are long
    assert all(len(text) <= 64 and text[-1].isalnum() for text in manifest["permissions"].values())
    tags = sorted((wheel.tags[0], *wheel.tags[2:4]) for wheel in build_addon.WHEELS[target])
    assert tags == [
        ("mss", "py3", "none"),
        ("opencv_python_headless", "cp37", "abi3"),
        ("pyzmq", "cp311", "cp311"),
        ("pyzmq", "cp312", "abi3"),
    ]


def test_every_python_is_named() -> None:
    """Blender reads from the wheels' names which Pythons an extension is for, and takes no range."""
    name, data = build_addon.pythons_wheel()
    assert name.split("-")[2].split(".") == ["cp311", "cp312", "cp313", "cp314"]
    with zipfile.ZipFile(io.BytesIO(data)) as wheel:
        assert all(".dist-info/" in entry for entry in wheel.namelist())
    assert name in build_addon.manifest("linux-x64")


def test_wrong_digest_is_refused(tmp_path: Path) -> None:
    wheel = build_addon.WHEELS["linux-x64"][0]
    (tmp_path / wheel.filename).write_bytes(b"something else")
    with pytest.raises(build_addon.BuildError, match="pinned is"):
        build_addon.fetch_wheel(wheel, tmp_path)


def test_nothing_heavy_is_imported_inside_blender() -> None:
    # certifi comes with Blender's Python, and is done without where it does not
    shipped = {"numpy", "zmq", "cv2", "certifi"} | set(sys.stdlib_module_names) | {"__future__"}
    for module in build_addon.core_modules():
        extra = imports(build_addon.BACKEND / f"{module}.py") - shipped
        assert not extra, f"core module {module} imports {extra}"
    for path in build_addon.sources():
        extra = imports(path) - shipped - {"bpy", "mathutils", "addon_utils", "blf", "gpu", "gpu_extras"}
        assert not extra, f"{path.name} imports {extra}"


def test_only_one_module_knows_versions() -> None:
    """Compatibility between Blenders lives in compat.py alone."""
    for path in build_addon.sources():
        if path.name != "compat.py":
            text = path.read_text("utf-8")
            assert "app.version >" not in text and "app.version <" not in text, path.name
            assert ".fcurves" not in text and ".slots" not in text, path.name
