# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server refuses, over real sockets: strangers, other versions, bad requests, frames and messages."""

import dataclasses
import json
import subprocess
import sys
import time

import numpy as np
import pytest
import zmq
from harness import (
    FAKE_SERVER,
    SyntheticVideo,
    ask,
    assert_same,
    await_message,
    expected,
    frame_parts,
    open_session,
    run,
    session_count,
    wait_free,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from video2rig.connection import Connection
from video2rig.frames import VideoError
from video2rig.greeting import probe
from video2rig.human import default_human
from video2rig.link import CONTROL, FRAMES, Link, ServerError, Unreachable
from video2rig.settings import Settings
from video2rig.wire import PROTOCOL, encode

SEEN = {"keypoint_set": "blazepose_33", "person": 1, "camera": {}, "contacts": None, "former": {}}


def forged(connection: Connection) -> Connection:
    """The same server, with a key pair that it does not know."""
    public, secret = (key.decode() for key in zmq.curve_keypair())
    return dataclasses.replace(connection, client_public=public, client_secret=secret)


def test_an_unknown_key_is_refused_at_once(shared_server):
    began = time.monotonic()
    with pytest.raises(ServerError, match="does not know this client's key"):
        run(SyntheticVideo(), forged(shared_server.connection))
    assert time.monotonic() - began < 3
    shared_server.wait_log("is not authorized")
    assert session_count(shared_server.connection) == 0


def test_a_server_with_other_keys_is_not_believed(shared_server):
    other = dataclasses.replace(shared_server.connection, server_public=shared_server.connection.client_public)
    with pytest.raises(Unreachable, match="is not the server of this connection file"):
        probe(other)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "256.1.1.1", "a b", "[::1]"])
def test_an_address_that_cannot_be(shared_server, host):
    ends = {name: f"tcp://{host}:9" for name in ("control_endpoint", "frames_endpoint")}
    with pytest.raises(Unreachable):
        probe(dataclasses.replace(shared_server.connection, **ends), timeout=0.5)


@pytest.mark.parametrize("old", [1, 2, 3])
def test_another_protocol_is_refused_with_both_versions(shared_server, old):
    header = json.loads(bytes(encode("hello", package="9.9.9")[0]))
    with Link(shared_server.connection) as link:
        error = ask(link, [json.dumps(header | {"v": old}).encode()], "error")
    assert error["code"] == "version"
    assert f"protocol {old}" in error["message"] and f"protocol {PROTOCOL}" in error["message"]
    assert "\n" not in error["message"]
    with pytest.raises(ServerError, match=rf"speaks protocol {old} \(video2rig .*this client protocol {PROTOCOL}"):
        run(SyntheticVideo(), dataclasses.replace(shared_server.connection, protocol=old))


def human(**changes) -> dict:
    """The default human as JSON, one of its joints changed."""
    data = default_human().to_json()
    data["joints"][5] |= changes
    return data


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"settings": {"smoothing": 3}}, "settings: there is no 'smoothing'"),
        ({"settings": {"height": 90}}, "settings: height is 90"),
        ({"settings": {"height": "x" * 270_000}}, None),
        ({"video": {"width": 0}}, "width is 0"),
        ({"video": {"fps": -1.0}}, "fps is -1.0"),
        ({"video": {"frame_count": 10**9}}, "frame_count"),
        ({"video": {"path": "/etc/passwd"}}, "expected exactly the entries"),
        ({"skeleton": {"bones": []}}, "skeleton: unreadable description"),
        ({"skeleton": {"joints": [{}] * 257}}, "257 joints; at most 256 are allowed"),
        ({"skeleton": human(length=10**400)}, "skeleton: unreadable description"),
        ({"skeleton": human(name="x" * 300)}, "a name is longer than 256"),
        ({"skeleton": human(length=1e6)}, "a bone is longer than 1000 m"),
        ({"skeleton": human(rom=[[1, -1]] * 3)}, "lower bound above its upper"),
        ({"seen": {"keypoint_set": "blazepose_33", "person": 1}}, "expected exactly the entries keypoint_set"),
        ({"seen": SEEN | {"keypoint_set": "coco_3"}}, "no keypoint set 'coco_3'"),
        ({"seen": SEEN | {"person": 0}}, "person is 0"),
        ({"seen": SEEN | {"camera": {"width": 3}}}, "camera: unreadable"),
        ({"seen": SEEN | {"former": {"width": 3}}}, "former: expected exactly the entries skeleton, camera"),
        ({"seen": SEEN | {"former": {"skeleton": human(), "camera": {"width": 3}}}}, "camera: unreadable"),
        ({"seen": SEEN | {"former": {"skeleton": {}, "camera": {}}}}, "former: the skeleton is empty"),
        ({"seen": SEEN | {"former": {"skeleton": human(length=1e6), "camera": {}}}}, "a bone is longer than 1000 m"),
        ({"seen": SEEN | {"contacts": [["foot.L", 0, 1]]}}, "contacts: expected lists of intervals"),
        ({"seen": SEEN | {"contacts": {"foot.L": [[2, 1]]}}}, "contacts: [2, 1] of 'foot.L' is no start and end"),
        ({"seen": SEEN | {"contacts": {"foot.L": [[0, "x"]]}}}, "contacts: [0, 'x'] of 'foot.L' is no start and end"),
        ({"seen": SEEN | {"contacts": {"foot.L": [[0, 10**400]]}}}, "is no start and end"),
        ({"seen": SEEN | {"contacts": {"foot.L": [[0, 1]] * 10_001}}}, "contacts: more than 10000"),
        ({"skeleton": human(rest_rotation=[[[]] * 9])}, "skeleton"),
    ],
)
def test_a_bad_request_is_refused_in_one_line(shared_server, changes, text):
    video = {"name": "v", "width": 64, "height": 48, "fps": 25.0, "frame_count": 10, "duration": 0.4}
    asked = {name: changes.get(name, {}) for name in ("settings", "skeleton", "seen")}
    request = encode("open", video=video | changes.get("video", {}), **asked)
    with Link(shared_server.connection) as link:
        if text is None:  # beyond what its sockets take
            with pytest.raises(Unreachable):
                ask(link, request, "opened", "error")
        else:
            error = ask(link, request, "error")
            assert text in error["message"] and "\n" not in error["message"]
    assert session_count(shared_server.connection) == 0


@pytest.mark.parametrize(
    ("image", "changes", "text"),
    [
        (np.zeros((48, 64), np.uint8), {}, "uint8 [height, width, 3]"),
        (np.zeros((48, 64, 3), np.float32), {}, "uint8 [height, width, 3]"),
        (np.zeros((0, 64, 3), np.uint8), {}, "pixels"),
        (np.zeros((1, 1281, 3), np.uint8), {}, "no side may exceed 1280"),
        (None, {"scale": 0.0}, "scale"),
    ],
)
def test_a_bad_frame_is_refused_in_one_line(shared_server, image, changes, text):
    with Link(shared_server.connection) as link:
        session = open_session(link)
        assert text in ask(link, frame_parts(session, 0, image, **changes), "error", channel=FRAMES)["message"]
        link.send(FRAMES, frame_parts(session, 0))  # the session lives on
        assert await_message(link, "ack")["next_index"] == 1
        ask(link, encode("cancel", session=session), "cancelled")


def test_limits_of_frames_and_sessions(start_server):
    server = start_server("--limits", json.dumps({"frames": 5, "sessions": 2}))
    with pytest.raises(ServerError, match="frame_count is 9; it must lie between 0 and 5"):
        run(SyntheticVideo(9), server.connection)
    unsure = SyntheticVideo(9)
    frames = list(unsure.frames())
    unsure.info = dataclasses.replace(unsure.info, frame_count=0)
    unsure.frames = lambda start=0: iter(frames[start:])
    with pytest.raises(ServerError, match="more than 5 frames"):
        run(unsure, server.connection)
    wait_free(server.connection)
    with Link(server.connection) as link:
        open_session(link, frame_count=0)
        open_session(link, frame_count=0)
        with pytest.raises(ServerError, match="2 sessions are open"):
            run(SyntheticVideo(3), server.connection)


def test_what_fails_in_the_pipeline_is_told(start_server):
    server = start_server()
    with pytest.raises(ServerError, match=r"^nobody is this tall$"):
        run(SyntheticVideo(5), server.connection, Settings(height=2.5))
    with pytest.raises(ServerError, match=r"the server failed .ZeroDivisionError: a defect.; its log says where"):
        run(SyntheticVideo(5), server.connection, Settings(height=2.4))
    wait_free(server.connection)
    assert_same(run(SyntheticVideo(5), server.connection)[0], expected(SyntheticVideo(5)))


def test_a_video_that_breaks_off_frees_its_session(start_server):
    server = start_server()

    def fail() -> None:
        raise VideoError("synthetic.mp4: the disk is gone")

    with pytest.raises(VideoError, match="the disk is gone"):
        run(SyntheticVideo(30, at={20: fail}), server.connection)
    wait_free(server.connection)


def test_malformed_and_oversize_messages_leave_other_sessions_alone(start_server):
    server = start_server("--push-seconds", "0.005")
    rng = np.random.default_rng(0)

    def attack() -> None:
        with Link(server.connection) as link:
            session = open_session(link)
            good = frame_parts(session, 0)
            for number in range(60):
                parts = [bytes(part) for part in good]
                match number % 6:
                    case 0:
                        parts = [rng.bytes(int(rng.integers(0, 200)))]
                    case 1:
                        parts = [parts[0], parts[1][:-1]]
                    case 2:
                        parts = [parts[0]] * 40
                    case 3:
                        parts = [parts[0].replace(b"uint8", b"object")]
                    case 4:
                        parts = [b"[" * 50_000]
                    case 5:
                        parts = [parts[0].replace(b"64", b"99999999999999999999"), parts[1]]
                link.send((CONTROL, FRAMES)[number // 6 % 2], parts)
            for _ in range(60):
                link.poll(0.01)
        with Link(server.connection) as link, pytest.raises(Unreachable):
            link.send(FRAMES, [b"{}", bytes(6_000_000)])
            await_message(link, "pong")

    video = SyntheticVideo(60, at={5: attack, 30: attack})
    take, told = run(video, server.connection)
    assert_same(take, expected(SyntheticVideo(60)))
    assert not any(progress.notice for progress in told)


@settings(max_examples=150)
@given(channel=st.sampled_from([CONTROL, FRAMES]), parts=st.lists(st.binary(max_size=64), min_size=1, max_size=4))
def test_the_server_survives_random_messages(shared_server, channel, parts):
    with Link(shared_server.connection) as link:
        error = ask(link, parts, "error", channel=channel)
        assert error["code"] == "malformed" and "\n" not in error["message"]


def test_deep_nesting_does_not_end_the_server(shared_server):
    video = {"name": "v", "width": 64, "height": 48, "fps": 25.0, "frame_count": 10, "duration": 0.4}
    for depth in range(100, 3000, 100):
        header = {"v": PROTOCOL, "type": "open", "video": video, "settings": {"height": 7}, "skeleton": {}, "seen": {}}
        parts = [json.dumps(header).replace(": 7", ": " + "[" * depth + "]" * depth).encode()]
        with Link(shared_server.connection) as link:
            assert "\n" not in ask(link, parts, "error")["message"]


def test_messages_on_the_wrong_socket_are_refused(shared_server):
    with Link(shared_server.connection) as link:
        assert "does not belong" in ask(link, encode("hello", package="x"), "error", channel=FRAMES)["message"]
        assert "does not belong" in ask(link, encode("ack", session="", next_index=0, credit=1), "error")["message"]


def test_off_loopback_needs_keys(start_server, tmp_path):
    command = [sys.executable, str(FAKE_SERVER), "serve", "--host", "0.0.0.0", "--connection-file"]
    refused = subprocess.run([*command, str(tmp_path / "c.json")], capture_output=True, text=True)
    assert refused.returncode == 1 and "--authorized-keys" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1 and not (tmp_path / "c.json").exists()


def test_authorized_keys_let_a_client_in(start_server, tmp_path):
    public, secret = (key.decode() for key in zmq.curve_keypair())
    (tmp_path / "keys").write_text(f"# friends\n\n{public} ann@studio\n")
    server = start_server("--authorized-keys", str(tmp_path / "keys"), "--host", "0.0.0.0")
    assert not server.connection.is_loopback
    local = {
        name: "tcp://127.0.0.1:" + getattr(server.connection, name).rpartition(":")[2]
        for name in ("control_endpoint", "frames_endpoint")
    }
    ann = dataclasses.replace(server.connection, client_public=public, client_secret=secret, **local)
    assert_same(run(SyntheticVideo(5), ann)[0], expected(SyntheticVideo(5)))
    with pytest.raises(ServerError, match="does not know"):
        run(SyntheticVideo(5), forged(ann))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"person": "nobody"}, "person is 'nobody'; it can be 'largest', 'everyone'"),
        ({"person": ["everyone"]}, "person is"),
        ({"person": "1,2@-3"}, "a point in pixels"),
        ({"detector": "../../etc/passwd"}, "detector is"),
        ({"detector": 3}, "detector is"),
    ],
)
def test_who_and_by_what_must_be_readable(shared_server, settings, says):
    video = {"name": "v", "width": 64, "height": 48, "fps": 25.0, "frame_count": 10, "duration": 0.4}
    with Link(shared_server.connection) as link:
        error = ask(link, encode("open", settings=settings, video=video, skeleton={}, seen={}), "error")
    assert error["code"] == "settings" and says in error["message"]


def test_a_number_that_nobody_has_is_told(shared_server):
    with pytest.raises(ServerError, match="there is no person 9; 3 people were seen"):
        run(SyntheticVideo(5), shared_server.connection, Settings(person="9"))
