# SPDX-License-Identifier: GPL-3.0-or-later
"""The network of Cao et al. 2017 with 2 to 6 stages.

"Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields": the first ten convolutions of VGG-19 and two of
its own give 128 feature maps at an eighth of the resolution. Stage 1 has two branches of 3 x 3 kernels, for part
affinity fields (L1) and heat maps (L2); every later stage sees the features and both outputs of the one before it
through five 7 x 7 kernels. Each stage is supervised in training, so the later ones can be left out.

Layers carry the names that they have in the authors' model and in its PyTorch ports.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .layout import FIELDS, HEAT_MAPS
from .stages import StagedNetwork, StageOutput, check_stages
from .winograd import WinogradConv2d

FEATURES = 128
BRANCHES = {"L1": FIELDS, "L2": HEAT_MAPS}
_POOL = "pool"
_WIDE = 256  # outputs from which on Winograd's way is the faster one, by a half or more
_FRONT: tuple[tuple[str, int] | str, ...] = (
    *(("conv1_1", 64), ("conv1_2", 64), _POOL),
    *(("conv2_1", 128), ("conv2_2", 128), _POOL),
    *(("conv3_1", 256), ("conv3_2", 256), ("conv3_3", 256), ("conv3_4", 256), _POOL),
    *(("conv4_1", 512), ("conv4_2", 512), ("conv4_3_CPM", 256), ("conv4_4_CPM", FEATURES)),
)


class OpenPoseNetwork(StagedNetwork):
    """The network with random weights; `checkpoint.load_network` reads those of a file."""

    multiple = 8

    def __init__(self, stages: int = 6) -> None:
        """Raises OpenPoseError unless there are 2 to 6 stages."""
        super().__init__()
        check_stages(stages)
        self.stages = stages
        channels = 3
        for layer in _FRONT:
            if isinstance(layer, tuple):
                name, width = layer
                wide = width >= _WIDE
                self.add_module(
                    name, WinogradConv2d(channels, width) if wide else nn.Conv2d(channels, width, 3, padding=1)
                )
                channels = width
        for layers in (branch_layers(stage, branch) for stage in range(1, stages + 1) for branch in BRANCHES):
            for name, (inputs, outputs, kernel) in layers.items():
                self.add_module(name, nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2))

    def normalise(self, pixels: Tensor) -> Tensor:
        """RGB [B,3,H,W] in 0..255 -> BGR / 256 - 0.5, in which 128, the value of the padding, is 0."""
        return pixels.flip(1) / 256 - 0.5

    def forward(self, images: Tensor) -> list[StageOutput]:
        """Normalised pictures [B,3,H,W], H and W multiples of 8 -> the output of every stage."""
        features = self.features(images)
        outputs = [StageOutput(*(self._branch(features, 1, branch) for branch in BRANCHES))]
        for stage in range(2, self.stages + 1):
            seen = torch.cat([*outputs[-1], features], 1)
            outputs.append(StageOutput(*(self._branch(seen, stage, branch) for branch in BRANCHES)))
        return outputs

    def features(self, images: Tensor) -> Tensor:
        """Normalised pictures [B,3,H,W] -> [B,128,H/8,W/8]."""
        for layer in _FRONT:
            if isinstance(layer, tuple):
                images = functional.relu_(self.get_submodule(layer[0])(images))
            else:
                images = functional.max_pool2d(images, 2)
        return images

    def _branch(self, seen: Tensor, stage: int, branch: str) -> Tensor:
        *names, last = branch_layers(stage, branch)
        for name in names:
            seen = functional.relu_(self.get_submodule(name)(seen))
        return self.get_submodule(last)(seen)


def branch_layers(stage: int, branch: str) -> dict[str, tuple[int, int, int]]:
    """Inputs, outputs and kernel size of the convolutions of one branch, "L1" or "L2", of one stage, from 1 on."""
    last = BRANCHES[branch]
    if stage == 1:
        shapes = [(FEATURES, 128, 3)] + [(128, 128, 3)] * 2 + [(128, 512, 1), (512, last, 1)]
        return {f"conv5_{i}_CPM_{branch}": shape for i, shape in enumerate(shapes, 1)}
    seen = FEATURES + sum(BRANCHES.values())
    shapes = [(seen, 128, 7)] + [(128, 128, 7)] * 4 + [(128, 128, 1), (128, last, 1)]
    return {f"Mconv{i}_stage{stage}_{branch}": shape for i, shape in enumerate(shapes, 1)}
