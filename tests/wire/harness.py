# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the wire share: a server process, a proxy that cuts, synthetic videos, raw talk."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from fake_server import FakePipeline

from video2rig.client import solve
from video2rig.connection import Connection
from video2rig.conversation import Call
from video2rig.frames import Frame, VideoInfo, VideoSource
from video2rig.link import CONTROL, Link, Timing
from video2rig.progress import Progress
from video2rig.settings import Settings
from video2rig.skeleton import Skeleton
from video2rig.take import Take
from video2rig.wire import Message, encode

FAKE_SERVER = Path(__file__).with_name("fake_server.py")
PATIENCE = 20.0
"""Seconds after which a test that waits for an event fails."""
QUICK = Timing(greet=5.0, ping=0.1, silence=1.0, stall=5.0, reconnect=5.0)


class ServerProcess:
    """A server of its own process, whose log can be waited for."""

    def __init__(self, path: Path, *flags: str) -> None:
        self.path = path
        self.lines: list[str] = []
        self._news = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, str(FAKE_SERVER), "serve", "--connection-file", str(path), *flags],
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.wait_log("connection file")
        self.connection = Connection.load(path)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.lines.append(line.rstrip())
                self._news.notify_all()

    def wait_log(self, text: str, count: int = 1) -> None:
        """Wait until so many lines of the log hold a text."""
        with self._news:
            found = self._news.wait_for(lambda: sum(text in line for line in self.lines) >= count, PATIENCE)
        assert found, f"{text!r} is not in the server's log:\n" + "\n".join(self.lines)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()
        self._reader.join()

    def terminate(self) -> int:
        """SIGTERM; return the exit code."""
        self.process.terminate()
        return self.process.wait(PATIENCE)


class CuttingProxy:
    """A TCP proxy on loopback; `cut` breaks its connections, and it takes new ones."""

    def __init__(self, endpoint: str) -> None:
        host, port = endpoint.removeprefix("tcp://").rsplit(":", 1)
        self._target = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                self.connections += 1
                self._open += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Break every connection that stands."""
        ends, self._open = self._open, []
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the proxy."""
        self._listener.close()
        self.cut()


class SyntheticVideo(VideoSource):
    """Frames made of their index; `at` maps an index to what is called just before that frame is given, once."""

    def __init__(self, count: int = 60, width: int = 64, height: int = 48, at: dict[int, Callable] | None = None):
        super().__init__(VideoInfo(Path("synthetic.mp4"), width, height, 25.0, count, count / 25.0))
        self._at = dict(at or {})

    def frames(self, start: int = 0) -> Iterator[Frame]:
        self.notices.clear()
        for index in range(start, self.info.frame_count):
            if index in self._at:
                self._at.pop(index)()
            image = np.random.default_rng(index).integers(0, 256, (self.info.height, self.info.width, 3), np.uint8)
            yield Frame(index, index / 25.0, image)


def run(
    source: VideoSource,
    connection: Connection,
    settings: Settings | None = None,
    cancelled: threading.Event | None = None,
    restart: Callable[[], Connection] | None = None,
    timing: Timing = QUICK,
    skeleton: Skeleton | None = None,
) -> tuple[Take, list[Progress]]:
    """Solve one person, and return the take with all progress."""
    takes, told = run_all(source, connection, settings, cancelled, restart, timing, skeleton)
    assert len(takes) == 1
    return takes[0], told


def run_all(
    source: VideoSource,
    connection: Connection,
    settings: Settings | None = None,
    cancelled: threading.Event | None = None,
    restart: Callable[[], Connection] | None = None,
    timing: Timing = QUICK,
    skeleton: Skeleton | None = None,
) -> tuple[list[Take], list[Progress]]:
    """Solve, and return everyone's take with all progress."""
    told: list[Progress] = []
    call = Call(connection, told.append, cancelled or threading.Event(), restart, timing)
    return solve(source, settings or Settings(), call, skeleton), told


def assert_same(first: Take, second: Take) -> None:
    """Two takes are the same, bit by bit."""
    (header, arrays), (other_header, other_arrays) = first.pack(), second.pack()
    for name, entry in header.items():
        assert entry == other_header[name], name
    assert header.keys() == other_header.keys()
    assert arrays.keys() == other_arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, other_arrays[name], err_msg=name)


def ask(link: Link, parts: list[Any], *wanted: str, channel: str = CONTROL) -> Message:
    """Send a message and return the first answer of a wanted type."""
    link.send(channel, parts)
    return await_message(link, *wanted)


def await_message(link: Link, *wanted: str) -> Message:
    """Return the next message of a wanted type; what comes with it is dropped."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for message in link.poll(0.1):
            if message.type in wanted:
                return message
    raise AssertionError(f"no {' or '.join(wanted)} came")


def open_session(link: Link, **changes: Any) -> str:
    """Open a session with plausible facts and return its name."""
    video = {"name": "v.mp4", "width": 64, "height": 48, "fps": 25.0, "frame_count": 10, "duration": 0.4} | changes
    return ask(link, encode("open", settings={}, video=video, skeleton={}, seen={}), "opened")["session"]


def frame_parts(session: str, index: int, image: np.ndarray | None = None, **changes: Any) -> list[Any]:
    """The parts of a frame message."""
    image = np.zeros((48, 64, 3), np.uint8) if image is None else image
    return encode(
        "frame", {"image": image}, **({"session": session, "index": index, "time": index / 25, "scale": 1.0} | changes)
    )


def session_count(connection: Connection) -> int:
    """Return how many sessions a server holds."""
    with Link(connection) as link:
        return ask(link, encode("ping", session=""), "pong")["sessions"]


def wait_free(connection: Connection) -> None:
    """Wait until a server holds no session."""
    deadline = time.monotonic() + PATIENCE
    with Link(connection) as link:
        while ask(link, encode("ping", session=""), "pong")["sessions"]:
            assert time.monotonic() < deadline, "a session was not freed"


def expected(video: SyntheticVideo, settings: Settings | None = None) -> Take:
    """The first take without any wire."""
    return expected_all(video, settings)[0]


def expected_all(video: SyntheticVideo, settings: Settings | None = None) -> list[Take]:
    """Everyone's take without any wire."""
    facts = {"name": "synthetic.mp4", "width": video.info.width, "height": video.info.height, "fps": 25.0}
    facts |= {"frame_count": video.info.frame_count, "duration": video.info.duration}
    pipeline = FakePipeline(settings or Settings(), facts, 0.0, 0.0)
    for frame in video.frames():
        pipeline.push(frame.image[None], np.array([frame.time]), 1.0)
    pipeline.finish()
    return [Take.unpack(*take.pack()) for take in pipeline.solve(lambda *_: None)]
