# SPDX-License-Identifier: GPL-3.0-or-later
"""The same motion on rigs that rest otherwise, are rolled otherwise and stand elsewhere: the same animation in Blender.

A rest pose differs from the default human's by swings: a twist about a bone's length cannot be told from joint centres.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from reference import degrees_between
from rigs import KINDS, build
from test_rigs import moving, shown

bpy = pytest.importorskip("bpy", reason="needs the bpy module or a Blender binary")
from mathutils import Matrix, Vector  # noqa: E402


def swing(rig: Any, bone: str, axis: np.ndarray, angle: float) -> None:
    """Turn a bone in the world about an axis through its head."""
    posed = rig.pose.bones[bone]
    world = rig.matrix_world @ posed.matrix
    head = world.translation.copy()
    turn = Matrix.Translation(head) @ Matrix.Rotation(angle, 4, Vector(axis)) @ Matrix.Translation(-head)
    posed.matrix = rig.matrix_world.inverted() @ turn @ world
    bpy.context.view_layer.update()


def rest_otherwise(rig: Any, bones: dict[str, str], rng: np.random.Generator) -> None:
    """Give a rig another rest pose: arms, hands and knees swung, feet turned about the vertical but flat."""
    for side in ("left", "right"):
        flat = np.array((rig.matrix_world @ rig.pose.bones[bones[f"{side}_ankle"]].matrix).to_3x3().normalized())
        for role, most in (("shoulder", 1.2), ("elbow", 0.9), ("wrist", 0.4), ("hip", 0.4), ("knee", 0.3)):
            posed = rig.pose.bones[bones[f"{side}_{role}"]]
            along = np.array((rig.matrix_world @ posed.matrix).to_3x3().normalized())[:, 1]
            axis = np.cross(along, rng.normal(size=3))  # across the bone: a swing, no twist
            swing(rig, posed.name, axis / np.linalg.norm(axis), rng.uniform(-most, most))
        foot = rig.pose.bones[bones[f"{side}_ankle"]]
        level = Matrix.Rotation(rng.uniform(-0.5, 0.5), 4, "Z").to_3x3() @ Matrix(flat)
        place = (rig.matrix_world @ foot.matrix).translation
        scale = rig.matrix_world.to_scale()
        world = Matrix.LocRotScale(place, level, scale)
        foot.matrix = rig.matrix_world.inverted() @ world
        bpy.context.view_layer.update()
    bpy.ops.object.mode_set(mode="POSE")
    bpy.ops.pose.armature_apply(selected=False)
    bpy.ops.object.mode_set(mode="OBJECT")


def roll_otherwise(rig: Any, bones: dict[str, str], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Roll all bones anyhow, and return the [3, 3] turn of each mapped one's axes in themselves."""
    before = {name: np.array(rig.data.bones[name].matrix_local.to_3x3()) for name in bones.values()}
    bpy.ops.object.mode_set(mode="EDIT")
    for bone in rig.data.edit_bones:
        bone.roll += float(rng.uniform(-np.pi, np.pi))
    bpy.ops.object.mode_set(mode="OBJECT")
    return {name: was.T @ np.array(rig.data.bones[name].matrix_local.to_3x3()) for name, was in before.items()}


@pytest.mark.parametrize("seed", [101, 102, 103])
@pytest.mark.parametrize("name", KINDS)
def test_the_same_motion_is_the_same_animation(addon: Any, empty: Any, human: Any, name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    kind = KINDS[name]._replace(arms=40.0)  # as the default human rests: from there all are swings
    rigs = [build(empty, human, kind, np.random.default_rng(seed), height=1.1) for _ in range(2)]
    bones = addon.mapping.of(rigs[0]).bones
    rest_otherwise(rigs[1], bones, rng)
    rolled = roll_otherwise(rigs[1], bones, rng)
    holder = bpy.data.objects.new("holder", None)
    empty.scene.collection.objects.link(holder)
    holder.location, holder.rotation_euler = rng.normal(size=3), rng.uniform(-3, 3, 3)
    holder.scale = (float(rng.uniform(0.4, 2.5)),) * 3
    rigs[1].parent = holder
    rigs[1].location = rng.normal(size=3)
    rigs[1].rotation_euler = rng.uniform(-3, 3, 3)
    empty.view_layer.update()

    if not kind.family:  # the structure is found where left mirrors right
        addon.mapping.keep(rigs[1], addon.mapping.of(rigs[0]))
    assert addon.mapping.of(rigs[1]).bones == bones
    skeletons = [addon.read_rig.skeleton_to_solve(rig) for rig in rigs]
    size = holder.scale[0]
    assert np.abs(skeletons[0].length * size - skeletons[1].length).max() < 1e-4 * size
    motion = moving(addon, skeletons[0], 12, seed)
    path = motion.root_position * size
    larger = dataclasses.replace(motion, skeleton=skeletons[1], root_position=path)
    for rig, one in zip(rigs, (motion, larger), strict=True):
        addon.keyframes.write_motion(rig, one, "take", rate=24.0, first=1)
    names = list(bones.values())
    for frame in range(1, 13):
        one, other = (shown(rig, names, frame) for rig in rigs)
        turned = other[:, :3, :3] @ np.swapaxes([rolled[bone] for bone in names], -1, -2)
        assert degrees_between(one[:, :3, :3], turned).max() < 0.5
        assert np.abs(one[1:, :3, 3] * size - other[1:, :3, 3]).max() < 2e-3 * size
