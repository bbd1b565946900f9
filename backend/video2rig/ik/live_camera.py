# SPDX-License-Identifier: GPL-3.0-or-later
"""Keypoints before one camera as what a live solver takes, frame by frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..camera import Camera
from ..keypoints import KEYPOINT_SETS, Keypoints
from ..skeleton import Skeleton
from .evidence import Directions, Evidence, Rays
from .from_camera import KEYPOINT_DEVIATION, SEGMENT_DEVIATION, onto_rays
from .live import LiveSolver
from .model import BodyModel, Pose
from .objective import Objective
from .observation import observe
from .prior import relaxed_pose
from .running import Frame
from .sequence import Sequence
from .start import Starter

_RAY, _LANDMARK, _DEPTH = slice(0, 2), slice(2, 5), 5
"""Columns of a live frame's points: x / z and y / z, the detector's landmark, metres, and the body's rough distance."""

WINDOW = 12
"""Frames that are solved together."""


class LiveCamera:
    """Turns keypoints into points of live frames, and windows of such frames into evidence.

    The same evidence as in `from_camera`: rays, and directions of segments where the detector tells depth. The lengths
    are the skeleton's, and the focal length is the camera's.

    Attributes:
        names: Of the K keypoints that have a place on a skeleton. pairs: [P, 2] of them, between which segments run.
    """

    def __init__(self, skeleton: Skeleton, keypoint_set: str, depth: bool, camera: Camera) -> None:
        """Prepare.

        Args:
            skeleton: The body, with its own proportions. keypoint_set: Of the detector.
            depth: Whether it tells world positions. camera: Its optics are used.

        Raises:
            SkeletonError: The skeleton lacks a role that carries a keypoint.
        """
        count = len(KEYPOINT_SETS[keypoint_set])
        nobody = np.zeros((1, count, 3))
        blank = Keypoints(keypoint_set, nobody[..., :2], nobody[..., 0], np.zeros(1), nobody if depth else None)
        blank = blank.on_skeleton()
        self.names, self._camera = blank.names, camera
        self.pairs = observe(blank, camera).pairs.numpy()
        self._model = BodyModel.for_keypoints(skeleton, self.names, self.pairs)
        self._neutral, self._deviation = relaxed_pose(skeleton, self._model.dof_joint, self._model.dof_axis)
        self._starter = Starter(self._model, self._neutral)
        self._noise = torch.tensor(KEYPOINT_DEVIATION, dtype=torch.float64)
        self._segment_noise = torch.tensor(SEGMENT_DEVIATION, dtype=torch.float64)

    def solver(self, skeleton: Skeleton, lag: int, smoothing_hz: float | None, window: int = WINDOW) -> LiveSolver:
        """Return a live solver of these frames; `skeleton` is that of the beginning. The rest: See `LiveSolver`."""
        return LiveSolver(
            skeleton,
            self.names,
            lag=lag,
            window=window,
            smoothing_hz=smoothing_hz,
            lengths=self._model.no_stretch().numpy(),
            evidence_of=self.evidence,
            pairs=self.pairs,
            record=False,
        )

    def points(self, keypoints: Keypoints) -> tuple[np.ndarray, np.ndarray]:
        """Return one frame's points [K, 6] and confidence [K] for :meth:`LiveSolver.push`.

        Args:
            keypoints: One frame, in pixels of the camera's picture.
        """
        keypoints = keypoints.on_skeleton()
        seen = observe(keypoints, self._camera)
        points = np.zeros((len(self.names), 6))
        points[:, _RAY], points[:, _LANDMARK] = seen.rays[0].numpy(), seen.landmarks[0].numpy()
        if keypoints.seen().any():
            lengths = self._model.no_stretch(1)
            pose = self._starter(seen.landmarks[None], seen.confidence[None], lengths).reshape(1)
            pose = onto_rays(self._model, pose, lengths[0], seen.rays, seen.confidence)
            points[:, _DEPTH] = float(pose.root_position[0, 2])
        return points, keypoints.confidence[0]

    def evidence(self, model: BodyModel, frames: list[Frame], estimate_lengths: bool) -> Sequence:
        """Return T frames as the solver takes them; see `running.EvidenceOf`. The lengths are known."""
        times, points, confidence = (np.array(arrays) for arrays in zip(*frames, strict=True))
        trust = torch.tensor(confidence)
        rays, landmarks = torch.tensor(points[..., _RAY]), torch.tensor(points[..., _LANDMARK])
        depth = torch.tensor(points[:, 0, _DEPTH])
        # a frame whose rough distance is far off must not outweigh or vanish beside the others
        depth = depth.clamp(0.5 * depth.median(), 2.0 * depth.median())
        evidence: list[Evidence] = [Rays(rays[None], trust[None], depth[None], self._noise, self._noise)]
        if len(self.pairs):
            begin, end = self.pairs.T
            vector = landmarks[:, end] - landmarks[:, begin]
            direction = vector / vector.norm(dim=-1, keepdim=True).clamp_min(1e-9)
            both = torch.minimum(trust[:, begin], trust[:, end])
            noise = self._segment_noise
            evidence.append(Directions(len(self.names), direction[None], both[None], noise, noise))

        def place(pose: Pose, lengths: Tensor, chosen: slice) -> Pose:
            return onto_rays(model, pose, lengths, rays[chosen], trust[chosen])

        objective = Objective(model, [], self._neutral, self._deviation)
        interval = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
        sequence = Sequence(objective, times, interval, landmarks[None], trust[None], place)
        return replace(sequence, objective=objective.over(evidence))
