# SPDX-License-Identifier: GPL-3.0-or-later
"""A take written in the format that a file's suffix names."""

from __future__ import annotations

from pathlib import Path

from ..angles import joint_angles
from ..keypoints import has_site, site
from ..take import Take
from .angles_csv import write_csv
from .bvh import write_bvh
from .mot import write_mot
from .text import FormatError
from .trc import motion_markers, write_trc

FORMATS = {
    ".mot": lambda take, path: write_mot(joint_angles(take.motion), path),
    ".trc": lambda take, path: write_trc(motion_markers(take.motion, _carried(take)), path),
    ".csv": lambda take, path: write_csv(joint_angles(take.motion), path),
    ".bvh": lambda take, path: write_bvh(take.motion, path),
}
"""What writes each suffix: OpenSim's joint angles, the solved body's keypoints, joint angles, skeleton and motion."""


def check_format(path: str | Path) -> str:
    """Return the suffix of a file to be written.

    Raises:
        FormatError: No format has it; the message lists those there are.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise FormatError(f"{path}: no format {suffix or 'without a suffix'!r}; there are {', '.join(FORMATS)}")
    return suffix


def export(take: Take, path: str | Path) -> None:
    """Write a take in the format of the path's suffix; an existing file is replaced only once the new one is whole.

    Raises:
        FormatError: No format has the suffix, or the take has nothing that the format could hold.
        AnglesError: The skeleton has no hips, for a format of joint angles.
        FileError: The file cannot be written.
    """
    FORMATS[check_format(path)](take, path)


def _carried(take: Take) -> tuple[str, ...]:
    """Return the take's keypoints for which the skeleton has a joint; someone's own rig may have no toes."""
    roles = take.motion.skeleton.roles
    names = tuple(name for name in take.keypoints.names if has_site(name) and site(name)[0] in roles)
    if not names:
        raise FormatError("no keypoints to write: the skeleton has none of the roles that carry them, as left_knee")
    return names
