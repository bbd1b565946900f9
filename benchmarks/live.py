# SPDX-License-Identifier: GPL-3.0-or-later
"""Live preview: frames a second, milliseconds a frame, and what the short look ahead costs in accuracy.

    python benchmarks/live.py [--frames 300] [--seeds 3] [--noise 5]

A default human with 33 keypoints in 3D moves inside its range of motion at 30 frames a second while it turns; its
lengths, the noise and the smoothness are unknown. Degrees are the mean over all joints and frames against the truth;
beside it the same sequence solved as a whole.
"""

from __future__ import annotations

import argparse
import time
from typing import NamedTuple

import numpy as np
import roma
import torch
from environment import describe
from scipy.ndimage import gaussian_filter1d

from video2rig.human import default_human
from video2rig.ik.from_markers import solve_markers
from video2rig.ik.live import MOST_LAG, LiveSolver
from video2rig.ik.model import BodyModel, Pose
from video2rig.ik.to_motion import local_quaternions
from video2rig.keypoints import KEYPOINT_SETS, sites
from video2rig.markers import Markers

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
    options = parser.parse_args()
    print(describe(torch.device("cpu")))
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
