# SPDX-License-Identifier: GPL-3.0-or-later
"""Winograd's way to convolve, beside PyTorch's plain one."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from strategies import seeds
from video2rig.detection.openpose.winograd import WinogradConv2d, convolve, turned_kernels


@given(seeds, st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(1, 23), st.integers(1, 23))
def test_it_is_a_convolution(seed: int, count: int, inputs: int, outputs: int, height: int, width: int) -> None:
    random = torch.Generator().manual_seed(seed)
    images, weight, bias = (
        torch.randn(*shape, generator=random, dtype=torch.float64)
        for shape in ((count, inputs, height, width), (outputs, inputs, 3, 3), (outputs,))
    )
    expected = functional.conv2d(images, weight, bias, padding=1)
    assert torch.allclose(convolve(images, turned_kernels(weight), bias), expected, rtol=1e-10, atol=1e-10)


def test_single_precision_rounds_a_little_more() -> None:
    torch.manual_seed(1)
    images, layer = torch.randn(1, 256, 46, 46), WinogradConv2d(256, 256)
    with torch.no_grad():
        found = layer(images)
        expected = layer.double()(images.double())  # a plain one
    assert (found - expected).abs().max() < 2e-5 * expected.abs().max()
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_other_weights_are_noticed() -> None:
    torch.manual_seed(2)
    images, layer, other = torch.randn(1, 5, 9, 7), WinogradConv2d(5, 6), WinogradConv2d(5, 6)
    with torch.inference_mode():
        assert not torch.allclose(layer(images), other(images), atol=1e-3)
        expected = other(images)
    layer.load_state_dict(other.state_dict())
    with torch.inference_mode():
        assert torch.allclose(layer(images), expected)
    other.weight.data = 2 * other.weight.data
    with torch.inference_mode():
        plain = functional.conv2d(images, other.weight, other.bias, padding=1)
        assert torch.allclose(other(images), plain, atol=1e-4)


def test_gradients_are_those_of_the_plain_convolution() -> None:
    torch.manual_seed(3)
    images, layer = torch.randn(2, 3, 8, 8), WinogradConv2d(3, 4)
    layer(images).square().sum().backward()
    (expected,) = torch.autograd.grad(
        functional.conv2d(images, layer.weight, layer.bias, padding=1).square().sum(), [layer.weight]
    )
    assert layer.weight.grad is not None and torch.equal(layer.weight.grad, expected)
