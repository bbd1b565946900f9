# SPDX-License-Identifier: GPL-3.0-or-later
"""Which build of PyTorch a choice of device means on this computer, whether it can be had, and how large it is."""

from __future__ import annotations

import ctypes.util
import os
import shutil
import sys

from .install_request import InstallError
from .settings import DEVICES
from .uv_wheel import machine

NEEDED_BYTES = {"cpu": 2_500_000_000, "cuda": 9_000_000_000}
"""Free space that an installation asks for: downloads and environment together, with room."""

DOWNLOAD_SIZE = {"cpu": "0.4 GB", "cuda": "3 GB"}
"""What a user is told beforehand."""


def check_device(device: str) -> None:
    """Find out before a long download whether what was chosen can be there at all.

    Raises:
        InstallError: There is no such device, no NVIDIA driver, or no PyTorch for this kind of computer.
    """
    if machine() == "macos-x64":
        raise InstallError("PyTorch is no longer made for Intel Macs; connect to a backend on another computer")
    if device not in DEVICES:
        raise InstallError(f"no device is called '{device}'; there are: {', '.join(DEVICES)}")
    if device == "cuda" and not has_nvidia_driver():
        raise InstallError(
            "a GPU was chosen, but no NVIDIA driver is installed on this computer; install the driver, or choose CPU"
            if sys.platform != "darwin"
            else "a GPU was chosen, but CUDA does not exist on macOS; choose CPU, or connect to a remote backend"
        )


def has_nvidia_driver() -> bool:
    """Whether this computer has an NVIDIA driver: its CUDA library, or its program."""
    if sys.platform == "win32":
        return bool(ctypes.util.find_library("nvcuda") or shutil.which("nvidia-smi"))
    if sys.platform == "darwin":
        return False
    return os.path.exists("/proc/driver/nvidia/version") or bool(shutil.which("nvidia-smi"))


def build_of(device: str) -> str:
    """Return which build of torch a choice means on this computer: "cpu" or "cuda"."""
    return "cuda" if device == "cuda" or (device == "auto" and has_nvidia_driver()) else "cpu"
