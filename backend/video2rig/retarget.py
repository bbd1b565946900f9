# SPDX-License-Identifier: GPL-3.0-or-later
"""A motion of one skeleton, said again in the bones of a rig.

Every mapped bone turns in the world as its joint does, with one constant rotation between them
(`rig_skeleton.RigSkeleton`). What is written into the bone is that orientation as seen from the space in which its own
rotation acts: the bone that it effectively hangs on, which need not be its parent (bones in between, constraints that
rigs use as parents, bones that do not inherit rotation).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .motion import Motion, hemisphere_continuous
from .rig_skeleton import RigSkeleton


class Spaces(NamedTuple):
    """The space in which each mapped bone's own rotation acts.

    Attributes:
        above: [M] number of the mapped bone that carries it, -1 where the world does.
        turn: [M, 3, 3] the space's axes in those of that bone, or of the world.
    """

    above: tuple[int, ...]
    turn: np.ndarray


def matrices(quaternions: np.ndarray) -> np.ndarray:
    """Return [..., 3, 3] rotations of [..., 4] unit quaternions wxyz."""
    w, x, y, z = np.moveaxis(quaternions, -1, 0)
    result = np.empty((*quaternions.shape[:-1], 3, 3))
    result[..., 0, 0], result[..., 1, 1], result[..., 2, 2] = (
        1 - 2 * (y * y + z * z),
        1 - 2 * (x * x + z * z),
        1 - 2 * (x * x + y * y),
    )
    for row, column, one, two in ((0, 1, x * y, w * z), (2, 0, x * z, w * y), (1, 2, y * z, w * x)):
        result[..., row, column], result[..., column, row] = 2 * (one - two), 2 * (one + two)
    return result


def quaternions(rotations: np.ndarray) -> np.ndarray:
    """Return [..., 4] unit quaternions wxyz of [..., 3, 3] rotations, by the largest of the four components."""
    m = rotations
    trace = np.trace(m, axis1=-2, axis2=-1)
    # 4 q q^T, of which the row with the largest diagonal is the quaternion but for its length
    outer = np.empty((*m.shape[:-2], 4, 4))
    outer[..., 0, 0] = 1 + trace
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        outer[..., i + 1, i + 1] = 1 + 2 * m[..., i, i] - trace
        outer[..., 0, i + 1] = outer[..., i + 1, 0] = m[..., k, j] - m[..., j, k]
        outer[..., i + 1, j + 1] = outer[..., j + 1, i + 1] = m[..., i, j] + m[..., j, i]
    best = np.diagonal(outer, axis1=-2, axis2=-1).argmax(axis=-1)
    found = np.take_along_axis(outer, best[..., None, None], axis=-2)[..., 0, :]
    return found / np.linalg.norm(found, axis=-1, keepdims=True)


def orientations(motion: Motion) -> np.ndarray:
    """Return [T, J, 3, 3] the joints' axes in the world."""
    skeleton = motion.skeleton
    world = skeleton.rest_rotation @ matrices(motion.rotations)
    for joint, parent in enumerate(skeleton.parents):
        if parent >= 0:
            world[:, joint] = world[:, parent] @ world[:, joint]
    return world


def bone_orientations(target: RigSkeleton, world: np.ndarray) -> np.ndarray:
    """Return [T, M, 3, 3] the mapped bones' axes in the world, of the joints' [T, J, 3, 3]."""
    return world[:, list(target.joints)] @ target.turn


def in_spaces(turned: np.ndarray, spaces: Spaces) -> np.ndarray:
    """Return [T, M, 4] each bone's own rotation, wxyz, continuous in time.

    Args:
        turned: [T, M, 3, 3] the bones' axes in the world. spaces: In which their own rotations act.
    """
    own = np.empty((*turned.shape[:2], 4))
    for bone, above in enumerate(spaces.above):
        space = spaces.turn[bone] if above < 0 else turned[:, above] @ spaces.turn[bone]
        own[:, bone] = quaternions(np.swapaxes(space, -1, -2) @ turned[:, bone])
    return hemisphere_continuous(own)


def root_path(target: RigSkeleton, motion: Motion, world: np.ndarray) -> np.ndarray:
    """Return [T, 3] where the root's bone begins, metres in the world; ``world`` is [T, J, 3, 3] of the joints."""
    return motion.root_position + world[:, 0] @ target.root_offset
