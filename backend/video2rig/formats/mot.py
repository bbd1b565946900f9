# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenSim motion files (.mot): joint angles, in the layout of OpenSim's Storage class, version 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..angles import AnglesError, JointAngles
from .text import TextFile, write_lines

_NOTE = (
    "Units are S.I. units (second, meters, Newtons, ...)",
    "If the header above contains a line with 'inDegrees', this indicates whether rotational values are in degrees "
    "(yes) or radians (no).",
)


def write_mot(angles: JointAngles, path: str | Path) -> None:
    """Write joint angles for OpenSim: degrees, metres, true frame times.

    Raises:
        FileError: The file cannot be written.
    """
    header = [
        "Coordinates",
        "version=1",
        f"nRows={len(angles)}",
        f"nColumns={len(angles.names) + 1}",
        "inDegrees=yes",
        "",
        *_NOTE,
        "",
        "endheader",
        "\t".join(("time", *angles.names)),
    ]
    rows = np.column_stack([angles.times, angles.in_degrees()])
    write_lines(path, header + ["\t".join(f"{value:.10f}" for value in row) for row in rows])


def read_mot(path: str | Path) -> JointAngles:
    """Read an OpenSim motion file.

    Raises:
        FormatError: It is no motion file, with file, line and what was expected.
    """
    file = TextFile(path, "an OpenSim .mot file")
    settings: dict[str, tuple[int, str]] = {}
    number = 1
    while (line := file.line(number, "a line `endheader`").strip()).lower() != "endheader":
        key, _, value = line.partition("=")
        settings[key.strip().lower()] = number, value.strip()
        number += 1
    missing = [name for name in ("nRows", "nColumns", "inDegrees") if name.lower() not in settings]
    if missing:
        raise file.error(number, "the end of the header", f"a line `{missing[0]}=...` before it")
    rows, columns = (file.whole(*settings[key], f"a number of {key[1:]}", 1) for key in ("nrows", "ncolumns"))
    in_degrees = settings["indegrees"][1].lower()
    if in_degrees not in ("yes", "no"):
        raise file.error(settings["indegrees"][0], f"inDegrees={in_degrees}", "inDegrees=yes or inDegrees=no")
    number += 1
    labels = file.line(number, "the columns' names").split()
    if len(labels) != columns or not labels or labels[0].lower() != "time":
        raise file.error(number, f"{len(labels)} names", f"`time` and the names of {columns - 1} coordinates")
    values = []
    for row in range(number + 1, len(file) + 1):
        fields = file.lines[row - 1].split()
        if not fields:
            continue
        if len(fields) != columns:
            raise file.error(row, f"{len(fields)} columns", f"{columns}, as the header says,")
        values.append(file.numbers(row, fields))
    if len(values) != rows:
        raise file.error(len(file), f"the end after {len(values)} rows", f"{rows}, as the header says,")
    table = np.array(values)
    make = JointAngles.from_degrees if in_degrees == "yes" else JointAngles
    try:
        return make(tuple(labels[1:]), table[:, 1:], table[:, 0])
    except AnglesError as error:
        raise file.error(number, f"a table that is none ({error})", "coordinates over time") from error
