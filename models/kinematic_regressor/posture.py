# SPDX-License-Identifier: GPL-3.0-or-later
"""Constant tilts of heads, hands and feet: what level or straight is, each subject's skeleton says differently."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from video2rig.skeleton import Skeleton

from .database import Database
from .retarget import about, euler_rotations, share_bend

LARGEST_TILT = np.radians(30.0)
"""More is not the skeleton but what the subject does."""

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


def straighten_hands(orientations: np.ndarray, database: Database, skeleton: Skeleton, stands: np.ndarray) -> None:
    """Turn every subject's hands so that they go on straight in the median of the frames in which they stand, in place.

    Wrists of the mocap are flexed and deviated by up to 50 degrees in the median, on left and right by different ones.

    Args:
        orientations: [N, J, 3, 3] of the bones in the world, hands without twist. stands: [N, 2] bool, of the feet.
    """
    for side in "LR":
        forearm, hand = skeleton.index(f"forearm.{side}"), skeleton.index(f"hand.{side}")
        base = orientations[:, forearm] @ skeleton.rest_rotation[hand]
        angles = np.zeros((len(base), 3))
        angles[:, [0, 2]] = Rotation.from_matrix(base.transpose(0, 2, 1) @ orientations[:, hand]).as_euler("YXZ")[:, 1:]
        for axis in (0, 2):
            angles[:, axis] -= _typical(angles[:, axis], stands.any(axis=1), database)
        orientations[:, hand] = base @ euler_rotations(angles, "YZX")


def _typical(angle: np.ndarray, counts: np.ndarray, database: Database) -> np.ndarray:
    """Return for every frame [N] the median angle of its subject's frames that count; few are drawn towards 0."""
    typical = np.zeros(len(angle))
    for frames in database.people().values():
        own = angle[frames][counts[frames]]
        if len(own):
            share = len(own) / (len(own) + NO_TILT_FRAMES)
            typical[frames] = np.clip(share * np.median(own), -LARGEST_TILT, LARGEST_TILT)
    return typical
