# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether somebody in a video ever moves, or is a picture on a wall, a statue, a mannequin.

A camera that pans, zooms or shakes moves all keypoints together: what is left once translation and scale are taken out
of every frame is how the body changes its shape. Means over a quarter of a second take the detector's jitter out.

STILL was chosen on BlazePose's keypoints (`benchmarks/stillness.py`). Of 49 posters, stills of real videos and of the
sample for 2.5 s before cameras that are still, pan, zoom or shake, encoded in several ways, 47 are below it, the median
at 0.25 %; the two above, 1.1 and 1.5 %, are of one frame of a jump. The people of those videos sway by 6.7 % in the
stillest two seconds of any, and by 15 to 21 % in all. But people can hold still: of all stretches of 2 s of the CMU
motion capture, which has no jitter, 2.2 % are below STILL, of those of 4 s 0.7 %, of those of 8 s 0.2 %, most of them
dancers who hold a pose. So it is a sign and no proof, and what is told says so.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .keypoints import Keypoints

STILL = 0.01
"""Parts of the body's size: who sways less over SECONDS or more hardly moves."""
SECONDS = 2.0
MEAN_SECONDS = 0.25  # frames are averaged over so long
SEEN = 0.5  # keypoints whose confidence is below this in most frames are left out
FEWEST = 6  # keypoints that make a shape


class Stillness(NamedTuple):
    """Of somebody who hardly moves: their sway, parts of their size, and for how long they are seen, s."""

    sway: float
    seconds: float

    def __str__(self) -> str:
        return (
            f"hardly moves in {self.seconds:.1f} s ({100 * self.sway:.1f} % of their size): a picture, a statue, or "
            "somebody who holds very still"
        )


def stillness(keypoints: Keypoints) -> Stillness | None:
    """Return how still somebody is who hardly moves; None of all who move, or are not seen for long enough to tell."""
    return still(keypoints.positions, keypoints.confidence, keypoints.times)


def still(positions: np.ndarray, confidence: np.ndarray, times: np.ndarray) -> Stillness | None:
    """The same of keypoints [T,K,2] px, their confidence [T,K] and the frames' times [T] s."""
    seconds = seen_seconds(confidence, times)
    if seconds < SECONDS:
        return None
    moved = sway(positions, confidence, times)
    return Stillness(moved, seconds) if moved < STILL else None


def seen_seconds(confidence: np.ndarray, times: np.ndarray) -> float:
    """For how long somebody is seen, s, whose keypoints have the confidence [T,K] at times [T] s."""
    if len(times) < 2:
        return 0.0
    return float(np.median(np.diff(times))) * int((confidence > 0).any(1).sum())


def sway(positions: np.ndarray, confidence: np.ndarray, times: np.ndarray) -> float:
    """Return how much a body changes its shape in the picture, in parts of its size (the diagonal of its box).

    The root mean square over time of a keypoint's way from where it is in the median shape, of the quarter of the
    keypoints that move most; infinite where too little is seen to tell.

    Args:
        positions: [T,K,2] px. confidence: [T,K]. times: [T] s.
    """
    there = (confidence > 0).any(1)
    if there.sum() < 2:
        return np.inf
    sure = np.median(confidence[there], 0) > SEEN
    whole = there & (confidence[:, sure] > 0).all(1)
    if sure.sum() < FEWEST or whole.sum() < max(2, there.sum() / 2):
        return np.inf
    away = changes(positions[whole][:, sure])
    parts = np.floor((times[whole] - times[0]) / MEAN_SECONDS).astype(int)
    _, part, count = np.unique(parts, return_inverse=True, return_counts=True)
    mean = np.zeros((len(count), *away.shape[1:]))
    np.add.at(mean, part, away)
    mean /= count[:, None, None]
    return most(np.sqrt((mean**2).sum(-1).mean(0)))


def changes(positions: np.ndarray, shape: np.ndarray | None = None) -> np.ndarray:
    """Return [T,K,2] where keypoints [T,K,2] px are away from a shape [K,2] px that is moved and scaled to fit them, in
    parts of its size; the shape is the median of all frames unless it is given."""
    own = positions - positions.mean(1, keepdims=True)
    own = own / np.maximum(np.linalg.norm(own, axis=(1, 2), keepdims=True), 1e-9)
    middle = _centred(np.median(own, 0) if shape is None else shape)
    if shape is None:  # once more, of frames of one scale
        middle = _centred(np.median(_scaled(own, middle), 0))
    return (_scaled(own, middle) - middle) / max(float(np.linalg.norm(np.ptp(middle, 0))), 1e-9)


def _centred(shape: np.ndarray) -> np.ndarray:
    return shape - shape.mean(0)


def _scaled(own: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Centred keypoints [T,K,2] of length 1, each frame's scaled to fit a shape [K,2] best."""
    return own * (own * shape).sum((1, 2))[:, None, None]


def most(lengths: np.ndarray) -> float:
    """Return the mean of the quarter of [K] numbers that is largest."""
    return float(np.sort(lengths)[-max(1, len(lengths) // 4) :].mean())
