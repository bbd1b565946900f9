# SPDX-License-Identifier: GPL-3.0-or-later
"""Speed of the temporal IK, with rivals on the same sequences in the same run.

    python benchmarks/ik_speed.py [--seed 100] [--opensim-python PYTHON] [--kinepose CHECKOUT] [--repeats 3]
                                  [--device cpu|cuda] [--together-only]

Frames per second of CPU time, that of all threads and child processes together; the best of several repeats. Start-up,
compilation and, for OpenSim, building the model are not counted. The sequences are the reference tool's, with 10 mm of
noise: 24 of 30 frames (paper) and 3 of 300 (long); KinePose solves the first alone. Then one of a minute, in windows
and in one piece.

Last, 64 clips of 300 frames together, and the same one after the other, on the device that --device names. There it is
frames per second on the clock, from arrays in memory to motions, after a first run that warms up.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import patch

import ik_accuracy
import numpy as np
import torch
from environment import describe
from ik_rivals import KINEPOSE_QUOTED, OPENSIM_QUOTED, QUOTED, InProcess, KinePose, OpenSim, Problem, Rival
from imvip22 import Reference, markers_of, sequences, skeleton_of
from scipy.spatial.transform import Rotation

from video2rig.device import resolve_device
from video2rig.errors import Video2RigError
from video2rig.ik import long_clip, solve_markers, solve_markers_together
from video2rig.motion import Motion

NOISE = 10.0
LONG = 1800
CLIPS, CLIP = 64, 300


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
    for label, window in (("in windows", long_clip.WINDOW), ("in one piece", LONG)):
        with patch.object(long_clip, "WINDOW", window):
            answer = InProcess(label, partial(ik_accuracy.solve_chain, estimate_lengths=False)).solve(
                [(one.chain, one.keypoints)]
            )
        (found[label],) = answer.rotations
        error = reference.metrics.mpjas(found[label], one.rotations, list(reference.evaluated)).mean()
        print(f"{LONG} frames {label:16}{LONG / answer.cpu:14.0f}   MPJAS {error:.2f}", flush=True)
    apart = reference.metrics.mpjas(*found.values(), list(reference.evaluated))
    print(f"the two answers are {apart.mean():.1e} degrees apart, at most {apart.max():.1e}")


def print_together(reference: Reference, seed: int, device: torch.device, repeats: int) -> None:
    """Print the speed of many clips, together and one after the other, and how far the two answers are apart."""
    drawn = sequences(reference, "long", NOISE, seed, count=CLIPS, frames=CLIP)
    skeleton, sites = skeleton_of(reference.nominal)
    many = [markers_of(reference.nominal, one.keypoints) for one in drawn]
    ways: dict[str, Callable[[], list[Motion]]] = {
        "together": lambda: solve_markers_together(skeleton, many, sites=sites, device=device),
        "one after another": lambda: [solve_markers(skeleton, one, sites=sites, device=device) for one in many],
    }
    found: dict[str, np.ndarray] = {}
    for label, solved in ways.items():
        solve_markers_together(skeleton, many if label == "together" else many[:1], sites=sites, device=device)
        seconds, motions = [], []
        for _ in range(repeats):
            begin = time.perf_counter()
            motions = solved()
            seconds.append(time.perf_counter() - begin)
        quaternions = np.concatenate([motion.rotations for motion in motions])
        matrices = Rotation.from_quat(quaternions.reshape(-1, 4), scalar_first=True).as_matrix()
        found[label] = matrices.reshape(*quaternions.shape[:2], 3, 3)
        true = np.concatenate([one.rotations for one in drawn])
        error = reference.metrics.mpjas(found[label], true, list(reference.evaluated)).mean()
        speed = CLIPS * CLIP / min(seconds)
        print(f"{CLIPS} clips of {CLIP} frames {label:18}{speed:10.0f} frames a second   MPJAS {error:.2f}", flush=True)
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
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where clips are solved together")
    parser.add_argument("--together-only", action="store_true", help="solve many clips together, and no more")
    options = parser.parse_args()
    try:
        device, _ = resolve_device(options.device)
        reference = Reference.load(options.reference)
        print(describe(device))
        if options.together_only:
            print_together(reference, options.seed, device, options.repeats)
            return 0
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
        print_together(reference, options.seed, device, options.repeats)
    except Video2RigError as error:
        print(f"ik_speed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
