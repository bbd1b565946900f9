# SPDX-License-Identifier: GPL-3.0-or-later
"""How a person moves on a body of the person's own proportions: what was measured, before any rig takes it over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .camera import Camera
from .skeleton import Skeleton

_SAME = 1e-3
"""Skeletons whose bones lie and turn nearer to each other than this, metres and parts of unit vectors, are the same."""


@dataclass(frozen=True, eq=False)
class OwnBody:
    """How a body moved in the frames of a video: where a solve of the same frames begins.

    Attributes:
        skeleton: With the person's proportions.
        rotations: [T, J, 4] and root_position: [T, 3] as `Motion` has them. camera: That took the video.
    """

    skeleton: Skeleton
    rotations: np.ndarray
    root_position: np.ndarray
    camera: Camera

    def is_of(self, skeleton: Skeleton) -> bool:
        """Tell whether a skeleton has this body's bones and proportions, whatever its range of motion."""
        own = self.skeleton
        if (own.names, own.parents) != (skeleton.names, skeleton.parents):
            return False
        pairs = (own.offset, skeleton.offset), (own.rest_rotation, skeleton.rest_rotation)
        return all(np.allclose(one, other, atol=_SAME) for one, other in pairs)

    def header(self) -> dict[str, Any]:
        """Return all but the arrays, as plain JSON values."""
        return {"skeleton": self.skeleton.to_json(), "camera": self.camera.to_json()}

    @classmethod
    def of_header(cls, data: Any, rotations: np.ndarray, root_position: np.ndarray) -> OwnBody:
        """Read what :meth:`header` wrote, with the arrays.

        Raises:
            KeyError, TypeError: An entry is absent. SkeletonError, CameraError: One cannot be read.
        """
        return cls(Skeleton.from_json(data["skeleton"]), rotations, root_position, Camera.from_json(data["camera"]))
