# SPDX-License-Identifier: GPL-3.0-or-later
"""Random numbers of one generator, of the shapes that training draws."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


class Random:
    """Draws from one seeded generator on one device."""

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        self.generator = torch.Generator(device).manual_seed(seed)
        self.device = torch.device(device)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Return numbers between two bounds."""
        return torch.rand(*shape, generator=self.generator, device=self.device) * (high - low) + low

    def log_uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Return numbers between two bounds whose logarithms are uniform."""
        return self.uniform(math.log(low), math.log(high), *shape).exp()

    def normal(self, *shape: int) -> Tensor:
        """Return numbers of unit variance."""
        return torch.randn(*shape, generator=self.generator, device=self.device)

    def chance(self, probability: float, *shape: int) -> Tensor:
        """Return true with a probability."""
        return self.uniform(0.0, 1.0, *shape) < probability

    def choice(self, weights: Tensor, count: int) -> Tensor:
        """Return indices [count], each as often as its weight says."""
        return torch.multinomial(weights, count, replacement=True, generator=self.generator)

    def smooth(self, clips: int, frames: int, every: int, *shape: int) -> Tensor:
        """Return [clips, frames, *shape] of a variance of about a half, turning no faster than every so many frames."""
        knots = self.normal(clips, math.prod(shape), frames // every + 3)
        curve = functional.interpolate(knots, size=frames, mode="linear", align_corners=True)
        half = every // 2
        curve = functional.avg_pool1d(functional.pad(curve, (half, half), mode="replicate"), 2 * half + 1, 1)
        return curve.transpose(1, 2).reshape(clips, frames, *shape)

    def bursts(self, probability: float, longest: float, clips: int, frames: int, *shape: int) -> Tensor:
        """Return [clips, frames, *shape] bool: one stretch of up to so many frames, with a probability each."""
        happens = self.chance(probability, clips, 1, *shape)
        middle = self.uniform(0.0, frames, clips, 1, *shape)
        half = self.uniform(0.5, longest / 2, clips, 1, *shape)
        time = torch.arange(frames, device=self.device).reshape(1, frames, *([1] * len(shape)))
        return happens & ((time - middle).abs() < half)
