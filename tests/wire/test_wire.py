# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages: what is encoded comes back, and whatever else arrives is a WireError and nothing worse."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from strategies import random_take
from video2rig.wire import (
    DTYPES,
    KINDS,
    MAX_ARRAYS,
    MAX_HEADER_BYTES,
    MAX_INTEGER,
    MAX_PEOPLE,
    MAX_RESULT_HEADER_BYTES,
    PROTOCOL,
    Limits,
    WireError,
    decode,
    encode,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
FINITE_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
FIELDS = {
    str: st.text(max_size=40),
    int: st.integers(0, MAX_INTEGER),
    float: st.floats(-MAX_INTEGER, MAX_INTEGER),
    dict: st.dictionaries(st.text(max_size=8), FINITE_JSON, max_size=4),
    list: st.lists(FINITE_JSON, max_size=4),
}
ARRAYS = st.dictionaries(
    st.text(min_size=1, max_size=16),
    st.sampled_from(sorted(DTYPES)).flatmap(
        lambda name: hnp.arrays(DTYPES[name], hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
    ),
    max_size=4,
)


@st.composite
def messages(draw, with_data: bool = False):
    """A kind of message, its fields and arrays; with data, at least one array holds some."""
    kind = draw(st.sampled_from(sorted(kind for kind in KINDS if KINDS[kind].arrays or not with_data)))
    values = {name: draw(FIELDS[wanted]) for name, wanted in KINDS[kind].fields.items()}
    arrays = draw(ARRAYS) if KINDS[kind].arrays else {}
    if with_data:
        arrays["full"] = draw(hnp.arrays(np.float32, hnp.array_shapes(max_side=4)))
    return kind, values, arrays


def parts_of(message) -> list[bytes]:
    kind, values, arrays = message
    return [bytes(part) for part in encode(kind, arrays, **values)]


@given(messages())
def test_what_is_encoded_comes_back(message):
    kind, values, arrays = message
    got = decode(parts_of(message))
    assert (got.type, got.fields) == (kind, values)
    assert list(got.arrays) == list(arrays)
    for name, array in arrays.items():
        assert got.arrays[name].dtype == array.dtype and got.arrays[name].shape == array.shape
        assert got.arrays[name].tobytes() == array.tobytes()
        assert not got.arrays[name].size or not got.arrays[name].flags.writeable


@given(hnp.arrays(st.sampled_from([">f8", "<i4", ">i4"]), (3, 4)))
def test_arrays_of_any_order_are_sent_as_they_are_meant(array):
    got = decode(encode("result", {"a": array.T[::2]}, session="", takes=[], notices=[])).arrays["a"]
    np.testing.assert_array_equal(got, array.T[::2])


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_random_parts_are_refused(parts):
    with pytest.raises(WireError):
        decode(parts)


@given(JSON, st.lists(st.binary(max_size=20), max_size=2))
def test_random_json_is_refused(header, buffers):
    with pytest.raises(WireError) as caught:
        decode([json.dumps(header).encode(), *buffers])
    assert "\n" not in str(caught.value)


@settings(max_examples=300)
@given(messages(), st.data())
def test_a_damaged_message_is_refused_or_still_whole(message, data):
    """Any value of the header is replaced by any JSON: never anything but a WireError or a valid message."""
    header, *buffers = parts_of(message)
    fields = json.loads(header)
    where = data.draw(st.sampled_from(sorted(fields)) | st.text(max_size=8))
    fields[where] = data.draw(JSON)
    try:
        got = decode([json.dumps(fields).encode(), *buffers])
    except WireError as error:
        assert "\n" not in str(error)
    else:
        assert got.fields.keys() == KINDS[got.type].fields.keys()


@settings(max_examples=200)
@given(messages(with_data=True), st.data())
def test_damaged_arrays_are_refused(message, data):
    parts = parts_of(message)
    full = [number for number, part in enumerate(parts) if number and part]
    number = data.draw(st.sampled_from(full))
    header = json.loads(parts[0])
    match data.draw(st.sampled_from(["truncate", "grow", "drop", "add", "dtype", "shape"])):
        case "truncate":
            parts[number] = parts[number][: data.draw(st.integers(0, len(parts[number]) - 1))]
        case "grow":
            parts[number] += b"\0"
        case "drop":
            del parts[number]
        case "add":
            parts.append(b"")
        case "dtype":
            names = st.sampled_from(["object", "O", "|O8", "float16", "complex128", "<U4", "bool", "", "V8"])
            header["arrays"][number - 1][1] = data.draw(names | st.integers() | st.none())
        case "shape":
            sides = st.integers(-3, 3) | st.sampled_from([2**31, 2**62, 2**64, 10**30]) | st.floats() | st.none()
            shape = data.draw(st.lists(sides, max_size=10))
            if all(type(side) is int for side in shape):  # the same count of values is a reshape, and allowed
                shape.append(math.prod(header["arrays"][number - 1][2]) + 1)
            header["arrays"][number - 1][2] = shape
    parts[0] = json.dumps(header).encode()
    with pytest.raises(WireError):
        decode(parts)


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 200_000,
        b'{"v":%d,"type":"ping","session":' % PROTOCOL + b'{"a":' * 100_000,
        b'{"v":%d,"type":"ping","session":"","session":""}' % PROTOCOL,
        b'{"v":%d,"type":"finish","session":"","frames":' % PROTOCOL + b"9" * 10_000 + b"}",
        b'{"v":%d,"type":"finish","session":"","frames":true}' % PROTOCOL,
        b'{"v":%d,"type":"finish","session":"","frames":-1}' % PROTOCOL,
        b'{"v":%d,"type":"finish","session":"","frames":1.0}' % PROTOCOL,
        b'{"v":%d,"type":"frame","session":"","index":0,"time":NaN,"scale":1}' % PROTOCOL,
        b'{"v":%d,"type":"frame","session":"","index":0,"time":1e999,"scale":1}' % PROTOCOL,
        b'{"v":%d,"type":"ping","session":"","path":"/etc/passwd"}' % PROTOCOL,
        b'{"v":%d,"type":"ping"}' % PROTOCOL,
        b'{"v":%d,"type":["ping"],"session":""}' % PROTOCOL,
        b'{"v":%d,"type":"ping","session":"","arrays":[["a","uint8",[0]]]}' % PROTOCOL,
        b'\xff\xfe{"v":%d}' % PROTOCOL,
        b" " * (MAX_HEADER_BYTES + 1),
        b"null",
    ],
    ids=range(16),
)
def test_bad_headers_are_refused(header):
    with pytest.raises(WireError) as caught:
        decode([header])
    assert caught.value.code == "malformed" and len(str(caught.value)) < 400


def test_another_protocol_is_told_from_damage():
    for version in (*range(PROTOCOL), PROTOCOL + 1, 10**400, "1", None, True, 1.0):
        with pytest.raises(WireError) as caught:
            decode([json.dumps({"v": version, "type": "unheard of"}).encode()])
        assert caught.value.code == "version" or version == 10**400


def test_too_many_arrays_are_refused():
    arrays = {str(number): np.zeros(1) for number in range(MAX_ARRAYS + 1)}
    with pytest.raises(WireError, match=f"at most {MAX_ARRAYS}"):
        encode("result", arrays, session="", takes=[], notices=[])


@pytest.mark.parametrize(
    ("kind", "arrays", "values", "text"),
    [
        ("ping", {}, {}, "'session' is absent"),
        ("ping", {}, {"session": 3}, "expected a text"),
        ("ping", {"a": np.zeros(1)}, {"session": ""}, "at most 0"),
        ("result", {"a": np.zeros(1, object)}, {"session": "", "takes": [], "notices": []}, "the wire carries"),
        ("result", {"a": np.zeros(1, np.float16)}, {"session": "", "takes": [], "notices": []}, "the wire carries"),
        ("result", {}, {"session": "", "takes": [{"x": float("nan")}], "notices": []}, "JSON"),
        ("result", {}, {"session": "", "takes": [{"x": object()}], "notices": []}, "JSON"),
        (
            "result",
            {},
            {"session": "", "takes": [{"x": "y" * MAX_RESULT_HEADER_BYTES}], "notices": []},
            "bytes; at most",
        ),
        ("frame", {}, {"session": "", "index": 0, "time": float("inf"), "scale": 1.0}, "expected a number"),
    ],
)
def test_what_may_not_be_sent_is_not_encoded(kind, arrays, values, text):
    with pytest.raises(WireError, match=text):
        encode(kind, arrays, **values)


def test_as_many_people_as_a_result_may_hold_fit_into_it():
    """Each with the largest skeleton that a server solves."""
    take = random_take(np.random.default_rng(0))
    skeleton = take.motion.skeleton
    copies = -(-Limits().joints // len(skeleton))
    joints = (skeleton.to_json()["joints"] * copies)[: Limits().joints]
    header, arrays = take.pack()
    header = header | {"skeleton": {"joints": joints}}
    names = [f"{k}.{name}" for k in range(MAX_PEOPLE) for name in arrays]
    parts = encode(
        "result",
        {name: arrays[name.partition(".")[2]] for name in names},
        session="s",
        takes=[header] * MAX_PEOPLE,
        notices=["a line"] * MAX_PEOPLE,
    )
    got = decode(parts, MAX_RESULT_HEADER_BYTES)
    assert len(got["takes"]) == MAX_PEOPLE and list(got.arrays) == names
    # a server takes no header of such a size from anybody
    with pytest.raises(WireError, match=f"at most {MAX_HEADER_BYTES}"):
        decode(parts)


def test_limits_come_back():
    limits = Limits(max_side=640, idle_seconds=1.5)
    assert Limits.from_json(limits.to_json()) == limits
    for bad in ({}, limits.to_json() | {"credit": 0}, limits.to_json() | {"frames": "many"}):
        with pytest.raises(WireError):
            Limits.from_json(bad)
