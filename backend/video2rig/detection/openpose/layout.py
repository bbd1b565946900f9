# SPDX-License-Identifier: GPL-3.0-or-later
"""Which channel of OpenPose's output is what: the 18 parts of COCO with a neck, and the 19 limbs between them.

Cao et al., "Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields" (CVPR 2017). The order is that of
their COCO network, which every later one with this output keeps.
"""

from __future__ import annotations

from typing import NamedTuple

from ...keypoints import KEYPOINT_SETS

KEYPOINT_SET = "coco_18"
PARTS = KEYPOINT_SETS[KEYPOINT_SET]
"""Heat map k is of this part; the one after the last is of the background."""
STRIDE = 8
"""Pixels of the network's input a cell of its output; the middle of cell i is at pixel 8 i + 3.5."""


class Limb(NamedTuple):
    """Parts at its two ends, and its first channel of the part affinity fields; the next one is that of y.

    `extra` limbs join parts that others already join in a tree: they help where one of those is not seen.
    """

    begin: int
    end: int
    channel: int
    extra: bool = False


def _limb(begin: str, end: str, channel: int, extra: bool = False) -> Limb:
    return Limb(PARTS.index(begin), PARTS.index(end), channel, extra)


LIMBS = (
    _limb("neck", "right_shoulder", 12),
    _limb("neck", "left_shoulder", 20),
    _limb("right_shoulder", "right_elbow", 14),
    _limb("right_elbow", "right_wrist", 16),
    _limb("left_shoulder", "left_elbow", 22),
    _limb("left_elbow", "left_wrist", 24),
    _limb("neck", "right_hip", 0),
    _limb("right_hip", "right_knee", 2),
    _limb("right_knee", "right_ankle", 4),
    _limb("neck", "left_hip", 6),
    _limb("left_hip", "left_knee", 8),
    _limb("left_knee", "left_ankle", 10),
    _limb("neck", "nose", 28),
    _limb("nose", "right_eye", 30),
    _limb("right_eye", "right_ear", 34),
    _limb("nose", "left_eye", 32),
    _limb("left_eye", "left_ear", 36),
    _limb("right_shoulder", "right_ear", 18, extra=True),
    _limb("left_shoulder", "left_ear", 26, extra=True),
)

HEAT_MAPS = len(PARTS) + 1
FIELDS = 2 * len(LIMBS)
STAGES = range(2, 7)
"""How many stages a network may have."""
