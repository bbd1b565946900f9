# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluate the regression network on subjects that it never saw.

    python -m models.kinematic_regressor.evaluate --mocap FOLDER

Body and focal length are known, or neither is; three seeds of cameras, bodies and noise.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

from video2rig.camera import Camera
from video2rig.errors import Video2RigError
from video2rig.kinematics import KinematicChain
from video2rig.regression import Regression, Regressor
from video2rig.regression.hypotheses import most_plausible
from video2rig.skeleton import Skeleton

from . import metrics
from .mocap import load_clips
from .protocol import TestSequence, sequences

WEIGHTS = Path(__file__).with_name("weights.safetensors")
GUESSED_FIELD_OF_VIEW = np.radians(55.0)


def predicted(regressor: Regressor, sequence: TestSequence, known: bool = True) -> tuple[Regression, Camera]:
    """Return what the network says of a sequence, and the camera that it was told."""
    width, height = sequence.camera.width, sequence.camera.height
    camera = sequence.camera if known else Camera.from_field_of_view(width, height, GUESSED_FIELD_OF_VIEW)
    body = sequence.body if known else None
    return regressor.predict(sequence.keypoints, camera, body, focal_known=known), camera


def placed(skeleton: Skeleton, rotation: np.ndarray) -> np.ndarray:
    """Return the joints [T, J, 3] of a body with local rotations [T, J, 3, 3], from its root, metres."""
    local = torch.tensor(rotation)
    return KinematicChain(skeleton).forward(local, torch.zeros(len(local), 3, dtype=local.dtype))[0].numpy()


def score(tests: list[TestSequence], rotations: list[np.ndarray] | None, joints: list[np.ndarray]) -> dict[str, float]:
    """Return the means over all frames: millimetres, degrees, metres a second squared.

    Args:
        tests: Sequences. rotations: [T, J, 3, 3] of each, or None where none are said. joints: [T, J, 3] of each.
    """
    both = list(zip(joints, tests, strict=True))
    errors = [metrics.joint_errors(own, test.joints) for own, test in both]
    aligned = [metrics.aligned_errors(own, test.joints) for own, test in both]
    accelerations = [metrics.acceleration_errors(own, test.joints).mean() for own, test in both]
    table = {
        "MPJPE": 1e3 * float(np.concatenate(errors).mean()),
        "MPJPE of the worst sequence": 1e3 * max(float(own.mean()) for own in errors),
        "PA-MPJPE": 1e3 * float(np.concatenate(aligned).mean()),
        "bone length deviation": 1e3 * float(np.mean([metrics.length_deviation(own, test.body) for own, test in both])),
        "acceleration": float(np.mean(accelerations)),
    }
    return table if rotations is None else table | _of_rotations(tests, rotations)


def _of_rotations(tests: list[TestSequence], rotations: list[np.ndarray]) -> dict[str, float]:
    """Return the means over all frames, degrees."""
    skeleton = tests[0].body
    moving = metrics.moving_joints(skeleton)
    rotation, truth = np.concatenate(rotations), np.concatenate([test.rotation for test in tests])
    vectors, twist = metrics.rotation_vectors(rotation, truth), metrics.twist_errors(rotation, truth)
    angles = np.linalg.norm(vectors, axis=-1)
    trust = np.concatenate([test.trust for test in tests])[:, moving]
    table = {
        "root": angles[:, 0].mean(),
        "MPJAS": angles[:, moving].mean(),
        "MPJAS without offsets": metrics.without_offsets(vectors[:, moving]).mean(),
        "MPJAS of trusted joints": np.average(angles[:, moving], weights=trust),
    }
    for name, role in metrics.TWIST_ROLES.items():
        of_role = [joint for joint, own in enumerate(skeleton.roles) if own.endswith(role)]
        table[f"twist of the {name}"] = twist[:, of_role].mean()
    return {name: float(np.degrees(value)) for name, value in table.items()}


def main() -> int:
    """Print the tables from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mocap", type=Path, required=True, help="folder of cmu_val.npz")
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        print_tables(options.mocap, options.weights, options.seeds, options.device)
    except Video2RigError as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    return 0


def print_tables(mocap: Path, weights: Path, seeds: list[int], device: str = "cpu") -> None:
    """Print the errors of weights, means over seeds of cameras, bodies and noise.

    Raises:
        RegressionError: There are no such weights.
        MocapError: There is no motion capture.
    """
    regressor = Regressor.load(weights, device, with_alternatives=True)
    clips = load_clips(mocap / "cmu_val.npz")
    for known in (True, False):
        tables, frames, seconds = [], 0, 0.0
        for seed in seeds:
            tests = sequences(clips, seed)
            begin = time.perf_counter()
            said = [predicted(regressor, test, known) for test in tests]
            seconds += time.perf_counter() - begin
            frames += sum(len(regression.rotation) for regression, _ in said)
            bodies = [test.body if known else clips.skeleton for test in tests]
            answers = [regression.rotation for regression, _ in said]
            joints = [placed(body, rotation) for body, rotation in zip(bodies, answers, strict=True)]
            table = score(tests, answers, joints)
            chosen = [
                most_plausible(regression, test.keypoints, camera, body).rotation
                for (regression, camera), test, body in zip(said, tests, bodies, strict=True)
            ]
            joints = [placed(body, rotation) for body, rotation in zip(bodies, chosen, strict=True)]
            table["MPJPE, hypotheses chosen"] = score(tests, chosen, joints)["MPJPE"]
            tables.append(table)
        print(
            f"body and focal length {'known' if known else 'unknown'}: {frames} frames, {frames / seconds:.0f} a second"
        )
        for name in tables[0]:
            values = [table[name] for table in tables]
            print(f"  {name:28s} {np.mean(values):7.2f}   seeds {min(values):.2f} to {max(values):.2f}")


if __name__ == "__main__":
    sys.exit(main())
