# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory over a long video: `video2rig solve` in a process of its own, watched from outside.

    python benchmarks/memory.py [--minutes 20] [--fps 30] [--device cpu] [--image memory.png]

The video is the project's sample, looped and played at `--fps`. Printed are the process's resident memory every so many
detected frames, the slope over the second half of them, and the largest memory of every stage. Linux only: it reads
/proc.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import cv2
import imageio_ffmpeg
import numpy as np
import torch
from environment import describe

from video2rig.frames import open_video

SAMPLE = Path(__file__).parents[1] / "tests" / "sample" / "sample.mp4"
STEP_SECONDS = 0.25
"""Between two looks at the memory."""
MEGABYTE = 1e6


class Look(NamedTuple):
    """Seconds from the start, the stage then, its frames done, and resident memory in bytes."""

    time: float
    stage: str
    done: int
    memory: int


def main() -> int:
    """Run, print the table and draw the curve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--every", type=int, default=1000, metavar="FRAMES", help="between two lines of the table")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--image", type=Path, metavar="PNG", help="where to draw the curve")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        video = looped(Path(folder) / "long.mp4", options.minutes * 60, options.fps)
        looks = watch(video, Path(folder) / "take.npz", options.device)
    print(describe(torch.device(options.device)))
    print(f"{options.minutes:g} minutes at {options.fps:g} frames a second")
    tell(looks, options.every)
    if options.image is not None:
        options.image.parent.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(str(options.image), draw(looks), [cv2.IMWRITE_PNG_COMPRESSION, 9]):
            raise SystemExit(f"{options.image}: cannot be written")
    return 0


def looped(path: Path, seconds: float, fps: float) -> Path:
    """Write the sample, repeated for so many seconds and played at so many frames a second."""
    stretch = open_video(SAMPLE).info.fps / fps
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-itsscale", str(stretch), "-stream_loop", "-1"]
    command += ["-i", str(SAMPLE), "-t", str(seconds), "-c", "copy", "-an", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


def watch(video: Path, take: Path, device: str) -> list[Look]:
    """Solve a video in a process of its own and return how its memory went."""
    command = [sys.executable, "-m", "video2rig.cli", "solve", str(video), "-o", str(take), "--device", device]
    process = subprocess.Popen([*command, "--json-progress"], stdout=subprocess.PIPE, text=True)
    now = {"stage": "loading", "done": 0}
    looks: list[Look] = []
    began = time.monotonic()

    def look() -> None:
        if memory := resident(process.pid):
            looks.append(Look(time.monotonic() - began, str(now["stage"]), int(now["done"]), memory))

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            now.update(json.loads(line))
            if now["stage"] == "detecting" and now["done"] == now["total"]:
                now["stage"] = "finding a start"

    reader = threading.Thread(target=read)
    reader.start()
    while process.poll() is None:
        look()
        time.sleep(STEP_SECONDS)
    reader.join()
    if process.returncode:
        raise SystemExit(f"video2rig solve ended with code {process.returncode}")
    return looks


def resident(pid: int) -> int:
    """Return a process's resident memory, bytes; 0 once it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:")), 0)


def tell(looks: list[Look], every: int) -> None:
    """Print the table."""
    detecting = [look for look in looks if look.stage == "detecting"]
    print(f"{'frame':>8}{'seconds':>9}{'MB':>8}")
    due = every
    for look in detecting:
        if look.done >= due:
            print(f"{look.done:8}{look.time:9.0f}{look.memory / MEGABYTE:8.0f}")
            due = (look.done // every + 1) * every
    later = detecting[len(detecting) // 2 :]
    slope = np.polyfit([look.done for look in later], [look.memory for look in later], 1)[0]
    print(f"while detecting, second half: {slope:.0f} bytes a frame")
    for stage, peak in peaks(looks).items():
        print(f"largest while {stage}: {peak / MEGABYTE:.0f} MB")


def peaks(looks: list[Look]) -> dict[str, int]:
    """Return the largest memory of every stage, bytes, in the order of the stages."""
    largest: dict[str, int] = {}
    for look in looks:
        largest[look.stage] = max(largest.get(look.stage, 0), look.memory)
    return largest


def draw(looks: list[Look], width: int = 960, height: int = 400) -> np.ndarray:
    """Return a picture [height, width, 3] BGR of memory over time, a colour a stage, with their largest."""
    left, right, top, bottom = 75, 40, 40, 45
    colours = ((150, 150, 150), (180, 110, 30), (170, 60, 150), (40, 110, 220), (60, 150, 60))
    picture = np.full((height, width, 3), 255, np.uint8)
    end, most = looks[-1].time, max(look.memory for look in looks)
    step = next(step for step in (100, 200, 500, 1000, 2000, 5000, 10_000) if most <= 6 * step * MEGABYTE)
    roof = step * MEGABYTE * np.ceil(most / (step * MEGABYTE))

    def place(time: float, memory: float) -> tuple[int, int]:
        across, up = time / end, memory / roof
        return round(left + across * (width - left - right)), round(height - bottom - up * (height - top - bottom))

    def write(text: str, x: int, y: int, colour: tuple[int, ...] = (60, 60, 60)) -> int:
        """Write, and return where the text ends."""
        cv2.putText(picture, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)
        return x + cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)[0][0]

    for level in range(0, round(roof / MEGABYTE) + 1, step):
        _, y = place(0, level * MEGABYTE)
        cv2.line(picture, (left, y), (width - right, y), (225, 225, 225), 1)
        write(f"{level} MB", 8, y + 5)
    for part in range(6):
        write(f"{end * part / 5:.0f} s", place(end * part / 5, 0)[0] - 12, height - bottom + 20)
    across = left
    for number, (stage, peak) in enumerate(peaks(looks).items()):
        colour = colours[number % len(colours)]
        points = [place(look.time, look.memory) for look in looks if look.stage == stage]
        cv2.polylines(picture, [np.array(points, np.int32)], False, colour, 2, cv2.LINE_AA)
        across = write(f"{stage}: {peak / MEGABYTE:.0f} MB", across, 22, colour) + 22
    return picture


if __name__ == "__main__":
    sys.exit(main())
