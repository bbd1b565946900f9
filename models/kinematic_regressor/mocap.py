# SPDX-License-Identifier: GPL-3.0-or-later
"""Motion capture of real people, as motion of the default human: what the regressor learns from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from video2rig.human import default_human
from video2rig.skeleton import Skeleton

from .database import Database, anatomical, forward
from .ground import root_path
from .legs import knee_excess, knee_flexion, set_legs, stance, straightened
from .posture import level_feet, level_heads, straighten_hands
from .retarget import bone_orientations, joint_rotations, positions, raise_shoulders
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


def load_clips(path: Path, corrected: bool = True) -> Clips:
    """Read ``cmu_train.npz`` or ``cmu_val.npz``.

    Args:
        corrected: Without, the clips are as biased as their source: bent knees (`legs.py`), tilted heads,
            hands and feet (`posture.py`).

    Raises:
        MocapError: There is no such file.
    """
    database, skeleton = Database.load(path), default_human()
    orientations, placed, stands = bone_targets(database, skeleton, corrected)
    local, excess = joint_rotations(orientations, skeleton)
    about_root, _ = positions(local, np.zeros_like(placed[:, 0]), skeleton)
    clips = list(database.clips.values())
    return Clips(
        skeleton,
        local.astype(np.float32),
        root_path(database, placed, about_root, skeleton, stands).astype(np.float32),
        trust(database, local, excess, skeleton),
        np.array([frames.start for frames in clips]),
        np.array([frames.stop - frames.start for frames in clips]),
        tuple(database.clips),
        database.subjects,
        database.actions,
        database.sources,
    )


def bone_targets(
    database: Database, skeleton: Skeleton, corrected: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what every bone's orientation should be, before its joint's range of motion has its say.

    Args:
        skeleton: With the bones of the default human. corrected: As of :func:`load_clips`.

    Returns:
        Orientations [N, J, 3, 3] in the world, positions [N, 21, 3] of the mocap's own joints, metres, Z up, and
        which feet stand, [N, 2 (left, right)] bool.
    """
    clips = list(database.clips.values())
    local = np.concatenate([anatomical(database.joints, database.rotations[clip]) for clip in clips])
    turned, placed = forward(database, local)
    orientations = bone_orientations(database, turned, skeleton)
    knees = knee_flexion(orientations, skeleton)
    stands = stance(database, placed)
    if corrected:
        knees = straightened(knees, knee_excess(database, knees, stands)[:, None])
        level_heads(orientations, database, skeleton, stands)
        level_feet(orientations, database, skeleton, stands)
        straighten_hands(orientations, database, skeleton, stands)
    set_legs(orientations, skeleton, clips, knees)
    raise_shoulders(orientations, skeleton)
    return orientations, placed, stands
