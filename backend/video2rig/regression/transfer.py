# SPDX-License-Identifier: GPL-3.0-or-later
"""From the rotations that the regression says of the default human to a prior on the skeleton that is solved."""

from __future__ import annotations

import numpy as np

from ..camera import Camera
from ..correspondence import SamePose, same_pose
from ..ik.from_camera import Predict, RotationPrior
from ..keypoints import Keypoints
from ..skeleton import Skeleton
from .mirror import predict_symmetrically
from .regressor import Regression, Regressor

_LEAST_DEVIATION = np.radians(2.0)
"""No rotation is told better than this: skeletons do not correspond exactly."""

_CORRELATION = 0.6
"""Neighbouring frames repeat one another's errors, so each counts as this share of an independent one. From 0.3 to 1
all are as good, within half a millimetre, on three views of the Pose2Sim trial and on subjects of the training."""


def rotation_prior(regression: Regression, skeleton: Skeleton) -> RotationPrior:
    """Return what a regression says of another skeleton, of any names, bone axes and rest pose.

    Joints whose role the default human lacks, or that cannot turn, are not told about: they are taken to rest.
    """
    same = same_pose(regression.rotation, regression.skeleton, skeleton)
    whitening = np.zeros_like(same.rotation)
    for joint, constant in same.constant.items():
        covariance = constant.T @ _covariance(regression, same, skeleton, joint) @ constant
        # an error about the bone's own axes, as one that turns the expected rotation from the left
        variance, axes = np.linalg.eigh(covariance)
        deviation = np.sqrt(np.maximum(variance, _LEAST_DEVIATION**2))
        whitening[:, joint] = np.swapaxes(same.rotation[:, joint] @ axes, -1, -2) / deviation[..., None]
    return RotationPrior(same.rotation, whitening * np.sqrt(_CORRELATION))


def predictor(regressor: Regressor, skeleton: Skeleton) -> Predict:
    """Return what a :class:`~video2rig.ik.CameraSolver` of a skeleton asks a regressor."""

    def predict(keypoints: Keypoints, camera: Camera, body: Skeleton | None, focal_known: bool) -> RotationPrior:
        return rotation_prior(predict_symmetrically(regressor, keypoints, camera, body, focal_known), skeleton)

    return predict


def _covariance(regression: Regression, same: SamePose, skeleton: Skeleton, joint: int) -> np.ndarray:
    """Return the covariance [T, 3, 3] of a joint's rotation against the last joint before it that is told, about the
    axes of the human's bone: that of all the human's joints between the two."""
    human, own, turned, last = regression.skeleton, same.own, same.source, skeleton.parents[joint]
    while last >= 0 and last not in own:
        last = skeleton.parents[last]
    end, between = own[joint], own[joint]
    total = np.zeros((len(turned), 3, 3))
    while between >= 0 and not (last >= 0 and between == own[last]):
        carried = np.swapaxes(turned[:, end], -1, -2) @ turned[:, between]
        total += (carried * regression.deviation[:, between, None] ** 2) @ np.swapaxes(carried, -1, -2)
        between = human.parents[between]
    return total
