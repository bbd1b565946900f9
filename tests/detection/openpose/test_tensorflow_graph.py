# SPDX-License-Identifier: GPL-3.0-or-later
"""The network with the MobileNetV2 front, rebuilt from its graph, and damaged graphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from shared_data import SHARED, noise_frames, read_video
from video2rig.detection.openpose import mobilenet, protobuf
from video2rig.detection.openpose.mobilenet import MobileNetOpenPose
from video2rig.detection.openpose.stages import OpenPoseError
from video2rig.detection.openpose.tensorflow_graph import Graph, Node, read_graph

NPZ = SHARED / "weights" / "openpose_mobilenet_v2_small.npz"
PB = NPZ.with_suffix(".pb")
DEMO = SHARED / "data" / "video" / "sports2d" / "demo.mp4"

needs_network = pytest.mark.skipif(not (NPZ.is_file() and PB.is_file()), reason=f"no {NPZ.name} and .pb beside it")


def frames(count: int = 2) -> Tensor:
    """Pictures [count,3,368,656] 0..255, of people where the video is here."""
    images = read_video(DEMO, count, 60) if DEMO.is_file() else noise_frames(count, 368, 656)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    return functional.interpolate(pixels, (368, 656), mode="bilinear", antialias=True)


# ---- the format ---------------------------------------------------------------------------------------------------


def varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


@given(st.lists(st.tuples(st.integers(1, 5000), st.one_of(st.integers(0, 2**64 - 1), st.binary(max_size=200)))))
def test_messages_are_read_as_written(content: list[tuple[int, int | bytes]]) -> None:
    message = b"".join(field(*entry) for entry in content)
    got = [(n, v if isinstance(v, int) else bytes(v)) for n, v in protobuf.fields(message)]
    assert got == content


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        assert sum(1 for _ in protobuf.fields(data)) <= len(data)
    except protobuf.WireError as error:
        assert str(error)


@given(st.integers(-(2**63), 2**63 - 1))
def test_signed_numbers(number: int) -> None:
    assert protobuf.signed(number % 2**64) == number


def test_nodes_are_put_in_order(tmp_path: Path) -> None:
    def node(name: str, op: str, *inputs: str) -> bytes:
        parts = [field(1, name.encode()), field(2, op.encode()), *(field(3, i.encode()) for i in inputs)]
        return field(1, b"".join(parts))

    path = tmp_path / "graph.pb"
    path.write_bytes(node("last", "Relu", "first:0", "^other") + node("first", "Placeholder"))
    assert [entry.name for entry in read_graph(path).nodes] == ["first", "last"]
    assert read_graph(path).nodes[1].inputs == ("first",)
    path.write_bytes(node("a", "Relu", "b") + node("b", "Relu", "a"))
    with pytest.raises(OpenPoseError, match="takes what no node puts out"):
        read_graph(path)


@needs_network
def test_both_files_hold_the_same_graph() -> None:
    one, other = read_graph(PB), read_graph(NPZ)
    assert {node.name: node for node in one.nodes} == {node.name: node for node in other.nodes}
    assert one.constants.keys() == other.constants.keys()
    for name, value in one.constants.items():
        np.testing.assert_array_equal(value, other.constants[name])


@needs_network
@pytest.mark.parametrize("path", [PB, NPZ])
@pytest.mark.parametrize("part", [0.0, 0.1, 0.7, 0.9999])
def test_truncated_graphs_are_refused(path: Path, part: float, tmp_path: Path) -> None:
    short = tmp_path / path.name
    data = path.read_bytes()
    short.write_bytes(data[: int(part * len(data))])
    with pytest.raises(OpenPoseError, match=rf"{path.name}: "):
        MobileNetOpenPose.load(short)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OpenPoseError, match="cannot be read"):
        MobileNetOpenPose.load(tmp_path / "nothing.pb")
    for name in ("other.pb", "other.npz"):
        (tmp_path / name).write_bytes(b"this is no graph at all")
        with pytest.raises(OpenPoseError, match="is damaged, truncated or no TensorFlow graph"):
            MobileNetOpenPose.load(tmp_path / name)
    np.savez(tmp_path / "arrays.npz", weights=np.zeros(3))
    with pytest.raises(OpenPoseError, match="is damaged, truncated or no TensorFlow graph"):
        MobileNetOpenPose.load(tmp_path / "arrays.npz")
    np.savez(tmp_path / "graph.npz", graph='[{"name": "image", "op": "Placeholder", "inputs": []}]')
    with pytest.raises(OpenPoseError, match="is of another network: it has no Openpose/MConv_Stage1"):
        MobileNetOpenPose.load(tmp_path / "graph.npz")


# ---- the network --------------------------------------------------------------------------------------------------


def interpret(graph: Graph, images: Tensor) -> dict[str, Tensor]:
    """Every node's value by the operations' definitions, nothing folded: images [1,3,H,W]."""
    constants = {name: torch.from_numpy(np.array(value)) for name, value in graph.constants.items()}
    values: dict[str, Tensor] = {}
    for node in graph.nodes:
        given = [values[name] if name in values else constants.get(name) for name in node.inputs]
        values[node.name] = _operation(node, images, given, values)
    return values


def _operation(node: Node, images: Tensor, given: list, values: dict[str, Tensor]) -> Tensor:
    x = given[0] if given else images
    if node.op in ("Conv2D", "DepthwiseConv2dNative"):
        kernel, size = given[1].shape[0], x.shape[2:]
        pads = [max((-(-n // node.stride) - 1) * node.stride + kernel - n, 0) for n in size]
        x = functional.pad(x, (pads[1] // 2, pads[1] - pads[1] // 2, pads[0] // 2, pads[0] - pads[0] // 2))
        if node.op == "Conv2D":
            return functional.conv2d(x, given[1].permute(3, 2, 0, 1), stride=node.stride)
        return functional.conv2d(x, given[1].permute(2, 3, 0, 1), stride=node.stride, groups=x.shape[1])
    if node.op == "FusedBatchNorm":
        scale, offset, mean, variance = given[1:]
        if mean.numel() == 0:
            mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        column = (slice(None), None, None)
        return (x - mean[column]) / (variance[column] + node.epsilon).sqrt() * scale[column] + offset[column]
    if node.op == "ResizeBilinear":
        like = values["MobilenetV2/expanded_conv_5/add"]
        return torch.from_numpy(_legacy_resize(x[0].numpy(), like.shape[2], like.shape[3]))[None]
    simple = {
        "Placeholder": lambda: images,
        "Relu": lambda: x.clamp(min=0),
        "Relu6": lambda: x.clamp(0, 6),
        "Add": lambda: given[0] + given[1],
        "ConcatV2": lambda: torch.cat(given[:-1], 1),
    }
    return simple.get(node.op, lambda: x)()


def _legacy_resize(maps: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """TensorFlow 1's ResizeBilinear of [C,h,w], cell by cell."""
    out = np.zeros((len(maps), rows, columns), np.float32)
    for i in range(rows):
        for j in range(columns):
            y, x = i * maps.shape[1] / rows, j * maps.shape[2] / columns
            top, left = int(y), int(x)
            bottom, right = min(top + 1, maps.shape[1] - 1), min(left + 1, maps.shape[2] - 1)
            upper = maps[:, top, left] * (1 - x + left) + maps[:, top, right] * (x - left)
            lower = maps[:, bottom, left] * (1 - x + left) + maps[:, bottom, right] * (x - left)
            out[:, i, j] = upper * (1 - y + top) + lower * (y - top)
    return out


@needs_network
@pytest.mark.parametrize("size", [(128, 160), (112, 80)])
def test_the_network_is_what_its_graph_says(size: tuple[int, int]) -> None:
    graph = read_graph(NPZ)
    network = MobileNetOpenPose(graph, 3)
    images = functional.interpolate(frames(1), size, mode="bilinear", antialias=True)
    images = network.normalise(images)
    with torch.inference_mode():
        got, values = network(images), interpret(graph, images)
    assert len(got) == 3
    for stage, output in enumerate(got, 1):
        for branch, value in (("L1", output.fields), ("L2", output.heat)):
            expected = values[f"Openpose/MConv_Stage{stage}_{branch}_5_pointwise/BatchNorm/FusedBatchNorm"]
            torch.testing.assert_close(value, expected, rtol=1e-3, atol=2e-4)


@needs_network
def test_its_batch_statistics_are_of_each_picture_alone() -> None:
    network = MobileNetOpenPose.load(NPZ, 2)
    assert sum(isinstance(step, mobilenet._InstanceNorm) for step in network.steps) == 39
    images = network.normalise(frames(2)[:, :, ::2, ::2][:, :, :176, :320])
    images[1] = images[1].flip(2)
    with torch.inference_mode():
        both, alone = network(images)[-1], network(images[1:])[-1]
    torch.testing.assert_close(both.heat[1:], alone.heat, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(both.fields[1:], alone.fields, rtol=1e-4, atol=1e-4)


@needs_network
@pytest.mark.skipif(not DEMO.is_file(), reason=f"no {DEMO}")
def test_stages_come_nearer_to_the_last_as_measured_elsewhere() -> None:
    """On one photograph of people the RMS differences of stage 2 to 5 from 6 were 0.0084, 0.0067, 0.0047, 0.0027 of
    heat maps and 0.0103, 0.0082, 0.0061, 0.0055 of fields: another picture gives the same order."""
    network = MobileNetOpenPose.load(PB)
    with torch.inference_mode():
        outputs = network(network.normalise(frames(1)))
    assert len(outputs) == 6
    measured = {"heat": (0.0084, 0.0067, 0.0047, 0.0027), "fields": (0.0103, 0.0082, 0.0061, 0.0055)}
    for name, elsewhere in measured.items():
        last = getattr(outputs[-1], name)
        here = [float((getattr(output, name) - last).square().mean().sqrt()) for output in outputs[1:5]]
        assert here == sorted(here, reverse=True)
        for one, other in zip(here, elsewhere, strict=True):
            assert 0.4 < one / other < 2.0


@needs_network
def test_fewer_stages_are_the_first_of_all() -> None:
    image = MobileNetOpenPose.load(NPZ, 2).normalise(frames(1)[:, :, :96, :96])
    with torch.inference_mode():
        few, all_of_them = MobileNetOpenPose.load(NPZ, 2)(image), MobileNetOpenPose.load(NPZ)(image)
    for one, other in zip(few, all_of_them[:2], strict=True):
        torch.testing.assert_close(one, other)
    with pytest.raises(OpenPoseError, match="7 stages were asked for"):
        MobileNetOpenPose.load(NPZ, 7)
