# SPDX-License-Identifier: GPL-3.0-or-later
"""A person's motion on a skeleton of other proportions, inside its range of motion.

One camera's picture of a person says nothing of a rig whose arms are shorter: solved against it, the rig would bend its
limbs towards the camera or away until their pictures agree. So the person is solved first, and the rig then takes over
the pose: every segment points where the person's does, as far as the rig's range of motion lets it.
"""

from __future__ import annotations

import numpy as np
import torch

from .correspondence import SamePose, same_pose
from .ik import BodyModel, to_motion, within_range
from .motion import Contact, Motion
from .retarget import matrices
from .skeleton import Skeleton


def onto_rig(motion: Motion, skeleton: Skeleton, names: tuple[str, ...], path: float) -> Motion:
    """Return a person's motion on another skeleton, above the same floor.

    Args:
        motion: In a world whose floor is z = 0. skeleton: The rig's, with human roles.
        names: Keypoints that stay near their places where the range of motion lets less through than the person's.
        path: Length of the rig's path along the floor, as a share of the person's.

    Raises:
        SkeletonError: The skeleton lacks a role that carries a keypoint, or one of the legs'.
    """
    person = motion.skeleton
    same = same_pose(matrices(motion.rotations), person, skeleton)
    model = BodyModel.for_keypoints(skeleton, names)
    pose = within_range(model, same.rotation, _root(motion, same, skeleton, path))
    return to_motion(
        model,
        model.no_stretch(),
        pose,
        torch.tensor(_confidence(motion, skeleton)),
        motion.times,
        same_contacts(motion.contacts, person, skeleton),
        motion.provenance,
    )


def leg_length(skeleton: Skeleton) -> float:
    """Return how high the hips are above the floor on straight legs, metres, mean of right and left.

    Raises:
        SkeletonError: The skeleton lacks a hip, a knee or an ankle.
    """
    rest = skeleton.rest_matrices()[:, :3, 3]
    lengths = []
    for side in ("left", "right"):
        hip, knee, ankle = (rest[skeleton.index(f"{side}_{role}")] for role in ("hip", "knee", "ankle"))
        lengths.append(np.linalg.norm(knee - hip) + np.linalg.norm(ankle - knee) + ankle[2])
    return float(np.mean(lengths))


def same_contacts(contacts: tuple[Contact, ...], one: Skeleton, other: Skeleton) -> tuple[Contact, ...]:
    """Return contacts of one skeleton's joints as those of another's, by their roles."""
    named = dict(zip(other.roles, other.names, strict=True))
    found = ((named.get(one.roles[one.index(contact.joint)]), contact) for contact in contacts)
    return tuple(contact._replace(joint=joint) for joint, contact in found if joint is not None)


def _root(motion: Motion, same: SamePose, skeleton: Skeleton, path: float) -> np.ndarray:
    """Return the root's path [T, 3], metres: hips are above the floor by as much less or more as legs are shorter or
    longer."""
    person = motion.skeleton
    hips = _hips(person, same.source) + motion.root_position
    return hips * (path, path, leg_length(skeleton) / leg_length(person)) - _hips(skeleton, same.orientation)


def _hips(skeleton: Skeleton, orientation: np.ndarray) -> np.ndarray:
    """Return where the middle of the hips is [T, 3], metres from the root, under orientations [T, J, 3, 3]."""
    heads = np.zeros((len(orientation), len(skeleton), 3))
    for joint, parent in enumerate(skeleton.parents):
        if parent >= 0:
            heads[:, joint] = heads[:, parent] + orientation[:, parent] @ skeleton.offset[joint]
    return heads[:, [skeleton.index(f"{side}_hip") for side in ("left", "right")]].mean(axis=1)


def _confidence(motion: Motion, skeleton: Skeleton) -> np.ndarray:
    """Return the confidence [T, J] of the other skeleton's joints: of the same role's, else of the one before it."""
    confidence = np.empty((len(motion), len(skeleton)))
    for joint, (role, parent) in enumerate(zip(skeleton.roles, skeleton.parents, strict=True)):
        if role and role in motion.skeleton.roles:
            confidence[:, joint] = motion.confidence[:, motion.skeleton.index(role)]
        else:
            confidence[:, joint] = confidence[:, parent] if parent >= 0 else motion.confidence[:, 0]
    return confidence
