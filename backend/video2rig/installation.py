# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend's own environment on this computer: where it is, what is known of it, and taking it away.

One folder holds everything, and nothing of Blender's::

    installed.json   which environment is in use; written last, in one step
    env-1a2b3c4d/    an environment; one that installed.json does not name is a left-over
    tools/  python/  cache/  unpacked-1a2b3c4d/   the installer, a Python that it fetched, downloads, an open bundle
    install.log  lock
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import Video2RigError
from .files import FileError, replacing

ENVIRONMENT = "VIDEO2RIG_BACKEND_FOLDER"
RECORD = "installed.json"
LOG = "install.log"
LOCK = "lock"
FORMAT = 1

_ENV = re.compile(r"env-[0-9a-f]{8}")
_OURS = re.compile(r"env-[0-9a-f]{8}|unpacked-[0-9a-f]{8}|tools|python|cache|\.?installed\.json.*|install\.log|lock")
_LEFT_OVER = re.compile(r"env-[0-9a-f]{8}|unpacked-[0-9a-f]{8}|\.installed\.json\..*\.part")


class InstallationError(Video2RigError):
    """The backend's folder cannot be read, written or removed, or someone else is at work in it."""


@dataclass(frozen=True)
class Installed:
    """What is installed.

    Attributes:
        folder: Name of its environment inside the backend's folder.
        version: Of the backend.
        wheel_sha256: Digest of the wheel that holds the backend, hexadecimal.
        device: What was chosen: "auto", "cpu" or "cuda".
        computes: Where it computes, in words, as found after the installation.
        python: The version, and where that Python came from, in words.
        source: Where the packages came from, in words.
        bytes: Size of the environment.
        notes: What the user should know of it.
        root: The backend's folder.
    """

    folder: str
    version: str
    wheel_sha256: str
    device: str
    computes: str
    python: str
    source: str
    bytes: int
    notes: tuple[str, ...] = ()
    root: Path = dataclasses.field(default_factory=lambda: default_root())

    @property
    def environment(self) -> Path:
        """The environment's folder."""
        return self.root / self.folder

    @property
    def program(self) -> Path:
        """The `video2rig` of the environment."""
        return program_of(self.environment)

    @property
    def problem(self) -> str | None:
        """Why it cannot run, or None if it looks whole."""
        if not self.program.is_file():
            return f"{self.program} is gone; repair the backend in the add-on's preferences"
        if not python_of(self.environment).exists():  # follows the link to the Python that it was made from
            return f"the Python that it was made from ({self.python}) is gone; repair it in the add-on's preferences"
        return None

    def save(self) -> None:
        """Make this the environment in use, in one step.

        Raises:
            InstallationError: The record cannot be written.
        """
        entries = {name: value for name, value in dataclasses.asdict(self).items() if name != "root"}
        try:
            with replacing(self.root / RECORD) as file:
                file.write(json.dumps({"format": FORMAT} | entries, indent=2).encode())
        except FileError as error:
            raise InstallationError(str(error)) from error


def default_root() -> Path:
    """Return the backend's folder: $VIDEO2RIG_BACKEND_FOLDER, or one in the user's data folder."""
    if named := os.environ.get(ENVIRONMENT):
        return Path(named).expanduser().absolute()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or "~/AppData/Local").expanduser()
    elif sys.platform == "darwin":
        base = Path("~/Library/Application Support").expanduser()
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser()
    return base / "video2rig" / "backend"


def program_of(environment: Path) -> Path:
    """Return the `video2rig` program of an environment."""
    return environment / ("Scripts/video2rig.exe" if sys.platform == "win32" else "bin/video2rig")


def python_of(environment: Path) -> Path:
    """Return the Python program of an environment."""
    return environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def find_installed(root: Path | None = None) -> Installed | None:
    """Return what is installed, or None where nothing is.

    Raises:
        InstallationError: There is a record, and it cannot be read.
    """
    root = default_root() if root is None else root
    path = root / RECORD
    try:
        data = json.loads(path.read_bytes())
        if data.pop("format") != FORMAT or not _ENV.fullmatch(data["folder"]):
            raise ValueError
        return Installed(**(data | {"notes": tuple(data["notes"])}), root=root)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InstallationError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InstallationError(
            f"{path} is not a record of this version; repair the backend in the add-on's preferences"
        ) from None


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the backend's folder for oneself; it is made if it is not there. The lock ends with its process.

    Raises:
        InstallationError: Another process is at work in it, or it cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        file = open(root / LOCK, "ab")  # noqa: SIM115 closed below
    except OSError as error:
        raise InstallationError(f"the folder {root} cannot be written: {error.strerror or error}") from error
    try:
        try:
            _lock(file.fileno())
        except OSError:
            raise InstallationError(f"another Blender installs or removes the backend in {root}; wait for it") from None
        yield
    finally:
        file.close()


def remove_left_overs(root: Path, installed: Installed | None) -> None:
    """Remove what installations that broke off left behind; the lock must be held.

    What cannot be removed (an old environment that still runs on Windows) stays for the next time.
    """
    for path in list(root.iterdir()):
        if _LEFT_OVER.fullmatch(path.name) and (installed is None or path.name != installed.folder):
            _discard(path, ignore=True)


def remove(root: Path | None = None) -> list[Path]:
    """Remove all that was installed, and nothing else.

    Returns:
        What in the folder is not ours, and stays.

    Raises:
        InstallationError: Something is in use, or the folder may not be written; what is left can be removed again.
    """
    root = default_root() if root is None else root
    if not root.is_dir():
        return []
    with locked(root):
        try:
            (root / RECORD).unlink(missing_ok=True)  # from here on nothing is installed
            for path in list(root.iterdir()):
                if _OURS.fullmatch(path.name) and path.name != LOCK:
                    _discard(path, ignore=False)
        except OSError as error:
            raise InstallationError(
                f"{error.filename or root} cannot be removed: {error.strerror or error}; end what uses it and try again"
            ) from error
    with contextlib.suppress(OSError):
        (root / LOCK).unlink()
    left = sorted(root.iterdir())
    if not left:
        root.rmdir()
    return left


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files under a folder."""
    total = 0
    for base, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(base, name)).st_size
    return total


def _discard(path: Path, *, ignore: bool) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, onerror=_skip if ignore else _force)
    else:
        with contextlib.suppress(OSError) if ignore else contextlib.nullcontext():
            path.unlink()


def _skip(function: Any, path: str, info: Any) -> None:
    """Leave what cannot be removed."""


def _force(function: Any, path: str, info: Any) -> None:
    """Try once more without the write protection, which stops removal on Windows."""
    if isinstance(info[1], FileNotFoundError):
        return
    os.chmod(path, stat.S_IRWXU)
    function(path)


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # pyright: ignore[reportAttributeAccessIssue]
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
