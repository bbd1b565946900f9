# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames a second of the whole way of a frame, beside each of its parts alone; the slowest part is the bottleneck.

    python benchmarks/throughput.py [--video clip.mp4] [--device auto] [--repeat 3]

Parts: reading (decoding, and shrinking to what the wire takes), transport (a client and a server over the encrypted
wire, nothing computed), detection (frames that lie in memory). The whole way is a client that reads the video and a
server that detects, in processes of their own. Each is measured from its first frame to its last, `--repeat` times in
turns, and the median is given. On a CPU, reading and detection share its cores: how fast they could be together is
printed too, from the processor time of each.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from environment import describe

from video2rig.client import solve
from video2rig.connection import Connection
from video2rig.conversation import Call
from video2rig.errors import Video2RigError
from video2rig.frames import Frame, VideoSource, fitted, open_video
from video2rig.link import ServerError
from video2rig.pipeline import Backend, Pipeline
from video2rig.progress import Progress
from video2rig.server import serve
from video2rig.settings import Settings
from video2rig.skeleton import Skeleton
from video2rig.wire import Limits

SAMPLE = Path(__file__).parents[1] / "tests" / "sample" / "sample.mp4"
START_SECONDS = 120.0
_END = "the frames are through"


class _Ended(Video2RigError):
    """Stands in for a take: what comes after detection is not measured here."""


class Nothing:
    """A pipeline that computes nothing."""

    notices: tuple[str, ...] = ()

    def push(self, images: np.ndarray, times: np.ndarray, scale: float) -> None:
        """Forget the frames."""

    def finish(self) -> None:
        """Nothing waits."""

    def solve(self, progress: Callable[[str, int, int], None]) -> Any:
        """End."""
        raise _Ended(_END)


class Detection:
    """A pipeline that detects and does not solve."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.push, self.finish, self.notices = pipeline.push, pipeline.finish, pipeline.notices

    def solve(self, progress: Callable[[str, int, int], None]) -> Any:
        """End: the detection is finished."""
        raise _Ended(_END)


class Factory:
    """Makes the pipelines of a server."""

    def __init__(self, device: str | None) -> None:
        """``device`` None computes nothing."""
        self._backend = None if device is None else Backend(device)
        self.device = "nothing" if self._backend is None else self._backend.notice

    def __call__(self, settings: Settings, video: dict[str, Any], skeleton: Skeleton | None) -> Any:
        """Return a pipeline for one video."""
        return Nothing() if self._backend is None else Detection(Pipeline(settings, video, self._backend, skeleton))

    def again(self, settings: Settings, video: Any, skeleton: Any, seen: Any, progress: Any) -> Any:
        """No keypoints are sent here."""
        raise _Ended(_END)

    def live(self, settings: Settings, video: Any, skeleton: Any) -> Any:
        """Nothing is answered frame by frame here."""
        raise _Ended(_END)


class InMemory(VideoSource):
    """Frames that were read before."""

    def __init__(self, source: VideoSource, frames: list[Frame]) -> None:
        height, width = frames[0].image.shape[:2]
        super().__init__(replace(source.info, width=width, height=height))
        self._held = frames

    def frames(self, start: int = 0) -> Generator[Frame, None, None]:
        """See :meth:`VideoSource.frames`."""
        yield from self._held[start:]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, default=SAMPLE)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    source = open_video(options.video)
    held = [fitted(frame, Limits().max_side)[0] for frame in source.frames()]
    memory = InMemory(source, held)
    backend = Backend(options.device)
    settings = Settings(regression=False)
    with running(None) as idle, running(options.device) as server:
        ways = {
            "reading": lambda: read(source),
            "transport": lambda: through(memory, idle),
            "detection": lambda: detect(memory, settings, backend),
            "the whole way": lambda: through(source, server),
        }
        rates: dict[str, list[float]] = {name: [] for name in ways}
        busy: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.repeat):
            for name, way in ways.items():
                began = time.process_time()
                rates[name].append(way())
                busy[name].append((time.process_time() - began) / len(held))
    print(describe(backend.device))
    height, width = held[0].image.shape[:2]
    print(f"{options.video.name}: {len(held)} frames of {width}x{height} on the wire; frames a second")
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, value in medians.items():
        print(f"{name:16}{value:10.1f}   ({', '.join(f'{rate:.1f}' for rate in sorted(rates[name]))})")
    whole = medians.pop("the whole way")
    slowest = min(medians, key=lambda name: medians[name])
    print(f"the bottleneck is {slowest}; the whole way reaches {100 * whole / medians[slowest]:.0f} % of it")
    if backend.device.type == "cpu":
        shared = len(os.sched_getaffinity(0)) / sum(statistics.median(busy[name]) for name in ("reading", "detection"))
        print(f"reading and detection share the cores: together they can reach {shared:.1f}")
    return 0


def read(source: VideoSource) -> float:
    """Return the frames a second of reading alone."""
    began, count = time.perf_counter(), 0
    for frame in source.frames():
        fitted(frame, Limits().max_side)
        count += 1
    return count / (time.perf_counter() - began)


def detect(source: VideoSource, settings: Settings, backend: Backend) -> float:
    """Return the frames a second of detection alone."""
    pipeline = Pipeline(settings, source.info.facts(), backend)
    began, count = time.perf_counter(), 0
    for frame in source.frames():
        pipeline.push(frame.image[None], np.array([frame.time]), 1.0)
        count += 1
    pipeline.finish()
    return count / (time.perf_counter() - began)


def through(source: VideoSource, connection: Connection) -> float:
    """Return the frames a second from a client to the end of a server's work on them."""
    marks: list[tuple[float, int]] = []

    def heard(progress: Progress) -> None:
        if progress.stage == "detecting":
            marks.append((time.perf_counter(), progress.done))

    try:
        solve(source, Settings(regression=False), Call(connection, heard, threading.Event()))
    except ServerError as error:
        if _END not in str(error):
            raise
    marks.append((time.perf_counter(), marks[-1][1]))
    # the server prepares before it takes the first frame
    began = next(moment for moment, done in marks if done > 0)
    first = next(done for _, done in marks if done > 0)
    return (marks[-1][1] - first) / (marks[-1][0] - began)


@contextmanager
def running(device: str | None) -> Iterator[Connection]:
    """Give a server in a process of its own; it computes nothing where ``device`` is None."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "connection.json"
        process = multiprocessing.get_context("spawn").Process(target=_serve, args=(device, path), daemon=True)
        process.start()
        deadline = time.monotonic() + START_SECONDS
        while not path.exists():
            if not process.is_alive() or time.monotonic() > deadline:
                raise SystemExit("throughput: the server did not start")
            time.sleep(0.1)
        try:
            yield Connection.load(path)
        finally:
            process.terminate()
            process.join()


def _serve(device: str | None, path: Path) -> None:
    serve(pipeline_factory=Factory(device), connection_path=path)


if __name__ == "__main__":
    raise SystemExit(main())
