# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluate the regression network on subjects that it never saw.

    python -m models.kinematic_regressor.evaluate --mocap FOLDER

Body and focal length are known, or neither is; three seeds of cameras, bodies and noise.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

import numpy as np
import torch

from video2rig.camera import Camera
from video2rig.kinematics import KinematicChain
from video2rig.regression import Regression, Regressor
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


def score(tests: list[TestSequence], rotations: list[np.ndarray], joints: list[np.ndarray]) -> dict[str, float]:
    """Return the means over all frames: millimetres, degrees, metres a second squared.

    Args:
        tests: Sequences. rotations: [T, J, 3, 3] of each. joints: [T, J, 3] of each.
    """
    skeleton = tests[0].body
    moving = metrics.moving_joints(skeleton)
    parts = [dataclasses.astuple(_Errors.of(*pair)) for pair in zip(tests, rotations, joints, strict=True)]
    errors = _Errors(*(np.concatenate(part) for part in zip(*parts, strict=True)))
    worst = max(float(np.mean(part[0])) for part in parts)
    trusted = errors.trust[:, moving]
    table = {
        "MPJPE": 1e3 * float(errors.joints.mean()),
        "MPJPE of the worst sequence": 1e3 * worst,
        "PA-MPJPE": 1e3 * float(errors.aligned.mean()),
        "root": np.degrees(float(np.linalg.norm(errors.vectors[:, 0], axis=-1).mean())),
        "MPJAS": np.degrees(float(np.linalg.norm(errors.vectors[:, moving], axis=-1).mean())),
        "MPJAS without offsets": np.degrees(float(metrics.without_offsets(errors.vectors[:, moving]).mean())),
        "MPJAS of trusted joints": np.degrees(
            float(np.average(np.linalg.norm(errors.vectors[:, moving], axis=-1), weights=trusted))
        ),
        "bone length deviation": 1e3
        * float(np.mean([metrics.length_deviation(own, test.body) for own, test in zip(joints, tests, strict=True)])),
        "acceleration": float(
            np.mean(
                [metrics.acceleration_errors(own, test.joints).mean() for own, test in zip(joints, tests, strict=True)]
            )
        ),
    }
    for name, role in metrics.TWIST_ROLES.items():
        of_role = [joint for joint, own in enumerate(skeleton.roles) if own.endswith(role)]
        table[f"twist of the {name}"] = np.degrees(float(errors.twist[:, of_role].mean()))
    return table


@dataclasses.dataclass(frozen=True)
class _Errors:
    """Errors of the frames of one sequence."""

    joints: np.ndarray
    aligned: np.ndarray
    vectors: np.ndarray
    twist: np.ndarray
    trust: np.ndarray

    @classmethod
    def of(cls, test: TestSequence, rotation: np.ndarray, joints: np.ndarray) -> _Errors:
        return cls(
            metrics.joint_errors(joints, test.joints),
            metrics.aligned_errors(joints, test.joints),
            metrics.rotation_vectors(rotation, test.rotation),
            metrics.twist_errors(rotation, test.rotation),
            test.trust,
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mocap", type=Path, required=True, help="folder of cmu_val.npz")
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    regressor = Regressor.load(options.weights, options.device)
    clips = load_clips(options.mocap / "cmu_val.npz")
    for known in (True, False):
        tables, frames, seconds = [], 0, 0.0
        for seed in options.seeds:
            tests = sequences(clips, seed)
            begin = time.perf_counter()
            answers = [predicted(regressor, test, known)[0].rotation for test in tests]
            seconds += time.perf_counter() - begin
            frames += sum(len(rotation) for rotation in answers)
            bodies = [test.body if known else clips.skeleton for test in tests]
            joints = [placed(body, rotation) for body, rotation in zip(bodies, answers, strict=True)]
            tables.append(score(tests, answers, joints))
        print(
            f"body and focal length {'known' if known else 'unknown'}: {frames} frames, {frames / seconds:.0f} a second"
        )
        for name in tables[0]:
            values = [table[name] for table in tables]
            print(f"  {name:28s} {np.mean(values):7.2f}   seeds {min(values):.2f} to {max(values):.2f}")


if __name__ == "__main__":
    main()
