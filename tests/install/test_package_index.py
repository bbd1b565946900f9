# SPDX-License-Identifier: GPL-3.0-or-later
"""Where packages come from, and uv by its pinned digest."""

import json
import os
import sys
import threading
from pathlib import Path

import pytest

from fake_backend import serve_index
from video2rig import index_files
from video2rig.errors import Cancelled
from video2rig.package_index import Indexes, configured, redacted
from video2rig.uv_wheel import UV_VERSION, UV_WHEELS, PackageIndexError, fetch_uv_wheel, machine, unpack_uv


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setattr(index_files, "TRIES", 1)


def fetch(indexes: Indexes, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return fetch_uv_wheel(indexes, folder, lambda done, total: None, threading.Event())


def test_nothing_chosen_is_pypi() -> None:
    assert configured() == Indexes() and not configured().chosen
    assert configured().arguments() == []


def test_pips_settings_are_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pip.conf"
    path.write_text(
        "[global]\nindex-url = https://me:secret@mirror.example/simple\nextra_index_url = file:///a\n  file:///b\n"
        "[install]\nfind-links = /wheels\nconstraint = /c.txt\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(path))
    found = configured()
    assert found.chosen and found.default == "https://me:secret@mirror.example/simple"
    assert found.extra == ("file:///a", "file:///b") and found.find_links == ("/wheels",)
    assert found.uv_environment()["UV_DEFAULT_INDEX"] == "https://me:secret@mirror.example/simple"
    assert found.uv_environment()["UV_INDEX"] == "file:///a file:///b"
    options = found.arguments()
    assert "unsafe-best-match" in options and not [part for part in options if "secret" in part]
    assert options[-4:] == ["--find-links", "/wheels", "--constraint", "/c.txt"]
    monkeypatch.setenv("PIP_INDEX_URL", "https://other.example/simple")  # the environment wins
    assert configured().default == "https://other.example/simple"
    assert configured().pip_environment()["PIP_EXTRA_INDEX_URL"] == "file:///a file:///b"
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert configured()[:3] == (None, (), ("/wheels",)) and configured().no_index
    assert configured().arguments()[0] == "--no-index"


def test_the_users_choice_and_uvs_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://pip.example/simple")
    chosen = configured("https://me:secret@mine.example/simple")
    assert chosen.default == "https://me:secret@mine.example/simple" and "secret" not in chosen.origin
    monkeypatch.setenv("UV_DEFAULT_INDEX", "studio=https://uv.example/simple")
    assert configured().default == "https://uv.example/simple" and "uv" in configured().origin
    assert configured().uv_environment()["UV_DEFAULT_INDEX"] == "studio=https://uv.example/simple"
    monkeypatch.setenv("UV_INDEX", "https://more.example/simple")
    mine = configured("https://mine.example").uv_environment()  # no other is asked then
    assert mine["UV_DEFAULT_INDEX"] == "https://mine.example" and not mine["UV_INDEX"]


@pytest.mark.parametrize("style", ["html", "json"])
def test_uv_from_an_index(style: str, wheels: Path, tmp_path: Path) -> None:
    def answer(name: str, handler) -> bool:
        return False

    if style == "json":
        name = UV_WHEELS[machine()][0]
        page = json.dumps({"files": [{"filename": name, "url": (wheels / name).as_uri()}]})
        folder = tmp_path / "page"
        folder.mkdir()

        def answer(asked: str, handler) -> bool:
            handler.send_response(200)
            handler.send_header("Content-Type", "application/vnd.pypi.simple.v1+json")
            handler.end_headers()
            handler.wfile.write(page.encode())
            return True

        with serve_index(wheels, answer) as address:
            wheel = fetch(Indexes(address.replace("/simple", "/files")), tmp_path / "got")
    else:
        with serve_index(wheels, answer) as address:
            wheel = fetch(Indexes(address), tmp_path / "got")
    program = unpack_uv(wheel, tmp_path / "tools")
    assert os.access(program, os.X_OK) and program.stat().st_size > 10**7
    assert [path.name for path in (tmp_path / "got").iterdir()] == [wheel.name]


def test_uv_from_folders(wheels: Path, tmp_path: Path) -> None:
    assert fetch(Indexes(no_index=True, find_links=(str(wheels),)), tmp_path / "a").is_file()
    assert fetch(Indexes(no_index=True, find_links=(wheels.as_uri(),)), tmp_path / "b").is_file()
    simple = tmp_path / "simple" / "uv"
    simple.mkdir(parents=True)
    name = UV_WHEELS[machine()][0]
    (simple / "index.html").write_text(f'<a href="../../wheels/{name}#sha256=0">{name}</a>')
    assert fetch(Indexes((tmp_path / "simple").as_uri()), tmp_path / "c").is_file()


def test_other_bytes_are_refused_and_every_place_is_named(wheels: Path, tmp_path: Path) -> None:
    """An index that sends something else under that name; then one that has nothing; the login is never told."""

    def forge(name: str, handler) -> bool:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"something else")
        return True

    with serve_index(wheels, forge) as address:
        indexes = Indexes(address.replace("//", "//me:secret@"), (address + "/nowhere",), ("/no/folder",))
        with pytest.raises(PackageIndexError) as caught:
            fetch(indexes, tmp_path / "got")
    told = str(caught.value)
    assert "pinned is" in told and "/no/folder: it does not have this file" in told and "nowhere" in told
    assert "secret" not in told and "offline bundle" in told
    assert not list((tmp_path / "got").iterdir())
    wrong = tmp_path / "wrong.whl"
    wrong.write_bytes(b"something else")
    with pytest.raises(PackageIndexError, match="pinned is"):
        unpack_uv(wrong, tmp_path / "tools")


def test_a_login_goes_to_its_own_host_alone(wheels: Path, tmp_path: Path) -> None:
    heard: list[str | None] = []

    def listen(name: str, handler) -> bool:
        heard.append(handler.headers.get("Authorization"))
        return False

    with serve_index(wheels, listen) as address:
        fetch(Indexes(address.replace("//", "//me:s%40cret@")), tmp_path / "got")
        fetch(Indexes(address), tmp_path / "got")
    assert heard == ["Basic bWU6c0BjcmV0", None]
    assert redacted("at https://me:secret@host/simple") == "at https://host/simple"


def test_cancelled(wheels: Path, tmp_path: Path) -> None:
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(Cancelled):
        fetch_uv_wheel(Indexes(find_links=(str(wheels),)), tmp_path, lambda done, total: None, cancelled)
    assert not [path for path in tmp_path.iterdir() if path.suffix in (".part", ".whl")]


def test_every_platform_of_the_zip_has_an_installer() -> None:
    import build_addon

    assert set(UV_WHEELS) == set(build_addon.WHEELS)
    assert all(f"uv-{UV_VERSION}-" in name for name, _ in UV_WHEELS.values())
    if sys.platform == "linux":
        assert machine() == build_addon.current_platform()
