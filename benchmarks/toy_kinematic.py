# SPDX-License-Identifier: GPL-3.0-or-later
"""The toy problem of Zhou et al. 2016: joints and angles against complexity, the two curves of the paper's Fig. 5.

    python benchmarks/toy_kinematic.py [--quick] [--bfloat16] [--results JSON] [--image PNG]

Networks that are not trained yet are trained first, and can be cut off at any time. The paper prints numbers for
level 1 alone; those of its figure can only be read off.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import cv2
import numpy as np
from environment import describe

from models.toy_kinematic.evaluate import evaluate, table
from models.toy_kinematic.figure import LEVELS
from models.toy_kinematic.network import HEADS
from models.toy_kinematic.train import OUTPUT, QUICK, Settings, make_problem, train
from video2rig.device import resolve_device, set_cpu_threads
from video2rig.errors import Video2RigError

PAPER_LEVEL_1 = {"direct_joint": 5.1, "kinematic_joint": 4.9, "direct_parameter": 4.8}
"""Pixels; bones of the first vary by 5.3."""

_COLOURS = {"direct_joint": (40, 110, 220), "kinematic_joint": (60, 150, 60), "direct_parameter": (180, 110, 30)}
_PANELS = {"joint_error": "joints, pixels", "angle_error": "angles, degrees"}


def main() -> int:
    """Train what is missing, print the tables, write the results and draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK.epochs} epochs in place of the paper's 50")
    parser.add_argument("--bfloat16", action="store_true", help="faster where the processor has it")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where the networks are kept")
    parser.add_argument("--as-trained", action="store_true", help="train nothing, and score what is finished")
    parser.add_argument("--results", type=Path, metavar="JSON", help="where to write all that was measured")
    parser.add_argument("--image", type=Path, metavar="PNG", help="where to draw the curves")
    options = parser.parse_args()
    settings = replace(QUICK if options.quick else Settings(), bfloat16=options.bfloat16)
    folder = options.output or (OUTPUT.with_name("toy_quick") if options.quick else OUTPUT)
    try:
        set_cpu_threads()
        device, _ = resolve_device(options.device)
        for level in () if options.as_trained else LEVELS:
            problem = make_problem(level, settings, device)
            for head in HEADS:
                train(problem, head, settings, folder)
        results = {"environment": describe(device), **evaluate(folder)}
    except Video2RigError as error:
        print(error, file=sys.stderr)
        return 1
    print(results["environment"])
    print(", ".join(f"{name} {value}" for name, value in results["settings"].items()))
    print(table(results["runs"]))
    print("the paper, level 1: " + ", ".join(f"{head} {error} px" for head, error in PAPER_LEVEL_1.items()))
    if options.results is not None:
        options.results.write_text(json.dumps(results, indent=1) + "\n")
    if options.image is not None and not cv2.imwrite(str(options.image), draw(results["runs"])):
        raise SystemExit(f"{options.image}: cannot be written")
    return 0


def draw(rows: list[dict[str, Any]], width: int = 460, height: int = 330) -> np.ndarray:
    """Return a picture [height, 2 width, 3] BGR of joint and angle errors against the level."""
    return np.hstack([_panel(rows, key, title, width, height) for key, title in _PANELS.items()])


def _panel(rows: list[dict[str, Any]], key: str, title: str, width: int, height: int) -> np.ndarray:
    left, right, top, bottom = 50, 20, 70, 40
    picture = np.full((height, width, 3), 255, np.uint8)
    most = max(row[key] for row in rows)
    step = next(step for step in (0.2, 0.5, 1, 2, 5, 10, 20, 50) if most <= 6 * step)

    def place(level: float, value: float) -> tuple[int, int]:
        across = (level - LEVELS[0]) / (LEVELS[-1] - LEVELS[0])
        up = value / (step * np.ceil(most / step))
        return round(left + across * (width - left - right)), round(height - bottom - up * (height - top - bottom))

    def write(text: str, x: int, y: int, colour: tuple[int, int, int] = (60, 60, 60)) -> None:
        cv2.putText(picture, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)

    for tick in np.arange(0, most + step, step):
        _, y = place(LEVELS[0], tick)
        cv2.line(picture, (left, y), (width - right, y), (225, 225, 225), 1)
        write(f"{tick:g}", 12, y + 5)
    for level in LEVELS:
        write(str(level), place(level, 0)[0] - 4, height - bottom + 20)
    write(f"{title}, against level", left, 18)
    for number, head in enumerate(HEADS):
        write(head.replace("_", " "), left + 135 * number, 42, _COLOURS[head])
        points = [place(row["level"], row[key]) for row in rows if row["head"] == head]
        cv2.polylines(picture, [np.array(points, np.int32)], False, _COLOURS[head], 2, cv2.LINE_AA)
        for point in points:
            cv2.circle(picture, point, 4, _COLOURS[head], cv2.FILLED, cv2.LINE_AA)
    return picture


if __name__ == "__main__":
    sys.exit(main())
