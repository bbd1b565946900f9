# SPDX-License-Identifier: GPL-3.0-or-later
"""Key frames of a stream, several a second: who is there, and where everyone was in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from .circles import apart, between, moved
from .detector import CropDetector, Detector, People, TilingDetector
from .frame_ring import FrameRing
from .lanes import Lane
from .tracking import KeyFrame, Track, Tracker

KEY_SECONDS, MOST_KEY_FRAMES = 0.13, 12  # from one key frame to the next
CLOSE = 2.0  # radii from one to another who may be in each other's place before long
FIND_EVERY = 2  # key frames, where looks cost less than the detector; in those between people are looked at alone
TILE_SECONDS = 1.0  # from one look for small people to the next
SEARCH = 1.08  # how much larger the circle is in which someone is looked for who was missed


class KeyFrames:
    """Stage 1 of a stream.

    Attributes:
        every: Frames from one key frame to the next. tracker: Everyone so far. last: The last key frame, if any.
        lanes: Of everyone who may still be wanted, by key; grows here.
    """

    def __init__(self, detector: Detector, fps: float, sparing: bool = False) -> None:
        """Detectors that cannot look at one person find everyone in every frame; the others in every key frame, or, if
        they are to be `sparing`, in every FIND_EVERY-th one while someone is there,
        and nobody close to another one."""
        self._detector = detector
        self._looker = detector if isinstance(detector, CropDetector) else None
        self._tiler = detector if isinstance(detector, TilingDetector) else None
        self.every = min(max(1, round(KEY_SECONDS * fps)), MOST_KEY_FRAMES) if self._looker else 1
        self._tile_every = max(1, round(TILE_SECONDS * fps / self.every))
        self._find_every = FIND_EVERY if sparing and self._looker else 1
        self.lanes: dict[int, Lane] = {}
        self.last: KeyFrame | None = None
        self._nobody: People | None = None
        self._done = 0

    def begin(self, tracker: Tracker, ring: FrameRing) -> None:
        """Take the tracker and the frames, whose size is known now."""
        self.tracker, self._ring = tracker, ring

    def advance(self, at_the_end: bool, wanted: Callable[[int], bool]) -> Iterator[KeyFrame]:
        """Go through the key frames among the frames that were pushed since the last call; at the end the last frame is
        one, and everyone gets their number. `wanted` tells of a track's key whether every look at it counts."""
        pushed = self._ring.pushed
        frames = list(range(self._done, pushed, self.every))
        latest = frames[-1] if frames else -1 if self.last is None else self.last.frame
        if at_the_end and latest < pushed - 1:
            frames.append(pushed - 1)
        self._done = pushed
        if frames:
            for frame, found in zip(frames, self._found_in(frames), strict=True):
                yield self._take(frame, found, wanted)
        if at_the_end:
            self.tracker.finish()
            self._take_numbers()

    def _found_in(self, frames: list[int]) -> list[People]:
        """Everyone in these frames, as far as they are looked for; a closer look at some of them, and at the first
        where someone is missing."""
        tracks = self.tracker.tracks
        step = self.every * self._find_every if tracks and not _are_close(tracks) else 1
        chosen = [frame for frame in frames if frame % step == 0]
        if self._tiler is None:
            found = dict(zip(chosen, self._detector.find(self._ring.images(chosen)), strict=True)) if chosen else {}
        else:
            missing = not tracks or any(not track.seen and not track.hidden for track in tracks)
            close = [
                frame
                for k, frame in enumerate(chosen)
                if frame % (self.every * self._tile_every) == 0 or (missing and k == 0)
            ]
            rest = [frame for frame in chosen if frame not in close]
            found = dict(zip(close, self._tiler.find_small(self._ring.images(close)), strict=True)) if close else {}
            if rest:
                found |= dict(zip(rest, self._tiler.find(self._ring.images(rest)), strict=True))
        if self._nobody is None:
            self._nobody = found[frames[0]].picked(np.zeros(0, int))
        return [found.get(frame, self._nobody) for frame in frames]

    def _take(self, frame: int, found: People, wanted: Callable[[int], bool]) -> KeyFrame:
        """Track everyone on to the next key frame, and note where they were since the last one."""
        looker = self._looker

        def look(circles: np.ndarray) -> People:
            assert looker is not None
            where = moved(circles, (0.0, 0.0), SEARCH, 0.0)
            return self._ring.look(looker.look, np.full(len(circles), frame), where)

        resting = self._resting(wanted) if found is self._nobody else set()
        now = self.tracker.step(frame, found, look if looker is not None else None, resting)
        self._note(now, found)
        self._take_numbers()
        self.last = now
        return now

    def _resting(self, wanted: Callable[[int], bool]) -> set[int]:
        """Keys of those whom nobody asked for, and who can hardly be taken for another before they are found again."""
        tracks = [track for track in self.tracker.tracks if track.seen and track.number and not wanted(track.key)]
        return {
            track.key
            for track in tracks
            if not any(_are_close([track, other]) for other in self.tracker.tracks if other is not track)
        }

    def _take_numbers(self) -> None:
        """Give lanes the numbers of their tracks."""
        for track in self.tracker.tracks:
            if track.key in self.lanes:
                self.lanes[track.key].number = track.number

    def _note(self, now: KeyFrame, found: People) -> None:
        """Everyone's circles from the last key frame on to this one."""
        last = self.last
        first = now.frame if last is None else last.frame + 1
        before = {} if last is None else {int(key): i for i, key in enumerate(last.key)}
        for i, key in enumerate(now.key.tolist()):
            if key not in self.lanes:
                self.lanes[key] = Lane(key, first)
            lane = self.lanes[key]
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
                self.lanes[key].expect(first, np.repeat(last.circle[j][None], len(steps), 0))


def _are_close(tracks: list[Track]) -> bool:
    """Whether anyone is close to another one."""
    circles = np.array([track.circle for track in tracks])
    return bool((apart(circles[:, None], circles[None])[np.triu_indices(len(tracks), 1)] < CLOSE).any())
