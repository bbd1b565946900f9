# SPDX-License-Identifier: GPL-3.0-or-later
"""A long clip: the steps that it would take in one piece, window after window, in constant memory.

The banded Cholesky factorisation walks through the frames in order. All that a window has to know of the frames before
it is what their elimination leaves of its first frames, which it shares with the window before it. What frames take
most memory for, their Hessians and factors, is forgotten but for the last windows', and made anew on the way back, when
the steps are found from the last frame to the first.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from . import dispatch
from .band import Band
from .clips import Clips, Point, Step, bound_by_range
from .model import Pose
from .objective import Objective
from .smoothness import Smoothness

WINDOW = 600
"""Frames whose normal equations are held at once."""

_KEPT = 2
"""Windows whose factors are kept for the way back."""


def is_long(objective: Objective, smoothness: Smoothness, fixed: tuple[int, int]) -> bool:
    """Return whether clips are taken in windows: on CPUs, where they share no unknowns and no frame is fixed."""
    compiled = dispatch.is_compiled(objective.model.device)
    return compiled and objective.shared is None and not any(fixed) and smoothness.frames > WINDOW


class _Lead(NamedTuple):
    """What the frames before a window leave of the unknowns, M, of its first frames.

    Attributes:
        factor: [M, M] Cholesky's U. half: [M] of the solution, U^-T r. free: [order, D] bool, unknowns not held.
    """

    factor: np.ndarray
    half: np.ndarray
    free: Tensor


class _Window(NamedTuple):
    """Frames whose normal equations are factorised, and free [T, D] bool."""

    band: Band
    free: Tensor

    def lead(self, order: int) -> _Lead:
        """Return what is left of the last frames."""
        free = self.free[-order:]
        return _Lead(self.band.tail(free.numel()), self.band.half[-free.numel() :, 0], free)


class LongClip(Clips):
    """One clip of T frames whose lengths are given."""

    def __init__(self, objective: Objective, smoothness: Smoothness) -> None:
        super().__init__(objective, smoothness)
        self._coupling = smoothness
        begins = range(0, smoothness.frames - smoothness.order, WINDOW)
        self._windows = [self._range(begin, begin + WINDOW + smoothness.order) for begin in begins]

    def evaluate(self, pose: Pose, shared: Tensor) -> Point:
        """Return the cost of poses [1, T]."""
        total = torch.zeros(1, dtype=pose.angles.dtype)
        for frames in self._windows:
            total += self._coupling.of_frames(frames).differences(pose[:, frames]).cost
            last = frames == self._windows[-1]
            own = frames if last else slice(frames.start, frames.stop - self._coupling.order)
            total += self._terms(own).linearise(pose[:, own], shared).cost
        return Point(pose, shared, total)

    def step(self, here: Point, damping: Tensor) -> Step:
        """Return the damped step from a point; damping: [1], a share of the diagonal that is added to it."""
        order = self._coupling.order
        solution = np.zeros((self._coupling.frames, self.objective.model.size))
        leads: list[_Lead | None] = [None]
        kept: deque[_Window] = deque(maxlen=_KEPT)
        predicted = torch.zeros(1, dtype=torch.float64)
        for frames in self._windows:
            window = self._eliminate(here, frames, damping, leads[-1])
            if window.band.failed:
                return Step(torch.from_numpy(solution)[None], here.shared, torch.ones(1, dtype=torch.bool), predicted)
            kept.append(window)
            known = 0 if leads[-1] is None else len(leads[-1].half)
            predicted += float(np.square(window.band.half[known:]).sum())
            leads.append(window.lead(order))
        after = None
        for frames, lead in zip(reversed(self._windows), reversed(leads[:-1]), strict=True):
            window = kept.pop() if kept else self._eliminate(here, frames, damping, lead)
            half = window.band.half[:, 0]
            if after is not None:  # the last frames are the first of the window after, which knows their steps
                half[-len(after.half) :] = after.factor @ solution[frames][-order:].reshape(-1)
            solution[frames] = window.band.whole(half).reshape(-1, solution.shape[1])
            after = lead
        return Step(torch.from_numpy(-solution)[None], here.shared, torch.zeros(1, dtype=torch.bool), predicted)

    def _eliminate(self, here: Point, frames: slice, damping: Tensor, lead: _Lead | None) -> _Window:
        """Factorise the normal equations of a window, given what is left of its first frames."""
        order, count = self._coupling.order, frames.stop - frames.start
        pose, terms = here.pose[:, frames], self._terms(frames)
        equations = terms.normal_equations(pose, here.shared, terms.linearise(pose, here.shared))
        about = self._range(frames.start, frames.stop + order)  # all that its last frames are coupled with
        smoothness = self._coupling.of_frames(about)
        differences = smoothness.differences(here.pose[:, about])
        gradient = equations.gradient + smoothness.gradient(differences)[:, :count]
        bands = smoothness.hessian_bands(differences)[:, :, :count]
        free = ~bound_by_range(terms.model, pose, gradient)[0]
        right = (gradient[0] * free).numpy().reshape(-1)
        if lead is not None:
            free[:order] = lead.free
            right[: len(lead.half)] = lead.factor.T @ lead.half
        known = None if lead is None else lead.factor
        hessian, bands = equations.hessian[0].numpy(), bands[0].numpy()
        return _Window(Band(hessian, bands, free.numpy(), damping.item(), right[:, None], known), free)

    def _terms(self, frames: slice) -> Objective:
        return self.objective.mapped(lambda array: array[:, frames])

    def _range(self, begin: int, end: int) -> slice:
        return slice(begin, min(end, self._coupling.frames))
