# SPDX-License-Identifier: GPL-3.0-or-later
"""Train the image regressor on pictures of people, resumable.

    python -m models.image_regressor.train people.npz --held-out 9 11 [--heads kinematic_joint] [--output FOLDER]

`people.py` describes the file. The paper's setting is the default: ResNet-50, 224 x 224, stochastic gradient descent,
70 epochs, a tenth of the learning rate after 50. A run that was cut off goes on where its last epoch ended.
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
from models.image_regressor.body import UPRIGHT, average_body, kinematic_layer, subject_scales
from models.image_regressor.fit import fit
from models.image_regressor.network import BACKBONES, HEADS, BackboneError, ImageRegressor
from models.image_regressor.people import SIZE, People, PeopleError, load_people
from video2rig.device import resolve_device, set_cpu_threads
from video2rig.errors import Video2RigError
from video2rig.skeleton import Skeleton

OUTPUT = Path("build/image_regressor")


@dataclass(frozen=True)
class Settings:
    """What a run depends on besides its head and its pictures; the paper's where it says.

    Attributes:
        held_out: Subjects that are not trained on. backbone: One of ``network.BACKBONES``.
        size: Pixels a side that pictures are shrunk to. epochs: Of the run; drop: at the full learning rate, the rest
            at a tenth of it. batch: Pictures a step. rate, momentum, decay: Of stochastic gradient descent.
        seed: Of the first weights and of the pictures' order.
    """

    held_out: tuple[int, ...] = ()
    backbone: str = "resnet50"
    size: int = SIZE
    epochs: int = 70
    drop: int = 50
    batch: int = 52
    rate: float = 0.003
    momentum: float = 0.9
    decay: float = 0.0002
    seed: int = 0

    def plain(self) -> dict[str, Any]:
        """Return the settings as a checkpoint stores them."""
        return {**asdict(self), "held_out": sorted(self.held_out)}


class Lessons(NamedTuple):
    """What a network is taught, row by row: images [N, S, S, 3] uint8, joints [N, 17, 3] in upright axes, motion
    parameters [N, 27] fitted to them, and sizes of the people [N]."""

    images: Tensor
    joints: Tensor
    parameters: Tensor
    scale: Tensor


def make_lessons(people: People, skeleton: Skeleton, device: torch.device) -> Lessons:
    """Prepare pictures for training with this kinematic model."""
    joints = torch.from_numpy(people.joints @ UPRIGHT.T.astype(np.float32)).to(device)
    scales = subject_scales(people)
    scale = torch.tensor([scales[int(subject)] for subject in people.subject], device=device)
    layer = kinematic_layer(skeleton).to(device)
    parts = zip(joints.split(1000), scale.split(1000), strict=True)
    parameters = torch.cat([fit(layer, some, size) for some, size in parts])
    return Lessons(torch.from_numpy(people.images), joints, parameters, scale)


def train(
    lessons: Lessons,
    skeleton: Skeleton,
    head: str,
    settings: Settings,
    folder: Path,
    initial: Path | None = None,
    tell: Callable[[str], None] = print,
) -> ImageRegressor:
    """Train one network, or what is left to train of it.

    Args:
        lessons: Pictures and truth. skeleton: The kinematic model. head: One of ``network.HEADS``.
        settings: Of the run. folder: Of the checkpoints. initial: File with the backbone's first weights.
        tell: Gets a line after every epoch.

    Raises:
        CheckpointError: The folder holds this network under other settings.
        BackboneError: The backbone or its first weights cannot be had.
    """
    device = lessons.joints.device
    torch.manual_seed(settings.seed)
    network = ImageRegressor(kinematic_layer(skeleton), head, settings.backbone)
    if initial is not None:
        load_backbone(network, initial)
    network = network.to(device)
    network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    network.standardise(lessons.joints)
    optimizer = torch.optim.SGD(
        network.parameters(), settings.rate, momentum=settings.momentum, weight_decay=settings.decay
    )
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [settings.drop])
    learners = {"network": network, "optimizer": optimizer, "schedule": schedule}
    path = checkpoint_path(folder, head)
    start = {"epoch": 0, "seconds": 0.0, "loss": [], "skeleton": skeleton.to_json()}
    state = load_checkpoint(path, settings.plain(), start, learners)
    while state["epoch"] < settings.epochs:
        began = time.monotonic()
        state["epoch"] += 1
        state["loss"].append(_epoch(network, optimizer, lessons, settings, state["epoch"]))
        schedule.step()
        state["seconds"] += time.monotonic() - began
        save_checkpoint(path, settings.plain(), state, learners)
        tell(f"{head}, epoch {state['epoch']} of {settings.epochs}: loss {state['loss'][-1]:.4f}")
    return network


def checkpoint_path(folder: Path, head: str) -> Path:
    """Return where a network's checkpoint lies."""
    return folder / f"{head}.pt"


def load_backbone(network: ImageRegressor, path: Path) -> None:
    """Take the backbone's weights from a file that torch.save wrote, torchvision's of ImageNet for instance.

    Raises:
        BackboneError: It cannot be read, or belongs to another network.
    """
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        network.backbone.load_state_dict({name: value for name, value in weights.items() if not name.startswith("fc.")})
    except Exception as error:  # torch.load names no common base of what it raises
        raise BackboneError(f"{path}: no weights of this backbone ({error})") from None


def _epoch(
    network: ImageRegressor, optimizer: torch.optim.Optimizer, lessons: Lessons, settings: Settings, epoch: int
) -> float:
    """Go once through the pictures, in the order that seed and epoch give, and return the mean loss."""
    network.train()
    device = lessons.joints.device
    shuffle = torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch)
    order = torch.randperm(len(lessons.images), generator=shuffle)
    total = 0.0
    for rows in order.split(settings.batch):
        if len(rows) == 1:
            continue  # batch normalisation needs two
        there = rows.to(device)
        truth = (lessons.joints[there], lessons.parameters[there], lessons.scale[there])
        loss = network.loss(lessons.images[rows].to(device), *truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += float(loss.detach()) * len(rows)
    return total / len(order)


def main() -> int:
    """Train what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("people", type=Path, metavar="NPZ")
    parser.add_argument("--held-out", type=int, nargs="+", required=True, metavar="SUBJECT")
    parser.add_argument("--heads", nargs="+", choices=HEADS, default=HEADS)
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FOLDER")
    parser.add_argument("--initial", type=Path, metavar="FILE", help="first weights of the backbone")
    parser.add_argument("--backbone", choices=BACKBONES, default=Settings.backbone)
    for name in ("size", "epochs", "drop", "batch", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Settings, name))
    parser.add_argument("--rate", type=float, default=Settings.rate)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    options = parser.parse_args()
    names = ("backbone", "size", "epochs", "drop", "batch", "seed", "rate")
    settings = Settings(tuple(options.held_out), **{name: getattr(options, name) for name in names})
    try:
        set_cpu_threads()
        device, notice = resolve_device(options.device)
        print(notice, flush=True)
        people = load_people(options.people, settings.size).of(settings.held_out, others=True)
        if len(people) < 2:
            raise PeopleError(f"{options.people}: no pictures are left to train on without the held out subjects")
        skeleton = average_body(people)
        lessons = make_lessons(people, skeleton, device)
        for head in options.heads:
            train(
                lessons, skeleton, head, settings, options.output, options.initial, lambda line: print(line, flush=True)
            )
    except Video2RigError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
