# SPDX-License-Identifier: GPL-3.0-or-later
"""The OpenPose network with a MobileNetV2 front, rebuilt in torch from its TensorFlow graph.

tf-pose-estimation's `mobilenet_v2_small` (Apache-2.0): depthwise separable convolutions throughout, 6 stages of 3 x 3
kernels, 18 parts of COCO. Its authors give a COCO AP of 17.3; the original network has 50.7 at a single scale.

The batch normalisations of its front were left in training mode: they use the statistics of what they see. Here those
are taken of each picture alone, so that a batch gives what single frames give; they are instance normalisations then.
All others are folded into the convolutions before them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeGuard

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..tflite_graph import same_padding
from .layout import FIELDS, HEAT_MAPS, STAGES
from .stages import OpenPoseError, StagedNetwork, StageOutput, check_stages
from .tensorflow_graph import Graph, Node, read_graph

_OUTPUT = "Openpose/MConv_Stage{stage}_{branch}_5_pointwise/BatchNorm/FusedBatchNorm"
_BRANCHES = {"L1": FIELDS, "L2": HEAT_MAPS}


class MobileNetOpenPose(StagedNetwork):
    """The network of a graph; only what its first `stages` stages need is kept."""

    multiple = 16

    def __init__(self, graph: Graph, stages: int = STAGES[-1]) -> None:
        """Raises OpenPoseError: The graph is another network's, or there are no such stages."""
        super().__init__()
        check_stages(stages)
        self.stages = stages
        self._outputs = [
            tuple(_OUTPUT.format(stage=stage, branch=branch) for branch in _BRANCHES) for stage in range(1, stages + 1)
        ]
        wanted = {name for pair in self._outputs for name in pair}
        nodes = {node.name: node for node in graph.nodes}
        if missing := sorted(wanted - nodes.keys()):
            raise OpenPoseError(f"the graph is of another network: it has no {missing[0]}")
        steps = _build(_needed(graph.nodes, wanted), graph.constants)
        self.steps = nn.ModuleList(module for module, _, _ in steps)
        self._wiring = [(inputs, output) for _, inputs, output in steps]
        last = {name: n for n, (inputs, _) in enumerate(self._wiring) for name in inputs}
        self._release = [
            {name for name in inputs if last[name] == n and name not in wanted}
            for n, (inputs, _) in enumerate(self._wiring)
        ]
        self._input = next(node.name for node in graph.nodes if node.op == "Placeholder")
        self.eval().requires_grad_(False)

    @classmethod
    def load(cls, path: str | Path, stages: int = STAGES[-1]) -> MobileNetOpenPose:
        """From `openpose_mobilenet_v2_small.pb`, the authors' `graph_opt.pb`, or its .npz form.

        Raises:
            OpenPoseError: The file cannot be read, or is of another network.
        """
        graph = read_graph(path)
        try:
            return cls(graph, stages)
        except OpenPoseError as error:
            raise OpenPoseError(f"{path}: {error}") from None
        except (KeyError, StopIteration, ValueError, IndexError, RuntimeError) as error:
            raise OpenPoseError(f"{path}: the graph is damaged or of another network ({error})") from error

    def normalise(self, pixels: Tensor) -> Tensor:
        """RGB [B,3,H,W] in 0..255 -> BGR in -1..1."""
        return pixels.flip(1) / 127.5 - 1

    def forward(self, images: Tensor) -> list[StageOutput]:
        """Normalised pictures [B,3,H,W], H and W multiples of 16 and at least 32 -> the output of every stage."""
        values = {self._input: images}
        for module, (inputs, output), done in zip(self.steps, self._wiring, self._release, strict=True):
            values[output] = module(*(values[name] for name in inputs))
            for name in done:
                del values[name]
        return [StageOutput(*(values[name] for name in pair)) for pair in self._outputs]


# ---- building -----------------------------------------------------------------------------------------------------

_Step = tuple[nn.Module, tuple[str, ...], str]
_SHAPE_OPS = ("Shape", "StridedSlice")


def _needed(nodes: list[Node], wanted: set[str]) -> list[Node]:
    """The nodes, in order, on which the wanted ones depend."""
    needed, kept = set(wanted), []
    for node in reversed(nodes):
        if node.name in needed:
            needed.update(node.inputs)
            kept.append(node)
    return kept[::-1]


def _build(nodes: list[Node], constants: dict[str, np.ndarray]) -> list[_Step]:
    """A module for each node, with the names of its inputs and of its output; those it is folded into have its name."""
    steps: dict[str, _Step] = {}
    moved: dict[str, str] = {}  # a node that was folded away -> the step that now puts out its value
    sizes: dict[str, str] = {}  # a node of a tensor's size -> that tensor
    readers: dict[str, int] = {}
    for node in nodes:
        for name in node.inputs:
            readers[name] = readers.get(name, 0) + 1
    for node in nodes:
        inputs = [moved.get(name, name) for name in node.inputs if name not in constants]
        given = [constants[name] for name in node.inputs if name in constants]
        if node.op == "Placeholder":
            continue
        if node.op in _SHAPE_OPS:
            sizes[node.name] = sizes.get(inputs[0], inputs[0])
            continue
        before = steps.get(inputs[0])
        alone = readers[node.inputs[0]] == 1
        if node.op == "FusedBatchNorm" and given[2].size:
            if before is None or not isinstance(before[0], _Convolution) or not alone:
                raise OpenPoseError(f"{node.name} follows no convolution")
            before[0].fold(given, node.epsilon)
            moved[node.name] = inputs[0]
        elif node.op in ("Relu", "Relu6") and before is not None and isinstance(before[0], _Ends) and alone:
            before[0].limit = 6.0 if node.op == "Relu6" else float("inf")
            moved[node.name] = inputs[0]
        elif node.op == "FusedBatchNorm":
            steps[node.name] = (
                _InstanceNorm(_tensor(given[0]), _tensor(given[1]), node.epsilon),
                (inputs[0],),
                node.name,
            )
        elif node.op in ("Conv2D", "DepthwiseConv2dNative"):
            if node.padding != "SAME":
                raise OpenPoseError(f"{node.name} has the padding {node.padding!r}; SAME is covered")
            kernel = given[0].transpose(2, 3, 0, 1) if node.op != "Conv2D" else given[0].transpose(3, 2, 0, 1)
            groups = len(kernel) if node.op != "Conv2D" else 1
            source = inputs[0]
            if before is not None and alone and _scales_alone(before[0]) and groups == 1:
                kernel = kernel * before[0].kernel.detach().numpy()[:, 0, 0, 0, None, None]
                (source,) = steps.pop(source)[1]
            steps[node.name] = _Convolution(_tensor(kernel), node.stride, groups), (source,), node.name
        elif node.op == "Add":
            steps[node.name] = _Add(), tuple(inputs), node.name
        elif node.op == "ConcatV2":
            steps[node.name] = _Concatenate(), tuple(inputs), node.name
        elif node.op == "ResizeBilinear":
            if node.align_corners:
                raise OpenPoseError(f"{node.name} aligns corners, which is not covered")
            steps[node.name] = _Resize(), (inputs[0], sizes[inputs[1]]), node.name
        else:
            raise OpenPoseError(f"{node.name}: the operation {node.op} is not covered")
    return _under_own_names(list(steps.values()), moved)


def _scales_alone(module: nn.Module) -> TypeGuard[_Convolution]:
    """Whether a step does no more than multiply each channel by a number, as 1 x 1 kernels of one channel do."""
    return (
        isinstance(module, _Convolution)
        and module.groups == len(module.kernel)
        and module.kernel.shape[1:] == (1, 1, 1)
        and module.stride == 1
        and module.limit == 0.0
        and not bool(module.bias.any())
    )


def _under_own_names(steps: list[_Step], moved: dict[str, str]) -> list[_Step]:
    """Steps put out under the name of the last node folded into them, which is how others ask for their value."""
    final = {target: name for name, target in moved.items()}
    return [
        (module, tuple(final.get(name, name) for name in inputs), final.get(output, output))
        for module, inputs, output in steps
    ]


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array, np.float32, order="C"))


class _Ends(nn.Module):
    """A step that may end in a ReLU, up to `limit`."""

    limit = 0.0  # none

    def end(self, values: Tensor) -> Tensor:
        if self.limit == 0.0:
            return values
        return functional.hardtanh_(values, 0.0, self.limit) if self.limit < float("inf") else values.relu_()


class _Convolution(_Ends):
    def __init__(self, kernel: Tensor, stride: int, groups: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(kernel)
        self.bias = nn.Parameter(torch.zeros(len(kernel)))
        self.stride, self.groups = stride, groups

    def fold(self, normalisation: list[np.ndarray], epsilon: float) -> None:
        scale, offset, mean, variance = map(_tensor, normalisation)
        factor = scale / torch.sqrt(variance + epsilon)
        self.kernel.data *= factor[:, None, None, None]
        self.bias.data = offset - mean * factor

    def forward(self, values: Tensor) -> Tensor:
        if self.kernel.shape[2:] == (1, 1) and self.stride == self.groups == 1:
            # a matrix product, which torch does not make of it by itself on one thread
            matrix = self.kernel[:, :, 0, 0]
            return self.end(functional.linear(values.permute(0, 2, 3, 1), matrix, self.bias).permute(0, 3, 1, 2))
        top, bottom = same_padding(values.shape[2], self.kernel.shape[2], self.stride, 1)
        left, right = same_padding(values.shape[3], self.kernel.shape[3], self.stride, 1)
        if (top, left) != (bottom, right):
            values = functional.pad(values, (left, right, top, bottom))
            top = left = 0
        return self.end(functional.conv2d(values, self.kernel, self.bias, self.stride, (top, left), groups=self.groups))


class _InstanceNorm(_Ends):
    def __init__(self, scale: Tensor, offset: Tensor, epsilon: float) -> None:
        super().__init__()
        self.scale, self.offset, self.epsilon = nn.Parameter(scale), nn.Parameter(offset), epsilon

    def forward(self, values: Tensor) -> Tensor:
        # written out: torch's own is several times slower where channels come last
        values = values - values.mean((2, 3), keepdim=True)
        variance = (values * values).mean((2, 3), keepdim=True)
        factor = self.scale[:, None, None] * torch.rsqrt(variance + self.epsilon)
        return self.end(torch.addcmul(self.offset[:, None, None], values, factor))


class _Add(nn.Module):
    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        return one + other


class _Concatenate(nn.Module):
    def forward(self, *parts: Tensor) -> Tensor:
        return torch.cat(parts, 1)


class _Resize(nn.Module):
    """Bilinear on TensorFlow's first grid: target cell i is at i times the scale in the source, with no half cells."""

    def forward(self, values: Tensor, like: Tensor) -> Tensor:
        for axis in (2, 3):
            count, target = values.shape[axis], like.shape[axis]
            at = torch.arange(target, device=values.device, dtype=torch.float32) * (count / target)
            low = at.long().clamp(max=count - 1)
            shape = [1, 1, 1, 1]
            shape[axis] = target
            part = (at - low).to(values.dtype).reshape(shape)
            values = torch.lerp(
                values.index_select(axis, low), values.index_select(axis, (low + 1).clamp(max=count - 1)), part
            )
        return values
