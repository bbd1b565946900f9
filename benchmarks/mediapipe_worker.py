# SPDX-License-Identifier: GPL-3.0-or-later
"""mediapipe's own `solutions.pose` over a video, for benchmarks/detection.py; runs in an environment of its own.

    python mediapipe_worker.py

Reads lines `VIDEO<tab>RESULT.npz` from the standard input, and answers each with a line of JSON: frames, seconds of the
clock and of the processor, without decoding. The result holds positions [T,33,2] px of the video and world [T,33,3] m,
NaN where nobody was found. Model complexity 1 in video mode, as it smooths by itself.
"""

from __future__ import annotations

import json
import sys
import time
import types

import cv2
import numpy as np

sys.modules.setdefault("sounddevice", types.ModuleType("sounddevice"))  # for audio, which nothing here uses
import mediapipe as mp  # noqa: E402  # pyright: ignore[reportMissingImports]

LANDMARKS = 33


def main() -> None:
    """Answer until the input ends."""
    print(json.dumps({"mediapipe": mp.__version__}), flush=True)
    for line in sys.stdin:
        video, result = line.rstrip("\n").split("\t")
        frames = read(video)
        arrays, facts = run(frames)
        np.savez(result, **arrays)
        print(json.dumps(facts), flush=True)


def read(video: str) -> list[np.ndarray]:
    """All frames, RGB."""
    capture, frames = cv2.VideoCapture(video), []
    while True:
        there, frame = capture.read()
        if not there:
            return frames
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))


def run(frames: list[np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Landmarks of all frames, and how long they took."""
    height, width = frames[0].shape[:2]
    positions = np.full((len(frames), LANDMARKS, 2), np.nan)
    world = np.full((len(frames), LANDMARKS, 3), np.nan)
    with mp.solutions.pose.Pose(static_image_mode=False, model_complexity=1, smooth_landmarks=True) as pose:
        clock, processor = time.perf_counter(), time.process_time()
        for k, frame in enumerate(frames):
            seen = pose.process(frame)
            if seen.pose_landmarks is not None:
                positions[k] = [(mark.x * width, mark.y * height) for mark in seen.pose_landmarks.landmark]
                world[k] = [(mark.x, mark.y, mark.z) for mark in seen.pose_world_landmarks.landmark]
        clock, processor = time.perf_counter() - clock, time.process_time() - processor
    # its pixels are places in the frame, ours are indices
    return {"positions": positions - 0.5, "world": world}, {
        "frames": len(frames),
        "seconds": clock,
        "processor": processor,
    }


if __name__ == "__main__":
    main()
