# SPDX-License-Identifier: GPL-3.0-or-later
"""Time of solving kept keypoints again, from nothing and from the former motion, and how far the two are apart.

    python benchmarks/solve_again.py VIDEO [--frames 1000]

The keypoints are those of a video, played forwards and backwards until there are frames enough. Seconds on the clock,
and of all threads' CPU time; the first solve measures the body too. Angles between the rotations of the two motions,
over all frames and joints, in degrees.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
import time
from pathlib import Path

import numpy as np
from environment import describe

from video2rig.device import resolve_device
from video2rig.errors import Video2RigError
from video2rig.frames import open_video
from video2rig.keypoints import Keypoints
from video2rig.pipeline import Backend, Pipeline, solve_seen
from video2rig.seen import Seen
from video2rig.settings import Settings
from video2rig.skeleton import Skeleton
from video2rig.take import Take

ON_A_RIG = "smoothing 3 Hz, on a shorter rig"
CHANGES: dict[str, dict[str, object]] = {
    "nothing changed": {},
    "smoothing 3 Hz": {"smoothing_hz": 3.0},
    "smoothing 12 Hz": {"smoothing_hz": 12.0},
    "contacts off": {"contacts": "off"},
    ON_A_RIG: {"smoothing_hz": 3.0},
}


def played(keypoints: Keypoints, frames: int) -> Keypoints:
    """Return keypoints forwards and backwards, again and again, until there are so many frames."""
    count = len(keypoints.times)
    order = np.resize(np.concatenate([np.arange(count), np.arange(count - 2, 0, -1)]), frames)
    times = np.arange(frames) * float(np.median(np.diff(keypoints.times)))
    world = None if keypoints.world is None else keypoints.world[order]
    return Keypoints(keypoints.set_name, keypoints.positions[order], keypoints.confidence[order], times, world)


def shorter(body: Skeleton) -> Skeleton:
    """Return a rig whose bones are shorter than a person's, and not all by the same share."""
    factor = np.linspace(0.7, 0.9, len(body))
    return body.scaled(factor, factor)


def timed(label: str, seen: Seen, settings: Settings, take: dict, backend: Backend, body: Skeleton | None) -> Take:
    """Solve keypoints, print the time that it took, and return the take."""
    clock, cpu = time.perf_counter(), time.process_time()
    solved = solve_seen(seen, settings, take, backend, skeleton=body)
    print(f"{label:34}{time.perf_counter() - clock:8.1f} s{time.process_time() - cpu:8.1f} s of CPU", flush=True)
    return solved


def apart(one: Take, other: Take) -> str:
    """Return how far two motions are apart, in words."""
    cosine = np.abs((one.motion.rotations * other.motion.rotations).sum(-1)).clip(0, 1)
    angle = np.degrees(2 * np.arccos(cosine))
    return f"apart {angle.mean():.2f} degrees, 99 % below {np.percentile(angle, 99):.2f}, at most {angle.max():.1f}"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--frames", type=int, default=1000)
    options = parser.parse_args()
    try:
        print(describe(resolve_device("cpu")[0]))
        settings, backend, clip = Settings(device="cpu"), Backend("cpu"), open_video(options.video)
        pipeline = Pipeline(settings, clip.info.facts(), backend)
        pipeline.push_all(clip)
        pipeline.finish()
        keypoints = played(pipeline.people()[0].keypoints, options.frames)
        video = clip.info.facts() | {"frame_count": options.frames, "duration": float(keypoints.times[-1])}
        first = timed("first solve", Seen(keypoints, 1, None), settings, video, backend, None)
        body, longer = first.motion.skeleton, max(first.camera.width, first.camera.height)
        settings = dataclasses.replace(settings, field_of_view=2.0 * math.atan(longer / 2 / first.camera.focal))
        former = Seen.of(first, None, first.own_body())
        for label, change in CHANGES.items():
            chosen = dataclasses.replace(settings, **change)  # type: ignore[arg-type]
            skeleton = shorter(body) if label == ON_A_RIG else body
            # the body that was measured stays as it is; for a rig somebody is measured anew
            given = chosen if label == ON_A_RIG else dataclasses.replace(chosen, proportions="armature")
            fresh = timed(f"{label}, from nothing", Seen(keypoints, 1, None), given, video, backend, skeleton)
            again = timed(f"{label}, from before", former, chosen, video, backend, skeleton)
            print(f"    {apart(fresh, again)}")
    except Video2RigError as error:
        print(f"solve_again: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
