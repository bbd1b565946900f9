# SPDX-License-Identifier: GPL-3.0-or-later
"""Training runs that can be cut off: what was learnt so far lies in a file, and the next run goes on from there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from video2rig.errors import Video2RigError


class CheckpointError(Video2RigError):
    """A checkpoint of other settings."""


def save_checkpoint(
    path: Path, settings: Mapping[str, Any], state: Mapping[str, Any], learners: Mapping[str, Any]
) -> None:
    """Write a checkpoint; what lay there before is replaced at once or not at all.

    Args:
        path: Where to. settings: What must be the same for a run to go on. state: How far it is.
        learners: Network, optimizer and whatever else has a ``state_dict()``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    parts = {name: learner.state_dict() for name, learner in learners.items()}
    torch.save({"settings": dict(settings), "state": dict(state), **parts}, beside)
    os.replace(beside, path)


def load_checkpoint(
    path: Path, settings: Mapping[str, Any], start: Mapping[str, Any], learners: Mapping[str, Any]
) -> dict[str, Any]:
    """Set the learners to where a run was left, and return its state; the start where there is no checkpoint.

    Raises:
        CheckpointError: The checkpoint has other settings.
    """
    if not path.exists():
        return dict(start)
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    if checkpoint["settings"] != dict(settings):
        other = {key: value for key, value in checkpoint["settings"].items() if settings.get(key) != value}
        wanted = {key: settings.get(key) for key in other}
        raise CheckpointError(f"{path} was trained with {other}, not with {wanted}; name another folder")
    for name, learner in learners.items():
        learner.load_state_dict(checkpoint[name])
    return checkpoint["state"]
