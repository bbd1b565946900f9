# SPDX-License-Identifier: GPL-3.0-or-later
"""Motion capture that never was: a few clips of smooth motion in the whole range of motion."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from models.kinematic_regressor.mocap import Clips
from video2rig.human import default_human
from video2rig.kinematics import KinematicChain


def small_clips(lengths: tuple[int, ...] = (50, 33, 90), seed: int = 0) -> Clips:
    """Clips of a person who wanders, turns and bends all joints; trust is all there is."""
    rng = np.random.default_rng(seed)
    skeleton, parts = default_human(), []
    for length in lengths:
        wave = gaussian_filter1d(rng.normal(size=(length, len(skeleton), 3)), 5.0, axis=0, mode="nearest") * 4
        share = 1 / (1 + np.exp(-wave))
        angles = skeleton.rom[..., 0] + share * (skeleton.rom[..., 1] - skeleton.rom[..., 0])
        rotation = KinematicChain(skeleton).local_rotations(torch.tensor(angles)).numpy()
        heading = np.cumsum(rng.normal(0, 0.05, length))
        lean = 0.3 * gaussian_filter1d(rng.normal(size=(length, 2)), 5.0, axis=0)
        world = Rotation.from_euler("ZXY", np.column_stack([heading, lean])).as_matrix()
        rest = skeleton.rest_rotation[0]
        rotation[:, 0] = rest.T @ world @ rest
        root = np.cumsum(rng.normal(0, 0.01, (length, 3)), axis=0) + [0.0, 0.0, 0.95]
        parts.append((rotation.astype(np.float32), root.astype(np.float32)))
    rotations, roots = (np.concatenate(part) for part in zip(*parts, strict=True))
    start = np.cumsum([0, *lengths[:-1]])
    names = tuple(f"clip {number}" for number in range(len(lengths)))
    trust = np.ones(rotations.shape[:2], dtype=np.float32)
    return Clips(skeleton, rotations, roots, trust, start, np.array(lengths), names, names, names, names)
