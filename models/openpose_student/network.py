# SPDX-License-Identifier: GPL-3.0-or-later
"""The student: a front of depthwise separable convolutions in place of VGG-19, and few stages.

Howard et al., "MobileNets" (2017), gave the blocks of the front. A stage looks far with 7 x 7 kernels as those of
OpenPose do, one channel at a time; its two branches share everything but their last layer.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from video2rig.detection.openpose.layout import FIELDS, HEAT_MAPS
from video2rig.detection.openpose.stages import OpenPoseError, StagedNetwork, StageOutput, check_stages

# channels in units of the width, and stride
_FRONT = ((1, 1), (2, 2), (2, 1), (4, 2), (4, 1), (4, 1), (4, 1))
_DEPTH = 3
_KERNEL = 7


class Student(StagedNetwork):
    """The network with random weights; `load` reads those of a file that `save` wrote.

    Attributes:
        width: Channels of its first layer; its features have four times as many.
    """

    multiple = 8

    def __init__(self, stages: int = 2, width: int = 32) -> None:
        """Raises OpenPoseError unless there are 2 to 6 stages and 4 or more channels."""
        super().__init__()
        check_stages(stages)
        if not 4 <= width <= 256:
            raise OpenPoseError(f"a width of {width} channels was asked for; 4 to 256 are possible")
        self.stages, self.width = stages, width
        channels = width
        front: list[nn.Module] = [_layer(3, width, 3, 2)]
        for factor, stride in _FRONT:
            front.append(_separable(channels, factor * width, 3, stride))
            channels = factor * width
        self.front = nn.Sequential(*front)
        self.trunks = nn.ModuleList(
            nn.Sequential(
                _layer(channels + (FIELDS + HEAT_MAPS if stage else 0), channels, 1, 1),
                *(_Residual(_separable(channels, channels, _KERNEL if stage else 3, 1)) for _ in range(_DEPTH)),
            )
            for stage in range(stages)
        )
        self.heads = nn.ModuleList(nn.Conv2d(channels, FIELDS + HEAT_MAPS, 1) for _ in range(stages))
        empty = torch.zeros(FIELDS + HEAT_MAPS)
        empty[-1] = 1  # the background
        for head in self.heads:
            assert isinstance(head, nn.Conv2d) and head.bias is not None
            nn.init.normal_(head.weight, std=0.01)
            head.bias.data.copy_(empty)

    def normalise(self, pixels: Tensor) -> Tensor:
        """RGB [B,3,H,W] in 0..255 -> -1..1."""
        return pixels / 127.5 - 1

    def forward(self, images: Tensor) -> list[StageOutput]:
        """Normalised pictures [B,3,H,W], H and W multiples of 8 -> the output of every stage."""
        features = self.front(images)
        outputs: list[StageOutput] = []
        seen = features
        for trunk, head in zip(self.trunks, self.heads, strict=True):
            values = head(trunk(seen))
            outputs.append(StageOutput(values[:, :FIELDS], values[:, FIELDS:]))
            seen = torch.cat([features, values], 1)
        return outputs

    def save(self, path: Path) -> None:
        """Write the weights as safetensors."""
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(self.state_dict(), path, {"stages": str(self.stages), "width": str(self.width)})

    @classmethod
    def load(cls, path: str | Path) -> Student:
        """Read what `save` wrote.

        Raises:
            OpenPoseError: There is no such file, it is damaged, or is of another network.
        """
        path = Path(path)
        if not path.is_file():
            raise OpenPoseError(f"{path}: there is no such file; models/openpose_student/train.py writes one")
        try:
            with safe_open(path, "pt") as file:
                about = file.metadata() or {}
                network = cls(int(about["stages"]), int(about["width"]))
                network.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
            raise OpenPoseError(f"{path}: is damaged, or no weights of a student ({error})") from error
        return network.eval()


class _Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, values: Tensor) -> Tensor:
        return values + self.inner(values)


def _layer(inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _separable(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(_layer(inputs, inputs, kernel, stride, inputs), _layer(inputs, outputs, 1, 1))
