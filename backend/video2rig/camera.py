# SPDX-License-Identifier: GPL-3.0-or-later
"""Camera: a static pinhole in OpenCV's convention (x right, y down, z forward), square pixels.

Pixels are indices: (0, 0) is the middle of the first pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import Video2RigError


class CameraError(Video2RigError):
    """A camera that cannot be: no focal length, no size, no rotation."""


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole: ``X_camera = rotation @ X_world + translation``, pixels = focal * (x, y) / z + centre.

    Attributes:
        width, height: Size of the source video, pixels, as displayed.
        focal: Focal length, pixels.
        center: [2] principal point, pixels.
        rotation: [3, 3] world to camera.
        translation: [3] world origin in the camera, metres.
    """

    width: int
    height: int
    focal: float
    center: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1 or not self.focal > 0 or not np.isfinite(self.focal):
            raise CameraError(
                f"camera: size {self.width}x{self.height} px, focal length {self.focal} px; all must be positive"
            )
        for field, shape in (("center", (2,)), ("rotation", (3, 3)), ("translation", (3,))):
            array = np.array(getattr(self, field), dtype=np.float64)
            if array.shape != shape or not np.isfinite(array).all():
                raise CameraError(f"camera: {field} must hold {shape} finite numbers")
            array.setflags(write=False)
            object.__setattr__(self, field, array)

    @classmethod
    def from_field_of_view(cls, width: int, height: int, field_of_view: float) -> Camera:
        """Return a camera at the world's origin, its axes the world's.

        Args:
            width, height: Size of the video, pixels.
            field_of_view: Angle across the longer side, radians.

        Raises:
            CameraError: The angle gives no positive focal length, or the video has no size.
        """
        focal = max(width, height) / 2 / np.tan(field_of_view / 2)
        return cls(width, height, focal, np.array([(width - 1) / 2, (height - 1) / 2]), np.eye(3), np.zeros(3))

    @property
    def position(self) -> np.ndarray:
        """The [3] centre of projection in the world, metres."""
        return -self.rotation.T @ self.translation

    def project(self, points: np.ndarray) -> np.ndarray:
        """Project [..., 3] world points, metres, to [..., 2] pixels; NaN where a point is not in front."""
        local = points @ self.rotation.T + self.translation
        depth = np.where(local[..., 2:] > 1e-6, local[..., 2:], np.nan)
        return self.focal * local[..., :2] / depth + self.center

    def placed(self, rotation: np.ndarray, translation: np.ndarray) -> Camera:
        """Return the same optics elsewhere: ``X_camera = rotation @ X_world + translation``.

        Args:
            rotation: [3, 3]. translation: [3] metres.

        Raises:
            CameraError: They have other shapes, or hold what is not finite.
        """
        return Camera(self.width, self.height, self.focal, self.center, rotation, translation)

    def to_json(self) -> dict[str, Any]:
        """Return the camera as plain JSON values."""
        return {
            "width": self.width,
            "height": self.height,
            "focal": float(self.focal),
            "center": self.center.tolist(),
            "rotation": self.rotation.tolist(),
            "translation": self.translation.tolist(),
        }

    @classmethod
    def from_json(cls, data: Any) -> Camera:
        """Read what :meth:`to_json` wrote.

        Raises:
            CameraError: An entry is absent or not what it should be.
        """
        try:
            return cls(
                int(data["width"]),
                int(data["height"]),
                float(data["focal"]),
                np.array(data["center"], dtype=np.float64),
                np.array(data["rotation"], dtype=np.float64),
                np.array(data["translation"], dtype=np.float64),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CameraError(f"camera: unreadable description ({error})") from error
