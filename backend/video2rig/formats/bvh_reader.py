# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading Biovision hierarchy files (.bvh); bvh.py says how axes and units are taken."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from ..motion import Motion, MotionError
from ..skeleton import ROOT_RANGE, Skeleton, SkeletonError
from .bvh import FILE_AXES
from .text import TextFile

_SHORTEST = 0.001  # a bone's least length, metres; files have joints that lie on their parents


@dataclass
class _Joint:
    """What a file says of a joint."""

    name: str
    parent: int
    offset: np.ndarray = field(default_factory=lambda: np.zeros(3))
    end: np.ndarray | None = None
    channels: list[str] = field(default_factory=list)


def read_bvh(path: str | Path) -> Motion:
    """Read a skeleton and its motion; lengths in the file are taken as metres.

    The skeleton's bones run to their first child or end site (bones without a length get one of 1 mm), with a roll of
    the reader's choosing, no roles, and free to turn; frame times count from 0. The root's position channels are its
    place in the world, as for Blender's importer, whatever its offset says; a root without them stays at its offset.
    Position channels of other joints must hold their offsets.

    Raises:
        FormatError: It is no such file, with file, line and what was expected.
    """
    file = TextFile(path, "a .bvh file")
    joints, number = _read_hierarchy(file)
    words, number = _words(file, number, "`Frames:` and a number")
    if words[0] != "Frames:" or len(words) != 2:
        raise file.error(number, repr(" ".join(words)[:40]), "`Frames:` and a number")
    count = file.whole(number, words[1], "a number of frames", 1)
    words, number = _words(file, number + 1, "`Frame Time:` and seconds")
    if words[:2] != ["Frame", "Time:"] or len(words) != 3:
        raise file.error(number, repr(" ".join(words)[:40]), "`Frame Time:` and seconds")
    interval = file.numbers(number, words[2:])[0]
    if not (np.isfinite(interval) and interval > 0):
        raise file.error(number, words[2], "a frame time above 0")
    channels = [(joint, channel) for joint in joints for channel in joint.channels]
    fixed = [  # column, place: bones do not stretch
        (column, joint.offset["XYZ".index(channel[0])])
        for column, (joint, channel) in enumerate(channels)
        if channel.endswith("position") and joint.parent >= 0
    ]
    rows = []
    for row in range(number + 1, len(file) + 1):
        fields = file.lines[row - 1].split()
        if not fields:
            continue
        if len(fields) != len(channels):
            raise file.error(row, f"{len(fields)} numbers", f"{len(channels)}, one a channel,")
        values = file.numbers(row, fields)
        if not np.isfinite(values).all():
            raise file.error(row, "a number that is not finite", "finite numbers")
        for column, place in fixed:
            if abs(values[column] - place) > 1e-3 * max(1.0, abs(place)):
                found = f"{channels[column][0].name} moved to {values[column]:g}"
                raise file.error(row, found, f"its offset {place:g}: joints below the root only turn,")
        rows.append(values)
    if len(rows) != count:
        raise file.error(len(file), f"the end after {len(rows)} frames", f"{count}, as `Frames:` says,")
    try:
        return _motion(joints, np.array(rows), interval)
    except (MotionError, SkeletonError) as error:
        raise file.error(1, f"a motion that is none ({error})", "a skeleton that moves") from error


_CHANNELS = {f"{axis}{kind}" for axis in "XYZ" for kind in ("position", "rotation")}


def _words(file: TextFile, number: int, expected: str) -> tuple[list[str], int]:
    """Return the words of the next line that is not blank, and its number."""
    while not file.line(number, expected).strip():
        number += 1
    return file.lines[number - 1].split(), number


def _read_hierarchy(file: TextFile) -> tuple[list[_Joint], int]:
    """Return the joints, parents before children, and the number of the line after ``MOTION``."""
    words, number = _words(file, 1, "HIERARCHY")
    if words != ["HIERARCHY"]:
        raise file.error(number, repr(" ".join(words)[:40]), "HIERARCHY")
    joints: list[_Joint] = []
    open_joints: list[int] = []  # the joints whose braces are open, -1 for an end site
    while True:
        expected = (
            "OFFSET, CHANNELS, JOINT, End Site or }" if open_joints else "MOTION" if joints else "ROOT and a name"
        )
        words, number = _words(file, number + 1, expected)
        inside = open_joints[-1] if open_joints else None
        if words[0] in ("ROOT", "JOINT") and len(words) > 1 and (words[0] == "ROOT") == (not joints) and inside != -1:
            if joints and inside is None:
                raise file.error(number, "a joint outside the root", "MOTION")
            joints.append(_Joint("_".join(words[1:]), -1 if inside is None else inside))
            open_joints.append(len(joints) - 1)
        elif words == ["End", "Site"] and inside is not None and inside >= 0:
            joints[inside].end = np.zeros(3)
            open_joints.append(-1)
        elif words == ["}"] and inside is not None:
            if inside >= 0 and joints[inside].end is None and not any(joint.parent == inside for joint in joints):
                raise file.error(number, f"the end of {joints[inside].name}", "JOINT or End Site")
            open_joints.pop()
            continue
        elif words[0] == "OFFSET" and inside is not None:
            offset = file.numbers(number, words[1:])
            if len(offset) != 3 or not np.isfinite(offset).all():
                raise file.error(number, " ".join(words)[:40], "OFFSET and three numbers")
            owner = joints[open_joints[-2] if inside == -1 else inside]
            if inside == -1:
                owner.end = np.array(offset)
            else:
                owner.offset = np.array(offset)
            continue
        elif words[0] == "CHANNELS" and inside is not None and inside >= 0:
            named = words[2:]
            if words[1:2] != [str(len(named))] or not set(named) <= _CHANNELS or len(set(named)) != len(named):
                raise file.error(
                    number, repr(" ".join(words)[:60]), "CHANNELS, their number, and Xposition to Zrotation"
                )
            joints[inside].channels = named
            continue
        elif words == ["MOTION"] and joints and inside is None:
            break
        else:
            raise file.error(number, repr(" ".join(words)[:40]), expected)
        brace, number = _words(file, number + 1, "{")
        if brace != ["{"]:
            raise file.error(number, repr(" ".join(brace)[:40]), "{")
    names = [joint.name for joint in joints]
    if len(set(names)) != len(names):
        raise file.error(number, "two joints of one name", "names that differ, before MOTION,")
    return joints, number + 1


def _motion(joints: list[_Joint], values: np.ndarray, interval: float) -> Motion:
    """Return the motion that channels [T, C] tell."""
    frames, count = len(values), len(joints)
    turned, local = np.empty((frames, count, 3, 3)), np.empty((frames, count, 3, 3))
    root = np.tile(joints[0].offset, (frames, 1))
    column = 0
    for index, joint in enumerate(joints):
        block = values[:, column : column + len(joint.channels)]
        column += len(joint.channels)
        axes = [channel[0] for channel in joint.channels if channel.endswith("rotation")]
        angles = block[:, [channel.endswith("rotation") for channel in joint.channels]]
        local[:, index] = Rotation.from_euler("".join(axes), angles, degrees=True).as_matrix() if axes else np.eye(3)
        turned[:, index] = local[:, index] if joint.parent < 0 else turned[:, joint.parent] @ local[:, index]
        if index == 0:
            for channel, path in zip(joint.channels, block.T, strict=True):
                if channel.endswith("position"):
                    root[:, "XYZ".index(channel[0])] = path

    frame, length = np.empty((count, 3, 3)), np.empty(count)
    for index, joint in enumerate(joints):
        child = next((other.offset for other in joints if other.parent == index), joint.end)
        assert child is not None, "the hierarchy was read with a child or an end site for each joint"
        step = FILE_AXES @ child
        length[index] = max(float(np.linalg.norm(step)), _SHORTEST)
        frame[index] = _bone_frame(step)
    parents = tuple(joint.parent for joint in joints)
    offset = np.stack([FILE_AXES @ joint.offset for joint in joints])
    rest = frame.copy()
    for index, parent in enumerate(parents):
        if parent >= 0:
            rest[index] = frame[parent].T @ frame[index]
            offset[index] = frame[parent].T @ offset[index]
    skeleton = Skeleton(
        tuple(joint.name for joint in joints),
        parents,
        ("",) * count,
        rest,
        offset,
        length,
        ("YXZ",) * count,
        np.tile(ROOT_RANGE, (count, 3, 1)),
    )
    in_bone = frame.transpose(0, 2, 1) @ FILE_AXES @ local @ FILE_AXES.T @ frame
    quaternions = Rotation.from_matrix(in_bone.reshape(-1, 3, 3)).as_quat(scalar_first=True).reshape(frames, count, 4)
    return Motion(
        skeleton,
        interval * np.arange(frames),
        quaternions,
        root @ FILE_AXES.T,
        np.ones((frames, count)),
    )


def _bone_frame(along: np.ndarray) -> np.ndarray:
    """Return a frame [3, 3] with Y along a bone, or up for a bone without a length."""
    length = np.linalg.norm(along)
    y = along / length if length > 1e-9 else np.array([0.0, 0.0, 1.0])
    x = np.cross(y, np.eye(3)[np.abs(y).argmin()])
    x /= np.linalg.norm(x)
    return np.stack([x, y, np.cross(x, y)], axis=1)
