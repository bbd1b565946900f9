# SPDX-License-Identifier: GPL-3.0-or-later
import os
import sys
import threading
from pathlib import Path

import pytest

from fake_backend import ROOT, backend_wheel, fill_wheels
from video2rig.install_request import Request
from video2rig.package_index import configured
from video2rig.uv_wheel import UV_WHEELS, fetch_uv_wheel, machine


@pytest.fixture(scope="session")
def uv_wheel() -> Path:
    """uv's own wheel, downloaded once by the product's own function."""
    folder = ROOT / "build" / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / UV_WHEELS[machine()][0]
    if not path.is_file():
        fetch_uv_wheel(configured(), folder, lambda done, total: None, threading.Event())
    return path


@pytest.fixture
def wheels(tmp_path: Path, uv_wheel: Path) -> Path:
    """A folder of all wheels that an installation of the fake backend needs."""
    return fill_wheels(tmp_path / "wheels", uv_wheel)


@pytest.fixture
def alone(wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No index but the folder, nothing of the user's own settings."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_", "VIDEO2RIG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # a uv of the machine's own would be taken instead of the pinned one
    monkeypatch.setenv("PATH", os.pathsep.join(["/usr/bin", "/bin"]))


@pytest.fixture
def request_of(alone: None, tmp_path: Path):
    """A function (changes) -> Request for the fake backend, into a folder with a space and a letter beyond ASCII."""
    first = Request(
        backend_wheel(tmp_path / "own"), device="cpu", python=sys.executable, root=tmp_path / "dàta x" / "backend"
    )

    def make(**changes: object) -> Request:
        import dataclasses

        return dataclasses.replace(first, **changes)

    return make
