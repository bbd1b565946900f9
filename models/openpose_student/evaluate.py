# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of what its teacher sees a student sees, on videos that it was not taught on.

    python -m models.openpose_student.evaluate VIDEO... --teacher FILE [--student build/openpose_student/...]

Maps: RMS difference from the teacher's last stage, of every stage of the student, and of maps that are the same
everywhere: each channel's mean. People: of the parts that the teacher finds, how many the student finds, and how far
off.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from models.openpose_student.frames import Clip, read_clip
from models.openpose_student.network import Student
from models.openpose_student.train import OUTPUT, Settings, load_teacher, weights_path
from video2rig.detection.detector import People
from video2rig.detection.openpose.detector import OpenPose
from video2rig.detection.openpose.stages import StagedNetwork, StageOutput
from video2rig.device import resolve_device, set_cpu_threads
from video2rig.errors import Video2RigError

NEAR = 0.1
"""Parts are the same within this part of the circle's radius around the teacher's person."""


class Scores(NamedTuple):
    """Of a student on videos.

    Attributes:
        difference: [S+1, 2] RMS from the teacher's last stage, of fields and heat maps: of the student's stages, and
            last of each channel's mean.
        people: Seen by the teacher. people_found: Of those, by the student. parts: Of the teacher's people.
        parts_found: Of those, by the student, within `NEAR`. extra: People whom the student alone sees.
        offset: Median distance of parts of the people found, in parts of the circle's radius.
        seconds: Of processor a frame, of teacher and student.
    """

    difference: np.ndarray
    people: int
    people_found: int
    parts: int
    parts_found: int
    extra: int
    offset: float
    seconds: tuple[float, float]


def evaluate(student: Student, teacher: StagedNetwork, clips: list[Clip]) -> Scores:
    """Score a student; both networks run where the teacher is."""
    device = next(teacher.parameters()).device
    size = clips[0].frames.shape[1]
    detectors = [OpenPose(network, device, size) for network in (teacher, student.to(device))]
    squares, seconds, offsets = [], np.zeros(2), []
    counts = {name: 0 for name in ("people", "people_found", "parts", "parts_found", "extra")}
    frames = [frame for clip in clips for frame in clip.frames.split(1)]
    for frame in frames:
        image = frame.to(device)
        seen = []
        for i, detector in enumerate(detectors):
            began = time.process_time()
            seen.append(detector.find(image)[0])
            seconds[i] += time.process_time() - began
        squares.append(_differences(student, teacher, image))
        _compare(seen[0], seen[1], counts, offsets)
    difference = np.sqrt(np.mean(squares, axis=0))
    offset = float(np.median(offsets)) if offsets else float("nan")
    teacher_seconds, student_seconds = (seconds / len(frames)).tolist()
    return Scores(difference, **counts, offset=offset, seconds=(teacher_seconds, student_seconds))


@torch.inference_mode()
def _differences(student: Student, teacher: StagedNetwork, image: Tensor) -> np.ndarray:
    """Mean squares [S+1,2] of one frame [1,H,W,3]; its sides are cut to what both networks take."""
    rows, columns = (side // teacher.multiple * teacher.multiple for side in image.shape[1:3])
    pixels = image[:, :rows, :columns].permute(0, 3, 1, 2).float()
    wanted = teacher(teacher.normalise(pixels))[-1]
    flat = StageOutput(*(part.mean((2, 3), keepdim=True) for part in wanted))
    outputs = [*student(student.normalise(pixels)), flat]
    return np.array(
        [[float((a - b).square().mean()) for a, b in zip(output, wanted, strict=True)] for output in outputs]
    )


def _compare(wanted: People, found: People, counts: dict[str, int], offsets: list[float]) -> None:
    """Each of the teacher's people, the best first, against the student's nearest that is left."""
    free = list(range(len(found.score)))
    for positions, confidence, circle in zip(wanted.positions, wanted.confidence, wanted.circle, strict=True):
        radius = np.hypot(*circle[2:])
        counts["people"] += 1
        counts["parts"] += int((confidence > 0).sum())
        distances = {i: np.linalg.norm(found.positions[i] - positions, axis=-1) / radius for i in free}
        near = {i: int((distance < NEAR).sum()) for i, distance in distances.items()}
        best = max(near, key=lambda i: near[i], default=-1)
        if best >= 0 and near[best] > 0:
            free.remove(best)
            counts["people_found"] += 1
            counts["parts_found"] += near[best]
            offsets += distances[best][np.isfinite(distances[best])].tolist()
    counts["extra"] += len(free)


def flops(network: StagedNetwork, height: int, width: int) -> float:
    """Operations of one picture, 10^9, by plain convolutions; a multiplication with its addition counts two."""
    rows, columns = (max(64, side // network.multiple * network.multiple) for side in (height, width))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        copy.deepcopy(network).to("meta")(torch.zeros(1, 3, rows, columns, device="meta"))
    return counter.get_total_flops() / 1e9


def report(scores: Scores, student: Student, teacher: StagedNetwork, clips: list[Clip]) -> str:
    """The scores as a table."""
    rows = [f"stage {i} of the student" for i in range(1, student.stages + 1)] + ["mean of each channel"]
    lines = [f"{'RMS from the teacher':28}{'fields':>10}{'heat maps':>12}"]
    lines += [f"{name:28}{a:10.4f}{b:12.4f}" for name, (a, b) in zip(rows, scores.difference, strict=True)]
    height, width = clips[0].frames.shape[1:3]
    for name, network, seconds in zip(("teacher", "student"), (teacher, student), scores.seconds, strict=True):
        count = sum(parameter.numel() for parameter in network.parameters())
        lines.append(
            f"{name}: {count / 1e6:.2f} M parameters, {flops(network, height, width):.1f} GFLOP and "
            f"{1e3 * seconds:.0f} ms of processor time a frame of {width} x {height}"
        )
    lines.append(
        f"people of the teacher {scores.people}, found by the student {scores.people_found}, seen by it alone "
        f"{scores.extra}; parts {scores.parts}, found {scores.parts_found}; median offset of parts "
        f"{100 * scores.offset:.1f} % of the body's radius"
    )
    return "\n".join(lines)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO")
    parser.add_argument("--teacher", type=Path, required=True, metavar="FILE")
    parser.add_argument("--teacher-stages", type=int, default=6)
    parser.add_argument("--student", type=Path, default=weights_path(OUTPUT), metavar="FILE")
    parser.add_argument("--height", type=int, default=Settings.height)
    parser.add_argument("--every", type=int, default=10, help="take every so many frames")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    options = parser.parse_args()
    try:
        set_cpu_threads()
        device, notice = resolve_device(options.device)
        print(notice)
        teacher = load_teacher(options.teacher, options.teacher_stages).to(device)
        student = Student.load(options.student)
        clips = [read_clip(path, options.height, options.every) for path in options.videos]
        print(report(evaluate(student, teacher, clips), student, teacher, clips))
    except Video2RigError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
