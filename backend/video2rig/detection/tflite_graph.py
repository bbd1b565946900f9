# SPDX-License-Identifier: GPL-3.0-or-later
"""A TensorFlow Lite flatbuffer rebuilt as a torch module.

Covers float graphs whose weights may be stored as float16 or sparse: such constants are decoded once, when
the module is built. The format is that of TensorFlow's `schema.fbs`, read through the package `tflite`.

Activations are NCHW here and NHWC in the file; four-dimensional constants, shapes and axes are turned around
while building. The batch of 1 that the file was written with becomes whatever batch comes in.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tflite
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import Video2RigError

NHWC_TO_NCHW_AXIS = {0: 0, 1: 2, 2: 3, 3: 1}
_DTYPES = {
    tflite.TensorType.FLOAT32: np.float32,
    tflite.TensorType.FLOAT16: np.float16,
    tflite.TensorType.INT32: np.int32,
    tflite.TensorType.INT64: np.int64,
}
_OPERATOR_NAMES = {v: k for k, v in vars(tflite.BuiltinOperator).items() if isinstance(v, int)}
_INDEX_VECTORS = {
    tflite.SparseIndexVector.Int32Vector: tflite.Int32Vector,
    tflite.SparseIndexVector.Uint16Vector: tflite.Uint16Vector,
    tflite.SparseIndexVector.Uint8Vector: tflite.Uint8Vector,
}


class GraphError(Video2RigError):
    """The file is not a TensorFlow Lite model, or uses something that this reader does not cover."""


class TFLiteGraph(nn.Module):
    """The first subgraph of a .tflite file, for any batch size.

    `outputs` names the outputs wanted, in the order wanted (all of them if None); what only the others need
    is left out.
    """

    def __init__(self, path: str | Path, outputs: Sequence[str] | None = None) -> None:
        super().__init__()
        reader = _Reader(Path(path))
        self.output_names = tuple(reader.outputs) if outputs is None else tuple(outputs)
        for name in self.output_names:
            if name not in reader.outputs:
                raise GraphError(f"{path} has no output '{name}'; it has: {', '.join(reader.outputs)}")
        self._input = reader.input
        self._wanted = tuple(reader.outputs[name] for name in self.output_names)
        steps = _needed([step for i in range(reader.operator_count) if (step := _build(reader, i))], self._wanted)
        self.modules_in_order = nn.ModuleList(step.module for step in steps)
        self._wiring = tuple((step.inputs, step.output) for step in steps)
        self._release = _release_plan(self._wiring, self._wanted)
        self.eval().requires_grad_(False)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """image [B,3,H,W] -> the outputs in the order of `output_names`; those with four dimensions as [B,C,H,W]."""
        values = {self._input: image}
        for module, (inputs, output), done in zip(self.modules_in_order, self._wiring, self._release, strict=True):
            values[output] = module(*(values[i] for i in inputs))
            for i in done:
                del values[i]
        return tuple(values[i] for i in self._wanted)


def frozen(graph: TFLiteGraph, size: int) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """The graph recorded for single images [1,3,size,size] on the CPU: a tenth faster, and threads that run it at the
    same time do not wait for Python's lock between its operators. Its results are the graph's own, to rounding.

    Torch calls its recorder deprecated; what it recommends instead needs a compiler on the user's machine.
    """
    example = torch.zeros(1, 3, size, size).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        traced = torch.jit.trace(graph, example, check_trace=False)
        assert isinstance(traced, torch.jit.ScriptModule)
        return torch.jit.freeze(traced.eval())


class _Step:
    """One module, the tensors it takes, the tensor it makes (numbers as in the file)."""

    def __init__(self, module: nn.Module, inputs: Sequence[int], output: int) -> None:
        self.module, self.inputs, self.output = module, tuple(inputs), output


def _needed(steps: list[_Step], wanted: Sequence[int]) -> list[_Step]:
    """The steps, in order, on which the wanted tensors depend."""
    needed, kept = set(wanted), []
    for step in reversed(steps):
        if step.output in needed:
            needed.update(step.inputs)
            kept.append(step)
    return kept[::-1]


def _release_plan(wiring: Sequence[tuple[tuple[int, ...], int]], wanted: Sequence[int]) -> list[tuple[int, ...]]:
    """For each step, the tensors that no later step reads."""
    last = {i: n for n, (inputs, _) in enumerate(wiring) for i in inputs}
    return [tuple({i for i in inputs if last[i] == n and i not in wanted}) for n, (inputs, _) in enumerate(wiring)]


class _Reader:
    """The flatbuffer's first subgraph: shapes, decoded constants, operators."""

    def __init__(self, path: Path) -> None:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise GraphError(f"{path} cannot be read: {error.strerror or error}") from error
        if data[4:8] != b"TFL3":
            raise GraphError(f"{path} is not a TensorFlow Lite model (no TFL3 mark at byte 4)")
        try:
            # Any: the package's own annotations call every table optional
            self._model: Any = tflite.Model.GetRootAsModel(data, 0)
            self._graph: Any = self._model.Subgraphs(0)
            self._decode()
        except (struct.error, ValueError, IndexError, TypeError, AttributeError) as error:
            raise GraphError(f"{path} is damaged: {error}") from error

    def _decode(self) -> None:
        graph = self._graph
        if graph.InputsLength() != 1:
            raise GraphError(f"the graph has {graph.InputsLength()} inputs; 1 is covered")
        self.input = int(graph.Inputs(0))
        self.outputs = {graph.Tensors(i).Name().decode(): int(i) for i in graph.OutputsAsNumpy().tolist()}
        self.operator_count = graph.OperatorsLength()
        self.shapes = [_list(graph.Tensors(i).ShapeAsNumpy()) for i in range(graph.TensorsLength())]
        self.constants: dict[int, np.ndarray] = {}
        for i in range(graph.TensorsLength()):
            buffer = self._model.Buffers(graph.Tensors(i).Buffer())
            if buffer is not None and buffer.DataLength():
                self.constants[i] = self._constant(i, buffer.DataAsNumpy())

    def _constant(self, index: int, raw: np.ndarray) -> np.ndarray:
        tensor = self._graph.Tensors(index)
        if tensor.Type() not in _DTYPES:
            raise GraphError(f"constant {index} has the tensor type {tensor.Type()}; floats and integers are covered")
        values = np.frombuffer(raw.tobytes(), _DTYPES[tensor.Type()])
        sparsity = tensor.Sparsity()
        if sparsity is not None and sparsity.DimMetadataLength():
            return densify(values, self.shapes[index], sparsity)
        return values.reshape(self.shapes[index])

    def operator(self, index: int) -> tuple[str, list[int], int, Any]:
        """Name, input tensors, output tensor and option table of an operator."""
        operator = self._graph.Operators(index)
        code = self._model.OperatorCodes(operator.OpcodeIndex())
        # files written before the operator count passed 127 carry the code in the older, narrower field
        name = _OPERATOR_NAMES[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        return name, _list(operator.InputsAsNumpy()), int(operator.Outputs(0)), operator.BuiltinOptions()

    def constant(self, index: int) -> np.ndarray:
        if index not in self.constants:
            raise GraphError(f"tensor {index} should be a constant and is computed")
        return self.constants[index]


def _list(array: Any) -> list[int]:
    """The package returns 0 instead of an empty array for an absent vector."""
    return [] if isinstance(array, int) else [int(v) for v in array]


def _options(cls: Any, table: Any) -> Any:
    options = cls()
    options.Init(table.Bytes, table.Pos)
    return options


# ---- sparse constants
# ---------------------------------------------------------------------------------------------


def densify(values: np.ndarray, shape: Sequence[int], sparsity: Any) -> np.ndarray:
    """A sparse tensor (stored values, dense shape, flatbuffer SparsityParameters) as a dense array.

    The format is a tree with one level a dimension, in the traversal order; blocks add inner levels. A dense
    level has every coordinate; a compressed one (CSR) lists, between segments[p] and segments[p + 1], those
    below node p.
    """
    order, block_map = _list(sparsity.TraversalOrderAsNumpy()), _list(sparsity.BlockMapAsNumpy())
    levels = [sparsity.DimMetadata(i) for i in range(sparsity.DimMetadataLength())]
    coordinates = np.zeros((1, 0), np.int64)  # [nodes, levels so far]
    nodes = np.zeros(1, np.int64)
    for level in levels:
        if level.Format() == tflite.DimensionType.DENSE:
            parents, below, nodes = _dense_level(nodes, level.DenseSize())
        else:
            segments = _index_vector(level.ArraySegmentsType(), level.ArraySegments())
            indices = _index_vector(level.ArrayIndicesType(), level.ArrayIndices())
            parents, below, nodes = _compressed_level(nodes, segments, indices)
        coordinates = np.concatenate([coordinates[parents], below[:, None]], axis=1)

    rank = len(shape)
    block_size = np.ones(rank, np.int64)
    for k, dimension in enumerate(block_map):
        block_size[dimension] = levels[order.index(rank + k)].DenseSize()
    index = np.zeros((len(coordinates), rank), np.int64)
    for level, dimension in enumerate(order):
        if dimension < rank:
            index[:, dimension] += coordinates[:, level] * block_size[dimension]
        else:
            index[:, block_map[dimension - rank]] += coordinates[:, level]
    dense = np.zeros(shape, values.dtype)
    dense[tuple(index.T)] = values[nodes]
    return dense


def _dense_level(nodes: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of the parents, coordinates and node numbers one dense level further down."""
    below = np.tile(np.arange(size), len(nodes))
    return np.repeat(np.arange(len(nodes)), size), below, np.repeat(nodes * size, size) + below


def _compressed_level(
    nodes: np.ndarray, segments: np.ndarray, indices: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of the parents, coordinates and node numbers one compressed level further down."""
    counts = segments[nodes + 1] - segments[nodes]
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    below = np.repeat(segments[nodes], counts) + within
    return np.repeat(np.arange(len(nodes)), counts), indices[below], below


def _index_vector(kind: int, table: Any) -> np.ndarray:
    return _options(_INDEX_VECTORS[kind], table).ValuesAsNumpy().astype(np.int64)


# ---- operators
# ----------------------------------------------------------------------------------------------------


def _build(reader: _Reader, index: int) -> _Step | None:
    """The step for operator `index`; None where its output is a constant, which is then computed here and now."""
    name, inputs, output, table = reader.operator(index)
    if name in ("DENSIFY", "DEQUANTIZE") and inputs[0] in reader.constants:
        # sparse constants are densified when read; only the type is left to change
        reader.constants[output] = reader.constants[inputs[0]].astype(np.float32)
        return None
    if name not in _BUILDERS:
        raise GraphError(f"operator {name} is not covered; covered are: {', '.join(sorted(_BUILDERS))}")
    module, used = _BUILDERS[name](reader, inputs, output, table)
    return _Step(module, used, output)


_Built = tuple[nn.Module, list[int]]


def _convolution(reader: _Reader, inputs: list[int], output: int, table: Any) -> _Built:
    options = _options(tflite.Conv2DOptions, table)
    kernel = reader.constant(inputs[1]).transpose(0, 3, 1, 2)  # OHWI -> OIHW
    return _convolution_module(reader, inputs, options, kernel, groups=1)


def _depthwise(reader: _Reader, inputs: list[int], output: int, table: Any) -> _Built:
    options = _options(tflite.DepthwiseConv2DOptions, table)
    kernel = reader.constant(inputs[1]).transpose(3, 0, 1, 2)  # 1HWO -> O1HW
    return _convolution_module(reader, inputs, options, kernel, groups=reader.shapes[inputs[0]][3])


def _convolution_module(reader: _Reader, inputs: list[int], options: Any, kernel: np.ndarray, groups: int) -> _Built:
    stride = (options.StrideH(), options.StrideW())
    dilation = (options.DilationHFactor(), options.DilationWFactor())
    pad = (0, 0, 0, 0)
    if options.Padding() == tflite.Padding.SAME:
        height, width = reader.shapes[inputs[0]][1:3]
        top, bottom = same_padding(height, kernel.shape[2], stride[0], dilation[0])
        left, right = same_padding(width, kernel.shape[3], stride[1], dilation[1])
        pad = (left, right, top, bottom)
    symmetric = pad[0] == pad[1] and pad[2] == pad[3]
    convolution = nn.Conv2d(
        kernel.shape[1] * groups,
        kernel.shape[0],
        (kernel.shape[2], kernel.shape[3]),
        stride,
        (pad[2], pad[0]) if symmetric else 0,
        dilation,
        groups,
        bias=len(inputs) > 2 and inputs[2] >= 0,
    )
    convolution.weight.data = _tensor(kernel)
    if convolution.bias is not None:
        convolution.bias.data = _tensor(reader.constant(inputs[2]))
    parts: list[nn.Module] = [] if symmetric else [nn.ZeroPad2d(pad)]
    return _sequence([*parts, convolution, *_activation(options)]), inputs[:1]


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """TensorFlow's SAME along one axis: zeros before and after, the odd one after."""
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def _add(reader: _Reader, inputs: list[int], output: int, table: Any) -> _Built:
    if any(i in reader.constants for i in inputs):
        raise GraphError("ADD of a constant is not covered")
    return _Add(_sequence(_activation(_options(tflite.AddOptions, table)))), inputs


def _pad(reader: _Reader, inputs: list[int], output: int, table: Any) -> _Built:
    batch, height, width, channels = reader.constant(inputs[1]).tolist()
    if any(batch):
        raise GraphError("PAD along the batch is not covered")
    return _Pad((*width, *height, *channels)), inputs[:1]


def _reshape(reader: _Reader, inputs: list[int], output: int, table: Any) -> _Built:
    if reader.shapes[inputs[0]][0] != 1 or reader.shapes[output][0] != 1:
        raise GraphError("RESHAPE that changes the batch is not covered")
    return _Reshape(reader.shapes[output][1:]), inputs[:1]


def _resize(reader: _Reader, inputs: list[int], output: int, table: Any) -> _Built:
    options = _options(tflite.ResizeBilinearOptions, table)
    if not (options.AlignCorners() or options.HalfPixelCenters()):
        raise GraphError("RESIZE_BILINEAR on TensorFlow's legacy grid is not covered")
    height, width = reader.constant(inputs[1]).tolist()
    return nn.Upsample((height, width), mode="bilinear", align_corners=bool(options.AlignCorners())), inputs[:1]


def _max_pool(reader: _Reader, inputs: list[int], output: int, table: Any) -> _Built:
    options = _options(tflite.Pool2DOptions, table)
    kernel = (options.FilterHeight(), options.FilterWidth())
    stride = (options.StrideH(), options.StrideW())
    size = reader.shapes[inputs[0]][1:3]
    if kernel != stride or any(n % k for n, k in zip(size, kernel, strict=True)):
        raise GraphError(f"MAX_POOL_2D with window {kernel}, stride {stride} on {size} is not covered")
    return _sequence([nn.MaxPool2d(kernel, stride), *_activation(options)]), inputs


def _depth_to_space(reader: _Reader, inputs: list[int], output: int, table: Any) -> _Built:
    return _DepthToSpace(_options(tflite.DepthToSpaceOptions, table).BlockSize()), inputs


def _concatenation(reader: _Reader, inputs: list[int], output: int, table: Any) -> _Built:
    options = _options(tflite.ConcatenationOptions, table)
    rank = len(reader.shapes[output])
    axis = options.Axis() % rank
    return _Concatenation(NHWC_TO_NCHW_AXIS[axis] if rank == 4 else axis), inputs


def _logistic(reader: _Reader, inputs: list[int], output: int, table: Any) -> _Built:
    return nn.Sigmoid(), inputs


def _dequantize(reader: _Reader, inputs: list[int], output: int, table: Any) -> _Built:
    return nn.Identity(), inputs  # of an activation: float16 in the file, computed in the module's own type here


_BUILDERS: dict[str, Callable[[_Reader, list[int], int, Any], _Built]] = {
    "ADD": _add,
    "CONCATENATION": _concatenation,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "DEPTH_TO_SPACE": _depth_to_space,
    "DEQUANTIZE": _dequantize,
    "LOGISTIC": _logistic,
    "MAX_POOL_2D": _max_pool,
    "PAD": _pad,
    "RESHAPE": _reshape,
    "RESIZE_BILINEAR": _resize,
}


def _activation(options: Any) -> list[nn.Module]:
    kinds = tflite.ActivationFunctionType
    kind = options.FusedActivationFunction()
    if kind == kinds.NONE:
        return []
    if kind == kinds.RELU:
        return [nn.ReLU(inplace=True)]
    if kind == kinds.RELU6:
        return [nn.ReLU6(inplace=True)]
    raise GraphError(f"the fused activation {kind} is not covered; NONE, RELU and RELU6 are")


def _sequence(parts: list[nn.Module]) -> nn.Module:
    return parts[0] if len(parts) == 1 else nn.Sequential(*parts)


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))


class _Add(nn.Module):
    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.activation(a + b)


class _Pad(nn.Module):
    """Zeros around width, height and channels: (left, right, top, bottom, first, last)."""

    def __init__(self, amounts: Sequence[int]) -> None:
        super().__init__()
        self.amounts = list(amounts) if any(amounts[4:]) else list(amounts[:4])

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(x, self.amounts)


class _Reshape(nn.Module):
    """To a shape given without the batch; elements keep TensorFlow's order, channels last."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 4:
            x = x.permute(0, 2, 3, 1)
        x = x.reshape(x.shape[0], *self.shape)
        return x.permute(0, 3, 1, 2) if x.ndim == 4 else x


class _DepthToSpace(nn.Module):
    """TensorFlow's order (block row, block column, channel), which is not that of torch's pixel_shuffle."""

    def __init__(self, block: int) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        batch, depth, height, width = x.shape
        b = self.block
        x = x.reshape(batch, b, b, depth // (b * b), height, width).permute(0, 3, 4, 1, 5, 2)
        return x.reshape(batch, depth // (b * b), height * b, width * b)


class _Concatenation(nn.Module):
    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, *parts: Tensor) -> Tensor:
        return torch.cat(parts, self.axis)
