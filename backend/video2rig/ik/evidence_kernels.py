# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiled terms on points for CPUs: what each kind of evidence asks of the features, as :mod:`.terms` defines it.

Every function takes features [B, T, F, 3] and the number of the first that is observed, what was observed, and the
scale of the kernel of Geman and McClure (infinite for none). It adds to pull [B, T, F, 3] and information
[B, T, F, 3, 3], and returns the cost [B].
"""

from __future__ import annotations

import numpy as np

from .kernels import compiled

MIN_DEPTH = 0.2
"""Points are projected as if at least this far in front of the camera, metres."""


@compiled
def positions(features, first, target, weight, scale, pull, information):
    """Do :func:`~.terms.positions`."""
    clips, frames, count = weight.shape
    cost, last = np.zeros(clips), first + count
    for b in range(clips):
        for f in range(frames):
            cost[b] += of_positions(
                features[b, f, first:last], target[b, f], weight[b, f], scale,
                pull[b, f, first:last], information[b, f, first:last],
            )  # fmt: skip
    return cost


@compiled
def of_positions(points, target, weight, scale, pull, information):
    """Do what ``positions`` does for one frame, and return its cost."""
    cost = 0.0
    for k in range(len(weight)):
        certain = weight[k] * weight[k]
        x, y, z = points[k, 0] - target[k, 0], points[k, 1] - target[k, 1], points[k, 2] - target[k, 2]
        square = certain * (x * x + y * y + z * z)
        shrink = 1.0 / (1.0 + square / (scale * scale))
        cost += shrink * square
        slope = shrink * shrink * certain
        pull[k, 0] += slope * x
        pull[k, 1] += slope * y
        pull[k, 2] += slope * z
        for r in range(3):
            information[k, r, r] += slope
    return cost


@compiled
def rays(features, first, seen, weight, scale, pull, information):
    """Do :func:`~.terms.reprojection`."""
    clips, frames, count = weight.shape
    cost, value, by_point = np.zeros(clips), np.empty(2), np.zeros((2, 3))
    for b in range(clips):
        for f in range(frames):
            for k in range(count):
                if weight[b, f, k] == 0.0:
                    continue
                point = features[b, f, first + k]
                depth = max(point[2], MIN_DEPTH)
                by_depth = 1.0 if point[2] > MIN_DEPTH else 0.0
                for r in range(2):
                    projected = point[r] / depth
                    value[r] = (projected - seen[b, f, k, r]) * weight[b, f, k]
                    by_point[r, r] = weight[b, f, k] / depth
                    by_point[r, 2] = -by_depth * projected * weight[b, f, k] / depth
                cost[b] += _add(value, by_point, scale, pull[b, f, first + k], information[b, f, first + k])
    return cost


@compiled
def directions(features, first, direction, weight, scale, pull, information):
    """Do :func:`~.terms.directions`."""
    clips, frames, count, _ = weight.shape
    cost, value, by_segment = np.zeros(clips), np.empty(3), np.empty((3, 3))
    for b in range(clips):
        for f in range(frames):
            for k in range(count):
                segment, way, trust = features[b, f, first + k], direction[b, f, k], weight[b, f, k]
                length = np.sqrt(segment[0] ** 2 + segment[1] ** 2 + segment[2] ** 2)
                for r in range(3):
                    value[r] = (segment[r] - length * way[r]) * trust[r]
                    for c in range(3):
                        by_segment[r, c] = -way[r] * segment[c] / max(length, 1e-9) * trust[r]
                    by_segment[r, r] += trust[r]
                cost[b] += _add(value, by_segment, scale, pull[b, f, first + k], information[b, f, first + k])
    return cost


@compiled
def contacts(features, first, axes, target, weight, scale, pull, information):
    """Do :func:`~.terms.contact`."""
    clips, frames, count, _ = weight.shape
    cost, value, by_point = np.zeros(clips), np.empty(3), np.empty((3, 3))
    for b in range(clips):
        for f in range(frames):
            for k in range(count):
                trust = weight[b, f, k]
                if trust[0] == 0.0 and trust[1] == 0.0 and trust[2] == 0.0:
                    continue
                point = features[b, f, first + k]
                for r in range(3):
                    along = axes[r, 0] * point[0] + axes[r, 1] * point[1] + axes[r, 2] * point[2]
                    value[r] = (along - target[b, f, k, r]) * trust[r]
                    for c in range(3):
                        by_point[r, c] = axes[r, c] * trust[r]
                cost[b] += _add(value, by_point, scale, pull[b, f, first + k], information[b, f, first + k])
    return cost


@compiled
def floor(features, first, up, level, weight, scale, pull, information):
    """Do :func:`~.terms.floor`."""
    clips, frames = features.shape[:2]
    cost, value, by_point = np.zeros(clips), np.empty(1), np.empty((1, 3))
    for b in range(clips):
        for f in range(frames):
            for k in range(len(weight)):
                point = features[b, f, first + k]
                depth = point[0] * up[0] + point[1] * up[1] + point[2] * up[2] - level[k]
                if depth < 0.0:
                    value[0] = depth * weight[k]
                    for c in range(3):
                        by_point[0, c] = weight[k] * up[c]
                    cost[b] += _add(value, by_point, scale, pull[b, f, first + k], information[b, f, first + k])
    return cost


@compiled
def _add(value, by_point, scale, pull, information):
    """Add residuals [R] of one feature, their derivative [R, 3] given, and return their cost."""
    square = 0.0
    for i in range(len(value)):
        square += value[i] * value[i]
    shrink = 1.0 / (1.0 + square / (scale * scale))
    for i in range(len(value)):
        for r in range(3):
            slope = shrink * shrink * by_point[i, r]
            pull[r] += slope * value[i]
            for c in range(3):
                information[r, c] += slope * by_point[i, c]
    return shrink * square
