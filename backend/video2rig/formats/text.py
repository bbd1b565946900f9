# SPDX-License-Identifier: GPL-3.0-or-later
"""Text files whose faults are told by file and line."""

from __future__ import annotations

from pathlib import Path

from ..errors import Video2RigError
from ..files import replacing


class FormatError(Video2RigError):
    """A file that is not what its format says; the message names file, line and what was expected."""


class TextFile:
    """The lines of a text file, numbered from 1.

    Args:
        path: The file.
        kind: What the file should be, for messages: ``"a .trc file"``.

    Raises:
        FormatError: There is no such file, it cannot be read, or it is no text.
    """

    def __init__(self, path: str | Path, kind: str) -> None:
        self._path = path
        self._kind = kind
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise FormatError(f"{path} cannot be read: {error.strerror or error}") from error
        if b"\0" in data:
            raise FormatError(f"{path}, line 1: binary data, expected {kind}, which is text")
        # names of people and folders in old headers come in any encoding, and are never needed
        self.lines = data.decode("utf-8-sig", errors="replace").splitlines()

    def __len__(self) -> int:
        return len(self.lines)

    def line(self, number: int, expected: str) -> str:
        """Return a line.

        Raises:
            FormatError: The file ends before it.
        """
        if number > len(self.lines):
            raise self.error(number, "the end of the file", expected)
        return self.lines[number - 1]

    def numbers(self, number: int, fields: list[str]) -> list[float]:
        """Return the fields of a line as numbers.

        Raises:
            FormatError: A field is not a number.
        """
        values = []
        for field in fields:
            try:
                values.append(float(field))
            except ValueError:
                raise self.error(number, repr(field[:40]), "a number") from None
        return values

    def whole(self, number: int, field: str, expected: str, least: int = 0) -> int:
        """Return a field as a whole number.

        Raises:
            FormatError: It is none, or below ``least``.
        """
        try:
            value = int(field)
        except ValueError:
            raise self.error(number, repr(field[:40]), expected) from None
        if value < least:
            raise self.error(number, str(value), f"{expected}, {least} or more")
        return value

    def error(self, number: int, found: str, expected: str) -> FormatError:
        """Return the error that says what stands in a line of this file and what should."""
        return FormatError(f"{self._path}, line {number}: {found}, expected {expected} in {self._kind}")


def write_lines(path: str | Path, lines: list[str]) -> None:
    """Write lines of text; an existing file is replaced only once the new one is whole.

    Raises:
        FileError: The file cannot be written.
    """
    with replacing(Path(path)) as file:
        file.write(("\n".join(lines) + "\n").encode())
