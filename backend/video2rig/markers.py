# SPDX-License-Identifier: GPL-3.0-or-later
"""Markers: named 3D points of one person over time, triangulated or from motion capture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import Video2RigError


class MarkersError(Video2RigError):
    """Markers whose names or arrays do not fit one another."""


@dataclass(frozen=True, eq=False)
class Markers:
    """3D points of one person over time: triangulated keypoints or motion-capture markers.

    Attributes:
        names: K names; keypoint names (``left_knee``) where they are keypoints.
        positions: [T, K, 3] metres in the world (Z up, the figure faces -Y), NaN where unseen.
        confidence: [T, K] from 0 (unseen) to 1.
        times: [T] seconds, rising.
    """

    names: tuple[str, ...]
    positions: np.ndarray
    confidence: np.ndarray
    times: np.ndarray

    def __post_init__(self) -> None:
        names = tuple(self.names)
        if not names:
            raise MarkersError("markers: needs at least one marker")
        for name in names:
            if not isinstance(name, str) or not name:
                raise MarkersError(f"markers: {name!r} is not a name")
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise MarkersError(f"markers: names must differ, and these occur more than once: {', '.join(repeated)}")
        object.__setattr__(self, "names", names)
        frames, count = len(self.times), len(names)
        shapes = {"positions": (frames, count, 3), "confidence": (frames, count), "times": (frames,)}
        for field, shape in shapes.items():
            array = np.array(getattr(self, field), dtype=np.float64)
            if array.shape != shape:
                raise MarkersError(f"markers: {field} has shape {array.shape}, expected {shape}")
            array.setflags(write=False)
            object.__setattr__(self, field, array)
        if frames == 0 or not (np.isfinite(self.times).all() and (np.diff(self.times) > 0).all()):
            raise MarkersError("markers: needs at least one frame, and finite times that rise from frame to frame")
        if not ((self.confidence >= 0) & (self.confidence <= 1)).all():
            raise MarkersError("markers: confidence must lie between 0 and 1")
        bad = (self.confidence > 0) & ~np.isfinite(self.positions).all(axis=-1)
        if bad.any():
            frame, marker = (int(index) for index in np.argwhere(bad)[0])
            raise MarkersError(
                f"markers: {names[marker]!r} in frame {frame} has confidence above 0 and a position that is not finite"
            )

    def __len__(self) -> int:
        return len(self.times)

    def index(self, name: str) -> int:
        """Return the column of a marker.

        Raises:
            MarkersError: There is no such marker.
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise MarkersError(f"markers: no marker {name!r}; there are {', '.join(self.names)}") from None
