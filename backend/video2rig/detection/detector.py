# SPDX-License-Identifier: GPL-3.0-or-later
"""What every pose detector offers: frames -> people.

Pixels are indices: (0, 0) is the middle of the first pixel. A person's place is a *circle*, four numbers: the hip
centre (x, y) and the vector from it, up along the body, to the edge of the circle that holds the whole body. It tells
where to look next, how large somebody is and how they lean, whatever the detector.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor


class People(NamedTuple):
    """N people of one frame, with K keypoints each.

    score [N] 0..1: that this is a person; circle [N,4] px (above); positions [N,K,2] px and confidence [N,K] 0..1 of
    the keypoints (positions are NaN where the confidence is 0); world [N,K,3] metres from the hip centre (x right,
    y down, z away from the camera), or None where the detector knows nothing of depth.
    """

    score: np.ndarray
    circle: np.ndarray
    positions: np.ndarray
    confidence: np.ndarray
    world: np.ndarray | None = None

    def picked(self, rows: np.ndarray) -> People:
        """Some of them: rows [M] or mask [N]."""
        return People(
            self.score[rows],
            self.circle[rows],
            self.positions[rows],
            self.confidence[rows],
            None if self.world is None else self.world[rows],
        )


def mean_of(views: Sequence[People]) -> People:
    """The mean of several views of the same N people: of a keypoint's place over those that see it at all."""
    score, circle, positions, confidence, world = zip(*views, strict=True)
    known = np.stack(confidence)[..., None] > 0

    def over_known(columns: Sequence[np.ndarray]) -> np.ndarray:
        total = np.where(known, np.stack(columns), 0.0).sum(0)
        return np.divide(total, known.sum(0), out=np.full_like(total, np.nan), where=known.any(0))

    return People(
        np.mean(score, axis=0),
        np.mean(circle, axis=0),
        over_known(positions),
        np.mean(confidence, axis=0),
        None if views[0].world is None else over_known(world),
    )


class Detector(Protocol):
    """Finds everyone in single frames.

    Attributes:
        keypoint_set: A key of `keypoints.KEYPOINT_SETS`; the K keypoints are in its order.
        device: Where it runs. batch: Frames, or crops, a call that suit the device.
    """

    keypoint_set: str

    @property
    def device(self) -> torch.device: ...

    @property
    def batch(self) -> int: ...

    def find(self, images: Tensor) -> list[People]:
        """images [B,H,W,3] uint8 RGB on `device` -> the people of each frame, best first."""
        ...


@runtime_checkable
class CropDetector(Detector, Protocol):
    """Also looks at one person at a time, where one is expected: cheaper than to find everyone, and calmer."""

    def look(self, images: Tensor, circles: Tensor, frame: Tensor) -> People:
        """What stands in R circles [R,4] px of images [B,H,W,3]; frame [R] says which image each circle is of.

        The result has R people in the order of the circles; where nobody is, the score is low. Its own circles are
        where the landmarks say that the body is.
        """
        ...


@runtime_checkable
class TilingDetector(CropDetector, Protocol):
    """Also finds people who are too small in the whole frame, at a higher cost."""

    def find_small(self, images: Tensor) -> list[People]:
        """`find`, with a closer look at parts of the frames."""
        ...


@runtime_checkable
class MirroringDetector(CropDetector, Protocol):
    """Also looks at people in a mirror, where networks err another way: the mean of both errs less."""

    def look_mirrored(self, images: Tensor, circles: Tensor, frame: Tensor) -> People:
        """`look`, through mirrored crops; the result is in the image as it is, left being left."""
        ...
