# SPDX-License-Identifier: GPL-3.0-or-later
"""Video2Rig: a video of a person becomes joint rotations on a rigged armature."""

import os

# Torch's threads sleep while they wait for each other. Where another program has the cores (Blender, say), two that
# spin were measured to take 300 to 580 ms for what one takes 24, and two that sleep 29. OpenMP reads this once, when
# torch is loaded, so it stands before anything that loads it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
