# SPDX-License-Identifier: GPL-3.0-or-later
import dataclasses
import json
import os
import stat
from pathlib import Path

import pytest
import zmq

from video2rig.connection import ENVIRONMENT, Connection, ConnectionFileError, default_path
from video2rig.wire import PROTOCOL

posix = pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")


def connection(**changes) -> Connection:
    server, (client, secret) = zmq.curve_keypair()[0], zmq.curve_keypair()
    values = {
        "control_endpoint": "tcp://127.0.0.1:5000",
        "frames_endpoint": "tcp://127.0.0.1:5001",
        "server_public": server.decode(),
        "client_public": client.decode(),
        "client_secret": secret.decode(),
        "pid": 1,
        "protocol": PROTOCOL,
        "version": "0.1.0",
    }
    return Connection(**(values | changes))


def test_a_file_comes_back_and_is_its_users_alone(tmp_path: Path):
    first, second = connection(), connection()
    path = first.save(tmp_path / "c.json")
    assert Connection.load(path) == first
    second.save(path)
    assert Connection.load(path) == second
    assert os.listdir(tmp_path) == ["c.json"]
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_only_ones_own_file_is_removed(tmp_path: Path):
    first, second = connection(), connection()
    path = second.save(tmp_path / "c.json")
    assert not first.remove(path) and path.exists()
    assert second.remove(path) and not path.exists()
    assert not second.remove(path)


def test_the_secret_does_not_show():
    one = connection()
    assert one.client_secret not in repr(one)


@posix
def test_a_file_that_others_may_read_is_refused(tmp_path: Path):
    path = connection().save(tmp_path / "c.json")
    path.chmod(0o640)
    with pytest.raises(ConnectionFileError, match="chmod 600"):
        Connection.load(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"server_public": "short"},
        {"client_secret": "ä" * 40},
        {"server_public": "#" * 40},
        {"client_public": 7},
        {"control_endpoint": "ipc:///tmp/x"},
        {"control_endpoint": "tcp://127.0.0.1"},
        {"frames_endpoint": "tcp://:99999"},
        {"frames_endpoint": None},
        {"pid": "1"},
        {"protocol": True},
        {"version": None},
    ],
)
def test_entries_that_cannot_be_are_refused(tmp_path: Path, changes):
    path = connection().save(tmp_path / "c.json")
    path.write_text(json.dumps(dataclasses.asdict(connection()) | changes))
    with pytest.raises(ConnectionFileError):
        Connection.load(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "\xff", "[" * 100_000, '{"pid": 1}'])
def test_what_is_no_connection_file_is_refused(tmp_path: Path, text):
    path = connection().save(tmp_path / "c.json")
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ConnectionFileError, match=r"c\.json"):
        Connection.load(path)


def test_absent_and_unwritable(tmp_path: Path):
    with pytest.raises(ConnectionFileError, match="video2rig serve"):
        Connection.load(tmp_path / "none.json")
    with pytest.raises(ConnectionFileError, match="cannot be written"):
        connection().save(tmp_path / "no" / "folder.json")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("[::1]", True),
        ("localhost", True),
        ("10.0.0.1", False),
        ("gpu", False),
    ],
)
def test_loopback(host, loopback):
    assert connection(control_endpoint=f"tcp://{host}:1", frames_endpoint=f"tcp://{host}:2").is_loopback is loopback
    assert not connection(control_endpoint=f"tcp://{host}:1", frames_endpoint="tcp://example.org:2").is_loopback


def test_the_path_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "mine.json"))
    assert default_path() == tmp_path / "mine.json"


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="the runtime folder of Linux")
def test_the_runtime_folder_is_closed_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    path = default_path(create=True)
    assert path == tmp_path / "video2rig" / "connection.json"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.parent.chmod(0o777)
    with pytest.raises(ConnectionFileError, match="open to other users"):
        default_path(create=True)
