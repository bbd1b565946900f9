# SPDX-License-Identifier: GPL-3.0-or-later
"""Smoothness in time: differences of every unknown, on the true frame times, as a banded matrix."""

from __future__ import annotations

import math
from copy import copy
from typing import NamedTuple

import numpy as np
import roma
import torch
from torch import Tensor

from ..errors import Video2RigError
from . import dispatch, time_kernels
from .model import ROOT_DOFS, Pose
from .terms import inverse_left_jacobian

_SHORTEST = 0.1
"""Frames that follow sooner, in usual frames, are taken as if this far apart."""


class SmoothnessError(Video2RigError):
    """Times or a cut-off frequency that cannot be."""


_TAIL = 4.0
"""Differences of hinges that are larger, in expected deviations, count ever less."""


class Differences(NamedTuple):
    """Differences of trajectories.

    Attributes:
        value: [B, T - order, D]. turn: [B, T - 1, 3] of the root from frame to frame.
        weight: [B, T - order, D] of their squares, for a Gauss-Newton step. cost: [B] of all of them.
    """

    value: Tensor
    turn: Tensor
    weight: Tensor
    cost: Tensor


class Smoothness:
    """The penalty ``sum_t sum_d weight[d] * a[t, d]**2`` on differences ``a`` of trajectories of B clips.

    Hinges carry the impacts: there the kernel of Geman and McClure bounds the price of a jump.

    Attributes:
        order: 2 penalises accelerations, 3 their change.
        stencil: [T - order, order + 1] coefficients on the frames' own times; 1, -2, 1 on even ones for order 2.
        weight: [B, D], or [1, D] or [D] for all clips, weight of each unknown.
        bounded: [D] bool, the unknowns that may jump.
    """

    def __init__(
        self, times: np.ndarray, weight: Tensor, interval: float, order: int = 2, bounded: Tensor | None = None
    ) -> None:
        """Prepare the penalty.

        Args:
            times: [T] seconds, rising. weight: [B, D], [1, D] or [D], from :func:`weight_for_cutoff`.
            interval: Seconds between frames, of the whole video, that the weights were made for.
            order: Of the differences. bounded: [D] bool, the unknowns that may jump; None for none.
        """
        self.order, self.weight = order, weight
        unbounded = torch.zeros(weight.shape[-1], dtype=torch.bool, device=weight.device)
        self.bounded = unbounded if bounded is None else bounded
        self.stencil = torch.tensor(_stencil(np.asarray(times) / interval, order), device=weight.device)
        # the coefficients [T - order, order] of first differences; those of the stencil add up to zero
        self._by_step = self.stencil.flip(1).cumsum(1).flip(1)[:, 1:].contiguous()

    def with_weight(self, weight: Tensor) -> Smoothness:
        """Return the same penalty with other weights."""
        other = copy(self)
        other.weight = weight
        return other

    def of_clips(self, clips: Tensor | slice) -> Smoothness:
        """Return the penalty of some of the clips, given by their numbers."""
        shared = self.weight.ndim == 1 or len(self.weight) == 1
        return self if shared else self.with_weight(self.weight[clips])

    @property
    def frames(self) -> int:
        """How many frames a clip has, at least as many as the order."""
        return len(self.stencil) + self.order

    def of_frames(self, frames: slice) -> Smoothness:
        """Return the penalty of a range of the frames."""
        other, last = copy(self), frames.stop - self.order
        other.stencil, other._by_step = self.stencil[frames.start : last], self._by_step[frames.start : last]
        return other

    def differences(self, pose: Pose) -> Differences:
        """Return the differences of trajectories [B, T]."""
        if not dispatch.is_compiled(pose.angles.device):
            return self.differences_by_torch(pose)
        arrays = (pose.root_position, pose.root_rotation, pose.angles, self.weight.expand(len(pose), -1))
        position, rotation, angles, weights = (array.contiguous().numpy() for array in arrays)
        result = time_kernels.differences(
            position, rotation, angles, self._by_step.numpy(), weights, self.bounded.numpy(), _TAIL
        )
        return Differences(*map(torch.from_numpy, result))

    def differences_by_torch(self, pose: Pose) -> Differences:
        """Do what :meth:`differences` does, in torch."""
        turn = roma.rotmat_to_rotvec(pose.root_rotation[:, 1:] @ pose.root_rotation[:, :-1].transpose(-1, -2))
        step = torch.cat([pose.root_position.diff(dim=1), turn, pose.angles.diff(dim=1)], dim=-1)
        value = self._combine(step)
        square = value.square() * self.weight_of_clips
        shrink = torch.where(self.bounded, _TAIL**2 / (_TAIL**2 + square), 1.0)
        return Differences(value, turn, shrink.square() * self.weight_of_clips, (square * shrink).sum((1, 2)))

    def of_steps(self, step: Tensor) -> Tensor:
        """Return the differences [B, T - order, D] of [B, T, D] small steps of the unknowns."""
        return self._combine(step.diff(dim=1))

    def gradient(self, differences: Differences) -> Tensor:
        """Return half the gradient [B, T, D] by the unknowns.

        The root turns from the left: with J the inverse left Jacobian of SO(3) at its turn from one frame to the next,
        that turn changes by J of the later frame's step, less J^T of the earlier one's.
        """
        if not dispatch.is_compiled(differences.value.device):
            return self.gradient_by_torch(differences)
        value, turn, weight, _ = (array.numpy() for array in differences)
        return torch.from_numpy(time_kernels.gradient(value, turn, weight, self._by_step.numpy()))

    def gradient_by_torch(self, differences: Differences) -> Tensor:
        """Do what :meth:`gradient` does, in torch."""
        weighted = differences.value * differences.weight
        clips, count, unknowns = weighted.shape
        frames = differences.turn.shape[1] + 1
        by_step = weighted.new_zeros(clips, frames - 1, unknowns)
        for lag in range(self.order if count else 0):
            by_step[:, lag : lag + count] += self._by_step[:, lag : lag + 1] * weighted
        gradient = weighted.new_zeros(clips, frames, unknowns)
        gradient[:, 1:] += by_step
        gradient[:, :-1] -= by_step
        pull = by_step[..., 3:ROOT_DOFS, None]
        jacobian = inverse_left_jacobian(differences.turn)
        gradient[:, 1:, 3:ROOT_DOFS] += ((jacobian.transpose(-1, -2) @ pull) - pull)[..., 0]
        gradient[:, :-1, 3:ROOT_DOFS] -= ((jacobian @ pull) - pull)[..., 0]
        return gradient

    def hessian_bands(self, differences: Differences) -> Tensor:
        """Return half the Hessian's blocks as [B, order + 1 (lag in frames), T, D] diagonals.

        Entry ``[b, k, t, d]`` couples unknown d of frame t with that of frame t + k.
        """
        if not dispatch.is_compiled(differences.weight.device):
            return self.hessian_bands_by_torch(differences)
        frames = differences.turn.shape[1] + 1
        return torch.from_numpy(time_kernels.hessian_bands(differences.weight.numpy(), self.stencil.numpy(), frames))

    def hessian_bands_by_torch(self, differences: Differences) -> Tensor:
        """Do what :meth:`hessian_bands` does, in torch."""
        clips, count, unknowns = differences.weight.shape
        bands = differences.weight.new_zeros(clips, self.order + 1, differences.turn.shape[1] + 1, unknowns)
        for lag in range(self.order + 1 if count else 0):
            for first in range(self.order + 1 - lag):
                product = self.stencil[:, first] * self.stencil[:, first + lag]
                bands[:, lag, first : first + count] += product[:, None] * differences.weight
        return bands

    @property
    def weight_of_clips(self) -> Tensor:
        """The weights [B, 1, D], or [D] where all clips have the same."""
        return self.weight[:, None] if self.weight.ndim > 1 else self.weight

    def _combine(self, step: Tensor) -> Tensor:
        """Return differences of the order from first differences [B, T - 1, D]."""
        count = max(step.shape[1] + 1 - self.order, 0)
        result = step.new_zeros(step.shape[0], count, step.shape[2])
        for lag in range(self.order if count else 0):
            result += self._by_step[:, lag : lag + 1] * step[:, lag : lag + count]
        return result


def weight_for_cutoff(deviation: Tensor, cutoff: float | Tensor, rate: float, order: int = 2) -> Tensor:
    """Return the weights of differences that halve a motion at a cut-off frequency.

    A penalised least-squares smoother of order n (Whittaker 1923; Eilers 2003) answers a frequency f with
    1 / (1 + w s**2 (2 sin(pi f / rate))**(2 n)), s being the standard deviation of an observation; w makes it one half.

    Args:
        deviation: [..., D] standard deviation with which a frame observes each unknown, in its unit.
        cutoff: Hertz, one or [..., D]. rate: Frames a second. order: Of the differences.
    """
    if not (torch.as_tensor(cutoff) > 0).all():
        raise SmoothnessError(f"smoothness: a cut-off frequency must be above 0 Hz, not {cutoff}")
    frequency = torch.as_tensor(cutoff, dtype=deviation.dtype, device=deviation.device).div(rate).clamp_max(0.5)
    return 1.0 / (deviation.square() * (2.0 * (math.pi * frequency).sin()) ** (2 * order))


def _stencil(times: np.ndarray, order: int) -> np.ndarray:
    """Return [T - order, order + 1] coefficients of the derivative of that order, times in frames.

    Divided differences (Newton), each scaled by the root of the time that it stands for, so that the sum of squares
    approaches the integral of the squared derivative, whatever the frame rate does.
    """
    count = max(len(times) - order, 0)
    if (np.diff(times) <= 0).any():
        raise SmoothnessError("smoothness: frame times must rise from frame to frame")
    # frames that lie all but on top of one another must not outweigh the others
    times = np.concatenate([[0.0], np.diff(times).clip(_SHORTEST).cumsum()])
    windows = np.stack([times[lag : lag + count] for lag in range(order + 1)], axis=1)
    gaps = windows[:, :, None] - windows[:, None, :] + np.eye(order + 1)
    share = (windows[:, -1] - windows[:, 0]) / order if count else np.zeros(0)
    return math.factorial(order) / gaps.prod(axis=2) * np.sqrt(share)[:, None]
