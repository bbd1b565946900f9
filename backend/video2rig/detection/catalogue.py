# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in until there is a catalogue: only BlazePose."""

from __future__ import annotations

from typing import Any

import torch

from ..errors import Video2RigError
from .blazepose import BlazePose


class CatalogueError(Video2RigError):
    """No such detector."""


def load(name: str, device: torch.device | str) -> Any:
    """The detector of this name."""
    if name != "blazepose":
        raise CatalogueError(f"there is no detector {name!r}; there are blazepose")
    return BlazePose.load(device)
