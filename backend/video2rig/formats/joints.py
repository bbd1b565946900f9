# SPDX-License-Identifier: GPL-3.0-or-later
"""Joint positions as a plain .npz, for scoring against references and for scripts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import Video2RigError
from ..kinematics import joint_positions, keypoint_positions
from ..take import Take

_JOINTS = {"Shoulder": "shoulder", "Elbow": "elbow", "Wrist": "wrist", "Hip": "hip", "Knee": "knee", "Ankle": "ankle"}
_SURFACE = {"Heel": "heel", "BigToe": "big_toe"}
_SIDES = {"R": "right", "L": "left"}


class JointsError(Video2RigError):
    """The file cannot be written."""


def write_joints(take: Take, path: str | Path) -> None:
    """Write a take's joint positions.

    The file holds ``names`` [N] (``RShoulder`` to ``LBigToe``), ``joints`` [T, N, 3] in metres in the camera's axes
    (x right, y down, z forward), ``joints2d`` [T, N, 2] as detected, source pixels, ``time`` [T] in seconds and
    ``absolute``, true: positions are the camera's own and not relative to the root.

    Raises:
        JointsError: The file cannot be written.
    """
    centres = [(side + name, f"{_SIDES[side]}_{part}") for name, part in _JOINTS.items() for side in _SIDES]
    surface = [(side + name, f"{_SIDES[side]}_{part}") for name, part in _SURFACE.items() for side in _SIDES]
    positions, _ = joint_positions(take.motion)
    at_joints = positions[:, [take.motion.skeleton.index(role) for _, role in centres]]
    at_feet = keypoint_positions(take.motion, tuple(keypoint for _, keypoint in surface))
    world = np.concatenate([at_joints, at_feet], axis=1)
    detected = [take.keypoints.names.index(part) for _, part in centres + surface]
    try:
        with open(path, "wb") as file:
            np.savez_compressed(
                file,
                names=np.array([name for name, _ in centres + surface]),
                joints=world @ take.camera.rotation.T + take.camera.translation,
                joints2d=take.keypoints.positions[:, detected],
                time=take.motion.times,
                absolute=np.array(True),
            )
    except OSError as error:
        raise JointsError(f"joints: {path} cannot be written: {error.strerror or error}") from error
