# SPDX-License-Identifier: GPL-3.0-or-later
"""Joint angles from markers, beside OpenSim's: a balancing trial from Pose2Sim, without its videos.

    python benchmarks/opensim_angles.py [--shared ../shared] [--opensim-python PYTHON]

The trial's triangulated markers (.trc, from two detectors) are solved on the default human, whose bone lengths are
estimated, and its OpenSim angles are compared with the references of the same trial (.mot, from OpenSim with Pose2Sim's
scaled models), and with OpenSim's own inverse kinematics with Pose2Sim's simple model on the marker file that this
project writes. OpenSim is looked for in this Python, or in the one that --opensim-python names.

Root mean squares in degrees, of right and left together; in brackets after the mean difference is taken out, which
tells the motion apart from where a model puts its zero. The last column is how far the two references of the trial are
from each other.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from environment import describe

from video2rig.angles import JointAngles, joint_angles
from video2rig.formats.mot import read_mot
from video2rig.formats.trc import read_trc, write_trc
from video2rig.human import default_human
from video2rig.ik.from_markers import solve_markers
from video2rig.kinematics import keypoint_positions
from video2rig.markers import Markers

TRIAL = "BalancingTrial_filt_butterworth_0-100"
PAIRED = (
    *("hip_flexion", "hip_adduction", "hip_rotation", "knee_angle", "ankle_angle", "subtalar_angle"),
    *("arm_flex", "arm_add", "arm_rot", "elbow_flex"),
)
MIDLINE = ("pelvis_tilt", "pelvis_list", "pelvis_rotation", "lumbar_extension", "lumbar_bending", "lumbar_rotation")
LUMBAR = {"extension": "Flex_Ext", "bending": "Lat_Bending", "rotation": "axial_rotation"}

_SIDED = ("Hip", "Knee", "Ankle", "BigToe", "SmallToe", "Heel", "Shoulder", "Elbow", "Wrist")
_SNAKE = {"BigToe": "big_toe", "SmallToe": "small_toe"}
KEYPOINT = {"Neck": "neck", "Head": "head_top", "Nose": "nose"} | {
    f"{letter}{part}": f"{side}_{_SNAKE.get(part, part.lower())}"
    for letter, side in (("R", "right"), ("L", "left"))
    for part in _SIDED
}
"""Keypoint names of Pose2Sim's markers (BODY_25B)."""

# anatomical markers of the LSTM set, {} standing for r or L: keypoints lie in the middle of these
_ANATOMICAL = {
    "knee": ("{}_knee_study", "{}_mknee_study"),
    "ankle": ("{}_ankle_study", "{}_mankle_study"),
    "elbow": ("{}_lelbow_study", "{}_melbow_study"),
    "wrist": ("{}_lwrist_study", "{}_mwrist_study"),
    "heel": ("{}_calc_study",),
}


@dataclass(frozen=True)
class Solved:
    """A marker set, solved."""

    angles: JointAngles
    off: float
    """Root mean square distance of markers from the body, metres."""


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared")
    parser.add_argument("--opensim-python", metavar="PYTHON", help="a Python that has the opensim package")
    options = parser.parse_args()
    trial = options.shared / "data" / "video" / "pose2sim"
    if not trial.is_dir():
        print(f"opensim_angles: there is no {trial}; --shared names the folder that holds data/video", file=sys.stderr)
        return 1
    print(describe(torch.device("cpu")))
    references, markers, solved = {}, {}, {}
    for name in ("body25b", "LSTM"):
        references[name] = _with_lumbar(read_mot(trial / "history" / f"{TRIAL}_{name}.mot"))
        markers[name] = read_trc(trial / "history" / f"{TRIAL}_{name}.trc")
        solved[name] = solve(keypoint_markers(markers[name]))
        print(f"{name}: markers off the solved body by {1000 * solved[name].off:.1f} mm RMS")
    pairs: dict[str, tuple[JointAngles, JointAngles]] = {
        "ours 25B-reference": (solved["body25b"].angles, references["body25b"]),
        "ours LSTM-reference": (solved["LSTM"].angles, references["LSTM"]),
    }
    python = options.opensim_python or (sys.executable if importlib.util.find_spec("opensim") else None)
    if python is None:
        print("opensim is not installed here, and --opensim-python names no other Python: without its own run")
    else:
        opensim = _with_lumbar(run_opensim(python, trial, markers["body25b"]))
        pairs["OpenSim 25B-reference"] = (opensim, references["body25b"])
        pairs["ours-OpenSim 25B"] = (solved["body25b"].angles, opensim)
    pairs["references"] = (references["body25b"], references["LSTM"])

    print(f"{'':18}" + "".join(f"{name:>24}" for name in pairs))
    for name in (*MIDLINE, *PAIRED):
        columns = (f"{name}_r", f"{name}_l") if name in PAIRED else (name,)
        print(f"{name:18}" + "".join(f"{_compared(*pair, columns):>24}" for pair in pairs.values()))
    # hips and lumbar spine share what the markers leave open: the tilt of the pelvis
    cells = (_compared(_to_trunk(one), _to_trunk(other), ("r", "l")) for one, other in pairs.values())
    print(f"{'thigh to trunk':18}" + "".join(f"{cell:>24}" for cell in cells))
    print("25B, LSTM: the marker set; -: not in both. Thigh to trunk: hip_flexion less lumbar_extension.")
    return 0


def keypoint_markers(markers: Markers) -> Markers:
    """Return Pose2Sim's markers under this project's keypoint names, anatomical ones in place of a detector's."""
    columns = {KEYPOINT[name]: [name] for name in markers.names if name in KEYPOINT}
    for letter, side in (("r", "right"), ("L", "left")):
        for part, names in _ANATOMICAL.items():
            named = [name.format(letter) for name in names]
            if set(named) <= set(markers.names):
                columns[f"{side}_{part}"] = named
    taken = [[markers.index(name) for name in names] for names in columns.values()]
    return Markers(
        tuple(columns),
        np.stack([markers.positions[:, column].mean(axis=1) for column in taken], axis=1),
        np.stack([markers.confidence[:, column].min(axis=1) for column in taken], axis=1),
        markers.times,
    )


def solve(markers: Markers) -> Solved:
    """Solve markers on the default human."""
    motion = solve_markers(default_human(), markers)
    off = keypoint_positions(motion, markers.names) - markers.positions
    return Solved(joint_angles(motion), float(np.sqrt(np.nanmean((off**2).sum(axis=-1)))))


def run_opensim(python: str, trial: Path, markers: Markers) -> JointAngles:
    """Return the angles of OpenSim's inverse kinematics on the marker file that this project writes."""
    with tempfile.TemporaryDirectory() as folder:
        written, out = Path(folder) / "markers.trc", Path(folder) / "angles.mot"
        write_trc(markers, written)
        models = [trial / "Model_Pose2Sim_simple.osim", trial / "blender_examples" / "Pose2Sim_model.osim"]
        script = Path(__file__).with_name("opensim_ik.py")
        program = shutil.which(python)
        if program is None:
            raise SystemExit(f"opensim_angles: there is no program {python}; --opensim-python names a Python")
        command = [os.path.abspath(program), *(str(path.resolve()) for path in (script, *models, written, out))]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder)  # OpenSim leaves a log where it runs
        if done.returncode:
            raise SystemExit(f"opensim_angles: {python} failed:\n{done.stderr[-2000:]}")
        lines = done.stdout.splitlines()
        print(*(line for line in lines if line.startswith(("OpenSim", "markers"))), sep=": ")
        return read_mot(out)


def _with_lumbar(angles: JointAngles) -> JointAngles:
    """Return a table of a lumbar model with the sums over its vertebrae as lumbar angles (they are small there)."""
    sums = {
        f"lumbar_{ours}": sum(angles[name] for name in angles.names if name.endswith(f"_{theirs}"))
        for ours, theirs in LUMBAR.items()
    }
    values = np.column_stack([angles.values, *sums.values()])
    return JointAngles((*angles.names, *sums), values, angles.times)


def _to_trunk(angles: JointAngles) -> JointAngles:
    """Return how far the thighs are flexed from the trunk."""
    flexion = [angles[f"hip_flexion_{side}"] - angles["lumbar_extension"] for side in "rl"]
    return JointAngles(("r", "l"), np.stack(flexion, axis=1), angles.times)


def _compared(one: JointAngles, other: JointAngles, names: tuple[str, ...]) -> str:
    if not set(names) <= set(one.names) & set(other.names):
        return "-"
    difference = np.degrees([np.interp(other.times, one.times, one[name]) - other[name] for name in names])
    difference -= 360 * np.round(difference.mean(axis=1, keepdims=True) / 360)
    spread = difference - difference.mean(axis=1, keepdims=True)
    return f"{np.sqrt((difference**2).mean()):.1f} ({np.sqrt((spread**2).mean()):.1f})"


if __name__ == "__main__":
    sys.exit(main())
