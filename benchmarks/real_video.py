# SPDX-License-Identifier: GPL-3.0-or-later
"""Accuracy on real video: four views of a balancing trial (Pose2Sim), beside the detector's own 3D landmarks.

    python benchmarks/real_video.py [--shared ../shared] [--cameras cam01 cam03 cam04] [--device auto]

Each view is solved by itself, as one camera, with its calibrated focal length and nothing else of the calibration.
Scores are those of the reference tool beside the data (its README says how they are defined): RMSE of 3-point angles
in degrees, mean of right and left, and millimetres from the mid-hip. The reference itself is no better than 4 to 15
degrees, depending on the joint.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
import tempfile
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
from environment import describe

from video2rig.formats.joints import write_joints
from video2rig.frames import open_video
from video2rig.pipeline import Backend, Pipeline
from video2rig.settings import Settings
from video2rig.take import Take

CLIP = "balancing"
ANGLES = ("knee", "hip3", "elbow", "ankle", "shoulder")


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared")
    parser.add_argument("--cameras", nargs="+", default=["cam01", "cam02", "cam03", "cam04"])
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    video = options.shared / "data" / "video"
    if not video.is_dir():
        print(f"real_video: there is no {video}; --shared names the folder that holds data/video", file=sys.stderr)
        return 1
    scoring = _load(options.shared / "reference" / "real_video" / "evaluate.py")
    warnings.filterwarnings("ignore", category=RuntimeWarning)  # frames without a reference are NaN
    truth = np.load(video / "truth_pose2sim_balancing.npz")
    backend = Backend(options.device)
    print(describe(backend.device))
    print(f"{'':28}" + "".join(f"{name:>10}" for name in (*ANGLES, "MPJPE*", "PA-MPJPE", "accel")))
    rows: dict[str, list[list[float]]] = {"detector": [], "video2rig": []}
    for camera in options.cameras:
        focal = float(truth[f"cam_{camera}_K"][0, 0])
        take = solve(video / "pose2sim" / "single" / f"{camera}.mp4", focal, backend)
        for name, score in (("detector", score_detector), ("video2rig", score_take)):
            row = _row(score(scoring, take, camera))
            print(_line(f"{camera} {name}", row), flush=True)
            if camera != "cam02":
                rows[name].append(row)
    for name, scored in rows.items():
        if scored:
            print(_line(f"mean of the rest {name}", np.mean(scored, axis=0).tolist()))
            print(_line(f"worst {name}", np.max(scored, axis=0).tolist()))
    print("* after one scale for the clip. In cam02 the detector swaps left and right in about a third of the frames.")
    return 0


def solve(path: Path, focal: float, backend: Backend) -> Take:
    """Solve a video with a known focal length, pixels."""
    source = open_video(path)
    field_of_view = 2 * math.atan(max(source.info.width, source.info.height) / 2 / focal)
    pipeline = Pipeline(Settings(field_of_view=field_of_view), source.info.facts(), backend)
    pipeline.push_all(source)
    return pipeline.solve()[0]


def score_take(scoring: ModuleType, take: Take, camera: str) -> dict:
    """Score what was solved, through the file that ``video2rig joints`` writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "joints.npz"
        write_joints(take, path)
        return scoring.evaluate(str(path), CLIP, camera)


def score_detector(scoring: ModuleType, take: Take, camera: str) -> dict:
    """Score the 3D landmarks of the detector as they are."""
    names = take.keypoints.names
    order = [names.index(_keypoint(joint)) for joint in scoring.JALL]
    world = take.keypoints.world
    assert world is not None
    prediction = ({}, take.motion.times, world[:, order], take.keypoints.positions[:, order])
    return scoring.evaluate(prediction, CLIP, camera)


def _keypoint(joint: str) -> str:
    """Return the keypoint's name for a joint of the reference: RBigToe is right_big_toe."""
    side = "right_" if joint.startswith("R") else "left_"
    return side + ("big_toe" if joint[1:] == "BigToe" else joint[1:].lower())


def _row(score: dict) -> list[float]:
    millimetres = [score["mpjpe_scaled"], score["pa_frame"]]
    return [score[f"kp_{angle}"][0] for angle in ANGLES] + millimetres + [score["accel_err"] / 1000]


def _line(label: str, row: list[float]) -> str:
    return f"{label:28}" + "".join(f"{value:10.1f}" for value in row)


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("real_video_scoring", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main())
