# SPDX-License-Identifier: GPL-3.0-or-later
"""`video2rig live`: a source recorded and solved without Blender and without a server."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import NamedTuple

from ..body_solving import StageProgress
from ..device import set_cpu_threads
from ..live_source import LiveSource
from ..pipeline import Backend, solve_seen
from ..recording import Recording, Sight
from ..settings import Settings
from ..take import Take
from .pipeline import LivePipeline


class Glance(NamedTuple):
    """How a recording goes: seconds and frames so far, pictures that came meanwhile, whether somebody is in view, and
    seconds from the newest picture to its keypoints."""

    seconds: float
    frames: int
    taken: int
    seen: bool
    latency: float


def record(
    source: LiveSource,
    settings: Settings,
    backend: Backend,
    stopped: Callable[[float], bool],
    glance: Callable[[Glance], None],
) -> Recording:
    """Look at the newest picture again and again until `stopped`, which is asked with the seconds so far, the source's
    end, or Ctrl-C. Nobody sees poses here, so none is solved.

    Raises:
        Video2RigError: The source failed, or the detector cannot be had.
    """
    set_cpu_threads()
    facts = {"width": source.width, "height": source.height}
    pipeline = LivePipeline(settings, facts, backend)
    recording = Recording(source.name, source.width, source.height, pipeline.keypoint_set, pipeline.digests)
    number = source.taken - 1
    first = source.taken
    source.begin()
    began: float | None = None
    with contextlib.suppress(KeyboardInterrupt):
        while not stopped(recording.seconds):
            picture = source.newest(number)
            if picture is None:
                if source.ended:
                    break
                time.sleep(0.002)
                continue
            number = picture.number
            began = picture.taken if began is None else began
            moment = picture.taken - began
            keypoints = pipeline.see(picture.image, moment, picture.scale)
            seen = bool(keypoints.seen()[0])
            world = None if keypoints.world is None else keypoints.world[0]
            sight = Sight(moment, keypoints.positions[0], keypoints.confidence[0], world) if seen else None
            recording.add(sight, moment)
            latency = time.monotonic() - picture.taken
            glance(Glance(moment, len(recording), source.taken - first, seen, latency))
    return recording


def solve(recording: Recording, settings: Settings, backend: Backend, progress: StageProgress) -> Take:
    """Solve a recording as a whole.

    Raises:
        RecordingError: It is too short, or shows nobody.
        Video2RigError: The regression network cannot be had.
    """
    seen = recording.seen()
    take = solve_seen(seen, settings, recording.facts(), backend, progress)
    take.motion.provenance["weights"].update(recording.weights)
    take.motion.provenance["live"] = True
    return take
