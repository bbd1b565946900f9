# SPDX-License-Identifier: GPL-3.0-or-later
"""What the network reads: points in a camera that is turned to the torso in every frame.

A pose looks the same wherever in the picture it stands, once the camera is turned to it; so the network sees, and
answers, in that camera's axes, and no answer depends on where the person stands.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .points import POINTS
from .proportions import SEGMENTS

_TORSO = tuple(POINTS.index(name) for name in ("left_shoulder", "right_shoulder", "left_hip", "right_hip"))
_TORSO_CONFIDENCE = 0.8  # of the four together: with less, the middle of all points is taken more and more
_WIDEST = 1.5  # tangent of the angle to the torso's ray that is still believed
_SMALLEST_SIZE, _LARGEST_SIZE = 0.01, 2.0  # of a person, as a tangent
_CLIP = 6.0  # a point this many sizes away is a mistake of the detector

FEATURES = 3 * len(POINTS) + 3 + len(SEGMENTS) + 2
"""Features of a frame: points, their confidence, where and how large the person is, proportions, what is known."""


def features(
    rays: Tensor, confidence: Tensor, proportions: Tensor, proportions_known: Tensor, focal_known: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what the network reads of windows of frames.

    Args:
        rays: [B, T, P, 2] points divided by their depth (x / z, y / z), through the focal length that is assumed.
        confidence: [B, T, P] from 0 (not seen; the ray may be anything) to 1.
        proportions: [B, 10] logarithms. proportions_known: [B] 0 or 1. focal_known: [B] 0 or 1.

    Returns:
        Features [B, T, F], and rotations [B, T, 3, 3] from the camera's axes to those of the camera turned to the
        torso.
    """
    seen = confidence > 0
    rays = torch.where(seen[..., None], rays, 0.0)
    centre = _centre(rays, confidence)
    turn = turn_to(centre)
    turned = _homogeneous(rays) @ turn.transpose(-1, -2)
    flat = turned[..., :2] / turned[..., 2:].clamp_min(0.2)
    weight = confidence + 1e-6
    spread = (flat.square().sum(-1) * weight).sum(-1, keepdim=True) / weight.sum(-1, keepdim=True)
    size = spread.sqrt().clamp(_SMALLEST_SIZE, _LARGEST_SIZE)
    shape = (flat / size[..., None] * seen[..., None]).clamp(-_CLIP, _CLIP).flatten(-2)
    known = torch.cat(
        [8 * proportions * proportions_known[:, None], torch.stack([proportions_known, focal_known], 1)], 1
    )
    of_clip = known[:, None].expand(*rays.shape[:2], -1)
    return torch.cat([shape, 2 * confidence - 1, size.log() + 2, 2 * centre, of_clip], dim=-1), turn


def _centre(rays: Tensor, confidence: Tensor) -> Tensor:
    """Return the ray [..., 2] to the middle of the torso, or of all that is seen where the torso is not."""
    torso = confidence[..., _TORSO] + 1e-3 * confidence.mean(-1, keepdim=True) + 1e-6
    whole = confidence + 1e-6
    of_torso = (rays[..., _TORSO, :] * torso[..., None]).sum(-2) / torso.sum(-1, keepdim=True)
    of_whole = (rays * whole[..., None]).sum(-2) / whole.sum(-1, keepdim=True)
    trust = (torso.sum(-1, keepdim=True) / _TORSO_CONFIDENCE).clamp(0, 1)
    return (trust * of_torso + (1 - trust) * of_whole).clamp(-_WIDEST, _WIDEST)


def turn_to(ray: Tensor) -> Tensor:
    """Return the smallest rotations [..., 3, 3] that take the rays [..., 2] (x / z, y / z) to the z axis."""
    x, y, z = torch.nn.functional.normalize(_homogeneous(ray), dim=-1).unbind(-1)
    share = 1 / (1 + z)
    rows = [1 - x * x * share, -x * y * share, -x, -x * y * share, 1 - y * y * share, -y, x, y, z]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def _homogeneous(rays: Tensor) -> Tensor:
    return torch.cat([rays, torch.ones_like(rays[..., :1])], dim=-1)
