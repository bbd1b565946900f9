# SPDX-License-Identifier: GPL-3.0-or-later
"""A SimCC network that is known by heart: it sees coloured dots, one colour a keypoint, and says where they are.

Colours lie on a sphere around the grey of the background, so that a dot's blurred edge has nobody else's colour.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from video2rig.detection.simcc import DEVIATION, MEAN, SPLIT, Shape

GREY = 128.0
AWAY = 110.0
NEAR = 6.0  # how far a pixel's colour may be from a dot's to count fully, standard deviation
SIGMA = 6.0  # bins
SEEN = 0.35  # a dot counts from this best match of any pixel's colour with its own


def colours(count: int) -> np.ndarray:
    """Colours [K,3], 0..255: points spread evenly over a sphere (Fibonacci's spiral)."""
    k = np.arange(count) + 0.5
    z = 1 - 2 * k / count
    turn = np.pi * (1 + 5**0.5) * k
    ring = np.sqrt(1 - z**2)
    return np.round(GREY + AWAY * np.stack([ring * np.cos(turn), ring * np.sin(turn), z], 1))


def draw(height: int, width: int, people: list[np.ndarray], radius: float = 4.0) -> np.ndarray:
    """An image [height,width,3] uint8 of people [K,2] px, each keypoint a dot; NaN is left out."""
    image = np.full((height, width, 3), GREY)
    for positions in people:
        for (at_x, at_y), colour in zip(positions, colours(len(positions)), strict=True):
            if not np.isfinite(at_x + at_y):
                continue
            left, top = (max(0, int(np.floor(at - radius - 1))) for at in (at_x, at_y))
            patch = image[top : int(at_y + radius + 2), left : int(at_x + radius + 2)]
            y, x = np.mgrid[top : top + patch.shape[0], left : left + patch.shape[1]]
            cover = np.clip(radius + 0.5 - np.hypot(x - at_x, y - at_y), 0, 1)[..., None]
            patch[:] = patch * (1 - cover) + colour * cover
    return np.round(image).astype(np.uint8)


def write(
    path: Path, shape: Shape, batch: int | None = None, bins: int = SPLIT, kind: str = "FLOAT", names: int = 2
) -> Path:
    """Write the network; `bins` and `names` (how many outputs) other than the defaults make it another model."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[onnx.NodeProto] = []
    constants: dict[str, np.ndarray] = {}

    def constant(name: str, value: object, dtype: type = np.float32) -> str:
        constants[name] = np.asarray(value, dtype=dtype)
        return name

    def node(operator: str, out: str, *inputs: str, **attributes: object) -> str:
        nodes.append(helper.make_node(operator, list(inputs), [out], **attributes))  # type: ignore[arg-type]
        return out

    number = TensorProto.DataType.Value(kind)
    count = shape.count
    wanted = colours(count)
    picture = "input" if kind == "FLOAT" else node("Cast", "floats", "input", to=TensorProto.FLOAT)
    scaled = node("Mul", "scaled", picture, constant("deviation", np.reshape(DEVIATION, (1, 3, 1, 1))))
    rgb = node("Add", "rgb", scaled, constant("mean", np.reshape(MEAN, (1, 3, 1, 1))))
    # the squared distance of each pixel's colour from each dot's: |p|^2 - 2 p.c + |c|^2
    square = node("ReduceSum", "square", node("Mul", "rgb2", rgb, rgb), constant("channels", [1], np.int64))
    product = node("Conv", "product", rgb, constant("kernels", -2 * wanted[:, :, None, None]))
    distance = node("Add", "partly", square, product)
    distance = node("Add", "distance", distance, constant("norms", (wanted**2).sum(1).reshape(1, count, 1, 1)))
    match = node("Exp", "match", node("Mul", "negative", distance, constant("near", -0.5 / NEAR**2)))
    best = node("ReduceMax", "best", match, axes=[2, 3], keepdims=0)
    seen = node("Cast", "seen", node("Greater", "is_seen", best, constant("least", SEEN)), to=TensorProto.FLOAT)
    height = node(
        "Unsqueeze", "height", node("Mul", "peak", seen, constant("top", shape.peak)), constant("last", [2], np.int64)
    )
    outputs = []
    for axis, other, size in (("x", 2, shape.width), ("y", 3, shape.height)):
        mass = node("ReduceSum", f"mass_{axis}", match, constant(f"over_{axis}", [other], np.int64), keepdims=0)
        place = constant(f"place_{axis}", np.arange(size).reshape(1, 1, size))
        total = node("ReduceSum", f"total_{axis}", mass, "last", keepdims=1)
        moment = node("ReduceSum", f"moment_{axis}", node("Mul", f"placed_{axis}", mass, place), "last", keepdims=1)
        mean = node("Div", f"mean_{axis}", moment, node("Add", f"some_{axis}", total, constant(f"tiny_{axis}", 1e-6)))
        n = size * bins
        where = constant(f"bins_{axis}", np.arange(n).reshape(1, 1, n) / bins)
        off = node("Sub", f"off_{axis}", where, mean)
        power = node(
            "Mul",
            f"power_{axis}",
            node("Mul", f"off2_{axis}", off, off),
            constant(f"w_{axis}", -0.5 * (bins / SIGMA) ** 2),
        )
        node("Mul", f"simcc_{axis}", node("Exp", f"row_{axis}", power), height)
        outputs.append(helper.make_tensor_value_info(f"simcc_{axis}", TensorProto.FLOAT, ["batch", f"{axis}_dim_1", n]))
    graph = helper.make_graph(
        nodes,
        "dots",
        [helper.make_tensor_value_info("input", number, [batch or "batch", 3, shape.height, shape.width])],
        outputs[:names],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path
