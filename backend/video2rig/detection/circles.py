# SPDX-License-Identifier: GPL-3.0-or-later
"""Circles around bodies, [...,4] px, as `detector.py` defines them: hip centre, and the arm from it to the edge."""

from __future__ import annotations

import numpy as np

SAME_PLACE = 0.35
"""In radii: circles whose hips are closer are of one body."""

LEAST_RADIUS = 1e-6

MAX_GROWTH = float(np.log(1.6))
"""Of the radius, as |log|: circles of one body differ less, at once and over a few frames."""


def radius(circles: np.ndarray) -> np.ndarray:
    """[...] px, at least LEAST_RADIUS."""
    return np.maximum(np.hypot(circles[..., 2], circles[..., 3]), LEAST_RADIUS)


def apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distance of the hips of circles [...,4] in radii of the larger one."""
    return np.hypot(a[..., 0] - b[..., 0], a[..., 1] - b[..., 1]) / np.maximum(radius(a), radius(b))


def growth(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How different the sizes of circles [...,4] are: |log| of the radii's ratio."""
    return np.abs(np.log(radius(a) / radius(b)))


def same_body(a: np.ndarray, b: np.ndarray, place: float = SAME_PLACE) -> np.ndarray:
    """Whether circles [...,4] are of one body: hips closer than `place` radii, of about one size."""
    return (apart(a, b) < place) & (growth(a, b) < MAX_GROWTH)


def turned(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angle from a's arm to b's, [...] rad, -pi to pi, clockwise on the screen."""
    angle = np.arctan2(b[..., 3], b[..., 2]) - np.arctan2(a[..., 3], a[..., 2])
    return (angle + np.pi) % (2 * np.pi) - np.pi


def moved(circles: np.ndarray, shift: tuple[float, float], scale: float, angle: float) -> np.ndarray:
    """Circles [...,4] shifted by a part of their diameter (along the image's axes), scaled, and turned by radians."""
    hip = circles[..., :2] + 2 * radius(circles)[..., None] * np.array(shift)
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    x, y = circles[..., 2], circles[..., 3]
    return np.concatenate([hip, np.stack([cosine * x - sine * y, sine * x + cosine * y], -1)], -1)


def between(a: np.ndarray, b: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Circles [...,4] on the way from a to b, part [...] 0..1 of it: hips along a line, arms turned and stretched."""
    angle = part * turned(a, b)
    stretch = (radius(b) / radius(a)) ** part
    cosine, sine = stretch * np.cos(angle), stretch * np.sin(angle)
    hip = a[..., :2] + part[..., None] * (b[..., :2] - a[..., :2])
    x, y = a[..., 2], a[..., 3]
    return np.concatenate([hip, np.stack([cosine * x - sine * y, sine * x + cosine * y], -1)], -1)


def smoothed(circles: np.ndarray, sigma: float, reach: int) -> np.ndarray:
    """Circles [T,4], or any rows [T,C], smoothed over time without lag; NaN where there are none, as they were.

    Each is the middle of a line through those around it, with Gaussian weights `sigma` frames wide and cut off `reach`
    frames away. A line, not a mean, so that steady motion is not pulled back at the ends and beside gaps.
    """
    count = len(circles)
    there = np.isfinite(circles).all(-1)
    values = np.where(there[:, None], circles, 0.0)
    offsets = np.arange(-reach, reach + 1)
    bell = np.exp(-0.5 * (offsets / sigma) ** 2)

    def window(rows: np.ndarray) -> np.ndarray:
        padded = np.pad(rows, [(reach, reach), *[(0, 0)] * (rows.ndim - 1)])
        return np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, 0)[:count]

    weight = window(there.astype(float)) * bell  # [T,N]
    seen = window(values)  # [T,4,N]
    s0, s1, s2 = weight.sum(-1), weight @ offsets, weight @ offsets**2
    mean, slope = np.einsum("tn,tcn->tc", weight, seen), np.einsum("tn,tcn->tc", weight * offsets, seen)
    spread = s0 * s2 - s1 * s1
    flat = spread < 1e-3 * s0 * s0
    with np.errstate(invalid="ignore", divide="ignore"):
        line = (s2[:, None] * mean - s1[:, None] * slope) / spread[:, None]
        result = np.where(flat[:, None], mean / s0[:, None], line)
    return np.where(there[:, None], result, np.nan)
