# SPDX-License-Identifier: GPL-3.0-or-later
"""Installations with the real uv and a backend of a few lines: whole, or nothing."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from fake_backend import ROOT, backend_wheel, make_wheel, serve_index
from video2rig import index_files, torch_build
from video2rig.errors import Cancelled
from video2rig.install_request import InstallError, Progress
from video2rig.installation import (
    LOG,
    RECORD,
    InstallationError,
    default_root,
    find_installed,
    locked,
    python_of,
    remove,
)
from video2rig.installer import install
from video2rig.launcher import LaunchError, find_backend_command
from video2rig.verification import doctor_report, needs_update


def names(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()} - {"cache"}  # downloads of one that broke off are kept


def test_installed_and_found(request_of, monkeypatch: pytest.MonkeyPatch) -> None:
    request = request_of()
    told: list[Progress] = []
    done = install(request, told.append)
    assert find_installed(request.root) == done
    assert (done.version, done.device, done.notes) == ("9.9.9", "cpu", ())
    assert done.computes == "computing on the CPU, for cpu" and done.python.endswith("as named")
    assert done.bytes > 200_000
    assert names(request.root) == {done.folder, "tools", LOG, RECORD, "lock"}
    assert not (request.root / "cache").exists()
    stages = list(dict.fromkeys(progress.stage for progress in told))
    assert stages[:3] == ["Getting the installer", "Looking for Python", "Making the environment"]
    assert all(a.fraction <= b.fraction for a, b in itertools.pairwise(told))
    assert told[-1].fraction == 1.0
    assert any("licence: Apache-2.0" in progress.line for progress in told)
    assert "Apache-2.0" in (request.root / LOG).read_text("utf-8")
    monkeypatch.setenv("VIDEO2RIG_BACKEND_FOLDER", str(request.root))
    assert default_root() == request.root
    (program,) = find_backend_command()
    assert doctor_report(Path(program), "auto")["version"] == "9.9.9"
    assert not needs_update(done, request.wheel)


def test_nothing_comes_from_or_goes_into_the_asking_python(request_of, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path for path in Path(sys.prefix).rglob("*") if "tinydep" in path.name}
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "backend"))
    monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)
    monkeypatch.setenv("UV_PYTHON", sys.executable)
    done = install(request_of())
    assert not before and not [path for path in Path(sys.prefix).rglob("*") if "tinydep" in path.name]
    code = "import tinydep, video2rig; print(tinydep.__file__); print(video2rig.__file__)"
    said = subprocess.check_output([python_of(done.environment), "-I", "-c", code], text=True).split("\n")[:2]
    assert all(line.startswith(str(done.environment)) for line in said)


def test_update_and_repair(request_of, tmp_path: Path) -> None:
    first = install(request_of())
    newer = backend_wheel(tmp_path / "newer", "9.9.10")
    assert needs_update(first, newer)
    second = install(request_of(wheel=newer))
    assert second.version == "9.9.10" and second.folder != first.folder and not first.environment.exists()
    shutil.rmtree(second.environment / "lib")
    python_of(second.environment).unlink()
    found = find_installed(second.root)
    assert found is not None and found.problem and "gone" in found.problem
    third = install(request_of(wheel=newer))
    assert third.problem is None and names(third.root) == {third.folder, "tools", LOG, RECORD, "lock"}


def test_a_broken_installation_is_told_not_passed_over(request_of, monkeypatch: pytest.MonkeyPatch) -> None:
    done = install(request_of())
    monkeypatch.setenv("VIDEO2RIG_BACKEND_FOLDER", str(done.root))
    done.program.unlink()
    with pytest.raises(LaunchError, match=r"installed backend is broken.*repair"):
        find_backend_command()
    (done.root / RECORD).write_text("{")
    with pytest.raises(InstallationError, match="not a record of this version"):
        find_backend_command()
    assert install(request_of()).problem is None


def test_half_installed_is_cleared(request_of) -> None:
    request = request_of()
    for name in ("env-0123abcd", "unpacked-0123abcd"):
        (request.root / name / "lib").mkdir(parents=True)
    (request.root / "env-0123abcd" / "lib" / "half.py").write_text("x")
    assert find_installed(request.root) is None
    done = install(request)
    assert names(request.root) == {done.folder, "tools", LOG, RECORD, "lock"}


def test_a_failure_leaves_the_old_one_at_work(request_of, tmp_path: Path) -> None:
    old = install(request_of())
    sick = backend_wheel(tmp_path / "sick", "9.9.10", problems=["torch cannot be used"])
    with pytest.raises(InstallError, match=r"Checking: torch cannot be used \(log: .*install.log\)"):
        install(request_of(wheel=sick))
    greedy = make_wheel(tmp_path / "greedy", "video2rig", "9.9.11", ["nowhere-to-be-had>=3"])
    with pytest.raises(InstallError, match=r"Installing packages: .*nowhere-to-be-had"):
        install(request_of(wheel=greedy))
    assert find_installed(old.root) == old and old.problem is None
    assert names(old.root) == {old.folder, "tools", LOG, RECORD, "lock"}
    assert "FAILED" in (old.root / LOG).read_text("utf-8")


def test_absent_weights_are_a_note(request_of, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_NO_WEIGHTS", "1")
    (note,) = install(request_of()).notes
    assert "no weights today" in note and "first video" in note


def test_a_gpu_that_cannot_be_used_is_an_error(request_of, monkeypatch: pytest.MonkeyPatch) -> None:
    # the GPU's build is large, and this disk may be nearly full
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**12))
    monkeypatch.setattr(torch_build, "has_nvidia_driver", lambda: False)
    with pytest.raises(InstallError, match=r"no NVIDIA driver|macOS"):
        install(request_of(device="cuda"))
    assert not list(request_of().root.glob("env-*"))
    monkeypatch.setattr(torch_build, "has_nvidia_driver", lambda: True)
    with pytest.raises(InstallError, match="'cuda' was asked for, but there is none"):
        install(request_of(device="cuda"))
    assert find_installed(request_of().root) is None
    (note,) = install(request_of(device="auto")).notes
    assert "NVIDIA driver, but the backend is computing on the CPU" in note
    with pytest.raises(InstallError, match="'tpu'"):
        install(request_of(device="tpu"))


def test_cancelled_in_the_middle(request_of, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download that hangs: cancelling ends uv at once, and leaves what was there."""
    old = install(request_of())
    reached, released = threading.Event(), threading.Event()

    def stall(name: str, handler) -> bool:
        if not name.startswith("tinydep"):
            return False
        handler.send_response(200)
        handler.send_header("Content-Length", "200000")
        handler.end_headers()
        handler.wfile.write(b"x" * 1000)
        reached.set()
        released.wait(60)
        return True

    with serve_index(wheels, stall) as address:
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        cancelled, failed = threading.Event(), []

        def work() -> None:
            try:
                install(request_of(index=address), cancelled=cancelled)
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        assert reached.wait(60)
        with pytest.raises(InstallationError, match="another Blender"):
            install(request_of())
        begin = time.monotonic()
        cancelled.set()
        thread.join(30)
        assert not thread.is_alive() and time.monotonic() - begin < 10
        released.set()
    assert isinstance(failed[0], Cancelled)
    assert find_installed(old.root) == old and old.problem is None
    assert names(old.root) == {old.folder, "tools", LOG, RECORD, "lock"}


@pytest.mark.skipif(os.name != "posix", reason="kills a process group")
def test_killed_in_the_middle(request_of, wheels: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Blender is killed: the next installation finds the lock free, clears the rest and works."""
    reached, released = threading.Event(), threading.Event()

    def stall(name: str, handler) -> bool:
        if name.startswith("tinydep") and not released.is_set():
            reached.set()
            released.wait(60)
        return False

    request = request_of()
    with serve_index(wheels, stall) as address:
        code = (
            "import sys; from pathlib import Path; from video2rig.install_request import Request; "
            "from video2rig.installer import install; "
            "install(Request(Path(sys.argv[1]), device='cpu', index=sys.argv[2], python=sys.executable, "
            "root=Path(sys.argv[3])))"
        )
        environment = os.environ | {"PYTHONPATH": str(ROOT / "backend")}
        process = subprocess.Popen(
            [sys.executable, "-c", code, request.wheel, address, request.root], env=environment, start_new_session=True
        )
        assert reached.wait(60)
        process.send_signal(signal.SIGKILL)
        process.wait()
        released.set()
        assert find_installed(request.root) is None
        assert list(request.root.glob("env-*"))
        done = install(request_of(index=address))
    assert done.problem is None and [path.name for path in request.root.glob("env-*")] == [done.folder]


def test_broken_network(request_of, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setattr(index_files, "TRIES", 1)

    def cut(name: str, handler) -> bool:
        if not name.startswith("tinydep"):
            return False
        handler.send_response(200)
        handler.send_header("Content-Length", "200000")
        handler.end_headers()
        handler.wfile.write(b"x" * 1000)
        handler.connection.close()
        return True

    root = request_of().root
    with serve_index(wheels, cut) as address, pytest.raises(InstallError, match=r"Installing packages: .*tinydep"):
        install(request_of(index=address))
    with pytest.raises(InstallError, match=r"Installing packages: .*(onnect|sending)"):
        install(request_of(index=address))  # nobody listens there any more
    shutil.rmtree(root / "tools")
    with pytest.raises(InstallError, match=r"Getting the installer: .*cannot be downloaded .*offline bundle"):
        install(request_of(index=address))
    assert find_installed(root) is None and names(root) == {LOG, "lock", "tools"}
    assert install(request_of()).problem is None


def test_full_disk_and_no_right(request_of, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**9))
        with pytest.raises(InstallError, match=r"has 1\.0 GB free, and the installation needs 2\.5 GB"):
            install(request_of())
    assert not list(request_of().root.glob("env-*"))
    (tmp_path / "file").write_text("")
    with pytest.raises(InstallationError, match="cannot be written"):
        install(request_of(root=tmp_path / "file" / "backend"))


def test_removal_takes_only_ours(request_of, tmp_path: Path) -> None:
    done = install(request_of())
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept.txt").write_text("x")
    (done.root / "notes.txt").write_text("mine")
    (done.root / "env-mine").mkdir()
    (done.root / "env-89abcdef").symlink_to(outside)
    assert [path.name for path in remove(done.root)] == ["env-mine", "notes.txt"]
    assert names(done.root) == {"env-mine", "notes.txt"} and (outside / "kept.txt").exists()
    assert find_installed(done.root) is None
    (done.root / "notes.txt").unlink()
    (done.root / "env-mine").rmdir()
    install(request_of())
    assert remove(done.root) == [] and not done.root.exists()
    assert remove(done.root) == []


def test_removal_waits_for_an_installation(request_of) -> None:
    done = install(request_of())
    with locked(done.root), pytest.raises(InstallationError, match="another Blender"):
        remove(done.root)
    assert done.problem is None


@pytest.mark.parametrize(
    ("python", "says"),
    [("/nowhere/python", "is not a Python"), ("false", "is not a Python")],
)
def test_a_python_that_will_not_do(request_of, python: str, says: str) -> None:
    with pytest.raises(InstallError, match=says):
        install(request_of(python=python))
