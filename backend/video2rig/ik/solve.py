# SPDX-License-Identifier: GPL-3.0-or-later
"""From keypoints to a pose of every frame: proportions, a start, then all frames together in overlapping windows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import roma
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from ..camera import Camera
from ..errors import Video2RigError
from ..keypoints import Keypoints
from ..skeleton import Skeleton
from .model import ROOT_DOFS, BodyModel, Pose
from .objective import Anchors, Objective
from .observation import observe
from .proportions import estimate_proportions
from .smoothness import Smoothness, weight_for_cutoff
from .solver import solve_frames, solve_sequence
from .start import start_pose

WINDOW = 600
"""Frames that are solved together; longer videos are solved window after window, in constant memory."""

OVERLAP = 60
"""Frames at a window's end that the next window solves again, as it knows what follows."""

_PROPORTION_FRAMES = 200
# How well one frame observes each unknown; what is observed worse is smoothed more. Metres and degrees.
_ROOT_DEVIATION = (0.02, 0.02, 0.10, 4.0, 4.0, 4.0)  # x, y, depth, orientation
_ANGLE_DEVIATION = 5.0
_HINGE_DEVIATION = 3.0  # a hinge is well observed and carries the impacts

Progress = Callable[[int, int], None]


class NobodySeen(Video2RigError):
    """There is nothing to solve."""


@dataclass(frozen=True)
class Solution:
    """What was solved, in the camera's axes.

    Attributes:
        pose: Poses of all T frames.
        confidence: [T, J] how far each joint's rotation may be trusted; 0 where nobody was seen.
    """

    pose: Pose
    confidence: Tensor


class SequenceSolver:
    """Solves one sequence, and solves it again when more is known (feet that rest on the floor).

    Attributes:
        model: The body, with the person's own proportions.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        keypoints: Keypoints,
        camera: Camera,
        smoothing_hz: float,
        progress: Progress = lambda done, total: None,
    ) -> None:
        """Fit the person's proportions and find a first pose of every frame.

        Args:
            skeleton: Average proportions at the person's height; its lengths are estimated anew.
            keypoints: T frames. camera: Its optics are used; solutions are in its axes.
            smoothing_hz: Cut-off frequency of the smoothness term, hertz.
            progress: Called with frames done and their total; may raise to abort.

        Raises:
            NobodySeen: No frame shows a person.
        """
        self._keypoints = keypoints
        self._seen = keypoints.seen()
        if not self._seen.any():
            raise NobodySeen("no person was found in any frame of this video")
        self._observation = observe(keypoints, camera)[np.flatnonzero(self._seen)]
        times = self._observation.times
        self._interval = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
        with _one_thread():
            self.model = self._fit_proportions(skeleton, progress)
            self._start = self._solve_single_frames(progress)
        self._smoothness_weight = _smoothness_weight(self.model, self._interval, smoothing_hz)

    def solve(self, progress: Progress = lambda done, total: None) -> Solution:
        """Solve root path and joint angles of all frames together, inside the skeleton's range of motion.

        Args:
            progress: Called with frames done and their total; may raise to abort.
        """
        with _one_thread():
            return self._solve(self._start, None, progress)

    def solve_again(
        self, solution: Solution, anchors: Anchors, progress: Progress = lambda done, total: None
    ) -> Solution:
        """Solve anew from an earlier solution, with places that points of the T frames must keep."""
        seen = torch.from_numpy(np.flatnonzero(self._seen))
        with _one_thread():
            return self._solve(solution.pose[seen], anchors[seen], progress)

    def _fit_proportions(self, skeleton: Skeleton, progress: Progress) -> BodyModel:
        names = self._keypoints.names
        frames = len(self._observation)
        chosen = np.unique(np.linspace(0, frames - 1, _PROPORTION_FRAMES).round().astype(int))
        sample = self._observation[chosen]
        average = BodyModel(skeleton, names)
        start = start_pose(average, sample)
        depth = start.root_position[:, 2]
        start, _ = solve_frames(average, Objective(average, sample, depth), start, iterations=15)
        fitted = estimate_proportions(
            skeleton, names, sample, start, depth, progress=lambda step, steps: progress(0, frames)
        )
        return BodyModel(fitted, names)

    def _solve_single_frames(self, progress: Progress) -> Pose:
        parts = []
        frames = len(self._observation)
        for begin in range(0, frames, WINDOW):
            progress(begin, frames)
            observation = self._observation[begin : begin + WINDOW]
            start = start_pose(self.model, observation)
            objective = Objective(self.model, observation, start.root_position[:, 2])
            parts.append(solve_frames(self.model, objective, start, iterations=12)[0])
        return Pose.concatenate(parts)

    def _solve(self, start: Pose, anchors: Anchors | None, progress: Progress) -> Solution:
        """Solve window after window; each begins with the last two frames of the one before, held fixed."""
        frames = len(self._observation)
        solved, unexplained = [], []
        done = begin = 0
        while done < frames:
            end = min(begin + WINDOW, frames)
            keep = end if end == frames else end - OVERLAP
            window, ahead = slice(begin, end), keep - done
            observation = self._observation[window]
            depth = start.root_position[window, 2]
            objective = Objective(self.model, observation, depth, anchors[window] if anchors else None)
            pose = start[window]
            if solved:
                pose = Pose.concatenate([solved[-1][-2:], pose[2:]])
            pose = solve_sequence(
                self.model,
                objective,
                Smoothness(observation.times, self._smoothness_weight, self._interval),
                pose,
                fixed=done - begin,
                progress=lambda step, steps, done=done, ahead=ahead: progress(done + ahead * step // steps, frames),
            )
            solved.append(pose[done - begin : keep - begin])
            unexplained.append(objective.unexplained(pose)[done - begin : keep - begin])
            done, begin = keep, keep - 2
        progress(frames, frames)
        times = self._observation.times
        return Solution(
            _fill_gaps(Pose.concatenate(solved), times, self._keypoints.times),
            self._joint_confidence(torch.cat(unexplained)),
        )

    def _joint_confidence(self, unexplained: Tensor) -> Tensor:
        """Return [T, J]: the mean confidence of the keypoints that tell about a joint, less where the pose misses them.

        These are the keypoints on the joint's own bone and on the next two; all where there are none.
        """
        skeleton = self.model.skeleton
        near = torch.zeros(len(skeleton), len(self.model.keypoint_names), dtype=torch.float64)
        for point, carrier in enumerate(self.model.site_joint.tolist()):
            joint = carrier
            for _ in range(3):
                near[joint, point] = 1.0
                joint = max(skeleton.parents[joint], 0)
        near = torch.where(near.sum(1, keepdim=True) > 0, near, 1.0)
        trust = torch.tensor(self._keypoints.confidence)
        trust[torch.from_numpy(self._seen)] *= 1.0 / (1.0 + (unexplained / 4.0).square())
        return trust @ near.T / near.sum(1)


def _one_thread() -> AbstractContextManager[object]:
    """Keep BLAS on one thread: on matrices this small, its threads mostly wait for each other."""
    return threadpool_limits(limits=1, user_api="blas")


def _smoothness_weight(model: BodyModel, interval: float, smoothing_hz: float) -> Tensor:
    """Return the [D] weights of second differences for frames at this interval, seconds."""
    deviation = torch.full((model.size,), np.radians(_ANGLE_DEVIATION), dtype=torch.float64)
    hinge = (model.skeleton.free_axes().sum(-1) == 1)[model.dof_joint.numpy()]
    deviation[ROOT_DOFS:][torch.from_numpy(hinge)] = np.radians(_HINGE_DEVIATION)
    deviation[:ROOT_DOFS] = torch.tensor(_ROOT_DEVIATION)
    deviation[3:ROOT_DOFS].deg2rad_()
    return weight_for_cutoff(deviation, smoothing_hz, 1.0 / interval)


def _fill_gaps(pose: Pose, seen_times: np.ndarray, times: np.ndarray) -> Pose:
    """Spread poses of the frames that show the person over all frames: held at the ends, interpolated between.

    Angles are interpolated one by one, so that they stay inside their range.
    """
    if len(seen_times) == len(times):
        return pose
    last = len(seen_times) - 1
    after = np.clip(np.searchsorted(seen_times, times), 0, last)
    before = np.clip(np.searchsorted(seen_times, times, side="right") - 1, 0, last)
    span = seen_times[after] - seen_times[before]
    share = torch.from_numpy((times - seen_times[before]) / np.where(span > 0, span, np.inf))[:, None]
    start, end = pose[torch.from_numpy(before)], pose[torch.from_numpy(after)]
    turn = roma.rotmat_to_rotvec(end.root_rotation @ start.root_rotation.transpose(1, 2))
    return Pose(
        torch.lerp(start.root_position, end.root_position, share),
        roma.rotvec_to_rotmat(turn * share) @ start.root_rotation,
        torch.lerp(start.angles, end.angles, share),
    )
