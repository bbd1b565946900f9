# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways out of local minima: other starts for a limb in single frames, and its neighbours in time for runs of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import qmc
from torch import Tensor

from .limbs import find_limbs
from .model import BodyModel, Pose
from .objective import Objective
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
    """Solve branches that miss their points again from angles spread over their range, frame by frame.

    Args:
        objective: Over clips of one frame, its lengths given. branches: Of the body.
        pose: [N, 1] solved frames, those of one person after those of the other, equally many of each.
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

    def repeated(array: Tensor) -> Tensor:
        return array[frames].repeat(_STARTS, *(1 for _ in range(array.ndim - 1)))

    angles = repeated(pose.angles).reshape(_STARTS, len(frames), -1)
    for number, branch in enumerate(branches):
        here = stuck[frames, number].nonzero()[:, 0]
        angles[:, here[:, None], branch.angles] = starts[:, None, branch.angles].expand(-1, len(here), -1)
    trial = Pose(
        repeated(pose.root_position), repeated(pose.root_rotation), angles.reshape(_STARTS * len(frames), 1, -1)
    )
    again = objective.mapped(repeated)
    trial, _, _ = solve(again, None, trial, repeated(nothing), iterations=iterations, tolerance=1e-3)
    left = _errors(again, branches, trial, repeated(nothing)).reshape(_STARTS, len(frames), -1)
    best, which = left.min(0)
    taken = stuck[frames] & (best < _BETTER * errors[frames])
    result, solved = pose.angles.clone(), trial.angles.reshape(_STARTS, len(frames), -1)
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
    fixed: int = 0,
) -> tuple[Pose, Tensor, Tensor]:
    """Lead branches that are stuck in some frames over those frames, from the trusted ones before to those after.

    A limb that is straight may be twisted in any way without missing a point, so that a wrong twist shows only where
    it bends again; trusted frames are those where it is bent, or explained, or both. All guesses are solved side by
    side, and what lowers the cost of the whole is kept.

    Args:
        objective, smoothness: The terms. pose: [1, T] solved frames; shared: [1, S]; cost: [1] reached there.
        fixed: Frames at the beginning that do not move.

    Returns:
        Poses, shared unknowns and costs, as those given where nothing helps.
    """
    if not branches:
        return pose, shared, cost
    square = _errors(objective, branches, pose, shared)[0].square()
    few = min(_FEW, len(square) - (len(square) + 1) % 2)
    errors = torch.nn.functional.avg_pool1d(square.T[:, None], few, 1, few // 2, count_include_pad=False)[:, 0].T.sqrt()
    guesses = []
    for number, branch in enumerate(branches):
        explained = errors[:, number] < _STUCK
        if explained.all():
            continue
        bent = explained.new_ones(len(explained))
        if branch.hinge is not None:
            bent = (pose.angles[0, :, branch.hinge] - branch.straight).abs() > _BENT
        led = branch.twisting if branch.hinge is not None else branch.angles
        guesses += [
            _lead_over(pose, led, trusted, fixed)
            for trusted in (bent & explained, bent, explained)
            if trusted.any() and not trusted.all()
        ]
    if not guesses:
        return pose, shared, cost
    count = len(guesses)
    trial = Pose(
        pose.root_position.expand(count, -1, -1), pose.root_rotation.expand(count, -1, -1, -1), torch.cat(guesses)
    )
    side_by_side = objective.mapped(lambda array: array.expand(count, *array.shape[1:]))
    trial, trial_shared, trial_cost = solve(
        side_by_side, smoothness, trial, shared.expand(count, -1), fixed=fixed, iterations=_TRIAL_STEPS
    )
    best = int(trial_cost.argmin())
    if not trial_cost[best] < cost[0]:
        return pose, shared, cost
    chosen = slice(best, best + 1)
    return trial[chosen], trial_shared[chosen], trial_cost[chosen]


def _errors(objective: Objective, branches: list[Branch], pose: Pose, shared: Tensor) -> Tensor:
    """Return how far each branch misses its points, [B, T, branches] in standard deviations."""
    misses = objective.misses(pose, shared)
    return torch.stack([misses[..., branch.points].square().mean(-1).sqrt() for branch in branches], dim=-1)


def _lead_over(pose: Pose, angles: Tensor, trusted: Tensor, fixed: int) -> Tensor:
    """Return the angles [1, T, A] with some interpolated over the frames that are not trusted."""
    trusted = trusted.clone()
    trusted[:fixed] = True
    result = pose.angles.clone()
    frames, known = np.arange(len(trusted)), trusted.nonzero()[:, 0].cpu().numpy()
    for angle in angles.tolist():
        track = np.interp(frames, known, pose.angles[0, known, angle].cpu().numpy())
        result[0, :, angle] = torch.as_tensor(track, device=result.device)
    return result
