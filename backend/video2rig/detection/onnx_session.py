# SPDX-License-Identifier: GPL-3.0-or-later
"""A network in an ONNX file on onnxruntime: tensors of torch go in and come out, on the device where they are.

onnxruntime is an optional part of Video2Rig (`pip install video2rig[onnx]`); on a GPU it is the package onnxruntime-gpu
in its place. From 1.29 on it reports to its maker which models it runs, and gives the machine an identifier, unless it
is told not to before it starts: only `runtime` imports it.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..device import cpu_threads
from ..errors import Video2RigError

PACKAGES = ("onnxruntime", "onnxruntime-gpu")


class OnnxError(Video2RigError):
    """onnxruntime is not there, or cannot compute on the device, or cannot read a file."""


def runtime() -> Any:
    """The module onnxruntime, which reports to nobody.

    Raises:
        OnnxError: It is not installed, or broken.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read once, as it starts; the function below leaves it an identifier
    try:
        import onnxruntime
    except (ImportError, OSError) as error:
        raise OnnxError(
            f"onnxruntime is not installed, or broken ({error}); run `{sys.executable} -m pip install onnxruntime`, or "
            "onnxruntime-gpu for a GPU of NVIDIA"
        ) from error
    onnxruntime.disable_telemetry_events()  # where it had been started by somebody else, and on Windows
    return onnxruntime


def facts() -> tuple[str, tuple[str, ...]]:
    """The version of onnxruntime, and where it can compute.

    Raises:
        OnnxError: It is not installed, or broken.
    """
    module = runtime()
    return str(module.__version__), tuple(module.get_available_providers())


def installed() -> bool:
    """Whether onnxruntime seems to be there, without the second that it takes to import it."""
    for package in PACKAGES:
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        return True
    return False


def _threads() -> int:
    """As many as torch takes: OMP_NUM_THREADS, if set to a number, wins."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdecimal() and int(told) > 0 else cpu_threads()


class OnnxSession:
    """A network with one input of floats.

    Attributes:
        path: Its file. device: Where it computes.
        input_shape: As the file has it: numbers, or names where any size will do.
    """

    def __init__(self, path: str | Path, device: torch.device | str = "cpu") -> None:
        """Read a network.

        Raises:
            OnnxError: onnxruntime is absent or cannot compute on the device; there is no such file, it is damaged, or
                its input is not one of floats.
        """
        self.path, self.device = Path(path), torch.device(device)
        module = runtime()
        options = module.SessionOptions()
        # one pool of threads for the cores that torch uses too; they sleep while torch works instead of spinning
        options.intra_op_num_threads = _threads()
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        if not self.path.is_file():
            raise OnnxError(f"there is no file {self.path}")
        try:
            self._session = module.InferenceSession(str(self.path), options, providers=self._providers(module))
        except OnnxError:
            raise
        except Exception as error:  # its own errors have no common base
            reason = str(error).strip().split("\n")[0].rpartition("failed:")[2]
            raise OnnxError(f"{self.path} is damaged, truncated or no ONNX model ({reason})") from error
        if self.device.type == "cuda" and self._session.get_providers()[0] != "CUDAExecutionProvider":
            raise OnnxError(
                "onnxruntime could not use the GPU, as its CUDA or cuDNN libraries do not load, and would compute on "
                "the CPU; mend them, or choose the device cpu"
            )
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(float)":
            kinds = ", ".join(f"{entry.name}: {entry.type}" for entry in inputs)
            raise OnnxError(f"{self.path} is another model: its inputs are {kinds}; there should be one tensor(float)")
        self._input, self.input_shape = inputs[0].name, tuple(inputs[0].shape)
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._sizes: list[tuple[int, ...]] | None = None

    def _providers(self, module: Any) -> list[Any]:
        if self.device.type == "cpu":
            return ["CPUExecutionProvider"]
        there = module.get_available_providers()
        if self.device.type != "cuda" or "CUDAExecutionProvider" not in there:
            raise OnnxError(
                f"onnxruntime {module.__version__} cannot compute on '{self.device}', it has {', '.join(there)}; "
                f"run `{sys.executable} -m pip install onnxruntime-gpu` in its place, or choose the device cpu"
            )
        return [("CUDAExecutionProvider", {"device_id": self.device.index or 0})]

    def run(self, images: Tensor) -> list[Tensor]:
        """Outputs of a batch [B,...] of floats on `device`, in the order of the file; leading dimensions are B.

        A model whose batch is fixed gets as many calls as it takes.

        Raises:
            OnnxError: The network cannot compute them.
        """
        fixed = self.input_shape[0] if self.input_shape and isinstance(self.input_shape[0], int) else 0
        parts = []
        for part in images.split(fixed or max(1, len(images))):
            short = fixed - len(part) if fixed else 0
            filled = torch.cat([part, part.new_zeros(short, *part.shape[1:])]) if short else part
            parts.append([output[: len(part)] for output in self._run(filled.contiguous())])
        return [torch.cat(columns) for columns in zip(*parts, strict=True)]

    def _run(self, images: Tensor) -> list[Tensor]:
        try:
            if self._sizes is None:
                self._sizes = self._learn_sizes(images)
            outputs = [torch.empty(len(images), *size, device=self.device) for size in self._sizes]
            binding = self._session.io_binding()
            self._bind(binding.bind_input, self._input, images)
            for name, output in zip(self._outputs, outputs, strict=True):
                self._bind(binding.bind_output, name, output)
            if self.device.type == "cuda":  # onnxruntime computes in a stream of its own
                torch.cuda.current_stream(self.device).synchronize()
            self._session.run_with_iobinding(binding)
            binding.synchronize_outputs()
        except OnnxError:
            raise
        except Exception as error:
            raise OnnxError(f"{self.path} cannot compute: {str(error).strip().splitlines()[0]}") from error
        return outputs

    def _learn_sizes(self, images: Tensor) -> list[tuple[int, ...]]:
        """Run once the plain way: files seldom name the sizes of their outputs."""
        outputs = self._session.run(None, {self._input: images.cpu().numpy()})
        for name, output in zip(self._outputs, outputs, strict=True):
            if output.dtype != np.float32 or output.shape[:1] != (len(images),):
                raise OnnxError(
                    f"{self.path} is another model: its output {name} is {output.dtype} {list(output.shape)} "
                    f"of a batch of {len(images)}; it should be float32, the batch first"
                )
        return [output.shape[1:] for output in outputs]

    def _bind(self, bind: Callable[..., None], name: str, tensor: Tensor) -> None:
        bind(name, self.device.type, self.device.index or 0, np.float32, tuple(tensor.shape), tensor.data_ptr())
