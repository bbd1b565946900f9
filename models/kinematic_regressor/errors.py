# SPDX-License-Identifier: GPL-3.0-or-later
"""What a detector does to true points: noise, drift, bursts, points lost, left and right swapped."""

from __future__ import annotations

import torch
from torch import Tensor

from video2rig.keypoints import KEYPOINT_SETS
from video2rig.regression.points import MIRRORED, POINTS, known_of

from .chance import Random

SETS = (("blazepose_33", 0.55), ("halpe_26", 0.15), ("coco_17", 0.1), ("h36m_17", 0.1), ("", 0.1))
"""Keypoint sets and how often; the empty name has all points."""

_LEGS = tuple(name.endswith(("hip", "knee", "ankle", "heel", "toe")) for name in POINTS)


def detected(rays: Tensor, size: Tensor, choose: Random) -> tuple[Tensor, Tensor]:
    """Return points as a detector would see them, and its confidence.

    Args:
        rays: [B, T, P, 2] true points, divided by their depth. size: [B, T] root mean square distance of the
            person's points from their middle, in the same unit.

    Returns:
        Rays [B, T, P, 2] and confidence [B, T, P], 0 where a point is lost.
    """
    clips, frames, points = rays.shape[:3]
    rays = _swapped(rays, choose)
    exact = choose.chance(0.25, clips)
    noise = torch.where(exact, torch.full_like(size[:, 0], 0.003), choose.log_uniform(0.006, 0.09, clips))
    noise = noise[:, None, None] * (0.4 * choose.normal(clips, 1, points)).exp()
    bad = choose.bursts(0.22, 50, clips, frames, points)
    spread = noise * torch.where(bad, choose.uniform(1, 6, clips, 1, points), 1.0)
    spread = spread + bad * choose.uniform(0, 0.12, clips, 1, points)
    slow = choose.chance(0.6, clips, 1, 1, 1) * choose.uniform(0.3, 0.9, clips, 1, 1, 1)
    error = (1 - slow) * choose.normal(clips, frames, points, 2) + slow * choose.smooth(clips, frames, 6, points, 2)
    offset = choose.chance(0.6, clips, 1, 1, 1) * 0.035 * choose.normal(clips, 1, points, 2)
    rays = rays + (error * spread[..., None] + offset) * size[..., None, None]
    told = (-spread / 0.12).exp() * (-0.1 * choose.normal(clips, frames, points).abs()).exp()
    blind = choose.chance(0.4, clips, 1, 1) * choose.uniform(0.5, 1.0, clips, 1, 1)
    confidence = torch.lerp(told, torch.ones_like(told), blind).clamp(0.02, 1.0)
    return rays, confidence * ~_lost(bad, choose)


def _swapped(rays: Tensor, choose: Random) -> Tensor:
    """Swap left and right for bursts of frames: of the legs, the rest or all."""
    clips, frames = rays.shape[:2]
    legs = torch.tensor(_LEGS, device=rays.device)
    short, long = choose.bursts(0.15, 12, clips, frames, 2), choose.bursts(0.08, 50, clips, frames, 2)
    both = choose.bursts(0.06, 40, clips, frames, 1)
    of_part = short | long | both
    swap = torch.where(legs, of_part[..., :1], of_part[..., 1:])
    mirrored = rays[:, :, torch.tensor(MIRRORED, device=rays.device)]
    return torch.where(swap[..., None], mirrored, rays)


def _lost(bad: Tensor, choose: Random) -> Tensor:
    """Return [B, T, P] bool: points that are not seen."""
    clips, frames, points = bad.shape
    legs = torch.tensor(_LEGS, device=bad.device)
    lost = bad & choose.chance(0.5, clips, 1, points)
    lost = lost | (choose.chance(0.02, clips, frames, points) & choose.chance(0.5, clips, 1, 1))
    lost = lost | choose.bursts(0.08, 40, clips, frames, 1)
    only_above = choose.chance(0.06, clips, 1, 1)
    lost = lost | (only_above & legs)
    kinds = torch.stack([_not_in(name) for name, _ in SETS]).to(bad.device)
    shares = torch.tensor([share for _, share in SETS], device=bad.device)
    return lost | kinds[choose.choice(shares, clips)][:, None]


def _not_in(set_name: str) -> Tensor:
    """Return [P] bool: the points that a keypoint set lacks."""
    missing = torch.zeros(len(POINTS), dtype=torch.bool)
    if set_name:
        missing[:] = True
        missing[torch.tensor(known_of(KEYPOINT_SETS[set_name])[1])] = False
    return missing
