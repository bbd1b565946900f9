# SPDX-License-Identifier: GPL-3.0-or-later
"""Train the toy problem's networks: every level with every head, resumable.

    python -m models.toy_kinematic.train [--levels 1 2] [--heads kinematic_joint] [--output build/toy_kinematic]

All heads share network, seed, samples, their order, and schedule. A run that was cut off goes on where its last epoch
ended; one that is finished is left alone.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch

from models.checkpoints import load_checkpoint, save_checkpoint
from models.toy_kinematic.data import TEST, TRAINING, Samples, make_samples
from models.toy_kinematic.figure import LEVELS, Figure
from models.toy_kinematic.metrics import score
from models.toy_kinematic.network import HEADS, ToyNetwork
from video2rig.device import resolve_device, set_cpu_threads
from video2rig.errors import Video2RigError

OUTPUT = Path("build/toy_kinematic")


@dataclass(frozen=True)
class Settings:
    """What a run depends on besides level and head.

    Attributes:
        training, test: Samples. batch: Samples a step. rate: Largest learning rate.
        decay: Of the weights. seed: Of samples, their order and the first weights.
        bfloat16: Whether convolutions compute in bfloat16, which is faster where the processor has it.
    """

    training: int = TRAINING
    test: int = TEST
    epochs: int = 50
    batch: int = 128
    rate: float = 2e-3
    decay: float = 1e-2
    seed: int = 0
    bfloat16: bool = False


QUICK = Settings(epochs=10)
"""All levels and heads in less than ten minutes of one CPU core that has bfloat16."""


def _say(line: str) -> None:
    print(line, flush=True)


class Problem(NamedTuple):
    """A level's figure and its samples, on the device that computes."""

    figure: Figure
    training: Samples
    test: Samples


def make_problem(level: int, settings: Settings, device: torch.device | str = "cpu") -> Problem:
    """Draw the samples of a level; those of training and test come from different seeds."""
    figure = Figure(level)
    training = make_samples(figure, settings.training, 2 * settings.seed)
    test = make_samples(figure, settings.test, 2 * settings.seed + 1)
    return Problem(figure.to(device), _to(training, device), _to(test, device))


def train(
    problem: Problem, head: str, settings: Settings, folder: Path, tell: Callable[[str], None] = _say
) -> ToyNetwork:
    """Train one network, or what is left to train of it.

    Raises:
        CheckpointError: The folder holds this network under other settings.
    """
    level, count = problem.figure.level, len(problem.training.images)
    torch.manual_seed(settings.seed)
    network = ToyNetwork(problem.figure, head, settings.bfloat16)
    network = network.to(problem.training.images.device)
    network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    network.standardise(problem.training)
    optimizer = torch.optim.AdamW(network.parameters(), settings.rate, weight_decay=settings.decay, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.rate, total_steps=count // settings.batch * settings.epochs, pct_start=0.1
    )
    learners = {"network": network, "optimizer": optimizer, "schedule": schedule}
    path = checkpoint_path(folder, level, head)
    start = {"epoch": 0, "seconds": 0.0, "loss": [], "joint_error": []}
    state = load_checkpoint(path, asdict(settings), start, learners)
    while state["epoch"] < settings.epochs:
        began = time.process_time()
        state["epoch"] += 1
        loss = _epoch(network, optimizer, schedule, problem.training, settings, state["epoch"])
        state["seconds"] += time.process_time() - began
        scores = score(network, problem.test)
        state["loss"].append(loss)
        state["joint_error"].append(scores.joint_error)
        save_checkpoint(path, asdict(settings), state, learners)
        tell(
            f"level {level}, {head}, epoch {state['epoch']} of {settings.epochs}: loss {loss:.4f}, "
            f"joints {scores.joint_error:.2f} px, angles {scores.angle_error:.2f} degrees"
        )
    return network


def checkpoint_path(folder: Path, level: int, head: str) -> Path:
    """Return where a network's checkpoint lies."""
    return folder / f"level{level}_{head}.pt"


def _epoch(
    network: ToyNetwork,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    training: Samples,
    settings: Settings,
    epoch: int,
) -> float:
    """Go once through the training samples, in the order that seed and epoch give, and return the mean loss."""
    network.train()
    shuffle = torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch)
    order = torch.randperm(len(training.images), generator=shuffle).to(training.images.device)
    batches = [rows for rows in order.split(settings.batch) if len(rows) == settings.batch]
    total = torch.zeros((), device=training.images.device)
    for rows in batches:
        loss = network.loss(Samples(*(tensor[rows] for tensor in training)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        total += loss.detach()
    return float(total) / len(batches)


def _to(samples: Samples, device: torch.device | str) -> Samples:
    return Samples(*(tensor.to(device) for tensor in samples))


def main() -> int:
    """Train what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levels", type=int, nargs="+", choices=LEVELS, default=LEVELS)
    parser.add_argument("--heads", nargs="+", choices=HEADS, default=HEADS)
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FOLDER")
    parser.add_argument("--quick", action="store_true", help="10 epochs in place of the paper's 50")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bfloat16", action="store_true", help="faster where the processor has it")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    options = parser.parse_args()
    settings = replace(QUICK if options.quick else Settings(), seed=options.seed, bfloat16=options.bfloat16)
    try:
        device, notice = resolve_device(options.device)
        set_cpu_threads()
        _say(notice)
        for level in options.levels:
            problem = make_problem(level, settings, device)
            for head in options.heads:
                train(problem, head, settings, options.output)
    except Video2RigError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
