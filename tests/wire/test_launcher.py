# SPDX-License-Identifier: GPL-3.0-or-later
import dataclasses
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import FAKE_SERVER, ServerProcess, SyntheticVideo, run
from test_connection import connection

from video2rig import doctor
from video2rig.connection import ENVIRONMENT
from video2rig.greeting import probe
from video2rig.installation import ENVIRONMENT as BACKEND_FOLDER
from video2rig.installation import Installed
from video2rig.launcher import COMMAND, LaunchError, LocalServer, find_backend_command
from video2rig.link import Unreachable
from video2rig.parent import is_running


@pytest.fixture
def launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], LocalServer]]:
    """Local servers whose program is a line of Python; `serve` is the fake server."""
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "connection.json"))
    started: list[LocalServer] = []

    def make(code: str = f"import runpy; runpy.run_path({str(FAKE_SERVER)!r}, run_name='__main__')") -> LocalServer:
        started.append(LocalServer([sys.executable, "-c", code], start_seconds=10.0))
        return started[-1]

    yield make
    for server in started:
        server.stop()


def program(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.skipif(os.name != "posix", reason="makes a shell script")
def test_the_command_is_found_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    on_path, named, explicit = (program(tmp_path / d, "video2rig") for d in ("path", "named", "explicit"))
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setenv(BACKEND_FOLDER, str(tmp_path / "backend"))
    monkeypatch.delenv(COMMAND, raising=False)
    with pytest.raises(LaunchError, match="not installed, or not on the PATH"):
        find_backend_command()
    monkeypatch.setenv("PATH", str(on_path.parent))
    assert find_backend_command("") == [str(on_path)]
    installed = Installed("env-01234567", "1.0", "0" * 64, "cpu", "", "", "", 0)
    (installed.environment / "bin").mkdir(parents=True)
    own = program(installed.environment / "bin", "video2rig")
    program(installed.environment / "bin", "python")
    installed.save()
    assert find_backend_command() == [str(own)]
    monkeypatch.setenv(COMMAND, str(named))
    assert find_backend_command() == [str(named)]
    assert find_backend_command(str(explicit)) == [str(explicit)]
    with pytest.raises(LaunchError, match="'/nowhere/video2rig' is not a program"):
        find_backend_command("/nowhere/video2rig")
    monkeypatch.setenv(COMMAND, "/nowhere/too")
    with pytest.raises(LaunchError, match=COMMAND):
        find_backend_command()


def test_a_server_is_started_once_and_stopped(launch, tmp_path: Path):
    server = launch()
    first = server.ensure()
    assert server.started and is_running(first.pid)
    assert server.ensure() == first
    video = SyntheticVideo(5)
    run(video, first)
    server.stop()
    assert not server.started and not is_running(first.pid)
    assert os.listdir(tmp_path) == []
    with pytest.raises(Unreachable):
        probe(first)


def test_anothers_server_is_used_and_left_running(launch, tmp_path: Path):
    other = ServerProcess(tmp_path / "connection.json")
    try:
        server = launch("raise SystemExit('must not be started')")
        assert server.ensure() == other.connection
        server.stop()
        assert probe(other.connection).device == "an abacus"
    finally:
        other.kill()


def test_a_left_over_connection_file_is_replaced(launch, tmp_path: Path):
    stale = connection(control_endpoint="tcp://127.0.0.1:9", frames_endpoint="tcp://127.0.0.1:9")
    stale.save(tmp_path / "connection.json")
    assert launch().ensure() != stale


def test_what_an_older_version_left_behind_is_replaced(launch, tmp_path: Path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    stale = connection(control_endpoint="tcp://127.0.0.1:9", protocol=1, pid=ended.pid)
    stale.save(tmp_path / "connection.json")
    assert launch().ensure() != stale


def test_a_killed_server_is_started_again_in_mid_video(launch):
    server = launch()
    first = server.ensure()
    video = SyntheticVideo(40, at={20: lambda: os.kill(first.pid, 9)})
    take, told = run(video, first, restart=server.ensure)
    assert len(take.motion) == 40
    assert any("restarted" in progress.notice for progress in told)
    assert server.ensure() != first


def test_a_server_that_does_not_start_says_why(launch):
    with pytest.raises(LaunchError, match=r"ended at its start \(code 3\): no torch here \(log: "):
        launch("import sys; print('no torch here', file=sys.stderr); sys.exit(3)").ensure()
    with pytest.raises(LaunchError, match="No such file"):
        LocalServer(["/nowhere/video2rig"]).ensure()


def test_a_server_of_another_version_is_named(launch, tmp_path: Path, start_server):
    running = start_server()
    dataclasses.replace(running.connection, protocol=7).save(tmp_path / "connection.json")
    with pytest.raises(
        LaunchError, match=rf"protocol 7 .*end the server that runs now \(process {running.process.pid}\)"
    ):
        launch().ensure()


def test_is_running():
    assert is_running(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert not is_running(child.pid)


def test_doctor(shared_server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "none.json"))
    facts = doctor.report()
    assert facts["problems"] == [] and not facts["server"]["answers"]
    assert "torch" in doctor.format_report(facts) and "all is well" in doctor.format_report(facts)

    monkeypatch.setenv(ENVIRONMENT, str(shared_server.path))
    facts = doctor.report()
    assert facts["server"]["answers"] and facts["server"]["device"] == "an abacus"
    assert "an abacus" in doctor.format_report(facts)

    (tmp_path / "bad.json").write_text("{}")
    (tmp_path / "bad.json").chmod(0o600)
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "bad.json"))
    facts = doctor.report()
    assert len(facts["problems"]) == 1 and "PROBLEM" in doctor.format_report(facts)


def test_doctor_of_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    facts = doctor.report("cuda")
    assert facts["device"] == "none" and any("'cuda' was asked for, but" in line for line in facts["problems"])
