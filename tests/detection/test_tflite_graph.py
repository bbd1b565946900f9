# SPDX-License-Identifier: GPL-3.0-or-later
"""The rebuilt graphs against the reference runtime, and the sparse format against a naive twin."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import flatbuffers
import numpy as np
import pytest
import tflite
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_data import blazepose_files, noise_frames, people_videos, read_video
from video2rig.detection.tflite_graph import GraphError, TFLiteGraph, densify, same_padding

NETWORKS = {"pose_detection.tflite": (-1.0, 1.0), "pose_landmark_full.tflite": (0.0, 1.0)}


def reference(path: Path, image: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs of the ai-edge-litert runtime for one image [1,H,W,3]."""
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return {d["name"]: interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()}


def network_inputs(size: int, low: float, high: float) -> list[np.ndarray]:
    """Real frames where there are some, and noise."""
    frames = [read_video(path, 1, start=20)[0] for path in people_videos()] + list(noise_frames(1, 300, 200))
    small = [cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA) for frame in frames]
    return [(frame[None] / np.float32(255) * (high - low) + low).astype(np.float32) for frame in small]


@pytest.mark.parametrize("name", NETWORKS)
def test_raw_outputs_equal_the_reference(name: str) -> None:
    path = blazepose_files()[name]
    graph = TFLiteGraph(path)
    for image in network_inputs(224 if "detection" in name else 256, *NETWORKS[name]):
        expected = reference(path, image)
        with torch.inference_mode():
            outputs = graph(torch.from_numpy(image).permute(0, 3, 1, 2))
        for output_name, output in zip(graph.output_names, outputs, strict=True):
            if output_name == "Identity_2":
                continue  # the mask: logits in the thousands, in which float32 itself wanders, and nothing reads it
            got = (output.permute(0, 2, 3, 1) if output.ndim == 4 else output).numpy()
            scale = max(1.0, float(np.abs(expected[output_name]).max()))
            assert got.shape == expected[output_name].shape
            assert np.abs(got - expected[output_name]).max() < 2e-4 * scale, output_name


@pytest.mark.parametrize("name", NETWORKS)
def test_any_batch_and_choice_of_outputs(name: str) -> None:
    path = blazepose_files()[name]
    whole = TFLiteGraph(path)
    chosen = TFLiteGraph(path, [whole.output_names[1], whole.output_names[0]])
    assert len(chosen.modules_in_order) <= len(whole.modules_in_order)
    size = 224 if "detection" in name else 256
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        batch = whole(images)
        for i in range(2):
            for one, many in zip(whole(images[i : i + 1]), batch, strict=True):
                torch.testing.assert_close(one[0], many[i], rtol=1e-4, atol=1e-3)
        second, first = chosen(images)
    torch.testing.assert_close(second, batch[1], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(first, batch[0], rtol=1e-4, atol=1e-3)


def test_bad_files(tmp_path: Path) -> None:
    good = blazepose_files()["pose_detection.tflite"]
    with pytest.raises(GraphError, match="has no output 'heat'; it has: Identity, Identity_1"):
        TFLiteGraph(good, ["heat"])
    with pytest.raises(GraphError, match="cannot be read"):
        TFLiteGraph(tmp_path / "absent.tflite")
    (tmp_path / "text.tflite").write_text("hello, this is text")
    with pytest.raises(GraphError, match="not a TensorFlow Lite model"):
        TFLiteGraph(tmp_path / "text.tflite")
    (tmp_path / "short.tflite").write_bytes(good.read_bytes()[:100_000])
    with pytest.raises(GraphError, match="damaged"):
        TFLiteGraph(tmp_path / "short.tflite")


@given(size=st.integers(1, 300), kernel=st.integers(1, 7), stride=st.integers(1, 4), dilation=st.integers(1, 3))
def test_same_padding_gives_the_size_that_tensorflow_does(size: int, kernel: int, stride: int, dilation: int) -> None:
    before, after = same_padding(size, kernel, stride, dilation)
    assert 0 <= after - before <= 1
    assert (size + before + after - (kernel - 1) * dilation - 1) // stride + 1 >= -(-size // stride)
    if kernel * dilation >= stride:
        assert (size + before + after - (kernel - 1) * dilation - 1) // stride + 1 == -(-size // stride)


def encode(dense: np.ndarray, order: list[int], compressed: list[bool]) -> tuple[np.ndarray, object]:
    """A naive writer of the sparse format without blocks: walks the tree level by level, one node at a time."""
    builder = flatbuffers.Builder(0)
    nodes: list[tuple[int, ...]] = [()]
    levels = []
    for depth, dimension in enumerate(order):
        size = dense.shape[dimension]
        segments, indices, below = [0], [], []
        for node in nodes:
            for i in range(size):
                inner = np.transpose(dense, order)[(*node, i)]
                if not compressed[depth] or np.any(inner):
                    indices.append(i)
                    below.append((*node, i))
            segments.append(len(indices))
        levels.append((compressed[depth], size, segments, indices))
        nodes = below
    values = np.array([np.transpose(dense, order)[node] for node in nodes], np.float32)

    def vector(items: list[int]) -> int:
        data = builder.CreateNumpyVector(np.array(items, np.int32))
        tflite.Int32VectorStart(builder)
        tflite.Int32VectorAddValues(builder, data)
        return tflite.Int32VectorEnd(builder)

    metadata = []
    for is_compressed, size, segments, indices in levels:
        tables = (vector(segments), vector(indices)) if is_compressed else None
        tflite.DimensionMetadataStart(builder)
        if tables is None:
            tflite.DimensionMetadataAddFormat(builder, tflite.DimensionType.DENSE)
            tflite.DimensionMetadataAddDenseSize(builder, size)
        else:
            tflite.DimensionMetadataAddFormat(builder, tflite.DimensionType.SPARSE_CSR)
            tflite.DimensionMetadataAddArraySegmentsType(builder, tflite.SparseIndexVector.Int32Vector)
            tflite.DimensionMetadataAddArraySegments(builder, tables[0])
            tflite.DimensionMetadataAddArrayIndicesType(builder, tflite.SparseIndexVector.Int32Vector)
            tflite.DimensionMetadataAddArrayIndices(builder, tables[1])
        metadata.append(tflite.DimensionMetadataEnd(builder))
    builder.StartVector(4, len(metadata), 4)
    for table in reversed(metadata):
        builder.PrependUOffsetTRelative(table)
    dimensions = builder.EndVector()
    traversal = builder.CreateNumpyVector(np.array(order, np.int32))
    tflite.SparsityParametersStart(builder)
    tflite.SparsityParametersAddTraversalOrder(builder, traversal)
    tflite.SparsityParametersAddDimMetadata(builder, dimensions)
    builder.Finish(tflite.SparsityParametersEnd(builder))
    return values, tflite.SparsityParameters.GetRootAs(builder.Output(), 0)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_densify_undoes_a_naive_encoder(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4), label="shape"))
    order = data.draw(st.permutations(range(len(shape))), label="order")
    compressed = data.draw(st.lists(st.booleans(), min_size=len(shape), max_size=len(shape)), label="compressed")
    random = np.random.default_rng(data.draw(st.integers(0, 1000)))
    dense = (random.integers(1, 9, shape) * (random.random(shape) < 0.4)).astype(np.float32)
    values, sparsity = encode(dense, list(order), compressed)
    np.testing.assert_array_equal(densify(values, shape, sparsity), dense)


def test_depth_to_space_keeps_tensorflow_order() -> None:
    from video2rig.detection.tflite_graph import _DepthToSpace

    batch, height, width, block, channels = 2, 3, 4, 2, 5
    x = torch.arange(batch * block * block * channels * height * width).reshape(batch, -1, height, width)
    y = _DepthToSpace(block)(x)
    for b, i, j, c in itertools.product(range(batch), range(height * block), range(width * block), range(channels)):
        depth = ((i % block) * block + j % block) * channels + c
        assert y[b, c, i, j] == x[b, depth, i // block, j // block]
