# SPDX-License-Identifier: GPL-3.0-or-later
"""One person followed through a stream of frames, with calm landmarks.

First pass, frame by frame: everyone in view is a `Track`, whose landmarks in one frame give the crop of the next. On
key frames the detector looks for people who are not tracked yet, or were lost. Tracking everyone is what keeps the
followed person's identity when others cross: a detection or crop that another track explains cannot be taken for them,
and of two tracks that fall onto one body, the one that had to jump is taken to be hidden and coasts.

Second pass, a fixed number of frames behind: the followed person's crop, smoothed over time without lag, is looked at
again. The network's depth answers to the smallest shift of the crop, so a calm crop makes calm world landmarks. These
landmarks are what comes out.

Frames are held only from one pass to the next: memory is flat but for the landmarks. The passes depend on frame
numbers alone, never on how the stream was cut into pushes.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import Video2RigError
from .blazepose import BODY_LANDMARKS, CIRCLE_POINT, HIP_CENTRE, BlazePose, Landmarks, Roi, roi_from_points

MAX_PEOPLE = 4
KEY_SECONDS = 0.15  # from one look of the detector to the next
MIN_PERSON = 0.5  # below this the crop holds nobody
MIN_PERSON_NEW = 0.8  # of a detection, before it becomes a track: textures reach 0.77
COAST_SECONDS = 0.7  # a track is kept this long without being seen
HIDDEN_SECONDS = 3.0  # and this long where another track stands in its place
SETTLED_SECONDS = 0.5  # whoever was followed for this long was no passing error of the networks
VELOCITY_SECONDS = 0.1  # time constant of a track's velocity
SAME_PLACE = 0.35  # in body radii: two tracks closer than this are on one body
REACH = 0.6  # in body radii: a detection this close to a track may be that track's person
REACH_GROWTH = 1.5  # body radii a second, while the track is not seen
MAX_GROWTH = math.log(1.6)  # of the radius from one frame to the next, or between a track and its detection
SMOOTHING_SECONDS = 0.07  # standard deviation of the second pass's crop
MAX_LOOK_AHEAD = 12  # frames
# shift (parts of the crop's edge), scale, turn (rad); any first few of them
SECOND_PASS_CROPS = (
    ((0.0, 0.0), 1.0, 0.0),
    ((0.02, 0.0), 1.03, 0.05),
    ((-0.02, 0.0), 0.97, -0.05),
    ((0.0, 0.02), 1.06, -0.05),
    ((0.0, -0.02), 0.95, 0.05),
)


class StreamError(Video2RigError):
    """Frames of a wrong form, or pushed after the end."""


class Circle(NamedTuple):
    """The circle around a body: hip centre [2] px and the vector [2] px from it, up along the body, to the edge."""

    hip: np.ndarray
    arm: np.ndarray

    @property
    def radius(self) -> float:
        return max(float(np.hypot(*self.arm)), 1e-6)

    def apart(self, other: Circle) -> float:
        """Distance of the hips in radii of the larger circle."""
        return float(np.hypot(*(self.hip - other.hip))) / max(self.radius, other.radius)

    def growth(self, other: Circle) -> float:
        """How different the sizes are: |log| of the radii's ratio."""
        return abs(math.log(self.radius / other.radius))


@dataclass
class Track:
    """One person's way so far; `seen` is False while it coasts on its velocity (px a frame), `hidden` says that it
    does so because someone else stands there."""

    number: int
    circle: Circle
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))
    missed: int = 0
    weight: float = 1.0
    hidden: bool = False

    @property
    def seen(self) -> bool:
        return self.missed == 0

    def predicted(self) -> Circle:
        return Circle(self.circle.hip + self.velocity, self.circle.arm)

    def see(self, circle: Circle, person: float, gain: float) -> None:
        """Take the circle of this frame; `gain` 0..1 is how much of the velocity is new."""
        step = (circle.hip - self.circle.hip) / (self.missed + 1)
        self.velocity = self.velocity + gain * (step - self.velocity)
        self.circle, self.missed, self.weight, self.hidden = circle, 0, person, False

    def coast(self, hidden: bool) -> None:
        self.circle, self.hidden = self.predicted(), hidden
        self.missed += 1


class PeopleTracker:
    """Everyone in view, frame by frame. `update` takes the next frame; `tracks` is who is there."""

    def __init__(self, model: BlazePose, fps: float) -> None:
        self._model = model
        self._fps = fps
        self._gain = 1 - math.exp(-1 / (VELOCITY_SECONDS * fps))
        self._key_every = max(1, round(KEY_SECONDS * fps))
        self._patience = {
            hidden: max(1, round(seconds * fps)) for hidden, seconds in ((False, COAST_SECONDS), (True, HIDDEN_SECONDS))
        }
        self._frame = 0
        self._next_number = 0
        self.tracks: list[Track] = []

    def update(self, image: Tensor) -> None:
        """image [1,H,W,3] uint8 on the model's device."""
        self._look_again(image)
        if self._frame % self._key_every == 0:
            self._look_for_people(image)
        height, width = image.shape[1:3]
        self.tracks = [
            t for t in self.tracks if t.missed <= self._patience[t.hidden] and _in_view(t.circle, height, width)
        ]
        self._frame += 1

    def _look_again(self, image: Tensor) -> None:
        """Every track's landmarks in the crop where it should be now; tracks that are not seen there coast."""
        expected = [track.predicted() for track in self.tracks]
        found = self._circles(image, expected)
        surprise = [before.apart(circle) for before, (circle, _) in zip(expected, found, strict=True)]
        seen = {
            i
            for i, (circle, person) in enumerate(found)
            if person >= MIN_PERSON and surprise[i] < 1 and expected[i].growth(circle) < MAX_GROWTH
        }
        there = set(seen)
        # of two tracks on one body, the one that had to jump there is hidden
        for i in sorted(seen, key=lambda i: surprise[i]):
            if i in seen:
                seen -= {j for j in seen if surprise[j] > surprise[i] and _same_body(found[i][0], found[j][0])}
        for i, track in enumerate(self.tracks):
            if i in seen:
                track.see(*found[i], self._gain)
            else:
                track.coast(hidden=i in there)

    def _look_for_people(self, image: Tensor) -> None:
        """Detections that no seen track explains: found again, or new."""
        people = self._model.detect(image, tiles=True)[0]
        candidates = [Circle(hip, rim - hip) for hip, rim in zip(people.hip, people.circle, strict=True)]
        # the detector's circle is rough: the landmarks' own, twice, is where the body is
        candidates = [circle for circle, _ in self._circles(image, candidates)]
        for circle, person in self._circles(image, candidates):
            if person < MIN_PERSON_NEW or any(t.seen and _same_body(t.circle, circle) for t in self.tracks):
                continue
            lost = [t for t in self.tracks if not t.seen and self._reaches(t, circle)]
            if lost:
                min(lost, key=lambda t: t.circle.apart(circle)).see(circle, person, self._gain)
            elif len(self.tracks) < MAX_PEOPLE:
                self.tracks.append(Track(self._next_number, circle, weight=person))
                self._next_number += 1

    def _reaches(self, track: Track, circle: Circle) -> bool:
        """Whether a lost track's person may be in this circle by now."""
        reach = REACH + REACH_GROWTH * track.missed / self._fps
        return track.circle.apart(circle) < reach and track.circle.growth(circle) < MAX_GROWTH

    def _circles(self, image: Tensor, circles: list[Circle]) -> list[tuple[Circle, float]]:
        """The circles that the landmarks in the crops of these circles give, and 0..1: a person is there."""
        if not circles:
            return []
        roi = _roi(np.stack([np.concatenate(circle) for circle in circles]), self._model.device)
        frame = torch.zeros(len(circles), dtype=torch.long, device=self._model.device)
        seen = self._model.landmarks(image, roi, frame)
        return [
            (Circle(hip, rim - hip), float(person))
            for hip, rim, person in zip(
                seen.points[:, HIP_CENTRE, :2].double().cpu().numpy(),
                seen.points[:, CIRCLE_POINT, :2].double().cpu().numpy(),
                seen.person.cpu().numpy(),
                strict=True,
            )
        ]


def _same_body(a: Circle, b: Circle) -> bool:
    return a.apart(b) < SAME_PLACE and a.growth(b) < MAX_GROWTH


def _in_view(circle: Circle, height: int, width: int) -> bool:
    """Whether the hip centre is less than half a radius outside of the frame."""
    margin = circle.radius / 2
    x, y = circle.hip
    return -margin <= x <= width + margin and -margin <= y <= height + margin


def _roi(circles: np.ndarray, device: torch.device) -> Roi:
    """circles [R,4] (hip, arm) px -> crops."""
    rows = torch.from_numpy(circles).to(device, torch.float32)
    return roi_from_points(rows[:, :2], rows[:, :2] + rows[:, 2:])


class Followed(NamedTuple):
    """One person over T frames: positions [T,33,2] px of the pushed images, confidence [T,33] 0..1, world [T,33,3]
    metres from the hip centre (x right, y down, z away from the camera). NaN and confidence 0 where not seen."""

    positions: np.ndarray
    confidence: np.ndarray
    world: np.ndarray


class FollowOne:
    """Follows one person: the largest at first, that same one to the end.

    After they are gone for good, the next person to appear is taken to be them again; people who were in view beside
    them are known to be others and are not. `fps` sets the time constants, which are given in seconds.
    """

    def __init__(self, model: BlazePose, fps: float = 30.0, crops: int = 1) -> None:
        """`crops` 1 to 5: how many slightly different crops a frame the second pass averages; each costs a network run
        a frame and takes jitter out of the depth (see SECOND_PASS_CROPS)."""
        if not 1 <= crops <= len(SECOND_PASS_CROPS):
            raise StreamError(f"{crops} crops a frame were asked for; 1 to {len(SECOND_PASS_CROPS)} are possible")
        if not (math.isfinite(fps) and fps > 0):
            raise StreamError(f"the frame rate is {fps}; it must be a positive number")
        self._model = model
        self._crops = crops
        self._tracker = PeopleTracker(model, fps)
        self._sigma = SMOOTHING_SECONDS * fps
        self._look_ahead = max(1, min(math.ceil(2.5 * self._sigma), MAX_LOOK_AHEAD))
        self._settled = round(SETTLED_SECONDS * fps)
        self._followed: int | None = None
        self._frames_followed = 0
        self._others: set[int] = set()
        self._shape: tuple[int, ...] | None = None
        self._waiting: deque[Tensor] = deque()
        self._circles: list[np.ndarray] = []  # [5] a frame: hip, arm, track number; NaN where not seen
        self._results: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._done = 0
        self._finished = False

    def push(self, images: np.ndarray) -> None:
        """The next frames [B,H,W,3], uint8 RGB, of one size for the whole stream."""
        if self._finished:
            raise StreamError("frames were pushed after the stream was finished")
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or 0 in images.shape[1:]:
            raise StreamError(f"frames must be uint8 [B,H,W,3], not {images.dtype} {list(images.shape)}")
        self._shape = self._shape or images.shape[1:]
        if images.shape[1:] != self._shape:
            raise StreamError(f"the frame size changed from {self._shape[:2]} to {images.shape[1:3]} in the stream")
        for image in images:
            self._first_pass(torch.tensor(image, device=self._model.device)[None])
            if len(self._waiting) == self._model.batch + self._look_ahead:
                self._second_pass(self._model.batch)

    def finish(self) -> None:
        """No more frames come: what waits for its second pass gets it."""
        while self._waiting:
            self._second_pass(min(self._model.batch, len(self._waiting)))
        self._finished = True

    def keypoints(self) -> Followed:
        """What was followed, for every frame that was pushed; after `finish`."""
        if not self._finished:
            raise StreamError("the stream is not finished yet")
        if not self._results:
            return Followed(*(np.zeros((0, BODY_LANDMARKS, *tail), np.float32) for tail in ((2,), (), (3,))))
        return Followed(*(np.concatenate(parts) for parts in zip(*self._results, strict=True)))

    def _first_pass(self, image: Tensor) -> None:
        self._tracker.update(image)
        self._waiting.append(image)
        track = self._choose()
        row = np.full(5, np.nan)
        if track is not None and track.seen:
            row[:] = *track.circle.hip, *track.circle.arm, track.number
        self._circles.append(row)

    def _choose(self) -> Track | None:
        """The track that is followed, if it is there; once it is gone, the largest of those that may be its person."""
        tracks = {track.number: track for track in self._tracker.tracks}
        if self._followed not in tracks:
            if self._frames_followed < self._settled:
                self._others.clear()
            likely = [track for track in tracks.values() if track.seen and track.number not in self._others]
            if not likely:
                return None
            self._followed = max(likely, key=lambda track: track.circle.radius * track.weight).number
            self._frames_followed = 0
        track = tracks[self._followed]
        if track.seen:
            self._frames_followed += 1
            self._others |= {number for number, other in tracks.items() if other.seen and other is not track}
        return track

    def _second_pass(self, count: int) -> None:
        """Landmarks of the oldest `count` waiting frames, in crops smoothed over time."""
        images = torch.cat([self._waiting.popleft() for _ in range(count)])
        circles = np.stack([self._smooth_circle(self._done + k) for k in range(count)])
        self._done += count
        rows = np.flatnonzero(np.isfinite(circles).all(-1))
        positions = np.full((count, BODY_LANDMARKS, 2), np.nan, np.float32)
        confidence = np.zeros((count, BODY_LANDMARKS), np.float32)
        world = np.full((count, BODY_LANDMARKS, 3), np.nan, np.float32)
        if len(rows):
            device = self._model.device
            roi, frame = _roi(circles[rows], device), torch.from_numpy(rows).to(device)
            views = [
                self._model.landmarks(images, roi.moved(shift, scale, turn), frame)
                for shift, scale, turn in SECOND_PASS_CROPS[: self._crops]
            ]
            seen = Landmarks(*(torch.stack(columns).mean(0) for columns in zip(*views, strict=True)))
            there = seen.person.cpu().numpy() >= MIN_PERSON
            rows = rows[there]
            positions[rows] = seen.points[:, :BODY_LANDMARKS, :2].cpu().numpy()[there]
            confidence[rows] = seen.confidence[:, :BODY_LANDMARKS].cpu().numpy()[there]
            world[rows] = seen.world[:, :BODY_LANDMARKS].cpu().numpy()[there]
        self._results.append((positions, confidence, world))

    def _smooth_circle(self, frame: int) -> np.ndarray:
        """Hip and arm [4] px at a frame, from the frames around it in which the same track was seen; NaN if it was
        not seen in this one, because something else may stand in its place."""
        first = max(0, frame - self._look_ahead)
        rows = np.stack(self._circles[first : frame + self._look_ahead + 1])
        same = rows[:, 4] == self._circles[frame][4]
        if not same.any():
            return np.full(4, np.nan)
        return local_line(np.arange(first, first + len(rows))[same] - frame, rows[same, :4], self._sigma)


def local_line(offsets: np.ndarray, values: np.ndarray, sigma: float) -> np.ndarray:
    """The value at offset 0 of the line through values [N,C] at offsets [N], weighted by a Gaussian of width sigma.

    A line, not a mean, so that steady motion is not pulled back at the ends of a stream and beside gaps.
    """
    weight = np.exp(-0.5 * (offsets / sigma) ** 2)
    s0, s1, s2 = weight.sum(), weight @ offsets, weight @ offsets**2
    spread = s0 * s2 - s1 * s1
    if spread < 1e-3 * s0 * s0:
        return weight @ values / s0
    return (s2 * (weight @ values) - s1 * ((weight * offsets) @ values)) / spread
