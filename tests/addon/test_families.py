# SPDX-License-Identifier: GPL-3.0-or-later
"""Families of rigs: plain data without contradictions, told apart by their bones' names; no Blender needed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "blender_addon"), str(ROOT / "backend")]

import families  # noqa: E402
from families.family import Family, match  # noqa: E402

from video2rig.rig_skeleton import REQUIRED, ROLES  # noqa: E402


def names_of(family: Family, prefix: str = "") -> list[str]:
    """Return a rig's bones: the last choice of each role, and helpers."""
    return [prefix + options[-1] for options in family.bones.values()] + list(family.marks) + ["prop", "Cube_end"]


@pytest.mark.parametrize("family", families.FAMILIES, ids=lambda family: family.key)
def test_a_family_knows_its_own_rigs_whatever_their_prefix_and_case(family: Family) -> None:
    assert set(family.bones) <= set(ROLES) and set(REQUIRED) <= set(family.bones)
    firsts = [options[0] for options in family.bones.values()]
    assert len(set(firsts)) == len(firsts)
    for prefix in ("", "mixamorig:", "Armature|", "char_01_", "Bip001 "):
        bones = match(family, names_of(family, prefix))
        assert bones == {role: prefix + options[-1] for role, options in family.bones.items()}
    shouted = match(family, [name.upper() for name in names_of(family)])
    assert len(shouted) == len(family.bones)


@pytest.mark.parametrize("family", families.FAMILIES, ids=lambda family: family.key)
def test_the_best_family_wins(family: Family) -> None:
    found = families.by_names(names_of(family), REQUIRED)
    assert found is not None and len(found.bones) == len(family.bones)
    assert found.family.key == family.key


def test_a_rig_with_controls_is_moved_by_its_controls() -> None:
    """A generated rig has the metarig's names too, behind DEF- and ORG-."""
    names = [f"{kind}-{options[0]}" for kind in ("DEF", "ORG") for options in families.rigify.METARIG.bones.values()]
    names += names_of(families.rigify.GENERATED)
    found = families.by_names(names, REQUIRED)
    assert found is not None and found.family.key == "rigify_generated"
    # what a game gets of it has the deforming bones alone
    game = families.by_names([name for name in names if name.startswith("DEF-")], REQUIRED)
    assert game is not None and game.family.key == "rigify_metarig" and game.bones["left_knee"] == "DEF-shin.L"
    exported = [*names_of(families.auto_rig_pro.EXPORTED), *names_of(families.auto_rig_pro.CONTROLS)]
    found = families.by_names(exported, REQUIRED)
    assert found is not None and found.family.key == "auto_rig_pro"


def test_what_lacks_a_needed_bone_is_of_no_family() -> None:
    names = names_of(families.mixamo.MIXAMO)
    assert families.by_names([name for name in names if name != "LeftLeg"], REQUIRED) is None
    optional = families.by_names([name for name in names if name not in ("LeftToeBase", "Spine2")], REQUIRED)
    assert optional is not None
    assert set(families.mixamo.MIXAMO.bones) - set(optional.bones) <= set(ROLES) - set(REQUIRED)
    assert families.by_names([], REQUIRED) is None
    assert families.with_key("mixamo") is families.mixamo.MIXAMO and families.with_key("") is None


def test_switches_belong_to_bones_and_have_words() -> None:
    for family in families.FAMILIES:
        assert len({(switch.bone, switch.key) for switch in family.switches}) == len(family.switches)
        assert all(switch.words and switch.bone for switch in family.switches)
