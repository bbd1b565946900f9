# SPDX-License-Identifier: GPL-3.0-or-later
"""Kinematics in plain numpy, written from the definition in Skeleton's docstring, for tests to compare with."""

from __future__ import annotations

from typing import Any

import numpy as np


def quaternions_from_euler(angles: np.ndarray, order: str) -> np.ndarray:
    """Return [T, 4] wxyz of [T, 3] angles about x, y, z in Blender's order: the first letter turns first."""
    result = np.zeros((len(angles), 4))
    result[:, 0] = 1.0
    for axis in order:
        column = "XYZ".index(axis)
        turn = np.zeros_like(result)
        turn[:, 0] = np.cos(angles[:, column] / 2)
        turn[:, 1 + column] = np.sin(angles[:, column] / 2)
        result = multiply(turn, result)
    return result


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the products of [T, 4] quaternions wxyz."""
    w = a[:, :1] * b[:, :1] - (a[:, 1:] * b[:, 1:]).sum(axis=1, keepdims=True)
    v = a[:, :1] * b[:, 1:] + b[:, :1] * a[:, 1:] + np.cross(a[:, 1:], b[:, 1:])
    return np.concatenate([w, v], axis=1)


def matrices(quaternions: np.ndarray) -> np.ndarray:
    """Return [..., 3, 3] of [..., 4] unit quaternions wxyz."""
    w, v = quaternions[..., 0, None, None], quaternions[..., 1:]
    cross = np.zeros((*v.shape[:-1], 3, 3))
    cross[..., 0, 1], cross[..., 0, 2], cross[..., 1, 2] = -v[..., 2], v[..., 1], -v[..., 0]
    cross = cross - np.swapaxes(cross, -1, -2)
    return np.eye(3) + 2 * w * cross + 2 * cross @ cross


def forward(motion: Any) -> np.ndarray:
    """Return [T, J, 4, 4] world matrices of a Motion's bones, metres."""
    skeleton = motion.skeleton
    local = matrices(motion.rotations)
    world = np.tile(np.eye(4), (*motion.rotations.shape[:2], 1, 1))
    for joint, parent in enumerate(skeleton.parents):
        if parent < 0:
            world[:, joint, :3, :3] = skeleton.rest_rotation[joint] @ local[:, joint]
            world[:, joint, :3, 3] = motion.root_position
            continue
        above = world[:, parent]
        world[:, joint, :3, :3] = above[:, :3, :3] @ skeleton.rest_rotation[joint] @ local[:, joint]
        world[:, joint, :3, 3] = above[:, :3, 3] + above[:, :3, :3] @ skeleton.offset[joint]
    return world


def pose_matrices(rig: Any) -> np.ndarray:
    """Return [J, 4, 4] evaluated world matrices of an armature's pose bones, in the armature's own order."""
    import bpy

    evaluated = rig.evaluated_get(bpy.context.evaluated_depsgraph_get())
    return np.array([evaluated.matrix_world @ bone.matrix for bone in evaluated.pose.bones])


def degrees_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return [...] angles between [..., 3, 3] rotations; exact for small ones too, unlike the arc cosine."""
    chord = np.linalg.norm(a - b, axis=(-2, -1)) / np.sqrt(8)
    return np.degrees(2 * np.arcsin(np.clip(chord, 0, 1)))
