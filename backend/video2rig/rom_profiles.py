# SPDX-License-Identifier: GPL-3.0-or-later
"""Range-of-motion profiles: how far joints turn, by role, with the source of every number (``rom/*.json``).

A profile speaks in anatomical words and degrees; `anatomy.py` says which axis of a bone they are. Every box of angles
is one in which Blender's Limit Rotation changes nothing (`skeleton.blender_finds`); where a source is wider, the file
says by how much it was narrowed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from .anatomy import MOTIONS, split_role
from .errors import Video2RigError
from .settings import ROM_PROFILES
from .skeleton import Skeleton


class RomError(Video2RigError):
    """A range-of-motion profile that does not exist."""


@dataclass(frozen=True, eq=False)
class JointRange:
    """How far a joint turns about its bone's own axes; of the left side for paired joints.

    Attributes:
        euler_order: Order of the three angles, in Blender's naming.
        bounds: [3, 2] lower and upper bound of the angle about x, y, z, radians; (0, 0) locks an axis.
    """

    euler_order: str
    bounds: np.ndarray


@dataclass(frozen=True, eq=False)
class RomProfile:
    """A named set of ranges of motion.

    Attributes:
        name: One of :data:`settings.ROM_PROFILES`. title, about: What a user reads.
        joints: Range of each role, without its side; roles that are absent are not spoken of.
    """

    name: str
    title: str
    about: str
    joints: dict[str, JointRange]


@cache
def load_profile(name: str) -> RomProfile:
    """Return a profile.

    Raises:
        RomError: There is none of this name; the message lists those that exist.
    """
    if name not in ROM_PROFILES:
        raise RomError(f"range of motion: there is no profile {name!r}; there are {', '.join(ROM_PROFILES)}")
    data = json.loads((Path(__file__).parent / "rom" / f"{name}.json").read_text("utf-8"))
    joints = {}
    for entry in data["joints"]:
        for role in entry["roles"]:
            degrees = np.zeros((3, 2))
            named = {motion.name: motion for motion in MOTIONS[role]}
            for row in entry["motions"]:
                motion = named[row["motion"]]
                ends = [motion.sign * (row[end] - motion.at_rest) for end in ("min", "max")]
                degrees[motion.axis] = sorted(ends)
            bounds = np.radians(degrees)
            bounds.setflags(write=False)
            joints[role] = JointRange(entry["euler_order"], bounds)
    return RomProfile(name, data["title"], data["about"], joints)


def with_profile(skeleton: Skeleton, name: str) -> Skeleton:
    """Return the skeleton with a profile's ranges of motion, by role.

    Joints whose role the profile does not speak of, and joints without a role, keep the range that they have.

    Args:
        skeleton: Its bones' axes are those of the default human (`anatomy.py`). name: Of the profile.

    Raises:
        RomError: There is no such profile.
    """
    profile = load_profile(name)
    orders, rom = list(skeleton.euler_order), skeleton.rom.copy()
    for joint, role in enumerate(skeleton.roles):
        side, part = split_role(role)
        if joint == 0 or part not in profile.joints:
            continue
        orders[joint] = profile.joints[part].euler_order
        rom[joint] = profile.joints[part].bounds
        if side == "right":
            rom[joint, 1:] = 0.0 - rom[joint, 1:, ::-1]
    return replace(skeleton, euler_order=tuple(orders), rom=rom)
