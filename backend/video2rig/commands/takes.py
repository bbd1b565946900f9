# SPDX-License-Identifier: GPL-3.0-or-later
"""`report`, `export` and `joints`: what is done with a take."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands."""
    report = commands.add_parser("report", help="tell which joints sat at the end of their range, when and how long")
    report.add_argument("take", type=Path, metavar="TAKE.npz")
    report.add_argument("--json", action="store_true")
    report.set_defaults(run=_report)

    export = commands.add_parser("export", help="write a take for other programs, in the format of the suffix")
    export.add_argument("take", type=Path, metavar="TAKE.npz")
    export.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help=".mot, .csv: joint angles under OpenSim's names; .trc: the body's keypoints; .bvh: the moving skeleton",
    )
    export.set_defaults(run=_export)

    joints = commands.add_parser("joints", help="write a take's joint positions as a plain .npz")
    joints.add_argument("take", type=Path, metavar="TAKE.npz")
    joints.add_argument("-o", "--output", type=Path, required=True, metavar="JOINTS.npz")
    joints.set_defaults(run=_joints)


def _export(options: argparse.Namespace) -> int:
    from ..formats.export import check_format, export
    from ..take import Take

    check_format(options.output)
    export(Take.load(options.take), options.output)
    return 0


def _report(options: argparse.Namespace) -> int:
    from ..bounds import SHORTEST, TOLERANCE, find_at_bounds, summary, to_json
    from ..take import Take

    motion = Take.load(options.take).motion
    found = find_at_bounds(motion)
    if options.json:
        facts = {
            "frames": len(motion),
            "tolerance_degrees": math.degrees(TOLERANCE),
            "shortest_seconds": SHORTEST,
            "at_bounds": to_json(found),
        }
        print(json.dumps(facts, indent=2))
    else:
        print("\n".join(summary(found)))
    return 0


def _joints(options: argparse.Namespace) -> int:
    from ..formats.joints import write_joints
    from ..take import Take

    write_joints(Take.load(options.take), options.output)
    return 0
