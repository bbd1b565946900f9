# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a motion is from the truth: joints in millimetres, rotations in degrees."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from video2rig.skeleton import Skeleton

STILL_ROLES = ("clavicle", "toes")
"""Joints whose motion the mocap does not tell; with the root, they do not count as moving."""

TWIST_ROLES = {"shoulder": "shoulder", "hip": "hip", "forearm": "elbow"}
"""Where twist about the bone is reported, and the joints of the roles that carry it."""


def moving_joints(skeleton: Skeleton) -> np.ndarray:
    """Return the joints whose rotations are scored."""
    return np.array([j for j, role in enumerate(skeleton.roles) if j > 0 and not role.endswith(STILL_ROLES)])


def joint_errors(joints: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the distances [T, J - 1] of joints [T, J, 3] from the truth, both from the root; metres."""
    return np.linalg.norm((joints - joints[:, :1]) - (truth - truth[:, :1]), axis=-1)[:, 1:]


def aligned_errors(joints: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the distances [T, J] after the best similarity of each frame (Procrustes; PA-MPJPE), metres."""
    centred, true_centred = joints - joints.mean(1, keepdims=True), truth - truth.mean(1, keepdims=True)
    u, scale, vt = np.linalg.svd(centred.transpose(0, 2, 1) @ true_centred)
    handed = np.sign(np.linalg.det(u @ vt))
    u[:, :, 2] *= handed[:, None]
    scale[:, 2] *= handed
    size = scale.sum(-1) / np.square(centred).sum((1, 2))
    return np.linalg.norm(size[:, None, None] * centred @ (u @ vt) - true_centred, axis=-1)


def rotation_errors(rotation: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the angles [T, J] between local rotations [T, J, 3, 3], radians."""
    return np.linalg.norm(rotation_vectors(rotation, truth), axis=-1)


def rotation_vectors(rotation: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the rotation vectors [T, J, 3] from local rotations to the true ones, about the joints' own axes."""
    wrong = np.swapaxes(rotation, -1, -2) @ truth
    return Rotation.from_matrix(wrong.reshape(-1, 3, 3)).as_rotvec().reshape(*wrong.shape[:-2], 3)


def twist_errors(rotation: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the angles [T, J] of the twist, about each bone's own axis (its Y), from local rotations to the truth."""
    wrong = np.swapaxes(rotation, -1, -2) @ truth
    _, y, _, w = np.moveaxis(Rotation.from_matrix(wrong.reshape(-1, 3, 3)).as_quat(), -1, 0)
    return 2 * np.arctan2(np.abs(y), np.abs(w)).reshape(wrong.shape[:-2])


def without_offsets(vectors: np.ndarray) -> np.ndarray:
    """Return the angles [N, J] of rotation vectors [N, J, 3] after one constant rotation a joint is taken out."""
    left = np.empty(vectors.shape[:2])
    for joint in range(vectors.shape[1]):
        wrong = Rotation.from_rotvec(vectors[:, joint])
        left[:, joint] = (wrong.mean().inv() * wrong).magnitude()
    return left


def acceleration_errors(joints: np.ndarray, truth: np.ndarray, rate: float = 30.0) -> np.ndarray:
    """Return the errors [T - 2, J] of the joints' second differences, from the root, metres a second squared."""
    error = (joints - joints[:, :1]) - (truth - truth[:, :1])
    return np.linalg.norm(np.diff(error, n=2, axis=0), axis=-1) * rate**2


def length_deviation(joints: np.ndarray, skeleton: Skeleton) -> float:
    """Return the standard deviation over time of the distance of joints [T, J, 3] from their parents, mean, metres."""
    limbs = [j for j, role in enumerate(skeleton.roles) if role.endswith(("elbow", "wrist", "knee", "ankle"))]
    parents = np.array(skeleton.parents)[limbs]
    return float(np.linalg.norm(joints[:, limbs] - joints[:, parents], axis=-1).std(0).mean())
