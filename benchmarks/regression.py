# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinematic regression on subjects that it never saw: alone, before the temporal IK, and beside the paper's rivals.

    python benchmarks/regression.py [--mocap FOLDER] [--weights FILE] [--seeds 11 12 13] [--rivals FOLDER] [--quick]

The test is that of `models/kinematic_regressor/protocol.py`: clips of cmu_val, any camera, bodies of many proportions,
5 pixels of noise in a picture of 1000. MPJPE: from the root, millimetres; worst: of the worst sequence. PA: after the
best similarity of each frame. MPJAS: mean angle between true and predicted local rotations of the 17 joints that move,
degrees; "constant out" takes one constant rotation a joint out of all that is predicted. Shoulder, hip, forearm: the
part of that angle that is twist about the bone. Bones: standard deviation of a limb's length over time, millimetres.
Accel: error of the joints' acceleration, m/s2. Frames/s: of CPU time, from keypoints to rotations, on sequences of up
to 128 frames.

The rivals of Zhou et al. 2016, Table 1, share the trunk, the batches and the number of steps; they are measured anew
with ``--rivals``, in a folder with a network of each head::

    for head in joint parameter kinematic; do
        python -m models.kinematic_regressor.train --mocap MOCAP --head $head --out FOLDER/$head \\
            --steps 300 --batch 24 --frames 32
    done
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import regression_rivals
import torch
from environment import describe
from real_motion import default_folder
from regression_table import SPEED, Answer, measured, print_heads, print_row

from models.kinematic_regressor.evaluate import WEIGHTS, placed, predicted
from models.kinematic_regressor.mocap import Clips, load_clips
from models.kinematic_regressor.protocol import TestSequence, sequences
from models.kinematic_regressor.with_ik import solve_test
from video2rig.errors import Video2RigError
from video2rig.human import default_human
from video2rig.keypoints import KEYPOINT_SETS, Keypoints, has_site
from video2rig.regression import Regressor

EVERY = 4
"""Of how many sequences --quick takes one."""

LONG = 20_000
"""Frames of the clip that speed is measured on where nothing else is."""


def alone(regressor: Regressor, known: bool, test: TestSequence) -> Answer:
    """Return what the regressor says."""
    rotation = predicted(regressor, test, known)[0].rotation
    return rotation, placed(test.body if known else default_human(), rotation)


def with_ik(regressor: Regressor | None, known: bool, test: TestSequence) -> Answer:
    """Return what the temporal IK makes of it, or of keypoints alone."""
    return solve_test(test, regressor, known)


def print_alone(regressor: Regressor, drawn: list[list[TestSequence]]) -> None:
    """Print the regressor alone."""
    print_heads()
    print_row("regressor, body and focal length known", measured(drawn, partial(alone, regressor, True)))
    print_row("regressor, body unknown, field of view guessed", measured(drawn, partial(alone, regressor, False)))


def print_with_ik(regressor: Regressor, drawn: list[list[TestSequence]]) -> None:
    """Print the temporal IK with the regressor before it, and without."""
    print("\nwith the temporal IK")
    print_heads()
    rows = {
        "+ temporal IK, body and focal length known": partial(with_ik, regressor, True),
        "+ temporal IK, bones unknown, field of view guessed": partial(with_ik, regressor, False),
        "temporal IK without the regressor, known": partial(with_ik, None, True),
    }
    for label, solver in rows.items():
        print_row(label, measured(drawn, solver))


def print_activities(regressor: Regressor, drawn: list[list[TestSequence]]) -> None:
    """Print a row for each activity."""
    print("\nby activity: the regressor alone, body and focal length known")
    print_heads()
    for action in sorted({test.action for tests in drawn for test in tests}):
        chosen = [[test for test in tests if test.action == action] for tests in drawn]
        if all(chosen):
            print_row(f"{action} ({sum(map(len, chosen))})", measured(chosen, partial(alone, regressor, True)))


def print_sets(regressor: Regressor, clips: Clips, seed: int, every: int) -> None:
    """Print a row for each keypoint set; its speed is that of one long clip."""
    print(f"\nby keypoint set: the regressor alone, body and focal length known, seed {seed}; speed over {LONG} frames")
    print_heads()
    for name in (name for name, points in KEYPOINT_SETS.items() if all(map(has_site, points))):
        tests = sequences(clips, seed, keypoint_set=name)[::every]
        row = measured([tests], partial(alone, regressor, True))
        print_row(name, row | {SPEED: long_speed(regressor, tests[0])})


def long_speed(regressor: Regressor, test: TestSequence, repeats: int = 3) -> float:
    """Return frames a second over a clip of :data:`LONG` frames, the best of some repeats."""
    own, again = test.keypoints, np.arange(LONG) % len(test.keypoints.times)
    clip = Keypoints(own.set_name, own.positions[again], own.confidence[again], np.arange(LONG) / 30.0)
    taken = []
    for _ in range(repeats):
        begin = time.process_time()
        regressor.predict(clip, test.camera, test.body)
        taken.append(time.process_time() - begin)
    return LONG / min(taken)


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mocap", type=Path, default=default_folder(), help="folder of cmu_val.npz")
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument("--rivals", type=Path, metavar="FOLDER", help="networks whose figures are to be kept")
    parser.add_argument("--quick", action="store_true", help=f"one seed, every {EVERY}th sequence")
    options = parser.parse_args()
    torch.set_num_threads(1)
    every, seeds = (EVERY, options.seeds[:1]) if options.quick else (1, options.seeds)
    try:
        regressor = Regressor.load(options.weights)
        clips = load_clips(options.mocap / "cmu_val.npz")
        drawn = [sequences(clips, seed)[::every] for seed in seeds]
        print(describe(torch.device("cpu")))
        if options.rivals:
            regression_rivals.measure(options.rivals, drawn, seeds)
        print(f"\n{options.weights.name}: {sum(map(len, drawn))} sequences, seeds {', '.join(map(str, seeds))}")
        print_alone(regressor, drawn)
        print_activities(regressor, drawn)
        print_sets(regressor, clips, seeds[0], every)
        print_with_ik(regressor, drawn)
        regression_rivals.print_table()
    except Video2RigError as error:
        print(f"regression: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
