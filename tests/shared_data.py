# SPDX-License-Identifier: GPL-3.0-or-later
"""Test data: real videos beside a development checkout, the project's own sample, drawn frames, weights."""

from __future__ import annotations

import functools
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
SAMPLE = ROOT / "tests" / "sample" / "sample.mp4"

needs_shared = pytest.mark.skipif(
    not (SHARED / "data" / "video").is_dir(), reason=f"the real videos are not at {SHARED / 'data' / 'video'}"
)


@functools.cache
def blazepose_problem() -> str | None:
    """Why the BlazePose weights cannot be had, or None."""
    from video2rig import weights

    try:
        weights.fetch("blazepose")
    except weights.WeightsError as error:
        return str(error)
    return None


def blazepose_files() -> dict[str, Path]:
    """The weights' files; skips the test where they cannot be had."""
    from video2rig import weights

    problem = blazepose_problem()
    if problem is not None:
        pytest.skip(problem)
    return weights.fetch("blazepose")


def read_video(path: Path, count: int, start: int = 0) -> np.ndarray:
    """Frames [count,H,W,3] uint8 RGB."""
    capture = cv2.VideoCapture(str(path))
    capture.set(cv2.CAP_PROP_POS_FRAMES, start)
    frames = []
    while len(frames) < count:
        there, frame = capture.read()
        assert there, f"{path} has too few frames"
        frames.append(np.ascontiguousarray(frame[:, :, ::-1]))
    capture.release()
    return np.stack(frames)


def people_videos() -> list[Path]:
    """Videos with a person in them that are here: real ones, and the project's sample."""
    shared = SHARED / "data" / "video" / "pose2sim" / "single"
    return [path for path in (shared / "cam01.mp4", shared / "cam04.mp4", SAMPLE) if path.is_file()]


def noise_frames(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Blurred noise [count,height,width,3] uint8: texture at several scales, nobody in it."""
    random = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        coarse = random.integers(0, 256, (max(1, height // 16), max(1, width // 16), 3), dtype=np.uint8)
        fine = random.integers(0, 64, (height, width, 3), dtype=np.uint8)
        frames.append(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) // 2 + fine)
    return np.stack(frames)
