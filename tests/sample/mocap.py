# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a stretch of one motion-capture clip from `cmu_train.npz` (see README.md for its origin).

The file is Y up, +Z forward, +X the subject's left, with a T-pose as identity; what is returned is Z up and,
averaged over the stretch, faces -Y like the rest of the project.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

_TO_Z_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


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
    with np.load(path, allow_pickle=False) as data:
        number = data["clip_name"].tolist().index(name)
        start, length = int(data["clip_start"][number]), int(data["clip_len"][number])
        if first + count > length:
            raise ValueError(f"clip {name} has {length} frames, asked for {first} to {first + count}")
        rows = slice(start + first, start + first + count)
        body = data["q_xyz"][rows].astype(float) / 32767
        root = data["root_q"][rows].astype(float) / 32767
        root_position = data["root_mm"][rows].astype(float) / 1000
        parents, offsets = data["parents"].astype(int), data["rest_offset"].astype(float)
        joints, fps = tuple(str(joint) for joint in data["joints"]), float(data["fps"])

    w = np.sqrt(np.clip(1 - (body**2).sum(-1, keepdims=True), 0, 1))
    xyzw = np.concatenate([root[:, None, [1, 2, 3, 0]], np.concatenate([body, w], -1)], axis=1)
    local = Rotation.from_quat(xyzw.reshape(-1, 4)).as_matrix().reshape(*xyzw.shape[:2], 3, 3)
    rotations, positions = local.copy(), np.zeros((*xyzw.shape[:2], 3))
    positions[:, 0] = root_position
    for joint, parent in enumerate(parents):
        if parent >= 0:
            rotations[:, joint] = rotations[:, parent] @ local[:, joint]
            positions[:, joint] = positions[:, parent] + rotations[:, parent] @ offsets[joint]
    rotations, positions = _TO_Z_UP @ rotations @ _TO_Z_UP.T, positions @ _TO_Z_UP.T
    left = rotations[:, 0, :, 0].mean(0)
    turn = Rotation.from_rotvec([0, 0, -np.arctan2(left[1], left[0])]).as_matrix()
    return Clip(joints, turn @ rotations, positions @ turn.T, fps)
