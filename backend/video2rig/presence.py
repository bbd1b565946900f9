# SPDX-License-Identifier: GPL-3.0-or-later
"""When and where a person was seen, and how well: facts about keypoints by which people are told apart and ranked."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .keypoints import Keypoints


class Presence(NamedTuple):
    """When somebody is in a video: first and last second, and the share of all frames that show them."""

    first: float
    last: float
    share: float

    def __str__(self) -> str:
        return f"{self.first:.2f} to {self.last:.2f} s, seen in {self.share:.0%} of the frames"


def presence(keypoints: Keypoints) -> Presence:
    """Return when a person was seen; in one frame at least."""
    seen = keypoints.seen()
    times = keypoints.times[seen]
    return Presence(float(times[0]), float(times[-1]), float(seen.mean()))


def boxes(keypoints: Keypoints) -> np.ndarray:
    """Return [T, 4] left, top, right, bottom of what was seen, pixels; NaN where nothing was."""
    seen = (keypoints.confidence > 0)[..., None]
    found = np.full((len(seen), 4), np.nan)
    rows = keypoints.seen()
    found[rows, :2] = np.where(seen, keypoints.positions, np.inf)[rows].min(axis=1)
    found[rows, 2:] = np.where(seen, keypoints.positions, -np.inf)[rows].max(axis=1)
    return found


def clarity(keypoints: Keypoints) -> np.ndarray:
    """Return [T] how well each frame shows a person: the box's diagonal in pixels times the mean confidence, or 0."""
    box = boxes(keypoints)
    return np.nan_to_num(np.linalg.norm(box[:, 2:] - box[:, :2], axis=1)) * keypoints.confidence.mean(axis=1)
