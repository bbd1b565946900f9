# SPDX-License-Identifier: GPL-3.0-or-later
"""The wire format of protocol buffers, as much of it as reading a file needs.

A message is a row of fields: a key (field number and wire type), then a number or a counted run of bytes. What the
fields mean is the reader's business. https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class WireError(ValueError):
    """The bytes are no message."""


def fields(message: bytes | memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield each field's number and its value: an integer of varints, the raw bytes of all others."""
    view, at = memoryview(message), 0
    while at < len(view):
        key, at = _varint(view, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(view, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _varint(view, at)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise WireError(f"wire type {kind} at byte {at}")
        if number == 0 or at + size > len(view):
            raise WireError(f"a field of {size} bytes at byte {at} of {len(view)}")
        yield number, view[at : at + size]
        at += size


def packed(value: int | memoryview) -> list[int]:
    """The integers of a repeated field, which may come one by one or in a row."""
    if isinstance(value, int):
        return [value]
    numbers, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        numbers.append(number)
    return numbers


def signed(number: int) -> int:
    """A varint as the signed 64-bit integer that it stands for."""
    return number - (1 << 64) if number >> 63 else number


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(view) or shift > 63:
            raise WireError(f"a number that does not end at byte {at}")
        byte = view[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
