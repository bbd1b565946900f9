# SPDX-License-Identifier: GPL-3.0-or-later
"""Motion capture of real people, as motion of the default human: what the regressor learns from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from video2rig.human import default_human
from video2rig.skeleton import Skeleton

from .database import TO_Z_UP, Database
from .retarget import bone_orientations, joint_rotations
from .trust import trust


@dataclass(frozen=True, eq=False)
class Clips:
    """Clips on the default human, all after one another, at 30 Hz.

    Attributes:
        skeleton: :func:`~video2rig.human.default_human`.
        rotation: [N, 22, 3, 3] float32 local rotations (`skeleton.py`), inside the range of motion; the root's is that
            of a Motion too: it turns the upright human that faces -Y.
        root: [N, 3] float32 metres, position of joint 0, Z up, floor at 0, at the stature of the skeleton.
        trust: [N, 22] float32, 0 to 1: weight of a joint's rotation in a loss.
        start, length: [C] first frame and number of frames of each clip.
        name, subject, action, source: Of each clip.
    """

    skeleton: Skeleton
    rotation: np.ndarray
    root: np.ndarray
    trust: np.ndarray
    start: np.ndarray
    length: np.ndarray
    name: tuple[str, ...]
    subject: tuple[str, ...]
    action: tuple[str, ...]
    source: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.name)


def load_clips(path: Path) -> Clips:
    """Read ``cmu_train.npz`` or ``cmu_val.npz``.

    Raises:
        MocapError: There is no such file.
    """
    database, skeleton = Database.load(path), default_human()
    local, _ = joint_rotations(bone_orientations(database, skeleton), skeleton)
    return Clips(
        skeleton,
        local.astype(np.float32),
        _root_path(database, skeleton).astype(np.float32),
        trust(database, skeleton),
        np.array([frames.start for frames in database.clips.values()]),
        np.array([frames.stop - frames.start for frames in database.clips.values()]),
        tuple(database.clips),
        database.subjects,
        database.actions,
        database.sources,
    )


def _root_path(database: Database, skeleton: Skeleton) -> np.ndarray:
    """Return the path [N, 3] of the middle of the hips, at the scale of the skeleton's legs, Z up, metres."""
    hips = database.offset[[database.joints.index(f"{side}_thigh") for side in "lr"]].mean(axis=0)
    legs = [database.joints.index(f"l_{part}") for part in ("shank", "foot")]
    leg = np.linalg.norm(database.offset[legs], axis=1).sum()
    scale = skeleton.length[[skeleton.index(bone) for bone in ("thigh.L", "shin.L")]].sum() / leg
    return (database.root + database.rotations[:, 0] @ hips) @ TO_Z_UP.T * scale
