# SPDX-License-Identifier: GPL-3.0-or-later
"""What an installation is held against: the wheel that the add-on brings, and what the environment's doctor says."""

from __future__ import annotations

import json
import re
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import child
from .connection import ENVIRONMENT as CONNECTION
from .files import sha256
from .install_request import InstallError
from .installation import Installed


def digest_of(wheel: Path) -> str:
    """Return the SHA-256 of the backend's wheel.

    Raises:
        InstallError: It cannot be read.
    """
    try:
        return sha256(wheel)
    except OSError as error:
        raise InstallError(f"the backend's wheel {wheel} cannot be read: {error.strerror or error}") from error


def version_of(wheel: Path) -> str:
    """Return the version that a wheel's name tells."""
    return wheel.name.split("-")[1]


def needs_update(installed: Installed, wheel: Path) -> bool:
    """Whether the installed backend is another than the one that the add-on brings."""
    return installed.wheel_sha256 != digest_of(wheel)


def doctor_report(program: Path, device: str, cancelled: threading.Event | None = None) -> dict[str, Any]:
    """Run `video2rig doctor --json` and return its report, of all but a running server.

    Raises:
        InstallError: It does not run, or says no report.
        Cancelled: ``cancelled`` was set.
    """
    command = [program, "doctor", "--json", "--device", device]
    # whether a server of another version runs is no matter of the installation
    environment = child.clean_environment({CONNECTION: str(program.parent / "no server")})
    ended = child.run(command, folder=program.parent, environment=environment, cancelled=cancelled)
    text, decoder = "\n".join(ended.lines), json.JSONDecoder()
    for found in re.finditer(r"^{", text, re.MULTILINE):  # a library may have warned before it, or after
        with suppress(ValueError):
            return decoder.raw_decode(text, found.start())[0]
    raise InstallError(f"{program} doctor ended with code {ended.code} and said: {(ended.lines or ['nothing'])[-1]}")
