# SPDX-License-Identifier: GPL-3.0-or-later
"""Maxima of heat maps: where a part may be, of all parts and frames at once, between cells."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

MIN_HEAT = 0.1
MAX_PEAKS = 96  # of one part in one frame; the strongest are kept
_FLOOR = 1e-4  # below it the logarithm says more of noise than of a shape


class Peaks(NamedTuple):
    """The maxima of each map, the strongest first, P at most: places [B,K,P,2] in cells (x, y), heat [B,K,P].

    Where a map has fewer, heat is 0 and the place is 0.
    """

    places: Tensor
    heat: Tensor


def find_peaks(heat: Tensor, least: float = MIN_HEAT) -> Peaks:
    """Maxima of heat maps [B,K,h,w] above `least`; P is the most that any map has.

    A maximum is no smaller than its eight neighbours; of neighbours that are equal, the first in reading order is one.
    The place between cells is that of a Gaussian through the cell and its neighbours, along each axis by itself, and
    the heat is that Gaussian's height.
    """
    width = heat.shape[3]
    around = functional.pad(heat, (1, 1, 1, 1), value=float("-inf"))
    before = functional.max_pool2d(around[:, :, :-2], (1, 3), stride=1)
    before = torch.maximum(before, around[:, :, 1:-1, :-2])
    after = functional.max_pool2d(around[:, :, 2:], (1, 3), stride=1)
    after = torch.maximum(after, around[:, :, 1:-1, 2:])
    best = (heat > least) & (heat > before) & (heat >= after)
    count = min(int(best.sum((2, 3)).max()) if best.numel() else 0, MAX_PEAKS)
    value, cell = torch.where(best, heat, 0).flatten(2).topk(count)
    x, y = cell % width, cell // width
    shift_x, rise_x = _vertex(heat, cell, x, 1, width)
    shift_y, rise_y = _vertex(heat, cell, y, width, heat.shape[2])
    there = value > 0
    places = torch.stack([x + shift_x, y + shift_y], -1)
    return Peaks(torch.where(there[..., None], places, 0), torch.where(there, value * torch.exp(rise_x + rise_y), 0))


def _vertex(heat: Tensor, cell: Tensor, at: Tensor, step: int, size: int) -> tuple[Tensor, Tensor]:
    """How far from a cell, -0.5 to 0.5, the parabola through three logarithms has its vertex, and how much higher."""
    flat = heat.flatten(2)
    low, middle, high = (
        flat.gather(2, (cell + way * step).clamp(0, flat.shape[2] - 1)).clamp(min=_FLOOR).log() for way in (-1, 0, 1)
    )
    bend = low + high - 2 * middle
    inside = (at > 0) & (at < size - 1) & (bend < 0)
    shift = torch.where(inside, (low - high) / (2 * torch.where(inside, bend, -1)), 0).clamp(-0.5, 0.5)
    return shift, shift * (high - low) / 4
