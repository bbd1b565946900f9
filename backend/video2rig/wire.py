# SPDX-License-Identifier: GPL-3.0-or-later
"""What travels between client and server: one JSON header part, then one raw buffer part for each array.

The header is an object ``{"v": PROTOCOL, "type": ..., "arrays": [[name, dtype, shape], ...], <fields>}``. Nothing
that arrives is trusted: a message is either exactly one of `KINDS`, or it is a `WireError`. Nothing is unpickled,
no path is opened.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np

from .errors import Video2RigError

PROTOCOL = 6
"""Raised when a peer of the older protocol would misread the newer one."""

DTYPES = {name: np.dtype(name).newbyteorder("<") for name in ("uint8", "int32", "int64", "float32", "float64")}
MAX_HEADER_BYTES = 1 << 20
MAX_RESULT_HEADER_BYTES = 1 << 24
"""Of a result, which tells the skeletons of several people; only clients read one."""
MAX_PEOPLE = 32
"""Takes of one result."""
MAX_ARRAYS = 16 * MAX_PEOPLE
MAX_DIMENSIONS = 8
MAX_ARRAY_BYTES = 1 << 32
MAX_RESULT_PART_BYTES = 1 << 30
MAX_INTEGER = 1 << 53
MAX_TEXT = 4096


class Kind(NamedTuple):
    """A kind of message: its fields with their types, and whether arrays come with it."""

    fields: dict[str, type]
    arrays: bool = False


KINDS: dict[str, Kind] = {
    # client to server, control
    "hello": Kind({"package": str}),
    "open": Kind({"settings": dict, "video": dict, "skeleton": dict, "seen": dict}),
    "live": Kind({"settings": dict, "video": dict, "skeleton": dict}),
    "resume": Kind({"session": str}),
    "ping": Kind({"session": str}),
    "cancel": Kind({"session": str}),
    # client to server, frames
    "frame": Kind({"session": str, "index": int, "time": float, "scale": float}, arrays=True),
    "keypoints": Kind({"session": str, "index": int}, arrays=True),
    "finish": Kind({"session": str, "frames": int}),
    "done": Kind({"session": str}),
    # server to client, control
    "welcome": Kind({"package": str, "device": str, "credit": int, "sessions": int, "limits": dict}),
    "opened": Kind({"session": str, "next_index": int, "credit": int, "state": str}),
    "ack": Kind({"session": str, "next_index": int, "credit": int}),
    "pong": Kind({"session": str, "received": int, "next_index": int, "credit": int, "state": str, "sessions": int}),
    "began": Kind({"session": str, "skeleton": dict, "keypoint_set": str, "lag": int, "weights": dict}),
    "progress": Kind({"session": str, "stage": str, "done": int, "total": int}),
    "cancelled": Kind({"session": str}),
    "error": Kind({"session": str, "code": str, "message": str}),
    # server to client, frames
    "result": Kind({"session": str, "takes": list, "notices": list}, arrays=True),
    "pose": Kind({"session": str, "index": int, "time": float}, arrays=True),
}
"""A `session` of "" means none, an empty `skeleton` the default human. `next_index` of `ack` and `pong` counts the
frames that were worked through, that of `opened` (like `received`) those that arrived: the client sends from there.
A `seen` of {} announces frames. Else it is that of :meth:`seen.Seen.header`, and `keypoints` come in the place of
frames, each with as many of the video's frames as its buffers may hold; all that counts frames counts these messages.
`takes` are headers of :func:`take.pack_all`, `notices` lines for the user.

`live` opens a session whose frames are answered one by one, each with a `pose`: `began` tells that it is ready for
them. A `pose` acknowledges the frame with its index and brings that frame's keypoints (arrays `positions`, `seen` and
`world`, none where nobody was seen), and the pose (`rotations`, `root`, `confidence`) of an earlier frame, that with
its time; no such arrays while there is none. A live session knows neither `finish` nor a result: `cancel` ends it."""

_RESERVED = ("v", "type", "arrays")
_NAMES = {str: "a text", int: "a whole number", float: "a number", dict: "an object", list: "a list"}


class WireError(Video2RigError):
    """A message that is not one of ours, or that cannot be sent; `code` is for the other side's program."""

    def __init__(self, message: str, code: str = "malformed") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Limits:
    """What a server takes; sent in its welcome, so that a client checks before it sends.

    Attributes:
        max_side: Longest side of a frame, pixels.
        credit: Frames of one session that may be on their way or waiting.
        frames: Frames of one session in all.
        sessions: Sessions at a time.
        idle_seconds: A session whose client is not heard of for so long is freed.
        open_bytes: Size of the message that opens a session, which holds the settings and the skeleton.
        joints: Joints of the skeleton that a client wants solved.
    """

    max_side: int = 1280
    credit: int = 16
    frames: int = 432_000
    sessions: int = 8
    idle_seconds: float = 120.0
    open_bytes: int = 1 << 18
    joints: int = 256

    @property
    def frame_bytes(self) -> int:
        """The largest buffer of a frame, bytes."""
        return self.max_side * self.max_side * 3

    def to_json(self) -> dict[str, Any]:
        """Return the limits as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Limits:
        """Read what :meth:`to_json` wrote.

        Raises:
            WireError: A limit is absent or not a positive number.
        """
        values: dict[str, Any] = {}
        for entry in fields(cls):
            kind = float if entry.name == "idle_seconds" else int
            value = _checked(entry.name, data.get(entry.name), kind)
            if value <= 0:
                raise WireError(f"limit {entry.name} is {value}; it must be positive")
            values[entry.name] = value
        return cls(**values)


@dataclass(frozen=True, eq=False)
class Message:
    """A message that was checked: its type, the fields that `KINDS` names, and its arrays."""

    type: str
    fields: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]


def encode(kind: str, /, arrays: Mapping[str, np.ndarray] | None = None, **values: Any) -> list[bytes | memoryview]:
    """Return the parts of a message; array parts share the arrays' memory where they can.

    Raises:
        WireError: A field or array that this kind of message does not have, or that cannot be sent.
    """
    arrays = arrays or {}
    checked = _check_fields(kind, values)
    _check_arrays_wanted(kind, len(arrays))
    described, buffers = [], []
    for name, array in arrays.items():
        array = np.asarray(array)
        dtype = DTYPES.get(array.dtype.name)
        if dtype is None:
            raise WireError(f"array {name!r} holds {array.dtype}; the wire carries {', '.join(DTYPES)}")
        array = np.asarray(array, dtype=dtype, order="C")
        _check_shape(name, list(array.shape), dtype)
        described.append([name, dtype.name, list(array.shape)])
        buffers.append(array.reshape(-1).view(np.uint8).data if array.size else b"")
    try:
        header = json.dumps(
            {"v": PROTOCOL, "type": kind, "arrays": described, **checked}, allow_nan=False, separators=(",", ":")
        ).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise WireError(f"{kind}: cannot be written as JSON ({error})") from error
    most = MAX_RESULT_HEADER_BYTES if kind == "result" else MAX_HEADER_BYTES
    if len(header) > most:
        raise WireError(f"{kind}: header of {len(header)} bytes; at most {most} are allowed")
    return [header, *buffers]


def decode(parts: Sequence[Any], most: int = MAX_HEADER_BYTES) -> Message:
    """Read what :func:`encode` wrote; the arrays are read-only views of the parts.

    Args:
        parts: Anything with the buffer protocol: bytes, memoryview. most: Bytes that a header may have.

    Raises:
        WireError: Anything is not exactly as it should be; `code` is "version" for another protocol.
    """
    if not parts:
        raise WireError("empty message; expected a JSON header part")
    header = _header(parts[0], most)
    kind = header.get("type")
    version = header.get("v")
    if type(version) is not int or version != PROTOCOL:
        shown = version if type(version) is int and 0 <= version <= MAX_INTEGER else "an unknown version"
        raise WireError(f"the message is of protocol {shown}; this side speaks protocol {PROTOCOL}", "version")
    if not isinstance(kind, str) or kind not in KINDS:
        raise WireError(f"message type {_shown(kind)}; expected one of {', '.join(KINDS)}")
    described = header.get("arrays", [])
    values = _check_fields(kind, {name: value for name, value in header.items() if name not in _RESERVED})
    if not isinstance(described, list) or len(described) != len(parts) - 1:
        raise WireError(f"{kind}: {len(parts) - 1} buffer parts do not match the arrays that the header describes")
    _check_arrays_wanted(kind, len(described))
    arrays: dict[str, np.ndarray] = {}
    for entry, part in zip(described, parts[1:], strict=True):
        name, array = _array(entry, part)
        if name in arrays:
            raise WireError(f"{kind}: two arrays are called {_shown(name)}")
        arrays[name] = array
    return Message(kind, values, arrays)


def _header(part: Any, most: int) -> dict[str, Any]:
    view = memoryview(part)
    if view.nbytes > most:
        raise WireError(f"header of {view.nbytes} bytes; at most {most} are allowed")
    try:
        header = json.loads(bytes(view).decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise WireError(f"the header is not JSON ({type(error).__name__})") from None
    if not isinstance(header, dict):
        raise WireError("the header is not a JSON object")
    return header


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice")
    return result


def _check_fields(kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    wanted = KINDS[kind].fields
    if unknown := sorted(set(values) - set(wanted)):
        raise WireError(f"{kind}: unknown field {_shown(unknown[0])}; there are {', '.join(wanted)}")
    if absent := sorted(set(wanted) - set(values)):
        raise WireError(f"{kind}: field {absent[0]!r} is absent")
    return {name: _checked(f"{kind}: {name}", values[name], wanted[name]) for name in wanted}


def _checked(name: str, value: Any, kind: type) -> Any:
    if kind is float and type(value) in (int, float):
        if abs(value) <= MAX_INTEGER:  # false for NaN and infinities
            return float(value)
    elif kind is int and type(value) is int:
        if 0 <= value <= MAX_INTEGER:
            return value
    elif kind is str and isinstance(value, str):
        if len(value) <= MAX_TEXT:
            return value
    elif kind in (dict, list) and isinstance(value, kind):
        return value
    raise WireError(f"{name} is {_shown(value)}; expected {_NAMES[kind]} in its range")


def _check_arrays_wanted(kind: str, count: int) -> None:
    most = MAX_ARRAYS if KINDS[kind].arrays else 0
    if count > most:
        raise WireError(f"{kind}: {count} arrays; at most {most} are allowed")


def _check_shape(name: str, shape: Any, dtype: np.dtype) -> None:
    if (
        not isinstance(shape, list)
        or len(shape) > MAX_DIMENSIONS
        or any(type(side) is not int or not 0 <= side <= MAX_ARRAY_BYTES for side in shape)
        or math.prod(max(side, 1) for side in shape) * dtype.itemsize > MAX_ARRAY_BYTES
    ):
        raise WireError(
            f"array {_shown(name)}: shape {_shown(shape)} is not a shape of at most {MAX_ARRAY_BYTES} bytes"
        )


def _array(entry: Any, part: Any) -> tuple[str, np.ndarray]:
    if not isinstance(entry, list) or len(entry) != 3 or not all(isinstance(text, str) for text in entry[:2]):
        raise WireError(f"array description {_shown(entry)}; expected [name, dtype, shape]")
    name, dtype_name, shape = entry
    dtype = DTYPES.get(dtype_name)
    if dtype is None or not 0 < len(name) <= 64:
        raise WireError(f"array {_shown(name)} of {_shown(dtype_name)}; the wire carries {', '.join(DTYPES)}")
    _check_shape(name, shape, dtype)
    view = memoryview(part)
    expected = math.prod(shape) * dtype.itemsize
    if view.nbytes != expected:
        raise WireError(f"array {_shown(name)}: {view.nbytes} bytes; {dtype_name} {shape} has {expected}")
    if not expected:
        return name, np.empty(shape, dtype)
    array = np.frombuffer(view, dtype=dtype).reshape(shape)
    array.setflags(write=False)
    return name, array


def _shown(value: Any) -> str:
    """A short form of a value that came from outside, fit for a one-line message."""
    text = ascii(value) if isinstance(value, str | int | float | list | None) else type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."
