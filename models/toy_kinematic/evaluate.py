# SPDX-License-Identifier: GPL-3.0-or-later
"""Score the toy problem's networks on their test samples.

    python -m models.toy_kinematic.evaluate [--input build/toy_kinematic] [--output scores.json]

Every network of the folder that was trained to its end is scored; those that were not are named and left out.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from models.toy_kinematic.figure import LEVELS
from models.toy_kinematic.metrics import score
from models.toy_kinematic.network import HEADS, ToyNetwork
from models.toy_kinematic.train import OUTPUT, Settings, checkpoint_path, make_problem
from video2rig.errors import Video2RigError


class NothingToEvaluate(Video2RigError):
    """A folder without a network that was trained to its end."""


def evaluate(folder: Path) -> dict[str, Any]:
    """Return the settings and a row for each finished network: its scores and its curves over the epochs.

    Raises:
        NothingToEvaluate: No network of the folder is finished.
    """
    rows: list[dict[str, Any]] = []
    shared: dict[str, Any] = {}
    for level in LEVELS:
        found = {head: checkpoint_path(folder, level, head) for head in HEADS}
        checkpoints = {
            head: torch.load(path, map_location="cpu", weights_only=True)
            for head, path in found.items()
            if path.exists()
        }
        if not checkpoints:
            continue
        shared = next(iter(checkpoints.values()))["settings"]
        settings = Settings(**shared)
        problem = make_problem(level, settings)
        for head, checkpoint in checkpoints.items():
            state = checkpoint["state"]
            if checkpoint["settings"] != shared or state["epoch"] < settings.epochs:
                print(f"left out: level {level}, {head}, after {state['epoch']} of {settings.epochs} epochs")
                continue
            network = ToyNetwork(problem.figure, head, settings.bfloat16)
            network.load_state_dict(checkpoint["network"])
            run = {"level": level, "head": head, "parameters": problem.figure.size, "seconds": state["seconds"]}
            curves = {"loss": state["loss"], "test_joint_error": state["joint_error"]}
            rows.append({**run, **score(network, problem.test)._asdict(), **curves})
    if not rows:
        raise NothingToEvaluate(f"{folder} holds no finished network; python -m models.toy_kinematic.train makes them")
    return {"settings": shared, "runs": rows}


def table(rows: list[dict[str, Any]]) -> str:
    """Return the scores as lines of text, a network a line."""
    lines = [
        f"{'level':>5} {'head':<17}{'joints px':>10}{'95 %':>7}{'worst':>7}{'angles °':>10}{'bones px':>10}{'worst':>7}"
    ]
    for row in rows:
        lines.append(
            f"{row['level']:>5} {row['head']:<17}{row['joint_error']:>10.2f}{row['joint_error_95']:>7.1f}"
            f"{row['joint_error_worst']:>7.1f}{row['angle_error']:>10.2f}{row['length_deviation']:>10.2f}"
            f"{row['length_deviation_worst']:>7.1f}"
        )
    return "\n".join(lines)


def main() -> int:
    """Score a folder, print the table, and write the scores if that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, default=OUTPUT, metavar="FOLDER")
    parser.add_argument("--output", type=Path, metavar="JSON")
    options = parser.parse_args()
    try:
        results = evaluate(options.input)
    except Video2RigError as error:
        print(error, file=sys.stderr)
        return 1
    print(table(results["runs"]))
    if options.output is not None:
        options.output.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
