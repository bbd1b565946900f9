# SPDX-License-Identifier: GPL-3.0-or-later
"""The points that the network knows: every anatomical point of the keypoint sets, in one order."""

from __future__ import annotations

import numpy as np

from ..camera import Camera
from ..keypoints import KEYPOINT_SETS, Keypoints, has_site

_FACE = ("eye_inner", "eye_outer", "mouth")  # what eyes, ears and nose tell already

POINTS: tuple[str, ...] = tuple(
    name
    for name in dict.fromkeys(n for names in KEYPOINT_SETS.values() for n in names)
    if has_site(name) and not name.endswith(_FACE)
)
"""Names of the P points; a keypoint set that lacks some leaves them unseen. Weights are of these in this order: with
any other, the format of weights (`network.py`) is another."""

MIRRORED: tuple[int, ...] = tuple(
    POINTS.index({"left": "right_", "right": "left_"}[side] + rest if rest and side in ("left", "right") else name)
    for name in POINTS
    for side, _, rest in [name.partition("_")]
)
"""Index of each point's twin on the other side of the body; of a point in its middle, its own."""


def known_of(names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return which of a set's keypoints the network knows: their indices in the set and those in :data:`POINTS`."""
    known = [(index, POINTS.index(name)) for index, name in enumerate(names) if name in POINTS]
    own, points = np.array(known, dtype=np.int64).reshape(-1, 2).T
    return own, points


def rays_of(keypoints: Keypoints, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Return rays [T, P, 2] through the points, as x / z and y / z, 0 where one is not seen, and confidence [T, P]."""
    own, points = known_of(keypoints.names)
    rays, confidence = np.zeros((len(keypoints.times), len(POINTS), 2)), np.zeros((len(keypoints.times), len(POINTS)))
    confidence[:, points] = keypoints.confidence[:, own]
    rays[:, points] = (keypoints.positions[:, own] - camera.center) / camera.focal
    rays[confidence == 0] = 0.0
    return rays, confidence
