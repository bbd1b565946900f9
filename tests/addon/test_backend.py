# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend from within Blender: operators and subcommands, with the real uv and a backend of a few lines."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

bpy = pytest.importorskip("bpy", reason="needs the bpy module or a Blender binary")

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fake_backend import ROOT, backend_wheel, bundled_pip, fill_wheels  # noqa: E402


@pytest.fixture
def prepared(addon: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The add-on bringing the fake backend, an empty folder for it, and an index of one folder; the preferences."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_", "VIDEO2RIG_COMMAND"))]:
        monkeypatch.delenv(name)
    uv_wheel = addon.core.uv_wheel
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    downloads = ROOT / "build" / "wheels"
    downloads.mkdir(parents=True, exist_ok=True)
    uv = downloads / uv_wheel.UV_WHEELS[uv_wheel.machine()][0]
    if not uv.is_file():
        indexes = addon.core.package_index.configured()
        uv_wheel.fetch_uv_wheel(indexes, downloads, lambda done, total: None, threading.Event())
    wheels = fill_wheels(tmp_path / "wheels", uv)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("VIDEO2RIG_BACKEND_FOLDER", str(tmp_path / "dàta x"))
    monkeypatch.setenv("VIDEO2RIG_CONNECTION", str(tmp_path / "connection.json"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    wheel = backend_wheel(tmp_path / "own")
    monkeypatch.setattr(addon.backend_state, "wheel", lambda: wheel)
    addon.backend_state._checked.clear()  # of another test's wheel, which may be the same, byte by byte
    chosen = addon.preferences.of(bpy.context)
    chosen.install_device = "cpu"
    chosen.python = os.environ.get("VIDEO2RIG_TEST_PYTHON") or sys.executable
    bpy.context.preferences.system.use_online_access = True
    yield chosen
    addon.worker.shutdown()
    for name in ("python", "bundle", "package_index", "command", "connection_file", "install_device"):
        chosen.property_unset(name)
    bpy.context.preferences.system.use_online_access = False


def state(addon: Any) -> str:
    return addon.backend_state.state(bpy.context)[0]


def test_install_update_doctor_remove(addon: Any, prepared: Any, tmp_path: Path, monkeypatch: Any) -> None:
    assert state(addon) == "absent"
    assert bpy.ops.video2rig.install_backend() == {"FINISHED"}
    assert state(addon) == "installed" and "for cpu" in addon.worker.last.lines[1]
    installed = addon.core.installation.find_installed()
    assert addon.core.launcher.find_backend_command() == [str(installed.program)]

    assert bpy.ops.video2rig.doctor() == {"FINISHED"}
    report = bpy.data.texts[addon.backend_operators.REPORT].as_string()
    assert "all is well" in report and bpy.app.version_string in report and str(installed.program) in report
    assert bpy.ops.video2rig.show_log() == {"FINISHED"}
    assert "Apache-2.0" in bpy.data.texts[addon.backend_operators.LOG].as_string()

    newer = backend_wheel(tmp_path / "newer", "9.9.10")
    monkeypatch.setattr(addon.backend_state, "wheel", lambda: newer)
    addon.backend_state._checked.clear()
    assert state(addon) == "outdated"
    assert bpy.ops.video2rig.install_backend() == {"FINISHED"}
    assert state(addon) == "installed" and addon.core.installation.find_installed().version == "9.9.10"
    addon.core.installation.find_installed().program.unlink()
    assert state(addon) == "broken"

    assert bpy.ops.video2rig.remove_backend() == {"FINISHED"}
    assert state(addon) == "absent" and not (tmp_path / "dàta x").exists()


def test_it_stays_offline_when_blender_does(addon: Any, prepared: Any, tmp_path: Path) -> None:
    bpy.context.preferences.system.use_online_access = False
    with pytest.raises(RuntimeError, match=r"stay offline; allow online access under.*offline bundle"):
        bpy.ops.video2rig.install_backend()
    assert addon.command.run(["install-backend"]) == 1
    assert not (tmp_path / "dàta x").exists()


def test_a_solve_is_not_disturbed(addon: Any, prepared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(addon.job, "current", object())
        for operator in (bpy.ops.video2rig.install_backend, bpy.ops.video2rig.remove_backend):
            with pytest.raises(RuntimeError, match="a video is being solved"):
                operator()


def test_a_failure_is_reported(addon: Any, prepared: Any) -> None:
    prepared.python = "/nowhere/python"
    with pytest.raises(RuntimeError, match=r"Looking for Python: /nowhere/python is not a Python .*install\.log"):
        bpy.ops.video2rig.install_backend()
    assert state(addon) == "absent" and "is not a Python" in addon.worker.last.error


def test_commands(addon: Any, prepared: Any, tmp_path: Path, capfd: Any) -> None:
    python = ["--python", prepared.python]
    if bundled_pip():
        assert addon.command.run(["bundle", str(tmp_path / "b.zip"), "--device", "cpu", *python]) == 0
        bpy.context.preferences.system.use_online_access = False
        assert addon.command.run(["install-backend", "--offline", str(tmp_path / "b.zip"), *python]) == 0
    else:
        assert addon.command.run(["install-backend", "--device", "cpu", *python]) == 0
    told = capfd.readouterr().out
    assert "licence: Apache-2.0" in told and "Installed 9.9.9" in told
    assert state(addon) == "installed"
    assert addon.command.run(["remove-backend"]) == 0
    assert "Removed" in capfd.readouterr().out and state(addon) == "absent"
    assert addon.command.run(["install-backend", "--offline", str(tmp_path / "nowhere.zip")]) == 1
    assert "nowhere.zip cannot be opened" in capfd.readouterr().err


def test_what_is_used(addon: Any, prepared: Any, tmp_path: Path) -> None:
    """A program of the user's own comes before the installed one; a remote one before both."""
    program = tmp_path / "video2rig"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    prepared.command = str(program)
    assert addon.backend_state.state(bpy.context) == ("named", f"Used: {program}")
    prepared.command = "/nowhere/video2rig"
    assert state(addon) == "misnamed"
    prepared.connection_file = "/nowhere/connection.json"
    assert state(addon) == "remote"
    with pytest.raises(RuntimeError, match="no connection file"):
        bpy.ops.video2rig.test_connection()


def test_connection(addon: Any, backend: Any, prepared: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """The test says who answers."""
    with pytest.raises(RuntimeError, match="name the remote backend's connection file first"):
        bpy.ops.video2rig.test_connection()
    monkeypatch.setenv("VIDEO2RIG_COMMAND", str(backend()))
    addon.job.reach(prepared.wanted())
    prepared.connection_file = str(tmp_path / "connection.json")
    assert bpy.ops.video2rig.test_connection() == {"FINISHED"}
    first, second = addon.worker.last.lines
    assert "answers in" in first and "an abacus" in second and addon.backend_tasks.__version__ in second
    assert bpy.ops.video2rig.doctor() == {"FINISHED"}
    assert "an abacus" in bpy.data.texts[addon.backend_operators.REPORT].as_string()


def test_one_work_at_a_time(addon: Any, prepared: Any) -> None:
    """The second is refused; cancelling ends the first and leaves nothing."""
    release = threading.Event()

    def task(report: Any, cancelled: threading.Event) -> list[str]:
        cancelled.wait(20)
        release.set()
        raise addon.core.errors.Cancelled("cancelled")

    work = addon.worker.Work("The first", task)
    addon.worker.begin(work)
    with pytest.raises(RuntimeError, match="The first is at work"):
        bpy.ops.video2rig.install_backend()
    assert bpy.ops.video2rig.cancel_work() == {"FINISHED"}
    assert release.wait(5) and work.wait(5)
    assert work.lines == ["Cancelled; everything is as it was"]


def test_blenders_python_is_untouched(addon: Any, prepared: Any) -> None:
    """Neither Blender's Python nor its extensions know of what was installed."""
    import importlib.util

    assert bpy.ops.video2rig.install_backend() == {"FINISHED"}
    importlib.invalidate_caches()
    assert importlib.util.find_spec("tinydep") is None
    resources = Path(bpy.utils.resource_path("USER"))
    assert not [path for path in resources.rglob("tinydep*")]
    wheel = Path(addon.backend_state.__file__).parent / "environment"
    assert [path.name.split("-")[0] for path in wheel.iterdir()] == ["video2rig"]


def test_panels_draw_in_every_state(addon: Any, prepared: Any, monkeypatch: Any) -> None:
    """Drawing asks Blender for nothing that it lacks, whatever the state."""

    class Layout:
        """Takes every call that a layout takes."""

        def __init__(self, labels: list[str]) -> None:
            self.labels = labels

        def _inner(self, *arguments: Any, **named: Any) -> Layout:
            return Layout(self.labels)

        box = column = row = prop = operator = progress = _inner

        def label(self, text: str = "", icon: str = "NONE") -> None:
            assert icon in bpy.types.UILayout.bl_rna.functions["label"].parameters["icon"].enum_items
            self.labels.append(text)

    def drawn(missing: bool) -> str:
        labels: list[str] = []
        addon.backend_panel._looked.clear()
        assert addon.backend_panel.draw_missing(Layout(labels), bpy.context) is missing
        addon.backend_panel.draw_preferences(Layout(labels), bpy.context)
        addon.backend_panel.draw_remote(Layout(labels), bpy.context)
        return " ".join(labels)

    assert "Not installed" in drawn(True) and "0.4 GB" in drawn(True)
    bpy.context.preferences.system.use_online_access = False
    assert "stay offline" in drawn(True)
    bpy.context.preferences.system.use_online_access = True
    addon.worker.current = addon.worker.Work("Some", lambda report, cancelled: [])
    drawn(True)
    addon.worker.current = None
    bpy.ops.video2rig.install_backend()
    assert "9.9.9" in drawn(False)
    prepared.connection_file = "/nowhere"
    assert "remote" in drawn(False)
