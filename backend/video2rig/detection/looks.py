# SPDX-License-Identifier: GPL-3.0-or-later
"""Two looks at the wanted people, in circles that are smoothed over time; the mean of both is what was seen.

Where a network call costs the most, on a CPU, the looks take turns: one sees the even frames, the other the odd ones.
Where even and odd frames do not agree, as both looks disagree or the body jumps, frames are seen by both.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from .circles import apart, growth, moved, radius, same_body, smoothed, turned
from .detector import CropDetector, MirroringDetector, People, mean_of
from .frame_ring import FrameRing
from .lanes import Lane, carried
from .sights import blended, distances, filled, known, unsteady
from .tracking import MIN_PERSON

SMOOTHING_SECONDS, MOST_REACH = 0.07, 12  # standard deviation of a circle's smoothing; frames to either side
CPU_STRIDE, GPU_STRIDE = 2, 1  # frames from one first look to the next, and from one second look to the next
FAR = 0.15  # radii, |log| of the size and radians together: from one to two of it the first look counts less and less
AGREE = 0.1  # radii: a keypoint that both looks place further apart is the second one's alone, not between the two
CALM = 0.06  # radii, mean over the keypoints: where the even frames differ less from the odd ones nothing is in doubt
DOUBT = 0.15  # radii: as they place it further apart, its confidence goes down
# views of the second look: shift (parts of the circle's diameter), scale, turn (rad); every other one is mirrored
VIEWS = (
    ((0.0, 0.0), 1.0, 0.0),
    ((0.02, 0.0), 1.03, 0.05),
    ((-0.02, 0.0), 0.97, -0.05),
    ((0.0, 0.02), 1.06, -0.05),
)

Wanted = Callable[[int, int], list[tuple[Lane, np.ndarray]]]
"""Of the frames from a first to before a last one: the lanes that are wanted, and in which of the frames [N]."""

Job = tuple[Lane, np.ndarray, np.ndarray]
"""A lane, circles [N,4] px of some frames in a row, and which of them [N] are to be looked at."""


def frames_held(fps: float, device: torch.device) -> int:
    """How many frames the looks are behind the last circle that is known."""
    return 2 * _reach(fps) + _lag(device)


class Looks:
    """Stages 2 and 3 of a stream.

    Attributes:
        reach: Frames to either side that the smoothing of a circle knows. settled: The frame before which all is done.
    """

    def __init__(self, looker: CropDetector, ring: FrameRing, fps: float, views: int) -> None:
        """Look at people in the frames of a ring; the second look takes the mean of `views`."""
        self._looker, self._ring, self._views = looker, ring, views
        self._lanes: list[Lane] = []
        self._sigma, self.reach = SMOOTHING_SECONDS * fps, _reach(fps)
        self._stride, self._lag = _stride(looker.device), _lag(looker.device)
        self._seen = self._seen_again = self.settled = 0

    def work(self, end: int, lanes: list[Lane], wanted: Wanted, at_the_end: bool = False) -> Callable[[], None]:
        """Give what there is to do as far as the circles before frame `end` allow; `at_the_end` none will follow.

        It is to be called once, before more is asked for, and may be called on another thread while later circles of
        the same lanes become known.
        """
        until = end if at_the_end else end - self.reach
        chosen = wanted(self._seen, until) if until > self._seen else []

        def advance() -> None:
            self._lanes = lanes
            self._look(until, chosen)
            again = end if at_the_end else end - 2 * self.reach
            self._look_again(again)
            self._settle(again if at_the_end else again - self._lag)

        return advance

    def _look(self, end: int, wanted: list[tuple[Lane, np.ndarray]]) -> None:
        """Stage 2: the wanted people in the frames before `end`."""
        first, reach = self._seen, self.reach
        if end <= first:
            return
        turn, jobs = np.arange(first, end) % self._stride == 0, []
        for lane, want in wanted:
            crop = smoothed(lane.expected(first - reach, end + reach), self._sigma, reach)[reach:-reach]
            lane.use(first + np.flatnonzero(want), crop[want])
            jobs.append((lane, crop, want & turn))
        for lane, frames, people in self._people(jobs, first):
            lane.see(frames, people)
        self._seen = end

    def _look_again(self, end: int) -> None:
        """Stage 3: once more, in circles smoothed over those that the keypoints gave."""
        first, reach = self._seen_again, self.reach
        if end <= first:
            return
        turn, jobs = np.arange(first, end) % self._stride == self._stride - 1, []
        left_out = (np.arange(first - reach, end + reach) % self._stride != 0)[:, None]
        for lane in self._lanes:
            measured = lane.measured(first - reach, end + reach)
            measured = np.where(left_out, carried(measured, lane.used(first - reach, end + reach)), measured)
            want = np.isfinite(measured[reach:-reach]).all(-1)
            if want.any():
                crop = smoothed(measured, self._sigma, reach)[reach:-reach]
                lane.use_again(first + np.flatnonzero(want), crop[want])
                jobs.append((lane, crop, want & turn))
        for lane, frames, people in self._people(jobs, first, self._views):
            lane.see_again(frames, people)
        self._seen_again = end

    def _settle(self, end: int) -> None:
        """What both looks say of the frames before `end`: their mean, or the second alone where the first was in a
        circle that is far from the second's."""
        first = self.settled
        if end <= first:
            return
        if self._stride > 1:
            self._look_in_doubt(first, end)
        frames = np.arange(first - 2, end + 2)
        for lane in self._lanes:
            looks = lane.looks(frames)
            if looks is None:
                continue
            one, other = ([column[2:-2] for column in look] for look in filled(*looks))
            used, again = lane.used(first, end), lane.again(first, end)
            wrong = apart(used, again) + growth(used, again) + np.abs(turned(used, again))
            part = np.nan_to_num(np.clip(2 - wrong / FAR, 0, 1))[:, None]
            away = np.nan_to_num(distances(one, other) / radius(again)[:, None])
            old = part / (part + self._views) * np.exp(-((away / AGREE) ** 2))
            result = blended(one, other, old, np.exp(-((away / DOUBT) ** 2)))
            rows = known(result)
            lane.result.put(frames[2:-2][rows], [column[rows] for column in result])
            lane.forget_looks(end - 2)
        self.settled = end

    def _look_in_doubt(self, first: int, end: int) -> None:
        """The looks that frames were left without, where one look does not tell what the other one would see."""
        frames = np.arange(first - 2, end + 2)
        turns, jobs = (frames % self._stride)[2:-2], ([], [])
        for lane in self._lanes:
            looks = lane.looks(frames)
            if looks is None:
                continue
            seen = [known(look) for look in looks]
            alone = [
                np.where(seen[0][:, *(None,) * (a.ndim - 1)], a, b) for a, b in zip(*looks, strict=True)
            ]  # one look a frame
            calm = unsteady(alone, radius(lane.used(first - 2, end + 2))) < CALM
            doubt = ~calm[2:-2]
            jobs[0].append((lane, lane.used(first, end), doubt & seen[1][2:-2] & ~seen[0][2:-2] & (turns != 0)))
            jobs[1].append((lane, lane.again(first, end), doubt & seen[0][2:-2] & ~seen[1][2:-2] & (turns == 0)))
        for lane, rows, people in self._people(jobs[0], first):
            lane.see(rows, people)
        for lane, rows, people in self._people(jobs[1], first, self._views):
            lane.see_again(rows, people)

    def _people(self, jobs: list[Job], first: int, views: int = 0) -> list[tuple[Lane, np.ndarray, People]]:
        """Lane by lane, the frames [N] in which someone stands in the circles, which begin at frame `first`, and what
        is seen of them: as it is, or the mean of so many other views of it."""
        jobs = [(lane, crop, want & np.isfinite(crop).all(-1)) for lane, crop, want in jobs]
        jobs = [job for job in jobs if job[2].any()]
        if not jobs:
            return []
        circles = np.concatenate([crop[want] for _, crop, want in jobs])
        frames = np.concatenate([first + np.flatnonzero(want) for _, _, want in jobs])
        looker = self._looker
        looks = [(looker.look, circles)]
        if views:
            other = looker.look_mirrored if isinstance(looker, MirroringDetector) else looker.look
            looks = [((other, looker.look)[k % 2], moved(circles, *VIEWS[k])) for k in range(views)]
        parts = [self._ring.look(look, frames, around) for look, around in looks]
        seen = parts[0] if len(parts) == 1 else mean_of(parts)
        result, begin = [], 0
        for lane, crop, want in jobs:
            rows, people = np.flatnonzero(want), seen.picked(np.arange(begin, begin + int(want.sum())))
            begin += len(rows)
            there = people.score >= MIN_PERSON
            there &= ~self._is_another(lane, people.circle, crop[rows], first, rows)
            result.append((lane, first + rows[there], people.picked(there)))
        return result

    def _is_another(
        self, lane: Lane, circles: np.ndarray, expected: np.ndarray, first: int, rows: np.ndarray
    ) -> np.ndarray:
        """Whether the body that was seen [R,4] is where another track is expected, rather than this one."""
        result = np.zeros(len(rows), bool)
        for other in self._lanes:
            if other is lane:
                continue
            theirs = other.expected(first, first + int(rows.max()) + 1)[rows]
            with np.errstate(invalid="ignore"):
                result |= same_body(circles, theirs) & (apart(circles, theirs) < apart(circles, expected))
        return result


def _stride(device: torch.device) -> int:
    return CPU_STRIDE if device.type == "cpu" else GPU_STRIDE


def _lag(device: torch.device) -> int:
    """Frames by which what is settled is behind the second look: where looks take turns, those beside a frame tell."""
    return 2 if _stride(device) > 1 else 0


def _reach(fps: float) -> int:
    return max(1, min(math.ceil(2.5 * SMOOTHING_SECONDS * fps), MOST_REACH))
