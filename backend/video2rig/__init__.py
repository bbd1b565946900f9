# SPDX-License-Identifier: GPL-3.0-or-later
"""Video2Rig: a video of a person becomes joint rotations on a rigged armature."""

import os

# Torch's threads sleep while they wait for each other: spinning takes the cores from whoever works, and on two busy
# cores makes the networks five times slower. OpenMP reads this once, when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
