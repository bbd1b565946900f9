# SPDX-License-Identifier: GPL-3.0-or-later
"""Train the regression network: resumable, seeded, the same script on a CPU and on a large GPU.

    python -m models.kinematic_regressor.train --mocap FOLDER --steps 15000

Needs torch 2.9 or later, which has Muon.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from torch import nn

from video2rig.errors import Video2RigError
from video2rig.regression.network import Shape, TemporalNetwork, load, save

from .batches import Batches
from .heads import HEADS
from .mocap import Clips, load_clips

_WARM_UP = 100
_LAST_RATE = 0.01  # of the highest learning rate
_SAVED_EVERY = 60.0  # seconds
_TOLD_EVERY = 100  # steps


class TrainingError(Video2RigError):
    """A training run that cannot go on from the one that is there."""


@dataclass(frozen=True)
class Plan:
    """What the weights follow from, with the clips.

    Attributes:
        head: A name in :data:`heads.HEADS`. batch: windows a step. frames: of a window. width: of the network.
        rate: the highest learning rate. measured: share of the windows with errors that were measured on rendered
            people. begin: path of the weights to begin from; "" for random ones.
    """

    head: str = "kinematic"
    steps: int = 15000
    batch: int = 60
    frames: int = 64
    width: int = Shape.width
    rate: float = 4e-3
    measured: float = 0.0
    begin: str = ""
    seed: int = 1


def optimisers(network: TemporalNetwork, rate: float) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices inside (Jordan 2024), AdamW for what enters, leaves and shifts."""
    inside = [p for name, p in network.named_parameters() if p.ndim == 2 and name.startswith(("blocks", "frame"))]
    known = {id(parameter) for parameter in inside}
    outside = [parameter for parameter in network.parameters() if id(parameter) not in known]
    return [
        torch.optim.Muon(inside, lr=rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(outside, lr=rate, weight_decay=0.01, betas=(0.9, 0.98)),
    ]


def rate_at(step: int, steps: int) -> float:
    """Return the share of the highest learning rate: up quickly, then down as a cosine."""
    cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
    return min(1.0, (step + 1) / _WARM_UP) * (cosine * (1 - _LAST_RATE) + _LAST_RATE)


def train(clips: Clips, plan: Plan, out: Path, device: str = "cpu") -> None:
    """Train, going on from the checkpoint in a folder if it holds one; write weights.safetensors and curve.jsonl there.

    Raises:
        TrainingError: The checkpoint is another plan's. RegressionError: There are no weights to begin from.
    """
    torch.manual_seed(plan.seed)
    batches = Batches(clips, plan.seed, device)
    network, loss = HEADS[plan.head](batches, Shape(width=plan.width))
    if plan.begin:
        network.load_state_dict(load(Path(plan.begin), clips.skeleton).state_dict())
    network = network.to(device)
    learning = optimisers(network, plan.rate)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "checkpoint.pt"
    begin = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        if state["plan"] != asdict(plan):
            raise TrainingError(f"{checkpoint} is of another plan: {state['plan']}; name another folder with --out")
        network.load_state_dict(state["network"])
        for optimiser, known in zip(learning, state["learning"], strict=True):
            optimiser.load_state_dict(known)
        batches.restore(state["random"])
        begin = state["step"]
    since, saved, sums, summed = time.monotonic(), time.monotonic(), {}, 0
    for step in range(begin, plan.steps):
        for optimiser in learning:
            for group in optimiser.param_groups:
                group["lr"] = plan.rate * rate_at(step, plan.steps)
        batch = batches.draw(plan.batch, plan.frames, plan.measured)
        with torch.autocast(torch.device(device).type, dtype=torch.bfloat16):
            said = network(batch.features)
        value, parts = loss(said, batch)
        network.zero_grad()
        value.backward()
        if not nn.utils.clip_grad_norm_(network.parameters(), 1.0).isfinite():
            raise TrainingError(f"step {step}: the gradient is not finite; begin in another folder with a lower rate")
        for optimiser in learning:
            optimiser.step()
        sums, summed = {name: sums.get(name, 0.0) + part for name, part in parts.items()}, summed + 1
        if (step + 1) % _TOLD_EVERY == 0:
            line = {"step": step + 1, "seconds": round(time.monotonic() - since, 1)}
            line |= {name: round(total / summed, 5) for name, total in sums.items()}
            with (out / "curve.jsonl").open("a") as curve:
                print(json.dumps(line), file=curve)
            print(line, flush=True)
            sums, summed = {}, 0
        if time.monotonic() - saved > _SAVED_EVERY or step + 1 == plan.steps:
            saved = time.monotonic()
            state = {"network": network.state_dict(), "learning": [o.state_dict() for o in learning]}
            _replace(checkpoint, state | {"random": batches.state(), "step": step + 1, "plan": asdict(plan)})
            save(network, out / "weights.safetensors")


def _replace(path: Path, state: dict[str, object]) -> None:
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def main() -> int:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mocap", type=Path, required=True, help="folder of cmu_train.npz")
    parser.add_argument("--out", type=Path, default=Path("build/kinematic_regressor"), help="checkpoint and curve")
    parser.add_argument("--head", choices=HEADS, default=Plan.head)
    parser.add_argument("--steps", type=int, default=Plan.steps)
    parser.add_argument("--batch", type=int, default=Plan.batch, help="windows a step")
    parser.add_argument("--frames", type=int, default=Plan.frames, help="frames a window")
    parser.add_argument("--width", type=int, default=Plan.width)
    parser.add_argument("--rate", type=float, default=Plan.rate)
    parser.add_argument("--measured", type=float, default=Plan.measured, help="share of windows with measured errors")
    parser.add_argument(
        "--measured-from", type=float, default=Plan.measured_from, help="share of the steps before them"
    )
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    plan = Plan(**{field.name: getattr(options, field.name) for field in fields(Plan)})
    try:
        train(load_clips(options.mocap / "cmu_train.npz"), plan, options.out, options.device)
    except Video2RigError as error:
        print(f"train: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
