# SPDX-License-Identifier: GPL-3.0-or-later
"""People drawn as ideal heat maps and part affinity fields, as the paper defines them for training (2.2, 2.3)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from video2rig.detection.openpose.layout import FIELDS, HEAT_MAPS, LIMBS, PARTS
from video2rig.detection.openpose.stages import StageOutput

SPREAD = 0.875  # cells: 7 px at a stride of 8
HALF_WIDTH = 1.0  # of a limb, cells

# a standing person with arms a little out, in units of the height, from the hip centre
STANDING = {
    "nose": (0.0, -0.41),
    "neck": (0.0, -0.29),
    "right_shoulder": (-0.11, -0.29),
    "right_elbow": (-0.17, -0.13),
    "right_wrist": (-0.21, 0.02),
    "left_shoulder": (0.11, -0.29),
    "left_elbow": (0.17, -0.13),
    "left_wrist": (0.21, 0.02),
    "right_hip": (-0.06, 0.0),
    "right_knee": (-0.07, 0.24),
    "right_ankle": (-0.07, 0.47),
    "left_hip": (0.06, 0.0),
    "left_knee": (0.07, 0.24),
    "left_ankle": (0.07, 0.47),
    "right_eye": (-0.025, -0.435),
    "left_eye": (0.025, -0.435),
    "right_ear": (-0.05, -0.42),
    "left_ear": (0.05, -0.42),
}


def person(x: float, y: float, height: float, turn: float = 0.0, mirrored: bool = False) -> np.ndarray:
    """Parts [18,2] of a person with the hip centre at (x, y), turned by radians clockwise on the screen."""
    body = np.array([STANDING[part] for part in PARTS]) * height
    if mirrored:
        body[:, 0] *= -1
    c, s = np.cos(turn), np.sin(turn)
    return body @ np.array([[c, s], [-s, c]]) + (x, y)


def draw(people: list[np.ndarray], height: int, width: int) -> StageOutput:
    """People's parts [18,2] in cells, NaN where missing -> fields [1,38,h,w] and heat maps [1,19,h,w]."""
    y, x = np.mgrid[:height, :width].astype(float)
    heat = np.zeros((HEAT_MAPS, height, width))
    fields, hits = np.zeros((FIELDS, height, width)), np.zeros((FIELDS, height, width))
    for parts in people:
        for part, (px, py) in enumerate(parts):
            if np.isfinite(px):
                heat[part] = np.maximum(heat[part], np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * SPREAD**2)))
        for limb in LIMBS:
            begin, end = parts[limb.begin], parts[limb.end]
            length = np.linalg.norm(end - begin)
            if np.isfinite(length) and length > 0:
                ux, uy = (end - begin) / length
                along = (x - begin[0]) * ux + (y - begin[1]) * uy
                aside = np.abs((x - begin[0]) * uy - (y - begin[1]) * ux)
                on = (along >= -HALF_WIDTH) & (along <= length + HALF_WIDTH) & (aside <= HALF_WIDTH)
                for channel, value in ((limb.channel, ux), (limb.channel + 1, uy)):
                    fields[channel][on] += value
                    hits[channel][on] += 1
    heat[-1] = 1 - heat[:-1].max(0)
    fields /= np.maximum(hits, 1)
    return StageOutput(_batch(fields), _batch(heat))


def _batch(maps: np.ndarray) -> Tensor:
    return torch.from_numpy(maps.astype(np.float32))[None]
