# SPDX-License-Identifier: GPL-3.0-or-later
"""Rigs of Auto-Rig Pro and of VRoid Studio, built in Blender with the bones, parents, constraints and switches that
their users have; proportions of their own, random rolls."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np


class _Bone(NamedTuple):
    name: str
    parent: str
    head: Any
    tail: Any


def _made(context: Any, name: str, bones: list[_Bone], rng: np.random.Generator) -> Any:
    """Return an armature of bones, parents before children; active, in object mode."""
    import bpy

    rig = bpy.data.objects.new(name, bpy.data.armatures.new("data"))
    context.scene.collection.objects.link(rig)
    context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    rolls: dict[tuple[float, ...], float] = {}  # a bone that lies on another has its axes too
    for bone in bones:
        made = rig.data.edit_bones.new(bone.name)
        made.head, made.tail = bone.head, bone.tail
        made.roll = rolls.setdefault((*bone.head, *bone.tail), float(rng.uniform(-np.pi, np.pi)))
        made.parent = rig.data.edit_bones[bone.parent] if bone.parent else None
    bpy.ops.object.mode_set(mode="OBJECT")
    return rig


def vroid(context: Any, rng: np.random.Generator) -> Any:
    """Return a VRoid model's armature: T-pose, a root on the floor, hair, bust and eyes beside the body."""
    up = {
        "Hips": 0.93,
        "Spine": 0.985,
        "Chest": 1.09,
        "UpperChest": 1.205,
        "Neck": 1.325,
        "Head": 1.40,
        "end": 1.6,
    }
    names = list(up)
    bones = [_Bone("Root", "", (0, 0, 0), (0, 0, 0.1))]
    above = "Root"
    for name, following in pairwise(names):
        bones.append(_Bone(f"J_Bip_C_{name}", above, (0, 0.01, up[name]), (0, 0.01, up[following])))
        above = f"J_Bip_C_{name}"
    for strand in range(3):
        x = 0.03 * (strand - 1)
        bones.append(_Bone(f"J_Sec_Hair1_0{strand + 1}", "J_Bip_C_Head", (x, 0.09, 1.5), (x, 0.11, 1.35)))
        bones.append(_Bone(f"J_Sec_Hair2_0{strand + 1}", bones[-1].name, (x, 0.11, 1.35), (x, 0.12, 0.6)))
    for side, s in (("L", 1.0), ("R", -1.0)):
        arm = [0.022, 0.10, 0.31, 0.525, 0.60]
        leg = [
            (0.074, 0.0, 0.885),
            (0.072, 0.005, 0.495),
            (0.07, 0.03, 0.085),
            (0.07, -0.1, 0.012),
            (0.07, -0.15, 0.012),
        ]
        above = "J_Bip_C_UpperChest"
        for name, begin, end in zip(("Shoulder", "UpperArm", "LowerArm", "Hand"), arm[:-1], arm[1:], strict=True):
            bones.append(_Bone(f"J_Bip_{side}_{name}", above, (s * begin, 0.02, 1.29), (s * end, 0.02, 1.288)))
            above = bones[-1].name
        bones.append(_Bone(f"J_Bip_{side}_Index1", above, (s * 0.6, 0.0, 1.288), (s * 0.63, 0.0, 1.288)))
        above = "J_Bip_C_Hips"
        for name, begin, end in zip(("UpperLeg", "LowerLeg", "Foot", "ToeBase"), leg[:-1], leg[1:], strict=True):
            bones.append(_Bone(f"J_Bip_{side}_{name}", above, (s * begin[0], *begin[1:]), (s * end[0], *end[1:])))
            above = bones[-1].name
        bones.append(
            _Bone(f"J_Sec_{side}_Bust1", "J_Bip_C_UpperChest", (s * 0.06, -0.05, 1.2), (s * 0.07, -0.14, 1.18))
        )
        bones.append(_Bone(f"J_Adj_{side}_FaceEye", "J_Bip_C_Head", (s * 0.02, -0.05, 1.46), (s * 0.02, -0.06, 1.46)))
        bones.append(_Bone(f"J_Sec_{side}_SkirtSide1_01", "J_Bip_C_Hips", (s * 0.12, 0, 0.9), (s * 0.16, 0, 0.6)))
    rig = _made(context, "vroid", bones, rng)
    context.view_layer.update()
    return rig


def auto_rig_pro(context: Any, human: Any, rng: np.random.Generator, spines: int = 2) -> Any:
    """Return Auto-Rig Pro's rig: FK controls, deforming bones that follow FK or IK by a switch, and its parents.

    Upper arms do not hang on the shoulders: they turn with the spine and take their place from the shoulder's end, and
    the head turns with the trajectory's bone and takes its place from the neck. Bones that undo scale lie between.

    Args:
        human: Whose proportions it has, in an A-pose. spines: Bones of the spine above the root.
    """
    rest = human.rest_matrices()
    at = {role: rest[j, :3, 3].copy() for j, role in enumerate(human.roles)}
    end = {role: at[role] + rest[j, :3, 1] * human.length[j] for j, role in enumerate(human.roles)}
    hips = at["pelvis"] + [0, 0.01, 0.02]
    levels = np.linspace(hips + [0, 0, 0.06], at["neck"], spines + 1)
    bones = [
        _Bone("c_pos", "", (0, 0, 0), (0, 0.3, 0)),
        _Bone("c_traj", "c_pos", (0, 0, 0), (0, 0.2, 0)),
        _Bone("c_root_master.x", "c_traj", hips, hips + [0, 0, 0.15]),
        _Bone("c_root.x", "c_root_master.x", hips, levels[0]),
        _Bone("root.x", "c_root.x", hips, levels[0]),
    ]
    above = "c_root_master.x"
    for number in range(spines):
        name = f"spine_0{number + 1}.x"
        bones.append(_Bone(f"c_{name}", above, levels[number], levels[number + 1]))
        bones.append(_Bone(name, f"c_{name}", levels[number], levels[number + 1]))
        above = f"c_{name}"
    chest = above.removeprefix("c_")
    bones += [
        _Bone("c_neck.x", chest, at["neck"], at["head"]),
        _Bone("neck.x", "c_neck.x", at["neck"], at["head"]),
        _Bone("head_scale_fix.x", "c_traj", at["head"], end["head"]),
        _Bone("c_head.x", "head_scale_fix.x", at["head"], end["head"]),
        _Bone("head.x", "c_head.x", at["head"], end["head"]),
    ]
    for side, suffix in (("left", ".l"), ("right", ".r")):
        clavicle, shoulder, elbow, wrist = (at[f"{side}_{r}"] for r in ("clavicle", "shoulder", "elbow", "wrist"))
        hip, knee, ankle, toes = (at[f"{side}_{role}"] for role in ("hip", "knee", "ankle", "toes"))
        hand, tip = end[f"{side}_wrist"], end[f"{side}_toes"]
        for name, parent, head, tail in (
            ("c_shoulder", chest, clavicle, shoulder),
            ("shoulder", "c_shoulder", clavicle, shoulder),
            ("c_arm_fk", f"c_{chest}", shoulder, elbow),
            ("arm_fk", "c_arm_fk", shoulder, elbow),
            ("c_forearm_fk", "arm_fk", elbow, wrist),
            ("forearm_fk", "c_forearm_fk", elbow, wrist),
            ("c_hand_fk_scale_fix", "forearm_fk", wrist, hand),
            ("c_hand_fk", "c_hand_fk_scale_fix", wrist, hand),
            ("c_hand_ik", "c_traj", wrist, hand),
            ("arm", "shoulder", shoulder, elbow),
            ("forearm", "arm", elbow, wrist),
            ("hand", "forearm", wrist, hand),
            ("c_thigh_b", "root.x", hip, (hip + knee) / 2),
            ("c_thigh_fk", "c_thigh_b", hip, knee),
            ("thigh_fk", "c_thigh_fk", hip, knee),
            ("c_leg_fk", "c_thigh_fk", knee, ankle),
            ("leg_fk", "c_leg_fk", knee, ankle),
            ("c_foot_fk_scale_fix", "leg_fk", ankle, toes),
            ("c_foot_fk", "c_foot_fk_scale_fix", ankle, toes),
            ("foot_fk", "c_foot_fk", ankle, toes),
            ("c_toes_fk", "foot_fk", toes, tip),
            ("c_foot_ik", "c_traj", ankle, toes),
            ("thigh", "c_thigh_b", hip, knee),
            ("leg", "thigh", knee, ankle),
            ("foot", "leg", ankle, toes),
        ):
            middle = parent in ("c_traj", "root.x") or parent.endswith(".x")
            bones.append(_Bone(name + suffix, parent if middle else parent + suffix, head, tail))
    rig = _made(context, "hero_rig", bones, rng)
    _constrain(rig)
    for bone in rig.pose.bones:
        bone.rotation_mode = "XYZ" if bone.name.startswith("c_") else "QUATERNION"
    context.view_layer.update()
    return rig


def _constrain(rig: Any) -> None:
    """Give Auto-Rig Pro's rig what moves its bones besides their parents."""

    def follow(name: str, kind: str, target: str, **settings: Any) -> Any:
        constraint = rig.pose.bones[name].constraints.new(kind)
        constraint.target, constraint.subtarget = rig, target
        for key, value in settings.items():
            setattr(constraint, key, value)
        return constraint

    follow("head_scale_fix.x", "COPY_LOCATION", "neck.x", head_tail=1.0)
    for suffix in (".l", ".r"):
        follow(f"c_arm_fk{suffix}", "COPY_LOCATION", f"shoulder{suffix}", head_tail=1.0)
        for switch, parts in (("c_hand_ik", ("arm", "forearm", "hand")), ("c_foot_ik", ("thigh", "leg", "foot"))):
            rig.pose.bones[switch + suffix]["ik_fk_switch"] = 0.0
            for part in parts:
                control = part if f"{part}_fk{suffix}" in rig.pose.bones else f"c_{part}"
                copied = follow(part + suffix, "COPY_ROTATION", f"{control}_fk{suffix}")
                driven = copied.driver_add("influence").driver
                variable = driven.variables.new()
                variable.targets[0].id = rig
                variable.targets[0].data_path = f'pose.bones["{switch}{suffix}"]["ik_fk_switch"]'
                driven.expression = variable.name
