# SPDX-License-Identifier: GPL-3.0-or-later
"""From keypoints before one camera to a pose of every frame, in the camera's axes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..camera import Camera
from ..keypoints import Keypoints
from ..skeleton import Skeleton
from .evidence import Contacts, Directions, Evidence, Floor, Rays
from .finishing import finish
from .model import BodyModel, Pose
from .objective import Objective
from .observation import Observation, observe
from .prior import relaxed_pose
from .sequence import ORDER, Estimates, Progress, Sequence, estimate, jumping, solve_all, with_deviations
from .smoothness import Smoothness
from .start import pose_of_rotations
from .swaps import Mirror, find_swaps, mirror_by_names, misplaced, relabelled
from .terms import MIN_DEPTH
from .threads import one_thread
from .to_motion import NobodySeen, fill_gaps, joint_confidence

# Standard deviations of a good detector, in metres at the person. Most of it is slow and shared by neighbouring points,
# and does not show in what a solution leaves unexplained; so estimates may raise it, and not lower it. Chosen on three
# views of the Pose2Sim trial (cam01, cam03, cam04), from ten combinations.
KEYPOINT_DEVIATION = 0.012
SEGMENT_DEVIATION = (0.06, 0.06, 0.12)  # depth is told least well, and by nothing else

_NEUTRAL_FREEDOM = 2.0
"""So many times further joints may stray from the relaxed pose where a regression tells how people move."""

_LENGTH_DEVIATION = 0.06
"""How far adults' proportions stray from the average, standard deviation of the logarithm of a length."""

_STATURE_DEVIATION = 0.003
_STATURE_ROLES = ("spine_lower", "spine_middle", "spine_upper", "neck", "head", "left_knee", "left_ankle")

_FOCAL_DEVIATION = 0.1
"""How far a camera's focal length strays from that of a common phone, of its logarithm."""

_MISPLACED = 0.1
"""Metres at the person by which the regression's body misses what was seen, standard deviation."""

_PASSES = 4

_INDEPENDENT_FRAMES = 30
"""A detector's errors are not independent of one another: all frames count as a few tens about the lengths."""


@dataclass(frozen=True)
class Solution:
    """What was solved, in the camera's axes.

    Attributes:
        pose: Poses of all T frames.
        confidence: [T, J] how far each joint's rotation may be trusted; 0 where nobody was seen.
    """

    pose: Pose
    confidence: Tensor


@dataclass(frozen=True)
class FormerPoses:
    """What was solved before of the same T frames, with the same skeleton.

    Attributes:
        rotation: [T, J, 3, 3] local rotations; of the root, its orientation in the camera's axes.
        root_position: [T, 3] in the camera's axes, metres.
    """

    rotation: np.ndarray
    root_position: np.ndarray


@dataclass(frozen=True)
class RotationPrior:
    """What a regression says of T frames: local rotations, and how sure it is of each.

    Attributes:
        rotation: [T, J, 3, 3] local rotations; of the root, its orientation in the camera's axes.
        whitening: [T, J, 3, 3] W with W^T W the inverse covariance of the rotation vector, 1/radians; 0 where nothing
            is known.
    """

    rotation: np.ndarray
    whitening: np.ndarray

    def __getitem__(self, frames: slice | np.ndarray) -> RotationPrior:
        return RotationPrior(self.rotation[frames], self.whitening[frames])


Predict = Callable[[Keypoints, Camera, Skeleton | None, bool], RotationPrior]
"""A regression: from keypoints before a camera, the body where it is known, and whether the focal length is known."""


class CameraSolver:
    """Solves one sequence, and solves it again when more is known (feet that rest on the floor).

    Attributes:
        model: The body, with the person's own proportions.
        camera: The camera, with its focal length, which is estimated where it was not given.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        keypoints: Keypoints,
        camera: Camera,
        smoothing_hz: float | None,
        *,
        estimate_lengths: bool = True,
        estimate_focal: bool = False,
        predict: Predict | None = None,
        former: FormerPoses | None = None,
        progress: Progress = lambda done, total: None,
    ) -> None:
        """Estimate what holds for the whole sequence: proportions, focal length, noise and smoothness.

        Args:
            skeleton: Average proportions at the person's height.
            keypoints: T frames; those without a place on a skeleton are not used.
            camera: Its optics are used; solutions are in its axes.
            smoothing_hz: Cut-off frequency of the smoothness, hertz; None estimates it.
            estimate_lengths: Whether the person's proportions are unknown; their stature is the skeleton's.
            estimate_focal: Whether the camera's focal length is a guess.
            predict: What a regression says; None does without one.
            former: Where to begin, of a skeleton whose proportions are known; None searches.
            progress: Called with frames done and their total; may raise to abort.

        Raises:
            NobodySeen: No frame shows a person.
            SkeletonError: The skeleton lacks a role that carries a keypoint.
        """
        known = None if estimate_lengths else skeleton
        keypoints = without_swaps(keypoints.on_skeleton())
        if predict is not None:
            keypoints = put_right(
                keypoints, camera, skeleton, lambda seen: predict(seen, camera, known, not estimate_focal)
            )
        self._keypoints = keypoints
        self._seen = keypoints.seen()
        if not self._seen.any():
            raise NobodySeen("no person was found in any frame of this video")
        seen = np.flatnonzero(self._seen)
        observation = observe(keypoints, camera)[seen]
        prior = None if predict is None else predict(keypoints, camera, known, not estimate_focal)[seen]
        # a regression knows better than the detector's own landmarks which way segments point
        pairs = observation.pairs.numpy() if predict is None else None
        model = BodyModel.for_keypoints(skeleton, keypoints.names, pairs)
        with one_thread():
            shared = _shared_prior(model, len(observation), estimate_focal) if estimate_lengths else None
            first = self._sequence(model, observation, prior, shared, estimate_focal and estimate_lengths)
            if former is not None:
                solved = pose_of_rotations(model, torch.tensor(former.rotation[seen]))
                solved = replace(solved, root_position=torch.tensor(former.root_position[seen]))
                first = replace(first, solved=solved.reshape(1, len(seen)))
            self._estimates, self._start = estimate(first, model.no_stretch(1), smoothing_hz, progress)
            if estimate_lengths and self._start is not None:
                self._start, shared = _to_the_end(first, self._estimates, self._start)
                self._estimates = replace(self._estimates, shared=shared)
        self.camera, self.model = camera, model
        if estimate_lengths:
            lengths = self._estimates.shared[0, : model.groups]
            if estimate_focal:
                zoom = float(self._estimates.shared[0, -1].exp())
                self.camera = dataclasses.replace(camera, focal=camera.focal * zoom)
                observation = observe(keypoints, self.camera)[seen]
            fitted = model.lengths.apply(skeleton, lengths.numpy())
            self.model = BodyModel.for_keypoints(fitted, keypoints.names, pairs)
            prior = None if predict is None else predict(keypoints, self.camera, fitted, True)[seen]
        self._fitted = replace(self._sequence(self.model, observation, prior, None, False), solved=first.solved)
        self._estimates = replace(self._estimates, shared=self._estimates.shared[:, :0])

    def solve(self, progress: Progress = lambda done, total: None, *, nearly: bool = False) -> Solution:
        """Solve root path and joint angles of all frames together, inside the skeleton's range of motion.

        Args:
            progress: Called with frames done and their total; may raise to abort.
            nearly: Whether to stop near the solution where a former motion leads there: enough to see what rests.
        """
        return self._solve(self._fitted, self._start, progress, nearly=nearly and self._fitted.solved is not None)

    def solve_again(
        self, solution: Solution, contacts: Contacts, floor: Floor, progress: Progress = lambda done, total: None
    ) -> Solution:
        """Solve anew from an earlier solution, with places that points of the T frames keep, and above a floor."""
        seen = torch.from_numpy(np.flatnonzero(self._seen))
        held = contacts.mapped(lambda array: array[:, seen])
        objective = self._fitted.objective
        pose = solution.pose[seen].reshape(1, len(seen))
        # what floor and contacts leave as it was has been led out of local minima already
        solved = pose if self._fitted.solved is None else self._fitted.solved
        sequence = replace(self._fitted, objective=objective.over([*objective.evidence, held, floor]), solved=solved)
        return self._solve(sequence, pose, progress)

    def _solve(self, sequence: Sequence, start: Pose | None, progress: Progress, *, nearly: bool = False) -> Solution:
        deviations = [*self._estimates.evidence_deviation, None, None][: len(sequence.objective.evidence)]
        estimates = replace(self._estimates, evidence_deviation=deviations)
        with one_thread():
            pose, shared = solve_all(sequence, estimates, start, progress, nearly=nearly)
            objective = sequence.objective.over(with_deviations(sequence.objective.evidence, estimates))
            misses = objective.misses(pose, shared)[0]
            confidence = torch.tensor(self._keypoints.confidence)
            trust = confidence.new_zeros(len(confidence), len(self.model.skeleton))
            trust[torch.from_numpy(self._seen)] = joint_confidence(
                self.model, confidence[torch.from_numpy(self._seen)], misses
            )
        return Solution(fill_gaps(pose.reshape(len(sequence)), sequence.times, self._keypoints.times), trust)

    def _sequence(
        self,
        model: BodyModel,
        observation: Observation,
        prior: RotationPrior | None,
        shared: Tensor | None,
        zoom: bool,
    ) -> Sequence:
        """Return the sequence as it is seen of a body; its rough distance comes from poses of single frames."""
        neutral, deviation = relaxed_pose(model.skeleton, model.dof_joint, model.dof_axis)
        times, confidence = observation.times, observation.confidence
        objective = Objective(model, [], neutral, deviation, shared, zoom=zoom)
        begin = None
        if prior is not None:
            expected, whitening = (torch.tensor(array)[None] for array in (prior.rotation, prior.whitening))
            objective = replace(
                objective, deviation=_NEUTRAL_FREEDOM * deviation, expected=expected, whitening=whitening
            )
            begin = pose_of_rotations(model, expected)
        sequence = Sequence(
            objective,
            times,
            float(np.median(np.diff(times))) if len(times) > 1 else 1.0,
            observation.landmarks[None],
            confidence[None],
            lambda pose, lengths, frames: onto_rays(
                model, pose, lengths, observation.rays[frames], observation.confidence[frames]
            ),
            begin,
        )
        first = sequence.starter(sequence.spots, sequence.trust, model.no_stretch(1)) if begin is None else begin
        first = first.reshape(len(times))
        depth = onto_rays(model, first, model.no_stretch(), observation.rays, confidence).root_position[:, 2]
        # a frame whose rough distance is far off must not outweigh or vanish beside the others
        depth = depth.clamp(0.5 * depth.median(), 2.0 * depth.median())
        noise = torch.tensor(KEYPOINT_DEVIATION, dtype=torch.float64)
        evidence: list[Evidence] = [
            Rays(observation.rays[None], confidence[None], depth[None], noise, noise),
        ]
        if len(model.pairs):
            deviations = torch.tensor(SEGMENT_DEVIATION, dtype=torch.float64)
            evidence.append(
                Directions(
                    len(model.site_joint), observation.direction[None], observation.trust[None], deviations, deviations
                )
            )
        return replace(sequence, objective=objective.over(evidence))


def _to_the_end(sequence: Sequence, estimates: Estimates, start: Pose) -> tuple[Pose, Tensor]:
    """Solve all frames and what they share together: a limb that is still stuck would keep its lengths wrong.

    Returns:
        The poses [1, T], and the shared unknowns [1, S].
    """
    objective = sequence.objective.over(with_deviations(sequence.objective.evidence, estimates))
    bounded = jumping(sequence.model)
    smoothness = Smoothness(sequence.times, estimates.weight, sequence.interval, ORDER, bounded)
    return finish(objective, smoothness, sequence.branches, start, estimates.shared)


def without_swaps(keypoints: Keypoints) -> Keypoints:
    """Return keypoints with left and right exchanged back where they jump over to the other side."""
    mirror = mirror_by_names(keypoints.names)
    return _exchanged(keypoints, find_swaps(keypoints.positions, keypoints.confidence, keypoints.times, mirror), mirror)


def put_right(
    keypoints: Keypoints, camera: Camera, skeleton: Skeleton, predict: Callable[[Keypoints], RotationPrior]
) -> Keypoints:
    """Return keypoints with left and right exchanged where the regression's body has them on the other side.

    The regression knows left from right in spite of swaps, for it saw many in its training; continuity does not where
    a detector flickers for long. What is put right is regressed again, as long as there is more to find.
    """
    mirror = mirror_by_names(keypoints.names)
    model = BodyModel.for_keypoints(skeleton, keypoints.names)
    for _ in range(_PASSES):
        observation = observe(keypoints, camera)
        pose = pose_of_rotations(model, torch.tensor(predict(keypoints).rotation))
        pose = onto_rays(model, pose, model.no_stretch(), observation.rays, observation.confidence)
        placed = model.points(pose).numpy()
        depth = np.maximum(placed[..., 2:], MIN_DEPTH)
        tolerance = _MISPLACED / np.median(depth[..., 0], axis=1)
        expected = placed[..., :2] / depth
        swapped = misplaced(observation.rays.numpy(), keypoints.confidence, expected, tolerance, mirror)
        if not swapped.any():
            break
        keypoints = _exchanged(keypoints, swapped, mirror)
    return keypoints


def _exchanged(keypoints: Keypoints, swapped: np.ndarray, mirror: Mirror) -> Keypoints:
    """Return keypoints with left and right exchanged where swapped [T, G]."""
    if not swapped.any():
        return keypoints
    return dataclasses.replace(
        keypoints,
        positions=relabelled(keypoints.positions, swapped, mirror),
        confidence=relabelled(keypoints.confidence, swapped, mirror),
        world=None if keypoints.world is None else relabelled(keypoints.world, swapped, mirror),
    )


def _shared_prior(model: BodyModel, frames: int, focal: bool) -> Tensor:
    """Return the inverse covariance [S, S] of the logarithms of the lengths, stature given, and of the focal length."""
    groups, skeleton = model.groups, model.skeleton
    share = np.zeros(groups)
    for role in _STATURE_ROLES:
        if role in skeleton.roles:
            joint = skeleton.index(role)
            group = model.lengths.offset_group[joint]
            if group >= 0:
                share[group] += np.linalg.norm(skeleton.offset[joint])
    share /= max(share.sum(), 1e-9)
    information = np.eye(groups) / _LENGTH_DEVIATION**2 + np.outer(share, share) / _STATURE_DEVIATION**2
    whole = np.zeros((groups + focal, groups + focal))
    whole[:groups, :groups] = information
    if focal:
        whole[-1, -1] = 1.0 / _FOCAL_DEVIATION**2
    return torch.tensor(whole * max(1.0, frames / _INDEPENDENT_FRAMES))


def onto_rays(model: BodyModel, pose: Pose, lengths: Tensor, rays: Tensor, weight: Tensor) -> Pose:
    """Shift poses [T] so that their points meet their rays: linear least squares, frame by frame.

    Args:
        lengths: Logarithms, [G] or [T, G]. rays: [T, K, 2] x / z and y / z. weight: [T, K], 0 where nothing was seen.
    """
    points = model.points(pose, lengths)
    rows = torch.zeros(*rays.shape, 3, dtype=torch.float64)
    rows[..., 0, 0] = rows[..., 1, 1] = 1.0
    rows[..., 2] = -rays
    right = rays * points[..., 2:] - points[..., :2]
    matrix = (rows * weight[..., None, None]).flatten(1, 2)
    # by normal equations: of LAPACK's solvers of tall systems the last bits depend on where memory lies
    normal = torch.linalg.pinv(matrix.mT @ matrix, hermitian=True)
    shift = (normal @ (matrix.mT @ (right * weight[..., None]).flatten(1)[..., None]))[..., 0]
    behind = pose.root_position[:, 2] + shift[:, 2] < MIN_DEPTH
    shift[behind, 2] = 5 * MIN_DEPTH - pose.root_position[behind, 2]
    return replace(pose, root_position=pose.root_position + shift)
