# SPDX-License-Identifier: GPL-3.0-or-later
"""Unknown rigs: roles from hierarchy, symmetry and rest positions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from rig_examples import MAP, Body, body, swing
from video2rig.human import default_human
from video2rig.rest_rig import RestRig
from video2rig.rig_skeleton import rig_skeleton
from video2rig.rig_structure import StructureError, find_roles

seeds = st.integers(0, 2**32 - 1)


def same_swings(made: Body, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return a symmetric rest pose: T, A, or arms down, elbows and knees a little bent."""
    arm, elbow, leg = np.radians(rng.uniform(-50, 40)), np.radians(rng.uniform(0, 30)), np.radians(rng.uniform(-2, 12))
    swings = {}
    for suffix, sign in (("_l", 1), ("_r", -1)):
        swings["arm" + suffix] = Rotation.from_euler("y", sign * arm).as_matrix()
        bone = made.names.index("lower_arm" + suffix)
        swings["lower_arm" + suffix] = swing(
            made.tails[bone] - made.heads[bone], elbow, sign * 0.3 + (sign < 0) * np.pi
        )
        swings["leg" + suffix] = Rotation.from_euler("y", -sign * leg).as_matrix()
    return swings


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_a_body_is_found_among_tails_fingers_twist_bones_and_roots(seed: int) -> None:
    rng = np.random.default_rng(seed)
    made = body(rng if seed else None, height=float(rng.uniform(0.5, 3)))
    yaw = Rotation.from_euler("z", rng.uniform(-np.pi, np.pi)).as_matrix()
    place = (yaw, float(rng.uniform(0.2, 4)), rng.normal(size=3))
    rig, _ = made.rest(same_swings(made, rng), rng.uniform(-np.pi, np.pi, len(made.names)), place)
    # names tell nothing
    order = rng.permutation(len(rig))
    hidden = dataclasses.replace(rig, names=tuple(f"bone {number}" for number in order))
    found = find_roles(hidden)
    shown = {role: rig.names[hidden.names.index(bone)] for role, bone in found.items()}
    assert shown == MAP


def test_the_default_human_is_found_whatever_its_up_is() -> None:
    human = default_human()
    rest = human.rest_matrices()
    tails = rest[:, :3, 3] + rest[:, :3, 1] * human.length[:, None]
    roles = dict(zip(human.roles, human.names, strict=True))
    # as a Y-up file lies in the scene: with the object's rotation, and without it
    lying = Rotation.from_euler("x", -90, degrees=True).as_matrix()
    for turn, axes in ((np.eye(3), np.eye(3)), (lying, lying), (lying, np.eye(3))):
        rig = RestRig(human.names, human.parents, turn @ rest[:, :3, :3], rest[:, :3, 3] @ turn.T, tails @ turn.T, axes)
        assert find_roles(rig) == roles


def test_few_bones_are_enough() -> None:
    """No clavicles, one bone of the spine, no neck, no toes, no fingers."""
    made, whole = Body(), body()

    def copy(name: str, parent: str | None) -> None:
        bone = whole.names.index(name)
        made.add(name, parent, whole.heads[bone], whole.tails[bone])

    copy("hips", None)
    copy("spine_c", "hips")
    copy("head", "spine_c")
    for suffix in ("_l", "_r"):
        for above, name in (("spine_c", "arm"), ("arm", "lower_arm"), ("lower_arm", "palm")):
            copy(name + suffix, above if above == "spine_c" else above + suffix)
        for above, name in (("hips", "leg"), ("leg", "lower_leg"), ("lower_leg", "foot")):
            copy(name + suffix, above if above == "hips" else above + suffix)
    rig, _ = made.rest()
    found = find_roles(rig)
    lacking = {
        "spine_lower",
        "spine_middle",
        "neck",
        *(f"{s}_{r}" for s in ("left", "right") for r in ("clavicle", "toes")),
    }
    assert found == {role: bone for role, bone in MAP.items() if role not in lacking} | {"spine_upper": "spine_c"}
    assert len(rig_skeleton(rig, found).joints) == len(found)


def without(*parts: str) -> RestRig:
    whole = body()
    made = Body()
    for bone, name in enumerate(whole.names):
        if not name.startswith(parts):
            parent = whole.parents[bone]
            if parent >= 0 and whole.names[parent] not in made.names:
                continue
            made.add(name, None if parent < 0 else whole.names[parent], whole.heads[bone], whole.tails[bone])
    return made.rest()[0]


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        (("leg_r", "leg_l"), "the legs were not found"),
        (("arm_r", "arm_l"), "the arms were not found"),
        (("lower_leg",), "the legs were not found"),
        (("leg_r", "arm_r", "collar_r"), "arms and legs were not found|legs were not found|mirrors"),
    ],
)
def test_what_is_missing_is_told(parts: tuple[str, ...], says: str) -> None:
    with pytest.raises(StructureError, match=says):
        find_roles(without(*parts))


def test_no_body_at_all() -> None:
    rig = RestRig(("a", "b"), (-1, 0), np.tile(np.eye(3), (2, 1, 1)), np.eye(3)[1:], np.eye(3)[1:] * 2)
    with pytest.raises(StructureError, match="no bone mirrors another"):
        find_roles(rig)
