# SPDX-License-Identifier: GPL-3.0-or-later
"""Accuracy of the temporal IK: the reference tool's protocol with rivals beside it, and real motion.

    python benchmarks/ik_accuracy.py [--seeds 100 101] [--opensim-python PYTHON] [--kinepose CHECKOUT] [--quick]
    python ../shared/reference/position_ik/evaluate.py --solver benchmarks.ik_accuracy:solve --seed 100

MPJAS: mean angle between true and solved local rotations over the protocol's 14 joints, degrees, mean over sequences.
Sequences are drawn anew for every seed. "Lengths unknown": the solver gets the nominal chain, and the subject's bones
differ from it by up to 18 %; rivals, which estimate no lengths, get it scaled by mean distances between keypoints.
"True": all get the subject's own. The noise level is never told. A sequence is left in a local minimum if, without
noise and with true lengths, a keypoint of a limb is off by more than 30 mm in any frame.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))  # also when the reference tool imports this as benchmarks.ik_accuracy

import numpy as np
import real_motion
import torch
from environment import describe
from ik_rivals import KINEPOSE_QUOTED, OPENSIM_QUOTED, QUOTED, InProcess, KinePose, OpenSim, Rival, scaled_chain
from imvip22 import Reference, Sequence, markers_of, sequences, skeleton_of
from scipy.spatial.transform import Rotation

from video2rig.errors import Video2RigError
from video2rig.ik import solve_markers
from video2rig.keypoints import KEYPOINT_SETS
from video2rig.markers import Markers
from video2rig.paper_human import paper_human, paper_sites

LOST = 0.030
"""A limb that is off by more than this, metres, has been left in a local minimum."""

_LIMBS = {"right leg": (1, 2, 3), "left leg": (4, 5, 6), "left arm": (10, 11, 12), "right arm": (13, 14, 15)}


class Setting(NamedTuple):
    """A row of the protocol's table: noise in millimetres, goals in degrees for all joints and for the legs."""

    kind: str
    noise: float
    true_lengths: bool
    goal: str

    def label(self) -> str:
        """Return the row's name."""
        return f"{self.kind}, {self.noise:.0f} mm, lengths {'true' if self.true_lengths else 'unknown'}"


SETTINGS = (
    Setting("paper", 0, False, "1.2 / 0.7"),
    Setting("paper", 10, False, "2.9"),
    Setting("paper", 0, True, "0.9 / 0.5"),
    Setting("paper", 10, True, "2.5"),
    Setting("long", 0, True, "1.5"),
    Setting("long", 10, True, "3.3"),
)


def solve(chain: Any, keypoints: np.ndarray) -> np.ndarray:
    """Solve for the reference tool: keypoints [T, 16, 3] in metres become local rotations [T, 19, 3, 3].

    Lengths are estimated where the chain is the tool's nominal one, which says nothing of the subject. Any other chain
    (``--true-lengths``) was measured on the subject, and is believed.
    """
    nominal = np.array_equal(chain.t0, type(chain)().t0)
    return solve_chain(chain, keypoints, estimate_lengths=nominal)


def solve_chain(chain: Any, keypoints: np.ndarray, estimate_lengths: bool) -> np.ndarray:
    """Return local rotations [T, 19, 3, 3] of a chain from its keypoints [T, 16, 3], metres."""
    skeleton, sites = skeleton_of(chain)
    markers = markers_of(chain, keypoints)
    motion = solve_markers(skeleton, markers, sites=sites, estimate_lengths=estimate_lengths)
    shape = motion.rotations.shape
    rotations = Rotation.from_quat(motion.rotations.reshape(-1, 4), scalar_first=True)
    return rotations.as_matrix().reshape(*shape[:2], 3, 3)


def warm_up() -> None:
    """Solve a few frames of another body, so that what is compiled on first use is not timed."""
    body = paper_human()
    joints, offsets = paper_sites(body)
    rest = body.rest_matrices()[joints]
    points = rest[:, :3, 3] + np.einsum("kij,kj->ki", rest[:, :3, :3], offsets)
    names = KEYPOINT_SETS["h36m_17"]
    frames = 12
    still = Markers(names, np.tile(points, (frames, 1, 1)), np.ones((frames, len(names))), np.arange(frames) / 30)
    for estimate_lengths in (False, True):
        solve_markers(body, still, sites=(joints, offsets), estimate_lengths=estimate_lengths)


def score(reference: Reference, rival: Rival, drawn: list[Sequence], chains: list[Any]) -> np.ndarray:
    """Return each sequence's mean error per evaluated joint [N, 14], degrees; the solver is given these chains."""
    answer = rival.solve([(chain, one.keypoints) for chain, one in zip(chains, drawn, strict=True)])
    errors = [
        reference.metrics.mpjas(rotations, one.rotations, list(reference.evaluated)).mean(axis=0)
        for rotations, one in zip(answer.rotations, drawn, strict=True)
    ]
    return np.array(errors)


def lost_limbs(reference: Reference, one: Sequence, rotations: np.ndarray) -> list[str]:
    """Return the limbs that solved rotations leave off by more than :data:`LOST`, with the distance."""
    solved = reference.chain.fk(one.chain, rotations)[2]
    off = np.linalg.norm(solved - one.keypoints, axis=-1)
    worst = {limb: off[:, list(points)].max() for limb, points in _LIMBS.items()}
    return [f"{limb} {1000 * value:.0f} mm" for limb, value in worst.items() if value > LOST]


def print_protocol(reference: Reference, rivals: list[tuple[Rival, int]], seeds: list[int], count: int) -> None:
    """Print the protocol's table, a line for every solver and setting, then each joint's error of the first solver."""
    legs = [reference.evaluated.index(joint) for joint in reference.legs]
    names = [reference.nominal.names[joint] for joint in reference.evaluated]
    per_joint = {}
    ours = np.empty(0)
    print(f"\nMPJAS, degrees; seeds {', '.join(map(str, seeds))}")
    head = ("all", "legs", "median", "worst", "sequences")
    print(f"{'':32}{'':16}" + "".join(f"{name:>10}" for name in head) + "   goal, all / legs")
    for setting in SETTINGS:
        drawn = [one for seed in seeds for one in sequences(reference, setting.kind, setting.noise, seed, count)]
        for number, (rival, limit) in enumerate(rivals):
            if limit and setting.kind == "long":
                continue  # minutes a sequence
            chosen = np.unique(np.linspace(0, len(drawn) - 1, limit or len(drawn)).round().astype(int))
            some = [drawn[index] for index in chosen]
            if setting.true_lengths:
                chains = [one.chain for one in some]
            elif number == 0:
                chains = [reference.nominal for _ in some]
            else:
                chains = [scaled_chain(reference.nominal, one.keypoints) for one in some]
            errors = score(reference, rival, some, chains)
            goal = setting.goal if number == 0 else ""
            print(_row(setting, rival.name, errors, legs, goal), flush=True)
            if number == 0:
                ours = errors
                per_joint[setting.label()] = errors.mean(axis=0)
            elif limit:
                print(_row(setting, f"{rivals[0][0].name}, same", ours[chosen], legs), flush=True)
    print(f"\nper joint, {rivals[0][0].name}")
    print(f"{'':32}" + "".join(f"{name:>10}" for name in names))
    for label, errors in per_joint.items():
        print(f"{label:32}" + "".join(f"{value:10.2f}" for value in errors))


def _row(setting: Setting, name: str, errors: np.ndarray, legs: list[int], goal: str = "") -> str:
    own = errors.mean(axis=1)
    values = (own.mean(), errors[:, legs].mean(), np.median(own), own.max())
    return f"{setting.label():32}{name:16}" + "".join(f"{value:10.2f}" for value in values) + f"{len(own):10d}   {goal}"


def print_minima(reference: Reference, rivals: list[tuple[Rival, int]], seeds: list[int]) -> None:
    """Print how many sequences each solver leaves in a local minimum, and which."""
    drawn = [(seed, one) for seed in seeds for one in sequences(reference, "paper", 0.0, seed)]
    print(f"\nleft in a local minimum, paper, 0 mm, lengths true, seeds {seeds[0]} to {seeds[-1]} (goal: none)")
    for rival, limit in rivals:
        if limit:
            continue
        answer = rival.solve([(one.chain, one.keypoints) for _, one in drawn])
        lost = {
            f"{one.name} ({', '.join(limbs)})"
            for (_, one), rotations in zip(drawn, answer.rotations, strict=True)
            if (limbs := lost_limbs(reference, one, rotations))
        }
        shown = sorted(lost)[:8] + (["..."] if len(lost) > 8 else [])
        print(f"{rival.name:16}{len(lost):4d} of {len(drawn)}  {'; '.join(shown)}", flush=True)


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102])
    parser.add_argument("--minima-seeds", type=int, default=10, help="sets of 24 sequences, from the first seed on")
    parser.add_argument("--reference", type=Path, help="folder of the reference tool, with evaluate.py")
    parser.add_argument("--mocap", type=Path, help="folder of cmu_val.npz")
    parser.add_argument("--opensim-python", type=Path, help="an interpreter that has opensim 4.6 from PyPI")
    parser.add_argument("--kinepose", type=Path, help="a checkout of KevGildea/KinePose")
    parser.add_argument(
        "--kinepose-sequences", type=int, default=6, help="sequences a row for it, spread over the set: a minute each"
    )
    parser.add_argument("--solver", help="module:function, in place of video2rig's, on the reference protocol")
    parser.add_argument("--quick", action="store_true", help="about a minute: one seed, few sequences, short clips")
    options = parser.parse_args()
    try:
        reference = Reference.load(options.reference)
        rivals = [_first(options.solver)]
        if options.opensim_python:
            rivals.append((OpenSim(options.opensim_python, reference), 0))
        if options.kinepose:
            rivals.append((KinePose(options.kinepose, reference), options.kinepose_sequences))
        print(describe(torch.device("cpu")))
        quick = options.quick
        seeds = options.seeds[:1] if quick else options.seeds
        print_protocol(reference, rivals, seeds, count=2 if quick else 0)
        if not options.opensim_python:
            print(f"OpenSim 4.6, quoted from {QUOTED}: {OPENSIM_QUOTED}")
        print(f"KinePose, quoted from {QUOTED}: {KINEPOSE_QUOTED}")
        number = 1 if quick else options.minima_seeds
        print_minima(reference, rivals, list(range(options.seeds[0], options.seeds[0] + number)))
        real_motion.print_table(options.mocap, seed=options.seeds[0], quick=quick)
    except Video2RigError as error:
        print(f"ik_accuracy: {error}", file=sys.stderr)
        return 1
    return 0


def _first(solver: str | None) -> tuple[Rival, int]:
    """Return the solver that the table is about: ours, or the one named."""
    function: Callable[[Any, np.ndarray], np.ndarray] = solve
    if solver:
        module, _, name = solver.partition(":")
        sys.path.insert(0, ".")
        function = getattr(importlib.import_module(module), name)
    return InProcess(solver.partition(":")[0] if solver else "video2rig", function), 0


warm_up()  # on import: the reference tool starts its clock before the first call

if __name__ == "__main__":
    sys.exit(main())
