# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames that tell nothing, and their nearest neighbours that do."""

from __future__ import annotations

import torch
from torch import Tensor


def nearest_known(known: Tensor) -> tuple[Tensor, Tensor]:
    """Return the numbers [..., T] of the nearest frames before and after each that are known, itself included.

    Where there is none on one side, it is that of the other; where there is none at all, any.

    Args:
        known: [..., T] bool.
    """
    frames = known.shape[-1]
    here = torch.arange(frames, device=known.device).expand_as(known)
    before = torch.where(known, here, -1).cummax(-1).values
    after = torch.where(known, here, frames).flip(-1).cummin(-1).values.flip(-1)
    return (
        torch.where(before < 0, after, before).clamp_max(frames - 1),
        torch.where(after == frames, before, after).clamp_min(0),
    )
