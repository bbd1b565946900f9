# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.kinematic_regressor import train as module
from models.kinematic_regressor.batches import Batch, Batches
from models.kinematic_regressor.heads import HEADS
from models.kinematic_regressor.train import Plan, TrainingError, rate_at, train
from small_clips import small_clips
from video2rig.human import default_human
from video2rig.regression import RegressionError
from video2rig.regression.network import load

CLIPS = small_clips()
PLAN = Plan(steps=4, batch=2, frames=6, width=16)


class Killed(Exception):
    """What a run is stopped with."""


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "weights.safetensors")


@pytest.mark.parametrize("head", HEADS)
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = replace(PLAN, head=head)
    train(CLIPS, plan, tmp_path / "whole")

    draw, drawn = Batches.draw, []

    def draw_twice(self: Batches, count: int, frames: int, measured: float) -> Batch:
        if len(drawn) == 2:
            raise Killed
        drawn.append(count)
        return draw(self, count, frames, measured)

    monkeypatch.setattr(module, "_SAVED_EVERY", -1.0)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Batches, "draw", draw_twice)
        train(CLIPS, plan, tmp_path / "stopped")
    halfway = weights(tmp_path / "stopped")
    train(CLIPS, plan, tmp_path / "stopped")
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name
    assert any(not torch.equal(value, halfway[name]) for name, value in whole.items())


def test_the_seed_decides_the_weights(tmp_path: Path) -> None:
    plan = replace(PLAN, steps=1)
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        train(CLIPS, replace(plan, seed=seed), tmp_path / name)
    one, same, other = (weights(tmp_path / name) for name in ("one", "same", "other"))
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    assert not torch.equal(one["enter.weight"], other["enter.weight"])


def test_the_weights_are_those_that_the_regressor_reads(tmp_path: Path) -> None:
    train(CLIPS, PLAN, tmp_path)
    assert load(tmp_path / "weights.safetensors", default_human()).shape.width == 16


def test_training_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TOLD_EVERY", 20)
    monkeypatch.setattr(module, "_WARM_UP", 5)
    train(CLIPS, Plan(steps=80, batch=8, frames=12, width=32, rate=5e-3), tmp_path)
    curve = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert [line["step"] for line in curve] == [20, 40, 60, 80]
    assert curve[-1]["joints"] < 0.9 * curve[0]["joints"] and curve[-1]["local"] < curve[0]["local"]


def test_the_curve_of_a_resumed_run_is_a_mean_of_the_steps_it_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TOLD_EVERY", 4)
    train(CLIPS, PLAN, tmp_path / "whole")
    (whole,) = map(json.loads, (tmp_path / "whole" / "curve.jsonl").read_text().splitlines())
    checkpoint = tmp_path / "whole" / "checkpoint.pt"
    state = torch.load(checkpoint, weights_only=True) | {"step": 3}
    torch.save(state, checkpoint)
    train(CLIPS, PLAN, tmp_path / "whole")
    last = json.loads((tmp_path / "whole" / "curve.jsonl").read_text().splitlines()[-1])
    assert last["joints"] == pytest.approx(whole["joints"], rel=0.5)


def test_training_may_begin_from_weights(tmp_path: Path) -> None:
    train(CLIPS, PLAN, tmp_path / "first")
    begin = tmp_path / "first" / "weights.safetensors"
    train(CLIPS, replace(PLAN, steps=1, rate=0.0, begin=str(begin)), tmp_path / "second")
    first, second = weights(tmp_path / "first"), weights(tmp_path / "second")
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    with pytest.raises(RegressionError, match="absent"):
        train(CLIPS, replace(PLAN, begin=str(tmp_path / "absent.safetensors")), tmp_path / "third")


def test_a_run_that_goes_astray_is_stopped_before_its_weights_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = Batches.draw

    def astray(self: Batches, count: int, frames: int, measured: float) -> Batch:
        batch = draw(self, count, frames, measured)
        return replace(batch, joints=batch.joints * torch.nan)

    monkeypatch.setattr(Batches, "draw", astray)
    with pytest.raises(TrainingError, match="step 0"):
        train(CLIPS, PLAN, tmp_path)
    assert not (tmp_path / "weights.safetensors").exists()


def test_another_plans_checkpoint_is_refused(tmp_path: Path) -> None:
    train(CLIPS, replace(PLAN, steps=1), tmp_path)
    with pytest.raises(TrainingError, match=r"another plan.*--out"):
        train(CLIPS, PLAN, tmp_path)


def test_the_learning_rate_rises_and_falls() -> None:
    rates = np.array([rate_at(step, 1000) for step in range(1000)])
    assert rates[0] == pytest.approx(0.01) and rates.argmax() == 99 and rates.max() > 0.97
    assert (np.diff(rates[99:]) < 0).all() and rates[-1] == pytest.approx(0.01, abs=1e-4)


def test_missing_motion_capture_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["train", "--mocap", str(tmp_path), "--out", str(tmp_path / "out")])
    assert module.main() == 1
    assert str(tmp_path / "cmu_train.npz") in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
