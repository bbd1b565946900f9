# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a solve is, as the user sees it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple


class Progress(NamedTuple):
    """How far a solve is.

    Attributes:
        stage: "connecting", "preparing", "detecting", "sending", or a stage of the solver.
        done, total: Frames, or steps of that stage; total is 0 where it is not known.
        fps: Frames (or steps) a second, lately.
        seconds_left: Of this stage, or None.
        notice: What the user should know, once; "" mostly.
    """

    stage: str
    done: int
    total: int
    fps: float
    seconds_left: float | None
    notice: str


class Teller:
    """Turns counts into `Progress`, with a rate over the last seconds.

    Attributes:
        frames: How many frames the video has, as far as is known.
    """

    _SPAN = 15.0  # seconds over which the rate is taken

    def __init__(self, report: Callable[[Progress], None], frames: int) -> None:
        """Tell nothing yet. report: Gets the progress. frames: As far as is known; 0 where it is not."""
        self._report = report
        self.frames = frames
        self._stage, self._total = "", 0
        self._marks: deque[tuple[float, int]] = deque()

    def stage(self, name: str, done: int = 0, total: int | None = None) -> None:
        """Begin a stage of so many steps; by default they are the frames."""
        self._stage, self._total = name, self.frames if total is None else total
        self._marks.clear()
        self._mark(done)

    def step(self, stage: str, done: int, total: int) -> None:
        """Tell a step of a stage that the server names."""
        if stage != self._stage:
            self.stage(stage, done, total)
        else:
            self._total = total
            self._mark(done)

    def notice(self, text: str) -> None:
        """Tell the user a line."""
        self._send(text)

    def _mark(self, done: int) -> None:
        self._marks.append((time.monotonic(), done))
        while len(self._marks) > 2 and self._marks[-1][0] - self._marks[1][0] > self._SPAN:
            self._marks.popleft()
        self._send("")

    def _send(self, notice: str) -> None:
        (began, first), (now, done) = self._marks[0], self._marks[-1]
        rate = (done - first) / (now - began) if now > began else 0.0
        total = max(self._total, done) if self._total else 0
        left = (total - done) / rate if rate > 0 and total else None
        self._report(Progress(self._stage, done, total, rate, left, notice))
