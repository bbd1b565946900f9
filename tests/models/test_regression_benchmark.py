# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from shared_data import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import regression_rivals
import regression_table

import regression
from models.kinematic_regressor.protocol import TestSequence, sequences
from models.kinematic_regressor.rivals import JointRegressor, fitted
from models.kinematic_regressor.train import Plan, train
from random_network import random_network
from small_clips import small_clips
from video2rig.keypoints import sites
from video2rig.kinematics import KinematicChain
from video2rig.regression import RegressionError
from video2rig.regression.network import save
from video2rig.regression.points import POINTS

CLIPS = small_clips(lengths=(40, 31, 35))
PLAN = Plan(steps=1, batch=2, frames=6, width=16)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of each head, hardly trained."""
    folder = tmp_path_factory.mktemp("networks")
    for head in ("joint", "parameter", "kinematic"):
        train(CLIPS, replace(PLAN, head=head), folder / head)
    return folder


def places(test: TestSequence) -> np.ndarray:
    """True joints and points [T, J + P, 3], from the root."""
    chain = KinematicChain(test.body)
    joints, turned = chain.forward(torch.tensor(test.rotation), torch.zeros(len(test.rotation), 3, dtype=torch.float64))
    carrier, offset = sites(test.body, POINTS)
    points = joints[:, carrier] + (turned[:, carrier] @ torch.tensor(offset)[..., None])[..., 0]
    return torch.cat([joints, points], 1).numpy()


def test_a_body_that_is_fitted_to_the_truth_is_the_truth() -> None:
    test = sequences(CLIPS, seed=1)[0]
    found = fitted(test.body, places(test), test.keypoints.times)
    row = regression_table.measured([[test]], lambda _: (found, regression.placed(test.body, found)))
    assert row["MPJPE"] < 2.0 and row["MPJAS"] < 3.0 and row["root"] < 1.0


def test_direct_joints_turn_with_the_camera_that_was_turned_to_the_torso(networks: Path) -> None:
    test = sequences(CLIPS, seed=2)[0]
    said = JointRegressor(networks / "joint" / "weights.safetensors").predict(test)
    assert said.shape == (40, 22 + len(POINTS), 3)
    head, ankle = (test.body.index(role) for role in ("head", "left_ankle"))
    assert (said[:, head, 1] < said[:, ankle, 1]).all()  # the mean person stands upright: the picture's y points down


def test_rivals_that_were_trained_alike_are_measured_and_kept(
    networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(regression_rivals, "KEPT", tmp_path / "kept.json")
    regression_rivals.measure(networks, [sequences(CLIPS, seed)[:1] for seed in (1, 2)], [1, 2])
    kept = json.loads((tmp_path / "kept.json").read_text())
    assert kept["plan"]["steps"] == 1 and kept["seeds"] == [1, 2] and kept["sequences"] == 2
    rows = kept["rows"]
    assert list(rows) == ["direct joint", "ModelFit", "direct parameter", "kinematic"]
    assert "MPJAS" not in rows["direct joint"] and rows["direct joint"]["bone length deviation"] > 0.1
    for fixed in ("ModelFit", "direct parameter", "kinematic"):
        assert rows[fixed]["bone length deviation"] < 1e-3 and rows[fixed]["MPJAS"] > 1
    regression_rivals.print_table()
    printed = capsys.readouterr().out
    assert "1 steps of 2 windows" in printed and "ModelFit" in printed


def test_rivals_that_were_not_trained_alike_are_refused(networks: Path, tmp_path: Path) -> None:
    drawn = [sequences(CLIPS, 1)[:1]]
    with pytest.raises(RegressionError, match="--head joint"):
        regression_rivals.measure(tmp_path, drawn, [1])
    for head in ("joint", "parameter"):
        train(CLIPS, replace(PLAN, head=head), tmp_path / head)
    train(CLIPS, replace(PLAN, head="kinematic", seed=2), tmp_path / "kinematic")
    with pytest.raises(RegressionError, match="not trained alike"):
        regression_rivals.measure(tmp_path, drawn, [1])
    (tmp_path / "joint").rename(tmp_path / "spare")
    (tmp_path / "parameter").rename(tmp_path / "joint")
    with pytest.raises(RegressionError, match="head joint"):
        regression_rivals.measure(tmp_path, drawn, [1])


def test_rows_are_means_over_seeds_and_the_worst_sequence_of_all() -> None:
    drawn = [sequences(CLIPS, seed) for seed in (1, 2)]
    bad = drawn[1][2]

    def answer(test: TestSequence) -> regression_table.Answer:
        return test.rotation, test.joints + (0.1 * np.eye(22)[1][:, None] if test is bad else 0.0)

    row = regression_table.measured(drawn, answer)
    assert row["MPJPE of the worst sequence"] == pytest.approx(1e3 * 0.1 * np.sqrt(3) / 21)
    assert row["MPJPE"] == pytest.approx(row["MPJPE of the worst sequence"] * 35 / (40 + 31 + 35) / 2)


@pytest.mark.parametrize("lacking", ["weights", "mocap"])
def test_what_is_not_there_is_named(
    lacking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "weights.safetensors"
    if lacking == "mocap":
        save(random_network(), weights)
    monkeypatch.setattr(sys, "argv", ["regression", "--mocap", str(tmp_path), "--weights", str(weights)])
    assert regression.main() == 1
    named = weights if lacking == "weights" else tmp_path / "cmu_val.npz"
    assert str(named) in capsys.readouterr().err
