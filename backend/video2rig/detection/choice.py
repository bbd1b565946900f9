# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose keypoints are wanted, decided while the tracks grow: as early as can be, so that nobody else is looked at."""

from __future__ import annotations

import math

import numpy as np

from ..person import PersonChoice
from .circles import radius
from .lanes import Lane
from .movers import Movers
from .tracking import KeyFrame, Track, Tracker

SETTLED_SECONDS = 0.5  # whoever was followed for this long was no passing error of the networks
NEAR = 0.25  # radii from the point that was clicked to the person


class Largest:
    """The largest person at first, that same one to the end.

    After they are gone for good, the next person to appear is taken to be them again; people who were in view beside
    them are known to be others and are not.
    """

    def __init__(self, fps: float) -> None:
        self._settled = SETTLED_SECONDS * fps
        self._key: int | None = None
        self._since = self._seen = 0
        self._others: set[int] = set()

    def may_be(self, key: int) -> bool:
        """Whether this track is, or may before long be, the one that is followed."""
        return self._key is None or key == self._key

    def choose(self, frame: int, tracks: list[Track]) -> int | None:
        """The key of the track that is followed at this key frame; None where nobody may be that person."""
        there = {track.key: track for track in tracks}
        if self._key not in there:
            if self._seen - self._since < self._settled:
                self._others.clear()
            likely = [track for track in tracks if track.seen and track.key not in self._others]
            if not likely:
                self._key = None
                return None
            self._key = max(likely, key=lambda track: float(radius(track.circle)) * track.score).key
            self._since = frame
        if there[self._key].seen:
            self._seen = frame
            self._others |= {key for key, other in there.items() if other.seen and key != self._key}
        return self._key


class Whom:
    """Whom a choice names, as far as that is known yet.

    Attributes:
        owner: The key of the track that "largest" follows, frame by frame; -1 for nobody. unmoved: Whether nobody whom
            it followed was seen to move yet: then the others are looked at too. pointed: The key of the track
            at the point; None while that is not known, -1 for nobody. time: Of the last frame, s.
    """

    def __init__(self, person: PersonChoice, fps: float) -> None:
        self._person = person
        self._largest = Largest(fps) if person.kind == "largest" else None
        self._movers = Movers()
        self._pointed_at: int | None = None  # the frame of the point; None while it is not known, and without a point
        self.time = -math.inf  # of the last frame, s
        self.owner: list[int] = []
        self.unmoved = person.kind == "largest"
        self.pointed: int | None = None

    def note_times(self, first: int, times: np.ndarray) -> None:
        """Take the times of the frames from `first` on, s: the one nearest to that of the point is its frame."""
        for frame, time in enumerate(times.tolist(), first):
            if self._person.kind == "point" and self._pointed_at is None and time >= self._person.time:
                self._pointed_at = frame - int(self._person.time - self.time < time - self._person.time)
            self.time = time

    def follow(self, now: KeyFrame, tracks: list[Track], lanes: dict[int, Lane]) -> None:
        """Note whom "largest" follows in the frames up to this key frame: whoever it was before, while they are
        there."""
        if self._largest is None:
            return
        key, previous = self._largest.choose(now.frame, tracks), self.owner[-1] if self.owner else -1
        for frame in range(len(self.owner), now.frame):
            lane = lanes.get(previous)
            goes_on = lane is not None and (previous == key or np.isfinite(lane.expected(frame, frame + 1)).all())
            self.owner.append(previous if goes_on or key is None else key)
        self.owner.append(-1 if key is None else key)
        if self.unmoved:
            self._movers.see(tracks)
            self.unmoved = key is None or not self._movers.moves(key)

    def may_want(self, key: int, lanes: dict[int, Lane], numbered: int) -> bool:
        """Whether a track that is there may be asked for; `numbered` tracks have a number."""
        if self._largest is not None:
            return self.unmoved or self._largest.may_be(key)
        return key not in lanes or self._may_be(lanes[key], numbered)

    def wanted(self, first: int, last: int, tracker: Tracker, lanes: dict[int, Lane]) -> list[tuple[Lane, np.ndarray]]:
        """Lanes to be looked at, and which of the frames from first to before last."""
        if self._largest is not None:
            owner = np.array(self.owner[first:last])
            chosen = [
                (lane, (owner == key) | (self.unmoved and lane.number > 0))
                for key, lane in lanes.items()
                if self.unmoved or (owner == key).any()
            ]
        else:
            chosen = [
                (lane, np.ones(last - first, bool)) for lane in lanes.values() if self._may_be(lane, tracker.numbered)
            ]
        rows = [(lane, want & np.isfinite(lane.expected(first, last)).all(-1)) for lane, want in chosen]
        return [(lane, want) for lane, want in rows if want.any()]

    def point(self, settled: int, lanes: dict[int, Lane]) -> None:
        """Find who stands at the point that was clicked, as soon as its frame is settled."""
        at = self._pointed_at
        if self.pointed is not None or at is None or at >= settled:
            return
        away = {
            lane.key: distance_to_point(self._person.point, positions, lane.expected(at, at + 1)[0])
            for lane in lanes.values()
            if (positions := lane.positions_at(at)) is not None
        }
        nearest = min(away, key=lambda key: away[key], default=-1)
        self.pointed = nearest if away.get(nearest, math.inf) <= NEAR else -1

    def is_kept(self, lane: Lane, numbered: int) -> bool:
        """Whether a lane whose track has ended may still be a part of the answer; `numbered` tracks have a number."""
        if self._largest is not None:
            return bool(lane.result)
        return lane.number > 0 and self._may_be(lane, numbered)

    def _may_be(self, lane: Lane, numbered: int) -> bool:
        """Of any choice but "largest": whether they may be asked for, so that their frames have to be looked at now."""
        if self._person.kind == "number":
            return lane.number == self._person.number if lane.number else numbered < self._person.number
        if self._person.kind == "point":
            return self.pointed is None or lane.key == self.pointed
        return True


def distance_to_point(point: tuple[float, float], positions: np.ndarray, circle: np.ndarray) -> float:
    """From a point to a person, in radii: to the nearest of their keypoints, of their hips [4] px, and of the middles
    between both; infinite where none of the keypoints [K,2] px is seen."""
    seen = positions[np.isfinite(positions).all(-1)]
    if not len(seen):
        return float("inf")
    places = np.concatenate([seen, (seen + circle[:2]) / 2, circle[None, :2]])
    return float(np.hypot(*(places - np.array(point)).T).min() / radius(circle))
