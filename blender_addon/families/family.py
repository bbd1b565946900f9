# SPDX-License-Identifier: GPL-3.0-or-later
"""What a family of rigs is: which of its bones has which role, by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple


class Switch(NamedTuple):
    """A custom property of a bone that must have a value for the mapped bones to move the body.

    Attributes:
        bone: That has it. key: Its name. value: What it is set to. words: What that means, for the user.
    """

    bone: str
    key: str
    value: float
    words: str


class Family(NamedTuple):
    """Rigs whose bones are named alike.

    Attributes:
        key: Of the family, as it is kept in files. title: What a user reads.
        bones: Names of the bone of each role, the first that exists counts; a prefix that all bones of a rig share
            ("mixamorig:") is left out, and case does not count.
        marks: Bones that tell the family from others of the same names, each as good as a role.
        switches: What must be set.
    """

    key: str
    title: str
    bones: dict[str, tuple[str, ...]]
    marks: tuple[str, ...] = ()
    switches: tuple[Switch, ...] = ()


def both_sides(left: str, right: str, bones: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the bones of both sides by their roles.

    Args:
        left, right: What stands for ``{}`` in names. bones: Name, or names in order, of each role without its side.
    """
    return {
        f"{side}_{role}": tuple(name.format(word) for name in ([names] if isinstance(names, str) else names))
        for side, word in (("left", left), ("right", right))
        for role, names in bones.items()
    }


def centre(**bones: str | tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return the bones of the middle by their roles."""
    return {role: (names,) if isinstance(names, str) else names for role, names in bones.items()}


def match(family: Family, names: Iterable[str]) -> dict[str, str]:
    """Return the bones of the roles that a family finds among a rig's names; of all shared prefixes the best."""
    by_name = {name.lower(): name for name in names}
    prefixes = {
        name[: -len(pelvis)]
        for pelvis in (text.lower() for text in family.bones["pelvis"])
        for name in by_name
        if name.endswith(pelvis) and (name == pelvis or not name[-len(pelvis) - 1].isalpha())
    }
    found = [
        {
            role: by_name[bone]
            for role, options in family.bones.items()
            if (bone := next((prefix + o.lower() for o in options if prefix + o.lower() in by_name), None))
        }
        for prefix in sorted(prefixes, key=len)
    ]
    return max(found, key=len, default={})
