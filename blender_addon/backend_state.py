# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backend this computer has, and which the add-on brings."""

from __future__ import annotations

import os
from pathlib import Path

import bpy

from . import preferences
from .core import installation
from .core.errors import Video2RigError
from .core.launcher import COMMAND, LaunchError, find_backend_command
from .core.verification import needs_update


class BackendError(Video2RigError):
    """The backend cannot be installed or asked now."""


def wheel() -> Path:
    """Return the backend's wheel, which the add-on brings.

    Raises:
        BackendError: It is not there.
    """
    found = list((Path(__file__).parent / "environment").glob("video2rig-*.whl"))
    if len(found) != 1:
        raise BackendError("the add-on does not bring the backend's wheel; install the add-on anew from its zip")
    return found[0]


def state(context: bpy.types.Context) -> tuple[str, str]:
    """Return how the backend of this computer stands, as a word and in words.

    The word is "remote", "absent", "broken", "outdated", "installed" (by the add-on), "named" (by the user, or on the
    PATH), or "misnamed".
    """
    chosen = preferences.of(context)
    if chosen.connection_file:
        return "remote", "A remote backend is used"
    try:
        found = None if chosen.named_command() else installation.find_installed()
        command = find_backend_command(chosen.named_command())
    except LaunchError as error:
        if chosen.named_command() or os.environ.get(COMMAND):
            return "misnamed", str(error)
        return ("broken" if found else "absent"), str(error)
    except Video2RigError as error:
        return "broken", str(error)
    if found is None or command != [str(found.program)]:
        return "named", f"Used: {' '.join(command)}"
    if _outdated(found):
        return "outdated", f"The backend is {found.version}, and not the one that this add-on brings"
    return "installed", f"{found.version}, {found.computes}"


_checked: dict[str, bool] = {}


def _outdated(found: installation.Installed) -> bool:
    """Whether the add-on brings another backend; its wheel is read once."""
    if found.wheel_sha256 not in _checked:
        _checked[found.wheel_sha256] = needs_update(found, wheel())
    return _checked[found.wheel_sha256]
