# SPDX-License-Identifier: GPL-3.0-or-later
"""The network's size and shapes, and weights files good and bad."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from video2rig.detection.openpose.checkpoint import load_network
from video2rig.detection.openpose.layout import STAGES
from video2rig.detection.openpose.network import OpenPoseNetwork, branch_layers
from video2rig.detection.openpose.stages import OpenPoseError

# layer -> inputs, outputs, kernel: Cao et al. 2017, as in the authors' model
REFERENCE = {
    "conv1_1": (3, 64, 3),
    "conv1_2": (64, 64, 3),
    "conv2_1": (64, 128, 3),
    "conv2_2": (128, 128, 3),
    "conv3_1": (128, 256, 3),
    "conv3_2": (256, 256, 3),
    "conv3_3": (256, 256, 3),
    "conv3_4": (256, 256, 3),
    "conv4_1": (256, 512, 3),
    "conv4_2": (512, 512, 3),
    "conv4_3_CPM": (512, 256, 3),
    "conv4_4_CPM": (256, 128, 3),
    "conv5_1_CPM_L1": (128, 128, 3),
    "conv5_3_CPM_L2": (128, 128, 3),
    "conv5_4_CPM_L1": (128, 512, 1),
    "conv5_5_CPM_L1": (512, 38, 1),
    "conv5_5_CPM_L2": (512, 19, 1),
    "Mconv1_stage2_L1": (185, 128, 7),
    "Mconv5_stage4_L2": (128, 128, 7),
    "Mconv6_stage6_L1": (128, 128, 1),
    "Mconv7_stage6_L1": (128, 38, 1),
    "Mconv7_stage6_L2": (128, 19, 1),
}


@functools.cache
def random_weights() -> dict[str, Tensor]:
    """Weights of all 6 stages that keep signals at a size where differences show."""
    torch.manual_seed(3)
    network = OpenPoseNetwork()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            assert module.bias is not None
            nn.init.normal_(module.bias, std=0.1)
    return network.state_dict()


def ported(name: str) -> str:
    """A layer's name with the prefix of the PyTorch port's modules."""
    layer = name.split(".")[0]
    if "_CPM_L" in layer:
        return f"model1_{layer[-1]}.{name}"
    if "_stage" in layer:
        return f"model{layer.split('_stage')[1][0]}_{layer[-1]}.{name}"
    return f"model0.{name}"


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    def write(weights: object, name: str = "weights.pth") -> Path:
        path = tmp_path / name
        if path.suffix == ".safetensors":
            save_file(weights, path)  # pyright: ignore[reportArgumentType]
        else:
            torch.save(weights, path)
        return path

    return write


@pytest.mark.parametrize(("stages", "convolutions", "millions"), [(2, 36, 17.17), (3, 50, 25.96), (6, 92, 52.31)])
def test_size(stages: int, convolutions: int, millions: float) -> None:
    network = OpenPoseNetwork(stages)
    assert sum(isinstance(module, nn.Conv2d) for module in network.modules()) == convolutions
    assert round(sum(parameter.numel() for parameter in network.parameters()) / 1e6, 2) == millions


def test_layers_have_the_paper_s_shapes() -> None:
    weights = random_weights()
    for layer, (inputs, outputs, kernel) in REFERENCE.items():
        assert weights[f"{layer}.weight"].shape == (outputs, inputs, kernel, kernel), layer
        assert weights[f"{layer}.bias"].shape == (outputs,), layer


def test_forward_equals_the_layers_written_out() -> None:
    """A straightforward reading of the paper: ReLU after every layer but the last of each branch."""
    weights = random_weights()
    network = OpenPoseNetwork(3)
    network.load_state_dict({name: weights[name] for name in network.state_dict()})
    pixels = 255 * torch.rand(2, 3, 32, 40, generator=torch.Generator().manual_seed(0))

    def layer(x: Tensor, name: str, relu: bool = True) -> Tensor:
        kernel = weights[f"{name}.weight"]
        x = functional.conv2d(x, kernel, weights[f"{name}.bias"], padding=kernel.shape[2] // 2)
        return x.clamp(min=0) if relu else x

    x = torch.stack([pixels[:, 2], pixels[:, 1], pixels[:, 0]], 1) / 256 - 0.5
    for number, block in enumerate((("1_1", "1_2"), ("2_1", "2_2"), ("3_1", "3_2", "3_3", "3_4"))):
        for name in block:
            x = layer(x, f"conv{name}")
        x = functional.max_pool2d(x, 2)
        assert x.shape[2] == 32 // 2 ** (number + 1)
    for name in ("4_1", "4_2", "4_3_CPM", "4_4_CPM"):
        x = layer(x, f"conv{name}")
    features, before = x, None
    with torch.inference_mode():
        outputs = network(network.normalise(pixels))
    assert len(outputs) == 3
    for stage, output in enumerate(outputs, 1):
        x = features if before is None else torch.cat([*before, features], 1)
        before = []
        for branch in ("L1", "L2"):
            y = x
            names = list(branch_layers(stage, branch))
            for name in names:
                y = layer(y, name, relu=name != names[-1])
            before.append(y)
        torch.testing.assert_close(output.fields, before[0], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(output.heat, before[1], rtol=1e-3, atol=1e-3)
        assert (output.fields < 0).any() and (output.heat < 0).any()  # no ReLU at the end


def test_grey_padding_is_zero() -> None:
    assert (OpenPoseNetwork(2).normalise(torch.full((1, 3, 2, 2), 128.0)) == 0).all()


@pytest.mark.parametrize("prefix", ["", "module.", "ported", "module.ported"])
@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_round_trip(save: Callable[..., Path], prefix: str, name: str) -> None:
    weights = random_weights()
    renamed = {
        prefix.replace("ported", "") + (ported(key) if "ported" in prefix else key): value
        for key, value in weights.items()
    }
    network = load_network(save(renamed, name), 6)
    assert network.stages == 6
    for key, value in network.state_dict().items():
        torch.testing.assert_close(value, weights[key], rtol=0, atol=0)


@pytest.mark.parametrize("stages", STAGES)
def test_a_file_of_six_stages_runs_with_fewer(save: Callable[..., Path], stages: int) -> None:
    whole, part = OpenPoseNetwork(6), load_network(save(random_weights()), stages)
    whole.load_state_dict(random_weights())
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)) - 0.5
    with torch.inference_mode():
        expected, got = whole(image)[:stages], part(image)
    assert len(got) == stages
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_half_precision_files_are_read(save: Callable[..., Path]) -> None:
    halves = {name: value.half() for name, value in random_weights().items()}
    network = load_network(save(halves), 2)
    assert all(value.dtype == torch.float32 for value in network.state_dict().values())


@pytest.mark.parametrize("stages", [-1, 0, 1, 7])
def test_impossible_stages_are_refused(stages: int) -> None:
    with pytest.raises(OpenPoseError, match=rf"{stages} stages were asked for; 2 to 6 are possible"):
        OpenPoseNetwork(stages)


def test_too_few_stages_in_the_file(save: Callable[..., Path]) -> None:
    few = {name: value for name, value in random_weights().items() if not any(f"stage{n}" in name for n in (4, 5, 6))}
    path = save(few)
    assert load_network(path, 3).stages == 3
    with pytest.raises(OpenPoseError, match="holds 3 stages; 5 were asked for"):
        load_network(path, 5)


def test_missing_and_misshapen_layers_are_named(save: Callable[..., Path]) -> None:
    weights = dict(random_weights())
    del weights["conv3_2.bias"], weights["Mconv2_stage2_L1.weight"]
    with pytest.raises(OpenPoseError, match=r"lacks Mconv2_stage2_L1.weight, conv3_2.bias$"):
        load_network(save(weights), 6)
    weights = dict(random_weights()) | {"conv1_1.weight": torch.zeros(64, 4, 3, 3)}
    with pytest.raises(OpenPoseError, match=r"conv1_1.weight \(64, 4, 3, 3\), not \(64, 3, 3, 3\)"):
        load_network(save(weights), 2)
    weights = dict(random_weights()) | {f"extra{i}.weight": torch.zeros(1) for i in range(5)}
    with pytest.raises(OpenPoseError, match=r"has no extra0.weight, extra1.weight, extra2.weight and 2 more"):
        load_network(save(weights), 6)
    weights = dict(random_weights()) | {"conv1_2.bias": torch.full((64,), float("nan"))}
    with pytest.raises(OpenPoseError, match=r"not finite in conv1_2.bias"):
        load_network(save(weights), 6)


def test_other_models_and_broken_files_are_refused(save: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(OpenPoseError, match=r"is of another model: it has 0.bias, 0.weight; the OpenPose network has"):
        load_network(save(nn.Sequential(nn.Linear(3, 4)).state_dict()))
    for content in ([torch.zeros(3)], {}, {"conv1_1.weight": 3}, torch.zeros(2)):
        with pytest.raises(OpenPoseError, match="holds no tensors by name"):
            load_network(save(content))
    with pytest.raises(OpenPoseError, match="there is no such file"):
        load_network(tmp_path / "nothing.pth")
    with pytest.raises(OpenPoseError, match="there is no such file"):
        load_network(tmp_path)
    twice = {"conv1_1.bias": torch.zeros(64), "model0.conv1_1.bias": torch.zeros(64)}
    with pytest.raises(OpenPoseError, match="names the same layer twice"):
        load_network(save(twice))


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.999])
def test_truncated_files_are_refused(save: Callable[..., Path], name: str, part: float) -> None:
    whole = save({name: value for name, value in random_weights().items() if "stage" not in name}, name)
    data = whole.read_bytes()
    whole.write_bytes(data[: int(part * len(data))])
    with pytest.raises(OpenPoseError, match=r"is damaged, truncated or no"):
        load_network(whole, 2)


def test_either_kind_of_file_is_known_by_its_content(save: Callable[..., Path], tmp_path: Path) -> None:
    whole = save(random_weights(), "weights.safetensors")
    assert load_network(whole.rename(tmp_path / "body_pose_model.pth"), 2).stages == 2
    for content in (b"<!DOCTYPE html><html>", b"not a model at all", bytes(20)):
        (tmp_path / "page.pth").write_bytes(content)
        with pytest.raises(OpenPoseError, match=r"page\.pth: is damaged, truncated or no file of tensors") as told:
            load_network(tmp_path / "page.pth")
        assert "\n" not in str(told.value) and "failed" not in str(told.value)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (tmp_path.joinpath("run").write_text, ("x",))

    path = tmp_path / "evil.pth"
    torch.save({"conv1_1.weight": Evil()}, path)
    with pytest.raises(OpenPoseError, match="is damaged, truncated or no file of tensors alone") as told:
        load_network(path)
    assert "weights_only" not in str(told.value), "torch's advice to load it unchecked"
    assert "it asks for getattr, which is not loaded; a right one holds model.state_dict() alone" in str(told.value)
    assert not (tmp_path / "run").exists()
