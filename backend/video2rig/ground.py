# SPDX-License-Identifier: GPL-3.0-or-later
"""The ground: which way is up for the camera, where the floor lies, and when feet rest on it.

One static camera sees neither gravity nor, in general, the floor. Both are told by the person: people stand upright,
so that the mean direction from feet to head is up; and by habit: cameras are held level and look nearly straight ahead.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_closing, binary_opening, gaussian_filter1d, minimum_filter1d

from .camera import Camera
from .motion import Contact

_TILT_DEVIATION = np.radians(12.0)  # of cameras around the horizontal
_ROLL_DEVIATION = np.radians(4.0)
_LEAN_DEVIATION = np.radians(5.0)  # of an upright person's mean, the detector's bias included
_UPRIGHT = 0.9  # of the greatest extent from feet to head: frames in which the person stands
_FLOOR_QUANTILE = 0.1

CONTACT_SPEED = 0.35
"""A foot that moves slower than this, metres a second, may rest on the floor."""

CONTACT_HEIGHT = 0.07
"""A foot that is higher than this above the floor, metres, does not rest on it."""

_SHORTEST_CONTACT = 0.1  # seconds
_CALM = 0.03  # seconds over which positions are averaged before speeds are taken


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


def place_camera(camera: Camera, up: np.ndarray, feet: np.ndarray, root: np.ndarray) -> Camera:
    """Return the camera over a floor at z = 0, with the person's first position above the world's origin.

    The camera looks along +Y, so that a person who faces it faces -Y.

    Args:
        camera: Its optics. up: [3] unit vector in the camera's axes, not along its line of sight.
        feet: [T, P, 3] points of the feet in the camera's axes, metres. root: [T, 3].
    """
    forward = np.array([0.0, 0.0, 1.0]) - up[2] * up
    forward /= np.linalg.norm(forward)
    rotation = np.stack([np.cross(forward, up), forward, up], axis=1)
    lowest = (feet @ up).min(axis=1)
    origin = root[0] @ rotation
    origin[2] = np.quantile(lowest, _FLOOR_QUANTILE)
    return camera.placed(rotation, rotation @ origin)


def find_contacts(feet: dict[str, np.ndarray], times: np.ndarray) -> tuple[Contact, ...]:
    """Return the intervals in which parts of the feet rest on the floor: low, and nearly still.

    Heights are taken from the lowest that any part of the feet reaches within a second, as the floor under a walking
    person is not known better than the person's depth.

    Args:
        feet: [T, 3] points in the world, metres, by the joint that carries them. times: [T] seconds.
    """
    if len(times) < 3:
        return ()
    rate = 1.0 / float(np.median(np.diff(times)))
    calm = {joint: gaussian_filter1d(points, sigma=_CALM * rate, axis=0) for joint, points in feet.items()}
    lowest = np.min([points[:, 2] for points in calm.values()], axis=0)
    floor = minimum_filter1d(lowest, size=2 * round(rate) + 1)
    shortest = np.ones(max(2, round(_SHORTEST_CONTACT * rate)), dtype=bool)
    contacts = []
    for joint, points in calm.items():
        speed = np.linalg.norm(np.gradient(points, times, axis=0), axis=1)
        resting = (speed < CONTACT_SPEED) & (points[:, 2] - floor < CONTACT_HEIGHT)
        resting = np.pad(resting, len(shortest), mode="edge")
        resting = binary_opening(binary_closing(resting, shortest), shortest)[len(shortest) : -len(shortest)]
        edges = np.flatnonzero(np.diff(np.concatenate([[0], resting.astype(int), [0]])))
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            contacts.append(Contact(joint, float(times[start]), float(times[end - 1])))
    return tuple(sorted(contacts, key=lambda contact: contact.start))
