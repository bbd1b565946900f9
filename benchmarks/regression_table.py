# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the regression's tables: a solver's answers to test sequences, and their scores."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # a script finds only what lies beside it

import numpy as np

from models.kinematic_regressor.evaluate import score
from models.kinematic_regressor.protocol import TestSequence

Answer = tuple[np.ndarray | None, np.ndarray]
"""Local rotations [T, J, 3, 3], or None where a solver says none, and joints [T, J, 3], metres."""

Solver = Callable[[TestSequence], Answer]

SPEED = "frames a second"
COLUMNS = {
    "MPJPE": "MPJPE",
    "worst": "MPJPE of the worst sequence",
    "PA": "PA-MPJPE",
    "MPJAS": "MPJAS",
    "constant out": "MPJAS without offsets",
    "shoulder": "twist of the shoulder",
    "hip": "twist of the hip",
    "forearm": "twist of the forearm",
    "bones": "bone length deviation",
    "accel": "acceleration",
    "frames/s": SPEED,
}
_LABEL, _VALUE = 52, 13


def measured(drawn: list[list[TestSequence]], solver: Solver) -> dict[str, float]:
    """Return a row: scores and speed, means over the seeds of each list of sequences, and the worst sequence of all."""
    solver(drawn[0][0])  # what is compiled on first use is not timed
    tables = []
    for tests in drawn:
        begin = time.process_time()
        answers = [solver(test) for test in tests]
        seconds = time.process_time() - begin
        rotations = [rotation for rotation, _ in answers if rotation is not None]
        table = score(tests, rotations or None, [joints for _, joints in answers])
        tables.append(table | {SPEED: sum(len(test.rotation) for test in tests) / seconds})
    return {name: float((max if "worst" in name else np.mean)([table[name] for table in tables])) for name in tables[0]}


def print_heads() -> None:
    """Print what the columns are."""
    print(" " * _LABEL + "".join(f"{label:>{_VALUE}}" for label in COLUMNS))


def print_row(label: str, row: dict[str, float]) -> None:
    """Print a row; what a solver does not say is a dash."""
    values = [
        f"{row[name]:{_VALUE}.{0 if name == SPEED else 1}f}" if name in row else f"{'-':>{_VALUE}}"
        for name in COLUMNS.values()
    ]
    print(f"{label:{_LABEL}}" + "".join(values), flush=True)
