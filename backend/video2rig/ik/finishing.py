# SPDX-License-Identifier: GPL-3.0-or-later
"""Clips solved to the end, and led out of local minima: where something is doubtful, piece by piece."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from . import dispatch
from .escapes import Branch, doubtful_frames, follow_neighbours
from .model import Pose
from .objective import Objective
from .smoothness import Smoothness
from .solver import solve

_GAIN, _GAIN_OF_PIECE, _MORE_OF_PIECE = 1e-3, 5e-3, 2e-2
"""Ways out of local minima are looked for as long as they lower the cost by this share of a clip; of a piece, what they
come to is taken from a share on, and more is looked for from a larger one on."""

NEAR_DAMPING = 1e-6
"""Damping with which a sequence is solved from near its solution."""

_ABOUT = 20
"""Frames before and after doubtful ones that may move with them."""

_LONGEST = 150
"""Frames of a piece at most. Clips that are not much longer are taken whole."""

_SEARCHED = np.radians(8.0)
"""Branches whose angles are all nearer than this to those that were solved before have been searched already."""

_THREADS = 2
"""Pieces that are solved at the same time; what they come to does not depend on it."""

Progress = Callable[[int, int], None]


class _Clips(NamedTuple):
    """Clips [B, T] to be led out of local minima, and costs [B] where they are.

    fixed: So many frames at the beginning and at the end of each do not move.
    """

    objective: Objective
    smoothness: Smoothness
    pose: Pose
    shared: Tensor
    cost: Tensor
    fixed: tuple[int, int] = (0, 0)


def finish(
    objective: Objective,
    smoothness: Smoothness,
    branches: list[Branch],
    pose: Pose,
    shared: Tensor,
    solved: Pose | None = None,
    progress: Progress = lambda done, total: None,
) -> tuple[Pose, Tensor]:
    """Solve B clips of T frames to the end, and lead each out of local minima.

    On CPUs, long clips are led piece by piece, while what they share stays as it is and so do the frames about the
    pieces; all are then solved again. Poses [B, T] that were ``solved`` before have been led already: where these long
    clips come back to them, nothing is searched.

    Progress is that of the first solution, and of the ways out that were tried; it may raise to abort at any step.
    """
    pose, shared, cost = solve(
        objective, smoothness, pose, shared, tolerance=1e-4, damping=NEAR_DAMPING,
        progress=lambda step, steps: progress(step, 2 * steps),
    )  # fmt: skip
    whole = _Clips(objective, smoothness, pose, shared, cost)
    if dispatch.is_compiled(cost.device) and smoothness.frames > _LONGEST + 2 * _ABOUT:
        led, left = _lead_pieces(whole, branches, solved, progress)
    else:
        led, left = _lead(whole, branches, _GAIN, progress)
    if not len(left):
        return led.pose, led.shared
    pose, shared, _ = solve(
        objective.mapped(lambda array: array[left]), smoothness.of_clips(left), led.pose[left], led.shared[left],
        tolerance=1e-4, damping=NEAR_DAMPING, progress=lambda step, steps: progress(steps, steps),
    )  # fmt: skip
    return led.pose.replaced(left, pose), led.shared.index_copy(0, left, shared)


def _lead(clips: _Clips, branches: list[Branch], gain: float, progress: Progress) -> tuple[_Clips, Tensor]:
    """Return clips led out of local minima, and the numbers of those that may gain from more."""
    objective, smoothness, pose, shared, cost, fixed = clips
    left, rounds = torch.arange(len(pose), device=cost.device), len(branches)
    for round_ in range(rounds):
        before = cost[left]
        led, led_shared, led_cost = follow_neighbours(
            objective.mapped(lambda array, left=left: array[left]), smoothness.of_clips(left), branches,
            pose[left], shared[left], before, fixed, lambda round_=round_: progress(rounds + round_, 2 * rounds),
        )  # fmt: skip
        pose, shared = pose.replaced(left, led), shared.index_copy(0, left, led_shared)
        cost = cost.index_copy(0, left, led_cost)
        left = left[led_cost < (1.0 - gain) * before]
        if not len(left):
            break
    return _Clips(objective, smoothness, pose, shared, cost, fixed), left


def _lead_pieces(
    whole: _Clips, branches: list[Branch], solved: Pose | None, progress: Progress
) -> tuple[_Clips, Tensor]:
    """Return clips led out of local minima in their doubtful frames, and the numbers of those that have changed."""
    objective = whole.objective.held(whole.pose, whole.shared)
    nothing = whole.shared[:, :0]
    _, doubtful = doubtful_frames(objective, whole.smoothness, branches, whole.pose, nothing)
    if solved is not None:
        moved = (whole.pose.angles - solved.angles).abs() > _SEARCHED
        doubtful &= torch.stack([moved[..., branch.angles].any(-1) for branch in branches], dim=-1)
    pieces = [
        (clip, piece)
        for clip, frames in enumerate(doubtful.any(-1).cpu().numpy())
        for piece in _pieces(frames, whole.smoothness.order)
    ]

    def led(place: tuple[int, slice]) -> Pose | None:
        """Return the frames of a piece if they are clearly better than before."""
        (clip, frames), edge = place, whole.smoothness.order
        one = slice(clip, clip + 1)
        part = objective.mapped(lambda array: array[one, frames])
        smoothness = whole.smoothness.of_clips(one).of_frames(frames)
        pose = whole.pose[one, frames]
        fixed = (edge if frames.start else 0, edge if frames.stop < len(doubtful[0]) else 0)
        cost = part.linearise(pose, nothing[one]).cost + smoothness.differences(pose).cost
        clips = _Clips(part, smoothness, pose, nothing[one], cost, fixed)
        found, _ = _lead(clips, branches, _MORE_OF_PIECE, lambda done, total: None)
        return found.pose if float(found.cost) < (1.0 - _GAIN_OF_PIECE) * float(cost) else None

    pose, changed = whole.pose, set()
    with ThreadPoolExecutor(_THREADS) as pool:
        for done, ((clip, frames), better) in enumerate(zip(pieces, pool.map(led, pieces), strict=True)):
            progress(len(pieces) + done, 2 * len(pieces))
            if better is not None:
                changed.add(clip)
                pose = pose.with_frames(clip, frames, better)
    return whole._replace(pose=pose), torch.tensor(sorted(changed), dtype=torch.long)


def _pieces(doubtful: np.ndarray, edge: int) -> Iterator[slice]:
    """Return the doubtful frames [T] with those about them, in pieces that share no frame but ``edge`` at their ends.

    Frames at the ends of pieces that lie inside the clip do not move, so that pieces do not depend on each other.
    """
    near = np.convolve(doubtful, np.ones(2 * _ABOUT + 1), mode="same") > 0
    edges = np.diff(near.astype(np.int8), prepend=0, append=0)
    for begin, end in zip(np.flatnonzero(edges > 0), np.flatnonzero(edges < 0), strict=True):
        count = -(-(end - begin) // _LONGEST)
        cuts = np.linspace(begin, end, count + 1).round().astype(int).tolist()
        for first, last in itertools.pairwise(cuts):
            yield slice(max(first - edge, 0), min(last, len(doubtful)))
