# SPDX-License-Identifier: GPL-3.0-or-later
"""The root's path: feet stay where the mocap's feet stood, whatever became of the legs."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.linalg import solveh_banded

from video2rig.skeleton import Skeleton

from .database import Database

STILL, NEAR = 0.4, 0.05
"""Speed in metres a second and height in metres at which a point of the foot hardly counts as standing any more."""

LEAST = 1e-3
"""Weight of a foot in the air, against 1 for one that stands: it decides only where none stands."""

STIFFNESS = 10.0
"""Weight of the correction's squared second differences."""

STANDING = 25
"""Percentile of a clip's standing feet that is put on the floor: half of the sources float, some by 7 cm."""

BALL_HEIGHT = 0.02
"""Height of the mocap's toe joints when they stand, metres: the 2nd percentile of nearly every subject's."""


def root_path(
    database: Database, placed: np.ndarray, legs: np.ndarray, skeleton: Skeleton, stands: np.ndarray
) -> np.ndarray:
    """Return the path [N, 3] of the skeleton's root, metres, Z up, the floor at 0.

    Args:
        placed: [N, 21, 3] positions of the mocap's joints, metres, Z up.
        legs: [N, J, 3] positions of the skeleton's joints about its root, metres.
        stands: [N, 2 (left, right)] bool, of the feet.
    """
    scale, floor = leg_scale(database, skeleton), skeleton.rest_matrices()[:, 2, 3]
    ankle_height = BALL_HEIGHT - database.offset[database.joints.index("l_toes"), 1]
    soles = (("foot", "foot", ankle_height), ("toe", "toes", BALL_HEIGHT))
    weights, wanted = [], []
    for side, (bone, segment, height) in product("LR", soles):
        joint, source = skeleton.index(f"{bone}.{side}"), database.joints.index(f"{side.lower()}_{segment}")
        target = placed[:, source] * scale
        target[:, 2] += floor[joint] - height * scale
        weights.append(_contact(database, placed[:, source], height))
        wanted.append(target - legs[:, joint])
    weight = np.stack(weights)
    total = weight.sum(axis=0)
    mean = np.einsum("pn,pni->ni", weight, np.stack(wanted)) / total[:, None]
    start = placed[:, 0] * scale
    path = np.empty_like(mean)
    for clip in database.clips.values():
        path[clip] = start[clip] + _smooth(mean[clip] - start[clip], total[clip])
    height = foot_heights(path[:, None] + legs, skeleton)
    for clip in database.clips.values():
        standing = height[clip][stands[clip]]
        if len(standing):
            path[clip, 2] -= np.percentile(standing, STANDING)
    return path


def foot_heights(placed: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Return how far the lower of ankle and ball is over where it rests on the floor, [N, 2 (left, right)] metres.

    Args:
        placed: [N, J, 3] positions of the skeleton's joints, metres.
    """
    rest = skeleton.rest_matrices()[:, 2, 3]
    feet = [[skeleton.index(f"{bone}.{side}") for bone in ("foot", "toe")] for side in "LR"]
    return np.stack([(placed[:, foot, 2] - rest[foot]).min(axis=1) for foot in feet], axis=1)


def leg_scale(database: Database, skeleton: Skeleton) -> float:
    """Return how many times as long the skeleton's leg is as the mocap's."""
    leg = sum(np.linalg.norm(database.offset[database.joints.index(f"l_{part}")]) for part in ("shank", "foot"))
    return float(sum(skeleton.length[skeleton.index(bone)] for bone in ("thigh.L", "shin.L")) / leg)


def _contact(database: Database, path: np.ndarray, height: float) -> np.ndarray:
    """Return how much a point counts as standing, [N], by its speed and its height above the floor."""
    weight = np.full(len(path), LEAST)
    above = np.maximum(path[:, 2] - height, 0.0)
    for clip in database.clips.values():
        if clip.stop - clip.start > 2:
            speed = np.linalg.norm(np.gradient(path[clip], axis=0), axis=-1) * 30.0
            weight[clip] += np.exp(-((2 * speed / STILL) ** 2) - (above[clip] / NEAR) ** 2)
    return weight


def _smooth(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return values [T, 3] with small second differences, near the given ones by their weight [T]."""
    frames = len(values)
    if frames < 3:
        return values
    ones = np.full(frames - 2, STIFFNESS)
    system = np.zeros((3, frames))  # lower bands
    system[0] = np.convolve(ones, [1, 4, 1]) + weight
    system[1, :-1], system[2, :-2] = np.convolve(ones, [-2, -2]), ones
    return solveh_banded(system, weight[:, None] * values, lower=True)
