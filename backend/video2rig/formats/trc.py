# SPDX-License-Identifier: GPL-3.0-or-later
"""Marker files (.trc, Track Row Column): 3D points over time, as motion-capture programs and OpenSim exchange them.

The files are Y-up: their X, Y and Z are our Y, Z and X, as Pose2Sim turns them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..angles import OPENSIM_AXES
from ..kinematics import keypoint_positions
from ..markers import Markers, MarkersError
from ..motion import Motion
from .text import FormatError, TextFile, write_lines

_METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}
_HEADER = ("DataRate", "CameraRate", "NumFrames", "NumMarkers", "Units", "OrigDataRate", "OrigDataStartFrame")


def motion_markers(motion: Motion, names: tuple[str, ...]) -> Markers:
    """Return the keypoints of a moving body as markers, in every frame, whether a detector saw them or not.

    Raises:
        KeypointsError: A keypoint has no place on a skeleton.
        SkeletonError: The skeleton lacks the joint that carries one.
    """
    positions = keypoint_positions(motion, names)
    return Markers(names, positions, np.ones(positions.shape[:2]), motion.times)


def write_trc(markers: Markers, path: str | Path) -> None:
    """Write markers in metres, with their true frame times; ``NaN`` where one was not seen.

    (Empty fields, which other programs write there, fail in OpenSim where they end a line.)

    Raises:
        FormatError: A marker's name holds white space, which the format has no place for.
        FileError: The file cannot be written.
    """
    for name in markers.names:
        if any(character.isspace() for character in name):
            raise FormatError(f"{path} cannot be written: a .trc file has no place for the blank in {name!r}")
    count = len(markers.names)
    rate = f"{1 / np.median(np.diff(markers.times)):.6f}" if len(markers) > 1 else "1"
    header = [
        f"PathFileType\t4\t(X/Y/Z)\t{Path(path).name}",
        "\t".join((*_HEADER, "OrigNumFrames")),
        "\t".join((rate, rate, str(len(markers)), str(count), "m", rate, "1", str(len(markers)))),
        "Frame#\tTime\t" + "\t\t\t".join(markers.names) + "\t\t",
        "\t\t" + "\t".join(f"{axis}{marker}" for marker in range(1, count + 1) for axis in "XYZ"),
        "",
    ]
    in_file = np.where((markers.confidence > 0)[..., None], markers.positions, np.nan) @ OPENSIM_AXES
    rows = [
        "\t".join([str(frame), f"{time:.9f}", *("NaN" if np.isnan(value) else f"{value:.8f}" for value in row)])
        for frame, (time, row) in enumerate(zip(markers.times, in_file.reshape(len(markers), -1), strict=True), start=1)
    ]
    write_lines(path, header + rows)


def read_trc(path: str | Path) -> Markers:
    """Read a marker file.

    Units (m, cm or mm) are as its header says. Empty fields and ``NaN`` are markers that were not seen: confidence 0;
    all others have confidence 1.

    Raises:
        FormatError: It is no marker file, with file, line and what was expected.
    """
    file = TextFile(path, "a .trc file")
    if file.line(1, "PathFileType").split()[:1] != ["PathFileType"]:
        raise file.error(1, repr(file.lines[0][:40]), "PathFileType")
    keys, values = (file.line(number, "the header").split() for number in (2, 3))
    header = dict(zip(keys, values, strict=False))
    for key in ("NumFrames", "NumMarkers", "Units"):
        if key not in header:
            raise file.error(3, "a header without it", key)
    frames = file.whole(3, header["NumFrames"], "a number of frames", 1)
    count = file.whole(3, header["NumMarkers"], "a number of markers", 1)
    if header["Units"] not in _METRES:
        raise file.error(3, f"Units {header['Units']}", "m, cm or mm")
    labels = [label.strip() for label in file.line(4, "Frame#, Time and the markers' names").split("\t")]
    names = tuple(label for label in labels[2:] if label)
    if labels[:2] != ["Frame#", "Time"] or len(names) != count:
        raise file.error(
            4, f"{len(names)} names", f"Frame#, Time and the names of {count} markers, as the header says,"
        )
    file.line(5, "X1 Y1 Z1 ...")
    times, rows = [], []
    for number in range(6, len(file) + 1):
        if not file.lines[number - 1].strip():
            continue
        fields = [field.strip() or "nan" for field in file.lines[number - 1].split("\t")]
        if len(fields) < 2 + 3 * count or any(field != "nan" for field in fields[2 + 3 * count :]):
            expected = f"{2 + 3 * count}: frame, time and {count} markers, parted by tabs,"
            raise file.error(number, f"{len(fields)} columns", expected)
        times.append(file.numbers(number, fields[1:2])[0])
        points = np.array(file.numbers(number, fields[2 : 2 + 3 * count])).reshape(count, 3)
        half = np.flatnonzero(np.isfinite(points).any(axis=1) & ~np.isfinite(points).all(axis=1))
        if len(half):
            raise file.error(number, f"a part of {names[half[0]]}", "three coordinates of each marker, or none,")
        rows.append(points)
    if len(rows) != frames:
        raise file.error(len(file), f"the end after {len(rows)} frames", f"{frames}, as the header says,")
    positions = np.stack(rows) @ OPENSIM_AXES.T * _METRES[header["Units"]]
    try:
        return Markers(names, positions, np.isfinite(positions).all(axis=-1).astype(float), np.array(times))
    except MarkersError as error:
        raise file.error(4, f"markers that are none ({error})", "named points over time") from error
