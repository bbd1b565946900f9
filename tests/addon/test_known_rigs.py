# SPDX-License-Identifier: GPL-3.0-or-later
"""Rigs with parents, constraints and switches as Auto-Rig Pro and VRoid Studio make them, moved as they were solved."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from known_rigs import auto_rig_pro, vroid
from reference import forward
from test_rigs import errors, moving, play, shown

bpy = pytest.importorskip("bpy", reason="needs the bpy module or a Blender binary")


def place(context: Any, rig: Any, rng: np.random.Generator) -> None:
    """Put an armature somewhere, turned and scaled, below a parent that is so too."""
    holder = bpy.data.objects.new("holder", None)
    context.scene.collection.objects.link(holder)
    rig.parent = holder
    for obj in (holder, rig):
        obj.location, obj.rotation_euler = rng.normal(size=3), rng.uniform(-3, 3, 3)
        obj.scale = (float(rng.uniform(0.4, 2.5)),) * 3
    context.view_layer.update()


@pytest.mark.parametrize("seed", [31, 32])
def test_vroid(addon: Any, empty: Any, human: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rig = vroid(empty, rng)
    place(empty, rig, rng)
    found = addon.mapping.of(rig)
    assert found.family == "vroid" and set(found.bones) == set(human.roles)
    skeleton, motion, pose = play(addon, empty, rig)
    apart, over = errors(rig, skeleton, motion)
    assert apart < 5e-4 and over < 0.1
    assert addon.retargeting.what_holds(rig, pose, np.arange(1, 25)) == []
    # hair, bust and skirt are nobody's: they have no keys
    keyed = {curve.data_path for curve in addon.compat.fcurves(rig)}
    assert not any("J_Sec" in path or "J_Adj" in path or '"Root"' in path for path in keyed)


@pytest.mark.parametrize("spines", [2, 3])
@pytest.mark.parametrize("seed", [41, 42])
def test_auto_rig_pro(addon: Any, empty: Any, human: Any, seed: int, spines: int) -> None:
    """Arms that hang on the spine and take their place from the shoulders, a head that hangs on the trajectory."""
    rng = np.random.default_rng(seed)
    rig = auto_rig_pro(empty, human, rng, spines)
    place(empty, rig, rng)
    found = addon.mapping.of(rig)
    assert found.family == "auto_rig_pro"
    assert set(human.roles) - set(found.bones) == (set() if spines == 3 else {"spine_upper"})
    skeleton, motion, pose = play(addon, empty, rig)
    assert addon.retargeting.what_was_set(pose) == ["set and keyed on the rig: limbs to FK"]
    apart, over = errors(rig, skeleton, motion)
    assert apart < 5e-4 and over < 0.1
    assert addon.retargeting.what_holds(rig, pose, np.arange(1, 25)) == []
    # what deforms the body goes along, as its switches stand
    deform = {
        f"c_{part}_fk{suffix}": part + suffix
        for part in ("arm", "forearm", "hand", "thigh", "leg", "foot")
        for suffix in (".l", ".r")
    }
    apart, _ = errors(rig, skeleton, motion, deform)
    assert apart < 5e-4


def test_auto_rig_pro_with_parts_that_are_posed_by_hand(addon: Any, empty: Any, human: Any) -> None:
    """The controls above the keyed ones may have any pose: the figure stands where it was solved."""
    rig = auto_rig_pro(empty, human, np.random.default_rng(51))
    for name in ("c_pos", "c_traj"):
        rig.pose.bones[name].location = (0.3, -0.2, 0.1)
        rig.pose.bones[name].rotation_euler = (0.2, 0.4, -0.3)
    empty.view_layer.update()
    skeleton = addon.read_rig.skeleton_to_solve(rig)
    motion = moving(addon, skeleton, 12, seed=7)
    addon.keyframes.write_motion(rig, motion, "take", rate=24.0, first=1)
    expected = forward(motion)
    joints = [skeleton.index(role) for role in ("left_wrist", "right_ankle", "head")]
    for frame in range(12):
        there = shown(rig, [skeleton.names[joint] for joint in joints], frame + 1)[:, :3, 3]
        assert np.abs(there - expected[frame, joints, :3, 3]).max() < 5e-4
