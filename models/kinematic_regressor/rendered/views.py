# SPDX-License-Identifier: GPL-3.0-or-later
"""What is filmed: stretches of motion on a body, and cameras that see them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from models.kinematic_regressor.mocap import Clips
from video2rig.camera import Camera
from video2rig.kinematics import KinematicChain

from .body import Body
from .scene import CEILING, ROOM

FIELD_OF_VIEW = np.radians((30.0, 75.0))
ELEVATION = np.radians((-15.0, 40.0))
DISTANCE = (2.0, 8.0)
SHARE_OF_HEIGHT = (0.3, 0.95)
TRIES = 60


class Posed(NamedTuple):
    """A body in T poses: positions [T, 22, 3] and rotations [T, 22, 3, 3] of the joints in the world, metres, Z up;
    the path is centred on the origin. floor: Height of the lowest skin, metres."""

    body: Body
    positions: np.ndarray
    rotations: np.ndarray
    floor: float

    def vertices(self, frame: int) -> np.ndarray:
        """Return the skin [V, 3] of a frame."""
        return self.body.skin(self.positions[frame], self.rotations[frame])


def random_frames(clips: Clips, count: int, rng: np.random.Generator) -> tuple[int, np.ndarray]:
    """Return a clip, of an action drawn before it so that common ones do not crowd out the rest, and up to `count`
    consecutive frames of it."""
    action = rng.choice(sorted(set(clips.action)))
    clip = int(rng.choice([number for number, name in enumerate(clips.action) if name == action]))
    length = min(count, int(clips.length[clip]))
    first = clips.start[clip] + rng.integers(0, clips.length[clip] - length + 1)
    return clip, np.arange(first, first + length)


def posed(clips: Clips, frames: np.ndarray, body: Body) -> Posed:
    """Put a body into frames of the clips, its path scaled to its stature."""
    chain = KinematicChain(body.skeleton)
    root = clips.root[frames] * (body.skeleton.length[0] / clips.skeleton.length[0])
    local = torch.tensor(clips.rotation[frames], dtype=torch.float64)
    positions, rotations = (part.numpy() for part in chain.forward(local, torch.tensor(root, dtype=torch.float64)))
    middle = (positions[:, 0].min(axis=0) + positions[:, 0].max(axis=0)) / 2
    positions = positions - middle * [1, 1, 0]
    lowest = [body.skin(*pose)[:, 2].min() for pose in zip(positions[::8], rotations[::8], strict=True)]
    return Posed(body, positions, rotations, float(np.min(lowest)))


def random_camera(film: Posed, sizes: tuple[tuple[int, int], ...], rng: np.random.Generator) -> Camera:
    """Return a camera that stands still and sees most of the motion; the body may be partly outside of the picture.

    Args:
        film: What it films. sizes: Width and height of the pictures to choose from, pixels.
    """
    best, most = None, -1.0
    for _ in range(TRIES):
        camera = _aimed(film, sizes[rng.integers(len(sizes))], rng)
        if camera is None:
            continue
        pixels = camera.project(film.positions)
        inside = ((pixels > 0) & (pixels < [camera.width, camera.height])).all(axis=-1).mean()
        if inside > most:
            best, most = camera, inside
        if inside > rng.choice([0.75, 0.93, 0.97]):
            break
    if best is None:
        raise RuntimeError(f"no camera in {TRIES} tries")
    return best


def _aimed(film: Posed, size: tuple[int, int], rng: np.random.Generator) -> Camera | None:
    """Return a random camera towards a body, or None where its distance or its place is not one to film from."""
    stature = film.body.stature
    camera = Camera.from_field_of_view(*size, rng.uniform(*FIELD_OF_VIEW))
    distance = stature * camera.focal / (rng.uniform(*SHARE_OF_HEIGHT) * camera.height)
    azimuth, elevation = rng.uniform(0, 2 * np.pi), rng.uniform(*ELEVATION)
    towards = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    target = film.positions.mean(axis=(0, 1)) + rng.normal(0, 0.08 * stature, 3)
    eye = target + distance * towards
    height = eye[2] - film.floor
    if not (DISTANCE[0] < distance < DISTANCE[1] and 0.1 < height < CEILING and np.abs(eye[:2]).max() < ROOM):
        return None
    right = np.cross(-towards, [0, 0, 1])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(-towards, right), -towards])
    return camera.placed(rotation, -rotation @ eye)
