# SPDX-License-Identifier: GPL-3.0-or-later
"""A real server with a small deterministic pipeline: what the tests of the wire talk to.

Run as a program it takes the flags of `video2rig serve`, and ``--limits JSON`` and ``--push-seconds``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from time import sleep
from typing import Any

import numpy as np

from video2rig.camera import Camera
from video2rig.errors import Video2RigError
from video2rig.human import default_human
from video2rig.ik.live import LiveFrame
from video2rig.keypoints import KEYPOINT_SETS, Keypoints
from video2rig.motion import Motion
from video2rig.person import PersonError
from video2rig.seen import Seen
from video2rig.server import serve
from video2rig.settings import Settings
from video2rig.skeleton import Skeleton
from video2rig.take import MEASURED, Take
from video2rig.wire import Limits

SKELETON = default_human()
STEPS = 5
PEOPLE = 3


class FakePipeline:
    """Turns pixels into takes without seeing anything in them: every frame's sum is a keypoint.

    Every video has three people, who stand a metre apart, and the first of them is the largest.
    """

    def __init__(
        self,
        settings: Settings,
        video: dict[str, Any],
        push_seconds: float,
        solve_seconds: float,
        skeleton: Skeleton | None = None,
    ) -> None:
        self._skeleton = skeleton or SKELETON
        self._settings, self._video = settings, video
        self._push_seconds, self._solve_seconds = push_seconds, solve_seconds
        self._sums: list[float] = []
        self._times: list[float] = []
        self._scales: list[float] = []
        self.notices: list[str] = []
        self._finished = False

    def push(self, images: np.ndarray, times: np.ndarray, scale: float) -> None:
        sleep(self._push_seconds * len(images))
        self._sums += images.reshape(len(images), -1).sum(axis=1, dtype=np.float64).tolist()
        self._times += times.tolist()
        self._scales += [scale] * len(images)

    def finish(self) -> None:
        self._finished = True

    def solve(self, progress: Callable[[str, int, int], None]) -> list[Take]:
        assert self._finished, "a solve before the end of the video"
        pretend(self._settings, self._solve_seconds, progress)
        choice = self._settings.choice()
        if choice.kind == "number" and choice.number > PEOPLE:
            raise PersonError(f"there is no person {choice.number}; {PEOPLE} people were seen")
        numbers = range(1, PEOPLE + 1) if choice.kind == "everyone" else [max(choice.number, 1)]
        if choice.kind == "everyone":
            self.notices.append(f"seen for less than 0.25 s and left out: person {PEOPLE + 1}")
        return [self._take(number) for number in numbers]

    def _take(self, number: int) -> Take:
        frames, joints = len(self._times), len(self._skeleton)
        rotations = np.zeros((frames, joints, 4))
        rotations[..., 0] = 1.0
        names = KEYPOINT_SETS["blazepose_33"]
        positions = np.zeros((frames, len(names), 2), np.float32)
        positions[:, 0, 0] = np.array(self._sums) % 65521
        positions[:, 0, 1] = self._scales
        motion = Motion(
            self._skeleton,
            np.array(self._times),
            rotations,
            np.tile([float(number - 1), 0.0, 0.0], (frames, 1)),
            np.ones((frames, joints)),
            provenance={"settings": self._settings.to_json(), "proportions": MEASURED},
        )
        keypoints = Keypoints("blazepose_33", positions, np.ones(positions.shape[:2]), np.array(self._times), None)
        camera = Camera.from_field_of_view(self._video["width"], self._video["height"], 1.0)
        return Take(motion, keypoints, camera, self._video, number)


class FakeLive:
    """Answers pictures without seeing anything in them: dark ones show nobody, and the root rises with time."""

    keypoint_set = "blazepose_33"
    lag = 2

    def __init__(self, skeleton: Skeleton | None, push_seconds: float) -> None:
        self.skeleton, self._push_seconds = skeleton or SKELETON, push_seconds
        self.digests = {"abacus": {"beads": "0" * 64}}
        self._times: list[float] = []

    def see(self, image: np.ndarray, time: float, scale: float) -> Keypoints:
        sleep(self._push_seconds)
        count = len(KEYPOINT_SETS[self.keypoint_set])
        positions, there = np.full((1, count, 2), float(image.mean())), bool(image.mean() > 10)
        confidence = np.full((1, count), float(there))
        return Keypoints(self.keypoint_set, positions, confidence, np.array([time]), np.zeros((1, count, 3)))

    def solve(self, keypoints: Keypoints) -> LiveFrame | None:
        self._times.append(float(keypoints.times[0]))
        if len(self._times) <= self.lag:
            return None
        rotations = np.zeros((len(self.skeleton), 4))
        rotations[:, 0] = 1.0
        at = self._times[-1 - self.lag]
        return LiveFrame(at, rotations, np.array([0.0, 0.0, 1.0 + at]), np.ones(len(self.skeleton)))


def pretend(settings: Settings, seconds: float, progress: Callable[[str, int, int], None]) -> None:
    """Take the time of a solve, and fail where the settings ask for it."""
    for step in range(STEPS):
        progress("solving", step, STEPS)
        sleep(seconds / STEPS)
    if settings.height == 2.5:
        raise Video2RigError("nobody is this tall")
    if settings.height == 2.4:
        raise ZeroDivisionError("a defect")


def solved_again(settings: Settings, video: dict[str, Any], skeleton: Skeleton | None, seen: Seen) -> Take:
    """A take whose root rises by a metre for each hertz of smoothing, and whose camera stands 2 m further back.

    Its contacts are those that were marked, its rotations those of the former motion of that skeleton. The field of
    view is that of the settings, or one that no take of a `FakePipeline` has.
    """
    skeleton, frames = skeleton or SKELETON, len(seen.keypoints.times)
    rotations = np.zeros((frames, len(skeleton), 4))
    rotations[..., 0] = 1.0
    if seen.former is not None and seen.former.is_of(skeleton):
        rotations = seen.former.rotations
    motion = Motion(
        skeleton,
        seen.keypoints.times,
        rotations,
        np.tile([float(seen.person - 1), 0.0, settings.smoothing_hz or 0.0], (frames, 1)),
        np.ones((frames, len(skeleton))),
        seen.contacts or () if settings.contacts == "marked" else (),
        provenance={
            "settings": settings.to_json(),
            "again": True,
            "proportions": MEASURED,
            "former": None if seen.former is None else seen.former.skeleton.to_json(),
        },
    )
    camera = Camera.from_field_of_view(video["width"], video["height"], settings.field_of_view or 1.2)
    camera = camera.placed(camera.rotation, np.array([0.0, 0.0, 2.0]))
    return Take(motion, seen.keypoints, seen.world or camera, video, seen.person)


class FakeFactory:
    """Makes fake pipelines; `push_seconds` is the time that a frame takes, `solve_seconds` that of a solve."""

    device = "an abacus"

    def __init__(self, push_seconds: float = 0.0, solve_seconds: float = 0.0) -> None:
        self.push_seconds, self.solve_seconds = push_seconds, solve_seconds

    def __call__(self, settings: Settings, video: dict[str, Any], skeleton: Skeleton | None) -> FakePipeline:
        return FakePipeline(settings, video, self.push_seconds, self.solve_seconds, skeleton)

    def live(self, settings: Settings, video: dict[str, Any], skeleton: Skeleton | None) -> FakeLive:
        if settings.device == "cuda":
            raise Video2RigError("the device 'cuda' was asked for, but there is none")
        return FakeLive(skeleton, self.push_seconds)

    def again(
        self,
        settings: Settings,
        video: dict[str, Any],
        skeleton: Skeleton | None,
        seen: Seen,
        progress: Callable[[str, int, int], None],
    ) -> Take:
        pretend(settings, self.solve_seconds, progress)
        return solved_again(settings, video, skeleton, seen)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("serve")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--authorized-keys")
    parser.add_argument("--connection-file")
    parser.add_argument("--parent-pid", type=int)
    parser.add_argument("--limits", type=json.loads, default={})
    parser.add_argument("--push-seconds", type=float, default=0.0)
    parser.add_argument("--solve-seconds", type=float, default=0.0)
    options = parser.parse_args()
    try:
        return serve(
            options.host,
            options.port,
            authorized_keys=options.authorized_keys,
            connection_path=options.connection_file,
            parent_pid=options.parent_pid,
            pipeline_factory=FakeFactory(options.push_seconds, options.solve_seconds),
            limits=Limits(**options.limits),
        )
    except Video2RigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
