# SPDX-License-Identifier: GPL-3.0-or-later
"""The ground: which way is up for the camera, and where the floor lies.

One static camera sees neither gravity nor, in general, the floor. Both are told by the person: people stand upright,
so that the mean direction from feet to head is up; and by habit: cameras are held level and look nearly straight ahead.
"""

from __future__ import annotations

import numpy as np

from .camera import Camera

_TILT_DEVIATION = np.radians(12.0)  # of cameras around the horizontal
_ROLL_DEVIATION = np.radians(4.0)
_LEAN_DEVIATION = np.radians(5.0)  # of an upright person's mean, the detector's bias included
_UPRIGHT = 0.9  # of the greatest extent from feet to head: frames in which the person stands
_FLOOR_QUANTILE = 0.1


def estimate_up(head: np.ndarray, feet: np.ndarray) -> np.ndarray:
    """Return the [3] unit vector that points up, in the camera's axes.

    Args:
        head: [T, 3] top of the body in the camera's axes, metres. feet: [T, 3] middle of the feet.
    """
    body = head - feet
    extent = np.linalg.norm(body, axis=1)
    upright = body[extent >= _UPRIGHT * extent.max()]
    tilt = _shrunk(np.median(np.arctan2(-upright[:, 2], -upright[:, 1])), _TILT_DEVIATION)
    roll = _shrunk(np.median(np.arctan2(upright[:, 0], -upright[:, 1])), _ROLL_DEVIATION)
    up = np.array([np.tan(roll), -1.0, -np.tan(tilt)])
    return up / np.linalg.norm(up)


def _shrunk(measured: float, habit: float) -> float:
    """Return the angle that a measured lean and the habit of level cameras agree on best, radians."""
    return float(np.clip(measured, -np.pi / 3, np.pi / 3)) * habit**2 / (habit**2 + _LEAN_DEVIATION**2)


def up_of_tilt(tilt: float) -> np.ndarray:
    """Return the [3] unit vector that points up for a level camera that looks down by ``tilt`` radians."""
    return np.array([0.0, -np.cos(tilt), -np.sin(tilt)])


def floor_level(up: np.ndarray, feet: np.ndarray, standing: np.ndarray) -> float:
    """Return how high the floor lies above the camera (below it: negative), metres; arguments as of `place_camera`."""
    return float(np.quantile((feet @ up - standing).min(axis=1), _FLOOR_QUANTILE))


def place_camera(camera: Camera, up: np.ndarray, feet: np.ndarray, standing: np.ndarray, root: np.ndarray) -> Camera:
    """Return the camera over a floor at z = 0, with the person's first position above the world's origin.

    The camera looks along +Y, so that a person who faces it faces -Y.

    Args:
        camera: Its optics. up: [3] unit vector in the camera's axes, not along its line of sight.
        feet: [T, F, 3] points of the feet in the camera's axes, metres.
        standing: [F] their heights above the floor when standing, metres.
        root: [T, 3] position of the root in the camera's axes, metres.
    """
    forward = np.array([0.0, 0.0, 1.0]) - up[2] * up
    forward /= np.linalg.norm(forward)
    rotation = np.stack([np.cross(forward, up), forward, up], axis=1)
    origin = root[0] @ rotation
    origin[2] = floor_level(up, feet, standing)
    return camera.placed(rotation, rotation @ origin)
