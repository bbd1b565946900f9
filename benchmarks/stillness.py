# SPDX-License-Identifier: GPL-3.0-or-later
"""How far pictures of people and people are apart in `stillness.py`: sway, per cent of the body's size.

    python benchmarks/stillness.py [--shared ../shared]

Posters: stills of real videos and of the sample, 2.5 s long, before a camera that is still, pans, zooms, is held by
hand or shaken, with noise, encoded as MPEG-4 or as JPEGs. People: those in the same videos, all of the time and in
their stillest 2 s. Motion capture, which has no detector and so no jitter: the share of all stretches of some
length, seen from the front and from the side, that would be taken for pictures.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from environment import describe

from models.kinematic_regressor.database import Database, forward
from video2rig.detection import PeopleStream, Tracked
from video2rig.frames import open_video
from video2rig.person import PersonChoice
from video2rig.pipeline import Backend
from video2rig.stillness import SECONDS, STILL, sway

ROOT = Path(__file__).parents[1]
FPS, FRAMES = 30.0, 75
POSTERS = (("demo", 60), ("demo", 150), ("cam01", 30), ("cam04", 80), ("sample", 10), ("sample", 120))
"""Video, and the frame of it that is the poster."""
LARGEST = 960  # px of a poster's longer side
FILMED = (
    *(("still", "mp4v", 0, 0.0), ("still", "MJPG", 30, 3.0), ("pan", "mp4v", 0, 3.0), ("zoom", "mp4v", 0, 0.0)),
    *(("hand", "mp4v", 0, 2.0), ("hand", "MJPG", 50, 4.0), ("shaken", "mp4v", 0, 3.0)),
)
"""Camera, codec, quality (0 for the codec's own) and the noise's standard deviation, of 255."""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="folder with data/")
    data = parser.parse_args().shared / "data"
    backend = Backend("cpu")
    print(describe(backend.device))
    videos = {"demo": data / "video" / "sports2d" / "demo.mp4", "sample": ROOT / "tests" / "sample" / "sample.mp4"}
    videos |= {f"cam0{n}": data / "video" / "pose2sim" / "single" / f"cam0{n}.mp4" for n in range(1, 5)}

    print("\npeople: all of the time, stillest 2 s")
    for name, path in videos.items():
        fps = open_video(path).info.fps
        for person in people(backend, (frame.image for frame in open_video(path).frames()), fps):
            parts = [100 * value for value in stretches(person, fps)]
            low = f"{min(parts):5.1f}" if parts else "too short"
            print(f"  {name:8} person {person.number}: {100 * swayed(person, fps):5.1f}  {low}")

    print("\nposters: sway of each person in them", flush=True)
    found: list[float] = []
    for name, index in POSTERS:
        image = next(islice(open_video(videos[name]).frames(), index, None)).image
        scale = min(1.0, LARGEST / max(image.shape))
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        for camera, codec, quality, noise in FILMED:
            frames = encoded(list(poster(image, camera, noise)), codec, quality)
            seen = [
                swayed(one, FPS) for one in people(backend, iter(frames), FPS) if len(seen_rows(one)) >= SECONDS * FPS
            ]
            print(
                f"  {name} {index} {camera:6} {codec} {quality:2}: {', '.join(f'{100 * s:.2f}' for s in seen)}",
                flush=True,
            )
            found += seen
    print(f"  {np.mean(np.array(found) < STILL):.0%} of {len(found)} below {100 * STILL:.1f}; quantiles:")
    print("  " + "  ".join(f"{100 * value:.2f}" for value in np.quantile(found, [0, 0.5, 0.9, 0.95, 1])))

    print(f"\nmotion capture: share of stretches below {100 * STILL:.1f}, and the least")
    captured(data / "mocap")


def people(backend: Backend, frames: Iterator[np.ndarray], fps: float) -> list[Tracked]:
    """Everyone in frames."""
    stream = PeopleStream(backend.detector("blazepose"), fps, PersonChoice.parse("everyone"))
    for frame in frames:
        stream.push(frame[None])
    stream.finish()
    return stream.people()


def seen_rows(person: Tracked) -> np.ndarray:
    """The frames in which they are seen."""
    return np.flatnonzero((person.confidence > 0).any(1))


def swayed(person: Tracked, fps: float) -> float:
    """Their sway all of the time."""
    return sway(person.positions, person.confidence, np.arange(len(person.positions)) / fps)


def stretches(person: Tracked, fps: float) -> list[float]:
    """Their sway in every stretch of 2 s, a tenth of a second apart, in whose frames nine of ten show them."""
    count, result = round(SECONDS * fps), []
    for begin in range(0, len(person.positions) - count + 1, max(1, round(fps / 10))):
        part = slice(begin, begin + count)
        if (person.confidence[part] > 0).any(1).mean() >= 0.9:
            result.append(sway(person.positions[part], person.confidence[part], np.arange(count) / fps))
    return result


def poster(image: np.ndarray, camera: str, noise: float) -> Iterator[np.ndarray]:
    """Frames of a still picture, as a camera would see it that moves in its own way."""
    rng, times = np.random.default_rng(0), np.arange(FRAMES) / FPS
    height, width = image.shape[:2]

    def wander(seconds: float, amount: float) -> np.ndarray:
        reach = np.arange(-60, 61) / (seconds * FPS)
        path = np.convolve(rng.normal(size=FRAMES + 200), np.exp(-0.5 * reach**2), "same")[100 : 100 + FRAMES]
        return amount * path / path.std()

    still = 0 * times
    x, y, zoom, roll = {
        "still": lambda: (still, still, 1 + still, still),
        "pan": lambda: (40 * times, 8 * times, 1 + still, still),
        "zoom": lambda: (still, still, 1 + 0.06 * times, still),
        "hand": lambda: (wander(0.15, 4), wander(0.15, 4), 1 + wander(0.3, 0.004), wander(0.3, 0.004)),
        "shaken": lambda: (wander(0.1, 12), wander(0.1, 12), 1 + 0.05 * times, wander(0.2, 0.01)),
    }[camera]()
    for k in range(FRAMES):
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), float(np.degrees(roll[k])), float(zoom[k]))
        matrix[:, 2] += x[k], y[k]
        frame = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
        yield np.clip(frame + rng.normal(0, noise, frame.shape), 0, 255).astype(np.uint8) if noise else frame


def encoded(frames: list[np.ndarray], codec: str, quality: int) -> list[np.ndarray]:
    """The frames as they come out of a video file."""
    height, width = (side // 2 * 2 for side in frames[0].shape[:2])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("poster.avi" if codec == "MJPG" else "poster.mp4")
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), FPS, (width, height))
        if quality:
            writer.set(cv2.VIDEOWRITER_PROP_QUALITY, quality)
        for frame in frames:
            writer.write(cv2.cvtColor(frame[:height, :width], cv2.COLOR_RGB2BGR))
        writer.release()
        return [frame.image for frame in open_video(path).frames()]


def captured(folder: Path) -> None:
    """Print how often people who were captured hold as still as that."""
    lengths: dict[int, list[float]] = {2: [], 4: [], 8: []}
    for name in ("cmu_train.npz", "cmu_val.npz"):
        database = Database.load(folder / name)
        _, joints = forward(database, database.rotations)
        for clip in database.clips.values():
            for across in (0, 1):  # of X left, Y back, Z up
                seen = joints[clip][..., [across, 2]] * (1, -1)
                for seconds, found in lengths.items():
                    count = round(seconds * FPS)
                    for begin in range(0, len(seen) - count + 1, round(FPS)):
                        part = seen[begin : begin + count]
                        found.append(sway(part, np.ones(part.shape[:2]), np.arange(count) / FPS))
    for seconds, found in lengths.items():
        below = np.mean(np.array(found) < STILL)
        print(f"  {seconds} s: {below:.1%} of {len(found)}; least {100 * min(found):.2f}")


if __name__ == "__main__":
    main()
