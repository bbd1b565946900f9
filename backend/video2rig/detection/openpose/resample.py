# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps of one grid on another: bicubic, as two products with matrices, one an axis.

Cells are squares that tile the picture, so cell i of n has its middle at (i + 0.5) / n of it.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

_SHARPNESS = -0.75  # of the cubic kernel, as OpenCV and torch have it


def enlarge(maps: Tensor, factor: int) -> Tensor:
    """Maps [B,C,h,w] -> [B,C,factor h,factor w]."""
    return maps if factor == 1 else resample(maps, (factor * maps.shape[2], factor * maps.shape[3]))


def resample(maps: Tensor, size: tuple[int, int], pace: tuple[float, float] | None = None) -> Tensor:
    """Maps [B,C,h,w] on a grid of `size` (rows, columns).

    `pace`: source cells a target cell, along y and x, where the two grids share a corner but not an extent; the
    grids cover the same picture without it.
    """
    rows, columns = maps.shape[2:]
    pace_y, pace_x = (rows / size[0], columns / size[1]) if pace is None else pace
    down = _weights(rows, size[0], pace_y).to(maps)
    across = _weights(columns, size[1], pace_x).to(maps)
    return down @ maps @ across.T


@lru_cache(maxsize=64)
def _weights(source: int, target: int, pace: float) -> Tensor:
    """[target, source]: how much of each source cell a target cell has; cells beyond the edge are the edge's."""
    at = (torch.arange(target, dtype=torch.float64) + 0.5) * pace - 0.5
    low = at.floor()
    weights = torch.zeros(target, source, dtype=torch.float64)
    for shift in (-1, 0, 1, 2):
        cell = (low + shift).clamp(0, source - 1).long()
        weights.scatter_add_(1, cell[:, None], _cubic((at - low - shift).abs())[:, None])
    return weights.float()


def _cubic(distance: Tensor) -> Tensor:
    """Keys' cubic convolution kernel at distances from 0 on (Keys 1981)."""
    near = ((_SHARPNESS + 2) * distance - (_SHARPNESS + 3)) * distance**2 + 1
    far = _SHARPNESS * (((distance - 5) * distance + 8) * distance - 4)
    return torch.where(distance <= 1, near, torch.where(distance < 2, far, 0))
