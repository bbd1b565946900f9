# SPDX-License-Identifier: GPL-3.0-or-later
"""Detection on real video, beside mediapipe 0.10.21's own `solutions.pose` in the same run.

    python benchmarks/detection.py --mediapipe-python ENVIRONMENT/bin/python [--shared ../shared] [--pictures FOLDER]

Four views of a balancing trial (Pose2Sim), whose triangulated joints are projected into each of them: 2D error is the
mean distance of the 17 keypoints that both name (hips, knees, ankles, heels, big toes, shoulders, elbows, wrists and
nose), in pixels of the video and per cent of the body's height in the picture. Depth jitter is the RMS of second
differences over time of the world landmarks' z, all 33. Frames a second are of frames that are decoded already, both
programs in turns, each with all cores to itself. Without --mediapipe-python, ours alone. --pictures draws who is who.

`--calibrate` instead prints the numbers of `detection/calibration.py`: fitted on two cameras, tested on the others.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from environment import describe

from video2rig.detection import PeopleStream, Tracked
from video2rig.detection.calibration import CURVES, WITHIN, calibration_error, fit, probability
from video2rig.frames import fitted, open_video
from video2rig.keypoints import KEYPOINT_SETS
from video2rig.person import PersonChoice
from video2rig.pipeline import Backend
from video2rig.wire import Limits

NAMES = KEYPOINT_SETS["blazepose_33"]
PARTS = ("hip", "knee", "ankle", "heel", "big_toe", "shoulder", "elbow", "wrist")
COMMON = (*(f"{side}_{part}" for side in ("right", "left") for part in PARTS), "nose")
CAMERAS = ("cam01", "cam02", "cam03", "cam04")
ROUNDS = 3
COLOURS = ((255, 60, 60), (60, 255, 60), (90, 90, 255), (255, 255, 0), (255, 0, 255), (0, 255, 255), (255, 140, 0))
LIMBS = ((11, 12), (11, 23), (12, 24), (23, 24), (23, 25), (25, 27), (24, 26), (26, 28), (11, 13), (13, 15))
LIMBS += ((12, 14), (14, 16))


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared")
    parser.add_argument("--mediapipe-python", help="the python of an environment that has mediapipe 0.10.21")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--pictures", type=Path, help="folder for pictures of who is who")
    parser.add_argument("--calibrate", action="store_true")
    options = parser.parse_args()
    videos = options.shared / "data" / "video"
    if not videos.is_dir():
        print(f"detection: there is no {videos}; --shared names the folder that holds data/video", file=sys.stderr)
        return 1
    truth: dict[str, np.ndarray] = dict(np.load(videos / "truth_pose2sim_balancing.npz"))
    backend = Backend(options.device)
    print(describe(backend.device))
    if options.calibrate:
        calibrate(backend, videos, truth)
        return 0
    other = Mediapipe(options.mediapipe_python) if options.mediapipe_python else None
    accuracy(backend, videos, truth, other)
    for video in ("pose2sim/single/cam01.mp4", "pose2sim/single/cam03.mp4", "sports2d/demo.mp4"):
        speed(backend, videos / video, other)
    identities(backend, videos / "sports2d" / "demo.mp4", other, options.pictures)
    return 0


class Mediapipe:
    """The worker in its own environment."""

    def __init__(self, python: str) -> None:
        worker = Path(__file__).with_name("mediapipe_worker.py")
        self._process = subprocess.Popen(
            [python, str(worker)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        print(f"mediapipe {self._answer()['mediapipe']}")

    def run(self, video: Path) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
        """Positions [T,33,2] px, world [T,33,3] m, and the times."""
        assert self._process.stdin is not None
        with tempfile.TemporaryDirectory() as folder:
            result = Path(folder) / "result.npz"
            self._process.stdin.write(f"{video}\t{result}\n")
            self._process.stdin.flush()
            facts = self._answer()
            with np.load(result) as arrays:
                return arrays["positions"], arrays["world"], facts

    def _answer(self) -> dict:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("detection: the mediapipe worker ended; does its environment have mediapipe and opencv?")
        return json.loads(line)


def read(video: Path) -> tuple[np.ndarray, float, float]:
    """Frames [T,H,W,3] as small as a client would send them, frames a second, source pixels a pixel."""
    source = open_video(video)
    shrunk, scales = zip(*(fitted(frame, Limits().max_side) for frame in source.frames()), strict=True)
    return np.stack([frame.image for frame in shrunk]), float(source.info.fps), scales[0]


def run(backend: Backend, images: np.ndarray, fps: float, person: str) -> tuple[list[Tracked], PeopleStream]:
    """Everyone who was chosen."""
    stream = PeopleStream(backend.detector("blazepose"), fps, PersonChoice.parse(person))
    for first in range(0, len(images), 8):
        stream.push(images[first : first + 8])
    stream.finish()
    return stream.people(), stream


def in_source(positions: np.ndarray, scale: float) -> np.ndarray:
    """Pixels of the images that were pushed -> of the video."""
    return (positions + 0.5) * scale - 0.5


# ---- accuracy -----------------------------------------------------------------------------------------------------


def common_truth(truth: dict[str, np.ndarray], camera: str) -> tuple[np.ndarray, float]:
    """The COMMON keypoints [T,17,2] px of a view, and the body's height in the picture, px: of the whole height at the
    mean distance, as the reference's scoring defines it."""
    names = [str(name) for name in truth["names"]]
    words = [name.split("_", 1) for name in COMMON[:-1]]
    order = [names.index(side[0].upper() + part.title().replace("_", "")) for side, part in words]
    joints = truth["joints3d"].astype(float)

    def length(a: str, b: str) -> float:
        ends = [[names.index(side + joint) for side in "RL"] for joint in (a, b)]
        return float(np.nanmedian(np.linalg.norm(joints[:, ends[0]] - joints[:, ends[1]], axis=-1)))

    height = (length("Hip", "Knee") + length("Knee", "Ankle")) / 0.491
    depth = (joints @ truth[f"cam_{camera}_R"].T + truth[f"cam_{camera}_t"])[..., 2]
    points = truth[f"cam_{camera}_joints2d"][:, [*order, names.index("Nose")]].astype(float)
    return points, float(truth[f"cam_{camera}_K"][1, 1] * height / np.nanmean(depth))


def error(positions: np.ndarray, points: np.ndarray, sides_exchanged: bool = False) -> float:
    """Mean distance, px; with sides exchanged in the frames where that fits the truth better."""
    mine = positions[:, [NAMES.index(name) for name in COMMON]]
    away = np.linalg.norm(mine - points, axis=-1)
    if sides_exchanged:
        half = len(PARTS)
        order = [*range(half, 2 * half), *range(half), 2 * half]
        twin = np.linalg.norm(mine[:, order] - points, axis=-1)
        away = np.where((twin.mean(1) < away.mean(1))[:, None], twin, away)
    return float(np.nanmean(away))


def jitter(world: np.ndarray) -> float:
    """Millimetres: RMS of second differences of z."""
    return 1000 * float(np.sqrt(np.nanmean(np.diff(world[..., 2], 2, axis=0) ** 2)))


def accuracy(backend: Backend, videos: Path, truth: dict[str, np.ndarray], other: Mediapipe | None) -> None:
    """2D error and depth jitter, view by view."""
    print(f"\n{'':30}{'found':>8}{'2D px':>9}{'% height':>9}{'*':>9}{'z mm':>9}")
    rows: dict[str, list[list[float]]] = {}
    for camera in CAMERAS:
        video = videos / "pose2sim" / "single" / f"{camera}.mp4"
        points, height = common_truth(truth, camera)
        images, fps, scale = read(video)
        people, _ = run(backend, images, fps, "largest")
        assert people and people[0].world is not None
        results = {"video2rig": (in_source(people[0].positions, scale), people[0].world)}
        if other is not None:
            results = {"mediapipe": other.run(video)[:2], **results}
        for name, (positions, world) in results.items():
            away = error(positions, points)
            row = [away, 100 * away / height, error(positions, points, sides_exchanged=True), jitter(world)]
            rows.setdefault(name, []).append(row)
            seen = int(np.isfinite(positions[:, 0, 0]).sum())
            print(f"{camera} {name:24}{seen:8d}" + "".join(f"{value:9.2f}" for value in row), flush=True)
    if other is not None:
        ratio = np.array(rows["video2rig"]) / np.array(rows["mediapipe"])
        for camera, row in zip((*CAMERAS, "mean"), (*ratio, ratio.mean(0)), strict=True):
            print(f"{camera} ours / mediapipe's".ljust(37) + "".join(f"{value:9.3f}" for value in row))
    print("* 2D px with left and right exchanged in the frames where that fits better: the detector takes them for one")
    print("  another in cam02, in up to a third of the frames")


# ---- confidence ---------------------------------------------------------------------------------------------------

FITTED, TESTED = ("cam01", "cam02"), ("cam03", "cam04")


def calibrate(backend: Backend, videos: Path, truth: dict[str, np.ndarray]) -> None:
    """Fit the curve on two cameras, and show on the others how often keypoints of a probability are right."""
    confidence, right = {}, {}
    for camera in CAMERAS:
        points, height = common_truth(truth, camera)
        images, fps, scale = read(videos / "pose2sim" / "single" / f"{camera}.mp4")
        person = run(backend, images, fps, "largest")[0][0]
        order = [NAMES.index(name) for name in COMMON]
        away = np.linalg.norm(in_source(person.positions, scale)[:, order] - points, axis=-1) / height
        known = np.isfinite(away)
        confidence[camera], right[camera] = person.confidence[:, order][known], (away < WITHIN)[known].astype(float)
    for fitted_on, tested_on in ((FITTED, TESTED), (TESTED, FITTED)):
        seen, true = (np.concatenate([column[camera] for camera in fitted_on]) for column in (confidence, right))
        curve = fit(seen, true)
        print(f"fitted on {', '.join(fitted_on)}: offset {curve[0]:.3f}, slope {curve[1]:.3f}")
        seen, true = (np.concatenate([column[camera] for camera in tested_on]) for column in (confidence, right))
        chance = probability(seen, curve)
        print(f"  tested on {', '.join(tested_on)}, where {true.mean():.3f} are right:")
        for name, said in (("as it is", seen), ("calibrated", chance)):
            brier = np.mean((said - true) ** 2)
            print(f"  {name}: calibration error {calibration_error(said, true):.3f}, Brier score {brier:.3f}")
        for rows in np.array_split(np.argsort(chance, kind="stable"), 6):
            print(f"    said {chance[rows].mean():.2f}  right {true[rows].mean():.2f}  of {len(rows)}")
    print(f"in use: {CURVES['blazepose_33']}")


# ---- speed --------------------------------------------------------------------------------------------------------


def speed(backend: Backend, video: Path, other: Mediapipe | None) -> None:
    """Frames a second in turns, the best of ROUNDS; of one person, as mediapipe has it, and of everyone in view."""
    images, fps, _ = read(video)
    best: dict[str, tuple[float, float]] = {}

    def note(name: str, seconds: float, processor: float) -> None:
        before = best.get(name, (np.inf, np.inf))
        best[name] = (min(before[0], seconds), min(before[1], processor))

    for _ in range(ROUNDS):
        clock, processor = time.perf_counter(), time.process_time()
        run(backend, images, fps, "largest")
        note("video2rig", time.perf_counter() - clock, time.process_time() - processor)
        clock, processor = time.perf_counter(), time.process_time()
        run(backend, images, fps, "everyone")
        note("video2rig, everyone", time.perf_counter() - clock, time.process_time() - processor)
        if other is not None:
            facts = other.run(video)[2]
            note("mediapipe", facts["seconds"], facts["processor"])
    print(f"\n{'frames a second, ' + video.name:30}{'clock':>9}{'a core':>9}")
    for name, (seconds, processor) in best.items():
        print(f"{name:30}{len(images) / seconds:9.1f}{len(images) / processor:9.1f}")


# ---- identities ---------------------------------------------------------------------------------------------------


def identities(backend: Backend, video: Path, other: Mediapipe | None, pictures: Path | None) -> None:
    """Who is in a video of several people, and from when to when."""
    images, fps, _ = read(video)
    people, stream = run(backend, images, fps, "everyone")
    print(f"\n{video.name}: {stream.seen()} people in {len(images)} frames")
    for person in people:
        seen = np.flatnonzero(np.isfinite(person.positions[:, 0, 0]))
        print(f"  {person.number}: {len(seen)} frames, from {seen[0]} to {seen[-1]}")
    anyone = np.isfinite([person.positions[:, 0, 0] for person in people]).any(0).sum() if people else 0
    print(f"  frames with a person: {anyone}")
    if other is not None:
        print(f"  mediapipe: {np.isfinite(other.run(video)[0][:, 0, 0]).sum()} frames with a person")
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        for frame in range(0, len(images), 10):
            picture = drawn(images[frame], people, frame)
            cv2.imwrite(str(pictures / f"{video.stem}_{frame:04d}.jpg"), picture[:, :, ::-1])


def drawn(image: np.ndarray, people: list[Tracked], frame: int) -> np.ndarray:
    """A frame with everyone's limbs and number."""
    image = image.copy()
    for person in people:
        points = person.positions[frame]
        if np.isfinite(points).all():
            colour = COLOURS[person.number % len(COLOURS)]
            places = [(round(float(x)), round(float(y))) for x, y in points]
            for a, b in LIMBS:
                cv2.line(image, places[a], places[b], colour, 2, cv2.LINE_AA)
            cv2.putText(image, str(person.number), (places[0][0], places[0][1] - 12), 0, 0.9, colour, 2, cv2.LINE_AA)
    return image


if __name__ == "__main__":
    sys.exit(main())
