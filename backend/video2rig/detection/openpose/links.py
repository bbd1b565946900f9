# SPDX-License-Identifier: GPL-3.0-or-later
"""Which part belongs to which: line integrals over part affinity fields, and the best of them limb by limb.

Of all limbs and frames at once, and of all pairs of their candidates.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from .layout import LIMBS
from .peaks import Peaks

SAMPLES = 10
"""Points along a candidate limb at which the field is read."""
MIN_AGREEMENT = 0.05
"""Part of a unit vector along the limb that a field must have at a point to speak for it."""
MIN_AGREEING = 0.8
"""Of the points, so many must speak for a limb."""
LONG = 0.5
"""Limbs longer than this part of the picture's height are doubted in proportion."""


class Links(NamedTuple):
    """Of every limb and each candidate of its first part: the candidate of its second part that it is joined to
    [B,L,P], -1 where there is none, and the score [B,L,P] of that, 0..1."""

    partner: Tensor
    score: Tensor


def link(fields: Tensor, peaks: Peaks) -> Links:
    """Join candidates into limbs; fields [B,38,h,w] in the cells of the peaks' places."""
    score = integrate(fields, peaks)
    return choose(score)


def integrate(fields: Tensor, peaks: Peaks) -> Tensor:
    """Score [B,L,P,P] of every pair of candidates as the two ends of a limb; 0 where they are none.

    The mean of the field's component along the straight line between them, as in the paper (equation 11), read
    bilinearly at SAMPLES points; less for limbs that are very long.
    """
    begin, end, channel = (
        torch.tensor([getattr(limb, name) for limb in LIMBS], device=fields.device)
        for name in ("begin", "end", "channel")
    )
    batch, _, height, width = fields.shape
    count = peaks.heat.shape[2]
    if count == 0 or batch == 0:
        return fields.new_zeros(batch, len(LIMBS), count, count)
    first, second = peaks.places[:, begin, :, None], peaks.places[:, end, None]  # [B,L,P,1,2], [B,L,1,P,2]
    along = second - first
    length = along.norm(dim=-1)
    unit = along / length.clamp(min=1e-6)[..., None]
    part = torch.linspace(0, 1, SAMPLES, device=fields.device)[:, None]
    places = (first[..., None, :] + part * along[..., None, :]).flatten(0, 1).flatten(1, 2)  # [BL,PP,S,2]
    grid = (2 * places + 1) / places.new_tensor([width, height]) - 1
    pairs = torch.stack([fields[:, channel], fields[:, channel + 1]], 2).flatten(0, 1)  # [BL,2,h,w]
    read = functional.grid_sample(pairs, grid, mode="bilinear", padding_mode="border", align_corners=False)
    agreement = (read.unflatten(0, (batch, -1)).unflatten(3, (count, count)) * unit.movedim(-1, 2)[..., None]).sum(2)
    doubt = (LONG * height / length.clamp(min=1e-6) - 1).clamp(max=0)
    score = agreement.mean(-1) + doubt
    speaking = (agreement > MIN_AGREEMENT).float().mean(-1)
    likely = (peaks.heat[:, begin, :, None] > 0) & (peaks.heat[:, end, None] > 0) & (length > 0)
    likely &= (speaking > MIN_AGREEING - 1e-3) & (score > 0)
    return torch.where(likely, score.clamp(max=1), 0)


def choose(score: Tensor) -> Links:
    """Pairs [B,L,P,Q] -> the best, then the best of those left, and so on: each candidate is in one pair at most.

    The greedy choice of the paper. Here every pair that is the best of both its ends is taken at once, until none is
    left, which comes to the same and takes a few rounds whatever the number of people.
    """
    partner = torch.full(score.shape[:3], -1, dtype=torch.long, device=score.device)
    chosen = score.new_zeros(score.shape[:3])
    if score.numel() == 0:
        return Links(partner, chosen)
    left = score.clone()
    while True:
        high, to = left.max(3)
        back = left.argmax(2).gather(2, to)
        both = (high > 0) & (back == torch.arange(left.shape[2], device=left.device))
        if not bool(both.any()):
            return Links(partner, chosen)
        partner, chosen = torch.where(both, to, partner), torch.where(both, high, chosen)
        taken = torch.zeros_like(left[:, :, 0], dtype=torch.bool).scatter_reduce(2, to, both, "amax")
        left.masked_fill_(both[..., None] | taken[:, :, None], 0)
