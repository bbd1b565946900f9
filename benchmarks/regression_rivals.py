# SPDX-License-Identifier: GPL-3.0-or-later
"""The heads of Zhou et al. 2016, Table 1, trained alike: direct joint, ModelFit, direct parameter, kinematic.

Networks take long to train, so what was measured of them is kept in regression_rivals.json.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from environment import describe
from regression_table import Answer, measured, print_heads, print_row

from models.kinematic_regressor.evaluate import placed, predicted
from models.kinematic_regressor.protocol import TestSequence
from models.kinematic_regressor.rivals import JointRegressor, fitted
from video2rig.regression import RegressionError, Regressor

KEPT = Path(__file__).with_suffix(".json")
_HEADS = {"direct joint": "joint", "direct parameter": "parameter", "kinematic": "kinematic"}


def measure(folder: Path, drawn: list[list[TestSequence]], seeds: list[int]) -> None:
    """Measure networks in folders named as their heads, and keep their figures.

    Args:
        drawn: Sequences of each of the seeds.

    Raises:
        RegressionError: A network is not there, or was not trained as the others were.
    """
    plan = _common_plan(folder)
    joint = JointRegressor(folder / _HEADS["direct joint"] / "weights.safetensors")
    rows = {
        "direct joint": measured(drawn, partial(_direct_joint, joint)),
        "ModelFit": measured(drawn, partial(_model_fit, joint)),
    }
    for label in ("direct parameter", "kinematic"):
        regressor = Regressor.load(folder / _HEADS[label] / "weights.safetensors")
        rows[label] = measured(drawn, partial(_said, regressor))
    facts = {
        "plan": plan,
        "environment": describe(torch.device("cpu")),
        "seeds": seeds,
        "sequences": sum(map(len, drawn)),
    }
    rounded = {label: {name: round(value, 3) for name, value in row.items()} for label, row in rows.items()}
    KEPT.write_text(json.dumps(facts | {"rows": rounded}, indent=1) + "\n")


def print_table() -> None:
    """Print what is kept.

    Raises:
        RegressionError: Nothing is.
    """
    if not KEPT.is_file():
        raise RegressionError(
            f"no figures of rivals are kept at {KEPT}; train them, and name their folder with --rivals"
        )
    kept = json.loads(KEPT.read_text())
    plan = kept["plan"]
    print(
        f"\nheads, each trained for {plan['steps']} steps of {plan['batch']} windows of {plan['frames']} frames, seed "
        f"{plan['seed']}: an equal and small budget\nbody and focal length known; {kept['sequences']} sequences, seeds "
        f"{', '.join(map(str, kept['seeds']))}; {kept['environment']}"
    )
    print_heads()
    for label, row in kept["rows"].items():
        print_row(label, row)


def _direct_joint(network: JointRegressor, test: TestSequence) -> Answer:
    return None, network.predict(test)[:, : len(test.body)]


def _model_fit(network: JointRegressor, test: TestSequence) -> Answer:
    rotation = fitted(test.body, network.predict(test), test.keypoints.times)
    return rotation, placed(test.body, rotation)


def _said(regressor: Regressor, test: TestSequence) -> Answer:
    rotation = predicted(regressor, test)[0].rotation
    return rotation, placed(test.body, rotation)


def _common_plan(folder: Path) -> dict[str, Any]:
    """Return what networks were trained with, all of them alike and to the end."""
    plans = []
    for head in _HEADS.values():
        checkpoint = folder / head / "checkpoint.pt"
        if not checkpoint.is_file():
            raise RegressionError(f"there is no {checkpoint}; train it with --head {head} --out {checkpoint.parent}")
        state = torch.load(checkpoint, weights_only=True, map_location="cpu")
        plan = state["plan"]
        if plan.pop("head") != head or state["step"] < plan["steps"]:
            raise RegressionError(f"{checkpoint} is not of a finished network with the head {head}")
        plans.append(plan)
    if any(plan != plans[0] for plan in plans):
        raise RegressionError(f"the networks in {folder} were not trained alike: {plans}")
    return plans[0]
