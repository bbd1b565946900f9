# SPDX-License-Identifier: GPL-3.0-or-later
"""A body's proportions as ten numbers: the logarithms of its segments' lengths, against the default human's."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..human import default_human
from ..skeleton import Skeleton

SEGMENTS: tuple[str, ...] = (
    *("torso", "head", "clavicle", "upper_arm", "forearm", "hand", "pelvis", "thigh", "shin", "foot"),
)

# the segment that a joint of a role lies at the end of, and the one that its own bone is
_ENDS = {
    **dict.fromkeys(("spine_lower", "spine_middle", "spine_upper", "neck"), "torso"),
    "head": "head",
    "clavicle": "torso",
    "shoulder": "clavicle",
    "elbow": "upper_arm",
    "wrist": "forearm",
    "hip": "pelvis",
    "knee": "thigh",
    "ankle": "shin",
    "toes": "foot",
}
_BONES = {
    "pelvis": "pelvis",
    **dict.fromkeys(("spine_lower", "spine_middle", "spine_upper", "neck"), "torso"),
    "head": "head",
    "clavicle": "clavicle",
    "shoulder": "upper_arm",
    "elbow": "forearm",
    "wrist": "hand",
    "hip": "thigh",
    "knee": "shin",
    "ankle": "foot",
    "toes": "foot",
}


def _of_role(table: dict[str, str], role: str) -> int:
    """Return a segment's index, or -1 where a joint of this role has none."""
    name = role.removeprefix("left_").removeprefix("right_")
    return SEGMENTS.index(table[name]) if name in table else -1


def offset_segments(skeleton: Skeleton) -> np.ndarray:
    """Return [J] the segment along which each joint lies from its parent; -1 for the root and where there is none."""
    return np.array([_of_role(_ENDS, role) for role in skeleton.roles])


def bone_segments(skeleton: Skeleton) -> np.ndarray:
    """Return [J] the segment that each joint's own bone is; -1 where there is none."""
    return np.array([_of_role(_BONES, role) for role in skeleton.roles])


def proportions(skeleton: Skeleton) -> np.ndarray:
    """Return [10] logarithms of a body's segments against the default human's at its stature's own scale.

    A segment that the skeleton has no joint for counts as the default human's, 0.
    """
    human = default_human()
    own, average = _lengths(skeleton), _lengths(human)
    known = (own > 0) & (average > 0)
    return np.where(known, np.log(np.where(known, own, 1.0) / np.where(known, average, 1.0)), 0.0)


def _lengths(skeleton: Skeleton) -> np.ndarray:
    """Return [10] metres: a segment's offsets added up, both sides averaged, or its bones where nothing hangs on it."""
    lengths = np.zeros(len(SEGMENTS))
    ends, bones = offset_segments(skeleton), bone_segments(skeleton)
    sides = np.array([0.5 if role.startswith(("left_", "right_")) else 1.0 for role in skeleton.roles])
    distance = np.linalg.norm(skeleton.offset, axis=1)
    for segment in range(len(SEGMENTS)):
        at_end = ends == segment
        if at_end.any():
            lengths[segment] = (distance * sides)[at_end].sum()
        else:
            lengths[segment] = (skeleton.length * sides)[bones == segment].sum()
    return lengths


def stretched(values: Tensor, segments: np.ndarray, proportion: Tensor) -> Tensor:
    """Return vectors [..., N, 3] scaled with the segment [N] that each lies along, -1 for none.

    Args:
        values: [N, 3] of the default human. proportion: [..., 10] logarithms.
    """
    with_none = torch.cat([proportion, torch.zeros_like(proportion[..., :1])], dim=-1)
    return values * with_none[..., torch.as_tensor(segments)].exp()[..., None]
