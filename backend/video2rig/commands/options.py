# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that several commands take, and the settings that they make."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from ..settings import CONTACT_MODES, DETECTORS, DEVICES, ROM_PROFILES, Settings


def add_video_arguments(to: argparse.ArgumentParser) -> None:
    """Add the video, and where and by which networks people are found in it."""
    to.add_argument("video", type=Path, help="a video file, or a folder of images")
    to.add_argument("--fps", type=float, help="frames a second of a folder of images")
    add_network_arguments(to)


def add_network_arguments(to: argparse.ArgumentParser) -> None:
    """Add where and by which networks people are found."""
    to.add_argument("--device", choices=DEVICES, default="auto", help="where the networks run")
    to.add_argument("--detector", choices=DETECTORS, default=Settings.detector, help="`models list` tells of each")


def add_solve_arguments(to: argparse.ArgumentParser) -> None:
    """Add how a person is solved; angles are in degrees here, in radians in `Settings`."""
    to.add_argument("--height", type=float, metavar="M", help="standing height of the person, metres")
    to.add_argument(
        "--fov", type=float, metavar="DEG", help="field of view across the longer side of the picture, degrees"
    )
    to.add_argument("--tilt", type=float, metavar="DEG", help="how far the camera looks down, degrees")
    to.add_argument(
        "--smoothing",
        type=_hertz,
        metavar="HZ",
        default=Settings.smoothing_hz,
        help="cut-off, hertz, or 'auto' to estimate it from the motion (default: %(default)s)",
    )
    to.add_argument("--contacts", choices=CONTACT_MODES, default="auto", help="hold feet that rest on the floor")
    to.add_argument("--rom", choices=ROM_PROFILES, default=Settings.rom, help="how far joints may turn")
    to.add_argument(
        "--regression",
        action=argparse.BooleanOptionalAction,
        default=Settings.regression,
        help="let a network that knows how people move tell what one camera leaves open (default: %(default)s)",
    )


def add_json_progress(to: argparse.ArgumentParser) -> None:
    """Add how progress is told."""
    to.add_argument("--json-progress", action="store_true", help="one JSON object a line on standard output")


def settings_of(options: argparse.Namespace, person: str) -> Settings:
    """Return the settings that the options name, for a person (see `Settings.person`).

    Raises:
        SettingsError: A value is outside its range.
    """
    return Settings(
        device=options.device,
        detector=options.detector,
        person=person,
        smoothing_hz=options.smoothing,
        height=options.height,
        field_of_view=_radians(options.fov),
        tilt=_radians(options.tilt),
        contacts=options.contacts,
        rom=options.rom,
        regression=options.regression,
    )


def _radians(degrees: float | None) -> float | None:
    return None if degrees is None else math.radians(degrees)


def _hertz(text: str) -> float | None:
    return None if text == "auto" else float(text)
