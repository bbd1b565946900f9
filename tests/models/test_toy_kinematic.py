# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.checkpoints import CheckpointError
from models.toy_kinematic import data
from models.toy_kinematic.evaluate import NothingToEvaluate, evaluate, table
from models.toy_kinematic.figure import BONE_LENGTH, LEVELS, Figure, wrapped
from models.toy_kinematic.metrics import score
from models.toy_kinematic.network import HEADS
from models.toy_kinematic.train import Settings, make_problem, train
from shared_data import ROOT
from strategies import seeds

sys.path.insert(0, str(ROOT / "benchmarks"))

import toy_kinematic

levels = st.sampled_from(LEVELS)
TINY = Settings(training=64, test=16, epochs=4, batch=16)


def any_parameters(figure: Figure, seed: int, count: int = 20) -> torch.Tensor:
    """Motion parameters [N, P] with bends, orientations and openings of any size that still tells left from right."""
    rng = np.random.default_rng(seed)
    parameters = rng.uniform(-3.1, 3.1, (count, figure.size))
    parameters[:, :2] *= 20
    parameters[:, 2 + (figure.level > 1)] = rng.uniform(0.05, 1.5, count)
    return torch.from_numpy(parameters).float()


def test_levels_have_the_papers_parameters() -> None:
    figures = [Figure(level) for level in LEVELS]
    assert [figure.size for figure in figures] == [3, 6, 8, 10]
    assert [figure.joints for figure in figures] == [3, 5, 7, 9]


@given(levels, seeds)
def test_angles_are_read_from_joints_as_they_went_in(level: int, seed: int) -> None:
    figure = Figure(level)
    parameters = any_parameters(figure, seed)
    joints = figure(parameters)
    assert torch.allclose(joints[:, 0], parameters[:, :2])
    assert wrapped(figure.angles_of(joints) - parameters[:, figure.angles]).abs().max() < 1e-4
    assert torch.allclose(figure.bone_lengths(joints), torch.tensor(BONE_LENGTH), rtol=1e-4)


@given(levels, seeds)
def test_the_right_arm_mirrors_the_left(level: int, seed: int) -> None:
    figure = Figure(level)
    parameters = any_parameters(figure, seed)
    bends = parameters[:, -2 * (level - 1) :].split(level - 1, dim=-1) if level > 1 else ()
    mirrored = parameters.clone()
    if bends:
        mirrored[:, 2] = -parameters[:, 2]
        mirrored[:, -2 * (level - 1) :] = torch.cat([bends[1], bends[0]], dim=-1)
    joints, other = figure(parameters), figure(mirrored)
    _, left, right = other.split([1, level, level], dim=1)
    swapped = torch.cat([other[:, :1], right, left], dim=1)
    across = torch.stack([2 * parameters[:, None, 0] - swapped[..., 0], swapped[..., 1]], dim=-1)
    assert torch.allclose(joints, across, atol=1e-3)


@pytest.mark.parametrize("level", LEVELS)
def test_a_picture_shows_the_bones_and_nothing_else(level: int) -> None:
    figure = Figure(level)
    images, parameters, joints = data.make_samples(figure, 5, 3)
    assert images.shape == (5, 1, data.SIZE, data.SIZE)
    assert images.dtype == torch.uint8
    assert torch.equal(joints, figure(parameters))
    assert ((joints > data.MARGIN) & (joints < data.SIZE - data.MARGIN)).all()
    parents = [0, *range(1, level), 0, *range(level + 1, 2 * level)]
    for image, places in zip(images[:, 0].numpy(), joints.numpy(), strict=True):
        along = np.linspace(places[parents], places[1:], 200).reshape(-1, 2)
        lit = np.argwhere(image)[:, ::-1] + 0.5
        distance = np.linalg.norm(lit[:, None] - along, axis=-1)
        assert image[tuple(along.astype(int).T[::-1])].all()
        assert distance.min(axis=1).max() < data.LINE_WIDTH / 2 + 1.5


def test_samples_are_their_seeds() -> None:
    one, again, other = (data.make_samples(Figure(2), 30, seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not torch.equal(one.parameters, other.parameters)


@pytest.mark.parametrize("head", HEADS)
def test_every_head_learns_a_handful_of_pictures(head: str, tmp_path: Path) -> None:
    settings = replace(TINY, epochs=30)
    problem = make_problem(1, settings)
    network = train(problem, head, settings, tmp_path, tell=lambda _: None)
    scores = score(network, problem.training)
    assert scores.joint_error < 4
    assert scores.angle_error < 6
    assert (scores.length_deviation < 1e-3) == (head != "direct_joint")


class Interrupted(Exception):
    pass


def test_a_run_that_was_cut_off_ends_as_if_it_was_not(tmp_path: Path) -> None:
    def stop_after_two(line: str) -> None:
        if "epoch 2" in line:
            raise Interrupted

    problem = make_problem(2, TINY)
    whole = train(problem, "kinematic_joint", TINY, tmp_path / "whole", tell=lambda _: None)
    with pytest.raises(Interrupted):
        train(problem, "kinematic_joint", TINY, tmp_path / "cut", tell=stop_after_two)
    told: list[str] = []
    resumed = train(problem, "kinematic_joint", TINY, tmp_path / "cut", tell=told.append)
    assert len(told) == TINY.epochs - 2
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    with pytest.raises(CheckpointError, match="was trained with"):
        train(problem, "kinematic_joint", replace(TINY, rate=1e-4), tmp_path / "cut")


def test_what_is_finished_is_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NothingToEvaluate, match="no finished network"):
        evaluate(tmp_path)

    def stop_at_once(_: str) -> None:
        raise Interrupted

    problem = make_problem(1, TINY)
    network = train(problem, "direct_parameter", TINY, tmp_path, tell=lambda _: None)
    with pytest.raises(Interrupted):
        train(problem, "direct_joint", TINY, tmp_path, tell=stop_at_once)
    results = evaluate(tmp_path)
    assert "left out: level 1, direct_joint, after 1 of 4 epochs" in capsys.readouterr().out
    (row,) = results["runs"]
    assert row["joint_error"] == pytest.approx(score(network, problem.test).joint_error)
    assert len(row["loss"]) == TINY.epochs
    assert f"{row['angle_error']:.2f}" in table(results["runs"])


def test_the_benchmark_trains_what_is_missing_and_draws_both_curves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(toy_kinematic, "QUICK", TINY)
    monkeypatch.setattr(toy_kinematic, "LEVELS", LEVELS[:2])
    results, image, folder = tmp_path / "results.json", tmp_path / "curves.png", str(tmp_path / "out")
    written = ["--results", str(results), "--image", str(image), "--output", folder]
    monkeypatch.setattr(sys, "argv", ["toy_kinematic.py", "--quick", "--device", "cpu", "--as-trained", *written])
    assert toy_kinematic.main() == 1
    monkeypatch.setattr(sys, "argv", ["toy_kinematic.py", "--quick", "--device", "cpu", *written])
    assert toy_kinematic.main() == 0
    runs = json.loads(results.read_text())["runs"]
    assert [(run["level"], run["head"]) for run in runs] == [(level, head) for level in LEVELS[:2] for head in HEADS]
    picture = cv2.imread(str(image))
    assert picture is not None
    for panel in np.split(picture, 2, axis=1):
        assert len(np.unique(panel.reshape(-1, 3), axis=0)) > len(HEADS)
    assert "the paper, level 1: direct_joint 5.1 px" in capsys.readouterr().out
