# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: ``video2rig solve | live | people | report | export | joints | serve | models | doctor | ...``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from . import __version__
from .commands import inventory, serving, solving, takes
from .errors import Video2RigError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code: 0 done, 1 an error that was told in one line, 2 wrong usage, 130 interrupted.
    """
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except Video2RigError as error:
        print(f"video2rig: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("video2rig: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="video2rig", description=__doc__)
    parser.add_argument("--version", action="version", version=f"video2rig {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for subject in (solving, takes, serving, inventory):
        subject.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
