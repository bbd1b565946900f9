# SPDX-License-Identifier: GPL-3.0-or-later
"""Files: never half-written, an old one replaced only once the new one is whole; and known by their digest."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from .errors import Video2RigError


class FileError(Video2RigError):
    """A file that cannot be written."""


def check_writable(path: Path) -> None:
    """Find out before long work whether its result can be written.

    Raises:
        FileError: There is no such folder, it cannot be written to, or the path is a folder itself.
    """
    folder = path.absolute().parent
    if path.is_dir():
        raise FileError(f"{path} cannot be written: it is a folder")
    if not folder.is_dir():
        raise FileError(f"{path} cannot be written: there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise FileError(f"{path} cannot be written: the folder {folder} is read-only")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file beside ``path`` for writing; it takes that name when the block ends without an error.

    Raises:
        FileError: The file cannot be written: no folder, no right, a full disk.
    """
    partial = path.with_name(f".{path.name[:100]}.{os.getpid()}.part")
    try:
        if path.exists() and not path.is_file():
            raise FileError(f"{path} cannot be written: it is a folder or a device, not a file")
        with open(partial, "wb") as file:
            yield file
        os.replace(partial, path)
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
