# SPDX-License-Identifier: GPL-3.0-or-later
"""Joint angles as comma-separated values, for spreadsheets and scripts.

One header row, time first, each column's unit in brackets: ``time [s],hip_flexion_r [deg],pelvis_tx [m]``.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np

from ..angles import AnglesError, JointAngles
from .text import TextFile, write_lines

_LABEL = re.compile(r"(?P<name>\S+) \[(?P<unit>deg|rad|m)\]")


def write_csv(angles: JointAngles, path: str | Path) -> None:
    """Write joint angles in degrees and metres, with their true frame times.

    Raises:
        FileError: The file cannot be written.
    """
    units = np.where(angles.translations, "m", "deg")
    header = ["time [s]"] + [f"{name} [{unit}]" for name, unit in zip(angles.names, units, strict=True)]
    rows = np.column_stack([angles.times, angles.in_degrees()])
    write_lines(path, [",".join(header)] + [",".join(f"{value:.10f}" for value in row) for row in rows])


def read_csv(path: str | Path) -> JointAngles:
    """Read what :func:`write_csv` wrote; columns may be in radians (``[rad]``) too.

    Raises:
        FormatError: It is no such file, with file, line and what was expected.
    """
    file = TextFile(path, "a .csv file of joint angles")
    labels = next(csv.reader([file.line(1, "a header row")]), [])
    if len(labels) < 2 or labels[0] != "time [s]":
        raise file.error(1, repr(",".join(labels)[:40]), "`time [s]`, then names with their units")
    names, degrees = [], []
    for label in labels[1:]:
        match = _LABEL.fullmatch(label)
        if match is None:
            raise file.error(1, repr(label), "a name and its unit, as `hip_flexion_r [deg]`,")
        names.append(match["name"])
        degrees.append(match["unit"] == "deg")
    values = []
    for number in range(2, len(file) + 1):
        fields = next(csv.reader([file.lines[number - 1]]), [])
        if not fields:
            continue
        if len(fields) != len(labels):
            raise file.error(number, f"{len(fields)} columns", f"{len(labels)}, as in the header row,")
        values.append(file.numbers(number, fields))
    table = np.array(values).reshape(len(values), len(labels))
    try:
        return JointAngles(tuple(names), np.where(degrees, np.radians(table[:, 1:]), table[:, 1:]), table[:, 0])
    except AnglesError as error:
        raise file.error(1, f"a table that is none ({error})", "coordinates over time") from error
