# SPDX-License-Identifier: GPL-3.0-or-later
"""Teach a small OpenPose network with few stages what a larger one puts out, resumable.

    python -m models.openpose_student.train VIDEO... --teacher FILE [--validation VIDEO...] [--stages 2]

VIDEO is a video or a folder of pictures; nothing of them needs to be known. The teacher is the OpenPose network (.pth
or .safetensors) or the one with a MobileNetV2 front (.pb or .npz). With --truth, people that are known in a video count
too. A run that was cut off goes on where its last epoch ended.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.checkpoints import load_checkpoint, save_checkpoint
from models.openpose_student.frames import Clip, Crops, LessonError, draw_crops, read_clip
from models.openpose_student.network import Student
from models.openpose_student.targets import targets
from video2rig.detection.openpose.checkpoint import load_network
from video2rig.detection.openpose.detector import OpenPose
from video2rig.detection.openpose.layout import STRIDE
from video2rig.detection.openpose.mobilenet import MobileNetOpenPose
from video2rig.detection.openpose.stages import StagedNetwork, StageOutput
from video2rig.device import resolve_device, set_cpu_threads
from video2rig.errors import Video2RigError

OUTPUT = Path("build/openpose_student")
BODY_WEIGHT = 4.0
"""How much more the loss counts where the teacher sees a body: most of every map is empty."""
NEAR_PEOPLE = 0.8
"""Of the crops, so many are taken around somebody whom the teacher sees, where there is anybody in the frame."""


@dataclass(frozen=True)
class Settings:
    """What a run depends on besides its teacher and its frames.

    Attributes:
        stages, width: Of the student. epochs: Of the run. crops: An epoch. batch: Crops a step.
        size: Pixels a side of a crop, a multiple of 16. height: Pixels to which frames are brought. smallest, largest:
            Scales of what a crop shows. truth_weight: Of known people against the teacher in the loss.
        rate, decay: Of AdamW, the largest of one cycle. seed: Of the first weights and of the crops.
    """

    stages: int = 2
    width: int = 32
    epochs: int = 100
    crops: int = 2000
    batch: int = 16
    size: int = 368
    height: int = 552
    smallest: float = 0.5
    largest: float = 1.25
    truth_weight: float = 1.0
    rate: float = 2e-3
    decay: float = 1e-2
    seed: int = 0


class Loss(NamedTuple):
    """Of one batch: what is minimised, and the mean squared difference from the teacher of fields and heat maps of
    every stage [S,2]."""

    total: Tensor
    squares: Tensor


def load_teacher(path: Path, stages: int = 6) -> StagedNetwork:
    """Read either of the two networks, by the file's kind.

    Raises:
        OpenPoseError: It cannot be read or is of another network.
    """
    graph = path.suffix.lower() in (".pb", ".npz")
    return (MobileNetOpenPose.load(path, stages) if graph else load_network(path, stages)).eval().requires_grad_(False)


def train(
    teacher: StagedNetwork,
    clips: list[Clip],
    settings: Settings,
    folder: Path,
    validation: list[Clip] | None = None,
    tell: Callable[[str], None] = print,
) -> Student:
    """Train a student, or what is left to train of it; teacher and student run where the teacher is.

    Raises:
        CheckpointError: The folder holds a student of other settings.
        LessonError: There are fewer crops an epoch than in a batch, or sizes that the networks cannot take.
    """
    _check(settings, teacher)
    device = next(teacher.parameters()).device
    torch.manual_seed(settings.seed)
    student = Student(settings.stages, settings.width).to(device)
    optimizer = torch.optim.AdamW(student.parameters(), settings.rate, weight_decay=settings.decay)
    steps = settings.crops // settings.batch
    people = look(teacher, clips)
    others = look(teacher, validation or [])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.rate, total_steps=steps * settings.epochs)
    learners = {"network": student, "optimizer": optimizer, "schedule": schedule}
    start: dict[str, Any] = {"epoch": 0, "seconds": 0.0, "loss": [], "validation": []}
    state = load_checkpoint(checkpoint_path(folder), asdict(settings), start, learners)
    while state["epoch"] < settings.epochs:
        began = time.monotonic()
        state["epoch"] += 1
        student.train()
        random = torch.Generator().manual_seed(settings.seed * 1_000_003 + state["epoch"])
        sum_of_losses = 0.0
        for _ in range(steps):
            loss = lesson(student, teacher, _crops(clips, people, settings, random), settings.truth_weight)
            optimizer.zero_grad()
            loss.total.backward()
            optimizer.step()
            schedule.step()
            sum_of_losses += float(loss.total.detach())
        state["loss"].append(sum_of_losses / steps)
        line = f"epoch {state['epoch']} of {settings.epochs}: loss {state['loss'][-1]:.5f}"
        if validation:
            fields, heat = _validate(student, teacher, validation, others, settings)
            state["validation"].append([fields, heat])
            line += f", on other videos fields {fields:.4f}, heat maps {heat:.4f} (RMS from the teacher)"
        state["seconds"] += time.monotonic() - began
        save_checkpoint(checkpoint_path(folder), asdict(settings), state, learners)
        tell(line)
    student.eval().save(weights_path(folder))
    return student


def look(teacher: StagedNetwork, clips: list[Clip]) -> list[list[np.ndarray]]:
    """Hip centres [N,2] px of those whom the teacher sees in every frame of every clip."""
    seen = []
    for clip in clips:
        detector = OpenPose(teacher, next(teacher.parameters()).device, clip.frames.shape[1])
        parts = [detector.find(frames.to(detector.device)) for frames in clip.frames.split(detector.batch)]
        seen.append([people.circle[:, :2] for part in parts for people in part])
    return seen


def checkpoint_path(folder: Path) -> Path:
    """Return where a run's checkpoint lies."""
    return folder / "checkpoint.pt"


def weights_path(folder: Path) -> Path:
    """Return where a finished run's weights lie."""
    return folder / "student.safetensors"


def lesson(student: Student, teacher: StagedNetwork, crops: Crops, truth_weight: float) -> Loss:
    """The loss of a batch: squared differences of every stage from the teacher's last, more where a body is.

    Where people are known, those from the maps that they should give are added.
    """
    device = next(teacher.parameters()).device
    pixels = crops.pictures.to(device).float()
    with torch.no_grad():
        taught = teacher(teacher.normalise(pixels))[-1]
    outputs = student(student.normalise(pixels))
    total = sum((_weighted(output, taught) for output in outputs), pixels.new_zeros(()))
    if truth_weight and bool(crops.known.any()):
        parts = (crops.people[crops.known].to(device) + 0.5) / STRIDE - 0.5
        wanted = targets(parts, (taught.heat.shape[2], taught.heat.shape[3]))
        rows = crops.known.to(device)
        of_known = [StageOutput(output.fields[rows], output.heat[rows]) for output in outputs]
        total = total + truth_weight * sum(_weighted(output, wanted) for output in of_known)
    squares = torch.stack(
        [
            torch.stack([(one - other).square().mean() for one, other in zip(output, taught, strict=True)])
            for output in outputs
        ]
    )
    return Loss(total, squares.detach())


def _weighted(output: StageOutput, wanted: StageOutput) -> Tensor:
    body = 1 + BODY_WEIGHT * (1 - wanted.heat[:, -1:]).clamp(0, 1)
    return sum(((one - other).square() * body).mean() for one, other in zip(output, wanted, strict=True))  # pyright: ignore[reportReturnType]


def _crops(clips: list[Clip], people: list[list[np.ndarray]], settings: Settings, random: torch.Generator) -> Crops:
    counts = torch.tensor([len(clip.frames) for clip in clips])
    ends = counts.cumsum(0)
    chosen = torch.randint(int(ends[-1]), (settings.batch,), generator=random)
    clip = torch.searchsorted(ends, chosen, right=True)
    rows = torch.stack([clip, chosen - (ends - counts)[clip]], 1)
    draws = torch.rand(settings.batch, 2, generator=random).tolist()
    middles = settings.size / 8 * torch.randn(settings.batch, 2, generator=random)
    for middle, (index, row), (near, who) in zip(middles, rows.tolist(), draws, strict=True):
        there = people[index][row]
        if len(there) and near < NEAR_PEOPLE:
            middle += torch.from_numpy(there[int(who * len(there))]).float()
        else:
            middle.fill_(torch.nan)
    return draw_crops(clips, rows, middles, settings.size, (settings.smallest, settings.largest), random)


@torch.no_grad()
def _validate(
    student: Student,
    teacher: StagedNetwork,
    clips: list[Clip],
    people: list[list[np.ndarray]],
    settings: Settings,
) -> tuple[float, float]:
    """RMS difference of the last stage from the teacher, of fields and heat maps, on the same crops every time."""
    student.eval()
    random = torch.Generator().manual_seed(settings.seed)
    crops = (_crops(clips, people, settings, random) for _ in range(4))
    squares = [lesson(student, teacher, some, 0.0).squares[-1] for some in crops]
    fields, heat = torch.stack(squares).mean(0).sqrt().tolist()
    return fields, heat


def _check(settings: Settings, teacher: StagedNetwork) -> None:
    if settings.crops < settings.batch or settings.batch < 2:
        raise LessonError(
            f"{settings.crops} crops an epoch in batches of {settings.batch}; one batch of 2 is the least"
        )
    if settings.size % teacher.multiple or settings.size < 64:
        raise LessonError(f"crops of {settings.size} pixels; they are multiples of {teacher.multiple}, 64 at least")


def main() -> int:
    """Train what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO")
    parser.add_argument("--teacher", type=Path, required=True, metavar="FILE")
    parser.add_argument("--teacher-stages", type=int, default=6)
    parser.add_argument("--validation", type=Path, nargs="+", default=[], metavar="VIDEO")
    parser.add_argument(
        "--truth", type=Path, nargs="+", default=[], metavar="NPZ", help="of the first videos, in order"
    )
    parser.add_argument("--every", type=int, default=1, help="take every so many frames")
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FOLDER")
    for name in ("stages", "width", "epochs", "crops", "batch", "size", "height", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Settings, name))
    for name in ("rate", "truth-weight"):
        parser.add_argument(f"--{name}", type=float, default=getattr(Settings, name.replace("-", "_")))
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    options = parser.parse_args()
    names = ("stages", "width", "epochs", "crops", "batch", "size", "height", "seed", "rate", "truth_weight")
    settings = Settings(**{name: getattr(options, name) for name in names})
    try:
        if len(options.truth) > len(options.videos) or options.every < 1:
            raise LessonError("--truth names more files than there are videos, or --every is less than 1")
        set_cpu_threads()
        device, notice = resolve_device(options.device)
        print(notice, flush=True)
        teacher = load_teacher(options.teacher, options.teacher_stages).to(device)
        truths = options.truth + [None] * (len(options.videos) - len(options.truth))
        clips = [
            read_clip(path, settings.height, options.every, truth)
            for path, truth in zip(options.videos, truths, strict=True)
        ]
        validation = [read_clip(path, settings.height, options.every) for path in options.validation]
        train(teacher, clips, settings, options.output, validation, lambda line: print(line, flush=True))
    except Video2RigError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
