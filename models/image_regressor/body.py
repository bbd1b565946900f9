# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinematic model of the people in the pictures: the paper's human with their average bones.

Poses are given in upright axes: x to the camera's right, y away from it, z up. With all motion parameters at zero a
person stands upright and faces the camera.
"""

from __future__ import annotations

import numpy as np
import torch

from models.image_regressor.people import NAMES, People
from video2rig.kinematic_layer import KinematicLayer
from video2rig.paper_human import paper_human, paper_sites
from video2rig.skeleton import Skeleton

UPRIGHT = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
"""From camera axes (x right, y down, z forward)."""

_CHAIN = {
    "spine": "pelvis",
    "neck": "spine",
    "nose": "neck",
    "head_top": "neck",
    **{f"{side}_hip": "pelvis" for side in ("left", "right")},
    **{f"{side}_knee": f"{side}_hip" for side in ("left", "right")},
    **{f"{side}_ankle": f"{side}_knee" for side in ("left", "right")},
    **{f"{side}_shoulder": "spine" for side in ("left", "right")},
    **{f"{side}_elbow": f"{side}_shoulder" for side in ("left", "right")},
    **{f"{side}_wrist": f"{side}_elbow" for side in ("left", "right")},
}
BONES = tuple((begin, end) for end, begin in _CHAIN.items())
"""Pairs of points whose distance the kinematic model keeps."""

_BEGIN, _END = (np.array([NAMES.index(bone[end]) for bone in BONES]) for end in (0, 1))


def bone_lengths(joints: np.ndarray) -> np.ndarray:
    """Return the lengths [..., B] of :data:`BONES`, metres, of joints [..., 17, 3]."""
    return np.linalg.norm(joints[..., _END, :] - joints[..., _BEGIN, :], axis=-1)


def subject_scales(people: People) -> dict[int, float]:
    """Return each subject's size: the sum of the bones' mean lengths, over the average of all subjects."""
    totals = {subject: lengths.sum() for subject, lengths in _lengths_by_subject(people).items()}
    average = np.mean(list(totals.values()))
    return {subject: float(total / average) for subject, total in totals.items()}


def average_body(people: People) -> Skeleton:
    """Return the paper's human with the bones of the average subject, left and right alike."""
    human = paper_human()
    average = np.mean(list(_lengths_by_subject(people).values()), axis=0)
    own = bone_lengths(kinematic_layer(human)(torch.zeros(27)).numpy())
    of_bone = dict(zip(_CHAIN, zip(average, own, strict=True), strict=True))

    def factor(role: str) -> float:
        point = {"head": "head_top", "spine_middle": "spine"}.get(role, role)
        both = [of_bone[name] for name in _both_sides(point) if name in of_bone]
        return sum(length for length, _ in both) / sum(length for _, length in both) if both else 1.0

    offset = np.array([factor(role) for role in human.roles])
    return human.scaled(offset, np.where(np.array(human.roles) == "head", offset, 1.0))


def kinematic_layer(skeleton: Skeleton) -> KinematicLayer:
    """Return the layer from the 27 motion parameters to the 17 points [..., 17, 3] in upright axes, metres."""
    return KinematicLayer(skeleton, paper_sites(skeleton))


def _lengths_by_subject(people: People) -> dict[int, np.ndarray]:
    """Return the mean lengths [B] of each subject's bones, metres."""
    return {
        int(subject): bone_lengths(people.joints[people.subject == subject]).mean(axis=0)
        for subject in np.unique(people.subject)
    }


def _both_sides(name: str) -> set[str]:
    return {name.replace("right_", "left_"), name.replace("left_", "right_")}
