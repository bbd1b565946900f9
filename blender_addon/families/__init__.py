# SPDX-License-Identifier: GPL-3.0-or-later
"""Rigs that are known by their bones' names: a module of plain data for each family."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from . import auto_rig_pro, biped, bvh, mixamo, mpfb, rigify, smpl, unreal, vrm
from .family import Family, match

FAMILIES: tuple[Family, ...] = (
    rigify.METARIG,
    rigify.GENERATED,
    mixamo.MIXAMO,
    unreal.MANNY,
    unreal.UE4,
    vrm.VROID,
    vrm.HUMANOID,
    auto_rig_pro.CONTROLS,
    auto_rig_pro.EXPORTED,
    mpfb.DEFAULT,
    bvh.CMU,
    bvh.ASF,
    bvh.COLLAR,
    smpl.SMPL_X,
    smpl.SMPL,
    biped.BIPED,
)
"""All families; of equally good ones the first is taken."""


class Named(NamedTuple):
    """What names tell of a rig.

    Attributes:
        family: It belongs to. bones: Name of the bone of each role that was found.
    """

    family: Family
    bones: dict[str, str]


def by_names(names: Iterable[str], needed: Iterable[str]) -> Named | None:
    """Return the family that knows most of a rig's bones, or None where none knows all that are needed.

    Args:
        names: Of the rig's bones. needed: Roles that must be found.
    """
    names, needed = list(names), list(needed)
    known = {name.lower() for name in names}
    best, most = None, 0
    for family in FAMILIES:
        bones = match(family, names)
        score = len(bones) + sum(mark.lower() in known for mark in family.marks)
        if score > most and all(role in bones for role in needed):
            best, most = Named(family, bones), score
    return best


def with_key(key: str) -> Family | None:
    """Return a family by its key, or None."""
    return next((family for family in FAMILIES if family.key == key), None)
