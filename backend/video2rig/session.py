# SPDX-License-Identifier: GPL-3.0-or-later
"""One session of the server: takes one video's frames in order, and works through them on a thread of its own."""

from __future__ import annotations

import dataclasses
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from .errors import Video2RigError
from .link import CONTROL, FRAMES
from .seen import Seen
from .served import PipelineFactory
from .session_checks import (
    MAX_SIDE_OF_SOURCE,
    Asked,
    Part,
    Refusal,
    check_keypoints,
    check_seen,
    check_skeleton,
    check_video,
    joined,
)
from .settings import Settings
from .take import Take, pack_all
from .wire import Limits, encode

log = logging.getLogger(__name__)

PUSH_SECONDS = 0.5
"""A push should not take longer: progress, cancel and other sessions wait for its end."""
PROGRESS_SECONDS = 0.1
"""Between two messages that tell how far a solve is."""


class Post(Protocol):
    """Gives a message of a session's worker to the thread that owns the sockets; None says that the worker ended."""

    def __call__(self, session: Session, channel: str, parts: list[Any] | None) -> None: ...


@dataclass(frozen=True)
class Turns:
    """Whose turn it is to compute: one session detects at a time, and one solves."""

    detecting: threading.Lock = field(default_factory=threading.Lock)
    solving: threading.Lock = field(default_factory=threading.Lock)


class _Stopped(Exception):
    """The session was cancelled or dropped."""


class Pushed(NamedTuple):
    """A frame that arrived: see `SolvingPipeline`'s push."""

    time: float
    scale: float
    image: np.ndarray


class Session:
    """Frames of one video on their way to a take of each person, or the keypoints of one person to a take.

    The thread that owns the sockets calls everything here; the worker tells it what to send through `post`.

    Attributes:
        name: The secret name that its client uses.
        peers: Routing id of the client by channel, as last heard.
        credit: Frames that may be on their way or waiting. most_frames: In all; None is no bound.
        received, processed: Frames (or messages with keypoints) that arrived, and that were worked through.
        state: "receiving", "solving", "done", "failed" or "stopped".
        outcome: Channel and message with the takes or the error, once there is one.
        last_heard: When the client was last heard of (monotonic seconds).
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        video: dict[str, Any],
        skeleton: dict[str, Any],
        seen: dict[str, Any],
        factory: PipelineFactory,
        limits: Limits,
        turns: Turns,
        post: Post,
    ) -> None:
        """Check what the client asks for, and start the worker.

        Args:
            name: The secret name. settings: What the user chose. video, skeleton, seen: As the message that opens a
                session has them. factory: Makes the pipeline. limits: Of the server. turns: Shared by its sessions.
            post: Gives messages to the thread that owns the sockets.

        Raises:
            Refusal: The video, the skeleton or what was seen is not what it should be.
        """
        self.name = name
        self.peers: dict[str, bytes] = {}
        self.credit, self.most_frames = self._bounds(limits)
        self.received = 0
        self.processed = 0
        self.state = "receiving"
        self.outcome: tuple[str, list[Any]] | None = None
        self.last_heard = time.monotonic()
        self._settings, self._video, self._factory = settings, check_video(video, limits), factory
        self._skeleton = check_skeleton(skeleton, limits)
        self._asked = check_seen(seen, limits)
        self._limits, self._turns, self._post = limits, turns, post
        self._queue: queue.Queue[Pushed | Part | None] = queue.Queue()
        self._stop = threading.Event()
        self._most = 1
        self._shape: tuple[int, ...] | None = None
        self._last_time = -float("inf")
        self._count = 0
        self._finished = False
        self._thread = threading.Thread(target=self._work, name=f"session {name[:6]}", daemon=True)
        self._thread.start()

    def _bounds(self, limits: Limits) -> tuple[int, int | None]:
        """Return how many frames may be on their way or waiting, and how many there may be in all."""
        return limits.credit, limits.frames

    @property
    def alive(self) -> bool:
        """Whether the worker still runs."""
        return self._thread.is_alive()

    def frame(self, index: int, moment: float, scale: float, arrays: dict[str, np.ndarray]) -> None:
        """Take a frame; one that was sent again is ignored.

        Raises:
            Refusal: It is out of turn, beyond the credit or the limits, or not a picture like the others.
        """
        if not self._is_due(index):
            return
        if self._asked is not None:
            raise Refusal("frame", f"frame {index} came where keypoints were announced")
        if self.most_frames is not None and self.received >= self.most_frames:
            raise Refusal("limit", f"more than {self.most_frames} frames; cut the video into parts")
        image = arrays.get("image")
        if len(arrays) != 1 or image is None or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise Refusal("frame", f"frame {index} is not one array 'image' of uint8 [height, width, 3]")
        if not 0 < min(image.shape) <= max(image.shape) <= self._limits.max_side:
            size = f"{image.shape[1]}x{image.shape[0]}"
            raise Refusal("limit", f"frame {index} has {size} pixels; no side may exceed {self._limits.max_side}")
        if self._shape is not None and image.shape != self._shape:
            raise Refusal("frame", f"frame {index} differs in size from the first one")
        if not (self._last_time < moment and 0 < scale <= MAX_SIDE_OF_SOURCE):
            raise Refusal("frame", f"frame {index}: its time must follow the last one's, its scale be positive")
        for told, side in zip((self._video["height"], self._video["width"]), image.shape, strict=False):
            if abs(side * scale - told) > scale + 1:
                size = f"{image.shape[1]}x{image.shape[0]} at a scale of {scale:g}"
                video = f"{self._video['width']}x{self._video['height']}"
                raise Refusal("frame", f"frame {index} has {size}, but the video was said to have {video} pixels")
        self._shape, self._last_time = image.shape, moment
        self.received += 1
        self._queue.put(Pushed(moment, scale, image))

    def keypoints(self, index: int, arrays: dict[str, np.ndarray]) -> None:
        """Take the keypoints of the next frames; those that were sent again are ignored.

        Args:
            index: Of the message. arrays: ``positions``, ``confidence``, ``times`` and, for all messages or none,
                ``world``, as `Keypoints` has them; ``rotations`` and ``root_position`` of the `OwnBody` that was
                announced.

        Raises:
            Refusal: They are out of turn, beyond the credit or the limits, or no keypoints.
        """
        if not self._is_due(index):
            return
        if self._asked is None:
            raise Refusal("keypoints", "keypoints came where frames were announced")
        arrived = check_keypoints(index, arrays, self._asked)
        part = arrived.keypoints
        shape = (part.world is not None,)
        if not len(part.times) or (self._shape is not None and self._shape != shape):
            raise Refusal("keypoints", f"keypoints {index}: no frames, or world positions for some frames alone")
        if not part.times[0] > self._last_time:
            raise Refusal("keypoints", f"keypoints {index}: their times must follow those before")
        if self._count + len(part.times) > self._limits.frames:
            raise Refusal("limit", f"more than {self._limits.frames} frames; cut the video into parts")
        self._shape, self._last_time = shape, float(part.times[-1])
        self._count += len(part.times)
        self.received += 1
        self._queue.put(arrived)

    def _is_due(self, index: int) -> bool:
        """Tell whether a frame, or a message with keypoints, is the next one; false where it was sent again.

        Raises:
            Refusal: It is out of turn, or beyond the credit.
        """
        if index < self.received or self.state in ("done", "failed", "stopped"):
            return False
        if self._finished:
            raise Refusal("order", f"frame {index} came after the video was finished with {self.received} frames")
        if index > self.received:
            raise Refusal("order", f"frame {index} came where frame {self.received} was due")
        if self.received - self.processed >= self.credit:
            raise Refusal("credit", f"frame {index} is beyond the credit of {self.credit} frames")
        return True

    def finish(self, frames: int) -> None:
        """Take note that no frame follows; the solve begins when all are worked through.

        Raises:
            Refusal: Not all frames arrived.
        """
        if frames != self.received or frames == 0:
            raise Refusal("order", f"the video is said to have {frames} frames, {self.received} arrived")
        if not self._finished:
            self._finished = True
            self._queue.put(None)

    def stop(self) -> None:
        """Stop the worker at its next step."""
        self.state = "stopped"
        self._stop.set()
        self._queue.put(None)

    def join(self, seconds: float) -> None:
        """Wait for the worker's end, at most so long."""
        self._thread.join(seconds)

    def _work(self) -> None:
        try:
            channel, parts = self._outcome()
        except _Stopped:
            log.info("session %s: stopped", self.name[:6])
        else:
            self.outcome = channel, parts
            if not self._stop.is_set():
                self.state = "done" if channel == FRAMES else "failed"
                self._post(self, channel, parts)
        finally:
            self._post(self, CONTROL, None)

    def _outcome(self) -> tuple[str, list[Any]]:
        try:
            takes, notices = self._run()
            headers, arrays = pack_all(takes)
            return FRAMES, encode("result", arrays, session=self.name, takes=headers, notices=notices)
        except _Stopped:
            raise
        except Video2RigError as error:
            log.warning("session %s: %s", self.name[:6], error)
            message = str(error)
        except Exception as error:
            log.exception("session %s failed", self.name[:6])
            message = f"the server failed ({type(error).__name__}: {error}); its log says where"
        line = " ".join(message.split())[:2000]
        return CONTROL, encode("error", session=self.name, code="solve", message=line)

    def _run(self) -> tuple[list[Take], list[str]]:
        report = self._reporter()
        report("preparing", 0, 0)  # the first session loads the networks
        if self._asked is not None:
            return [self._again(self._asked, report)], []
        with self._turn(self._turns.detecting):
            pipeline = self._factory(self._settings, self._video, self._skeleton)
        for batch in self._batches():
            images = np.stack([frame.image for frame in batch])
            times = np.array([frame.time for frame in batch])
            with self._turn(self._turns.detecting):
                began = time.monotonic()
                pipeline.push(images, times, batch[0].scale)
                self._adapt(time.monotonic() - began)
            self._acknowledge(len(batch))
        with self._turn(self._turns.detecting):
            pipeline.finish()
        self.state = "solving"
        with self._turn(self._turns.solving):
            return pipeline.solve(report), pipeline.notices

    def _again(self, asked: Asked, report: Callable[[str, int, int], None]) -> Take:
        parts: list[Part] = []
        while (item := self._queue.get()) is not None:
            self._check()
            assert isinstance(item, Part)
            parts.append(item)
            self._acknowledge(1)
        self._check()
        self.state = "solving"
        seen = Seen(joined([part.keypoints for part in parts]), asked.person, asked.world, asked.contacts)
        rotations = [part.rotations for part in parts if part.rotations is not None]
        roots = [part.root_position for part in parts if part.root_position is not None]
        if asked.former is not None and rotations and roots:
            frames = {"rotations": np.concatenate(rotations), "root_position": np.concatenate(roots)}
            seen = dataclasses.replace(seen, former=dataclasses.replace(asked.former, **frames))
        with self._turn(self._turns.solving):
            return self._factory.again(self._settings, self._video, self._skeleton, seen, report)

    def _acknowledge(self, count: int) -> None:
        self.processed += count
        self._post(self, CONTROL, encode("ack", session=self.name, next_index=self.processed, credit=self.credit))

    def _batches(self) -> Iterator[list[Pushed]]:
        """Yield frames as they arrive, several at a time if they wait, of one scale."""
        while (item := self._queue.get()) is not None:
            self._check()
            assert isinstance(item, Pushed)
            batch = [item]
            for _ in range(min(self._queue.qsize(), self._most - 1)):
                item = self._queue.get()
                if item is None:
                    yield batch
                    return
                assert isinstance(item, Pushed)
                if item.scale != batch[0].scale:
                    yield batch
                    batch = []
                batch.append(item)
            yield batch

    def _adapt(self, seconds: float) -> None:
        """Choose how many frames are pushed at once, from how long the last push took."""
        if seconds > PUSH_SECONDS:
            self._most = max(1, self._most // 2)
        elif seconds < PUSH_SECONDS / 2:
            self._most = max(1, min(self._most * 2, self.credit // 2))

    def _reporter(self) -> Callable[[str, int, int], None]:
        told = (-float("inf"), "")

        def report(stage: str, done: int, total: int) -> None:
            nonlocal told
            self._check()
            now = time.monotonic()
            if now - told[0] < PROGRESS_SECONDS and stage == told[1] and done < total:
                return
            told = (now, stage)
            self._post(
                self, CONTROL, encode("progress", session=self.name, stage=stage, done=int(done), total=int(total))
            )

        return report

    @contextmanager
    def _turn(self, lock: threading.Lock) -> Iterator[None]:
        while not lock.acquire(timeout=0.2):
            self._check()
        try:
            self._check()
            yield
        finally:
            lock.release()

    def _check(self) -> None:
        if self._stop.is_set():
            raise _Stopped
