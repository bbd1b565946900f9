# SPDX-License-Identifier: GPL-3.0-or-later
"""Which processor computes: chosen once, said aloud, never changed silently."""

from __future__ import annotations

import os

import torch

from .errors import Video2RigError
from .settings import DEVICES

MAX_CPU_THREADS = 8


class DeviceError(Video2RigError):
    """The device that was asked for is not there."""


def resolve_device(choice: str) -> tuple[torch.device, str]:
    """The device for "auto", "cpu" or "cuda", and a line for the user that says which one it is and why.

    Only "auto" falls back to the CPU, and the notice says so; "cuda" without a usable GPU raises DeviceError.
    """
    if choice not in DEVICES:
        raise DeviceError(f"no device is called '{choice}'; there are: {', '.join(DEVICES)}")
    if choice != "cpu" and torch.cuda.is_available():
        return torch.device("cuda", 0), f"computing on the GPU {torch.cuda.get_device_name(0)}"
    cpu = f"the CPU with {cpu_threads()} threads"
    if choice == "cuda":
        raise DeviceError(f"the device 'cuda' was asked for, but {_why_no_gpu()}; there is: cpu ({cpu})")
    if choice == "auto":
        return torch.device("cpu"), f"computing on {cpu}: {_why_no_gpu()}"
    return torch.device("cpu"), f"computing on {cpu}, as asked"


def cpu_threads() -> int:
    """How many threads torch should use: the cores this process may run on, at most MAX_CPU_THREADS.

    Torch by itself counts the machine's cores, not those that the process is allowed; more threads than cores
    spin against each other, and these small networks stop gaining long before the cores of a big machine are
    used up.
    """
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no such call
        allowed = os.cpu_count() or 1
    return max(1, min(allowed, MAX_CPU_THREADS))


def set_cpu_threads(count: int | None = None) -> None:
    """Set the threads of torch for this process, to `cpu_threads()` unless told; OMP_NUM_THREADS, if set, wins."""
    if count is None and os.environ.get("OMP_NUM_THREADS"):
        return
    torch.set_num_threads(count or cpu_threads())


def _why_no_gpu() -> str:
    if torch.version.cuda is None and getattr(torch.version, "hip", None) is None:
        return f"this build of torch ({torch.__version__}) has no GPU support"
    return f"torch {torch.__version__} finds no usable GPU or driver"
