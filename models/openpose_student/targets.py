# SPDX-License-Identifier: GPL-3.0-or-later
"""What a perfect network would put out of known people: Cao et al. 2017, sections 2.2 and 2.3."""

from __future__ import annotations

import torch
from torch import Tensor

from video2rig.detection.openpose.layout import FIELDS, LIMBS
from video2rig.detection.openpose.stages import StageOutput

SPREAD = 0.875
"""Of a part's Gaussian, cells: 7 pixels at a stride of 8."""
HALF_WIDTH = 1.0
"""Of a limb, cells."""


def targets(parts: Tensor, size: tuple[int, int]) -> StageOutput:
    """Parts [B,P,18,2] of P people in cells (x, y), NaN where missing -> maps on a grid of `size` (rows, columns).

    Heat is the largest Gaussian of any person, and the last map is what the others leave; fields are unit vectors
    along a limb within its width, the mean of them where limbs lie on one another.
    """
    y = torch.arange(size[0], device=parts.device, dtype=parts.dtype)[:, None]
    x = torch.arange(size[1], device=parts.device, dtype=parts.dtype)
    px, py = parts[..., 0, None, None], parts[..., 1, None, None]
    gaussians = torch.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * SPREAD**2)).nan_to_num(0)
    nobody = gaussians.new_zeros(len(parts), 1, *gaussians.shape[2:])
    heat = torch.cat([nobody, gaussians], 1).amax(1)
    heat = torch.cat([heat, 1 - heat.amax(1, keepdim=True)], 1)

    begin, end, channel = (
        torch.tensor([getattr(limb, name) for limb in LIMBS], device=parts.device)
        for name in ("begin", "end", "channel")
    )
    first = parts[:, :, begin]
    along = parts[:, :, end] - first  # [B,P,L,2]
    length = along.norm(dim=-1, keepdim=True)
    unit = along / length
    ux, uy = unit[..., 0, None, None], unit[..., 1, None, None]
    dx, dy = x - first[..., 0, None, None], y - first[..., 1, None, None]
    far, aside = dx * ux + dy * uy, (dx * uy - dy * ux).abs()
    on = (far >= -HALF_WIDTH) & (far <= length[..., None] + HALF_WIDTH) & (aside <= HALF_WIDTH)  # False for NaN
    count = on.sum(1).clamp(min=1)
    fields = heat.new_zeros(len(parts), FIELDS, *size)
    for shift, component in ((0, ux), (1, uy)):
        fields[:, channel + shift] = torch.where(on, component, 0).sum(1) / count
    return StageOutput(fields, heat)
