# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors that the detector made on rendered people, put on the points of other motions."""

from __future__ import annotations

import torch
from torch import Tensor

from video2rig.regression.points import POINTS

from .chance import Random
from .detector_errors import NAMES, DetectorErrors

_OFFSET = 0.02
"""Of the stature, in each axis: where a detector's point lies on a real body is not what it is on a rendered one."""

_LIKE = {"left_eye": "nose", "right_eye": "nose"}  # eyes have no place on the rendered body
_KNOWN = [POINTS.index(name) for name in (*NAMES, *_LIKE)]
_SOURCE = [NAMES.index(_LIKE.get(name, name)) for name in (*NAMES, *_LIKE)]


class Measured:
    """Draws real error sequences for windows whose torsos face the camera alike."""

    def __init__(self, errors: DetectorErrors) -> None:
        self._errors = errors

    def detected(self, rays: Tensor, stature: Tensor, facing: Tensor, choose: Random) -> tuple[Tensor, Tensor]:
        """Return points as the detector would see them, and its confidence, 0 for points that it does not have.

        Args:
            rays: [B, T, P, 2] true points, divided by their depth. stature: [B, T] of the person, in the same unit.
            facing: [B, T] where the torso faces, see :func:`.detector_errors.facing`.
        """
        drawn = self._errors.sample(facing, choose.generator)
        offset = _OFFSET * choose.normal(len(rays), 1, len(NAMES), 2)
        named = drawn.detected(rays[..., _KNOWN[: len(NAMES)], :], stature) + offset * stature[..., None, None]
        moved = named - rays[..., _KNOWN[: len(NAMES)], :]
        seen, confidence = rays.clone(), torch.zeros_like(rays[..., 0])
        seen[..., _KNOWN, :] += moved[..., _SOURCE, :]
        confidence[..., _KNOWN] = drawn.confidence[..., _SOURCE]
        return seen, confidence
