# SPDX-License-Identifier: GPL-3.0-or-later
"""The Python that an environment is made from: found on this computer, fetched by uv, or Blender's own."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from . import child
from .bundle import fits
from .install_request import InstallError, Request
from .uv_tools import Tools

PYTHONS = ">=3.11,<3.15"
"""Versions that will do."""

MANAGED_PYTHON = "3.12"
"""Fetched by uv where the system has none that will do."""

# nothing where it is a 32-bit one, for which there is no PyTorch
_TELL_VERSION = "import platform, struct; print(platform.python_version() if struct.calcsize('P') == 8 else '')"


class Python(NamedTuple):
    """A Python to make an environment from: its program, "3.12.4", and where it came from, in words."""

    program: str
    version: str
    origin: str


def find_python(tools: Tools, request: Request, wanted: str = PYTHONS) -> Python:
    """Return the Python to use: the one named, the system's, one that uv has or fetches, Blender's own.

    Raises:
        InstallError: There is none.
    """
    if request.python:
        version = _python_version(request.python)
        if version is None:
            raise InstallError(f"{request.python} is not a Python that can be run; name another in the preferences")
        if not fits(version, wanted):
            raise InstallError(f"{request.python} is Python {version}, and {_in_words(wanted)} is needed")
        return Python(request.python, version, "as named")
    for origin, arguments in (
        ("of this computer", ("--system", "--no-managed-python", "--no-python-downloads")),
        ("fetched earlier by uv", ("--managed-python", "--no-python-downloads")),
    ):
        try:
            found = _path_among(tools.run("python", "find", "--no-project", *arguments, wanted))
        except InstallError:
            continue
        if version := _python_version(found):
            return Python(found, version, origin)
    if "UV_OFFLINE" not in tools.environment:
        try:
            tools.run("python", "install", "--no-bin", "--no-registry", MANAGED_PYTHON)
            found = _path_among(tools.run("python", "find", "--no-project", "--managed-python", MANAGED_PYTHON))
            if version := _python_version(found):
                return Python(found, version, "fetched by uv")
        except InstallError as error:
            tools.say(f"no Python from uv: {error}")
    version = _python_version(request.blender_python)
    if version and fits(version, wanted):
        return Python(request.blender_python, version, "Blender's own: repair the backend when that Blender goes")
    raise InstallError(
        f"{_in_words(wanted)} is needed, and this computer has none; install one from python.org or the system's "
        "packages, or name one in the add-on's preferences"
    )


def _python_version(program: str) -> str | None:
    """Return the version of a Python that can be used, or None."""
    if not program:
        return None
    found = re.fullmatch(r"(\d+\.\d+\.\d+)\S*", child.output([program, "-I", "-c", _TELL_VERSION]))
    return found[1] if found else None


def _path_among(lines: list[str]) -> str:
    """Return the path that uv told; it may warn of other Pythons before it, or after."""
    return next((text for text in reversed(lines) if os.path.isabs(text) and os.path.isfile(text)), "")


def _in_words(wanted: str) -> str:
    """Return a range of Pythons as a user reads it."""
    if wanted.startswith("=="):
        return f"Python {wanted[2:].removesuffix('.*')} (the bundle is for that one)"
    return f"Python {wanted}"
