# SPDX-License-Identifier: GPL-3.0-or-later
"""Decoding in plain loops, the twin of what runs on the device."""

from __future__ import annotations

import math

import numpy as np

from video2rig.detection.openpose.layout import LIMBS
from video2rig.detection.openpose.links import LONG, MIN_AGREEING, MIN_AGREEMENT, SAMPLES


def peaks(heat: np.ndarray, least: float) -> list[tuple[float, float, float]]:
    """Maxima (x, y, heat) of one map [h,w], the highest cell first."""
    rows, columns = heat.shape
    found = []
    for y in range(rows):
        for x in range(columns):
            value = heat[y, x]
            around = [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
            around = [(v, u) for v, u in around if 0 <= v < rows and 0 <= u < columns]
            earlier = all(value > heat[v, u] for v, u in around if (v, u) < (y, x))
            later = all(value >= heat[v, u] for v, u in around if (v, u) > (y, x))
            if value > least and earlier and later:
                shift_x, rise_x = _vertex([heat[y, u] for u in (x - 1, x, x + 1)] if 0 < x < columns - 1 else [])
                shift_y, rise_y = _vertex([heat[v, x] for v in (y - 1, y, y + 1)] if 0 < y < rows - 1 else [])
                found.append((float(value), x + shift_x, y + shift_y, float(value) * math.exp(rise_x + rise_y)))
    return [(x, y, height) for _, x, y, height in sorted(found, key=lambda peak: -peak[0])]


def _vertex(values: list[float]) -> tuple[float, float]:
    if not values:
        return 0.0, 0.0
    low, middle, high = (math.log(max(float(value), 1e-4)) for value in values)
    bend = low + high - 2 * middle
    if bend >= 0:
        return 0.0, 0.0
    shift = min(max((low - high) / (2 * bend), -0.5), 0.5)
    return shift, shift * (high - low) / 4


def limb_score(fields: np.ndarray, limb: int, begin: np.ndarray, end: np.ndarray) -> float:
    """The score of one candidate limb from the fields [38,h,w] of a frame; 0 where it is none."""
    length = float(np.linalg.norm(end - begin))
    if length == 0:
        return 0.0
    ux, uy = (end - begin) / length
    channel = LIMBS[limb].channel
    dots = []
    for i in range(SAMPLES):
        x, y = begin + (end - begin) * i / (SAMPLES - 1)
        dots.append(ux * _read(fields[channel], x, y) + uy * _read(fields[channel + 1], x, y))
    score = sum(dots) / SAMPLES + min(LONG * fields.shape[1] / length - 1, 0)
    enough = sum(dot > MIN_AGREEMENT for dot in dots) >= MIN_AGREEING * SAMPLES
    return min(score, 1.0) if enough and score > 0 else 0.0


def _read(field: np.ndarray, x: float, y: float) -> float:
    rows, columns = field.shape
    x, y = min(max(x, 0), columns - 1), min(max(y, 0), rows - 1)
    left, top = math.floor(x), math.floor(y)
    right, bottom = min(left + 1, columns - 1), min(top + 1, rows - 1)
    a, b = x - left, y - top
    upper = (1 - a) * field[top, left] + a * field[top, right]
    lower = (1 - a) * field[bottom, left] + a * field[bottom, right]
    return float((1 - b) * upper + b * lower)


def greedy(score: np.ndarray) -> dict[int, int]:
    """Pairs of a matrix [P,Q] of scores: the best first, each row and column once."""
    pairs: dict[int, int] = {}
    for flat in np.argsort(-score, axis=None, kind="stable"):
        row, column = divmod(int(flat), score.shape[1])
        if score[row, column] > 0 and row not in pairs and column not in pairs.values():
            pairs[row] = column
    return pairs
