# SPDX-License-Identifier: GPL-3.0-or-later
import os
import sys
from pathlib import Path

# many threads on small matrices wait for each other, and the networks of several libraries in one process do not share
# them well: with two, batched LU factorisations of torch came out wrong late in a whole run
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # tests import onnxruntime by themselves too

import torch
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))  # helpers that several rooms' tests share

# the same examples in every run, so that a change that lands is judged by itself; "explore" draws others
settings.register_profile("default", deadline=None, max_examples=50, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=50)
settings.load_profile("default")

torch.set_num_threads(1)
