# SPDX-License-Identifier: GPL-3.0-or-later
"""People over time, solved: starts, lengths, noise and smoothness, ways out of local minima, then all frames.

What is seen with a camera and what is measured in 3D take the same way; they differ in their evidence alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .escapes import Branch, branches_of, try_other_starts
from .evidence import Evidence
from .finishing import NEAR_DAMPING, Progress, finish
from .model import ROOT_DOFS, BodyModel, Pose
from .objective import Objective
from .smoothness import Smoothness, weight_for_cutoff
from .solver import solve
from .start import Starter
from .variances import sample_posterior, smoothness_weights, with_estimated_noise

_PIECE = 150
"""Frames that find their starts together."""

ORDER = 2
"""Differences in time that are penalised: accelerations."""

_SAMPLES, _SAMPLE = 4, 150
"""Clips of a long sequence, and their frames, from which lengths, noise and smoothness are estimated."""

WHOLE = _SAMPLES * _SAMPLE
"""Sequences of at most so many frames are taken whole: their lengths are solved together with all their poses."""

_FIT = 0.02
"""Metres by which single frames may miss their points while each finds its start."""

_COARSE = 0.02
"""Metres by which they may at first miss them as a sequence: time then leads, and single frames follow."""

_SHARES, _JOIN_STEPS = (1e-4, 1e-2, 1.0), 2
"""Shares of the smoothness that frames found one by one are joined under, one after the other: their jumps, of a limb
or of the whole body, would at once outweigh what was seen. And steps of the solver under each."""

_FRAME_STEPS = 6
"""Steps of the solver in which frames by themselves find their starts."""

_ROUND_STEPS = (3, 2, 2)
"""Noise and smoothness are estimated anew after each of so many steps of the solver."""

_FIRST_DAMPING = 1e-4
"""Damping with which a sequence is first solved."""

# Standard deviations of accelerations beforehand, as what a frame at 30 Hz shows: metres and degrees. Hinges carry the
# impacts. The sequence itself then tells; this is worth a single difference.
_ROOT_ROUGHNESS, _ROUGHNESS, _HINGE_ROUGHNESS, _ROUGHNESS_TRUST = 0.02, 0.5, 20.0, 1.0
_ROUGHNESS_RATE = 30.0

_NEARLY = 1e-2
"""A motion is near its solution once a step lowers the cost by a smaller part."""

_HINGE_CUTOFF = 2.0
"""Hinges are smoothed at so many times the cut-off of the others, so that impacts survive."""


@dataclass(frozen=True)
class Sequence:
    """What was seen of B people, each by themselves, in T frames, and what is known beforehand.

    Attributes:
        objective: The terms, over [B, T].
        times: [T] seconds, rising. interval: Usual seconds between frames.
        spots: [B, T, K, 3] where points are in 3D, as well as is known, metres; trust: [B, T, K], 0 where unknown.
        place: Moves poses [T] of a single person to where the evidence puts them, when spots tell no more than their
            shape.
        begin: Poses [B, T] to begin with, where more than spots tells of them.
        solved: Poses [B, T] that were solved before, perhaps with another smoothness or range; they take the place of
            all searches for a start.
    """

    objective: Objective
    times: np.ndarray
    interval: float
    spots: Tensor
    trust: Tensor
    place: Callable[[Pose, Tensor, slice], Pose] | None = None
    begin: Pose | None = None
    solved: Pose | None = None

    def __len__(self) -> int:
        return len(self.times)

    @property
    def model(self) -> BodyModel:
        """The body."""
        return self.objective.model

    @cached_property
    def starter(self) -> Starter:
        """Where poses begin."""
        return Starter(self.model, self.objective.neutral)

    @cached_property
    def branches(self) -> list[Branch]:
        """Parts of the body that may sit in local minima of their own."""
        return branches_of(self.model)

    def window(self, frames: slice) -> Objective:
        """Return the terms of a range of frames."""
        return self.objective.mapped(lambda array: array[:, frames])


@dataclass(frozen=True)
class Estimates:
    """What holds for the whole sequence of each of B people.

    Attributes:
        shared: [B, S] logarithms of the lengths, and of the focal length's factor where it is unknown.
        evidence_deviation: Of each kind of evidence, [B, ...] in the shape of its least deviation; None where no noise
            is to be estimated. weight: [B, D] of the smoothness.
    """

    shared: Tensor
    evidence_deviation: list[Tensor | None]
    weight: Tensor


def start_frames(sequence: Sequence, lengths: Tensor, frames: slice) -> Pose:
    """Return a pose of each frame by itself, [B, T], for [B, G] logarithms of the lengths."""
    if sequence.begin is None:
        pose = sequence.starter(sequence.spots[:, frames], sequence.trust[:, frames], lengths)
    else:
        pose = sequence.begin[:, frames]
    people, count = pose.frames
    if sequence.place is not None:
        pose = sequence.place(pose.reshape(count), lengths[0], frames)
    apart = sequence.window(frames).given(_of_clips(lengths, pose)).mapped(lambda array: array.flatten(0, 1)[:, None])
    apart = apart.over([_loose(item, _FIT) for item in apart.evidence])
    nothing = lengths.new_zeros(people * count, 0)
    pose, _, _ = solve(apart, None, pose.reshape(people * count, 1), nothing, iterations=_FRAME_STEPS, tolerance=1e-3)
    return try_other_starts(apart, sequence.branches, pose, people).reshape(people, count)


def estimate(
    sequence: Sequence,
    lengths: Tensor,
    smoothing_hz: float | None,
    progress: Progress,
    trust: float = _ROUGHNESS_TRUST,
) -> tuple[Estimates, Pose | None]:
    """Estimate the lengths, noise and smoothness of each person.

    Args:
        sequence: All frames; at most :data:`WHOLE` where there are several people.
        lengths: [B, G] logarithms of the lengths to begin with.
        smoothing_hz: Cut-off of the smoothness, hertz; None estimates that too.
        progress: Called with frames done and their total; may raise to abort.
        trust: So many differences the usual smoothness is worth against those of the sequence.

    Returns:
        The estimates; and the poses [B, T], where the sequence is short enough to be solved in one piece.
    """
    clips = _sample_clips(len(sequence))
    whole = len(clips) == 1
    times = sequence.times[clips[0]]
    solved = sequence.solved
    parts = [start_frames(sequence, lengths, clip) if solved is None else solved[:, clip] for clip in clips]
    pose = Pose.concatenate(parts)
    objective = sequence.objective.mapped(lambda array: torch.cat([array[:, clip] for clip in clips]))
    shared = _initial_shared(objective, lengths).expand(len(pose), -1)
    roughness = _roughness(sequence.model, sequence.interval)
    smoothness = Smoothness(times, roughness**-2, sequence.interval, ORDER, jumping(sequence.model))
    objective = objective.over([_loose(item, _COARSE) for item in objective.evidence])
    for share in _SHARES[:-1] if solved is None else ():
        weighted = smoothness.with_weight(share * smoothness.weight)
        pose, shared, _ = solve(objective, weighted, pose, shared, one_person=not whole, iterations=_JOIN_STEPS)
    at = Estimating(objective, smoothness, pose, shared)
    generator = torch.Generator(device=sequence.model.device).manual_seed(0)
    for round_, steps in enumerate(_ROUND_STEPS):
        progress(round_ * len(sequence) // (len(_ROUND_STEPS) + 1), len(sequence))
        damping = _FIRST_DAMPING if round_ == 0 else NEAR_DAMPING
        at = estimate_again(at, sequence.interval, smoothing_hz, generator, steps, damping, trust, one_person=not whole)
    if whole:
        return at.estimates, at.pose
    if at.objective.shared is None:
        return at.estimates, None
    _, shared, _ = solve(at.objective, at.smoothness, at.pose, at.shared, one_person=True)
    return at._replace(shared=shared).estimates, None


class Estimating(NamedTuple):
    """Clips [B, T] with what was estimated from them so far: a row for each person, or one for all."""

    objective: Objective
    smoothness: Smoothness
    pose: Pose
    shared: Tensor

    @property
    def estimates(self) -> Estimates:
        """What holds for the whole sequence of each person."""
        people = len(self.smoothness.weight)
        deviations = [
            None if item.deviation is None else item.deviation[:people, 0] for item in self.objective.evidence
        ]
        return Estimates(self.shared[:people], deviations, self.smoothness.weight)


def estimate_again(
    at: Estimating,
    interval: float,
    smoothing_hz: float | None,
    generator: torch.Generator,
    iterations: int,
    damping: float = NEAR_DAMPING,
    trust: float = _ROUGHNESS_TRUST,
    *,
    one_person: bool = True,
) -> Estimating:
    """Solve clips a few steps further, then estimate noise and smoothness anew.

    Args:
        at: The clips. interval: Usual seconds between frames.
        smoothing_hz: Cut-off of the smoothness, hertz; None estimates that too.
        generator: Draws the sample of the posterior.
        iterations: Steps of the solver. damping: Of the first of them.
        trust: So many differences the usual smoothness is worth against those of the clips.
        one_person: Whether all clips show the same person; else each shows its own.
    """
    objective, smoothness = at.objective, at.smoothness
    pose, shared, _ = solve(
        objective,
        smoothness,
        at.pose,
        at.shared,
        one_person=one_person,
        iterations=iterations,
        damping=damping,
    )
    posterior = sample_posterior(objective, smoothness, pose, shared, generator, one_person=one_person)
    objective = objective.over(with_estimated_noise(objective.evidence, posterior, one_person=one_person))
    if smoothing_hz is None:
        roughness = _roughness(objective.model, interval)
        weight = smoothness_weights(smoothness, posterior, roughness, trust)
        weight = 1.0 / (1.0 / weight).mean(0, keepdim=True) if one_person else weight
    else:
        weight = _weight_of_cutoff(objective, pose, shared, interval, smoothing_hz, one_person=one_person)
    return Estimating(objective, smoothness.with_weight(weight), pose, shared)


def solve_all(
    sequence: Sequence, estimates: Estimates, start: Pose | None, progress: Progress, *, nearly: bool = False
) -> tuple[Pose, Tensor]:
    """Solve all frames together.

    Args:
        sequence: All frames. estimates: From :func:`estimate`.
        start: Poses [B, T] to start from; None finds them, of a single person whose lengths are then as estimated.
        progress: Called with frames done and their total; may raise to abort.
        nearly: Whether to stop near the solution that the start leads to.

    Returns:
        The poses [B, T], and the shared unknowns [B, S].
    """
    frames, shared = len(sequence), estimates.shared
    objective = sequence.objective.over(with_deviations(sequence.objective.evidence, estimates))
    smoothness = Smoothness(sequence.times, estimates.weight, sequence.interval, ORDER, jumping(sequence.model))

    def finished(objective: Objective, start: Pose, shared: Tensor, begun: float) -> tuple[Pose, Tensor]:
        def part(done: int, total: int) -> None:
            progress(int(frames * (begun + (1.0 - begun) * done / total)), frames)

        if nearly:
            return solve(objective, smoothness, start, shared, tolerance=_NEARLY, damping=NEAR_DAMPING, progress=part)[
                :2
            ]
        return finish(objective, smoothness, sequence.branches, start, shared, sequence.solved, part)

    start = sequence.solved if start is None else start
    if start is not None:
        return finished(objective, start, shared, 0.0)
    lengths = objective.stretch(shared)
    objective, nothing = objective.given(lengths[0]), shared[:, :0]
    pieces = [slice(begin, min(begin + _PIECE, frames)) for begin in range(0, frames, _PIECE)]
    poses = []
    for piece in pieces:
        progress(piece.start // 4, frames)
        poses.append(start_frames(sequence, lengths, piece))
    # frames by themselves are not yet a motion, and would all look like outliers of one
    joined = _join(objective, smoothness, sequence.interval, Pose.concatenate(poses, dim=1), nothing)
    return finished(objective, joined, nothing, 0.25)[0], shared


def _join(objective: Objective, smoothness: Smoothness, interval: float, pose: Pose, shared: Tensor) -> Pose:
    """Solve [B, T] frames that were found one by one together, first as loosely and as roughly as they were found."""
    rough = torch.minimum(smoothness.weight, _roughness(objective.model, interval) ** -2)
    trusting = objective.over([_loose(item, _COARSE) for item in objective.evidence])
    for share in _SHARES:
        weighted = smoothness.with_weight(share * rough)
        pose, shared, _ = solve(trusting, weighted, pose, shared, iterations=_JOIN_STEPS)
    trusting = objective.over([_loose(item, 0.0) for item in objective.evidence])
    return solve(trusting, smoothness, pose, shared, iterations=6)[0]


def _sample_clips(frames: int) -> list[slice]:
    if frames <= WHOLE:
        return [slice(0, frames)]
    starts = np.linspace(0, frames - _SAMPLE, _SAMPLES).round().astype(int)
    return [slice(int(start), int(start) + _SAMPLE) for start in starts]


def _loose(item: Evidence, deviation: float) -> Evidence:
    """Return evidence with at least this standard deviation, in metres; whatever is far off counts in full."""
    if item.deviation is None:
        return item
    return replace(item, deviation=item.deviation.clamp_min(deviation), robust=False)


def with_deviations(evidence: Iterable[Evidence], estimates: Estimates) -> list[Evidence]:
    """Return evidence with the noise that was estimated."""
    return [
        item if deviation is None or item.deviation is None else item.of_clips(deviation)
        for item, deviation in zip(evidence, estimates.evidence_deviation, strict=True)
    ]


def _of_clips(lengths: Tensor, pose: Pose) -> Tensor:
    """Return lengths [B, G] as :class:`Objective` takes them for poses: [G] of one person, or [B, T, G]."""
    return lengths[0] if len(lengths) == 1 else lengths[:, None].expand(*pose.frames, -1)


def _initial_shared(objective: Objective, lengths: Tensor) -> Tensor:
    if objective.shared is None:
        return lengths[:, :0]
    people, groups = lengths.shape
    return torch.cat([lengths, lengths.new_zeros(people, len(objective.shared) - groups)], dim=1)


def hinges(model: BodyModel) -> Tensor:
    """Return [A] bool: angles of joints with that one alone."""
    alone = torch.tensor(model.skeleton.free_axes().sum(-1) == 1, device=model.device)
    return alone[model.dof_joint]


def jumping(model: BodyModel) -> Tensor:
    """Return [D] bool: unknowns that may jump."""
    return torch.cat([torch.zeros(ROOT_DOFS, dtype=torch.bool, device=model.device), hinges(model)])


def _roughness(model: BodyModel, interval: float) -> Tensor:
    """Return the [D] standard deviations of accelerations that are expected, per frame squared."""
    roughness = torch.full((model.size,), math.radians(_ROUGHNESS), dtype=torch.float64, device=model.device)
    roughness[:3] = _ROOT_ROUGHNESS
    roughness[ROOT_DOFS:][hinges(model)] = math.radians(_HINGE_ROUGHNESS)
    # white noise of acceleration: its second differences grow with the interval to the power of 3/2
    return roughness * (interval * _ROUGHNESS_RATE) ** 1.5


def _weight_of_cutoff(
    objective: Objective, pose: Pose, shared: Tensor, interval: float, cutoff: float, *, one_person: bool
) -> Tensor:
    """Return the weights [B, D], or [1, D] of one person, of the smoothness whose cut-off lies at a frequency, hertz,
    for what frames observe."""
    model = objective.model
    equations = objective.normal_equations(pose, shared, objective.linearise(pose, shared))
    seen = equations.hessian.diagonal(dim1=-2, dim2=-1)
    seen = (seen.mean((0, 1))[None] if one_person else seen.mean(1)).clamp_min(1e-9)
    frequency = torch.where(jumping(model), cutoff * _HINGE_CUTOFF, cutoff)
    return weight_for_cutoff(seen.rsqrt(), frequency, 1.0 / interval, ORDER)
