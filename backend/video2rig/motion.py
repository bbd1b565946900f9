# SPDX-License-Identifier: GPL-3.0-or-later
"""Motion: joint rotations over time, on a skeleton."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from .errors import Video2RigError
from .skeleton import Skeleton


class MotionError(Video2RigError):
    """A motion whose arrays contradict each other or its skeleton."""


class Contact(NamedTuple):
    """A joint that rests on the floor, from ``start`` to ``end`` in seconds."""

    joint: str
    start: float
    end: float


@dataclass(frozen=True, eq=False)
class Motion:
    """Local joint rotations and the root's path.

    Attributes:
        skeleton: The skeleton that moves.
        times: [T] seconds from the video's first frame, rising.
        rotations: [T, J, 4] local unit quaternions wxyz, hemisphere-continuous along time; Blender's
            ``pose_bone.rotation_quaternion``.
        root_position: [T, 3] position of joint 0 in the world, metres.
        confidence: [T, J] from 0 (nothing known) to 1.
        contacts: Intervals in which joints rest on the floor.
        provenance: How this motion was made: versions, digests of weights, settings.
    """

    skeleton: Skeleton
    times: np.ndarray
    rotations: np.ndarray
    root_position: np.ndarray
    confidence: np.ndarray
    contacts: tuple[Contact, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        frames, joints = len(self.times), len(self.skeleton)
        shapes = {
            "times": (frames,),
            "rotations": (frames, joints, 4),
            "root_position": (frames, 3),
            "confidence": (frames, joints),
        }
        for name, shape in shapes.items():
            array = np.array(getattr(self, name), dtype=np.float64)
            if array.shape != shape:
                raise MotionError(f"motion: {name} has shape {array.shape}, expected {shape}")
            if not np.isfinite(array).all():
                raise MotionError(f"motion: {name} holds a value that is not finite")
            object.__setattr__(self, name, array)
        if frames == 0 or (np.diff(self.times) <= 0).any():
            raise MotionError("motion: needs at least one frame, and times that rise from frame to frame")
        norm = np.linalg.norm(self.rotations, axis=-1, keepdims=True)
        if np.abs(norm - 1).max() > 1e-3:
            raise MotionError("motion: rotations hold a quaternion that is not of unit length")
        if (self.confidence < 0).any() or (self.confidence > 1).any():
            raise MotionError("motion: confidence must lie between 0 and 1")
        for contact in self.contacts:
            self.skeleton.index(contact.joint)
            if contact.end < contact.start:
                raise MotionError(f"motion: a contact of {contact.joint!r} ends before it starts")
        object.__setattr__(self, "rotations", hemisphere_continuous(self.rotations / norm))
        for name in shapes:
            getattr(self, name).setflags(write=False)

    def __len__(self) -> int:
        return len(self.times)


def hemisphere_continuous(quaternions: np.ndarray) -> np.ndarray:
    """Return [T, ..., 4] quaternions with signs such that neighbours in time never lie in opposite hemispheres."""
    opposite = (quaternions[1:] * quaternions[:-1]).sum(axis=-1, keepdims=True) < 0
    signs = np.where(opposite, -1.0, 1.0).cumprod(axis=0)
    return np.concatenate([quaternions[:1], quaternions[1:] * signs])
