# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for a whole live sequence, estimated while its first frames come in: lengths, noise and smoothness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from .from_markers import first_lengths, sequence_of_points
from .model import BodyModel, Pose
from .sequence import (
    ORDER,
    Estimates,
    Estimating,
    Sequence,
    estimate,
    estimate_again,
    jumping,
    with_deviations,
)
from .smoothness import Smoothness

_SETTLED = 96
"""The estimates come from so many frames, the first that show the person, and are then final."""

_MORE = 1.3
"""They are renewed each time the frames have become so many times more."""

_STEPS = 3

_TRUST = 5.0
"""So many differences the usual smoothness is worth: few frames with little motion must not forbid what follows."""


class Frame(NamedTuple):
    """What was seen in one frame.

    Attributes:
        time: Seconds. points: [K, C] what is known of each point: in 3D its place, metres. confidence: [K], 0 unseen.
    """

    time: float
    points: np.ndarray
    confidence: np.ndarray


EvidenceOf = Callable[[BodyModel, list[Frame], bool], Sequence]
"""Returns frames as the solver takes them; the last argument tells whether the lengths are unknown."""


def points_in_space(model: BodyModel, frames: list[Frame], estimate_lengths: bool) -> Sequence:
    """Return frames whose points [K, 3] are places in the world, metres."""
    times, points, confidence = (np.array(arrays) for arrays in zip(*frames, strict=True))
    spots = torch.tensor(np.where(confidence[..., None] > 0, points, 0.0))
    return sequence_of_points(model, times, spots[None], torch.tensor(confidence)[None], estimate_lengths)


class RunningEstimates:
    """Lengths, noise and smoothness, from the first frames that show the person.

    Attributes:
        lengths: [G] logarithms. interval: Usual seconds between frames.
    """

    def __init__(
        self, model: BodyModel, evidence_of: EvidenceOf, smoothing_hz: float | None, lengths: np.ndarray | None
    ) -> None:
        """Prepare; ``smoothing_hz`` None estimates the smoothness, and ``lengths`` [G] None the lengths."""
        self._model, self._evidence_of, self._smoothing_hz = model, evidence_of, smoothing_hz
        self._unknown = lengths is None
        self.lengths = model.no_stretch() if lengths is None else torch.tensor(lengths, dtype=torch.float64)
        self.interval = 1.0
        self._now: Estimates | None = None
        self._generator = torch.Generator().manual_seed(0)
        self._frames: list[Frame] = []
        self._poses: list[Pose] = []
        self._due = 0

    @property
    def begun(self) -> bool:
        """Whether there are estimates."""
        return self._now is not None

    @property
    def now(self) -> Estimates:
        """The estimates, which :meth:`begin` makes first."""
        assert self._now is not None
        return self._now

    def begin(self, frames: list[Frame]) -> Pose:
        """Estimate from the first T frames, each with something seen, and return their poses [T]."""
        self._frames = list(frames)
        sequence = self._sequence()
        if self._unknown:
            self.lengths = first_lengths(self._model, sequence.spots, sequence.trust)[0]
        estimates, pose = estimate(sequence, self.lengths[None], self._smoothing_hz, lambda done, total: None, _TRUST)
        assert pose is not None  # so few frames are solved in one piece
        self._take(estimates, pose[0])
        return pose

    def add(self, frame: Frame, pose: Pose) -> None:
        """Take a further frame with its pose [1]; now and then the estimates are renewed."""
        if not self._frames:
            return
        self._frames.append(frame)
        self._poses.append(pose)
        if len(self._frames) < self._due:
            return
        sequence = self._sequence()
        objective = sequence.objective.over(with_deviations(sequence.objective.evidence, self.now))
        smoothness = Smoothness(sequence.times, self.now.weight, self.interval, ORDER, jumping(self._model))
        poses = Pose.concatenate(self._poses).reshape(1, len(self._frames))
        at = Estimating(objective, smoothness, poses, self.now.shared)
        at = estimate_again(at, self.interval, self._smoothing_hz, self._generator, _STEPS, trust=_TRUST)
        self._take(at.estimates, at.pose.reshape(len(self._frames)))

    def _sequence(self) -> Sequence:
        sequence = self._evidence_of(self._model, self._frames, self._unknown)
        self.interval = sequence.interval
        return sequence if self._unknown else replace(sequence, objective=sequence.objective.given(self.lengths))

    def _take(self, estimates: Estimates, pose: Pose) -> None:
        self._now, self._poses = estimates, [pose]
        if self._unknown:
            self.lengths = estimates.shared[0, : self._model.groups]
        self._due = min(int(_MORE * len(self._frames)) + 1, _SETTLED)
        if len(self._frames) >= _SETTLED:
            self._frames, self._poses = [], []
