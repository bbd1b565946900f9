# SPDX-License-Identifier: GPL-3.0-or-later
"""Live preview: frame after frame, each pose given out a few frames later and never changed again.

A fixed-lag smoother: the last frames are solved together, from where they were, whenever one more comes. What was given
out is a copy: its frame goes on being solved until it is the oldest of the window, since whatever is held fixed too
early misleads all that follows.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import Video2RigError
from ..keypoints import sites as human_sites
from ..motion import Motion, hemisphere_continuous
from ..skeleton import Skeleton
from .model import BodyModel, Pose, Sites
from .running import EvidenceOf, Frame, RunningEstimates, points_in_space
from .sequence import ORDER
from .threads import one_thread
from .to_motion import fill_gaps, local_quaternions
from .window import WindowSolver

MOST_LAG = 5
"""Frames that an answer may be behind the newest; after as many without the person, the trajectory begins anew."""

_LARGEST = 1e6
"""Coordinates beyond are no metres and no pixels."""


class LiveError(Video2RigError):
    """A frame that cannot follow the ones before it, or is not what was announced; or settings that cannot be."""


class LiveFrame(NamedTuple):
    """A solved frame.

    Attributes:
        time: Seconds. rotations: [J, 4] local unit quaternions wxyz, in the hemisphere of the frame before.
        root_position: [3] metres. confidence: [J] from 0 (nothing seen: the pose is held) to 1.
    """

    time: float
    rotations: np.ndarray
    root_position: np.ndarray
    confidence: np.ndarray


@dataclass
class _Slot:
    """A frame on its way; pose is [1], None before it is solved and where nothing is seen; confidence is [J]."""

    frame: Frame
    confidence: Tensor
    pose: Pose | None = None


class LiveSolver:
    """Solves a person frame by frame, a few frames behind, in constant memory.

    Attributes:
        model: The body. lag: Frames that an answer is behind the newest.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        names: tuple[str, ...] = (),
        *,
        sites: Sites | None = None,
        lag: int = MOST_LAG,
        window: int = 24,
        smoothing_hz: float | None = None,
        lengths: np.ndarray | None = None,
        evidence_of: EvidenceOf = points_in_space,
        pairs: np.ndarray | None = None,
        record: bool = True,
    ) -> None:
        """Prepare for the first frame.

        Args:
            skeleton: Any skeleton; its range of motion bounds the rotations.
            names: Of the K keypoints. sites: Where the points sit: joints [K] and places [K, 3] in their bones'
                frames, metres; None places keypoints by their names.
            lag: Frames that an answer is behind, at most :data:`MOST_LAG`. window: Frames that are solved together.
            smoothing_hz: Cut-off of the smoothness, hertz; None estimates it, as the noise always is.
            lengths: [G] logarithms of the lengths over the skeleton's; None estimates them over the first seconds.
            evidence_of: What the points of a frame are. pairs: [P, 2] points between which it knows directions.
            record: Whether :meth:`motion` is wanted, for which all that was given out is kept.

        Raises:
            LiveError: The lag is out of range, or the window too short for it.
            KeypointsError: A name has no place on a skeleton.
            SkeletonError: The skeleton lacks the role that carries one.
        """
        if not 0 <= lag <= MOST_LAG or window <= lag + ORDER:
            raise LiveError(
                f"live: a lag of {lag} frames in a window of {window}; the lag must be 0 to {MOST_LAG} frames, "
                f"and the window at least {ORDER + 1} frames longer"
            )
        sites = human_sites(skeleton, names) if sites is None else sites
        self.model = BodyModel(skeleton, sites, pairs, names=names)
        self.lag = lag
        self._known = RunningEstimates(self.model, evidence_of, smoothing_hz, lengths)
        self._solver = WindowSolver(self.model, evidence_of, window, lag + 1)
        self._pending: deque[_Slot] = deque()
        self._track: list[_Slot] = []  # the last frames that show the person
        self._unseen = 0
        self._newest = -np.inf
        self._held, self._held_since = _resting(self.model), -np.inf
        self._rotations: np.ndarray | None = None
        self._record: list[LiveFrame] | None = [] if record else None

    @property
    def skeleton(self) -> Skeleton:
        """The skeleton with the lengths that are known by now."""
        return self.model.lengths.apply(self.model.skeleton, self._known.lengths.numpy())

    def push(self, time: float, points: np.ndarray, confidence: np.ndarray) -> LiveFrame | None:
        """Take the next frame.

        Args:
            time: Seconds, later than that of the frame before.
            points: [K, C] what is known of each point, by default its place [K, 3], metres.
            confidence: [K] from 0, not seen, to 1.

        Returns:
            The frame that lies ``lag`` frames back; None where there is none yet.

        Raises:
            LiveError: The frame is not later than the one before, or its arrays are not what they should be.
        """
        unknown = torch.zeros(len(self.model.skeleton), dtype=torch.float64)
        slot = _Slot(self._checked(time, points, confidence), unknown)
        self._newest = slot.frame.time
        self._pending.append(slot)
        if not slot.frame.confidence.any():
            self._unseen += 1
        else:
            self._track = [slot] if self._unseen >= MOST_LAG else [*self._track[1 - self._solver.size :], slot]
            self._unseen = 0
            if self._known.begun:
                newest = self._solve()
                with one_thread():
                    self._known.add(slot.frame, newest)
        return self._give() if len(self._pending) > self.lag else None

    def flush(self) -> list[LiveFrame]:
        """Return the frames that have not been given out yet."""
        return [self._give() for _ in range(len(self._pending))]

    def motion(self) -> Motion:
        """Return all frames given out so far as a motion, on the skeleton with the lengths known by now.

        Raises:
            LiveError: None was given out, or they were not recorded.
        """
        if not self._record:
            raise LiveError("live: no frame is recorded; push more frames than the lag, with record=True")
        times, rotations, roots, confidence = (np.array(arrays) for arrays in zip(*self._record, strict=True))
        return Motion(self.skeleton, times, rotations, roots, confidence)

    def _checked(self, time: float, points: np.ndarray, confidence: np.ndarray) -> Frame:
        points, confidence = np.array(points, dtype=np.float64), np.array(confidence, dtype=np.float64)
        count = len(self.model.site_joint)
        if not np.isfinite(time) or time <= self._newest:
            raise LiveError(f"live: a frame at {time} s after one at {self._newest} s; times must be finite and rise")
        if points.ndim != 2 or len(points) != count or confidence.shape != (count,):
            raise LiveError(
                f"live: points of shape {points.shape} with confidence of shape {confidence.shape}; "
                f"expected ({count}, coordinates) and ({count},)"
            )
        if not ((confidence >= 0) & (confidence <= 1)).all():
            raise LiveError("live: confidence must lie between 0 and 1")
        if not (np.abs(points[confidence > 0]) < _LARGEST).all():
            raise LiveError(f"live: a point with confidence above 0 is not finite, or lies beyond {_LARGEST:g}")
        return Frame(float(time), points, confidence)

    def _solve(self) -> Pose:
        """Solve the track, of which only the newest frame may be without a pose; return the newest pose [1]."""
        poses = [slot.pose for slot in self._track if slot.pose is not None]
        with one_thread():
            pose, confidence = self._solver([slot.frame for slot in self._track], poses, self._known)
        for number, slot in enumerate(self._track):
            slot.pose, slot.confidence = pose[number : number + 1], confidence[number]
        return pose[-1:]

    def _give(self) -> LiveFrame:
        """Return the oldest frame that has not been given out."""
        slot = self._pending.popleft()
        if not self._known.begun and self._track and slot is self._track[0]:
            with one_thread():
                pose = self._known.begin([seen.frame for seen in self._track])
            for number, seen in enumerate(self._track):
                seen.pose = pose[number : number + 1]
            self._solve()
        pose = slot.pose if slot.pose is not None else self._between(slot.frame.time)
        if self._known.begun:
            self._held, self._held_since = pose, slot.frame.time
        rotations = local_quaternions(self.model, pose)
        if self._rotations is not None:
            rotations = hemisphere_continuous(np.stack([self._rotations, rotations[0]]))[1:]
        self._rotations = rotations[0]
        arrays = rotations[0], pose.root_position[0].numpy().copy(), slot.confidence.clamp(0, 1).numpy().copy()
        for array in arrays:
            array.setflags(write=False)
        frame = LiveFrame(slot.frame.time, *arrays)
        if self._record is not None:
            self._record.append(frame)
        return frame

    def _between(self, time: float) -> Pose:
        """Return the pose [1] of a frame that shows nobody: on the way to the next that is known, else held."""
        coming = [(slot.frame.time, slot.pose) for slot in self._pending if slot.pose is not None]
        if not coming:
            return self._held
        times, poses = zip((self._held_since, self._held), *coming, strict=True)
        return fill_gaps(Pose.concatenate(list(poses)), np.array(times), np.array([time]))


def _resting(model: BodyModel) -> Pose:
    """Return the rest pose [1], or what comes nearest to it inside the range of motion."""
    rest = torch.tensor(model.skeleton.rest_matrices()[:1])
    angles = torch.clamp(torch.zeros_like(model.lower), model.lower, model.upper)
    return Pose(rest[:, :3, 3], rest[:, :3, :3], angles[None])
