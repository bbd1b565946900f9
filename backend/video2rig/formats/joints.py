# SPDX-License-Identifier: GPL-3.0-or-later
"""Joint positions as a plain .npz, for scoring against references and for scripts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..files import replacing
from ..kinematics import joint_positions, keypoint_positions
from ..take import Take

_JOINTS = {"Shoulder": "shoulder", "Elbow": "elbow", "Wrist": "wrist", "Hip": "hip", "Knee": "knee", "Ankle": "ankle"}
_SURFACE = {"Heel": "heel", "BigToe": "big_toe"}
_SIDES = {"R": "right", "L": "left"}


def write_joints(take: Take, path: str | Path) -> None:
    """Write a take's joint positions.

    The file holds ``names`` [N] (``RShoulder`` to ``LBigToe``), ``joints`` [T, N, 3] in metres in the camera's axes
    (x right, y down, z forward), ``joints2d`` [T, N, 2] as detected, source pixels (NaN where the set lacks them),
    ``time`` [T] in seconds and ``absolute``, true: positions are the camera's own and not relative to the root.

    Raises:
        FileError: The file cannot be written.
        SkeletonError: The skeleton lacks a joint.
    """
    centres = [(side + name, f"{_SIDES[side]}_{part}") for name, part in _JOINTS.items() for side in _SIDES]
    surface = [(side + name, f"{_SIDES[side]}_{part}") for name, part in _SURFACE.items() for side in _SIDES]
    positions, _ = joint_positions(take.motion)
    at_joints = positions[:, [take.motion.skeleton.index(role) for _, role in centres]]
    at_feet = keypoint_positions(take.motion, tuple(keypoint for _, keypoint in surface))
    world = np.concatenate([at_joints, at_feet], axis=1)
    detected = np.full((*world.shape[:2], 2), np.nan)
    for column, (_, part) in enumerate(centres + surface):
        if part in take.keypoints.names:
            detected[:, column] = take.keypoints.positions[:, take.keypoints.names.index(part)]
    with replacing(Path(path)) as file:
        np.savez_compressed(
            file,
            names=np.array([name for name, _ in centres + surface]),
            joints=world @ take.camera.rotation.T + take.camera.translation,
            joints2d=detected,
            time=take.motion.times,
            absolute=np.array(True),
        )
