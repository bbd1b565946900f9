# SPDX-License-Identifier: GPL-3.0-or-later
"""Live preview: frames a second, milliseconds a frame, and what the short look ahead costs in accuracy.

    python benchmarks/live.py [--frames 300] [--seeds 3] [--noise 5] [--video FILE] [--times 2]

First the whole way: a video (by default the project's sample) plays at its own pace as if it were a camera, its frames
go over the wire to a server with the real detector, and poses come back. Latency is from the moment at which a picture
was due to that at which its pose is here; the look ahead is part of it.

Then what the look ahead buys: the sample's keypoints, seen live, solved with several of them, against the sample's
truth; the last row is the whole solve of the same keypoints.

Then the live solver alone. A default human with 33 keypoints in 3D moves inside its range of motion at 30 frames a
second while it turns; its lengths, the noise and the smoothness are unknown. Degrees are the mean over all joints and
frames against the truth; beside it the same sequence solved as a whole.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import roma
import torch
from environment import describe
from scipy.ndimage import gaussian_filter1d

import video2rig
from sample import SAMPLE, score
from video2rig.body_solving import DEFAULT_FIELD_OF_VIEW
from video2rig.camera import Camera
from video2rig.connection import Connection
from video2rig.frames import fitted, open_video
from video2rig.human import default_human
from video2rig.ik.from_markers import solve_markers
from video2rig.ik.live import MOST_LAG, LiveSolver
from video2rig.ik.live_camera import LiveCamera
from video2rig.ik.model import BodyModel, Pose
from video2rig.ik.to_motion import local_quaternions
from video2rig.keypoints import KEYPOINT_SETS, Keypoints, sites
from video2rig.launcher import LocalServer
from video2rig.live.pipeline import LAG, LivePipeline
from video2rig.live_client import Answered, stream_live
from video2rig.live_source import LIVE_SIDE, open_live
from video2rig.markers import Markers
from video2rig.motion import Motion
from video2rig.pipeline import Backend
from video2rig.settings import Settings
from video2rig.solving import solve_keypoints
from video2rig.take import Take

RATE = 30.0
NAMES = KEYPOINT_SETS["blazepose_33"]


class Walk(NamedTuple):
    """What was seen, and the true local rotations [T, J, 4]."""

    markers: Markers
    rotations: np.ndarray


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--noise", type=float, default=5.0, help="of a coordinate, millimetres")
    parser.add_argument("--video", type=Path, default=SAMPLE / "sample.mp4")
    parser.add_argument("--times", type=int, default=2, help="how often the video is played")
    options = parser.parse_args()
    print(describe(torch.device("cpu")))
    play(options.video, options.times)
    compare_lags()
    print(f"{options.frames} frames, {options.noise:g} mm of noise; an answer is {MOST_LAG} frames behind")
    _live(walk(0, 30, options.noise).markers)  # compiles
    print(f"{'':8}{'frames/s':>10}{'median ms':>11}{'95 % ms':>9}{'most ms':>9}{'live deg':>10}{'whole deg':>11}")
    for seed in range(options.seeds):
        seen = walk(seed, options.frames, options.noise)
        rotations, spent = _live(seen.markers)
        whole = solve_markers(default_human(), seen.markers)
        errors = [_degrees(found, seen.rotations) for found in (rotations, whole.rotations)]
        median, most_of_them, most = np.percentile(spent, [50, 95, 100]) * 1e3
        print(
            f"seed {seed:<3}{len(spent) / spent.sum():10.0f}{median:11.1f}{most_of_them:9.1f}{most:9.1f}"
            f"{errors[0]:10.2f}{errors[1]:11.2f}",
            flush=True,
        )
    return 0


def play(video: Path, times: int) -> None:
    """Play a video through a real server, and print rate and latency."""
    serve = f"import sys; sys.path.insert(0, {str(Path(video2rig.__file__).parents[1])!r}); "
    serve += "from video2rig.cli import main; sys.exit(main())"
    with tempfile.TemporaryDirectory() as folder:
        server = LocalServer([sys.executable, "-c", serve], Path(folder) / "connection.json")
        try:
            connection = server.ensure()
            heads = ("pictures", "answered", "seen", "poses/s", "median ms", "95 % ms", "most ms")
            print(f"{video.name:>16}" + "".join(f"{head:>11}" for head in heads))
            for number in range(times):
                print(f"{number + 1:>16}" + _played(video, connection), flush=True)
        finally:
            server.stop()


def _played(video: Path, connection: Connection) -> str:
    arrived: list[tuple[float, Answered]] = []
    with open_live(str(video)) as source:
        waited = source.taken
        stream_live(
            source,
            Settings(),
            connection,
            began=lambda began: None,
            answered=lambda answer: arrived.append((time.monotonic(), answer)),
            stopped=lambda: False,
        )
        taken = source.taken - waited
    shown = [(now, now - answer.pose.taken) for now, answer in arrived if answer.pose is not None]
    rate = (len(shown) - 1) / (shown[-1][0] - shown[0][0])
    seen = sum(answer.sight is not None for _, answer in arrived)
    latency = 1e3 * np.percentile([late for _, late in shown], [50, 95, 100])
    return f"{taken:11}{len(arrived):11}{seen:11}{rate:11.1f}" + "".join(f"{value:11.0f}" for value in latency)


def compare_lags() -> None:
    """Print what looks ahead of several lengths cost and gain on the sample."""
    source, settings, backend = open_video(SAMPLE / "sample.mp4"), Settings(device="cpu"), Backend("cpu")
    truth = Take.load(SAMPLE / "sample_truth.npz")
    facts = source.info.facts()
    pipeline = LivePipeline(settings, facts, backend)
    seen = []
    for frame in source.frames():
        small, scale = fitted(frame, LIVE_SIDE)
        seen.append(pipeline.see(small.image, frame.time, scale))
    print(f"{'lag':>16}{'median ms':>11}{'MPJPE':>11}{'PA-MPJPE':>11}{'MPJAS':>11}{'jitter':>11}")
    optics = Camera.from_field_of_view(facts["width"], facts["height"], DEFAULT_FIELD_OF_VIEW)
    camera = LiveCamera(pipeline.skeleton, pipeline.keypoint_set, True, optics)
    for lag in (0, 1, LAG, MOST_LAG):
        solver, frames, spent = camera.solver(pipeline.skeleton, lag, settings.smoothing_hz), [], []
        for keypoints in seen:
            began = time.perf_counter()
            frames.append(solver.push(float(keypoints.times[0]), *camera.points(keypoints)))
            spent.append(time.perf_counter() - began)
        frames = [frame for frame in [*frames, *solver.flush()] if frame is not None]
        times, rotations, roots, confidence = (np.array(column) for column in zip(*frames, strict=True))
        motion = Motion(pipeline.skeleton, times, rotations, roots, confidence)
        print(f"{lag:16}{1e3 * np.median(spent):11.1f}" + _against(truth, motion, optics), flush=True)
    all_seen = Keypoints(
        pipeline.keypoint_set,
        np.concatenate([one.positions for one in seen]),
        np.concatenate([one.confidence for one in seen]),
        np.concatenate([one.times for one in seen]),
        np.concatenate([one.world for one in seen if one.world is not None]),
    )
    whole = solve_keypoints(all_seen, settings, facts, {}, regressor=backend.regressor)
    print(f"{'whole':>16}{'':11}" + _against(truth, whole.motion, whole.camera))
    print(
        f"lag in frames at {source.info.fps:g} frames a second; millimetres; degrees; jitter: mean acceleration of the"
    )
    print("root, mm a frame squared")


def _against(truth: Take, motion: Motion, camera: Camera) -> str:
    error = score(dataclasses.replace(truth, motion=motion, camera=camera), truth)
    jitter = 1e3 * np.linalg.norm(np.diff(motion.root_position, 2, axis=0), axis=1).mean()
    return "".join(f"{value:11.1f}" for value in (error[0], error[1], error[3], jitter))


def walk(seed: int, frames: int, noise: float) -> Walk:
    """A person of unusual proportions who moves and turns."""
    rng = np.random.default_rng(seed)
    skeleton = default_human()
    model = BodyModel(skeleton, sites(skeleton, NAMES))
    wander = gaussian_filter1d(rng.normal(size=(frames, len(model.lower))), 0.33 * RATE, axis=0)
    wander /= wander.std(axis=0) + 1e-9
    times = np.arange(frames) / RATE
    turn = torch.tensor(times)[:, None] * torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    pose = Pose(
        torch.tensor(np.stack([np.sin(times), np.cos(times), 1 + 0.1 * np.sin(3 * times)], axis=1)),
        roma.rotvec_to_rotmat(turn) @ torch.tensor(skeleton.rest_matrices()[0, :3, :3]),
        (model.lower + model.upper) / 2 + 0.3 * (model.upper - model.lower) * torch.tensor(np.tanh(wander)),
    )
    points = model.points(pose, torch.tensor(rng.normal(0.0, 0.07, model.groups))).numpy()
    points += rng.normal(0.0, noise / 1000, points.shape)
    return Walk(Markers(NAMES, points, np.ones(points.shape[:2]), times), local_quaternions(model, pose))


def _live(markers: Markers) -> tuple[np.ndarray, np.ndarray]:
    """Return the rotations [T, J, 4], and the seconds [T] that each frame took."""
    solver, spent = LiveSolver(default_human(), markers.names), []
    for frame in zip(markers.times, markers.positions, markers.confidence, strict=True):
        began = time.perf_counter()
        solver.push(*frame)
        spent.append(time.perf_counter() - began)
    solver.flush()
    return solver.motion().rotations, np.array(spent)


def _degrees(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.degrees(2 * np.arccos(np.abs((one * other).sum(axis=-1)).clip(0, 1))).mean())


if __name__ == "__main__":
    raise SystemExit(main())
