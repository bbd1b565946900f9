# SPDX-License-Identifier: GPL-3.0-or-later
"""People followed through a stream of frames, with calm keypoints.

Three stages, each a fixed number of frames behind the one before it, so that frames are held only for a short while:

1. Key frames, several a second (`key_frames.py`): who is there, and where everyone was in between.
2. A first look at the wanted people: keypoints in circles that are smoothed over time without lag. A network's depth
   answers to the smallest shift of its crop, so calm crops make calm depth.
3. A second look in the circles that those keypoints gave, again smoothed, and in a mirror where the detector can do
   that. The mean of both looks counts (`looks.py`; on a CPU they take turns, frame by frame, where nothing is in
   doubt).

On a GPU each stage of a chunk is a few batches, and none goes frame by frame. Chunks begin at fixed frames: what comes
out does not depend on how the stream was cut into pushes. A detector that cannot look at one person (no `CropDetector`)
finds everyone in every frame, and what it found is the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ..errors import Video2RigError
from ..person import PersonChoice, PersonError
from .choice import Whom
from .circles import smoothed
from .detector import CropDetector, Detector
from .frame_ring import FrameRing
from .key_frames import KeyFrames
from .lanes import Lane
from .looks import VIEWS, Looks, frames_held
from .movers import Seen, instead_of
from .tracking import Tracker

CPU_CHUNK, GPU_CHUNK = 12, 128  # frames
DEPTH_SECONDS = 0.02  # standard deviation of the world landmarks' smoothing: below human motion, above their jitter


class StreamError(Video2RigError):
    """Frames of a wrong form, or pushed after the end; settings that cannot be."""


class Tracked(NamedTuple):
    """One person over T frames.

    number: From 1, in the order of appearance; positions [T,K,2] px of the pushed images, NaN where not seen;
    confidence [T,K] 0..1, 0 where not seen; world [T,K,3] metres from the hip centre (x right, y down, z away from the
    camera), NaN where not seen, or None where the detector knows nothing of depth.
    """

    number: int
    positions: np.ndarray
    confidence: np.ndarray
    world: np.ndarray | None


class PeopleStream:
    """Frames in, in order; people out, after the last one.

    Attributes:
        passed_over: Once there are people: the number of the largest person, who hardly moves, and in whose place
            somebody who does was taken; 0 for nobody.
    """

    def __init__(
        self,
        detector: Detector,
        fps: float,
        person: PersonChoice,
        *,
        views: int | None = None,
        chunk: int | None = None,
    ) -> None:
        """Begin a stream.

        Args:
            detector: Finds the people; a `CropDetector` looks at the wanted ones in every frame.
            fps: Frames a second: sets the time constants, which are given in seconds.
            person: Whom to follow; its point is in pixels of the images that will be pushed.
            views: 1 to 4: of how many views of a person, slightly different and some of them mirrored, the second
                look takes the mean; it makes all of them calmer. None takes all on a GPU, where they are cheap, and one
                on a CPU.
            chunk: Frames that are worked on at once; None takes what suits the device.

        Raises:
            StreamError: A number is out of range.
        """
        if not (math.isfinite(fps) and fps > 0):
            raise StreamError(f"the frame rate is {fps}; it must be a positive number")
        on_cpu = detector.device.type == "cpu"
        self._views = views if views is not None else 1 if on_cpu else len(VIEWS)
        if not 1 <= self._views <= len(VIEWS):
            raise StreamError(f"{views} views of a person were asked for; 1 to {len(VIEWS)} are possible")
        chunk = chunk if chunk is not None else CPU_CHUNK if on_cpu else GPU_CHUNK
        if chunk < 1:
            raise StreamError(f"chunks of {chunk} frames were asked for; at least 1 is needed")
        self._detector, self._fps, self._person = detector, fps, person
        # in large chunks a call costs more than what is in it
        self._keys = KeyFrames(detector, fps, sparing=on_cpu and chunk <= CPU_CHUNK)
        self._chunk = self._keys.every * math.ceil(chunk / self._keys.every)
        self._whom = Whom(person, fps)
        self._times: list[float] = []
        self._shape: tuple[int, ...] = ()
        self._ring: FrameRing | None = None
        self._looks: Looks | None = None
        self._known = 0  # before this frame it is known who is there
        # on a GPU calls wait for one another, and frames to wait for are dear
        self._overlap = on_cpu and isinstance(detector, CropDetector)
        self._finished = False
        self.passed_over = 0

    # ---- what comes in --------------------------------------------------------------------------------------------

    def push(self, images: np.ndarray, times: np.ndarray | None = None) -> None:
        """Take the next frames [B,H,W,3], uint8 RGB, of one size for the whole stream.

        Args:
            images: The frames. times: [B] seconds from the first frame, rising; without them frames are evenly apart.

        Raises:
            StreamError: They have another form or size, or the stream is finished.
        """
        if self._finished:
            raise StreamError("frames were pushed after the stream was finished")
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or 0 in images.shape[1:]:
            raise StreamError(f"frames must be uint8 [B,H,W,3], not {images.dtype} {list(images.shape)}")
        ring = self._ring or self._begin(images.shape[1:])
        if images.shape[1:] != self._shape:
            raise StreamError(f"the frame size changed from {self._shape[:2]} to {images.shape[1:3]} in the stream")
        times = (ring.pushed + np.arange(len(images))) / self._fps if times is None else times
        self._times += times.tolist()
        self._whom.note_times(ring.pushed, times)
        while len(images):
            room = self._chunk - ring.pushed % self._chunk
            ring.push(images[:room])
            images = images[room:]
            if ring.pushed % self._chunk == 0:
                self._advance(ring)

    def finish(self) -> None:
        """Take note that no more frames come: those that wait are worked through."""
        if not self._finished and self._ring is not None and self._ring.pushed:
            self._whom.note_times(self._ring.pushed, np.array([self._whom.time + 1 / self._fps]))  # of a next one
            self._advance(self._ring, at_the_end=True)
        self._finished = True

    # ---- what comes out -------------------------------------------------------------------------------------------

    def people(self) -> list[Tracked]:
        """Those whom the choice names, by number, over all frames that were pushed; after `finish`.

        One of them, or all for "everyone"; none where nobody was seen at all.

        Raises:
            StreamError: The stream is not finished.
            PersonError: People were seen, but nobody of that number or at that point.
        """
        if not self._finished:
            raise StreamError("the stream is not finished yet")
        if not self.seen():
            return []
        if self._person.kind == "largest":
            return self._followed()
        lanes = sorted(
            (lane for lane in self._keys.lanes.values() if lane.number and lane.result), key=lambda lane: lane.number
        )
        if self._person.kind == "number":
            lanes = [lane for lane in lanes if lane.number == self._person.number]
            if not lanes:
                raise PersonError(f"person {self._person.number} was asked for, but {_count(self.seen())} seen")
        if self._person.kind == "point":
            lanes = [lane for lane in lanes if lane.key == self._whom.pointed]
            if not lanes:
                (x, y), time = self._person.point, self._person.time
                raise PersonError(
                    f"nobody stands at {x:g},{y:g} after {time:g} s, although {_count(self.seen())} seen in the "
                    f"{self._whom.time:.1f} s of the video"
                )
        return [self._calm(lane.number, *lane.results(self._count)) for lane in lanes]

    def seen(self) -> int:
        """How many people were tracked so far."""
        return 0 if self._ring is None else self._keys.tracker.numbered

    @property
    def _count(self) -> int:
        """How many frames were pushed."""
        return 0 if self._ring is None else self._ring.pushed

    def _followed(self) -> list[Tracked]:
        """The track that "largest" followed, and those it went on with after the first was gone for good."""
        keys, counts = np.unique([key for key in self._whom.owner if key >= 0], return_counts=True)
        if not len(keys):
            return []
        columns = self._keys.lanes[int(keys[0])].results(self._count)
        for key in keys[1:].tolist():
            own = np.array(self._whom.owner) == key
            for whole, part in zip(columns, self._keys.lanes[key].results(self._count), strict=True):
                if whole is not None and part is not None:
                    whole[own] = part[own]
        numbers = [self._keys.lanes[key].number for key in keys[np.argsort(-counts, kind="stable")].tolist()]
        number = next((number for number in numbers if number), 1)
        if self._whom.unmoved and (other := self._instead_of(Seen(number, *columns[:2]), set(keys.tolist()))):
            self.passed_over = number
            return [self._calm(other.number, *other.results(self._count))]
        return [self._calm(number, *columns)]

    def _instead_of(self, followed: Seen, keys: set[int]) -> Lane | None:
        """Who is taken in place of the person with these keys, who was not seen to move: see `movers.py`."""
        lanes = {
            lane.number: lane
            for lane in self._keys.lanes.values()
            if lane.number and lane.result and lane.key not in keys
        }
        others = [Seen(number, *lane.results(self._count)[:2]) for number, lane in lanes.items()]
        other = instead_of(followed, others, np.array(self._times))
        return None if other is None else lanes[other.number]

    def _calm(self, number: int, positions: np.ndarray, confidence: np.ndarray, world: np.ndarray | None) -> Tracked:
        """With the jitter of the world landmarks smoothed away."""
        sigma = DEPTH_SECONDS * self._fps
        if world is not None:
            rows = world.reshape(len(world), -1)
            world = smoothed(rows, sigma, max(1, math.ceil(3 * sigma))).astype(np.float32).reshape(world.shape)
        return Tracked(number, positions, confidence, world)

    # ---- stage by stage -------------------------------------------------------------------------------------------

    def _begin(self, shape: tuple[int, ...]) -> FrameRing:
        detector, keys = self._detector, self._keys
        held = self._chunk * (1 + self._overlap) + keys.every + frames_held(self._fps, detector.device)
        self._shape, self._ring = shape, FrameRing(held, shape, detector.device)
        keys.begin(Tracker(self._fps, shape[0], shape[1]), self._ring)
        if isinstance(detector, CropDetector):
            self._looks = Looks(detector, self._ring, self._fps, self._views)
        return self._ring

    def _advance(self, ring: FrameRing, at_the_end: bool = False) -> None:
        """Take every stage as far as the frames that are here allow."""
        if self._overlap:
            with ThreadPoolExecutor(1, "looks") as beside:
                # of the frames that are known of already: key frames leave cores idle, as one leads to the next
                looked = beside.submit(self._work())
                self._advance_keys(at_the_end)
                looked.result()
            if at_the_end:
                self._work(at_the_end)()
        else:
            self._advance_keys(at_the_end)
            self._work(at_the_end)()
        settled = self._known if self._looks is None else self._looks.settled
        self._whom.point(settled, self._keys.lanes)
        self._forget(settled)

    def _advance_keys(self, at_the_end: bool) -> None:
        keys, whom = self._keys, self._whom
        for now in keys.advance(at_the_end, lambda key: whom.may_want(key, keys.lanes, keys.tracker.numbered)):
            whom.follow(now, keys.tracker.tracks, keys.lanes)
        assert keys.last is not None
        self._known = self._count if at_the_end else keys.last.frame + 1

    def _work(self, at_the_end: bool = False) -> Callable[[], None]:
        """What the looks have to do in the frames of which it is known who is there."""
        keys, whom = self._keys, self._whom
        if self._looks is None:
            return lambda: None
        lanes = list(keys.lanes.values())
        return self._looks.work(
            self._known, lanes, lambda a, b: whom.wanted(a, b, keys.tracker, keys.lanes), at_the_end
        )

    def _forget(self, settled: int) -> None:
        """Let go of tracks that came to nothing, and of those that are known not to be wanted."""
        alive = {track.key for track in self._keys.tracker.tracks}
        reach = 0 if self._looks is None else self._looks.reach
        for lane in list(self._keys.lanes.values()):
            gone = lane.key not in alive and lane.end <= settled - reach
            if gone and not self._whom.is_kept(lane, self._keys.tracker.numbered):
                del self._keys.lanes[lane.key]


def _count(people: int) -> str:
    return "1 person was" if people == 1 else f"{people} people were"
