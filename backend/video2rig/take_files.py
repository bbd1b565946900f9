# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of the files of several people: ``TAKE.person2.npz`` beside the ``TAKE.npz`` that the user names.

The user did not name these files, so that one which is there already may be anybody's work.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from .files import FileError


def path_of(path: Path, person: int) -> Path:
    """Return the file of a person, from the name that the user gave for all."""
    return path.with_name(f"{path.stem}.person{person}{path.suffix}")


def former(path: Path) -> list[Path]:
    """Return the files that :func:`path_of` would name, of any person, which are there already."""
    name = re.compile(rf"{re.escape(path.stem)}\.person[0-9]+{re.escape(path.suffix)}")
    return sorted(found for found in path.absolute().parent.iterdir() if name.fullmatch(found.name))


def refuse_former(path: Path) -> None:
    """Find out before long work that nothing is in the way.

    Raises:
        FileError: There are files of several people already.
    """
    if found := former(path):
        raise FileError(
            f"{found[0]} is there already, maybe from a former run; remove it, allow --overwrite, "
            "or choose another name"
        )


def remove_former(path: Path, written: Sequence[Path]) -> None:
    """Remove what a former run left, of more people than this one: all such files but those just written."""
    kept = {file.absolute() for file in written}
    for file in former(path):
        if file not in kept and file.is_file():
            file.unlink()
