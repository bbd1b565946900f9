# SPDX-License-Identifier: GPL-3.0-or-later
"""Film people in mocap, run the detector over the pictures, and keep what it gets wrong.

    python -m models.kinematic_regressor.rendered.make cmu_train.npz

Resumes where it was stopped: a file a clip in the build folder, all of them joined at the end. README.md beside this
file says what it needs; `models.kinematic_regressor.detector_errors` documents and reads what it writes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch

from models.kinematic_regressor.detector_errors import FPS, NAMES, facing
from models.kinematic_regressor.mocap import Clips, load_clips
from video2rig.detection import BlazePose, PeopleStream
from video2rig.keypoints import KEYPOINT_SETS, sites
from video2rig.person import PersonChoice

from .body import random_body
from .scene import Scene
from .views import posed, random_camera, random_frames

FRAMES = 96
SIZES = ((480, 640), (640, 480))
ERRORS = Path(__file__).parents[1] / "detector_errors.npz"
_OURS = [KEYPOINT_SETS["blazepose_33"].index(name) for name in NAMES]
_SIDES = [NAMES.index(f"{side}_{joint}") for joint in ("hip", "shoulder") for side in ("left", "right")]


def film_clip(clips: Clips, detector: BlazePose, number: int, seed: int) -> dict[str, np.ndarray]:
    """Film one clip of T frames; returns the arrays of `detector_errors.py` for it."""
    rng = np.random.default_rng([seed, number])
    clip, frames = random_frames(clips, FRAMES, rng)
    film = posed(clips, frames, random_body(rng))
    camera = random_camera(film, SIZES, rng)
    scene = Scene(film.body, camera, film.floor, rng)
    stream = PeopleStream(detector, FPS, PersonChoice.parse("largest"))
    for frame in range(len(frames)):
        stream.push(scene.picture(film.vertices(frame))[None])
    stream.finish()
    positions, confidence, world = _followed(stream, len(frames))

    joints, offsets = sites(film.body.skeleton, NAMES)
    points = film.positions[:, joints] + np.einsum("tkij,kj->tki", film.rotations[:, joints], offsets)
    pixels, points = camera.project(points), points @ camera.rotation.T + camera.translation
    left_hip, right_hip, left_shoulder, right_shoulder = (points[:, side] for side in _SIDES)
    hips = (left_hip + right_hip) / 2
    across = torch.tensor(left_hip + left_shoulder - right_hip - right_shoulder)
    stature = film.body.stature * camera.focal / hips[:, 2]
    return {
        "truth": (pixels - pixels[:, _SIDES[:2]].mean(axis=1, keepdims=True)) / stature[:, None, None],
        "error": (positions - pixels) / stature[:, None, None],
        "world_error": world - (points - hips[:, None]),
        "confidence": confidence,
        "detected": (confidence > 0).any(axis=1),
        "inside": ((pixels > 0) & (pixels < [camera.width, camera.height])).all(axis=-1),
        "stature": stature,
        "facing": facing(across, torch.tensor(hips)).numpy(),
        "elevation": np.array(-np.arcsin(camera.rotation[2, 2])),
        "field_of_view": np.array(2 * np.arctan(max(SIZES[0]) / 2 / camera.focal)),
        "first_frame": np.array(frames[0] - clips.start[clip]),
        "name": np.array(clips.name[clip]),
        "action": np.array(clips.action[clip]),
    }


def _followed(stream: PeopleStream, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions, confidence and world landmarks of the one person in a film; NaN and 0 where nobody is found."""
    unknown = np.full((count, len(_OURS), 3), np.nan, np.float32)
    people = stream.people()
    if not people or people[0].world is None:
        return unknown[..., :2], np.zeros(unknown.shape[:2], np.float32), unknown
    return people[0].positions[:, _OURS], people[0].confidence[:, _OURS], people[0].world[:, _OURS]


def join(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Put the arrays of clips after one another, small enough to be kept."""
    of_frames = ("truth", "error", "world_error", "confidence", "detected", "inside", "stature", "facing")
    joined = {key: np.concatenate([part[key] for part in parts]) for key in of_frames}
    joined |= {key: np.stack([part[key] for part in parts]) for key in parts[0] if key not in of_frames}
    for key in ("truth", "error", "world_error", "stature"):
        joined[key] = np.nan_to_num(joined[key]).astype(np.float16)
    for key in ("facing", "elevation", "field_of_view"):
        joined[key] = joined[key].astype(np.float32)
    joined["confidence"] = np.round(joined["confidence"] * 255).astype(np.uint8)
    return joined | {"length": np.array([len(part["facing"]) for part in parts]), "keypoints": np.array(NAMES)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Film people in mocap and keep the detector's errors.")
    parser.add_argument("mocap", type=Path, help="cmu_train.npz")
    parser.add_argument("--clips", type=int, default=120, help=f"of {FRAMES} frames")
    parser.add_argument("--build", type=Path, default=Path("build/rendered"), help="folder of the clips")
    parser.add_argument("--out", type=Path, default=ERRORS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    clips, detector = load_clips(options.mocap), BlazePose.load("cpu")
    options.build.mkdir(parents=True, exist_ok=True)
    files = [options.build / f"{options.seed}_{number:04d}.npz" for number in range(options.clips)]
    for number, file in enumerate(files):
        if file.exists():
            continue
        arrays = film_clip(clips, detector, number, options.seed)
        unfinished = file.with_suffix(".part")
        with unfinished.open("wb") as stream:
            np.savez_compressed(stream, **arrays)
        unfinished.replace(file)
        print(f"clip {number + 1} of {options.clips}: {arrays['action']}, {len(arrays['facing'])} frames", flush=True)
    parts = []
    for file in files:
        with np.load(file, allow_pickle=False) as data:
            parts.append(dict(data))
    np.savez_compressed(options.out, **join(parts))


if __name__ == "__main__":
    main()
