# SPDX-License-Identifier: GPL-3.0-or-later
"""One world for several people: one camera, one floor, and each as large as the floor says.

One camera cannot tell a tall person far away from a short one nearby. Somebody who stands on a floor that is known is
measured by it: solved too tall, a person is too far away as well, and the feet come out below the floor.
"""

from __future__ import annotations

import numpy as np

from .camera import Camera
from .contacts import CONFIDENCE, Feet
from .ground import floor_level
from .keypoints import Keypoints

_STATURE_DEVIATION = 0.12
"""How far statures stray from what was assumed, of their logarithm: adults' 0.06, and some are children."""

_FEET_DEVIATION = 0.03
"""Errors of a person's own floor beside that of the tilt, as parts of the camera's height."""

_TILT_DEVIATION = np.radians(3.0)
"""Of the tilt that one person told: it raises or lowers the floor under those who stand further away or nearer."""

_STATURES = (0.9, 2.15)
"""Metres: who would have to be smaller or taller to stand on the floor stands on something else, or is in the air."""

_LOWEST_CAMERA = 0.2
"""Metres above the floor: a camera that is lower sees nothing of statures on the floor."""


def person_camera(world: Camera, feet: Feet, places: np.ndarray, keypoints: Keypoints) -> Camera:
    """Return the camera as high above this person's own floor as the person's feet say; all else is the world's.

    Where the feet were never seen, it is as high as in the world.

    Args:
        world: The camera over the common floor. places: [T, F, 3] points of the feet in the camera's axes, metres.
    """
    seen = (keypoints.on_skeleton().confidence[:, feet.keypoints] >= CONFIDENCE).any(axis=1)
    if not seen.any():
        return world
    position = world.position.copy()
    position[2] = -floor_level(world.rotation[:, 2], places[seen], feet.standing)
    return world.placed(world.rotation, -world.rotation @ position)


def size_on_floor(world: Camera, own: Camera, root: np.ndarray, stature: float) -> float:
    """Return by what a person must be scaled to stand on the common floor, as far as that may be believed.

    What is not believed stays as a difference between the floors. See the module for why the floor tells a size; it
    is weighed against how much people differ, and the less the further this person is from whom the floor was told by,
    because the tilt is an estimate.

    Args:
        world: The camera over the common floor; its origin lies under the person who told it. own: That of
            `person_camera`. root: [T, 3] in its world, metres. stature: That the person was solved with, metres.
    """
    height, mine = world.position[2], own.position[2]
    if height < _LOWEST_CAMERA or mine < _LOWEST_CAMERA:
        return 1.0
    size = height / mine
    if not _STATURES[0] <= size * stature <= _STATURES[1]:
        return 1.0
    away = size * np.median(np.linalg.norm((root - own.position)[:, :2], axis=1))
    apart = away - np.linalg.norm(world.position[:2])
    variance = _FEET_DEVIATION**2 + (np.tan(_TILT_DEVIATION) * apart / height) ** 2
    trust = _STATURE_DEVIATION**2 / (_STATURE_DEVIATION**2 + variance)
    return float(size**trust)
