# SPDX-License-Identifier: GPL-3.0-or-later
"""The lengths of a body: which scale together, the same in all frames and on both sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..skeleton import Skeleton

_ALONG = 0.05
"""A child that sits within this share of a bone's length from its tail tells the bone's length."""


@dataclass(frozen=True)
class LengthGroups:
    """Lengths that are unknown: the distance of each joint from its parent, and bones that end freely.

    A left and a right joint share one length, so that left and right agree exactly and not only about.

    Attributes:
        names: Of the G lengths.
        offset_group: [J] length by which each joint's offset from its parent scales, -1 for none.
        bone_group: [J] length by which each bone's own length scales, -1 for none.
        site_group: [K] length by which each point's place on its bone scales, -1 for none.
    """

    names: tuple[str, ...]
    offset_group: np.ndarray
    bone_group: np.ndarray
    site_group: np.ndarray

    @classmethod
    def of(cls, skeleton: Skeleton, sites: tuple[np.ndarray, np.ndarray]) -> LengthGroups:
        """Return the lengths that move any of the points, given by their joints [K] and places on them [K, 3]."""
        site_joint, place = sites
        tells = _observed(skeleton, site_joint)
        ends = set(site_joint[np.abs(place).max(axis=1) > 0].tolist())
        names: list[str] = []

        def group(name: str) -> int:
            if name not in names:
                names.append(name)
            return names.index(name)

        offset_group, bone_group = np.full((2, len(skeleton)), -1)
        for joint, parent in enumerate(skeleton.parents):
            if parent >= 0 and tells[joint] and np.linalg.norm(skeleton.offset[joint]) > 0:
                offset_group[joint] = group(_both_sides(skeleton, joint))
        for joint in range(len(skeleton)):
            child = _continuing_child(skeleton, joint)
            if child is not None:
                bone_group[joint] = offset_group[child]
            elif joint in ends:
                bone_group[joint] = group(f"{_both_sides(skeleton, joint)} tip")
        return cls(tuple(names), offset_group, bone_group, bone_group[site_joint])

    def offset_matrix(self) -> np.ndarray:
        """Return [J, G]: 1 where a joint's offset scales with a length."""
        return _one_hot(self.offset_group, len(self.names))

    def site_matrix(self) -> np.ndarray:
        """Return [K, G]: 1 where a point's place scales with a length."""
        return _one_hot(self.site_group, len(self.names))

    def apply(self, skeleton: Skeleton, stretch: np.ndarray) -> Skeleton:
        """Return the skeleton with its lengths times exp([G] ``stretch``)."""
        factor = np.append(np.exp(stretch), 1.0)
        return skeleton.scaled(factor[self.offset_group], factor[self.bone_group])


def _observed(skeleton: Skeleton, site_joint: np.ndarray) -> np.ndarray:
    """Return [J] bool: joints with a point on them or below them."""
    tells = np.zeros(len(skeleton), dtype=bool)
    tells[site_joint] = True
    for joint in range(len(skeleton) - 1, 0, -1):
        tells[skeleton.parents[joint]] |= tells[joint]
    return tells


def _both_sides(skeleton: Skeleton, joint: int) -> str:
    """Return a name that a joint shares with the one on the other side."""
    role = skeleton.roles[joint]
    side, _, part = role.partition("_")
    return part if side in ("left", "right") else role or skeleton.names[joint]


def _continuing_child(skeleton: Skeleton, joint: int) -> int | None:
    """Return the child at a bone's tail, if there is one."""
    tail = np.array([0.0, skeleton.length[joint], 0.0])
    for child, parent in enumerate(skeleton.parents):
        if parent == joint and np.linalg.norm(skeleton.offset[child] - tail) < _ALONG * skeleton.length[joint]:
            return child
    return None


def _one_hot(groups: np.ndarray, count: int) -> np.ndarray:
    return (groups[:, None] == np.arange(count)).astype(np.float64)
