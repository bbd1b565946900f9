# SPDX-License-Identifier: GPL-3.0-or-later
"""Constant tilts of heads and feet: what level is, each subject's skeleton says differently."""

from __future__ import annotations

import numpy as np

from video2rig.skeleton import Skeleton

from .database import Database
from .retarget import about, share_bend

LARGEST_TILT = np.radians(30.0)
"""No subject's head was found to be further off."""

NO_TILT_FRAMES = 100
"""Frames of no tilt that a subject's own are averaged with."""


def level_heads(orientations: np.ndarray, database: Database, skeleton: Skeleton, stands: np.ndarray) -> None:
    """Turn every subject's head so that it is level in the median of the frames in which they stand, in place.

    The neck then takes half of the way from chest to head, as its range of motion is half of the neck's and head's.

    Args:
        orientations: [N, J, 3, 3] of the bones in the world. stands: [N, 2] bool, of the feet.
    """
    head = skeleton.index("spine.006")
    down = -np.arcsin(orientations[:, head, 2, 2].clip(-1, 1))
    tilt = _typical(down, stands.any(axis=1), database)
    orientations[:, head] = orientations[:, head] @ about("x", -tilt)
    share_bend(orientations, skeleton, ("spine.003", "spine.004", "spine.006"))


def level_feet(orientations: np.ndarray, database: Database, skeleton: Skeleton, stands: np.ndarray) -> None:
    """Turn every subject's feet so that they are flat in the median of the frames in which they stand, in place.

    Args:
        orientations: [N, J, 3, 3] of the bones in the world. stands: [N, 2 (left, right)] bool.
    """
    for number, side in enumerate("LR"):
        foot, toe = skeleton.index(f"foot.{side}"), skeleton.index(f"toe.{side}")
        flat = np.arcsin(skeleton.rest_matrices()[foot, 2, 1])
        up = np.arcsin(orientations[:, foot, 2, 1].clip(-1, 1)) - flat
        # +x turns a foot's y to its z, which faces the floor
        turn = orientations[:, foot] @ about("x", _typical(up, stands[:, number], database))
        orientations[:, toe] = turn @ orientations[:, foot].transpose(0, 2, 1) @ orientations[:, toe]
        orientations[:, foot] = turn


def _typical(angle: np.ndarray, counts: np.ndarray, database: Database) -> np.ndarray:
    """Return for every frame [N] the median angle of its subject's frames that count; few are drawn towards 0."""
    typical = np.zeros(len(angle))
    for frames in database.people().values():
        own = angle[frames][counts[frames]]
        if len(own):
            share = len(own) / (len(own) + NO_TILT_FRAMES)
            typical[frames] = np.clip(share * np.median(own), -LARGEST_TILT, LARGEST_TILT)
    return typical
