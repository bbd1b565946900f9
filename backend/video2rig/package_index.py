# SPDX-License-Identifier: GPL-3.0-or-later
"""Where packages come from on this computer, and the installer `uv`, taken from there by its pinned digest.

The user's own choice comes first, then what uv is set up with, then what pip is set up with (a studio's mirror is
usually named there), then PyPI.
"""

from __future__ import annotations

import base64
import configparser
import contextlib
import hashlib
import html.parser
import json
import os
import platform
import re
import ssl
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from .errors import Cancelled, Video2RigError

PYPI = "https://pypi.org/simple"
TIMEOUT_SECONDS = 30.0
TRIES = 3
UV_VERSION = "0.13.9"

# name and SHA-256 of uv's wheel (licence MIT or Apache-2.0) on each platform that the add-on is built for
UV_WHEELS = {
    "linux-x64": (
        "uv-0.13.9-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19",
    ),
    "macos-arm64": (
        "uv-0.13.9-py3-none-macosx_11_0_arm64.whl",
        "66c512266d633bef48384a1f53003f41f2a8e7b36fe6e7fbfd3e0fd52d96fa63",
    ),
    "macos-x64": (
        "uv-0.13.9-py3-none-macosx_10_12_x86_64.whl",
        "c16ed11e013557536b3e60065f1b912f6407bd6518e041b961e23ef9e6b4fbf5",
    ),
    "windows-x64": (
        "uv-0.13.9-py3-none-win_amd64.whl",
        "6a44b2ed8111d2f60d2b92627c5dccda3f7ed7570b18ce115e569cd68c28246b",
    ),
}


class PackageIndexError(Video2RigError):
    """A package index does not answer, or does not have what is needed."""


class Indexes(NamedTuple):
    """Where packages are looked for.

    Attributes:
        default: Address of the index that is asked first; None takes the installer's own setting, else PyPI.
        extra: Addresses of further ones, of equal rank.
        find_links: Folders and pages of wheels.
        constraints: Files that narrow versions.
        no_index: Whether only ``find_links`` are asked.
        chosen: Whether anybody chose; False means that PyPI and PyTorch's own index are meant.
        of_uv: Whether uv itself is set up, and finds the addresses in its own settings.
        origin: Who chose, in words.
    """

    default: str | None = None
    extra: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    no_index: bool = False
    chosen: bool = False
    of_uv: bool = False
    origin: str = "PyPI"

    def uv_environment(self) -> dict[str, str]:
        """Return the environment that makes uv ask these addresses alone; a command line would show their passwords."""
        if self.of_uv:
            return dict.fromkeys(UV_PLACES, "") | {name: os.environ[name] for name in UV_PLACES if name in os.environ}
        found = {"UV_DEFAULT_INDEX": self.default or "", "UV_INDEX": " ".join(self.extra)}
        return dict.fromkeys(UV_PLACES, "") | (found if self.chosen else {})

    def arguments(self) -> list[str]:
        """Return uv's options for what is no address."""
        options: list[str] = ["--no-index"] if self.no_index else []
        if self.extra:
            options += ["--index-strategy", "unsafe-best-match"]  # pip's own: the newest of all indexes
        for place in self.find_links:
            options += ["--find-links", place]
        for path in self.constraints:
            options += ["--constraint", path]
        return options

    def pip_environment(self) -> dict[str, str]:
        """Return what makes pip look in the same places."""
        found = {
            "PIP_INDEX_URL": self.default or "",
            "PIP_EXTRA_INDEX_URL": " ".join(self.extra),
            "PIP_FIND_LINKS": " ".join(self.find_links),
            "PIP_NO_INDEX": "1" if self.no_index else "",
        }
        return {name: value for name, value in found.items() if value}


UV_PLACES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS")
"""Environment variables that tell uv where packages are."""


def configured(chosen: str = "") -> Indexes:
    """Return where packages come from on this computer.

    Args:
        chosen: Address of the index that the user names; then no other is asked.
    """
    pip = _pip_settings()
    constraints = tuple(pip.get("constraint", "").split())
    if chosen:
        return Indexes(chosen, constraints=constraints, chosen=True, origin=redacted(chosen))
    if any(os.environ.get(name) for name in (*UV_PLACES, "UV_NO_INDEX", "UV_CONFIG_FILE")):
        first = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("UV_INDEX_URL")
        default = first.partition("=")[2] if first and re.match(r"[\w-]+=\w+:", first) else first
        origin = "the index that uv is set up with"
        return Indexes(default or None, constraints=constraints, chosen=True, of_uv=True, origin=origin)
    alone = pip.get("no-index", "").lower() in ("1", "true", "yes", "on")
    found = Indexes(
        None if alone else pip.get("index-url") or None,
        () if alone else tuple(pip.get("extra-index-url", "").split()),
        tuple(pip.get("find-links", "").split()),
        constraints,
        alone,
    )
    if alone or found[:3] != (None, (), ()):
        return found._replace(chosen=True, origin="the index that pip is set up with")
    return found


def machine() -> str:
    """Return Blender's name for this kind of computer.

    Raises:
        PackageIndexError: There is no installer for it.
    """
    system = {"linux": "linux", "darwin": "macos", "win32": "windows"}.get(sys.platform, sys.platform)
    kind = platform.machine().lower()
    name = f"{system}-{ {'x86_64': 'x64', 'amd64': 'x64', 'aarch64': 'arm64'}.get(kind, kind) }"
    if name not in UV_WHEELS:
        raise PackageIndexError(f"there is no installer for {name}; there is one for {', '.join(UV_WHEELS)}")
    return name


def fetch_uv_wheel(
    indexes: Indexes, folder: Path, report: Callable[[int, int], None], cancelled: threading.Event
) -> Path:
    """Download uv's wheel into ``folder``, from the first place that has it, and check its digest.

    Args:
        indexes: Where to look. folder: Where to put it.
        report: Called with the bytes that are here and the bytes in all (0: unknown).
        cancelled: Once set, the download ends.

    Raises:
        PackageIndexError: No place has it; the message names every one that was asked.
        Cancelled: ``cancelled`` was set.
    """
    name, digest = UV_WHEELS[machine()]
    target = folder / name
    tried: list[str] = []
    for place in _places(indexes):
        try:
            _download(_address(place, name), target, digest, report, cancelled)
            return target
        except (OSError, ValueError) as error:
            tried.append(f"{redacted(place)}: {_reason(error)}")
    raise PackageIndexError(
        f"the installer {name} cannot be downloaded ({'; '.join(tried)}); check the network, the proxy ($HTTPS_PROXY) "
        "and the package index in the add-on's preferences, put a program `uv` on the PATH, or install from an "
        "offline bundle"
    )


def unpack_uv(wheel: Path, tools: Path) -> Path:
    """Check a wheel's digest and put its program into ``tools``; return the program.

    Raises:
        PackageIndexError: It is not the pinned wheel, or cannot be written.
    """
    name, digest = UV_WHEELS[machine()]
    program = tools / f"uv-{UV_VERSION}" / ("uv.exe" if sys.platform == "win32" else "uv")
    partial = program.with_suffix(".part")
    try:
        if (found := _sha256(wheel)) != digest:
            raise PackageIndexError(f"{wheel} has the digest {found}, pinned is {digest}; remove it and try again")
        program.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(wheel) as archive:
            partial.write_bytes(archive.read(f"uv-{UV_VERSION}.data/scripts/{program.name}"))
        partial.chmod(0o755)
        os.replace(partial, program)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise PackageIndexError(f"{name} cannot be unpacked into {tools}: {_reason(error)}") from error
    return program


def redacted(address: str) -> str:
    """Return an address without a password."""
    return re.sub(r"(?<=//)[^/@\s]+@", "", address)


def _pip_settings() -> dict[str, str]:
    """Return pip's settings by long option name: its files, then its environment."""
    found: dict[str, str] = {}
    for path in _pip_files():
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, "utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError):
            continue  # pip itself would tell
        for section in ("global", "install"):
            if parser.has_section(section):
                found |= {key.replace("_", "-"): value for key, value in parser.items(section)}
    for key, value in os.environ.items():
        if key.startswith("PIP_") and value:
            found[key.removeprefix("PIP_").lower().replace("_", "-")] = value
    return found


def _pip_files() -> list[Path]:
    """Return pip's configuration files, the one that wins last."""
    if sys.platform == "win32":
        folders = [os.environ.get("PROGRAMDATA", ""), os.environ.get("APPDATA", "")]
        paths = [Path(folder, "pip", "pip.ini") for folder in folders if folder]
    else:
        home = Path("~").expanduser()
        config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
        paths = [Path("/etc/xdg/pip/pip.conf"), Path("/etc/pip.conf"), home / ".pip" / "pip.conf"]
        paths += [config / "pip" / "pip.conf"]
        if sys.platform == "darwin":
            paths.append(home / "Library" / "Application Support" / "pip" / "pip.conf")
    if named := os.environ.get("PIP_CONFIG_FILE"):
        paths = [] if named == os.devnull else [*paths, Path(named)]
    return paths


def _places(indexes: Indexes) -> Iterator[str]:
    yield from indexes.find_links
    if not indexes.no_index:
        yield f"{(indexes.default or PYPI).rstrip('/')}/uv/"
    for address in indexes.extra:
        yield f"{address.rstrip('/')}/uv/"


class _Links(html.parser.HTMLParser):
    """The addresses of a page's links."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for key, value in attrs if tag == "a" and key == "href" and value]


def _address(place: str, name: str) -> str:
    """Return the address of a file by its name: in a folder, or on a page of a simple index (PEP 503, PEP 691)."""
    folder = Path(urllib.request.url2pathname(urllib.parse.urlsplit(place).path) if "://" in place else place)
    if place.startswith("file:") or "://" not in place:
        if (folder / name).is_file():
            return (folder / name).absolute().as_uri()
        if not (folder / "index.html").is_file():
            raise ValueError("it does not have this file")
        place = (folder / "index.html").absolute().as_uri()
    with _open(place, {"Accept": "application/vnd.pypi.simple.v1+json, text/html;q=0.5, */*;q=0.1"}) as response:
        text = response.read().decode("utf-8", "replace")
        base = response.geturl()
        if "json" in response.headers.get_content_type():
            links = [str(file["url"]) for file in json.loads(text)["files"]]
        else:
            parser = _Links()
            parser.feed(text)
            links = parser.found
    for link in links:
        if urllib.parse.unquote(urllib.parse.urlsplit(link).path).rpartition("/")[2] == name:
            return _with_login(urllib.parse.urljoin(base, link).partition("#")[0], place)
    raise ValueError("it does not have this file")


def _download(
    address: str, target: Path, digest: str, report: Callable[[int, int], None], cancelled: threading.Event
) -> None:
    partial = target.with_suffix(".part")
    try:
        with _open(address, {}) as response, partial.open("wb") as file:
            total, done = int(response.headers.get("Content-Length") or 0), 0
            while block := response.read(1 << 18):
                if cancelled.is_set():
                    raise Cancelled("cancelled")
                file.write(block)
                done += len(block)
                report(done, total)
        if (found := _sha256(partial)) != digest:
            raise ValueError(f"what it sent has the digest {found}, pinned is {digest}")
        os.replace(partial, target)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _open(address: str, headers: dict[str, str]):
    """Open an address, through the proxy that the system names, with its login if it holds one."""
    parts = urllib.parse.urlsplit(address)
    if parts.username is not None:
        login = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        headers = headers | {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
        address = redacted(address)
    request = urllib.request.Request(address, headers=headers | {"User-Agent": "video2rig-installer"})
    for number in range(1, TRIES + 1):
        try:
            return urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS, context=_trust())
        except urllib.error.HTTPError:
            raise
        except OSError as error:
            refused = isinstance(
                getattr(error, "reason", None), (ConnectionRefusedError, ssl.SSLError, FileNotFoundError)
            )
            if number == TRIES or refused:
                raise
            time.sleep(number)
    raise AssertionError("unreachable")


def _trust() -> ssl.SSLContext:
    """Return whom to trust: the system's own, pip's `cert`, and the list that Blender's Python brings."""
    context = ssl.create_default_context()
    named = _pip_settings().get("cert")
    if named and os.path.isfile(named):
        context.load_verify_locations(named)
    if not os.environ.get("SSL_CERT_FILE"):
        with contextlib.suppress(ImportError, OSError):
            import certifi  # part of Blender's Python, which has no list of its own on some systems

            context.load_verify_locations(certifi.where())
    return context


def _with_login(address: str, place: str) -> str:
    """Give an address the login of the index that named it, on the same host."""
    ours, theirs = urllib.parse.urlsplit(address), urllib.parse.urlsplit(place)
    if theirs.username is None or ours.username is not None or ours.hostname != theirs.hostname:
        return address
    return ours._replace(netloc=f"{theirs.netloc.rpartition('@')[0]}@{ours.netloc}").geturl()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reason(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return " ".join(str(reason).split())
