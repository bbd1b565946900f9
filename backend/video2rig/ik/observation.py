# SPDX-License-Identifier: GPL-3.0-or-later
"""What the solver is told about each frame: rays, bone directions, and how far to trust them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..camera import Camera
from ..keypoints import Keypoints

# Segments whose directions a detector's 3D landmarks tell.
_SEGMENTS = (
    ("left_hip", "right_hip"),
    ("left_shoulder", "right_shoulder"),
    ("left_hip", "left_shoulder"),
    ("right_hip", "right_shoulder"),
    ("left_ear", "right_ear"),
    ("left_ear", "nose"),
    ("right_ear", "nose"),
    *(
        (f"{side}_{begin}", f"{side}_{end}")
        for side in ("left", "right")
        for begin, end in (
            ("shoulder", "elbow"),
            ("elbow", "wrist"),
            ("wrist", "index"),
            ("wrist", "pinky"),
            ("hip", "knee"),
            ("knee", "ankle"),
            ("heel", "big_toe"),
        )
    ),
)


@dataclass(frozen=True)
class Observation:
    """Keypoints as the solver takes them, in the camera's axes.

    Attributes:
        times: [T] seconds.
        rays: [T, K, 2] x / z and y / z of each keypoint; zero where nothing was seen.
        confidence: [T, K].
        pairs: [P, 2] keypoints at which a segment begins and ends.
        direction: [T, P, 3] unit vectors of the segments; zero where unknown.
        trust: [T, P] confidence of a direction.
        landmarks: [T, K, 3] metres from the centre of the hips, turned into the camera's axes; flat, and of unknown
            size, where the detector tells no depth.
    """

    times: np.ndarray
    rays: Tensor
    confidence: Tensor
    pairs: Tensor
    direction: Tensor
    trust: Tensor
    landmarks: Tensor

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, frames: slice | np.ndarray) -> Observation:
        return Observation(
            self.times[frames],
            self.rays[frames],
            self.confidence[frames],
            self.pairs,
            self.direction[frames],
            self.trust[frames],
            self.landmarks[frames],
        )


def observe(keypoints: Keypoints, camera: Camera) -> Observation:
    """Turn keypoints into rays and bone directions in the camera's axes.

    A detector sees a person as if the camera looked straight at them, so its 3D landmarks are first turned from the
    ray through the middle of the person to the camera's own axis.
    """
    seen = torch.tensor(keypoints.confidence > 0)
    positions = torch.tensor(np.nan_to_num(keypoints.positions))
    rays = (positions - torch.tensor(camera.center)) / camera.focal * seen[..., None]
    confidence = torch.tensor(keypoints.confidence)
    if keypoints.world is None:
        # as if the person were cut out of cardboard: enough to tell left from right, and up from down
        landmarks = torch.cat([rays, torch.zeros_like(rays[..., :1])], dim=-1)
        pairs = torch.zeros(0, 2, dtype=torch.long)
    else:
        middle = (rays * confidence[..., None]).sum(1) / confidence.sum(1, keepdim=True).clamp_min(1e-9)
        landmarks = torch.tensor(np.nan_to_num(keypoints.world)) @ _look_along(middle).transpose(-1, -2)
        index = {name: k for k, name in enumerate(keypoints.names)}
        pairs = torch.tensor([(index[a], index[b]) for a, b in _SEGMENTS if a in index and b in index])
    begin, end = pairs.unbind(-1)
    vector = landmarks[:, end] - landmarks[:, begin]
    direction = vector / vector.norm(dim=-1, keepdim=True).clamp_min(1e-9)
    trust = torch.minimum(confidence[:, begin], confidence[:, end])
    return Observation(keypoints.times, rays, confidence, pairs, direction, trust, landmarks)


def _look_along(ray: Tensor) -> Tensor:
    """Return the smallest rotations [T, 3, 3] that take the z axis to the directions (x, y, 1) of [T, 2] rays."""
    target = torch.cat([ray, torch.ones_like(ray[:, :1])], dim=1)
    x, y, z = (target / target.norm(dim=1, keepdim=True)).unbind(-1)
    share = 1.0 / (1.0 + z)
    rows = [1 - x * x * share, -x * y * share, x, -x * y * share, 1 - y * y * share, y, -x, -y, z]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))
