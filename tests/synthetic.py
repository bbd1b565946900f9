# SPDX-License-Identifier: GPL-3.0-or-later
"""A body that moves inside its range of motion before a camera, and what a perfect detector would say of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import roma
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from video2rig.camera import Camera
from video2rig.human import default_human
from video2rig.ik import BodyModel, Pose
from video2rig.keypoints import KEYPOINT_SETS, Keypoints
from video2rig.skeleton import Skeleton

NAMES = KEYPOINT_SETS["blazepose_33"]
FACING = torch.tensor([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]], dtype=torch.float64)
"""Orientation of the root bone, in the camera's axes, of a person who stands upright and faces the camera."""


class Scene(NamedTuple):
    """The truth, in the camera's axes, and what was seen of it."""

    model: BodyModel
    pose: Pose
    camera: Camera
    keypoints: Keypoints


def random_pose(model: BodyModel, rng: np.random.Generator, *frames: int) -> Pose:
    """Unrelated poses [*frames] anywhere inside the range of motion, 3 to 5 m before the camera."""
    lower, upper = model.lower.numpy(), model.upper.numpy()
    position = np.stack([rng.normal(0, 0.4, frames), rng.normal(0, 0.2, frames), rng.uniform(3, 5, frames)], axis=-1)
    turn = Rotation.random(int(np.prod(frames)), rng=rng).as_matrix()
    return Pose(
        torch.tensor(position),
        torch.tensor(turn.reshape(*frames, 3, 3)),
        torch.tensor(rng.uniform(lower, upper, (*frames, len(lower)))),
    )


def moving_person(
    rng: np.random.Generator,
    frames: int = 60,
    rate: float = 30.0,
    skeleton: Skeleton | None = None,
    noise: float = 0.0,
    pace: float = 1.0,
) -> Scene:
    """A person who moves smoothly and turns before the camera.

    Args:
        noise: Standard deviation of the keypoints, pixels. pace: How fast joints turn; slower below 1.
    """
    model = BodyModel.for_keypoints(skeleton or default_human(), NAMES)
    walk = gaussian_filter1d(rng.normal(size=(frames, len(model.lower))), 0.4 * rate / pace, axis=0, mode="wrap")
    walk /= walk.std(axis=0, keepdims=True) + 1e-9
    middle, half = (model.lower + model.upper) / 2, (model.upper - model.lower) / 2
    seconds = torch.arange(frames, dtype=torch.float64) / rate
    turn = torch.zeros(frames, 3, dtype=torch.float64)
    turn[:, 1] = 0.5 * torch.sin(seconds)
    pose = Pose(
        torch.stack([0.3 * torch.sin(seconds), 0.05 * torch.cos(2 * seconds), 3.5 + 0.2 * seconds.cos()], dim=1),
        roma.rotvec_to_rotmat(turn) @ FACING,
        middle + 0.5 * half * torch.from_numpy(np.tanh(walk)),
    )
    camera = Camera.from_field_of_view(1280, 720, np.radians(60))
    return Scene(model, pose, camera, see(model, pose, camera, seconds.numpy(), rng, noise))


def see(
    model: BodyModel, pose: Pose, camera: Camera, times: np.ndarray, rng: np.random.Generator, noise: float = 0.0
) -> Keypoints:
    """What a detector says: pixels, and landmarks from the middle of the hips as if the camera faced the person."""
    points = model.points(pose).numpy()
    pixels = camera.project(points) + rng.normal(0.0, 1.0, (*points.shape[:2], 2)) * noise
    middle = np.append((pixels.mean(axis=1) - camera.center) / camera.focal, np.ones((len(points), 1)), axis=1)
    names = model.names
    hips = points[:, [names.index("left_hip"), names.index("right_hip")]].mean(axis=1, keepdims=True)
    turned = [(point - hip) @ _turn_to_axis(ray).T for point, hip, ray in zip(points, hips, middle, strict=True)]
    return Keypoints(model_set(model), pixels, np.ones(points.shape[:2]), times, np.array(turned))


def model_set(model: BodyModel) -> str:
    """The set whose keypoints a model carries."""
    return next(name for name, names in KEYPOINT_SETS.items() if names == model.names)


def _turn_to_axis(ray: np.ndarray) -> np.ndarray:
    """The smallest rotation that takes a ray to the z axis."""
    ray = ray / np.linalg.norm(ray)
    axis = np.cross(ray, [0.0, 0.0, 1.0])
    sine = np.linalg.norm(axis)
    angle = np.arctan2(sine, ray[2])
    return roma.rotvec_to_rotmat(torch.from_numpy(axis / max(sine, 1e-12) * angle)).numpy()
