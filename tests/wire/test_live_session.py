# SPDX-License-Identifier: GPL-3.0-or-later
"""Live sessions over real sockets with a real server: bounded latency, drops, losses, refusals."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from fake_server import SKELETON
from harness import PATIENCE, QUICK, CuttingProxy, ServerProcess, session_count

from video2rig.client import solve_recorded
from video2rig.conversation import Call
from video2rig.errors import Video2RigError
from video2rig.link import CONTROL, FRAMES, Link, ServerError, Unreachable
from video2rig.live_client import Answered, Began, stream_live
from video2rig.live_grabbers import Grabber
from video2rig.live_source import LiveSource
from video2rig.recording import Recording, RecordingError
from video2rig.settings import Settings
from video2rig.wire import encode

RATE = 50.0


class Camera(Grabber):
    """A camera of so many pictures, `bright` or dark, at 50 a second."""

    def __init__(self, count: int = 100_000, bright: Callable[[int], bool] = lambda number: True) -> None:
        super().__init__("test camera")
        self._count, self._bright = count, bright

    def __exit__(self, *details: object) -> None:
        """Nothing to close."""

    def pictures(self, stopped: Callable[[], bool]) -> Iterator[tuple[float, np.ndarray]]:
        began = time.monotonic()
        for number in range(self._count):
            time.sleep(max(0.0, began + number / RATE - time.monotonic()))
            yield time.monotonic(), np.full((48, 64, 3), 200 if self._bright(number) else 0, np.uint8)


class Stage:
    """Collects what comes back, with the moment; ends the stream after so many seconds of poses."""

    def __init__(self, seconds: float = 1.0) -> None:
        self.began: list[Began] = []
        self.answers: list[tuple[float, Answered]] = []
        self._seconds, self._since = seconds, float("inf")

    def begin(self, began: Began) -> None:
        self.began.append(began)
        self._since = time.monotonic()

    def take(self, answer: Answered) -> None:
        self.answers.append((time.monotonic(), answer))

    def over(self) -> bool:
        return time.monotonic() - self._since > self._seconds

    @property
    def latencies(self) -> np.ndarray:
        return np.array([now - answer.pose.taken for now, answer in self.answers if answer.pose is not None])


def stream(
    connection: Any,
    stage: Stage,
    camera: Grabber | None = None,
    settings: Settings | None = None,
    stopped: Callable[[], bool] | None = None,
) -> int:
    """Stream, and return how many pictures were taken."""
    with LiveSource(camera or Camera()) as source:
        stream_live(
            source,
            settings or Settings(),
            connection,
            began=stage.begin,
            answered=stage.take,
            stopped=stopped or stage.over,
            timing=QUICK,
        )
        return source.taken


def test_every_picture_of_a_fast_backend_is_answered_at_once(shared_server: ServerProcess) -> None:
    stage = Stage(2.0)
    stream(shared_server.connection, stage)
    assert [len(stage.began), stage.began[0].lag, stage.began[0].keypoint_set] == [1, 2, "blazepose_33"]
    assert stage.began[0].skeleton.names == SKELETON.names and stage.began[0].weights
    times = np.array([answer.time for _, answer in stage.answers])
    assert (np.diff(times) > 0).all() and len(times) > 0.5 * 2 * RATE
    # the first two pictures wait for the look ahead
    assert [answer.pose is None for _, answer in stage.answers[:4]] == [True, True, False, False]
    for _, answer in stage.answers[3:]:
        assert answer.pose is not None and answer.sight is not None
        assert answer.sight.positions.shape == (33, 2) and answer.sight.positions[0, 0] == 200
        assert answer.pose.rotations.shape == (len(SKELETON), 4) and answer.pose.root_position[2] >= 1.0
    assert np.median(stage.latencies) < (2 + 1) / RATE + 0.1
    assert session_count(shared_server.connection) == 0


def test_a_slow_backend_drops_pictures_and_does_not_fall_behind(start_server: Callable[..., ServerProcess]) -> None:
    seconds = 0.12
    stage = Stage(4.0)
    taken = stream(start_server("--push-seconds", str(seconds)).connection, stage)
    assert 10 < len(stage.answers) < 4.5 / seconds < taken / 2
    # two pictures of look ahead, one that is seen, one that waited for that: no more at the end than at first
    latencies = stage.latencies
    assert np.median(latencies) < 4.5 * seconds + 0.1
    assert np.median(latencies[-8:]) < np.median(latencies[:8]) + seconds


def test_nobody_in_view_is_told_frame_by_frame(shared_server: ServerProcess) -> None:
    stage = Stage(1.0)
    stream(shared_server.connection, stage, Camera(bright=lambda number: number % 20 < 10))
    seen = [answer.sight is not None for _, answer in stage.answers]
    assert any(seen) and not all(seen)


def test_a_source_that_ends_ends_the_stream_once_all_is_answered(shared_server: ServerProcess) -> None:
    stage = Stage(1e9)
    assert stream(shared_server.connection, stage, Camera(30)) == 30
    assert 0.5 * 30 < len(stage.answers) <= 30


def test_a_server_that_dies_ends_it_with_a_clear_line(start_server: Callable[..., ServerProcess]) -> None:
    server, stage = start_server(), Stage(1e9)
    threading.Timer(1.0, server.kill).start()
    with pytest.raises(Unreachable, match=r"connection to the server at tcp://.* broke|does not answer"):
        stream(server.connection, stage)
    recorded = recording(stage)
    # what was seen until then is solved by another server
    call = Call(start_server().connection, lambda progress: None, threading.Event())
    take = solve_recorded(recorded, Settings(), call)
    assert len(take.motion) == len(recorded) > 10 and take.keypoints.seen().all()
    assert take.motion.provenance["live"] and take.motion.provenance["weights"] == {"abacus": {"beads": "0" * 64}}
    assert np.allclose(take.motion.times, [a.time - stage.answers[0][1].time for _, a in stage.answers])


def recording(stage: Stage) -> Recording:
    kept = Recording("test camera", 64, 48, stage.began[0].keypoint_set, stage.began[0].weights)
    for _, answer in stage.answers:
        kept.add(answer.sight, answer.time)
    return kept


def test_a_cut_connection_ends_it_and_frees_the_session_when_idle(
    start_server: Callable[..., ServerProcess], start_proxy: Callable[[str], CuttingProxy]
) -> None:
    import dataclasses

    server = start_server("--limits", '{"idle_seconds": 1.0}')
    proxy = start_proxy(server.connection.frames_endpoint)
    through = dataclasses.replace(server.connection, frames_endpoint=proxy.endpoint)
    threading.Timer(1.0, proxy.cut).start()
    with pytest.raises(Unreachable, match=r"frames connection .* broke"):
        stream(through, Stage(1e9))
    deadline = time.monotonic() + 5.0
    while session_count(server.connection) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert session_count(server.connection) == 0


def test_a_gpu_that_is_not_there_is_told(shared_server: ServerProcess) -> None:
    with pytest.raises(ServerError, match="'cuda' was asked for, but there is none"):
        stream(shared_server.connection, Stage(), settings=Settings(device="cuda"))
    assert session_count(shared_server.connection) == 0


def test_no_server_is_told(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server()
    server.kill()
    with pytest.raises(Unreachable, match="nothing listens at"):
        stream(server.connection, Stage())


def test_stopping_while_the_server_gets_ready_leaves_no_session(shared_server: ServerProcess) -> None:
    for asked in (0, 2, 4, 6):
        calls = itertools.count()
        stage = Stage()
        stream(shared_server.connection, stage, stopped=lambda calls=calls, asked=asked: next(calls) >= asked)
        assert session_count(shared_server.connection) == 0 and not stage.answers


def test_a_live_session_has_no_result_and_little_credit(shared_server: ServerProcess) -> None:
    image = np.full((48, 64, 3), 200, np.uint8)
    video = {"name": "", "width": 64, "height": 48, "fps": 30.0, "frame_count": 0, "duration": 0.0}
    with Link(shared_server.connection) as link:
        heard = Heard(link)
        link.send(CONTROL, encode("live", settings=Settings().to_json(), video=video, skeleton={}))
        opened = heard.until("opened")
        session = opened["session"]
        assert opened["credit"] == 2
        heard.until("began")
        link.send(FRAMES, encode("finish", session=session, frames=0))
        assert heard.until("error")["code"] == "order"
        for index in range(12):
            fields = {"index": index, "time": index / 30, "scale": 1.0}
            link.send(FRAMES, encode("frame", {"image": image}, session=session, **fields))
        assert heard.until("error")["code"] == "credit"
        link.send(CONTROL, encode("cancel", session=session))
        heard.until("cancelled")


class Heard:
    """Messages of a link, in their order."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._waiting: list[Any] = []

    def until(self, kind: str) -> Any:
        """Return the next message of a kind; those before it are dropped."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            while self._waiting:
                if (message := self._waiting.pop(0)).type == kind:
                    return message
            self._waiting += self._link.poll(0.1)
        raise AssertionError(f"no {kind} came")


def test_a_camera_that_gives_no_picture_is_told() -> None:
    with pytest.raises(Video2RigError, match="test camera: gives no picture"):
        LiveSource(Camera(0))


def test_a_recording_must_hold_somebody() -> None:
    kept = Recording("camera 0", 64, 48, "blazepose_33", {})
    with pytest.raises(RecordingError, match="has 0 frames; at least 5"):
        kept.seen()
    for index in range(8):
        kept.add(None, index / 30)
    assert kept.facts()["fps"] == pytest.approx(30.0)
    with pytest.raises(RecordingError, match="nobody was seen in the 8 frames"):
        kept.seen()
