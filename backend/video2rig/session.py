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

from .camera import Camera, CameraError
from .errors import Video2RigError
from .keypoints import KEYPOINT_SETS, Keypoints, KeypointsError
from .link import CONTROL, FRAMES
from .motion import Contact
from .seen import MAX_PERSON, ContactsError, Former, Seen, contacts_from_json
from .settings import Settings
from .skeleton import Skeleton, SkeletonError
from .take import Take, pack_all
from .wire import Limits, encode

log = logging.getLogger(__name__)

MAX_SIDE_OF_SOURCE = 1 << 16
MAX_METRES = 1000.0
"""No bone of a skeleton is longer, or further away."""
MAX_NAME = 256
MAX_PIXELS = 1e6
"""No keypoint lies further from the picture's corner."""
PUSH_SECONDS = 0.5
"""A push should not take longer: progress, cancel and other sessions wait for its end."""
PROGRESS_SECONDS = 0.1
"""Between two messages that tell how far a solve is."""


class SolvingPipeline(Protocol):
    """What a session needs of a pipeline; see `pipeline.Pipeline`."""

    @property
    def notices(self) -> list[str]: ...

    def push(self, images: np.ndarray, times: np.ndarray, scale: float) -> None: ...

    def finish(self) -> None: ...

    def solve(self, progress: Callable[[str, int, int], None]) -> list[Take]: ...


class AnsweringPipeline(Protocol):
    """What a live session needs of a pipeline; see `live.pipeline.LivePipeline`."""

    skeleton: Skeleton
    keypoint_set: str
    lag: int
    digests: dict[str, dict[str, str]]

    def see(self, image: np.ndarray, time: float, scale: float) -> Keypoints: ...

    def solve(self, keypoints: Keypoints) -> SolvedPose | None: ...


class SolvedPose(Protocol):
    """A pose of one frame; see `ik.live.LiveFrame`."""

    @property
    def time(self) -> float: ...

    @property
    def rotations(self) -> np.ndarray: ...

    @property
    def root_position(self) -> np.ndarray: ...

    @property
    def confidence(self) -> np.ndarray: ...


class PipelineFactory(Protocol):
    """Makes a pipeline a session, or solves keypoints; `device` tells users what computes."""

    device: str

    def __call__(self, settings: Settings, video: dict[str, Any], skeleton: Skeleton | None) -> SolvingPipeline: ...

    def again(
        self,
        settings: Settings,
        video: dict[str, Any],
        skeleton: Skeleton | None,
        seen: Seen,
        progress: Callable[[str, int, int], None],
    ) -> Take: ...

    def live(self, settings: Settings, video: dict[str, Any], skeleton: Skeleton | None) -> AnsweringPipeline: ...


class Refusal(Exception):
    """A request that the server does not follow: a code for programs and one line for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


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


class _Asked(NamedTuple):
    """Of whom keypoints come: the fields of `Seen`."""

    keypoint_set: str
    person: int
    world: Camera | None
    contacts: tuple[Contact, ...] | None
    former: Camera | None


class _Part(NamedTuple):
    """Keypoints of some frames, and how the skeleton was there as it was solved before."""

    keypoints: Keypoints
    rotations: np.ndarray | None
    root_position: np.ndarray | None


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
        self._asked = check_seen(seen)
        self._limits, self._turns, self._post = limits, turns, post
        self._queue: queue.Queue[Pushed | _Part | None] = queue.Queue()
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
                ``world``, as `Keypoints` has them; ``rotations`` and ``root_position`` where a `Former` was announced.

        Raises:
            Refusal: They are out of turn, beyond the credit or the limits, or no keypoints.
        """
        if not self._is_due(index):
            return
        if self._asked is None:
            raise Refusal("keypoints", "keypoints came where frames were announced")
        former = set() if self._asked.former is None else {"rotations", "root_position"}
        if set(arrays) | {"world"} != {"positions", "confidence", "times", "world"} | former:
            raise Refusal("keypoints", "keypoints: expected the arrays positions, confidence, times, and maybe world")
        try:
            part = Keypoints(
                self._asked.keypoint_set,
                arrays["positions"],
                arrays["confidence"],
                arrays["times"],
                arrays.get("world"),
            )
        except (KeypointsError, ValueError, TypeError) as error:
            raise Refusal("keypoints", str(error)) from error
        shape = (part.world is not None,)
        if not len(part.times) or (self._shape is not None and self._shape != shape):
            raise Refusal("keypoints", f"keypoints {index}: no frames, or world positions for some frames alone")
        if not part.times[0] > self._last_time:
            raise Refusal("keypoints", f"keypoints {index}: their times must follow those before")
        if self._count + len(part.times) > self._limits.frames:
            raise Refusal("limit", f"more than {self._limits.frames} frames; cut the video into parts")
        certain = part.confidence > 0
        far = np.abs(part.positions[certain]).max(initial=0.0) > MAX_PIXELS
        if far or (part.world is not None and np.abs(part.world[certain]).max(initial=0.0) > MAX_METRES):
            raise Refusal("limit", f"keypoints {index}: one is beyond {MAX_PIXELS:g} pixels or {MAX_METRES:g} m")
        whole = _Part(part, *self._former(arrays, len(part.times)))
        self._shape, self._last_time = shape, float(part.times[-1])
        self._count += len(part.times)
        self.received += 1
        self._queue.put(whole)

    def _former(self, arrays: dict[str, np.ndarray], frames: int) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
        """Return the rotations and root positions of so many frames of a former motion, if one was announced.

        Raises:
            Refusal: They are not those of the skeleton that is to be solved, or cannot be.
        """
        if self._asked is None or self._asked.former is None or self._skeleton is None:
            return None, None
        rotations, root = (np.asarray(arrays[name]) for name in ("rotations", "root_position"))
        if rotations.shape != (frames, len(self._skeleton), 4) or root.shape != (frames, 3):
            raise Refusal(
                "keypoints", f"rotations: expected {frames} frames of the skeleton's {len(self._skeleton)} bones"
            )
        for array in (rotations, root):
            if array.dtype.kind != "f" or not np.abs(array).max(initial=0.0) <= MAX_METRES:
                raise Refusal("keypoints", "rotations and root_position: expected numbers that a motion can have")
        if not np.square(rotations).sum(axis=-1).min(initial=1.0) > 0.5:
            raise Refusal("keypoints", "rotations: expected unit quaternions")
        return rotations.astype(np.float64), root.astype(np.float64)

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

    def _again(self, asked: _Asked, report: Callable[[str, int, int], None]) -> Take:
        parts: list[_Part] = []
        while (item := self._queue.get()) is not None:
            self._check()
            assert isinstance(item, _Part)
            parts.append(item)
            self._acknowledge(1)
        self._check()
        self.state = "solving"
        seen = Seen(_joined([part.keypoints for part in parts]), asked.person, asked.world, asked.contacts)
        rotations = [part.rotations for part in parts if part.rotations is not None]
        roots = [part.root_position for part in parts if part.root_position is not None]
        if asked.former is not None and rotations and roots:
            former = Former(np.concatenate(rotations), np.concatenate(roots), asked.former)
            seen = dataclasses.replace(seen, former=former)
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


def check_video(video: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """Return the facts about a video that a client told, checked.

    Raises:
        Refusal: A fact is absent, unknown, or cannot be.
    """
    ranges = {
        "width": (int, 1, MAX_SIDE_OF_SOURCE),
        "height": (int, 1, MAX_SIDE_OF_SOURCE),
        "fps": (float, 1e-3, 1e4),
        "frame_count": (int, 0, limits.frames),
        "duration": (float, 0, 1e7),
    }
    if set(video) != {"name", *ranges}:
        raise Refusal("video", f"video: expected exactly the entries name, {', '.join(ranges)}")
    if not isinstance(video["name"], str) or len(video["name"]) > 1024:
        raise Refusal("video", "video: name must be a text of at most 1024 characters")
    for name, (kind, lower, upper) in ranges.items():
        value = video[name]
        if type(value) not in (int, kind) or not lower <= value <= upper:
            raise Refusal("video", f"video: {name} is {str(value)[:40]}; it must lie between {lower:g} and {upper:g}")
    return dict(video)


def check_skeleton(data: dict[str, Any], limits: Limits) -> Skeleton | None:
    """Return the skeleton that a client wants solved; None, for an empty object, is the default human.

    Raises:
        Refusal: It is none, or beyond the limits.
    """
    if not data:
        return None
    joints = data.get("joints")
    if isinstance(joints, list) and len(joints) > limits.joints:
        raise Refusal("limit", f"skeleton: {len(joints)} joints; at most {limits.joints} are allowed")
    try:
        skeleton = Skeleton.from_json(data)
    except SkeletonError as error:
        raise Refusal("skeleton", str(error)) from error
    if max(map(len, skeleton.names + skeleton.roles)) > MAX_NAME:
        raise Refusal("limit", f"skeleton: a name is longer than {MAX_NAME} characters")
    if max(np.abs(skeleton.offset).max(), skeleton.length.max()) > MAX_METRES:
        raise Refusal("limit", f"skeleton: a bone is longer than {MAX_METRES:g} m, or further away")
    return skeleton


def _joined(parts: list[Keypoints]) -> Keypoints:
    """Return keypoints of frames one part after the other."""
    worlds = [part.world for part in parts if part.world is not None]
    return Keypoints(
        parts[0].set_name,
        np.concatenate([part.positions for part in parts]),
        np.concatenate([part.confidence for part in parts]),
        np.concatenate([part.times for part in parts]),
        np.concatenate(worlds) if worlds else None,
    )


def check_seen(data: dict[str, Any]) -> _Asked | None:
    """Return of whom keypoints are announced; None, for an empty object, announces frames.

    Raises:
        Refusal: An entry is absent, unknown, or cannot be.
    """
    if not data:
        return None
    names = ("keypoint_set", "person", "camera", "contacts", "former")
    if set(data) != set(names):
        raise Refusal("seen", f"seen: expected exactly the entries {', '.join(names)}")
    keypoint_set, person, camera, contacts, former = (data[name] for name in names)
    if not isinstance(keypoint_set, str) or keypoint_set not in KEYPOINT_SETS:
        raise Refusal("seen", f"seen: no keypoint set {str(keypoint_set)[:40]!r}; there are {', '.join(KEYPOINT_SETS)}")
    if type(person) is not int or not 1 <= person <= MAX_PERSON:
        raise Refusal("seen", f"seen: person is {str(person)[:40]}; it must lie between 1 and {MAX_PERSON}")
    try:
        world = None if camera == {} else Camera.from_json(camera)
        marked = None if contacts is None else contacts_from_json(contacts)
        return _Asked(keypoint_set, person, world, marked, None if former == {} else Camera.from_json(former))
    except (CameraError, ContactsError, OverflowError) as error:
        raise Refusal("seen", str(error)) from error
