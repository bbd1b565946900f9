# SPDX-License-Identifier: GPL-3.0-or-later
"""Weights of the OpenPose network from a file that the user brings.

The authors' weights are for non-commercial use only, so Video2Rig neither carries nor fetches them. A file is what
`torch.save` makes of a state dict, or safetensors, in the layer names of the authors' model: `conv1_1.weight`,
`Mconv7_stage6_L2.bias`; the prefixes of PyTorch ports (`model0.`, `model1_1.` ... `model6_2.`, `module.`) are allowed.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from .layout import STAGES
from .network import OpenPoseNetwork
from .stages import OpenPoseError, check_stages

_PREFIX = re.compile(r"(module\.)?(model\d(_\d)?\.)?")
_STAGE = re.compile(r"Mconv\d_stage(\d)_L\d\.")
_GLOBAL = re.compile(r"Unsupported global: GLOBAL (\S+)")
_NAMED = 3  # of a long list of names, so many are told


def load_network(path: str | Path, stages: int = 6) -> OpenPoseNetwork:
    """The network with the weights of a file; a file of more stages may be run with fewer.

    Raises:
        OpenPoseError: There is no such file, it cannot be read, is of another model, or has too few stages.
    """
    check_stages(stages)
    path = Path(path)
    weights = read_weights(path)
    with torch.device("meta"):
        complete = OpenPoseNetwork(STAGES[-1]).state_dict()
        network = OpenPoseNetwork(stages)
    if not weights.keys() & complete.keys():
        raise OpenPoseError(
            f"{path}: is of another model: it has {_some(weights)}; the OpenPose network has {_some(complete)}"
        )
    if unexpected := weights.keys() - complete.keys():
        raise OpenPoseError(f"{path}: is of another model: the OpenPose network has no {_some(unexpected)}")
    there = max((int(match[1]) for name in weights if (match := _STAGE.match(name))), default=1)
    if there < stages:
        raise OpenPoseError(f"{path}: holds {there} stages; {stages} were asked for")
    wanted = network.state_dict()
    if missing := [name for name in wanted if name not in weights]:
        raise OpenPoseError(f"{path}: lacks {_some(missing)}")
    shapes = {name: (tuple(weights[name].shape), tuple(value.shape)) for name, value in wanted.items()}
    if wrong := [f"{name} {has}, not {should}" for name, (has, should) in shapes.items() if has != should]:
        raise OpenPoseError(f"{path}: has other shapes than the OpenPose network: {_some(wrong)}")
    values = {name: weights[name].float() for name in wanted}
    if broken := [name for name, value in values.items() if not value.isfinite().all()]:
        raise OpenPoseError(f"{path}: has numbers that are not finite in {_some(broken)}")
    network.load_state_dict(values, assign=True)
    return network


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by layer name, prefixes removed.

    Raises:
        OpenPoseError: There is no such file, it is damaged, or does not hold tensors by name.
    """
    if not path.is_file():
        raise OpenPoseError(f"{path}: there is no such file; name one with the weights of the OpenPose network")
    try:
        content = load_file(path) if _is_safetensors(path) else torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise OpenPoseError(f"{path}: is damaged, truncated or no safetensors file ({error})") from error
    except Exception as error:  # torch.load names no common base of what it raises
        raise OpenPoseError(
            f"{path}: is damaged, truncated or no file of tensors alone that torch.save wrote ({_reason(error)})"
        ) from error
    if not isinstance(content, dict) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise OpenPoseError(f"{path}: holds no tensors by name (a state dict)")
    weights = {_PREFIX.sub("", str(name), count=1): value for name, value in content.items()}
    if len(weights) != len(content):
        raise OpenPoseError(f"{path}: names the same layer twice, under several prefixes")
    return weights


def _is_safetensors(path: Path) -> bool:
    """By its content, as the cache has one name for either kind: the size of a header, and the header, in JSON.

    https://huggingface.co/docs/safetensors
    """
    if path.suffix.lower() == ".safetensors":
        return True
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") <= path.stat().st_size


def _reason(error: Exception) -> str:
    """What torch.load says, without its advice to load pickles unchecked."""
    text = str(error).strip()
    if found := _GLOBAL.search(text):
        return f"it asks for {found[1]}, which is not loaded; a right one holds model.state_dict() alone"
    if isinstance(error, pickle.UnpicklingError):
        return "nothing in it can be read as tensors"
    return text.split("\n")[0].split(". ")[0]


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
