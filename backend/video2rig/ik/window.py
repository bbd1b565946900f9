# SPDX-License-Identifier: GPL-3.0-or-later
"""The last frames of a live sequence, solved together from where they were whenever one more comes."""

from __future__ import annotations

import numpy as np
import roma
import torch
from torch import Tensor

from .escapes import branches_of, follow_neighbours
from .model import BodyModel, Pose
from .objective import Objective
from .running import EvidenceOf, Frame, RunningEstimates
from .sequence import ORDER, Sequence, jumping, start_frames, with_deviations
from .smoothness import Smoothness
from .solver import solve
from .to_motion import joint_confidence

_STEPS = 5
"""Steps of the solver whenever a frame comes; every frame takes part in several windows."""

_STUCK, _REST = 1.5, 4
"""Frames that miss their points by so many standard deviations look for other starts, but not more often than this."""


class WindowSolver:
    """Solves the last frames that show the person.

    Attributes:
        model: The body. size: Frames of a full window. young: The newest frames, that single fits may replace.
    """

    def __init__(self, model: BodyModel, evidence_of: EvidenceOf, size: int, young: int) -> None:
        self.model, self.size, self.young, self._evidence_of = model, size, young, evidence_of
        self._branches, self._jumping = branches_of(model), jumping(model)
        self._since_escape = 0

    def __call__(self, frames: list[Frame], poses: list[Pose], known: RunningEstimates) -> tuple[Pose, Tensor]:
        """Solve T frames, at most the window's size.

        Args:
            frames: Each with something seen. poses: Of these frames, each [1]; that of the newest may be missing.
            known: What holds for all frames; its estimates have begun.

        Returns:
            Poses [T], and the confidence [T, J] of their joints.
        """
        lengths, count = known.lengths, len(frames)
        sequence = self._evidence_of(self.model, frames, False)
        objective = sequence.objective.over(with_deviations(sequence.objective.evidence, known.now)).given(lengths)
        smoothness = Smoothness(sequence.times, known.now.weight, known.interval, ORDER, self._jumping)
        if not poses:
            poses = [start_frames(sequence, lengths[None], slice(0, 1)).reshape(1)]
        elif len(poses) < count:
            poses = [*poses, _extrapolated(self.model, poses, sequence.times)]
        # the oldest frames tell what was before the window
        fixed = (ORDER if count == self.size else 0, 0)
        start, nothing = Pose.concatenate(poses).reshape(1, count), lengths.new_zeros(1, 0)
        pose, _, cost = solve(objective, smoothness, start, nothing, fixed=fixed, iterations=_STEPS)
        self._since_escape += 1
        if self._since_escape >= _REST and _stuck(sequence, objective, pose):
            self._since_escape = 0
            pose = self._escaped(sequence, objective, smoothness, pose, cost, fixed, lengths)
        return pose.reshape(count), joint_confidence(self.model, sequence.trust[0], objective.misses(pose, nothing)[0])

    def _escaped(
        self,
        sequence: Sequence,
        objective: Objective,
        smoothness: Smoothness,
        pose: Pose,
        cost: Tensor,
        fixed: tuple[int, int],
        lengths: Tensor,
    ) -> Pose:
        """Return poses [1, T] led out of local minima: by their neighbours, or from fits of single frames."""
        nothing = cost.new_zeros(1, 0)
        pose, _, cost = follow_neighbours(objective, smoothness, self._branches, pose, nothing, cost, fixed)
        if not _stuck(sequence, objective, pose):
            return pose
        kept = max(len(sequence) - self.young, fixed[0])
        fresh = start_frames(sequence, lengths[None], slice(kept, len(sequence)))
        fresh = Pose.concatenate([pose[:, :kept], fresh], dim=1)
        fresh, _, other = solve(objective, smoothness, fresh, nothing, fixed=fixed, iterations=2 * _STEPS)
        return fresh if other[0] < cost[0] else pose


def _extrapolated(model: BodyModel, poses: list[Pose], times: np.ndarray) -> Pose:
    """Return the pose [1] to which the last two lead on, for at most as long as they are apart."""
    if len(poses) < 2:
        return poses[-1]
    before, last = poses[-2:]
    turn = roma.rotmat_to_rotvec(last.root_rotation @ before.root_rotation.transpose(1, 2))
    step = torch.cat([last.root_position - before.root_position, turn, last.angles - before.angles], dim=1)
    ahead = (times[-1] - times[-2]) / (times[-2] - times[-3])
    return model.retract(last, step * min(ahead, 1.0))


def _stuck(sequence: Sequence, objective: Objective, pose: Pose) -> bool:
    """Tell whether a frame of poses [1, T] misses its points by more than it should."""
    seen = (sequence.trust[0] > 0).sum(1)
    misses = objective.misses(pose, sequence.trust.new_zeros(1, 0))[0]
    return bool(((misses.square().sum(1) / seen).sqrt() > _STUCK).any())
