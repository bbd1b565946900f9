# SPDX-License-Identifier: GPL-3.0-or-later
"""What the server asks of a pipeline; tests serve with pipelines of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from .keypoints import Keypoints
from .seen import Seen
from .settings import Settings
from .skeleton import Skeleton
from .take import Take


class SolvingPipeline(Protocol):
    """What a session needs of a pipeline; see `pipeline.Pipeline`."""

    @property
    def notices(self) -> list[str]: ...

    def push(self, images: np.ndarray, times: np.ndarray, scale: float) -> None: ...

    def finish(self) -> None: ...

    def solve(self, progress: Callable[[str, int, int], None]) -> list[Take]: ...


class AnsweringPipeline(Protocol):
    """What a live session needs of a pipeline; see `live.pipeline.LivePipeline`."""

    skeleton: Skeleton
    keypoint_set: str
    lag: int
    digests: dict[str, dict[str, str]]

    def see(self, image: np.ndarray, time: float, scale: float) -> Keypoints: ...

    def solve(self, keypoints: Keypoints) -> SolvedPose | None: ...


class SolvedPose(Protocol):
    """A pose of one frame; see `ik.live.LiveFrame`."""

    @property
    def time(self) -> float: ...

    @property
    def rotations(self) -> np.ndarray: ...

    @property
    def root_position(self) -> np.ndarray: ...

    @property
    def confidence(self) -> np.ndarray: ...


class PipelineFactory(Protocol):
    """Makes a pipeline a session, or solves keypoints; `device` tells users what computes."""

    device: str

    def __call__(self, settings: Settings, video: dict[str, Any], skeleton: Skeleton | None) -> SolvingPipeline: ...

    def again(
        self,
        settings: Settings,
        video: dict[str, Any],
        skeleton: Skeleton | None,
        seen: Seen,
        progress: Callable[[str, int, int], None],
    ) -> Take: ...

    def live(self, settings: Settings, video: dict[str, Any], skeleton: Skeleton | None) -> AnsweringPipeline: ...
