# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection file: where a running server listens and the keys to talk to it, readable by its user alone."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import json
import os
import stat
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .errors import Video2RigError

ENVIRONMENT = "VIDEO2RIG_CONNECTION"
FILE_NAME = "connection.json"
MAX_BYTES = 1 << 16
KEY_LENGTH = 40
"""Characters of a CURVE key in Z85."""

_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_POSIX = os.name == "posix"


class ConnectionFileError(Video2RigError):
    """A connection file that is absent, unreadable, open to others, or not one of ours."""


@dataclass(frozen=True)
class Connection:
    """How to reach a server.

    Attributes:
        control_endpoint, frames_endpoint: ``tcp://host:port`` of its two sockets.
        server_public: The server's CURVE key, Z85.
        client_public, client_secret: A key pair that the server lets in, Z85.
        pid: The server's process on its own computer.
        protocol: The version of the wire protocol that it speaks.
        version: The version of its package.
    """

    control_endpoint: str
    frames_endpoint: str
    server_public: str
    client_public: str
    client_secret: str = dataclasses.field(repr=False)
    pid: int
    protocol: int
    version: str

    def __post_init__(self) -> None:
        for name in ("server_public", "client_public", "client_secret"):
            if not is_key(getattr(self, name)):
                raise ConnectionFileError(f"connection: {name} is not a CURVE key ({KEY_LENGTH} characters of Z85)")
        for name in ("control_endpoint", "frames_endpoint"):
            _host(name, getattr(self, name))
        for name in ("pid", "protocol"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 0:
                raise ConnectionFileError(f"connection: {name} is not a whole number")
        if not isinstance(self.version, str):
            raise ConnectionFileError("connection: version is not a text")

    @property
    def is_loopback(self) -> bool:
        """Whether both sockets are on this computer."""
        return all(is_loopback(_host("endpoint", end)) for end in (self.control_endpoint, self.frames_endpoint))

    @classmethod
    def load(cls, path: str | Path | None = None) -> Connection:
        """Read a connection file; None reads that of this user's own server.

        Raises:
            ConnectionFileError: There is none, others may read or own it, or it is not a connection file.
        """
        path = default_path() if path is None else Path(path)
        try:
            with open(path, "rb") as file:
                _check_private(path, os.fstat(file.fileno()))
                data = json.loads(file.read(MAX_BYTES).decode("utf-8"))
        except FileNotFoundError:
            raise ConnectionFileError(
                f"there is no connection file {path}; `video2rig serve` writes it while a server runs"
            ) from None
        except OSError as error:
            raise ConnectionFileError(f"connection file {path}: {error.strerror or error}") from error
        except (ValueError, RecursionError):
            raise ConnectionFileError(f"connection file {path}: not the JSON that `video2rig serve` writes") from None
        names = [entry.name for entry in dataclasses.fields(cls)]
        if not isinstance(data, dict) or set(data) != set(names):
            raise ConnectionFileError(f"connection file {path}: expected exactly the entries {', '.join(names)}")
        return cls(**data)

    def save(self, path: str | Path | None = None) -> Path:
        """Write the file, for its user alone; an existing one is replaced in one step. Returns its path.

        Raises:
            ConnectionFileError: It cannot be written.
        """
        path = default_path(create=True) if path is None else Path(path)
        partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            partial.unlink(missing_ok=True)
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                json.dump(dataclasses.asdict(self), file, indent=1)
            os.replace(partial, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise ConnectionFileError(
                f"connection file {path} cannot be written: {error.strerror or error}; ${ENVIRONMENT} names another"
            ) from error
        return path

    def remove(self, path: str | Path) -> bool:
        """Remove the file if it is still this server's own; return whether it was."""
        try:
            if Connection.load(path).server_public != self.server_public:
                return False
            os.unlink(path)
        except (ConnectionFileError, OSError):
            return False
        return True


def is_key(text: Any) -> bool:
    """Whether a text is a CURVE key in Z85."""
    if not isinstance(text, str) or len(text) != KEY_LENGTH or not set(text) <= set(_Z85):
        return False
    # five characters hold four bytes, but can write more than fits
    return all(
        sum(_Z85.index(text[start + place]) * 85 ** (4 - place) for place in range(5)) < 2**32
        for start in range(0, KEY_LENGTH, 5)
    )


def is_loopback(host: str) -> bool:
    """Whether a host, a name or an address, is this computer's loopback."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def default_path(*, create: bool = False) -> Path:
    """The connection file's path: $VIDEO2RIG_CONNECTION, or one in the user's runtime folder.

    Args:
        create: Make the folder, for this user alone.

    Raises:
        ConnectionFileError: The folder cannot be made, or belongs to someone else.
    """
    if named := os.environ.get(ENVIRONMENT):
        return Path(named).expanduser()
    folder = _runtime_folder()
    if create:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = folder.lstat()
        except OSError as error:
            raise ConnectionFileError(
                f"the folder {folder} cannot be made: {error.strerror or error}; ${ENVIRONMENT} names another file"
            ) from error
        if _POSIX and (not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022):
            raise ConnectionFileError(f"the folder {folder} is open to other users; remove it, or set ${ENVIRONMENT}")
    return folder / FILE_NAME


def _runtime_folder() -> Path:
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.expanduser("~\\AppData\\Local")
        return Path(base) / "video2rig" / "runtime"
    if sys.platform == "darwin":
        return Path("~/Library/Application Support/video2rig/runtime").expanduser()
    session = os.environ.get("XDG_RUNTIME_DIR")
    if session and os.path.isdir(session):
        return Path(session) / "video2rig"
    return Path(tempfile.gettempdir()) / f"video2rig-{os.getuid()}"


def _check_private(path: Path, found: os.stat_result) -> None:
    if not _POSIX:
        return  # the user's own folder is closed to others by its access list there
    if found.st_uid not in (os.getuid(), 0):
        raise ConnectionFileError(f"connection file {path}: it belongs to another user")
    if found.st_mode & 0o077:
        raise ConnectionFileError(f"connection file {path}: others may read its secret key; run `chmod 600` on it")


def _host(name: str, endpoint: Any) -> str:
    try:
        parts = urlsplit(endpoint)
        if parts.scheme == "tcp" and parts.hostname and parts.port and not parts.path:
            return parts.hostname
    except (ValueError, TypeError, AttributeError):
        pass
    raise ConnectionFileError(f"connection: {name} is {str(endpoint)[:60]!r}; expected tcp://host:port")
