# SPDX-License-Identifier: GPL-3.0-or-later
"""A frozen TensorFlow graph without TensorFlow: its nodes in execution order, and its constants.

From the GraphDef itself (.pb), or from an .npz with the same content: `graph` is a JSON list of nodes, every other
array a constant under its name with "/" written as "|".
"""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import protobuf
from .stages import OpenPoseError

_DTYPES = {1: np.dtype("<f4"), 3: np.dtype("<i4")}


class Node(NamedTuple):
    """An operation: its inputs by name, and those of its settings that a convolutional network needs."""

    name: str
    op: str
    inputs: tuple[str, ...]
    stride: int = 1
    padding: str = ""
    epsilon: float = 0.0
    align_corners: bool = False


class Graph(NamedTuple):
    """Nodes, each after those whose output it takes, and constants by name."""

    nodes: list[Node]
    constants: dict[str, np.ndarray]


def read_graph(path: str | Path) -> Graph:
    """Read a graph from a .pb or .npz file.

    Raises:
        OpenPoseError: There is no such file, or it is no such graph, or a damaged one.
    """
    path = Path(path)
    try:
        return _read_npz(path) if path.suffix.lower() == ".npz" else _read_pb(path.read_bytes())
    except OSError as error:
        raise OpenPoseError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, EOFError, struct.error, zipfile.BadZipFile) as error:
        raise OpenPoseError(f"{path}: is damaged, truncated or no TensorFlow graph ({error})") from error


def _read_npz(path: Path) -> Graph:
    with np.load(path, allow_pickle=False) as file:
        nodes = [Node(**{**entry, "inputs": tuple(entry["inputs"])}) for entry in json.loads(str(file["graph"]))]
        return Graph(nodes, {name.replace("|", "/"): file[name] for name in file.files if name != "graph"})


# ---- GraphDef: the numbers of fields are those of TensorFlow's graph.proto and what it includes ----------------------


def _read_pb(data: bytes) -> Graph:
    nodes: list[Node] = []
    constants: dict[str, np.ndarray] = {}
    for number, value in protobuf.fields(data):
        if number != 1:
            continue
        node, attributes = _node(_bytes(value))
        if node.op == "Const":
            constants[node.name] = _tensor(attributes["value"])
        else:
            nodes.append(node)
    if not nodes:
        raise ValueError("it has no nodes")
    return Graph(_in_order(nodes, constants), constants)


def _node(message: memoryview) -> tuple[Node, dict[str, Any]]:
    name = op = ""
    inputs: list[str] = []
    attributes: dict[str, Any] = {}
    for number, value in protobuf.fields(message):
        if number == 1:
            name = _text(value)
        elif number == 2:
            op = _text(value)
        elif number == 3:
            inputs.append(_text(value).removesuffix(":0"))
        elif number == 5:
            entry = dict(protobuf.fields(_bytes(value)))
            attributes[_text(entry[1])] = _attribute(_bytes(entry[2]))
    strides = attributes.get("strides", [1, 1, 1, 1])
    if len(strides) != 4 or strides[1] != strides[2]:
        raise ValueError(f"{name} has the strides {strides}")
    if attributes.get("data_format", "NHWC") != "NHWC":
        raise ValueError(f"{name} has the data format {attributes['data_format']}")
    node = Node(
        name,
        op,
        tuple(source for source in inputs if not source.startswith("^")),  # those alone say what runs first
        strides[1],
        attributes.get("padding", ""),
        attributes.get("epsilon", 0.0),
        bool(attributes.get("align_corners", False)),
    )
    return node, attributes


def _attribute(message: memoryview) -> Any:
    for number, value in protobuf.fields(message):
        if number == 1:
            return [
                protobuf.signed(v)
                for n, part in protobuf.fields(_bytes(value))
                if n == 3
                for v in protobuf.packed(part)
            ]
        if number == 2:
            return bytes(_bytes(value)).decode(errors="replace")
        if number == 4:
            return struct.unpack("<f", _bytes(value))[0]
        return protobuf.signed(value) if isinstance(value, int) else value
    return None


def _tensor(message: Any) -> np.ndarray:
    """A TensorProto as an array; of a value that is given once for all elements, or of raw bytes."""
    dtype, shape, content = 0, [], b""
    for number, value in protobuf.fields(_bytes(message)):
        if number == 1 and isinstance(value, int):
            dtype = value
        elif number == 2:
            dimensions = [dict(protobuf.fields(_bytes(v))) for n, v in protobuf.fields(_bytes(value)) if n == 2]
            shape = [int(dimension.get(1, 0)) for dimension in dimensions]  # pyright: ignore[reportArgumentType]
        elif number == 4:
            content = bytes(_bytes(value))
        elif number == 5:
            content += bytes(_bytes(value))
        elif number == 7:
            content += np.array(protobuf.packed(value), np.uint64).astype(np.int32).tobytes()
    if dtype not in _DTYPES:
        raise ValueError(f"a constant has the type {dtype}; floats and 32-bit integers are covered")
    values = np.frombuffer(content, _DTYPES[dtype])
    count = int(np.prod(shape))
    if len(values) != count and len(values) != 1:
        raise ValueError(f"a constant of shape {shape} has {len(values)} values")
    return (values if len(values) == count else np.repeat(values, count)).reshape(shape)


def _in_order(nodes: list[Node], constants: dict[str, np.ndarray]) -> list[Node]:
    ordered: list[Node] = []
    known = set(constants)
    waiting = nodes
    while waiting:
        ready = [node for node in waiting if known.issuperset(node.inputs)]
        if not ready:
            raise ValueError(f"{waiting[0].name} takes what no node puts out")
        ordered += ready
        known.update(node.name for node in ready)
        waiting = [node for node in waiting if node.name not in known]
    return ordered


def _bytes(value: int | memoryview | Any) -> memoryview:
    if not isinstance(value, memoryview):
        raise protobuf.WireError(f"a number where bytes should be: {value}")
    return value


def _text(value: int | memoryview) -> str:
    return bytes(_bytes(value)).decode()
