# SPDX-License-Identifier: GPL-3.0-or-later
"""People followed through a stream of frames, with calm keypoints.

Three stages, each a fixed number of frames behind the one before it, so that frames are held only for a short while:

1. Key frames, several a second: the detector finds everyone, and a `Tracker` says who is who. People whom it missed
   are looked at where they are expected. Between key frames circles are interpolated.
2. Every frame of the wanted people, on a CPU every other one: keypoints in circles that are smoothed over time
   without lag. A network's depth answers to the smallest shift of its crop, so calm crops make calm depth.
3. Once more in the circles that those keypoints gave, again smoothed, and in a mirror where the detector can do that.
   The mean of both looks counts; where the body moved fast and the first look's circle was far from it, the second
   alone, without a step from frame to frame.

On a GPU each stage of a chunk is a few batches, and none goes frame by frame. Chunks begin at fixed frames: what comes
out does not depend on how the stream was cut into pushes. A detector that cannot look at one person (no `CropDetector`)
finds everyone in every frame, and what it found is the result.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import Video2RigError
from ..person import PersonChoice, PersonError
from .choice import Largest, distance_to_point, may_be_wanted
from .circles import apart, between, growth, moved, radius, same_body, smoothed, turned
from .detector import CropDetector, Detector, MirroringDetector, People, TilingDetector, mean_of
from .lanes import Lane, carried
from .tracking import MIN_PERSON, KeyFrame, Tracker

KEY_SECONDS, MOST_KEY_FRAMES = 0.13, 12  # from one look for everyone to the next
TILE_SECONDS = 1.0  # from one look for small people to the next
SMOOTHING_SECONDS, MOST_REACH = 0.07, 12  # standard deviation of a circle's smoothing; frames to either side
CPU_CHUNK, GPU_CHUNK = 16, 128  # frames
CPU_STRIDE, GPU_STRIDE = 2, 1  # frames from one first look to the next: the second look is at all of them
NEAR = 0.25  # radii from the point that was clicked to the person
FAR = 0.15  # radii, |log| of the size and radians together: from one to two of it the first look counts less and less
AGREE = 0.1  # radii: a keypoint that both looks place further apart is the second one's alone, not between the two
DOUBT = 0.15  # radii: as they place it further apart, its confidence goes down
SEARCH = 1.15  # how much larger the circle is in which someone is looked for who was missed
DEPTH_SECONDS = 0.02  # standard deviation of the world landmarks' smoothing: below human motion, above their jitter
# views of the second look: shift (parts of the circle's diameter), scale, turn (rad); every other one is mirrored
VIEWS = (
    ((0.0, 0.0), 1.0, 0.0),
    ((0.02, 0.0), 1.03, 0.05),
    ((-0.02, 0.0), 0.97, -0.05),
    ((0.0, 0.02), 1.06, -0.05),
)


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
    """Frames in, in order; people out, after the last one."""

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
        self._stride = CPU_STRIDE if on_cpu else GPU_STRIDE
        chunk = chunk if chunk is not None else CPU_CHUNK if on_cpu else GPU_CHUNK
        if chunk < 1:
            raise StreamError(f"chunks of {chunk} frames were asked for; at least 1 is needed")
        self._detector, self._fps, self._person = detector, fps, person
        self._looker = detector if isinstance(detector, CropDetector) else None
        self._tiler = detector if isinstance(detector, TilingDetector) else None
        self._key_every = min(max(1, round(KEY_SECONDS * fps)), MOST_KEY_FRAMES) if self._looker else 1
        self._tile_every = max(1, round(TILE_SECONDS * fps / self._key_every))
        self._chunk = self._key_every * math.ceil(chunk / self._key_every)
        self._sigma = SMOOTHING_SECONDS * fps
        self._reach = max(1, min(math.ceil(2.5 * self._sigma), MOST_REACH))
        self._largest = Largest(fps) if person.kind == "largest" else None
        self._owner: list[int] = []  # the key of the track that "largest" follows, frame by frame; -1 for nobody
        self._pointed: int | None = None
        self._pointed_at: int | None = None  # the frame of the point; None while it is not known, and without a point
        self._time = -math.inf  # of the last frame, s
        self._lanes: dict[int, Lane] = {}
        self._tracker: Tracker | None = None
        self._last: KeyFrame | None = None
        self._shape: tuple[int, ...] = ()
        self._ring: Tensor | None = None
        self._pushed = self._found = self._looked = self._settled = 0
        self._finished = False

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
        if self._ring is None or self._tracker is None:
            self._begin(images.shape[1:])
        if images.shape[1:] != self._shape:
            raise StreamError(f"the frame size changed from {self._shape[:2]} to {images.shape[1:3]} in the stream")
        assert self._ring is not None
        self._note_times((self._pushed + np.arange(len(images))) / self._fps if times is None else times)
        while len(images):
            slot = self._pushed % len(self._ring)
            room = min(self._chunk - self._pushed % self._chunk, len(self._ring) - slot)
            part, images = images[:room], images[room:]
            self._ring[slot : slot + len(part)] = torch.from_numpy(np.ascontiguousarray(part)).to(self._ring.device)
            self._pushed += len(part)
            if self._pushed % self._chunk == 0:
                self._advance()

    def finish(self) -> None:
        """Take note that no more frames come: those that wait are worked through."""
        if not self._finished and self._pushed:
            self._note_times(np.array([self._time + 1 / self._fps]))  # where a next one would be
            self._advance(at_the_end=True)
        self._finished = True

    def _note_times(self, times: np.ndarray) -> None:
        """Find the frame that is nearest to the time of the point, among the next frames and the last one."""
        for frame, time in enumerate(times.tolist(), self._pushed):
            if self._person.kind == "point" and self._pointed_at is None and time >= self._person.time:
                self._pointed_at = frame - int(self._person.time - self._time < time - self._person.time)
            self._time = time

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
        if self._largest is not None:
            return self._followed()
        lanes = sorted(
            (lane for lane in self._lanes.values() if lane.number and lane.known), key=lambda lane: lane.number
        )
        if self._person.kind == "number":
            lanes = [lane for lane in lanes if lane.number == self._person.number]
            if not lanes:
                raise PersonError(f"person {self._person.number} was asked for, but {_count(self.seen())} seen")
        if self._person.kind == "point":
            lanes = [lane for lane in lanes if lane.key == self._pointed]
            if not lanes:
                (x, y), time = self._person.point, self._person.time
                raise PersonError(
                    f"nobody stands at {x:g},{y:g} after {time:g} s, although {_count(self.seen())} seen in the "
                    f"{self._time:.1f} s of the video"
                )
        return [self._calm(lane.number, *lane.results(self._pushed)) for lane in lanes]

    def seen(self) -> int:
        """How many people were tracked so far."""
        return 0 if self._tracker is None else self._tracker.numbered

    def _followed(self) -> list[Tracked]:
        """The track that "largest" followed, and those it went on with after the first was gone for good."""
        keys, counts = np.unique([key for key in self._owner if key >= 0], return_counts=True)
        if not len(keys):
            return []
        columns = self._lanes[int(keys[0])].results(self._pushed)
        for key in keys[1:].tolist():
            own = np.array(self._owner) == key
            for whole, part in zip(columns, self._lanes[key].results(self._pushed), strict=True):
                if whole is not None and part is not None:
                    whole[own] = part[own]
        numbers = [self._lanes[key].number for key in keys[np.argsort(-counts, kind="stable")].tolist()]
        return [self._calm(next((number for number in numbers if number), 1), *columns)]

    def _calm(self, number: int, positions: np.ndarray, confidence: np.ndarray, world: np.ndarray | None) -> Tracked:
        """With the jitter of the world landmarks smoothed away."""
        sigma = DEPTH_SECONDS * self._fps
        if world is not None:
            rows = world.reshape(len(world), -1)
            world = smoothed(rows, sigma, max(1, math.ceil(3 * sigma))).astype(np.float32).reshape(world.shape)
        return Tracked(number, positions, confidence, world)

    # ---- stage by stage -------------------------------------------------------------------------------------------

    def _begin(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        held = self._chunk + self._key_every + 2 * self._reach
        held = self._chunk * math.ceil(held / self._chunk)
        self._ring = torch.empty((held, *shape), dtype=torch.uint8, device=self._detector.device)
        self._tracker = Tracker(self._fps, shape[0], shape[1])

    def _advance(self, at_the_end: bool = False) -> None:
        """Take every stage as far as the frames that are here allow."""
        frames = list(range(self._found, self._pushed, self._key_every))
        latest = frames[-1] if frames else -1 if self._last is None else self._last.frame
        if at_the_end and latest < self._pushed - 1:
            frames.append(self._pushed - 1)
        if frames:
            self._find(frames)
        self._found = self._pushed
        assert self._tracker is not None and self._last is not None
        if at_the_end:
            self._tracker.finish()
            self._take_numbers()
        end = self._pushed if at_the_end else self._last.frame + 1
        if self._looker is None:
            self._settled = end
        else:
            self._look_at_all(self._looker, end if at_the_end else end - self._reach)
            self._look_again(self._looker, end if at_the_end else end - 2 * self._reach)
        self._point(end)
        self._forget()

    def _find(self, frames: list[int]) -> None:
        """Key frames: who is there, and where everyone was since the last key frame."""
        tracker, looker = self._tracker, self._looker
        assert self._ring is not None and tracker is not None
        for frame, found in zip(frames, self._found_in(frames), strict=True):
            slot = torch.tensor([frame % len(self._ring)], device=self._ring.device)

            def look(circles: np.ndarray, slot: Tensor = slot) -> People:
                assert looker is not None and self._ring is not None
                where = torch.from_numpy(moved(circles, (0.0, 0.0), SEARCH, 0.0)).to(self._ring.device)
                return looker.look(self._ring, where, slot.expand(len(circles)))

            now = tracker.step(frame, found, look if looker is not None else None)
            self._take(now, found)
            self._take_numbers()
            if self._largest is not None:
                self._follow(now, self._largest.choose(frame, tracker.tracks))
            self._last = now

    def _found_in(self, frames: list[int]) -> list[People]:
        """Everyone in these frames; a closer look at some of them, and at the first where someone is missing."""
        assert self._ring is not None and self._tracker is not None
        ring = self._ring

        def images(chosen: list[int]) -> Tensor:
            return ring[torch.tensor([frame % len(ring) for frame in chosen], device=ring.device)]

        if self._tiler is None:
            return self._detector.find(images(frames))
        tracks = self._tracker.tracks
        missing = not tracks or any(not track.seen and not track.hidden for track in tracks)
        close = [
            frame
            for k, frame in enumerate(frames)
            if frame % (self._key_every * self._tile_every) == 0 or (missing and k == 0)
        ]
        rest = [frame for frame in frames if frame not in close]
        found = dict(zip(close, self._tiler.find_small(images(close)), strict=True)) if close else {}
        if rest:
            found |= dict(zip(rest, self._tiler.find(images(rest)), strict=True))
        return [found[frame] for frame in frames]

    def _take(self, now: KeyFrame, found: People) -> None:
        """Everyone's circles from the last key frame on to this one."""
        last = self._last
        first = now.frame if last is None else last.frame + 1
        before = {} if last is None else {int(key): i for i, key in enumerate(last.key)}
        for i, key in enumerate(now.key.tolist()):
            if key not in self._lanes:
                self._lanes[key] = Lane(key, first)
            lane = self._lanes[key]
            steps = np.arange(first, now.frame + 1)
            j = before.get(key)
            if last is None or j is None:  # not there before: they came in between
                path = np.repeat(now.circle[i][None], len(steps), 0)
                there = np.full(len(steps), now.seen[i])
            else:
                part = (steps - last.frame) / (now.frame - last.frame)
                path = between(last.circle[j], now.circle[i], part)
                there = np.full(len(steps), now.seen[i] or last.seen[j])
                there &= ~(now.hidden[i] & (part > 0.5)) & ~(last.hidden[j] & (part < 0.5))
                there[-1] = now.seen[i]
            lane.expect(first, np.where(there[:, None], path, np.nan))
            if self._looker is None and now.row[i] >= 0:
                lane.set_found(now.frame, found, int(now.row[i]))
        # who is gone now was still there just after the last key frame
        for key, j in before.items():
            if key not in now.key and last is not None and last.seen[j]:
                steps = np.arange(first, now.frame)
                self._lanes[key].expect(first, np.repeat(last.circle[j][None], len(steps), 0))

    def _take_numbers(self) -> None:
        assert self._tracker is not None
        for track in self._tracker.tracks:
            if track.key in self._lanes:
                self._lanes[track.key].number = track.number

    def _follow(self, now: KeyFrame, key: int | None) -> None:
        """Note whom "largest" follows in the frames up to this key frame: whoever it was before, while they are
        there."""
        previous = self._owner[-1] if self._owner else -1
        for frame in range(len(self._owner), now.frame):
            lane = self._lanes.get(previous)
            goes_on = lane is not None and (previous == key or np.isfinite(lane.expected(frame, frame + 1)).all())
            self._owner.append(previous if goes_on or key is None else key)
        self._owner.append(-1 if key is None else key)

    def _wanted(self, first: int, last: int) -> list[tuple[Lane, np.ndarray]]:
        """Lanes to be looked at, and which of the frames from first to before last."""
        assert self._tracker is not None
        if self._largest is not None:
            owner = np.array(self._owner[first:last])
            chosen = [(self._lanes[key], owner == key) for key in np.unique(owner[owner >= 0]).tolist()]
        else:
            numbered = self._tracker.numbered
            chosen = [
                (lane, np.ones(last - first, bool))
                for lane in self._lanes.values()
                if may_be_wanted(self._person, lane.key, lane.number, numbered, self._pointed)
            ]
        rows = [(lane, want & np.isfinite(lane.expected(first, last)).all(-1)) for lane, want in chosen]
        return [(lane, want) for lane, want in rows if want.any()]

    def _look_at_all(self, looker: CropDetector, end: int) -> None:
        """Stage 2: keypoints of the wanted people in the frames before `end`."""
        first, reach = self._looked, self._reach
        if end <= first:
            return
        lanes = self._wanted(first, end)
        crops = [
            smoothed(lane.expected(first - reach, end + reach), self._sigma, reach)[reach:-reach] for lane, _ in lanes
        ]
        turn = ~self._skipped(first, end)
        jobs = [
            (lane, crop, want & turn) for (lane, want), crop in zip(lanes, crops, strict=True) if (want & turn).any()
        ]
        for (lane, want), crop in zip(lanes, crops, strict=True):
            lane.use(first + np.flatnonzero(want), crop[want])
        for (lane, crop, want), seen in zip(jobs, self._look(looker, jobs, first), strict=True):
            there, rows = seen.score >= MIN_PERSON, np.flatnonzero(want)
            there &= ~self._is_another(lane, seen.circle, crop[rows], first, rows)
            lane.set_looked(first + rows[there], seen.picked(there))
        self._looked = end

    def _skipped(self, first: int, last: int) -> np.ndarray:
        """[last - first] bool: the frames that the first look leaves out."""
        return np.arange(first, last) % self._stride != 0

    def _is_another(
        self, lane: Lane, circles: np.ndarray, expected: np.ndarray, first: int, rows: np.ndarray
    ) -> np.ndarray:
        """Whether the body that was seen [R,4] is where another track is expected, rather than this one."""
        result = np.zeros(len(rows), bool)
        for other in self._lanes.values():
            if other is lane:
                continue
            theirs = other.expected(first, first + int(rows.max()) + 1)[rows] if len(rows) else circles
            with np.errstate(invalid="ignore"):
                result |= same_body(circles, theirs) & (apart(circles, theirs) < apart(circles, expected))
        return result

    def _look_again(self, looker: CropDetector, end: int) -> None:
        """Stage 3: once more, in circles smoothed over those that the keypoints gave; the mean of both looks counts,
        or the second alone where the first was in a circle that is far from the second's."""
        first, reach = self._settled, self._reach
        if end <= first:
            return
        jobs, trust = [], []
        for lane in self._lanes.values():
            measured = lane.measured(first - reach, end + reach)
            skipped = self._skipped(first - reach, end + reach)[:, None]
            measured = np.where(skipped, carried(measured, lane.used(first - reach, end + reach)), measured)
            want = np.isfinite(measured[reach:-reach]).all(-1)
            if want.any():
                crop = smoothed(measured, self._sigma, reach)[reach:-reach]
                used = lane.used(first, end)[want]
                wrong = apart(used, crop[want]) + growth(used, crop[want]) + np.abs(turned(used, crop[want]))
                jobs.append((lane, crop, want))
                trust.append(np.clip(2 - wrong / FAR, 0, 1))
        views = self._look(looker, jobs, first, self._views)
        seconds = []
        for (lane, crop, want), part, seen in zip(jobs, trust, views, strict=True):
            rows, there = first + np.flatnonzero(want), seen.score >= MIN_PERSON
            there &= ~self._is_another(lane, seen.circle, crop[want], first, rows - first)
            seconds.append((lane, rows[there], seen.picked(there), part[there] / (part[there] + self._views)))
        self._look_in_doubt(looker, [(lane, rows, seen) for lane, rows, seen, _ in seconds], first, end)
        for lane, rows, seen, part in seconds:
            away = np.linalg.norm(seen.positions - lane.positions(rows), axis=-1) / radius(seen.circle)[:, None]
            away = np.nan_to_num(away)  # of a keypoint that only one look sees
            lane.blend(rows, seen, part[:, None] * np.exp(-((away / AGREE) ** 2)), np.exp(-((away / DOUBT) ** 2)))
        self._settled = end

    def _look_in_doubt(
        self, looker: CropDetector, seconds: list[tuple[Lane, np.ndarray, People]], first: int, end: int
    ) -> None:
        """The first look at frames that it left out: looked at where there is doubt, else taken from those beside."""
        jobs = []
        for lane, rows, seen in seconds:
            doubt = np.zeros(end - first, bool)
            doubt[rows[lane.doubtful(rows, seen) & self._skipped(first, end)[rows - first]] - first] = True
            jobs.append((lane, lane.used(first, end), doubt))
        jobs = [job for job in jobs if job[2].any()]
        for (lane, crop, doubt), seen in zip(jobs, self._look(looker, jobs, first), strict=True):
            rows, there = first + np.flatnonzero(doubt), seen.score >= MIN_PERSON
            there &= ~self._is_another(lane, seen.circle, crop[doubt], first, rows - first)
            lane.set_looked(rows[there], seen.picked(there))
        for lane, rows, seen in seconds:
            lane.carry(rows, seen)

    def _look(
        self, looker: CropDetector, jobs: list[tuple[Lane, np.ndarray, np.ndarray]], first: int, views: int = 0
    ) -> list[People]:
        """What stands in circles [T,4] of some frames [T] from `first` on, lane by lane: as it is, or the mean of so
        many other views of it."""
        assert self._ring is not None
        if not any(want.any() for _, _, want in jobs):
            return []
        circles = np.concatenate([crop[want] for _, crop, want in jobs])
        slots = np.concatenate([(first + np.flatnonzero(want)) % len(self._ring) for _, _, want in jobs])
        frames = torch.from_numpy(slots).to(self._ring.device)
        looks = [(looker.look, circles)]
        if views:
            other = looker.look_mirrored if isinstance(looker, MirroringDetector) else looker.look
            looks = [((other, looker.look)[k % 2], moved(circles, *VIEWS[k])) for k in range(views)]
        parts = [look(self._ring, torch.from_numpy(c).to(self._ring.device), frames) for look, c in looks]

        seen = parts[0] if len(parts) == 1 else mean_of(parts)
        cuts = np.cumsum([int(want.sum()) for _, _, want in jobs])[:-1]
        return [seen.picked(rows) for rows in np.split(np.arange(len(circles)), cuts)]

    def _point(self, end: int) -> None:
        """Who stands at the point that was clicked, as soon as the frame is settled."""
        at = self._pointed_at
        if self._pointed is not None or at is None or at >= self._settled:
            return
        away = {
            lane.key: distance_to_point(self._person.point, positions, lane.expected(at, at + 1)[0])
            for lane in self._lanes.values()
            if (positions := lane.positions_at(at)) is not None
        }
        nearest = min(away, key=lambda key: away[key], default=-1)
        self._pointed = nearest if away.get(nearest, math.inf) <= NEAR else -1

    def _forget(self) -> None:
        """Let go of tracks that came to nothing, and of those that are known not to be wanted."""
        assert self._tracker is not None
        alive = {track.key for track in self._tracker.tracks}
        for lane in list(self._lanes.values()):
            gone = lane.key not in alive and lane.end <= self._settled - self._reach
            if self._largest is not None:
                wanted = lane.known
            else:
                numbered = self._tracker.numbered
                wanted = lane.number > 0 and may_be_wanted(self._person, lane.key, lane.number, numbered, self._pointed)
            if gone and not wanted:
                del self._lanes[lane.key]


def _count(people: int) -> str:
    return "1 person was" if people == 1 else f"{people} people were"
