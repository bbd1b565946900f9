# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a stretch of one motion-capture clip (see README.md for its origin).

What is returned is Z up and, averaged over the stretch, faces -Y like the rest of the project; a T-pose is identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from models.kinematic_regressor.database import TO_Z_UP, Database, forward

FPS = 30.0


@dataclass(frozen=True)
class Clip:
    """joints: names; rotations [T,J,3,3] world rotation of each joint from its T-pose; positions [T,J,3] metres."""

    joints: tuple[str, ...]
    rotations: np.ndarray
    positions: np.ndarray
    fps: float

    def index(self, joint: str) -> int:
        return self.joints.index(joint)


def load_clip(path: Path, name: str, first: int, count: int) -> Clip:
    """Frames `first` to `first + count` of the clip called `name`."""
    database = Database.load(path)
    clip = database.clips[name]
    if first + count > clip.stop - clip.start:
        raise ValueError(f"clip {name} has {clip.stop - clip.start} frames, asked for {first} to {first + count}")
    rows = slice(clip.start + first, clip.start + first + count)
    turned, positions = (track[rows] for track in forward(database, database.rotations))
    rotations = turned @ TO_Z_UP.T
    left = rotations[:, 0, :, 0].mean(0)
    turn = Rotation.from_rotvec([0, 0, -np.arctan2(left[1], left[0])]).as_matrix()
    return Clip(database.joints, turn @ rotations, positions @ turn.T, FPS)
