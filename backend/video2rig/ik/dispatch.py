# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of two paths computes: kernels that are compiled for CPUs, or batched torch."""

from __future__ import annotations

import torch


def is_compiled(device: torch.device) -> bool:
    """Return whether the compiled kernels compute for a device; torch does elsewhere.

    Ask it as ``dispatch.is_compiled``, so that tests can send a CPU the way of other devices.
    """
    return device.type == "cpu"
