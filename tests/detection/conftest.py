# SPDX-License-Identifier: GPL-3.0-or-later
"""One thread for torch: on machines whose cores are shared, threads that wait for each other take longer than one."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
