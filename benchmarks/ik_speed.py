# SPDX-License-Identifier: GPL-3.0-or-later
"""Speed of the temporal IK, with rivals on the same sequences in the same run.

    python benchmarks/ik_speed.py [--seed 100] [--opensim-python PYTHON] [--kinepose CHECKOUT] [--repeats 3]

Frames per second of CPU time, that of all threads and child processes together; the best of several repeats. Start-up,
compilation and, for OpenSim, building the model are not counted. The sequences are the reference tool's, with 10 mm of
noise: 24 of 30 frames (paper) and 3 of 300 (long); KinePose solves the first alone. Then one of a minute, in windows
and in one piece.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import patch

import ik_accuracy
import torch
from environment import describe
from ik_rivals import KINEPOSE_QUOTED, OPENSIM_QUOTED, QUOTED, InProcess, KinePose, OpenSim, Problem, Rival
from imvip22 import Reference, sequences

from video2rig.errors import Video2RigError
from video2rig.ik import sequence as ik_sequence

NOISE = 10.0
LONG = 1800


def frames_per_second(rival: Rival, problems: list[Problem], repeats: int) -> float:
    """Return frames per CPU second, the best of several repeats."""
    frames = sum(len(keypoints) for _, keypoints in problems)
    return frames / min(rival.solve(problems).cpu for _ in range(repeats))


def print_rival(rival: Rival, sets: dict[str, list[Problem]], ours: dict[str, float], repeats: int) -> None:
    """Print a rival's line: its speed on each set, and how many times faster we are."""
    line = ""
    for name, problems in sets.items():
        speed = frames_per_second(rival, problems, repeats)
        line += f"{speed:14.2f}{ours[name] / speed:9.0f} x"
    print(f"{rival.name:28}{line}", flush=True)


def print_windows(reference: Reference, seed: int) -> None:
    """Print the speed of one long sequence in windows and in one piece, and how far the two answers are apart."""
    (one,) = sequences(reference, "long", NOISE, seed, count=1, frames=LONG)
    found = {}
    for label, window in (("in windows", ik_sequence.WINDOW), ("in one piece", LONG)):
        with patch.object(ik_sequence, "WINDOW", window):
            answer = InProcess(label, partial(ik_accuracy.solve_chain, estimate_lengths=False)).solve(
                [(one.chain, one.keypoints)]
            )
        (found[label],) = answer.rotations
        error = reference.metrics.mpjas(found[label], one.rotations, list(reference.evaluated)).mean()
        print(f"{LONG} frames {label:16}{LONG / answer.cpu:14.0f}   MPJAS {error:.2f}", flush=True)
    apart = reference.metrics.mpjas(*found.values(), list(reference.evaluated))
    print(f"the two answers are {apart.mean():.3f} degrees apart, at most {apart.max():.2f}")


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--reference", type=Path, help="folder of the reference tool, with evaluate.py")
    parser.add_argument("--opensim-python", type=Path, help="an interpreter that has opensim 4.6 from PyPI")
    parser.add_argument("--kinepose", type=Path, help="a checkout of KevGildea/KinePose")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    try:
        reference = Reference.load(options.reference)
        print(describe(torch.device("cpu")))
        drawn = {kind: sequences(reference, kind, NOISE, options.seed) for kind in ("paper", "long")}
        sets: dict[str, list[Problem]] = {
            kind: [(one.chain, one.keypoints) for one in some] for kind, some in drawn.items()
        }
        print(f"{'frames per CPU second':28}" + "".join(f"{kind:>14}{'ours':>11}" for kind in sets))
        speeds: dict[bool, dict[str, float]] = {}
        for estimated in (True, False):
            function: Callable = partial(ik_accuracy.solve_chain, estimate_lengths=estimated)
            name = f"video2rig, lengths {'estimated' if estimated else 'given'}"
            rival = InProcess(name, function)
            speeds[estimated] = {
                kind: frames_per_second(rival, problems, options.repeats) for kind, problems in sets.items()
            }
            print(f"{name:28}" + "".join(f"{speed:14.0f}{'':11}" for speed in speeds[estimated].values()), flush=True)
        given = speeds[False]
        if options.opensim_python:
            print_rival(OpenSim(options.opensim_python, reference), sets, given, 1)
        else:
            print(f"OpenSim 4.6, quoted from {QUOTED}: {OPENSIM_QUOTED}")
        if options.kinepose:
            # a frame takes two seconds
            first = {"paper": sets["paper"][:1]}
            print_rival(KinePose(options.kinepose, reference), first, given, 1)
        else:
            print(f"KinePose, quoted from {QUOTED}: {KINEPOSE_QUOTED}")
        print_windows(reference, options.seed)
    except Video2RigError as error:
        print(f"ik_speed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
