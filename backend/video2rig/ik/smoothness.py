# SPDX-License-Identifier: GPL-3.0-or-later
"""Smoothness in time: second differences of every unknown, on the true frame times, as a banded matrix."""

from __future__ import annotations

import numpy as np
import roma
import torch
from torch import Tensor

from .model import Pose


class Smoothness:
    """The penalty ``sum_t sum_d weight[d] * a[t, d]**2`` on second differences ``a`` of the trajectory.

    Attributes:
        stencil: [T - 2, 3] coefficients of the second difference on the frames' own times; 1, -2, 1 on even ones.
        weight: [D] weight of each unknown.
    """

    def __init__(self, times: np.ndarray, weight: Tensor, interval: float) -> None:
        """Prepare the penalty.

        Args:
            times: [T] seconds, rising.
            weight: [D] from :func:`weight_for_cutoff`.
            interval: Seconds between frames, of the whole video, that the weights were made for.
        """
        self.weight = weight
        step = np.diff(times)
        before, after = interval / step[:-1], interval / step[1:]
        # the sum then approaches the integral of the squared acceleration, whatever the frame rate does
        share = np.sqrt((step[:-1] + step[1:]) / (2 * interval))
        rate_change = np.stack([before, -(before + after), after], axis=1) / share[:, None]
        self.stencil = torch.tensor(rate_change)

    def differences(self, pose: Pose) -> Tensor:
        """Return the second differences [T - 2, D] of a trajectory."""
        turn = roma.rotmat_to_rotvec(pose.root_rotation[1:] @ pose.root_rotation[:-1].transpose(-1, -2))
        step = torch.cat([pose.root_position.diff(dim=0), turn, pose.angles.diff(dim=0)], dim=1)
        return step[1:] * self.stencil[:, 2:] - step[:-1] * self.stencil[:, :1]

    def cost(self, pose: Pose) -> Tensor:
        """Return the penalty, a scalar."""
        if len(pose) < 3:
            return pose.angles.new_zeros(())
        return (self.differences(pose).square() * self.weight).sum()

    def gradient(self, pose: Pose) -> Tensor:
        """Return half the gradient [T, D] by the unknowns."""
        gradient = torch.zeros(len(pose), len(self.weight), dtype=self.weight.dtype)
        if len(pose) < 3:
            return gradient
        weighted = self.differences(pose) * self.weight
        for lag in range(3):
            gradient[lag : len(pose) - 2 + lag] += weighted * self.stencil[:, lag : lag + 1]
        return gradient

    def hessian_bands(self, frames: int) -> Tensor:
        """Return half the Hessian's blocks as [3 (lag in frames), T, D] diagonals.

        Entry ``[k, t, d]`` couples unknown d of frame t with that of frame t + k.
        """
        bands = torch.zeros(3, frames, len(self.weight), dtype=self.weight.dtype)
        for lag in range(3):
            for first in range(3 - lag):
                product = self.stencil[:, first] * self.stencil[:, first + lag]
                bands[lag, first : frames - 2 + first] += product[:, None] * self.weight
        return bands


def weight_for_cutoff(deviation: Tensor, cutoff: float, rate: float) -> Tensor:
    """Return the weights of second differences that halve a motion at a cut-off frequency.

    A penalised least-squares smoother of second order (Whittaker 1923; Eilers 2003) answers a frequency f with
    1 / (1 + w s**2 (2 sin(pi f / rate))**4), s being the standard deviation of an observation; w makes it one half.

    Args:
        deviation: [D] standard deviation with which a frame observes each unknown, in its unit.
        cutoff: Hertz. rate: Frames a second.
    """
    frequency = min(cutoff / rate, 0.5)
    return 1.0 / (deviation.square() * (2.0 * np.sin(np.pi * frequency)) ** 4)
