# SPDX-License-Identifier: GPL-3.0-or-later
"""What every network of the OpenPose kind offers: pictures -> part affinity fields and heat maps, stage by stage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn

from ...errors import Video2RigError
from .layout import STAGES


class OpenPoseError(Video2RigError):
    """Weights that cannot be read or are of another network, or a number of stages that there is not."""


class StageOutput(NamedTuple):
    """fields [B,38,h,w] and heat maps [B,19,h,w] of one stage, h and w an eighth of the input's."""

    fields: Tensor
    heat: Tensor


class StagedNetwork(nn.Module, ABC):
    """A front that looks at the picture, and stages that each refine what the one before it put out.

    Attributes:
        stages: How many. multiple: Input sides must be multiples of this many pixels.
    """

    stages: int
    multiple: int

    @abstractmethod
    def normalise(self, pixels: Tensor) -> Tensor:
        """RGB [B,3,H,W] in 0..255 -> what `forward` takes."""

    @abstractmethod
    def forward(self, images: Tensor) -> list[StageOutput]:
        """Normalised pictures [B,3,H,W], sides multiples of `multiple` -> the output of every stage, the best last."""


def check_stages(stages: int) -> None:
    """Raise OpenPoseError unless there may be so many stages."""
    if stages not in STAGES:
        raise OpenPoseError(f"{stages} stages were asked for; {STAGES[0]} to {STAGES[-1]} are possible")
