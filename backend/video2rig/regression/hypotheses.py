# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of several answers for a limb is the true one: what fits the picture, and moves least from frame to frame.

One camera often cannot tell whether a limb points towards it or away. The network says several answers then; of each
limb those are taken, frame by frame, that project onto its keypoints and join to the smoothest motion (Viterbi 1967).

So far the prediction alone is as good (`models/kinematic_regressor/evaluate.py` prints both), and that is what the
inverse kinematics begins from.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from ..camera import Camera
from ..keypoints import Keypoints, sites
from ..kinematics import KinematicChain
from ..skeleton import Skeleton
from .regressor import Regression

LIMBS: tuple[tuple[str, ...], ...] = tuple(
    tuple(f"{side}_{role}" for role in roles)
    for side in ("left", "right")
    for roles in (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle"))
)
"""Roles of the joints of each limb that may be answered in several ways."""

_MISS = 0.05
"""Metres by which a keypoint of the right answer misses what was seen, standard deviation."""

_CAP = 9.0
"""A keypoint costs at most this: beyond, it is an outlier."""

_PACE = 2.0
"""Metres a second, standard deviation of how a limb's points move against the root."""

_OTHER = 0.5
"""Price of an answer that is not the prediction."""


def most_plausible(regression: Regression, keypoints: Keypoints, camera: Camera, body: Skeleton | None) -> Regression:
    """Return the regression with the best answer for each limb in each frame in place of the prediction.

    Args:
        keypoints: The T frames that were regressed, before the camera.
        body: With the person's proportions, if they are known.
    """
    human = regression.skeleton if body is None else body
    keypoints = keypoints.on_skeleton()
    joint, offset = sites(human, keypoints.names)
    answers = torch.tensor(np.concatenate([regression.rotation[:, None], regression.alternatives], axis=1))
    places, turned = KinematicChain(human).forward(answers, torch.zeros(*answers.shape[:2], 3, dtype=answers.dtype))
    points = (places[:, :, joint] + (turned[:, :, joint] @ torch.tensor(offset)[..., None])[..., 0]).numpy()
    confidence = keypoints.confidence
    rays = np.where(confidence[..., None] > 0, (keypoints.positions - camera.center) / camera.focal, 0.0)
    root = _root(points[:, 0], rays, confidence)
    seen = points + root[:, None, None]
    missed = seen[..., :2] - rays[:, None] * seen[..., 2:]
    cost = confidence[:, None] * np.minimum(np.square(missed).sum(-1) / _MISS**2, _CAP)
    best = regression.rotation.copy()
    steps = np.diff(keypoints.times)
    for limb in LIMBS:
        joints = [human.index(role) for role in limb]
        own = np.isin(joint, joints)
        moved = np.square(points[1:, None, :, own] - points[:-1, :, None, own]).sum(-1).mean(-1)
        path = _cheapest(
            cost[:, :, own].sum(-1) + _OTHER * (np.arange(answers.shape[1]) > 0),
            own.any() * moved / np.square(_PACE * np.maximum(steps, 1e-3))[:, None, None],
        )
        best[:, joints] = answers.numpy()[np.arange(len(path))[:, None], path[:, None], joints]
    return dataclasses.replace(regression, rotation=best)


def _root(points: np.ndarray, rays: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Return where the root is [T, 3] so that points [T, K, 3] about it meet their rays [T, K, 2] best."""
    rows = np.zeros((*rays.shape, 3))
    rows[..., 0, 0] = rows[..., 1, 1] = 1.0
    rows[..., 2] = -rays
    right = rays * points[..., 2:] - points[..., :2]
    weight = confidence[..., None, None]
    matrix = np.einsum("tkri,tkrj->tij", rows * weight, rows) + 1e-9 * np.eye(3)
    return np.linalg.solve(matrix, np.einsum("tkri,tkr->ti", rows * weight, right)[..., None])[..., 0]


def _cheapest(of_frame: np.ndarray, between: np.ndarray) -> np.ndarray:
    """Return the states [T] of least cost, of_frame [T, S] being that of each, between [T - 1, S, S] that of steps."""
    total, came = of_frame[0], []
    for own, step in zip(of_frame[1:], between, strict=True):
        through = total[:, None] + step
        came.append(through.argmin(axis=0))
        total = through.min(axis=0) + own
    path = [int(total.argmin())]
    for before in reversed(came):
        path.append(int(before[path[-1]]))
    return np.array(path[::-1])
