# SPDX-License-Identifier: GPL-3.0-or-later
"""What a table was measured with."""

from __future__ import annotations

import os
import platform

import torch

import video2rig


def describe(device: torch.device) -> str:
    """Return a line with the versions and the hardware of this run."""
    hardware = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"{_processor()}, {os.cpu_count()} cores"
    )
    return f"video2rig {video2rig.__version__}, torch {torch.__version__}, {device.type} ({hardware})"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
