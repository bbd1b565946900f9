# SPDX-License-Identifier: GPL-3.0-or-later
"""3 x 3 convolutions on CPUs by Winograd's minimal filtering: a quarter of the products.

Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016), F(4 x 4, 3 x 3): pictures are cut into
tiles of 6 x 6 that overlap by two, and tiles and kernels turned so that a convolution becomes one matrix product at
each of 36 places. PyTorch's own convolutions do without on CPUs. It pays where there are many channels; sums differ
from those of a plain convolution by rounding, 1e-5 of the largest.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

_TILE, _KERNEL = 4, 3  # pixels that a tile puts out, and of a kernel, along each axis
_SEEN = _TILE + _KERNEL - 1
_TILES = 256  # at once: what they are turned into stays in the processor's cache
_OF_PICTURE = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_OF_KERNEL = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
_OF_RESULT = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)


class _Turned(NamedTuple):
    """Kernels [36,I,O], and the weights in the version that they were made of."""

    kernels: Tensor
    weight: Tensor
    version: int


class WinogradConv2d(nn.Conv2d):
    """A convolution of 3 x 3 that keeps the picture's size; on CPUs, where no gradient is wanted, as above.

    There it keeps turned kernels, four times as large as the weights, until these change: by another tensor or in
    place, though not through ``weight.data``'s own methods, of which PyTorch keeps no count.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, _KERNEL, padding=_KERNEL // 2)
        self._turned: _Turned | None = None

    def forward(self, input: Tensor) -> Tensor:
        """Pictures [B,I,H,W] -> [B,O,H,W]."""
        if torch.is_grad_enabled() or input.device.type != "cpu" or input.dtype != torch.float32:
            return super().forward(input)
        assert self.bias is not None
        return convolve(input, self._kernels(), self.bias)

    def _kernels(self) -> Tensor:
        """Return those [36,I,O] of the present weights."""
        weight, turned = self.weight.detach(), self._turned
        if turned is None or turned.weight.data_ptr() != weight.data_ptr() or turned.version != weight._version:
            turned = self._turned = _Turned(turned_kernels(weight), weight, weight._version)
        return turned.kernels


def turned_kernels(weight: Tensor) -> Tensor:
    """Kernels [O,I,3,3] -> [36,I,O], as `convolve` takes them."""
    turn = weight.new_tensor(_OF_KERNEL)
    return torch.einsum("ar,oirs,bs->abio", turn, weight, turn).flatten(0, 1).contiguous()


def convolve(images: Tensor, kernels: Tensor, bias: Tensor) -> Tensor:
    """Pictures [B,I,H,W], kernels [36,I,O] and bias [O] -> [B,O,H,W]; channels lie next to each other in memory."""
    count, channels, height, width = images.shape
    rows, columns, outputs = -(-height // _TILE), -(-width // _TILE), kernels.shape[2]
    edge, strip = _KERNEL // 2, max(1, _TILES // max(count * columns, 1))
    around = (0, 0, edge, _TILE * columns + edge - width, edge, _TILE * rows + edge - height)
    padded = functional.pad(images.permute(0, 2, 3, 1), around)
    of_picture, of_result = (_both_axes(padded.new_tensor(turn)) for turn in (_OF_PICTURE, _OF_RESULT))
    result = padded.new_empty(count, rows, _TILE, columns, _TILE, outputs)
    for first in range(0, rows, strip):
        last = min(first + strip, rows)
        tiles = count * (last - first) * columns
        part = padded[:, _TILE * first : _TILE * last + _KERNEL - 1]
        cut = part.unfold(1, _SEEN, _TILE).unfold(2, _SEEN, _TILE).permute(4, 5, 0, 1, 2, 3)
        seen = (of_picture @ cut.reshape(_SEEN**2, tiles * channels)).reshape(_SEEN**2, tiles, channels)
        products = torch.bmm(seen, kernels).reshape(_SEEN**2, tiles * outputs)
        squares = (of_result @ products).reshape(_TILE, _TILE, count, last - first, columns, outputs)
        result[:, first:last] = squares.permute(2, 3, 0, 4, 1, 5)
    whole = result.reshape(count, _TILE * rows, _TILE * columns, outputs)
    return (whole[:, :height, :width] + bias).permute(0, 3, 1, 2)


def _both_axes(turn: Tensor) -> Tensor:
    """What turns the numbers of a square, row after row, along both of its axes."""
    return torch.kron(turn, turn)
