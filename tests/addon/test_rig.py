# SPDX-License-Identifier: GPL-3.0-or-later
"""The armature is the skeleton: same frames, and limits that change nothing inside the range of motion."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import degrees_between, pose_matrices, quaternions_from_euler

bpy = pytest.importorskip("bpy", reason="needs the bpy module or a Blender binary")

PROFILES = ("clinical", "athlete", "kinepose", "opensim")


def build(addon: Any, context: Any, skeleton: Any, name: str = "human") -> Any:
    return addon.rig.build_armature(context, skeleton, name, context.scene.collection)


def rest_error(rig: Any, skeleton: Any) -> float:
    got = np.array([rig.data.bones[name].matrix_local for name in skeleton.names])
    return float(np.abs(got - skeleton.rest_matrices()).max())


@pytest.mark.parametrize("height", [0.9, 1.75, 2.4])
def test_rest_pose_is_the_skeletons(addon: Any, empty: Any, height: float) -> None:
    from video2rig.human import default_human

    skeleton = addon.core.skeleton.Skeleton.from_json(default_human(height).to_json())
    rig = build(addon, empty, skeleton)
    assert rest_error(rig, skeleton) < 1e-5
    assert [bone.name for bone in rig.data.bones] == [
        name for name in (bone.name for bone in rig.data.bones) if name in skeleton.names
    ]
    assert len(rig.data.bones) == len(skeleton)
    for joint, name in enumerate(skeleton.names):
        bone = rig.data.bones[name]
        assert bone.length == pytest.approx(skeleton.length[joint], abs=1e-5)
        parent = skeleton.parents[joint]
        assert (bone.parent.name if bone.parent else None) == (skeleton.names[parent] if parent >= 0 else None)


unit = st.floats(-1, 1, allow_nan=False)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(unit, unit, unit, unit), min_size=4, max_size=4))
def test_any_rest_orientation_is_kept(addon: Any, human: Any, rows: list[tuple[float, ...]]) -> None:
    """Bones that point straight down, along -Y or with any roll come out as they went in."""
    quaternions = np.array(rows)
    norm = np.linalg.norm(quaternions, axis=1, keepdims=True)
    quaternions = np.where(norm > 1e-3, quaternions / np.maximum(norm, 1e-3), [1.0, 0, 0, 0])
    from reference import matrices

    first = slice(0, 4)
    skeleton = addon.core.skeleton.Skeleton(
        human.names[first],
        (-1, 0, 1, 2),
        human.roles[first],
        matrices(quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)),
        human.offset[first],
        human.length[first],
        human.euler_order[first],
        human.rom[first],
    )
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    # Blender keeps head, tail and roll as 32-bit floats, and a roll is ill-conditioned for bones along -Y
    assert rest_error(build(addon, bpy.context, skeleton), skeleton) < 1e-3


def test_limits_are_the_range_of_motion(addon: Any, empty: Any, human: Any) -> None:
    rig = build(addon, empty, human)
    assert not rig.pose.bones[human.names[0]].constraints
    for joint, name in enumerate(human.names[1:], start=1):
        (limit,) = rig.pose.bones[name].constraints
        assert (limit.type, limit.owner_space, limit.use_transform_limit) == ("LIMIT_ROTATION", "LOCAL", True)
        assert limit.euler_order == human.euler_order[joint]
        got = [[getattr(limit, f"{end}_{axis}") for end in ("min", "max")] for axis in "xyz"]
        assert np.abs(np.array(got) - human.rom[joint]).max() < 1e-6
        assert all(getattr(limit, f"use_limit_{axis}") for axis in "xyz")
    knee = rig.pose.bones["shin.L"]
    assert knee.lock_ik_y and knee.lock_ik_z and not knee.lock_ik_x and knee.use_ik_limit_x


def limits_change(addon: Any, rig: Any, skeleton: Any, fractions: np.ndarray) -> float:
    """Return the largest turn in degrees that the limits make, each joint at a fraction [J, 3] of its range."""
    angles = skeleton.rom[..., 0] + (skeleton.rom[..., 1] - skeleton.rom[..., 0]) * fractions
    found = []
    for muted in (False, True):
        for joint, name in enumerate(skeleton.names):
            bone = rig.pose.bones[name]
            bone.rotation_quaternion = quaternions_from_euler(angles[joint][None], skeleton.euler_order[joint])[0]
            for limit in bone.constraints:
                limit.mute = muted
        bpy.context.view_layer.update()
        found.append(pose_matrices(rig)[:, :3, :3])
    return float(degrees_between(*found).max())


@pytest.fixture(params=PROFILES)
def limited(request: pytest.FixtureRequest, addon: Any) -> Any:
    """The default human with each profile of joint limits."""
    from video2rig.human import default_human

    return addon.core.skeleton.Skeleton.from_json(default_human(rom=request.param).to_json())


def test_limits_change_nothing_at_corners(addon: Any, empty: Any, limited: Any) -> None:
    rig = build(addon, empty, limited)
    for corner in np.ndindex(2, 2, 2):
        fractions = np.tile(np.array(corner, dtype=float), (len(limited), 1))
        assert limits_change(addon, rig, limited, fractions) < 0.01, f"corner {corner}"


def test_limits_change_nothing_inside(addon: Any, empty: Any, limited: Any) -> None:
    rig = build(addon, empty, limited)
    edge_or_inside = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1))
    count = len(limited)
    rows = st.lists(st.tuples(edge_or_inside, edge_or_inside, edge_or_inside), min_size=count, max_size=count)

    @settings(max_examples=100, deadline=None, database=None)
    @given(rows)
    def check(fractions: list[tuple[float, float, float]]) -> None:
        assert limits_change(addon, rig, limited, np.array(fractions)) < 0.01

    check()


def test_a_box_beyond_the_rule_is_changed_by_its_limits(addon: Any, empty: Any, human: Any) -> None:
    """The rule that every profile obeys is needed: pitchers' external rotation, whole, would be clamped away."""
    joint = human.index("left_shoulder")
    rom = human.rom.copy()
    rom[joint] = np.radians([[-80, 84], [-132, 70], [-95, 95]])
    wide = dataclasses.replace(human, rom=rom)
    rig = build(addon, empty, wide)
    fractions = np.full((len(wide), 3), 0.5)
    fractions[joint] = (1.0, 0.0, 1.0)
    assert limits_change(addon, rig, wide, fractions) > 10


def test_the_panel_offers_every_profile(addon: Any, empty: Any) -> None:
    items = empty.scene.video2rig.bl_rna.properties["rom"].enum_items
    assert tuple(item.identifier for item in items) == addon.core.settings.ROM_PROFILES == PROFILES
    empty.scene.video2rig.rom = "athlete"
    assert empty.scene.video2rig.settings().rom == "athlete"


def test_limits_hold_a_hand_that_goes_too_far(addon: Any, empty: Any, human: Any) -> None:
    rig = build(addon, empty, human)
    joint = human.index("left_knee")
    bone = rig.pose.bones[human.names[joint]]
    too_far = human.rom[joint, 0, 1] + 0.5
    bone.rotation_quaternion = quaternions_from_euler(np.array([[too_far, 0.3, 0.2]]), human.euler_order[joint])[0]
    bpy.context.view_layer.update()
    world = pose_matrices(rig)[:, :3, :3]
    names = [pose_bone.name for pose_bone in rig.pose.bones]
    parent = human.names[human.parents[joint]]
    local = (world[names.index(parent)] @ human.rest_rotation[joint]).T @ world[names.index(bone.name)]
    upper = human.rom[joint, 0, 1]
    expected = np.array([[1, 0, 0], [0, np.cos(upper), -np.sin(upper)], [0, np.sin(upper), np.cos(upper)]])
    assert degrees_between(local, expected) < 0.01
