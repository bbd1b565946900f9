# SPDX-License-Identifier: GPL-3.0-or-later
"""Offline bundles: made on a computer with an index, checked, and installed from without any network."""

import json
import os
import shutil
import sys
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from fake_backend import bundled_pip, serve_index
from video2rig import bundle, torch_build
from video2rig.bundle import BundleError, fits, open_bundle
from video2rig.bundling import make_bundle
from video2rig.errors import Cancelled
from video2rig.files import FileError
from video2rig.install_request import InstallError, Request
from video2rig.installation import find_installed
from video2rig.installer import install
from video2rig.uv_wheel import machine


@pytest.fixture
def folder(wheels: Path, tmp_path: Path) -> Path:
    """A bundle as a folder."""
    content = tmp_path / "bündle"
    for kind in ("uv", "wheels"):
        (content / kind).mkdir(parents=True)
    for path in wheels.glob("*.whl"):
        shutil.copy(path, content / ("uv" if path.name.startswith("uv-") else "wheels"))
    weights = content / "weights" / "blazepose"
    weights.mkdir(parents=True)
    (weights / "net.tflite").write_bytes(b"weights")
    bundle.write_facts(content, ".".join(map(str, sys.version_info[:2])), "cpu", "9.9.9")
    return content


@pytest.fixture
def archive(folder: Path, tmp_path: Path) -> Path:
    """The same as a zip."""
    path = tmp_path / "bündle.zip"
    with path.open("wb") as file:
        bundle.write_zip(folder, file)
    return path


def opened(path: Path, scratch: Path) -> bundle.Bundle:
    return open_bundle(path, scratch, threading.Event())


def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network where nothing answers."""
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_installed_without_the_network(kind: str, request_of, request, monkeypatch: pytest.MonkeyPatch) -> None:
    path = request.getfixturevalue(kind)
    unreachable(monkeypatch)
    done = install(request_of(bundle=path, python=""))
    assert "offline bundle" in done.source and done.problem is None
    assert (done.environment / "share/video2rig/blazepose/net.tflite").read_bytes() == b"weights"
    assert not list(done.root.glob("unpacked-*"))


def test_a_bundle_for_another_python_or_device(request_of, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unreachable(monkeypatch)
    bundle.write_facts(folder, "3.99", "cpu", "9.9.9")
    with pytest.raises(InstallError, match=r"is Python 3\.\d+\.\d+, and Python 3\.99 \(the bundle is for that one\)"):
        install(request_of(bundle=folder))
    facts = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps(facts | {"machine": "amiga-68k"}))
    with pytest.raises(InstallError, match="is for amiga-68k, and this computer is"):
        install(request_of(bundle=folder))
    assert find_installed(request_of().root) is None and not list(request_of().root.glob("*-*"))


def test_a_gpu_from_a_bundle_without(request_of, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_build, "has_nvidia_driver", lambda: True)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**12))
    with pytest.raises(InstallError, match="a GPU was chosen, but the bundle has the CPU build"):
        install(request_of(bundle=folder, device="cuda"))


def test_what_the_bundle_lacks_is_told(request_of, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It never goes to the network instead."""
    unreachable(monkeypatch)
    (wheel,) = (folder / "wheels").glob("tinydep*")
    wheel.unlink()
    bundle.write_facts(folder, ".".join(map(str, sys.version_info[:2])), "cpu", "9.9.9")
    with pytest.raises(InstallError, match=r"Installing packages: .*tinydep"):
        install(request_of(bundle=folder))


def test_damage_is_found(archive: Path, folder: Path, tmp_path: Path) -> None:
    assert opened(archive, tmp_path / "a").uv.is_file()
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    broken = tmp_path / "broken.zip"
    broken.write_bytes(data)
    with pytest.raises(BundleError, match=r"damaged|Bad CRC"):
        opened(broken, tmp_path / "b")
    broken.write_bytes(data[: len(data) // 2])
    with pytest.raises(BundleError, match="not a zip, or only a part of one"):
        opened(broken, tmp_path / "c")
    (weights,) = folder.glob("weights/*/*")
    weights.write_bytes(b"WEIGHTS")
    with pytest.raises(BundleError, match=r"damaged: weights/blazepose/net.tflite"):
        opened(folder, tmp_path / "d")
    weights.unlink()
    with pytest.raises(BundleError, match=r"net.tflite of the bundle .*No such file"):
        opened(folder, tmp_path / "d")
    with pytest.raises(BundleError, match="cannot be opened"):
        opened(tmp_path / "nowhere.zip", tmp_path / "d")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match="not a bundle"):
        opened(tmp_path / "empty", tmp_path / "d")


@pytest.mark.parametrize("name", ["../evil.whl", "wheels/../../evil.whl", "/etc/evil.whl", "wheels/evil.exe"])
def test_names_that_lead_elsewhere(name: str, tmp_path: Path) -> None:
    facts = {"format": 1, "machine": machine(), "python": "3.11", "device": "cpu", "version": "1"}
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("bundle.json", json.dumps(facts | {"files": {name: [4, "0" * 64]}}))
        archive.writestr(name, "evil")
    with pytest.raises(BundleError, match="not a bundle"):
        opened(path, tmp_path / "scratch" / "deep")
    assert not list(tmp_path.rglob("evil.whl"))


def test_cancelled_while_it_is_read(archive: Path, tmp_path: Path) -> None:
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(Cancelled):
        open_bundle(archive, tmp_path / "scratch", cancelled)


@pytest.mark.skipif(bundled_pip() is None, reason="this Python brings no pip")
@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_made_and_installed(
    kind: str, request_of, wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_index(wheels, lambda name, handler: False) as address:
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        target = tmp_path / ("out é.zip" if kind == "zip" else "out é")
        said: list[str] = []
        size = make_bundle(target, request_of(index=address), said.append)
    assert size > 10**7 and any("tinydep" in line for line in said)
    assert not list(tmp_path.glob(".video2rig-*"))
    found = opened(target, tmp_path / "scratch")
    assert {path.name.split("-")[0] for path in found.wheels.iterdir()} == {"tinydep", "pip"}
    assert [path.name for path in found.weights.rglob("*.*")] == ["net.tflite"]
    unreachable(monkeypatch)
    assert install(request_of(bundle=target)).version == "9.9.9"


def test_a_bundle_that_cannot_be_made_leaves_nothing(request_of, wheels: Path, tmp_path: Path) -> None:
    (wheel,) = wheels.glob("tinydep*")
    wheel.unlink()
    with pytest.raises(InstallError, match="tinydep"):
        make_bundle(tmp_path / "out.zip", request_of())
    assert not (tmp_path / "out.zip").exists() and not list(tmp_path.glob(".video2rig-*"))
    with pytest.raises(FileError, match="there is no folder"):
        make_bundle(tmp_path / "no" / "out.zip", request_of())
    with pytest.raises(InstallError, match="is there already"):
        make_bundle(wheels, request_of())


def test_ranges_of_pythons() -> None:
    assert fits("3.12.4", ">=3.11,<3.15") and fits("3.11.0", "==3.11.*")
    assert not fits("3.10.9", ">=3.11,<3.15") and not fits("3.15.0", ">=3.11,<3.15") and not fits("3.12.1", "==3.11.*")
    with pytest.raises(BundleError):
        fits("3.12.1", "~=3.12")


@pytest.mark.skipif(os.environ.get("VIDEO2RIG_TEST_INDEX") is None, reason="installs the real backend; a minute")
def test_the_real_backend(tmp_path: Path) -> None:
    """The real wheel with the index of this machine: $VIDEO2RIG_TEST_INDEX is its address, or empty for its own."""
    import build_addon

    name, data = build_addon.backend_wheel()
    (tmp_path / name).write_bytes(data)
    index = os.environ["VIDEO2RIG_TEST_INDEX"]
    request = Request(tmp_path / name, device="cpu", index=index, python=sys.executable, root=tmp_path / "backend")
    done = install(request)
    assert done.version == build_addon.version() and "CPU" in done.computes and not done.notes
