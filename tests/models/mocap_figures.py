# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures on the mocap's skeleton, drawn up here: a T-pose, legs that bend over standing feet."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from models.kinematic_regressor.database import Database

JOINTS = ("pelvis", "spine", "chest", "neck", "head") + tuple(
    f"{side}_{part}"
    for limb in (("clavicle", "upperarm", "forearm", "hand"), ("thigh", "shank", "foot", "toes"))
    for side in "lr"
    for part in limb
)
PARENTS = (-1, 0, 1, 2, 3, 2, 5, 6, 7, 2, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19)
_ARM = ((0.02, 0.19, 0), (0.15, 0, 0), (0.29, 0, 0), (0.25, 0, 0))
_LEG = ((0.09, -0.07, 0), (0, -0.43, 0), (0, -0.43, 0), (0, -0.06, 0.13))
OFFSET = np.array(
    [(0, 0, 0), (0, 0.1, 0), (0, 0.15, 0), (0, 0.25, 0), (0, 0.1, 0)]
    + [(mirror * x, y, z) for limb in (_ARM, _LEG) for mirror in (1, -1) for x, y, z in limb]
)
"""Metres, Y up, as the files have them."""

HIP_HEIGHT = 0.02 + 0.06 + 0.43 + 0.43 + 0.07


def database(
    rotations: np.ndarray, root: np.ndarray, lengths: tuple[int, ...] | None = None, subjects: tuple[str, ...] = ()
) -> Database:
    """Clips of local rotations [N, 21, 3, 3] and root positions [N, 3] metres, Y up; one unless lengths are told."""
    lengths = lengths or (len(root),)
    ends = np.cumsum(lengths)
    clips = {
        f"clip {n}": slice(int(end - size), int(end)) for n, (end, size) in enumerate(zip(ends, lengths, strict=True))
    }
    subjects = subjects or ("somebody",) * len(clips)
    words = ("walk",) * len(clips), ("here",) * len(clips)
    return Database(JOINTS, PARENTS, OFFSET, rotations, root, np.zeros(len(root), dtype=bool), clips, subjects, *words)


def t_pose(frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Rotations and root positions of a figure that stands in a T-pose."""
    return np.tile(np.eye(3), (frames, 21, 1, 1)), np.tile([0.0, HIP_HEIGHT, 0.0], (frames, 1))


def crouch(knee: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotations and root positions of a figure that bends its knees by [N] radians, ankles under its hips."""
    rotations, root = t_pose(len(knee))
    for joint, share in (("thigh", -0.5), ("shank", 1.0), ("foot", -0.5)):
        for side in "lr":
            turn = Rotation.from_euler("x", (share * knee)[:, None]).as_matrix()
            rotations[:, JOINTS.index(f"{side}_{joint}")] = turn
    root[:, 1] -= 0.86 * (1 - np.cos(knee / 2))
    return rotations, root
