# SPDX-License-Identifier: GPL-3.0-or-later
"""People are as likely to be seen mirrored: two answers for one, and what is left of the network's own handedness.

The mean of what is said of the keypoints and, mirrored back, of their mirror image is the same for both.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import roma
import torch

from ..camera import Camera
from ..ik.swaps import mirror_by_names
from ..keypoints import Keypoints
from ..skeleton import Skeleton
from .regressor import Regression, Regressor

_ACROSS = np.diag([-1.0, 1.0, 1.0])
"""Bones mirror one another across the plane of their own Y and Z, and so do pictures (`human.py`)."""


def predict_symmetrically(
    regressor: Regressor, keypoints: Keypoints, camera: Camera, body: Skeleton | None, focal_known: bool
) -> Regression:
    """Return the mean of what a regressor says of keypoints and of their mirror image.

    Deviations are those of a single answer, for both are wrong together; alternatives are those of the first.

    Args:
        keypoints, camera, body, focal_known: As for :meth:`Regressor.predict`.
    """
    one = regressor.predict(keypoints, camera, body, focal_known)
    other = mirrored(regressor.predict(mirror_image(keypoints, camera), camera, body, focal_known))
    mean = np.asarray(roma.special_procrustes(torch.tensor(one.rotation + other.rotation)))
    variance = (np.square(one.deviation) + np.square(other.deviation)) / 2
    return dataclasses.replace(one, rotation=mean, deviation=np.sqrt(variance))


def mirror_image(keypoints: Keypoints, camera: Camera) -> Keypoints:
    """Return keypoints as they would be of the mirrored person, about the vertical through the camera's centre."""
    twin = mirror_by_names(keypoints.names).twin
    positions = keypoints.positions[:, twin] * [-1.0, 1.0] + [2 * camera.center[0], 0.0]
    return Keypoints(keypoints.set_name, positions, keypoints.confidence[:, twin], keypoints.times)


def mirrored(regression: Regression) -> Regression:
    """Return the regression of the mirrored person: sides exchanged, turned the other way about Y and Z."""
    roles = regression.skeleton.roles
    words = [role.replace("left_", "\0").replace("right_", "left_").replace("\0", "right_") for role in roles]
    twin = [roles.index(word) for word in words]
    return Regression(
        regression.skeleton,
        (_ACROSS @ regression.rotation @ _ACROSS)[:, twin],
        regression.deviation[:, twin],
        (_ACROSS @ regression.alternatives @ _ACROSS)[:, :, twin],
    )
