# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from random_network import random_network
from video2rig.human import default_human
from video2rig.paper_human import paper_human
from video2rig.regression import RegressionError
from video2rig.regression.features import FEATURES
from video2rig.regression.motion_parameters import MotionParameters
from video2rig.regression.network import FORMAT, Shape, TemporalNetwork, load, save

SIZE = MotionParameters(default_human()).size


@pytest.mark.parametrize("frames", [1, 2, 7, 70])
def test_any_number_of_frames_is_answered(frames: int) -> None:
    network = random_network(Shape(width=16, alternatives=3))
    said = network(torch.randn(2, frames, FEATURES))
    assert said.parameters.shape == (2, frames, SIZE)
    assert said.log_deviation.shape == (2, frames, 22, 3)
    assert said.alternatives.shape == (2, frames, 3, SIZE)


def test_a_frame_is_seen_as_far_as_the_dilations_reach_and_no_further() -> None:
    network = random_network()
    reach = sum(network.shape.dilations)
    features = torch.randn(1, 30, FEATURES)
    changed = features.clone()
    changed[:, 15] += 1.0
    with torch.no_grad():
        differs = (network(features).parameters != network(changed).parameters).any(-1)[0]
    assert differs.nonzero()[:, 0].tolist() == list(range(15 - reach, 15 + reach + 1))


def test_a_new_network_predicts_the_mean() -> None:
    mean = torch.randn(SIZE)
    said = TemporalNetwork(default_human(), Shape(width=16), mean)(torch.randn(1, 4, FEATURES))
    assert (said.parameters - mean).abs().max() < 0.2


def test_doubt_and_alternatives_teach_the_prediction_nothing() -> None:
    network = random_network()
    said = network(torch.randn(1, 5, FEATURES))
    (said.log_deviation.sum() + said.alternatives.square().sum()).backward()
    taught = {name.split(".")[0] for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert taught == {"doubt", "others"}


def test_weights_are_read_as_they_were_saved(tmp_path: Path) -> None:
    network = random_network(Shape(width=24, dilations=(1, 2, 5), alternatives=1))
    save(network, tmp_path / "weights.safetensors")
    same = load(tmp_path / "weights.safetensors", default_human())
    assert same.shape == network.shape and not same.training
    features = torch.randn(1, 9, FEATURES)
    with torch.no_grad():
        assert torch.equal(same(features).parameters, network(features).parameters)


def test_files_that_hold_no_weights_are_refused_by_name(tmp_path: Path) -> None:
    whole = tmp_path / "whole.safetensors"
    save(random_network(), whole)
    damaged, text = tmp_path / "damaged.safetensors", tmp_path / "notes.txt"
    damaged.write_bytes(whole.read_bytes()[:-100])
    text.write_text("no weights")
    for path in (damaged, text, tmp_path / "absent.safetensors", tmp_path):
        with pytest.raises(RegressionError, match=path.name):
            load(path, default_human())


def test_weights_of_another_version_or_kind_are_refused(tmp_path: Path) -> None:
    network = random_network()
    state = network.state_dict()
    facts = {"format": FORMAT, "shape": asdict(network.shape)}
    lacking = {name: value for name, value in state.items() if name != "norm.weight"}
    other_width = facts | {"shape": asdict(Shape(width=8, dilations=(1, 3)))}
    kinds = {
        "foreign": (state, None, "format none"),
        "newer": (state, facts | {"format": FORMAT + 1}, f"reads format {FORMAT}"),
        "lacking": (lacking, facts, "does not hold the weights"),
        "shapeless": (state, {"format": FORMAT}, "does not hold the weights"),
        "narrow": (state, other_width, "does not hold the weights"),
    }
    for name, (tensors, written, message) in kinds.items():
        path = tmp_path / f"{name}.safetensors"
        save_file(tensors, path, metadata=None if written is None else {"video2rig": json.dumps(written)})
        with pytest.raises(RegressionError, match=f"{name}.*{message}"):
            load(path, default_human())


def test_weights_for_another_skeleton_are_refused(tmp_path: Path) -> None:
    save(random_network(), tmp_path / "weights.safetensors")
    with pytest.raises(RegressionError, match="does not hold the weights"):
        load(tmp_path / "weights.safetensors", paper_human())
