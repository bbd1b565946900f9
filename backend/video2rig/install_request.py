# SPDX-License-Identifier: GPL-3.0-or-later
"""What an installation of the backend is asked for, what it tells on the way, and how it fails."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .errors import Video2RigError


class InstallError(Video2RigError):
    """The backend could not be installed; what was there before is as it was."""


class Progress(NamedTuple):
    """How far an installation is.

    Attributes:
        stage: What it does, in words.
        fraction: Of the whole, 0 to 1.
        line: What the program at work said last.
    """

    stage: str
    fraction: float
    line: str


@dataclass(frozen=True)
class Request:
    """What to install, and how.

    Attributes:
        wheel: The backend's own wheel.
        device: "cpu" or "cuda" for that build of torch, "auto" for a GPU build where there is an NVIDIA driver.
        bundle: An offline bundle (folder or zip); then the network is never used.
        index: Address of the package index; "" takes the one that the computer is set up with.
        python: The Python to make the environment from; "" finds one.
        blender_python: Blender's own, taken where there is no other.
        root: The backend's folder; None takes the default one.
    """

    wheel: Path
    device: str = "auto"
    bundle: Path | None = None
    index: str = ""
    python: str = ""
    blender_python: str = ""
    root: Path | None = None
