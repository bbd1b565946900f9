# SPDX-License-Identifier: GPL-3.0-or-later
"""A live session of the server: each frame is answered with a pose as soon as it is known.

Nothing is kept of what was answered. Two frames are worked on at once, one being seen while the one before it is
solved, and none waits beside them: a client that has no credit drops frames, so poses stay young on any machine.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import NoReturn

import numpy as np

from .keypoints import Keypoints
from .link import CONTROL, FRAMES
from .served import AnsweringPipeline
from .session import Pushed, Session
from .session_checks import Refusal
from .wire import Limits, encode

LIVE_CREDIT = 2


class LiveSession(Session):
    """Frames of a camera, each on its way to a pose; see `Session`."""

    def _bounds(self, limits: Limits) -> tuple[int, int | None]:
        return min(LIVE_CREDIT, limits.credit), None

    def finish(self, frames: int) -> None:
        """Refuse: a live session has no result."""
        raise Refusal("order", "a live session is ended by a cancel; it has no result")

    def _run(self) -> NoReturn:
        report = self._reporter()
        report("preparing", 0, 0)
        with self._turn(self._turns.detecting):
            pipeline = self._factory.live(self._settings, self._video, self._skeleton)
        began = encode(
            "began",
            session=self.name,
            skeleton=pipeline.skeleton.to_json(),
            keypoint_set=pipeline.keypoint_set,
            lag=pipeline.lag,
            weights=pipeline.digests,
        )
        self._post(self, CONTROL, began)
        with ThreadPoolExecutor(1, f"live {self.name[:6]}") as solving:
            before: Future[None] | None = None
            index = 0
            while (item := self._queue.get()) is not None:
                self._check()
                assert isinstance(item, Pushed)
                with self._turn(self._turns.detecting):
                    keypoints = pipeline.see(item.image, item.time, item.scale)
                if before is not None:
                    before.result()
                before = solving.submit(self._answer, pipeline, index, keypoints)
                index += 1
        self._check()
        raise AssertionError("a live session ended by itself")

    def _answer(self, pipeline: AnsweringPipeline, index: int, keypoints: Keypoints) -> None:
        """Solve what was seen in a frame, and send what is known by then."""
        pose = pipeline.solve(keypoints)
        arrays: dict[str, np.ndarray] = {}
        if keypoints.seen()[0]:
            arrays["positions"] = keypoints.positions[0].astype(np.float32)
            arrays["seen"] = keypoints.confidence[0].astype(np.float32)
            if keypoints.world is not None:
                arrays["world"] = keypoints.world[0].astype(np.float32)
        if pose is not None:
            arrays |= {"rotations": pose.rotations, "root": pose.root_position, "confidence": pose.confidence}
        time = float(keypoints.times[0]) if pose is None else pose.time
        self.processed = index + 1
        self._post(self, FRAMES, encode("pose", arrays, session=self.name, index=index, time=time))
