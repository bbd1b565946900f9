# SPDX-License-Identifier: GPL-3.0-or-later
"""The network: features of frames over time to motion parameters, how sure of them, and what else they may be.

Residual blocks along time, each looking at a frame and at one before and one after it at a growing distance. Weights
are stored with what they were made for, so that those of another version are refused.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import Video2RigError
from ..skeleton import Skeleton
from .features import FEATURES
from .motion_parameters import MotionParameters

FORMAT = 1
"""Version of the weights' format: features, points, parameters and their order."""

RATE = 30.0
"""Frames a second that the network was made for."""


class RegressionError(Video2RigError):
    """Weights that are not this network's, or input that it cannot read."""


@dataclass(frozen=True)
class Shape:
    """A network's size.

    Attributes:
        width: Channels of a frame. dilations: Distance in frames that each block looks at. alternatives: How many
        other answers are given for each limb.
    """

    width: int = 256
    dilations: tuple[int, ...] = (1, 3, 9, 27)
    alternatives: int = 2


@dataclass(frozen=True)
class Prediction:
    """What the network says of windows of frames, in the camera turned to the torso.

    Attributes:
        parameters: [..., M] motion parameters. log_deviation: [..., J, 3] logarithms of the standard deviations of the
            rotation vectors from the prediction to the truth, about each joint's own axes, radians.
        alternatives: [..., H, M] other motion parameters, whose limbs may be the true ones; only limbs count.
    """

    parameters: Tensor
    log_deviation: Tensor
    alternatives: Tensor


class _Block(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.norm = nn.LayerNorm(width)
        self.gather = nn.Linear(3 * width, width)
        self.spread = nn.Linear(width, width)
        nn.init.zeros_(self.spread.weight)
        nn.init.zeros_(self.spread.bias)

    def forward(self, x: Tensor) -> Tensor:
        y, frames, reach = self.norm(x), x.shape[1], self.dilation
        index = torch.arange(-reach, frames + reach, device=x.device).clamp(0, frames - 1)
        padded = y[:, index]
        near = torch.cat([padded[:, :frames], y, padded[:, 2 * reach :]], dim=-1)
        return x + self.spread(nn.functional.gelu(self.gather(near)))


class TemporalNetwork(nn.Module):
    """Features [B, T, F] -> :class:`Prediction` of the same frames, at any T from 1."""

    mean: Tensor

    def __init__(self, skeleton: Skeleton, shape: Shape, mean: Tensor | None = None) -> None:
        """Begin with random weights that predict the mean [M]: of the motion parameters, if it is not given 0."""
        super().__init__()
        self.shape = shape
        self.joints = len(skeleton)
        mean = torch.zeros(MotionParameters(skeleton).size) if mean is None else mean
        size = len(mean)
        width = shape.width
        self.enter = nn.Linear(FEATURES, width)
        self.frame = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(_Block(width, dilation) for dilation in shape.dilations)
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, size)
        self.doubt = nn.Linear(width, 3 * self.joints)
        self.others = nn.Linear(width, shape.alternatives * size)
        self.register_buffer("mean", mean.clone())
        for layer, scale in ((self.leave, 0.01), (self.doubt, 0.01), (self.others, 0.03)):
            nn.init.normal_(layer.weight, std=scale)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.doubt.bias, -1.5)

    def forward(self, features: Tensor) -> Prediction:
        x = self.enter(features)
        x = x + self.frame(x)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        parameters = self.leave(x).float() + self.mean
        # what is not sure, and what else may be, must not change what is predicted
        beside = x.detach()
        others = parameters.detach()[..., None, :] + self.others(beside).float().unflatten(-1, (-1, len(self.mean)))
        return Prediction(parameters, self.doubt(beside).float().unflatten(-1, (self.joints, 3)), others)


def save(network: TemporalNetwork, path: Path) -> None:
    """Write weights as safetensors, with the network's shape."""
    network_facts = {"format": FORMAT, "shape": asdict(network.shape)}
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(state, path, metadata={"video2rig": json.dumps(network_facts)})


def load(path: Path, skeleton: Skeleton, device: torch.device | str = "cpu") -> TemporalNetwork:
    """Read what :func:`save` wrote.

    Raises:
        RegressionError: The file is none of this network's weights, is damaged, or is of another version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("video2rig", "{}"))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError, ValueError) as error:
        raise RegressionError(f"{path} holds no readable weights ({error})") from error
    if facts.get("format") != FORMAT:
        version = facts.get("format", "none")
        raise RegressionError(f"{path} holds weights of format {version}; this version reads format {FORMAT}")
    try:
        shape = facts["shape"]
        network = TemporalNetwork(skeleton, Shape(shape["width"], tuple(shape["dilations"]), shape["alternatives"]))
        network.load_state_dict(state)
    except (KeyError, TypeError, RuntimeError) as error:
        raise RegressionError(f"{path} does not hold the weights of the regression network ({error})") from error
    return network.to(device).eval()
