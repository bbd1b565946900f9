# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures of the figure: binary, 128 x 128, every joint inside, drawn from a seed."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from models.toy_kinematic.figure import BONE_LENGTH, Figure

SIZE = 128
"""Pixels a side."""

TRAINING, TEST = 16_000, 1_000
"""Samples, as in the paper."""

OPENING = np.radians((10.0, 80.0))
"""Of the arms at the root. Inside a right angle, so that left and right can be told apart by the picture."""

ORIENTATION, BEND = np.radians(45.0), np.radians(60.0)
"""Largest to either side. No angle comes near to wrapping around, so that regressing it is a fair task."""

MARGIN = 4.0
"""Pixels between a joint and the picture's border."""

LINE_WIDTH = 5
_DRAWN_AT_ONCE = 1 << 15
_TRIES = 16
_FRACTION_BITS = 4


class Samples(NamedTuple):
    """Pictures [N, 1, 128, 128] uint8 (0 or 1), motion parameters [N, P] and joints [N, K, 2]."""

    images: Tensor
    parameters: Tensor
    joints: Tensor


def make_samples(figure: Figure, count: int, seed: int) -> Samples:
    """Draw so many samples: every parameter uniform, and bends drawn again while they lead out of the picture."""
    rng = np.random.default_rng(seed)
    accepted: list[Tensor] = []
    while sum(map(len, accepted)) < count:
        drawn = torch.from_numpy(_draw_parameters(rng, figure, _DRAWN_AT_ONCE)).float()
        accepted.append(drawn[_inside(figure(drawn).numpy()).all(axis=-1)])
    parameters = torch.cat(accepted)[:count]
    joints = figure(parameters)
    images = np.stack([draw(figure, one) for one in joints.numpy()])
    return Samples(torch.from_numpy(images)[:, None], parameters, joints)


def _draw_parameters(rng: np.random.Generator, figure: Figure, count: int) -> np.ndarray:
    """Return motion parameters [N, P] of up to so many figures; they are inside the picture if bends can do that."""
    root = rng.uniform(MARGIN, SIZE - MARGIN, (count, 2))
    orientation = rng.uniform(-ORIENTATION, ORIENTATION, count) * (figure.level > 1)
    opening = rng.uniform(OPENING[0], OPENING[1], count)
    begun = _inside(root + _bone(orientation + opening)) & _inside(root + _bone(orientation - opening))
    root, orientation, opening = root[begun], orientation[begun], opening[begun]
    columns = [*root.T, *([orientation] if figure.level > 1 else []), opening]
    for side in (1, -1):
        bearing = orientation + side * opening
        end = root + _bone(bearing)
        for _ in range(figure.level - 1):
            bend = rng.uniform(-BEND, BEND, len(root))
            for _ in range(_TRIES):
                outside = np.flatnonzero(~_inside(end + _bone(bearing + side * bend)))
                bend[outside] = rng.uniform(-BEND, BEND, len(outside))
            bearing = bearing + side * bend
            end = end + _bone(bearing)
            columns.append(bend)
    return np.stack(columns, axis=1)


def _bone(bearing: np.ndarray) -> np.ndarray:
    return BONE_LENGTH * np.stack([-np.sin(bearing), np.cos(bearing)], axis=-1)


def _inside(joints: np.ndarray) -> np.ndarray:
    return ((joints > MARGIN) & (joints < SIZE - MARGIN)).all(axis=-1)


def draw(figure: Figure, joints: np.ndarray) -> np.ndarray:
    """Return the picture [128, 128] uint8, 1 on the bones, of joints [K, 2] in pixels."""
    picture = np.zeros((SIZE, SIZE), np.uint8)
    # pixel i covers [i, i + 1); OpenCV puts integers at the centres of pixels
    fixed = np.round((joints - 0.5) * 2**_FRACTION_BITS).astype(np.int32)
    left, right = fixed[: figure.level + 1], fixed[[0, *range(figure.level + 1, figure.joints)]]
    cv2.polylines(picture, [left, right], False, (1,), LINE_WIDTH, cv2.LINE_8, _FRACTION_BITS)
    return picture
