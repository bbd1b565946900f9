# SPDX-License-Identifier: GPL-3.0-or-later
"""The circle around a person, for detectors that give keypoints alone: see `detector.py` for what it is.

Proportions are those of a standing adult's keypoints (Drillis and Contini 1966, in parts of the standing height):
shoulders to hips 0.29, shoulder to shoulder 0.23, hip centre to the soles 0.51 and to the crown 0.49.
"""

from __future__ import annotations

import numpy as np

from ..keypoints import KEYPOINT_SETS

TORSO = 0.29
SHOULDERS = 0.23
NECK_TO_FACE = 0.11
SHIN = 0.25
RADIUS = 0.53
MARGIN = 1.15  # beyond the farthest keypoint: hands, feet and the crown reach further than wrists, ankles and nose

_FACE = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")


def circles(positions: np.ndarray, confidence: np.ndarray, set_name: str) -> np.ndarray:
    """Circles [N,4] px (hip centre, vector to the edge along the body) of N people.

    positions [N,K,2] px and confidence [N,K] of the set's keypoints; those with confidence 0 are not looked at. What
    is not seen of shoulders and hips is put where the rest says that they are; NaN where nothing is seen at all.

    The radius holds the keypoints and what lies beyond them, and is no less than that of a person who stands there
    with a torso, shoulders or shins of this size: it hardly changes when somebody sits down.
    """
    names = KEYPOINT_SETS[set_name]
    seen = np.where((confidence > 0)[..., None], positions.astype(np.float64), np.nan)

    def middle(*wanted: str, both: bool = False) -> np.ndarray:
        """The mean [N,2] of those seen, or NaN; of `both` where all are seen."""
        points = seen[:, [names.index(name) for name in wanted if name in names]]
        count = np.isfinite(points[..., 0]).sum(1)
        enough = count == len(wanted) if both else count > 0
        total = np.nansum(points, 1) / np.maximum(count, 1)[:, None]
        return np.where(enough[:, None], total, np.nan)

    shoulders = _first(middle("left_shoulder", "right_shoulder", both=True), middle("neck"))
    shoulders = _first(shoulders, middle("left_shoulder", "right_shoulder"))
    hips = _first(middle("left_hip", "right_hip", both=True), middle("left_hip", "right_hip"))
    face, knees = middle(*_FACE), middle("left_knee", "right_knee")
    ankles = middle("left_ankle", "right_ankle")
    breadth = np.linalg.norm(middle("left_shoulder") - middle("right_shoulder"), axis=-1)
    height = _largest(
        np.linalg.norm(shoulders - hips, axis=-1) / TORSO,
        breadth / SHOULDERS,
        np.linalg.norm(face - shoulders, axis=-1) / NECK_TO_FACE / 1.5,  # a face that looks down or up is far off
        np.linalg.norm(knees - ankles, axis=-1) / SHIN,
    )
    extent = np.nan_to_num(np.linalg.norm(_extent(seen), axis=-1))
    height = np.where(np.isfinite(height), height, extent)
    height = np.maximum(height, 1.0)  # all keypoints in one place are somebody very small

    up = _first(
        _direction(shoulders - hips),
        _direction(face - shoulders),
        _direction(hips - knees),
        _direction(knees - ankles),
        np.tile([0.0, -1.0], (len(seen), 1)),
    )
    hips = _first(
        hips,
        shoulders - up * (TORSO * height)[:, None],
        knees + up * (SHIN * height)[:, None],
        face - up * ((TORSO + NECK_TO_FACE) * height)[:, None],
        ankles + up * (2 * SHIN * height)[:, None],
        _centre(seen),
    )
    farthest = np.nan_to_num(np.linalg.norm(seen - hips[:, None], axis=-1)).max(1, initial=0.0)
    radius = np.where(np.isfinite(hips[:, 0]), np.maximum(MARGIN * farthest, RADIUS * height), np.nan)
    return np.concatenate([hips, up * radius[:, None]], 1)


def _first(*choices: np.ndarray) -> np.ndarray:
    """Of vectors [N,2], for each row the first that is known."""
    result = choices[0]
    for other in choices[1:]:
        result = np.where(np.isfinite(result), result, other)
    return result


def _largest(*values: np.ndarray) -> np.ndarray:
    """Of values [N], the largest that is known, or NaN."""
    rows = np.stack(values)
    known = np.isfinite(rows)
    return np.where(known.any(0), np.where(known, rows, -np.inf).max(0), np.nan)


def _direction(vectors: np.ndarray) -> np.ndarray:
    """Unit vectors [N,2]; NaN of those without a length."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where(length > 1e-6, vectors / np.where(length > 1e-6, length, 1), np.nan)


def _bounds(seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners [N,2] of the box around what is seen; NaN where nothing is."""
    known = np.isfinite(seen)
    some = known.any(1)
    low, high = (np.where(known, seen, way * np.inf) for way in (1, -1))
    return np.where(some, low.min(1), np.nan), np.where(some, high.max(1), np.nan)


def _extent(seen: np.ndarray) -> np.ndarray:
    low, high = _bounds(seen)
    return high - low


def _centre(seen: np.ndarray) -> np.ndarray:
    low, high = _bounds(seen)
    return (low + high) / 2
