# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways out of local minima: other starts for a limb in single frames, and its neighbours in time for runs of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import qmc
from torch import Tensor

from .gaps import nearest_known
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

_HASTY = 1.0
"""A twist whose squared acceleration is above so many times the expected one is hasty."""

_TRIAL_STEPS = 6

_ABOUT = 3
"""Frames before and after a run that are judged with it."""

_AT_ONCE = 10_000
"""Frames whose shares of the cost are told at once."""

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
    count, own = _STARTS + 2, torch.arange(len(pose), device=model.device).reshape(people, -1)

    def repeated(array: Tensor) -> Tensor:
        return array[frames].repeat(count, *(1 for _ in range(array.ndim - 1)))

    angles = repeated(pose.angles).reshape(count, len(frames), -1)
    for number, branch in enumerate(branches):
        here = stuck[frames, number].nonzero()[:, 0]
        angles[:_STARTS, here[:, None], branch.angles] = starts[:, None, branch.angles].expand(-1, len(here), -1)
        known = ~stuck[:, number].reshape(people, -1)
        first = known.shape[1] * torch.arange(people, device=known.device)[:, None]
        for start, source in enumerate(nearest_known(known), start=_STARTS):
            source = torch.where(known.any(1, keepdim=True), first + source, own).flatten()
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


def follow_neighbours(
    objective: Objective,
    smoothness: Smoothness,
    branches: list[Branch],
    pose: Pose,
    shared: Tensor,
    cost: Tensor,
    fixed: tuple[int, int] = (0, 0),
    progress: Callable[[], None] = lambda: None,
) -> tuple[Pose, Tensor, Tensor]:
    """Lead branches that may be stuck in some frames over those frames, from the trusted ones before to those after.

    A limb that is straight may be twisted in any way without missing a point, so that a wrong twist shows only where
    it bends again, or as haste; trusted frames are those where it is bent and explained. All runs of other frames are
    guessed at once: led from one end to the other, held as at either end, as the frames by themselves would have
    them, and as all points would if none were an outlier. What the guesses come to is judged run by run, and kept
    where it lowers the cost of the whole.

    Args:
        objective, smoothness: The terms. pose: [B, T] solved frames; shared: [B, S]; cost: [B] reached there.
        fixed: Frames at the beginning and at the end that do not move.
        progress: Called at every step; may raise to abort.

    Returns:
        Poses, shared unknowns and costs, of each clip as those given where nothing helps.
    """
    if not branches:
        return pose, shared, cost
    stuck, doubtful = doubtful_frames(objective, smoothness, branches, pose, shared, fixed)
    runs = _runs(doubtful)
    if not runs:
        return pose, shared, cost
    guesses = _guesses(objective, smoothness, branches, pose, shared, stuck, doubtful, fixed, progress)
    owner = guesses.owner
    trial, trial_shared, trial_cost = solve(
        objective.mapped(lambda array: array[owner]), smoothness.of_clips(owner),
        Pose(pose.root_position[owner], pose.root_rotation[owner], guesses.angles), shared[owner],
        fixed=fixed, iterations=_TRIAL_STEPS, tolerance=1e-3, progress=lambda step, steps: progress(),
    )  # fmt: skip
    before = _shares(objective, smoothness, branches, pose, shared)
    after = _shares(
        objective.mapped(lambda array: array[owner]), smoothness.of_clips(owner), branches, trial, trial_shared
    )
    taken = _best_of_runs(runs, branches, before, after, owner.cpu().numpy(), pose, fixed)
    source = torch.from_numpy(taken).to(cost.device)
    solved = trial.angles.gather(0, source.clamp_min(0))
    best = _PerClip(pose, shared, cost).improved(owner, trial, trial_shared, trial_cost)
    mixed = torch.from_numpy(np.flatnonzero((taken >= 0).any((1, 2)))).to(cost.device)
    if len(mixed):
        together = Pose(pose.root_position, pose.root_rotation, torch.where(source >= 0, solved, pose.angles))[mixed]
        found = solve(
            objective.mapped(lambda array: array[mixed]), smoothness.of_clips(mixed), together, shared[mixed],
            fixed=fixed, tolerance=1e-4, progress=lambda step, steps: progress(),
        )  # fmt: skip
        best = best.improved(mixed, *found)
    return best


class _PerClip(NamedTuple):
    """Poses [B, T] with their shared unknowns [B, S] and costs [B]."""

    pose: Pose
    shared: Tensor
    cost: Tensor

    def improved(self, owner: Tensor, pose: Pose, shared: Tensor, cost: Tensor) -> _PerClip:
        """Return for each clip the best of what it has and of others, which belong to clips [M]."""
        costs = np.append(cost.cpu().numpy(), self.cost.cpu().numpy())
        clips = np.append(owner.cpu().numpy(), np.arange(len(self.cost)))
        # of equal ones, what a clip has
        order = np.lexsort((-np.arange(len(costs)), costs, clips))
        first = order[np.searchsorted(clips[order], np.arange(len(self.cost)))]
        chosen = torch.from_numpy(first).to(cost.device)
        return _PerClip(
            Pose.concatenate([pose, self.pose])[chosen],
            torch.cat([shared, self.shared])[chosen],
            torch.cat([cost, self.cost])[chosen],
        )


class _Run(NamedTuple):
    """Frames ``begin`` to ``end`` of a clip in which one branch, given by its number, may be stuck."""

    clip: int
    branch: int
    begin: int
    end: int


def _runs(doubtful: Tensor) -> list[_Run]:
    """Return the runs of doubtful frames [B, T, branches]."""
    edges = np.diff(doubtful.cpu().numpy().astype(np.int8), axis=1, prepend=0, append=0).transpose(0, 2, 1)
    begins, ends = np.argwhere(edges > 0), np.argwhere(edges < 0)
    return [
        _Run(clip, branch, begin, end)
        for (clip, branch, begin), end in zip(begins.tolist(), ends[:, 2].tolist(), strict=True)
    ]


def doubtful_frames(
    objective: Objective,
    smoothness: Smoothness,
    branches: list[Branch],
    pose: Pose,
    shared: Tensor,
    fixed: tuple[int, int] = (0, 0),
) -> tuple[Tensor, Tensor]:
    """Return where branches are stuck, and where they may be, [B, T, branches] bool.

    A straight limb may be where its twist is hasty. Branches that may be stuck in all frames of a clip have nothing to
    be led by, and are not doubtful.
    """
    square = _errors(objective, branches, pose, shared).square().movedim(-1, 1)
    few = min(_FEW, square.shape[-1] - (square.shape[-1] + 1) % 2)
    errors = torch.nn.functional.avg_pool1d(square, few, 1, few // 2, count_include_pad=False).movedim(1, -1).sqrt()
    stuck = errors >= _STUCK
    doubtful = stuck.clone()
    differences = smoothness.differences(pose)
    haste = differences.value.square() * smoothness.weight_of_clips
    for number, branch in enumerate(branches):
        if branch.hinge is not None:
            straight = (pose.angles[..., branch.hinge] - branch.straight).abs() <= _BENT
            doubtful[..., number] |= _hasty(straight, haste[..., ROOT_DOFS + branch.twisting].mean(-1))
    begin, end = fixed
    for some in (stuck, doubtful):
        some[:, :begin] = some[:, some.shape[1] - end :] = False
    return stuck, doubtful & ~doubtful.all(1, keepdim=True)


def _hasty(straight: Tensor, haste: Tensor) -> Tensor:
    """Return those runs of straight frames [B, T] in or about which a twist accelerates unusually.

    Args:
        haste: [B, T - order] squared accelerations, 1 being what is expected.
    """
    hurried = haste.cpu().numpy() > _HASTY
    result = torch.zeros_like(straight)
    for clip, _, begin, end in _runs(straight[..., None]):
        if hurried[clip, max(begin - _ABOUT, 0) : end + _ABOUT].any():
            result[clip, begin:end] = True
    return result


class _Guesses(NamedTuple):
    """Angles [M, T, A], and the clip [M] that each is a guess for."""

    angles: Tensor
    owner: Tensor


def _guesses(
    objective: Objective,
    smoothness: Smoothness,
    branches: list[Branch],
    pose: Pose,
    shared: Tensor,
    stuck: Tensor,
    doubtful: Tensor,
    fixed: tuple[int, int],
    progress: Callable[[], None],
) -> _Guesses:
    led = [pose.angles.clone() for _ in range(3)]
    for number, branch in enumerate(branches):
        for guess, track in zip(led, _tracks(pose, branch, doubtful[..., number]), strict=True):
            guess[..., branch.led] = track
    active = doubtful.any(1).any(1)
    clips = active.nonzero()[:, 0]
    angles, owner = [guess[clips] for guess in led], [clips] * 3
    chosen = (stuck.any(1).any(1) & active).nonzero()[:, 0]
    for clip in chosen.tolist():
        one = slice(clip, clip + 1)
        part = objective.mapped(lambda array, one=one: array[one])
        angles.append(_own_fits(part, branches, pose[one], shared[one], stuck[clip]))
    if len(chosen):
        part = objective.mapped(lambda array: array[chosen])
        trusting = part.over(
            [item if item.deviation is None else replace(item, robust=False) for item in part.evidence]
        )
        trusted, _, _ = solve(
            trusting, smoothness.of_clips(chosen), pose[chosen], shared[chosen],
            fixed=fixed, iterations=_TRIAL_STEPS, tolerance=1e-3, progress=lambda step, steps: progress(),
        )  # fmt: skip
        angles.append(trusted.angles)
        owner += [chosen] * 2
    return _Guesses(torch.cat(angles), torch.cat(owner))


def _best_of_runs(
    runs: list[_Run],
    branches: list[Branch],
    before: np.ndarray,
    after: np.ndarray,
    owner: np.ndarray,
    pose: Pose,
    fixed: tuple[int, int],
) -> np.ndarray:
    """Return the guess [B, T, A] from which each angle is taken, -1 where it stays.

    Args:
        before: [B, T, branches] what a branch adds to the cost; after: [M, T, branches], of the guesses.
        owner: [M] clip of each guess. pose: [B, T], as it is.
        fixed: Frames at the beginning and at the end that do not move.
    """
    taken = np.full(pose.angles.shape, -1)
    angles = [branch.angles.cpu().numpy() for branch in branches]
    guesses = [np.flatnonzero(owner == clip) for clip in range(len(before))]
    first, last = fixed[0], pose.frames[1] - fixed[1]
    for clip, branch, begin, end in runs:
        about = slice(max(begin - _ABOUT, first), min(end + _ABOUT, last))
        now = after[guesses[clip], about, branch].sum(axis=1)
        if now.min() < before[clip, about, branch].sum():
            taken[clip, about, angles[branch]] = guesses[clip][now.argmin()]
    return taken


def _shares(
    objective: Objective, smoothness: Smoothness, branches: list[Branch], pose: Pose, shared: Tensor
) -> np.ndarray:
    """Return what each branch adds to the cost, [B, T, branches]: its points and its angles."""
    clips, frames = pose.frames
    if clips > 1 and clips * frames > _AT_ONCE:
        return np.concatenate(
            [
                _shares(
                    objective.mapped(lambda array, some=some: array[some]), smoothness.of_clips(some), branches,
                    pose[some], shared[some],
                )
                for some in torch.arange(clips, device=pose.angles.device).split(max(_AT_ONCE // frames, 1))
            ]
        )  # fmt: skip
    square = 3.0 * objective.misses(pose, shared).square()
    differences = smoothness.differences(pose)
    weighted = differences.value.square() * (differences.weight * smoothness.weight_of_clips).sqrt()
    angles = ((pose.angles - objective.neutral) / objective.deviation).square()
    first = (angles.shape[1] - weighted.shape[1]) // 2
    angles[:, first : first + weighted.shape[1]] += weighted[..., ROOT_DOFS:]
    points = square * ROBUST_SCALE**2 / (ROBUST_SCALE**2 + square)
    shares = [points[..., branch.points].sum(-1) + angles[..., branch.angles].sum(-1) for branch in branches]
    return torch.stack(shares, dim=-1).cpu().numpy()


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


def _tracks(pose: Pose, branch: Branch, doubtful: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return guesses [B, T, L] of the angles that are led over doubtful frames [B, T].

    Between the frames about a run, as before it, as after it.
    """
    before, after = nearest_known(~doubtful)
    frames = torch.arange(doubtful.shape[1], device=doubtful.device)
    clips = torch.arange(len(doubtful), device=doubtful.device)[:, None]
    values = pose.angles[..., branch.led]
    one, other = values[clips, before], values[clips, after]
    share = (frames - before) / (after - before).clamp_min(1)
    return torch.lerp(one, other, share[..., None].to(one.dtype)), one, other
