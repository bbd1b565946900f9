# SPDX-License-Identifier: GPL-3.0-or-later
"""Train the regression network: resumable, seeded, the same script on a CPU and on a large GPU.

python -m models.kinematic_regressor.train --mocap FOLDER --steps 15000
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import torch
from torch import nn

from video2rig.regression.motion_parameters import MotionParameters
from video2rig.regression.network import Shape, TemporalNetwork, save

from .batches import Batches
from .loss import Loss
from .mocap import load_clips

_WARM_UP = 100
_LAST_RATE = 0.01  # of the highest learning rate


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


def main() -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mocap", type=Path, required=True, help="folder of cmu_train.npz")
    parser.add_argument("--out", type=Path, default=Path("build/kinematic_regressor"), help="checkpoint and curve")
    parser.add_argument("--steps", type=int, default=15000)
    parser.add_argument("--batch", type=int, default=60, help="windows a step")
    parser.add_argument("--frames", type=int, default=64, help="frames a window")
    parser.add_argument("--width", type=int, default=Shape.width)
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    options.out.mkdir(parents=True, exist_ok=True)

    batches = Batches(load_clips(options.mocap / "cmu_train.npz"), options.seed, options.device)
    skeleton = batches.composer.skeleton
    parameters = MotionParameters(skeleton, options.device)
    network = _network(batches, parameters, Shape(width=options.width)).to(options.device)
    loss, learning = Loss(skeleton, parameters, batches.bodies), optimisers(network, options.rate)
    checkpoint = options.out / "checkpoint.pt"
    begin = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        for optimiser, known in zip(learning, state["learning"], strict=True):
            optimiser.load_state_dict(known)
        batches.restore(state["random"])
        begin = state["step"]
    curve = (options.out / "curve.jsonl").open("a")
    since, saved, sums, summed = time.monotonic(), time.monotonic(), {}, 0
    for step in range(begin, options.steps):
        for optimiser in learning:
            for group in optimiser.param_groups:
                group["lr"] = options.rate * rate_at(step, options.steps)
        batch = batches.draw(options.batch, options.frames)
        with torch.autocast(torch.device(options.device).type, dtype=torch.bfloat16):
            said = network(batch.features)
        value, parts = loss(said, batch)
        network.zero_grad()
        value.backward()
        if not nn.utils.clip_grad_norm_(network.parameters(), 1.0).isfinite():
            raise SystemExit(f"step {step}: the gradient is not finite; lower --rate and go on from {checkpoint}")
        for optimiser in learning:
            optimiser.step()
        sums, summed = {name: sums.get(name, 0.0) + part for name, part in parts.items()}, summed + 1
        if (step + 1) % 100 == 0:
            line = {"step": step + 1, "seconds": round(time.monotonic() - since, 1)}
            line |= {name: round(total / summed, 5) for name, total in sums.items()}
            print(json.dumps(line), file=curve, flush=True)
            print(line, flush=True)
            sums, summed = {}, 0
        if time.monotonic() - saved > 60 or step + 1 == options.steps:
            saved = time.monotonic()
            state = {"network": network.state_dict(), "learning": [o.state_dict() for o in learning]}
            _replace(checkpoint, state | {"random": batches.state(), "step": step + 1})
            save(network, options.out / "weights.safetensors")


def _network(batches: Batches, parameters: MotionParameters, shape: Shape) -> TemporalNetwork:
    angles, orientation = batches.composer.mean()
    local = batches.bodies.chain.local_rotations(angles)
    rest = batches.bodies.chain.rest_rotation[0]
    upright = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]], device=orientation.device)  # before a level camera
    local[0] = rest.T @ upright @ orientation
    return TemporalNetwork(batches.composer.skeleton, shape, parameters.written(local, angles))


def _replace(path: Path, state: dict[str, object]) -> None:
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


if __name__ == "__main__":
    main()
