# SPDX-License-Identifier: GPL-3.0-or-later
import sys
from pathlib import Path

import torch
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))  # helpers that several rooms' tests share

settings.register_profile("default", deadline=None, max_examples=50)
settings.load_profile("default")

torch.set_num_threads(1)  # many threads on small matrices wait for each other
