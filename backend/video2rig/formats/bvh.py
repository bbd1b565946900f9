# SPDX-License-Identifier: GPL-3.0-or-later
"""Biovision hierarchy files (.bvh): a skeleton and its motion.

Metres, because Blender's importer takes lengths as they are: with its default settings the figure comes in at its
true size. (Programs that count in centimetres, as MotionBuilder and Maya do, want a scale of 100.) Y is up and the
figure faces +Z, with its left towards +X, as Blender's importer and most files have it: (x, y, z) in the file is
(x, -z, y) in our world.

A BVH joint has no axes of its own: at rest all are parallel to the file's, and a joint's rotation is its turn from
rest. So bone rolls and the bones' Euler orders are not kept. All joints are written with the channels Z, X, Y, which
turn in that order: R = Rz Rx Ry. The root's offset is zero and its position channels are its place in the world,
which reads the same in programs that add the two and in those that do not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from ..angles import continuous_cardan
from ..kinematics import joint_positions
from ..motion import Motion
from .text import FormatError, write_lines

FILE_AXES = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
"""World = FILE_AXES @ file."""

_JITTER = 1e-6  # seconds by which frame times may leave an even grid before a motion is resampled


def write_bvh(motion: Motion, path: str | Path) -> None:
    """Write a motion with its skeleton.

    The format knows one frame time. A motion whose frames are not evenly spaced is resampled at the median of its
    intervals, rotations by spherical linear interpolation, the root's path by linear; times count from its first frame.

    Raises:
        FormatError: Two bones' names are the same once blanks in them are underscores.
        FileError: The file cannot be written.
    """
    skeleton = motion.skeleton
    names = ["_".join(name.split()) for name in skeleton.names]
    if len(set(names)) != len(names) or not all(names):
        raise FormatError(f"{path} cannot be written: bones' names must differ by more than blanks in a .bvh file")
    interval, even = _evenly_timed(motion)
    rest = skeleton.rest_matrices()
    _, rotations = joint_positions(even)
    turned = FILE_AXES.T @ rotations @ rest[:, :3, :3].transpose(0, 2, 1) @ FILE_AXES
    local = turned.copy()
    for joint, parent in enumerate(skeleton.parents):
        if parent >= 0:
            local[:, joint] = turned[:, parent].transpose(0, 2, 1) @ turned[:, joint]
    # without jumps, so that what lies between two frames is right too
    angles = np.stack([np.degrees(continuous_cardan(local[:, joint])) for joint in range(len(skeleton))], axis=1)
    root = even.root_position @ FILE_AXES

    heads = rest[:, :3, 3] @ FILE_AXES
    tails = heads + (rest[:, :3, 1] * skeleton.length[:, None]) @ FILE_AXES
    lines, order = ["HIERARCHY"], []

    def add(joint: int, depth: int) -> None:
        parent, indent = skeleton.parents[joint], "\t" * depth
        offset = heads[joint] - heads[parent] if parent >= 0 else np.zeros(3)
        position = "" if parent >= 0 else "Xposition Yposition Zposition "
        lines.extend((f"{indent}{'JOINT' if parent >= 0 else 'ROOT'} {names[joint]}", indent + "{"))
        lines.append(f"{indent}\tOFFSET {_numbers(offset)}")
        lines.append(f"{indent}\tCHANNELS {3 if parent >= 0 else 6} {position}Zrotation Xrotation Yrotation")
        order.append(joint)
        children = [child for child, above in enumerate(skeleton.parents) if above == joint]
        for child in children:
            add(child, depth + 1)
        if not children:
            end = _numbers(tails[joint] - heads[joint])
            lines.extend((f"{indent}\tEnd Site", indent + "\t{", f"{indent}\t\tOFFSET {end}", indent + "\t}"))
        lines.append(indent + "}")

    add(0, 0)
    rows = np.column_stack([root, angles[:, order].reshape(len(even), -1)])
    lines += ["MOTION", f"Frames: {len(even)}", f"Frame Time: {interval:.10f}"]
    write_lines(path, lines + [_numbers(row) for row in rows])


def _numbers(values: np.ndarray) -> str:
    return " ".join(f"{value:.8f}" for value in values)


def _evenly_timed(motion: Motion) -> tuple[float, Motion]:
    """Return the interval between frames, seconds, and the motion at that interval."""
    times = motion.times
    if len(times) == 1:
        return 1 / 30, motion
    mean = (times[-1] - times[0]) / (len(times) - 1)
    if np.abs(times - times[0] - mean * np.arange(len(times))).max() <= _JITTER:
        return float(mean), motion
    interval = float(np.median(np.diff(times)))
    grid = times[0] + interval * np.arange(int((times[-1] - times[0]) / interval + 1e-6) + 1)
    grid = np.minimum(grid, times[-1])
    rotations = [
        Slerp(times, Rotation.from_quat(motion.rotations[:, joint], scalar_first=True))(grid).as_quat(scalar_first=True)
        for joint in range(len(motion.skeleton))
    ]
    root = np.stack([np.interp(grid, times, axis) for axis in motion.root_position.T], axis=1)
    confidence = np.stack([np.interp(grid, times, joint) for joint in motion.confidence.T], axis=1)
    return interval, Motion(motion.skeleton, grid, np.stack(rotations, axis=1), root, confidence)
