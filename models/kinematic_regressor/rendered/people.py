# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures of single poses with their joints, for the image regressor.

    python -m models.kinematic_regressor.rendered.people cmu_train.npz people.npz

Arrays of the file, N pictures:
    images [N, 224, 224, 3] uint8 RGB: a square around the person, its border repeated where it leaves the picture.
    joints [N, 17, 3] metres, camera axes, relative to the pelvis: the points of ``h36m_17`` with hips at the joints'
    centres and the spine half way between pelvis and neck, as `video2rig.paper_human` has them; names [17].
    pelvis [N, 3] metres, camera axes. intrinsics [N, 3]: focal length, principal point x and y, pixels of `images`.
    rotations [N, 22, 3, 3]: global frames of the default human's bones, camera axes. root_up [N, 3]: the world's Z.
    subject [N]: which body; offset [S, 22, 3] its skeleton's, metres. action [N].
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch

from models.kinematic_regressor.mocap import Clips, load_clips
from video2rig.camera import Camera
from video2rig.keypoints import KEYPOINT_SETS, sites

from .body import random_body
from .scene import Scene
from .views import Posed, posed, random_camera, random_frames

SIZE = 224
PICTURE = ((320, 320),)
MARGIN = (1.15, 1.5)  # edge of the square in units of the person's larger extent
NAMES = KEYPOINT_SETS["h36m_17"]


def paper_points(film: Posed) -> np.ndarray:
    """Return the 17 points [T, 17, 3] in the world, metres."""
    skeleton = film.body.skeleton
    joints, offsets = sites(skeleton, NAMES)
    points = film.positions[:, joints] + np.einsum("tkij,kj->tki", film.rotations[:, joints], offsets)
    for side in ("left", "right"):
        points[:, NAMES.index(f"{side}_hip")] = film.positions[:, skeleton.index(f"{side}_hip")]
    points[:, NAMES.index("spine")] = (points[:, NAMES.index("pelvis")] + points[:, NAMES.index("neck")]) / 2
    return points


def square(camera: Camera, pixels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Return the corner [2] and the edge, pixels, of a square around points [K, 2]."""
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    edge = float((high - low).max() * rng.uniform(*MARGIN))
    return (low + high) / 2 + rng.normal(0, 0.03, 2) * edge - edge / 2, edge


def make(clips: Clips, count: int, subjects: int, seed: int) -> dict[str, np.ndarray]:
    """Render `count` pictures of `subjects` bodies; returns the file's arrays."""
    bodies = [random_body(np.random.default_rng([seed, number])) for number in range(subjects)]
    rows: list[tuple[np.ndarray, ...]] = []
    actions = []
    for number in range(count):
        rng = np.random.default_rng([seed, subjects, number])
        subject = number % subjects
        clip, frames = random_frames(clips, 1, rng)
        film = posed(clips, frames, bodies[subject])
        camera = random_camera(film, PICTURE, rng)
        picture = Scene(film.body, camera, film.floor, rng).picture(film.vertices(0))
        points = paper_points(film)[0] @ camera.rotation.T + camera.translation
        corner, edge = square(camera, camera.project(paper_points(film)[0]), rng)
        scale = SIZE / edge
        to_crop = np.array([[scale, 0, -corner[0] * scale], [0, scale, -corner[1] * scale]])
        image = cv2.warpAffine(picture, to_crop, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        centre = (camera.center - corner) * scale
        rows.append((
            image, points - points[0], points[0], np.array([camera.focal * scale, *centre]),
            camera.rotation @ film.rotations[0], camera.rotation[:, 2], np.array(subject),
        ))  # fmt: skip
        actions.append(clips.action[clip])
        if number % 100 == 99:
            print(f"{number + 1} of {count} pictures", flush=True)
    keys = ("images", "joints", "pelvis", "intrinsics", "rotations", "root_up", "subject")
    arrays = dict(zip(keys, map(np.stack, zip(*rows, strict=True)), strict=True))
    arrays = {key: array.astype(np.float32) if array.dtype == np.float64 else array for key, array in arrays.items()}
    offsets = np.stack([body.skeleton.offset for body in bodies])
    return arrays | {"names": np.array(NAMES), "offset": offsets, "action": np.array(actions)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Render single poses for the image regressor.")
    parser.add_argument("mocap", type=Path, help="cmu_train.npz")
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=1500)
    parser.add_argument("--subjects", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    arrays = make(load_clips(options.mocap), options.count, options.subjects, options.seed)
    np.savez_compressed(options.out, **arrays)


if __name__ == "__main__":
    main()
