# SPDX-License-Identifier: GPL-3.0-or-later
"""The solver: damped Gauss-Newton over whole sequences, with the range of motion as hard bounds.

Clips are solved side by side, each with its own damping; a frame by itself is a clip of one frame. Long clips take the
same steps window after window, in constant memory.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..errors import Video2RigError
from . import single_frames
from .clips import Clips, Point
from .frame_kernels import Search
from .long_clip import LongClip, is_long
from .model import Pose
from .objective import Objective
from .smoothness import Smoothness


class SolveError(Video2RigError):
    """The normal equations have no solution: an input was not finite, or out of all proportion."""


_MIN_DAMPING, _MAX_DAMPING = 1e-7, 1e8
_FELT = 3e-3
"""A step that failed is not tried again with less damping than this, which would hardly change it."""

_SETTLING = 1e-3
"""A small gain under a damping above this does not mean that the minimum is near."""

_DONE_SHARE = 0.25
"""The others go on by themselves once so many clips are done."""


def solve(
    objective: Objective,
    smoothness: Smoothness | None,
    pose: Pose,
    shared: Tensor,
    *,
    one_person: bool = False,
    fixed: tuple[int, int] = (0, 0),
    iterations: int = 30,
    tolerance: float = 1e-5,
    damping: float = 1e-4,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Pose, Tensor, Tensor]:
    """Solve B clips of T frames.

    Args:
        objective: The terms of single frames. smoothness: The term that couples them; None for frames by themselves.
        pose: Where to start, [B, T] frames. shared: [B, S] unknowns that the frames of a clip share.
        one_person: Whether all clips show the same person, and share these unknowns among them too.
        fixed: So many frames at the beginning and at the end of each clip are given and do not move.
        iterations: At most so many steps. tolerance: A clip is done once its cost falls by a smaller part.
        damping: Of the first step, a share of the Hessian's diagonal.
        progress: Called with the steps done and ``iterations``; may raise to abort.

    Returns:
        The poses, the shared unknowns, and the costs [B].

    Raises:
        SolveError: There is no solution, as when the start is not finite.
    """

    def descended(clips: Clips, pose: Pose, shared: Tensor) -> Point:
        first = np.full(len(pose), damping)
        return _descend(clips, clips.evaluate(pose, shared), first, range(iterations), tolerance, progress)

    if smoothness is None and not any(fixed) and single_frames.are_compiled(objective, pose):
        search = Search(iterations, tolerance, damping, _MIN_DAMPING, _MAX_DAMPING, _FELT, _SETTLING)
        pose, cost = single_frames.solve_frames(objective, pose, search)
        _check_finite(cost.numpy())
        return pose, shared, cost
    if smoothness is None or not is_long(objective, smoothness, fixed):
        here = descended(Clips(objective, smoothness, one_person, fixed), pose, shared)
        return here.pose, here.shared, here.total
    found = []
    for number in range(len(pose)):
        one = slice(number, number + 1)
        clip = LongClip(objective.mapped(lambda array, one=one: array[one]), smoothness.of_clips(one))
        found.append(descended(clip, pose[one], shared[one]))
    return Pose.concatenate([clip.pose for clip in found]), shared, torch.cat([clip.total for clip in found])


def _damping_after(damping: np.ndarray, better: np.ndarray, gain: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the damping of the next step: less the better the cost is the quadratic one that was predicted to fall."""
    factor = np.select([gain > 0.75 * predicted, gain > 0.25 * predicted], [0.1, 0.5], 2.0)
    return np.where(better, factor * damping, np.maximum(10 * damping, _FELT)).clip(_MIN_DAMPING, _MAX_DAMPING)


def _check_finite(cost: np.ndarray) -> None:
    if not np.isfinite(cost).all():
        raise SolveError("inverse kinematics: the start is not finite; the keypoints are out of all proportion")


def _descend(
    clips: Clips,
    here: Point,
    damping: np.ndarray,
    steps: range,
    tolerance: float,
    progress: Callable[[int, int], None],
) -> Point:
    """Do what :func:`solve` does, from a point and damping [B], for a range of steps."""
    model, count = clips.objective.model, len(here.pose)
    cost = here.total.cpu().numpy()
    _check_finite(cost)
    done = np.zeros(count, dtype=bool)

    def gained(total: np.ndarray) -> np.ndarray:
        """Return by how much costs have fallen; one clip of a person may lose for the others to gain more."""
        return np.full(count, (cost - total).sum()) if clips.one_person else cost - total

    for step_number in steps:
        progress(step_number, steps.stop)
        step = clips.step(here, torch.from_numpy(damping).to(model.device))
        trial = clips.evaluate(model.retract(here.pose, step.frames), here.shared + step.shared)
        # read at once: a GPU waits whenever it is asked
        numbers = torch.stack([trial.total, step.predicted, step.failed.to(trial.total.dtype)]).cpu().numpy()
        trial_cost, predicted, solved = numbers[0], numbers[1], numbers[2] == 0
        if clips.one_person:
            predicted, solved = np.full(count, predicted.sum()), np.full(count, solved.all())
        gain = gained(trial_cost)
        too_far = ~(gain > 0) & solved & ~done
        if too_far.any():  # along a curve: half the way may do, and needs no other factorisation
            way = torch.from_numpy(np.where(too_far, 0.5, 1.0)).to(model.device)
            pose = model.retract(here.pose, way[:, None, None] * step.frames)
            trial = clips.evaluate(pose, here.shared + way[:, None] * step.shared)
            trial_cost = trial.total.cpu().numpy()
            gain = gained(trial_cost)
        better = (gain > 0) & solved & ~done
        before = gained(np.zeros(count))
        done |= better & ~too_far & (gain < tolerance * before) & (damping <= _SETTLING)
        done |= ~better & (damping >= _MAX_DAMPING)
        # rounding alone can make the last step of a solved clip look worse
        done |= ~better & (np.abs(gain) <= 1e-12 * before)
        damping = np.where(too_far & better, damping, _damping_after(damping, better, gain, predicted))
        if better.all():
            here = trial
        elif better.any():
            chosen = torch.from_numpy(better).to(model.device)
            pose = Pose.where(chosen, trial.pose, here.pose)
            here = clips.evaluate(pose, torch.where(chosen[:, None], trial.shared, here.shared))
        cost = np.where(better, trial_cost, cost)
        if done.all():
            break
        if not clips.one_person and done.mean() > _DONE_SHARE:
            left = torch.from_numpy(np.flatnonzero(~done)).to(model.device)
            some, remaining = clips.only(left), steps[step_number + 1 - steps.start :]
            start = some.evaluate(here.pose[left], here.shared[left])
            rest = _descend(some, start, damping[~done], remaining, tolerance, progress)
            pose, shared = here.pose.replaced(left, rest.pose), here.shared.index_copy(0, left, rest.shared)
            return Point(pose, shared, here.total.index_copy(0, left, rest.total))
    return here
