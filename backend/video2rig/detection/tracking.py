# SPDX-License-Identifier: GPL-3.0-or-later
"""Tracks of people over key frames: who is who from one look at the frames to the next.

A track's hips move at a constant velocity that drifts: a Kalman filter with white acceleration, in units of the body's
own radius, says where they are expected and how surely (Kalman, 1960; Bar-Shalom et al., "Estimation with Applications
to Tracking and Navigation", 2001, 6.2). What was found is given to tracks by the assignment of least cost, which knows
places, sizes and poses. A track that nothing was given to is looked at where it is expected. Where two tracks fall onto
one body, the one that had to move further to get there is hidden behind the other and coasts.

Here are no networks and no pictures: `PeopleStream` feeds both in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from .circles import MAX_GROWTH, apart, growth, moved, radius, same_body, turned
from .detector import People

ACCELERATION = 4.0  # radii squared a second cubed: the power of the white acceleration
PLACE_NOISE = 0.05  # radii: standard deviation of a found circle's hips
FIRST_SPEED = 1.5  # radii a second: standard deviation of a new track's velocity
GATE = 4.0  # standard deviations from where a track is expected to what may be it
LEAST_REACH, MOST_REACH = 0.6, 5.0  # the same in radii, however sure or unsure the track is
LEAST_DEVIATION = 0.1  # radii: nobody is expected more precisely than this
SIZE_NOISE = 0.2  # standard deviation of a radius' logarithm
POSE_WEIGHT = 8.0  # cost of a pose that has nothing to do with the track's last one
POSE_SECONDS = 0.5  # a track's pose says less and less about it, with this time constant
POSE_REACH = 0.15  # radii: keypoints this far from the expected ones are half alike
UNMATCHED = 20.0  # cost of a track that nothing is given to, and of a person given to no track
MIN_PERSON = 0.5  # below this there is nobody in a circle that was looked at
MAX_SURPRISE = 1.0  # radii from the expected place to one that was looked at
LOST_SECONDS = 1.5  # a track is kept this long without being seen
LOOK_SECONDS = 0.7  # and looked for in its place for this long
HIDDEN_SECONDS = 3.0  # where another track stands in its place, it is kept, and looked for, this long
CONFIRMED_SECONDS = 0.1  # from the first sighting to the one that gives a track its number
SURE_GROWTH, SURE_TURN = 0.2, 0.5  # |log| of the size and radians from the expected circle to one taken at its word
MISFIT_GROWTH = 0.3  # |log| of the size from a body to a circle on it that is nobody's
CROWDED = 1.0  # radii: a track that began this near to another one may be a part of the same body
CROWDED_SIGHTINGS = 5  # and needs this many in a row for its number
SPIN_GAIN, SPIN_SECONDS = 0.5, 0.2  # how much of the turning is new at a sighting; how fast it fades without any

Look = Callable[[np.ndarray], People]
"""Circles [R,4] px of the current frame -> what stands in them, in their order."""


@dataclass(eq=False)
class Track:
    """One person's way so far.

    Attributes:
        key: Counts all tracks, false ones too. number: From 1, in the order of appearance; 0 until confirmed.
        circle: [4] px, where they were seen last or, coasting, are expected. velocity: [2] px a second.
        covariance: [2,2] of place and velocity along either axis, px and seconds.
        positions, confidence: [K,2] px and [K] of their last pose, or None. score: 0..1 of the last sighting.
        born, last: Frames of the first and last sighting. sightings: How many there were.
        seen: Whether they were seen in the current key frame. hidden: Whether someone else stands in their place.
        spin: rad a second by which they turn in the picture. crowded: Whether someone else was near at the first
            sighting. row: Of what was found in the current key frame; -1 where they were not found.
    """

    key: int
    circle: np.ndarray
    velocity: np.ndarray
    covariance: np.ndarray
    born: int
    last: int
    score: float
    positions: np.ndarray | None = None
    confidence: np.ndarray | None = None
    sightings: int = 1
    number: int = 0
    seen: bool = True
    hidden: bool = False
    spin: float = 0.0
    crowded: bool = False
    row: int = -1


class KeyFrame(NamedTuple):
    """All N tracks at a key frame: key [N]; circle [N,4] px, measured or expected; seen [N]; hidden [N]; row [N] of
    the People that were found, -1 where the track was looked at or is not seen."""

    frame: int
    key: np.ndarray
    circle: np.ndarray
    seen: np.ndarray
    hidden: np.ndarray
    row: np.ndarray


class Tracker:
    """Everyone in view, key frame by key frame."""

    def __init__(self, fps: float, height: int, width: int) -> None:
        """fps turns frames into seconds; height, width: of the frames, px."""
        self._fps, self._height, self._width = fps, height, width
        self._frame = 0
        self._keys = 0
        self._numbers = 0
        self.tracks: list[Track] = []

    @property
    def numbered(self) -> int:
        """How many people have had a number."""
        return self._numbers

    def step(self, frame: int, found: People, look: Look | None = None, resting: Collection[int] = ()) -> KeyFrame:
        """Take the next key frame: who was found in it, and a way to look at a place where someone is expected.

        Tracks whose keys are `resting` are taken to be where they are expected, without a look.
        """
        seconds, self._frame = (frame - self._frame) / self._fps, frame
        for track in self.tracks:
            _predict(track, seconds)
        doubtful = {}
        for row, column in self._match(found):
            track = self.tracks[row]
            if look is None or _as_expected(track.circle, found.circle[column]):
                self._see(track, found, column, column)
            else:
                doubtful[track.key] = column
        for track in self.tracks:
            track.seen |= track.key in resting
        self._look_for_the_rest(look)
        for track in self.tracks:
            if not track.seen and track.key in doubtful:
                self._see(track, found, doubtful[track.key], doubtful[track.key])
            elif track.key in doubtful:
                track.row = doubtful[track.key]  # a rough look at the same person: nobody new
        self._begin(found)
        self.tracks = [track for track in self.tracks if self._stays(track)]
        self._number()
        return KeyFrame(
            frame,
            np.array([track.key for track in self.tracks], int),
            np.array([track.circle for track in self.tracks]).reshape(-1, 4),
            np.array([track.seen for track in self.tracks], bool),
            np.array([track.hidden for track in self.tracks], bool),
            np.array([track.row for track in self.tracks], int),
        )

    def finish(self) -> None:
        """No key frame follows: who was seen in the last one is there, though too short a time to be confirmed."""
        self._number(at_the_end=True)

    def _match(self, found: People) -> list[tuple[int, int]]:
        cost = matching_cost(self.tracks, found, self._frame, self._fps)
        for track in self.tracks:
            track.seen, track.row = False, -1
        return assign(cost, UNMATCHED)

    def _look_for_the_rest(self, look: Look | None) -> None:
        """Look where unmatched tracks are expected; those on a body that another track has a better claim to are
        hidden, as are those that cannot be looked at and are expected there."""
        claimed = [track.circle for track in self.tracks if track.seen]
        unmatched = [track for track in self.tracks if not track.seen]
        lost = [track for track in unmatched if look is not None and self._is_looked_for(track)]
        for track in unmatched:
            behind = bool(claimed) and bool(same_body(track.circle, np.array(claimed)).any())
            track.hidden = track not in lost and behind
        if look is None or not lost:
            return
        expected = np.array([track.circle for track in lost])
        seen = look(expected)
        surprise = apart(expected, seen.circle)
        likely = (seen.score >= MIN_PERSON) & (surprise < MAX_SURPRISE) & (growth(expected, seen.circle) < MAX_GROWTH)
        for i in np.argsort(surprise, kind="stable"):
            if not likely[i]:
                continue
            if claimed and same_body(seen.circle[i], np.array(claimed)).any():
                lost[i].hidden = True
            else:
                self._see(lost[i], seen, int(i), -1)
                claimed.append(seen.circle[i])

    def _is_looked_for(self, track: Track) -> bool:
        return self._missed(track) <= LOOK_SECONDS or track.hidden

    def _begin(self, found: People) -> None:
        """New tracks for the people whom no track explains, the largest first."""
        taken = {track.row for track in self.tracks}
        new = [row for row in range(len(found.score)) if row not in taken]
        for row in sorted(new, key=lambda row: -float(radius(found.circle[row]))):
            circle = found.circle[row]
            seen = [track.circle for track in self.tracks if track.seen]
            if seen and (same_body(circle, np.array(seen)) | _misfit(circle, np.array(seen))).any():
                continue
            size = float(radius(circle))
            covariance = size**2 * np.diag([PLACE_NOISE**2, FIRST_SPEED**2])
            track = Track(self._keys, circle, np.zeros(2), covariance, self._frame, self._frame, 0.0)
            track.crowded = bool(seen) and bool((apart(circle, np.array(seen)) < CROWDED).any())
            self._keys += 1
            _take(track, found, row, row)
            self.tracks.append(track)

    def _see(self, track: Track, people: People, row: int, found_row: int) -> None:
        _correct(track, people.circle[row], (self._frame - track.last) / self._fps)
        track.last = self._frame
        track.sightings += 1
        _take(track, people, row, found_row)

    def _missed(self, track: Track) -> float:
        return (self._frame - track.last) / self._fps

    def _stays(self, track: Track) -> bool:
        if track.seen or not track.number:
            return track.seen  # one sighting in doubt, and not even a second
        # less than half a radius outside of the frame
        margin = float(radius(track.circle)) / 2
        x, y = track.circle[:2]
        inside = -margin <= x <= self._width + margin and -margin <= y <= self._height + margin
        return bool(inside) and self._missed(track) <= (HIDDEN_SECONDS if track.hidden else LOST_SECONDS)

    def _number(self, at_the_end: bool = False) -> None:
        for track in sorted(self.tracks, key=lambda track: track.key):
            enough = track.sightings >= (CROWDED_SIGHTINGS if track.crowded else 2)
            confirmed = enough and track.last - track.born >= CONFIRMED_SECONDS * self._fps
            if confirmed and track.number == 0 and (twin := self._twin(track)) is not None:
                _become(twin, track)
                self.tracks.remove(track)
                continue
            if track.number == 0 and (confirmed or (at_the_end and track.seen)):
                self._numbers += 1
                track.number = self._numbers

    def _twin(self, new: Track) -> Track | None:
        """Who is lost where a track, which began beside them, goes on: it is they, seen in another pose at first."""
        near = [
            (float(apart(track.circle, new.circle)), track)
            for track in self.tracks
            if new.crowded and track.number and not track.seen and new.born <= track.last < new.last
        ]
        near = [(away, track) for away, track in near if away < LEAST_REACH]
        return min(near, key=lambda pair: pair[0])[1] if near else None


def _become(track: Track, other: Track) -> None:
    """Go on with all that is known of another track but who it is."""
    for field in fields(Track):
        if field.name not in ("key", "number", "born", "crowded"):
            setattr(track, field.name, getattr(other, field.name))


def _take(track: Track, people: People, row: int, found_row: int) -> None:
    track.seen, track.hidden, track.row = True, False, found_row
    track.score = float(people.score[row])
    track.positions, track.confidence = people.positions[row], people.confidence[row]


def _as_expected(expected: np.ndarray, circle: np.ndarray) -> bool:
    """Whether what a detector found needs no second look: it is where, as large as and as upright as was expected."""
    near = bool(same_body(expected, circle)) and float(growth(expected, circle)) < SURE_GROWTH
    return near and abs(float(turned(expected, circle))) < SURE_TURN


def _misfit(circle: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether a circle on somebody else's body is of another size: keypoints that were fitted badly, or to a part."""
    return (apart(circle, others) < LEAST_REACH) & (growth(circle, others) > MISFIT_GROWTH)


# ---- motion -------------------------------------------------------------------------------------------------------


def _predict(track: Track, seconds: float) -> None:
    hip = track.circle[:2] + seconds * track.velocity
    shift = hip - track.circle[:2]
    turn = track.spin * seconds
    track.spin *= np.exp(-seconds / SPIN_SECONDS)
    track.circle = np.concatenate([hip, moved(track.circle, (0.0, 0.0), 1.0, turn)[2:]])
    if track.positions is not None:
        track.positions = track.positions + shift
    power = ACCELERATION * float(radius(track.circle)) ** 2
    track.covariance = grown(track.covariance, seconds, power)


def grown(covariance: np.ndarray, seconds: float, power: float) -> np.ndarray:
    """Covariance [2,2] of place and velocity after some time with white acceleration of this power."""
    step = np.array([[1.0, seconds], [0.0, 1.0]])
    noise = np.array([[seconds**3 / 3, seconds**2 / 2], [seconds**2 / 2, seconds]])
    return step @ covariance @ step.T + power * noise


def _correct(track: Track, circle: np.ndarray, seconds: float) -> None:
    """Take a circle measured so long after the last one: it is where the body is, and filtered for the speeds alone."""
    track.spin += SPIN_GAIN * float(turned(track.circle, circle)) / seconds
    noise = (PLACE_NOISE * float(radius(circle))) ** 2
    gain = track.covariance[:, 0] / (track.covariance[0, 0] + noise)
    track.velocity = track.velocity + gain[1] * (circle[:2] - track.circle[:2])
    # the place is taken whole, so its covariance is the measurement's; Joseph's form holds for any gain
    keep = np.array([[0.0, 0.0], [-gain[1], 1.0]])
    taken = np.array([1.0, gain[1]])
    track.covariance = keep @ track.covariance @ keep.T + noise * np.outer(taken, taken)
    track.circle = np.asarray(circle, float)


# ---- who is who ---------------------------------------------------------------------------------------------------


def matching_cost(tracks: list[Track], found: People, frame: int, fps: float) -> np.ndarray:
    """[N,M] cost of giving each person found to each track: squared deviations of place, size and pose; infinite where
    they cannot be the same."""
    if not tracks or not len(found.score):
        return np.zeros((len(tracks), len(found.score)))
    circle = np.array([track.circle for track in tracks])[:, None]
    deviation = np.array([np.sqrt(track.covariance[0, 0]) for track in tracks]) / radius(circle[:, 0])
    deviation = np.hypot(deviation, PLACE_NOISE)[:, None]
    away, larger = apart(circle, found.circle[None]), growth(circle, found.circle[None])
    reach = np.clip(GATE * deviation, LEAST_REACH, MOST_REACH)
    deviation = np.maximum(deviation, LEAST_DEVIATION)
    alike = np.array([[pose_similarity(track, found, row) for row in range(len(found.score))] for track in tracks])
    fresh = np.exp([-(frame - track.last) / fps / POSE_SECONDS for track in tracks])[:, None]
    cost = (away / deviation) ** 2 + 2 * np.log(deviation / LEAST_DEVIATION) + (larger / SIZE_NOISE) ** 2
    cost = cost + POSE_WEIGHT * fresh * (1 - alike)
    return np.where((away < reach) & (larger < MAX_GROWTH), cost, np.inf)


def pose_similarity(track: Track, found: People, row: int) -> float:
    """0..1: how well the keypoints of a track, where they are expected, and of someone found fall together.

    The mean over keypoints, weighted by both confidences, of a Gaussian of their distance, as in the object keypoint
    similarity of COCO, once the hips are one upon the other. 0.5 where nothing is known.
    """
    if track.positions is None or track.confidence is None:
        return 0.5
    mine = track.positions - track.circle[:2]
    theirs = found.positions[row] - found.circle[row, :2]
    weight = np.sqrt(track.confidence * found.confidence[row])
    weight = np.where(np.isfinite(mine - theirs).all(-1), weight, 0.0)
    if weight.sum() <= 1e-6:
        return 0.5
    distance = np.hypot(*np.nan_to_num(mine - theirs).T) / max(float(radius(track.circle)), 1e-6)
    return float(weight @ np.exp2(-((distance / POSE_REACH) ** 2)) / weight.sum())


def assign(cost: np.ndarray, unmatched: float) -> list[tuple[int, int]]:
    """Pairs (row, column) of the assignment with the least sum of costs [N,M], where every row and every column that is
    in no pair costs `unmatched`; infinite costs are no pairs."""
    rows, columns = cost.shape
    whole = np.zeros((rows + columns, columns + rows))
    never = 4.0 * unmatched * (rows + columns + 1)
    whole[:rows, :columns] = np.where(np.isfinite(cost), cost, never)
    whole[:rows, columns:] = np.where(np.eye(rows, dtype=bool), unmatched, never)
    whole[rows:, :columns] = np.where(np.eye(columns, dtype=bool), unmatched, never)
    pairs = zip(*linear_sum_assignment(whole), strict=True)
    return [(int(i), int(j)) for i, j in pairs if i < rows and j < columns and np.isfinite(cost[i, j])]
