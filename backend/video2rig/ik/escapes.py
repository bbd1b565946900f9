# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways out of local minima: other starts for a limb in single frames, and its neighbours in time for runs of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import qmc
from torch import Tensor

from .limbs import find_limbs
from .model import ROOT_DOFS, BodyModel, Pose
from .objective import ROBUST_SCALE, Objective
from .smoothness import Smoothness
from .solver import solve

_STARTS = 6
_UNUSUAL = 2.5
"""A branch that misses its points by so many usual errors may sit in a local minimum."""

_LEAST = 0.09
"""Smaller misses are not looked at, in standard deviations."""

_BETTER = 0.8
"""Another start is taken where it leaves at most this share of the error."""

_BENT = np.radians(10.0)
"""A limb bent by less does not tell how it is twisted."""

_STUCK = 1.5
"""A branch that misses its points by so many standard deviations over a few frames is stuck."""

_FEW = 5

_TRIAL_STEPS = 6

_ABOUT = 3
"""Frames before and after a run that are judged with it."""

_FIT = 0.02
"""Metres by which single frames may miss their points while each finds its pose."""


@dataclass(frozen=True)
class Branch:
    """A part of the body that hangs on the rest by one joint: a limb, or the neck with the head.

    Attributes:
        angles: Numbers of its angles. points: Numbers of its points.
        twisting: Numbers of those angles that a straight limb leaves open; hinge: the angle that bends it, and
            straight its value where the limb is straight; empty and None where the branch is no limb.
    """

    angles: Tensor
    points: Tensor
    twisting: Tensor
    hinge: int | None
    straight: float

    @property
    def led(self) -> Tensor:
        """Numbers of the angles that are led over frames where the branch may be stuck."""
        return self.angles if self.hinge is None else self.twisting


def branches_of(model: BodyModel) -> list[Branch]:
    """Return the branches that turn and carry points."""
    skeleton = model.skeleton
    joints = len(skeleton)
    below = np.eye(joints, dtype=bool)  # below[j, i]: i is j or hangs on it
    for joint in range(joints - 1, 0, -1):
        below[skeleton.parents[joint]] |= below[joint]
    parents = np.array(skeleton.parents)
    forks = np.array([any((parents == i).sum() > 1 for i in np.flatnonzero(below[j])) for j in range(joints)])
    dof_joint = model.dof_joint.cpu().numpy()
    limbs = find_limbs(model)
    branches = []

    def numbers(chosen: np.ndarray) -> Tensor:
        return torch.tensor(np.flatnonzero(chosen), device=model.device)

    for joint in range(1, joints):
        if forks[joint] or not forks[parents[joint]]:
            continue
        angles, points = numbers(below[joint][dof_joint]), numbers(below[joint][model.sites[0]])
        if len(angles) > 1 and len(points):
            limb = next((limb for limb in limbs if below[joint, limb.ball]), None)
            twisting = numbers(dof_joint == limb.ball) if limb else angles[:0]
            branches.append(
                Branch(angles, points, twisting, limb.dof if limb else None, limb.straight if limb else 0.0)
            )
    return branches


def try_other_starts(
    objective: Objective, branches: list[Branch], pose: Pose, people: int = 1, iterations: int = 8
) -> Pose:
    """Solve branches that miss their points again, frame by frame, from angles spread over their range and from those
    of the nearest frames before and after that do not.

    Args:
        objective: Over clips of one frame, its lengths given. branches: Of the body.
        pose: [N, 1] solved frames, those of one person in their order after those of the other, equally many of each.
        people: How many these are. iterations: At most so many steps of the solver.
    """
    if not branches:
        return pose
    model = objective.model
    nothing = pose.angles.new_zeros(len(pose), 0)
    errors = _errors(objective, branches, pose, nothing)[:, 0]
    usual = errors.reshape(people, -1).median(1).values.repeat_interleave(len(pose) // people)
    stuck = errors > (_UNUSUAL * usual).clamp_min(_LEAST)[:, None]
    frames = stuck.any(1).nonzero()[:, 0]
    if not len(frames):
        return pose
    spread = torch.tensor(qmc.Halton(len(model.lower), scramble=False).random(_STARTS + 1)[1:], device=model.device)
    starts = model.lower + (model.upper - model.lower) * (0.1 + 0.8 * spread)
    count = _STARTS + 2

    def repeated(array: Tensor) -> Tensor:
        return array[frames].repeat(count, *(1 for _ in range(array.ndim - 1)))

    angles = repeated(pose.angles).reshape(count, len(frames), -1)
    for number, branch in enumerate(branches):
        here = stuck[frames, number].nonzero()[:, 0]
        angles[:_STARTS, here[:, None], branch.angles] = starts[:, None, branch.angles].expand(-1, len(here), -1)
        if stuck[:, number].all():
            continue
        for start, source in enumerate(_nearest(stuck[:, number]), start=_STARTS):
            angles[start, here[:, None], branch.angles] = pose.angles[source[frames[here]], 0][:, branch.angles]
    trial = Pose(repeated(pose.root_position), repeated(pose.root_rotation), angles.reshape(count * len(frames), 1, -1))
    again = objective.mapped(repeated)
    trial, _, _ = solve(again, None, trial, repeated(nothing), iterations=iterations, tolerance=1e-3)
    left = _errors(again, branches, trial, repeated(nothing)).reshape(count, len(frames), -1)
    best, which = left.min(0)
    taken = stuck[frames] & (best < _BETTER * errors[frames])
    result, solved = pose.angles.clone(), trial.angles.reshape(count, len(frames), -1)
    for number, branch in enumerate(branches):
        here = taken[:, number].nonzero()[:, 0]
        result[frames[here][:, None], 0, branch.angles] = solved[which[here, number], here][:, branch.angles]
    return Pose(pose.root_position, pose.root_rotation, result)


class _Run(NamedTuple):
    """Frames ``begin`` to ``end`` in which one branch may be stuck."""

    branch: Branch
    begin: int
    end: int


def follow_neighbours(
    objective: Objective,
    smoothness: Smoothness,
    branches: list[Branch],
    pose: Pose,
    shared: Tensor,
    cost: Tensor,
    fixed: int = 0,
) -> tuple[Pose, Tensor, Tensor]:
    """Lead branches that may be stuck in some frames over those frames, from the trusted ones before to those after.

    A limb that is straight may be twisted in any way without missing a point, so that a wrong twist shows only where
    it bends again, or as haste; trusted frames are those where it is bent and explained. All runs of other frames are
    guessed at once: led from one end to the other, held as at either end, as the frames by themselves would have
    them, and as all points would if none were an outlier. What the guesses come to is judged run by run, and kept
    where it lowers the cost of the whole.

    Args:
        objective, smoothness: The terms. pose: [1, T] solved frames; shared: [1, S]; cost: [1] reached there.
        fixed: Frames at the beginning that do not move.

    Returns:
        Poses, shared unknowns and costs, as those given where nothing helps.
    """
    if not branches:
        return pose, shared, cost
    errors = _errors(objective, branches, pose, shared)[0]
    few = min(_FEW, len(errors) - (len(errors) + 1) % 2)
    square = errors.square().T[:, None]
    errors = torch.nn.functional.avg_pool1d(square, few, 1, few // 2, count_include_pad=False)[:, 0].T.sqrt()
    stuck = errors >= _STUCK
    stuck[:fixed] = False
    runs: list[_Run] = []
    guesses = [pose.angles.clone() for _ in range(3)]
    for number, branch in enumerate(branches):
        doubtful = stuck[:, number]
        if branch.hinge is not None:
            straight = (pose.angles[0, :, branch.hinge] - branch.straight).abs() <= _BENT
            straight[:fixed] = False
            doubtful = doubtful | straight
        if not doubtful.any() or doubtful.all():
            continue
        for guess, track in zip(guesses, _tracks(pose, branch, doubtful), strict=True):
            guess[..., branch.led] = track
        edges = np.flatnonzero(np.diff(doubtful.cpu().numpy().astype(np.int8), prepend=0, append=0))
        runs += [_Run(branch, int(one), int(other)) for one, other in zip(edges[::2], edges[1::2], strict=True)]
    if not runs:
        return pose, shared, cost
    if stuck.any():
        guesses.append(_own_fits(objective, branches, pose, shared, stuck))
        trusting = objective.over(
            [item if item.deviation is None else replace(item, robust=False) for item in objective.evidence]
        )
        guesses.append(solve(trusting, smoothness, pose, shared, fixed=fixed, iterations=_TRIAL_STEPS)[0].angles)
    count = len(guesses)
    trial = Pose(
        pose.root_position.expand(count, -1, -1), pose.root_rotation.expand(count, -1, -1, -1), torch.cat(guesses)
    )
    side_by_side = objective.mapped(lambda array: array.expand(count, *array.shape[1:]))
    trial, trial_shared, trial_cost = solve(
        side_by_side, smoothness, trial, shared.expand(count, -1), fixed=fixed, iterations=_TRIAL_STEPS
    )
    before, after = _shares(objective, smoothness, pose, shared), _shares(side_by_side, smoothness, trial, trial_shared)
    mixed = pose.angles.clone()
    for branch, begin, end in runs:
        about = slice(max(begin - _ABOUT, fixed), end + _ABOUT)
        was, now = before.of(branch, about)[0], after.of(branch, about)
        best = int(now.argmin())
        if now[best] < was:
            mixed[0, about, branch.angles] = trial.angles[best, about][:, branch.angles]
    best = int(trial_cost.argmin())
    chosen = slice(best, best + 1)
    if not torch.equal(mixed, pose.angles):
        together = Pose(pose.root_position, pose.root_rotation, mixed)
        found = solve(objective, smoothness, together, shared, fixed=fixed)
        if found[2][0] < min(cost[0], trial_cost[best]):
            return found
    if trial_cost[best] < cost[0]:
        return trial[chosen], trial_shared[chosen], trial_cost[chosen]
    return pose, shared, cost


class _Shares(NamedTuple):
    """What points [B, T, K] and angles [B, T, A] add to the cost of clips."""

    points: Tensor
    angles: Tensor

    def of(self, branch: Branch, frames: slice) -> Tensor:
        """Return the share [B] of a branch over some frames."""
        points, angles = self.points[:, frames][..., branch.points], self.angles[:, frames][..., branch.angles]
        return points.sum((1, 2)) + angles.sum((1, 2))


def _shares(objective: Objective, smoothness: Smoothness, pose: Pose, shared: Tensor) -> _Shares:
    square = 3.0 * objective.misses(pose, shared).square()
    differences = smoothness.differences(pose)
    weighted = differences.value.square() * (differences.weight * smoothness.weight_of_clips).sqrt()
    angles = ((pose.angles - objective.neutral) / objective.deviation).square()
    first = (angles.shape[1] - weighted.shape[1]) // 2
    angles[:, first : first + weighted.shape[1]] += weighted[..., ROOT_DOFS:]
    return _Shares(square * ROBUST_SCALE**2 / (ROBUST_SCALE**2 + square), angles)


def _own_fits(objective: Objective, branches: list[Branch], pose: Pose, shared: Tensor, stuck: Tensor) -> Tensor:
    """Return the angles [1, T, A], those of stuck branches [T, branches] as frames by themselves have them.

    Limbs only bend so: how they are twisted a frame by itself often cannot tell.
    """
    frames = stuck.any(1).nonzero()[:, 0]
    apart = objective.given(objective.stretch(shared)[0]).mapped(lambda array: array[0, frames][:, None])
    apart = apart.over(
        [
            item if item.deviation is None else replace(item, deviation=item.deviation.clamp_min(_FIT), robust=False)
            for item in apart.evidence
        ]
    )
    alone = pose.reshape(len(stuck))[frames].reshape(len(frames), 1)
    nothing = pose.angles.new_zeros(len(frames), 0)
    alone, _, _ = solve(apart, None, alone, nothing, iterations=_TRIAL_STEPS, tolerance=1e-3)
    alone = try_other_starts(apart, branches, alone)
    angles = pose.angles.clone()
    for number, branch in enumerate(branches):
        here = stuck[frames, number].nonzero()[:, 0]
        own = branch.angles if branch.hinge is None else branch.angles[branch.angles == branch.hinge]
        angles[0, frames[here][:, None], own] = alone.angles[here, 0][:, own]
    return angles


def _errors(objective: Objective, branches: list[Branch], pose: Pose, shared: Tensor) -> Tensor:
    """Return how far each branch misses its points, [B, T, branches] in standard deviations."""
    misses = objective.misses(pose, shared)
    return torch.stack([misses[..., branch.points].square().mean(-1).sqrt() for branch in branches], dim=-1)


def _tracks(pose: Pose, branch: Branch, doubtful: Tensor) -> list[Tensor]:
    """Return guesses [T, L] of the angles that are led: between the frames about a run, as before it, as after it."""
    known = (~doubtful).nonzero()[:, 0].cpu().numpy()
    frames = np.arange(len(doubtful))
    values = pose.angles[0][:, branch.led]
    tracks = values[known].cpu().numpy().T
    between = np.stack([np.interp(frames, known, track) for track in tracks], axis=1)
    return [torch.as_tensor(between, device=values.device), *(values[source] for source in _nearest(doubtful))]


def _nearest(doubtful: Tensor) -> tuple[Tensor, Tensor]:
    """Return the numbers [T] of the nearest frames before and after that are not doubtful; on one side if need be."""
    known = (~doubtful).nonzero()[:, 0].contiguous()
    frames = torch.arange(len(doubtful), device=doubtful.device)
    before = torch.searchsorted(known, frames, right=True).clamp_min(1) - 1
    after = torch.searchsorted(known, frames).clamp_max(len(known) - 1)
    return known[before], known[after]
