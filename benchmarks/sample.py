# SPDX-License-Identifier: GPL-3.0-or-later
"""Accuracy on the project's own sample, whose true rotations are known.

    python benchmarks/sample.py [--device auto]

MPJPE: mean distance of joints from the truth, root-relative, metres to millimetres; PA-MPJPE after a similarity a
frame. MPJAS: mean angle between true and solved local rotations, degrees; twist is its part about the bone. The
figures are given for the solve as a user gets it (nothing known) and with the true field of view and body height.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np
from environment import describe
from scipy.spatial.transform import Rotation

from video2rig.frames import open_video
from video2rig.keypoints import Keypoints
from video2rig.kinematics import joint_positions
from video2rig.pipeline import Backend, Pipeline
from video2rig.settings import Settings
from video2rig.solving import solve_keypoints
from video2rig.take import Take

SAMPLE = Path(__file__).parents[1] / "tests" / "sample"
TWISTING = ("left_shoulder", "right_shoulder", "left_hip", "right_hip", "left_elbow", "right_elbow")


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    backend = Backend(options.device)
    truth = Take.load(SAMPLE / "sample_truth.npz")
    keypoints, facts = detect(backend)
    known = Settings(
        field_of_view=2 * math.atan(max(truth.camera.width, truth.camera.height) / 2 / truth.camera.focal),
        height=stature(truth),
    )
    print(describe(backend.device))
    seen = keypoints.seen()
    print(f"person found in {seen.sum()} of {len(seen)} frames")
    print(f"{'':44}" + "".join(f"{name:>10}" for name in ("MPJPE", "PA-MPJPE", "worst", "MPJAS", "worst", "twist")))
    default, told = Settings(), "field of view, height known"
    rows = {"as a user gets it": (default, True), told: (known, True)}
    rows |= {f"{label}, no regression": (settings, False) for label, (settings, _) in rows.items()}
    for label, (settings, regressed) in rows.items():
        regressor = backend.regressor if regressed else None
        take = solve_keypoints(keypoints, settings, facts, {}, regressor=regressor)
        print(f"{label:44}" + "".join(f"{value:10.1f}" for value in score(take, truth)))
    print("millimetres; degrees; worst: the worst frame's PA-MPJPE, and the joint with the largest mean angle")
    return 0


def detect(backend: Backend) -> tuple[Keypoints, dict]:
    """Return what the detector sees in the sample, and the facts about the video."""
    source = open_video(SAMPLE / "sample.mp4")
    pipeline = Pipeline(Settings(), source.info.facts(), backend)
    pipeline.push_all(source)
    return pipeline.people()[0].keypoints, source.info.facts()


def stature(take: Take) -> float:
    """Return the standing height of a take's skeleton, metres: from the floor to the top of the head bone."""
    skeleton = take.motion.skeleton
    rest = skeleton.rest_matrices()
    head = skeleton.index("head")
    return float(rest[head, 2, 3] + skeleton.length[head] - min(0.0, rest[:, 2, 3].min()))


def score(take: Take, truth: Take) -> list[float]:
    """Return MPJPE, PA-MPJPE, its worst frame, MPJAS, its worst joint, and the twist error, of a take."""
    mine, _ = joint_positions(take.motion)
    true, _ = joint_positions(truth.motion)
    # compared in the camera's axes: where the world is, is a matter of the estimated floor
    mine = (mine - mine[:, :1]) @ take.camera.rotation.T
    true = (true - true[:, :1]) @ truth.camera.rotation.T
    aligned = np.array([procrustes(a, b) for a, b in zip(mine, true, strict=True)])
    per_frame = np.linalg.norm(aligned - true, axis=-1).mean(axis=1)

    shape = take.motion.rotations.shape
    one, other = (
        Rotation.from_quat(motion.rotations.reshape(-1, 4), scalar_first=True) for motion in (take.motion, truth.motion)
    )
    difference = other.inv() * one
    angle = np.degrees(difference.magnitude()).reshape(shape[:2])[:, 1:]
    quaternion = difference.as_quat()
    twist = np.abs(np.degrees(2 * np.arctan2(quaternion[:, 1], quaternion[:, 3]))).reshape(shape[:2])
    twist = np.minimum(twist, 360 - twist)
    twisting = [take.motion.skeleton.index(role) for role in TWISTING]
    return [
        1e3 * np.linalg.norm(mine - true, axis=-1).mean(),
        1e3 * per_frame.mean(),
        1e3 * per_frame.max(),
        angle.mean(),
        angle.mean(axis=0).max(),
        twist[:, twisting].mean(),
    ]


def procrustes(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return [N, 3] points moved onto the target by the similarity that fits best."""
    a, b = points - points.mean(axis=0), target - target.mean(axis=0)
    u, s, vt = np.linalg.svd(a.T @ b)
    sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    scale = (s * np.diag(sign)).sum() / (a**2).sum()
    return scale * a @ u @ sign @ vt + target.mean(axis=0)


if __name__ == "__main__":
    sys.exit(main())
