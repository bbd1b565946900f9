# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenPose as a detector: frames -> everyone in them, with the 18 keypoints of COCO and the neck."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..detector import People
from ..keypoint_circles import circles
from .checkpoint import load_network
from .decode import Bodies, decode
from .layout import FIELDS, KEYPOINT_SET, STRIDE
from .mobilenet import MobileNetOpenPose
from .resample import resample
from .stages import OpenPoseError, StagedNetwork, StageOutput

SIZE = 368
"""Height in pixels at which the network of Cao et al. sees a frame, that of its training."""
MOBILENET_SIZE = 552
"""And the network with a MobileNetV2 front, which sees far fewer people at its training's 368."""
LONGEST = 2.5
"""Frames whose width is more than so many heights are seen smaller."""
PADDING = 128
SMALLEST = 64  # of a padded side: below, nothing is left to see after four halvings
MAX_SCALE = 4.0
CPU_BATCH, GPU_BATCH = 1, 8


class _View(NamedTuple):
    """How a frame is shown to the network: its size in the input's pixels (rows, columns), padded to `padded`."""

    size: tuple[int, int]
    padded: tuple[int, int]


class OpenPose:
    """Any of the networks with its decoding; `load` and `load_mobilenet` make one.

    Attributes:
        network: What puts out fields and heat maps. size: Height of the frame in its input.
        scales: Factors of that height; the outputs of several are averaged.
    """

    keypoint_set = KEYPOINT_SET

    def __init__(
        self,
        network: StagedNetwork,
        device: torch.device | str = "cpu",
        size: int = SIZE,
        scales: Sequence[float] = (1.0,),
    ) -> None:
        """Raises OpenPoseError where size or scales make no sense."""
        if not 16 <= size <= 4096:
            raise OpenPoseError(f"a height of {size} pixels was asked for; 16 to 4096 are possible")
        if not scales or not all(math.isfinite(scale) and 0 < scale <= MAX_SCALE for scale in scales):
            raise OpenPoseError(f"the scales are {list(scales)}; they are one or more factors of up to {MAX_SCALE:g}")
        self.network = network.to(device).eval().requires_grad_(False)
        self.size, self.scales = size, tuple(scales)
        for parameter in network.parameters():  # the order in which both kinds of device are fastest
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    @classmethod
    def load(
        cls,
        path: str | Path,
        stages: int = 6,
        device: torch.device | str = "cpu",
        size: int = SIZE,
        scales: Sequence[float] = (1.0,),
    ) -> OpenPose:
        """The network of Cao et al. with the weights that the user brings; see `checkpoint.py`.

        Raises:
            OpenPoseError: The file cannot be read, is of another model, or has fewer stages.
        """
        return cls(load_network(path, stages), device, size, scales)

    @classmethod
    def load_mobilenet(
        cls,
        path: str | Path,
        stages: int = 6,
        device: torch.device | str = "cpu",
        size: int = MOBILENET_SIZE,
        scales: Sequence[float] = (1.0,),
    ) -> OpenPose:
        """tf-pose-estimation's network with a MobileNetV2 front, from its .pb or .npz file; see `mobilenet.py`.

        Raises:
            OpenPoseError: The file cannot be read or is of another network.
        """
        return cls(MobileNetOpenPose.load(path, stages), device, size, scales)

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def batch(self) -> int:
        """Frames a network call that suit the device."""
        return CPU_BATCH if self.device.type == "cpu" else GPU_BATCH

    @torch.inference_mode()
    def find(self, images: Tensor) -> list[People]:
        """images [B,H,W,3] uint8 RGB on `device` -> the people of each frame, best first."""
        people: list[People] = []
        height, width = images.shape[1:3]
        for part in images.split(self.batch):
            people += [self._place(bodies, height, width) for bodies in decode(self.maps(part))]
        return people

    @torch.inference_mode()
    def maps(self, images: Tensor) -> StageOutput:
        """What the last stage puts out of images [B,H,W,3] uint8 RGB: the scales' mean, in the cells of the first."""
        first, *others = (self._maps(images, scale) for scale in self.scales)
        if not others:
            return first
        view = self._view(images.shape[1], images.shape[2], self.scales[0])
        total = torch.cat(first, 1)
        for scale, output in zip(self.scales[1:], others, strict=True):
            other = self._view(images.shape[1], images.shape[2], scale)
            pace = tuple(there / here for there, here in zip(other.size, view.size, strict=True))
            total = total + resample(torch.cat(output, 1), (total.shape[2], total.shape[3]), (pace[0], pace[1]))
        mean = total / len(self.scales)
        return StageOutput(mean[:, :FIELDS], mean[:, FIELDS:])

    def _maps(self, images: Tensor, scale: float) -> StageOutput:
        view = self._view(images.shape[1], images.shape[2], scale)
        frames = images.permute(0, 3, 1, 2)
        if frames.device.type != "cpu":
            frames = frames.float()  # the filter takes bytes on the CPU alone, where that is much faster
        shown = functional.interpolate(frames, view.size, mode="bilinear", antialias=True, align_corners=False)
        edge = (0, view.padded[1] - view.size[1], 0, view.padded[0] - view.size[0])
        shown = functional.pad(shown.float(), edge, value=float(PADDING))
        return self.network(self.network.normalise(shown).contiguous(memory_format=torch.channels_last))[-1]

    def _view(self, height: int, width: int, scale: float) -> _View:
        factor = scale * min(self.size / height, LONGEST * self.size / width)
        rows, columns = (max(1, round(factor * side)) for side in (height, width))
        multiple = self.network.multiple
        padded = [max(SMALLEST, math.ceil(side / multiple) * multiple) for side in (rows, columns)]
        return _View((rows, columns), (padded[0], padded[1]))

    def _place(self, bodies: Bodies, height: int, width: int) -> People:
        """From the cells of the first scale to pixels of the frame."""
        view = self._view(height, width, self.scales[0])
        pace = np.array([width / view.size[1], height / view.size[0]])
        positions = (bodies.places + 0.5) * STRIDE * pace - 0.5
        return People(bodies.score, circles(positions, bodies.heat, KEYPOINT_SET), positions, bodies.heat)
