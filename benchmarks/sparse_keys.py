#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many keys a take needs at a tolerance, and what that does to its feet.

    video2rig solve tests/sample/sample.mp4 -o take.npz
    python benchmarks/sparse_keys.py take.npz

A key is counted for each bone and frame; a key a frame is 100 %. Feet are off by the errors of all bones above them.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import torch
from environment import describe

from video2rig.key_reduction import Channels, hermite, reduce_keys
from video2rig.kinematics import keypoint_positions
from video2rig.motion import Motion
from video2rig.take import Take

TOLERANCES = (0.1, 0.25, 0.5, 1.0, 2.0)
"""Degrees."""

PATH = 0.005
"""Metres that the hips may be off for each degree, as in the add-on."""

_FEET = ("left_heel", "right_heel", "left_big_toe", "right_big_toe")


def sparse(motion: Motion, degrees: float) -> tuple[Motion, int]:
    """Return a motion as sparse keys make it, at its own frames, and the number of keys."""
    bound, count = float(np.radians(degrees)), 0
    rotations, path = motion.rotations.copy(), motion.root_position
    for joint in range(len(motion.skeleton)):
        channels = [Channels("QUATERNION", motion.rotations[:, joint], bound)]
        if joint == 0:
            channels.append(Channels("VECTOR", motion.root_position, PATH * degrees))
        found = reduce_keys(motion.times, channels)
        at = motion.times[found.keys]
        curves = [
            hermite(at, one.values[found.keys], slopes, motion.times)
            for one, slopes in zip(channels, found.slopes, strict=True)
        ]
        rotations[:, joint] = curves[0] / np.linalg.norm(curves[0], axis=1, keepdims=True)
        path = curves[1] if joint == 0 else path
        count += len(found.keys)
    return dataclasses.replace(motion, rotations=rotations, root_position=path), count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("take", type=Path)
    motion = Take.load(parser.parse_args().take).motion
    every = len(motion) * len(motion.skeleton)
    print(f"{describe(torch.device('cpu'))}; {len(motion)} frames")
    print("| tolerance, degrees | keys left | feet off, mean | feet off, most |")
    print("|---|---|---|---|")
    feet = keypoint_positions(motion, _FEET)
    for degrees in TOLERANCES:
        reduced, count = sparse(motion, degrees)
        off = np.linalg.norm(keypoint_positions(reduced, _FEET) - feet, axis=-1) * 1000
        print(f"| {degrees:g} | {count / every:.0%} | {off.mean():.1f} mm | {off.max():.1f} mm |", flush=True)


if __name__ == "__main__":
    main()
