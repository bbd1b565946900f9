# SPDX-License-Identifier: GPL-3.0-or-later
"""The default human in the anatomical posture, and which way each of its bones turns from there."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from video2rig.human import default_human
from video2rig.motion import Motion
from video2rig.skeleton import Skeleton

HUMAN = default_human()
FACING_X = Rotation.from_euler("z", 180, degrees=True).as_matrix()  # towards our +Y, OpenSim's +X

# joint, axis, sign: what turns by +1 where the bone turns by +1; from the ranges of motion in human.py, whose comments
# say which way is flexion, inversion, abduction
SINGLE = {
    "hip_flexion": ("hip", "x", {"right": -1, "left": -1}),
    "hip_adduction": ("hip", "z", {"right": -1, "left": 1}),
    "hip_rotation": ("hip", "y", {"right": -1, "left": 1}),
    "knee_angle": ("knee", "x", {"right": 1, "left": 1}),
    "ankle_angle": ("ankle", "x", {"right": -1, "left": -1}),
    "subtalar_angle": ("ankle", "y", {"right": 1, "left": -1}),
    "mtp_angle": ("toes", "x", {"right": 1, "left": 1}),
    "arm_add": ("shoulder", "z", {"right": 1, "left": -1}),
    "arm_rot": ("shoulder", "y", {"right": -1, "left": 1}),
    "elbow_flex": ("elbow", "x", {"right": 1, "left": 1}),
    "pro_sup": ("elbow", "y", {"right": -1, "left": 1}),
    "wrist_flex": ("wrist", "x", {"right": 1, "left": 1}),
    "wrist_dev": ("wrist", "z", {"right": 1, "left": -1}),
}


def motion_of(skeleton: Skeleton, turns: dict[str, np.ndarray], frames: int = 1) -> Motion:
    """A motion with local rotations [T, 3, 3] of the named joints; the others rest."""
    rotations = np.tile(np.array([1.0, 0, 0, 0]), (frames, len(skeleton), 1))
    for joint, matrix in turns.items():
        rotations[:, skeleton.index(joint)] = Rotation.from_matrix(matrix).as_quat(scalar_first=True)
    root = np.tile(skeleton.offset[0], (frames, 1))
    return Motion(skeleton, np.arange(frames) / 30, rotations, root, np.ones((frames, len(skeleton))))


def about(axis: str, degrees: float | np.ndarray) -> np.ndarray:
    return Rotation.from_euler(axis, np.reshape(degrees, (-1, 1)), degrees=True).as_matrix()


def turned_root(skeleton: Skeleton, world: np.ndarray) -> np.ndarray:
    """The root's local rotation that turns the whole figure in the world."""
    rest = skeleton.rest_rotation[0]
    return (rest.T @ world @ rest)[None]


def anatomical(skeleton: Skeleton) -> dict[str, np.ndarray]:
    """Local rotations that put the default human's arms down and its palms forward."""
    turns = {"spine": turned_root(skeleton, FACING_X)}
    for side, sign in (("right", 1), ("left", -1)):
        turns[f"{side}_shoulder"] = about("z", sign * 50)
        turns[f"{side}_elbow"] = about("y", sign * 90)
    return turns
