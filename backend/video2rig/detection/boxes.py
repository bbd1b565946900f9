# SPDX-License-Identifier: GPL-3.0-or-later
"""Boxes around people as a single-shot detector gives them: its anchors, and one box a person out of many."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

MIN_OVERLAP = 0.3  # intersection over union: boxes that overlap more are one person's


class Boxes(NamedTuple):
    """The people of one frame, best first: score [N] 0..1; box [N,4] px (left, top, right, bottom) around the face and
    upper body; circle [N,4] px, as `detector.py` defines it."""

    score: np.ndarray
    box: np.ndarray
    circle: np.ndarray


def anchor_centres(size: int, strides: tuple[int, ...]) -> Tensor:
    """Centres [A,2] (x, y), 0..1: two anchors a layer and cell; consecutive layers of one stride share their cells."""
    centres = []
    for stride in dict.fromkeys(strides):
        cells = math.ceil(size / stride)
        middle = (torch.arange(cells, dtype=torch.float32) + 0.5) / cells
        y, x = torch.meshgrid(middle, middle, indexing="ij")
        grid = torch.stack([x, y], -1).reshape(-1, 2)
        centres.append(grid.repeat_interleave(2 * strides.count(stride), 0))
    return torch.cat(centres)


def merge(parts: list[Boxes]) -> Boxes:
    """What several windows saw of one frame; of those whose boxes are the same person's, the best alone."""
    score, box, circle = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    kept: list[int] = []
    for i in np.argsort(-score, kind="stable"):
        if not kept or overlap(box[i], box[kept]).max() <= MIN_OVERLAP:
            kept.append(int(i))
    return Boxes(score[kept], box[kept], circle[kept])


def weighted_nms(
    scores: np.ndarray, boxes: np.ndarray, points: np.ndarray, min_overlap: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One result a cluster of candidates, best first.

    The best remaining candidate gathers all that overlap it by more than `min_overlap` (intersection over union); the
    result has its score and the score-weighted mean of their boxes and points.

    scores [N], boxes [N,4], points [N,K,2] -> the same shapes with N the number of clusters.
    """
    order = np.argsort(-scores, kind="stable")
    scores, boxes, points = scores[order], boxes[order].astype(np.float64), points[order].astype(np.float64)
    kept: list[tuple[float, np.ndarray, np.ndarray]] = []
    while len(scores):
        same = overlap(boxes[0], boxes) > min_overlap
        same[0] = True  # a box without area overlaps nothing, not even itself
        weight = scores[same] / scores[same].sum()
        kept.append((scores[0], weight @ boxes[same], np.tensordot(weight, points[same], 1)))
        scores, boxes, points = scores[~same], boxes[~same], points[~same]
    if not kept:
        return scores, boxes, points
    return np.array([k[0] for k in kept]), np.stack([k[1] for k in kept]), np.stack([k[2] for k in kept])


def overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of one box [4] with boxes [N,4]; 0 where the union has no area."""
    corner = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    intersection = np.clip(corner, 0, None).prod(-1)
    area = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(-1)
    union = area + np.clip(box[2:] - box[:2], 0, None).prod() - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)
