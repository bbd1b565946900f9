# SPDX-License-Identifier: GPL-3.0-or-later
"""Rigs of the families that users have, built in Blender with their names, rest poses, rolls and scales."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Kind(NamedTuple):
    """How a family's rigs are.

    Attributes:
        bones: Names of the middle's bones upwards, of each part of a limb with ``{}`` for the side, and of helpers.
        arms: Angle of the arms below horizontal at rest, degrees. scale: Of the object; its data is that much larger.
        y_up: Whether the data has Y up, with an object that is turned. prefix: Of all bones.
        mode: Rotation mode.
    """

    family: str
    bones: dict[str, Any]
    arms: float = 0.0
    scale: float = 1.0
    y_up: bool = False
    prefix: str = ""
    mode: str = "QUATERNION"


def _sided(*names: str) -> dict[str, str]:
    parts = ("collar", "arm", "forearm", "hand", "thigh", "shin", "foot", "toe")
    return dict(zip(parts, names, strict=True))


KINDS = {
    "mixamo": Kind(
        "mixamo",
        {"centre": ["Hips", "Spine", "Spine1", "Spine2", "Neck", "Head"], "left": "Left", "right": "Right"}
        | _sided("{}Shoulder", "{}Arm", "{}ForeArm", "{}Hand", "{}UpLeg", "{}Leg", "{}Foot", "{}ToeBase"),
        scale=0.01,
        y_up=True,
        prefix="mixamorig:",
    ),
    "unreal": Kind(
        "unreal",
        {
            "centre": ["pelvis", *(f"spine_0{n}" for n in range(1, 6)), "neck_01", "neck_02", "head"],
            "left": "l",
            "right": "r",
            "twist": ("upperarm_twist_01_{}", "lowerarm_twist_01_{}", "thigh_twist_01_{}", "calf_twist_01_{}"),
        }
        | _sided("clavicle_{}", "upperarm_{}", "lowerarm_{}", "hand_{}", "thigh_{}", "calf_{}", "foot_{}", "ball_{}"),
        arms=50.0,
        scale=0.01,
        mode="XYZ",
    ),
    "vroid": Kind(
        "vroid",
        {
            "centre": [f"J_Bip_C_{n}" for n in ("Hips", "Spine", "Chest", "UpperChest", "Neck", "Head")],
            "left": "L",
            "right": "R",
        }
        | _sided(
            *(f"J_Bip_{{}}_{n}" for n in ("Shoulder", "UpperArm", "LowerArm", "Hand")),
            *(f"J_Bip_{{}}_{n}" for n in ("UpperLeg", "LowerLeg", "Foot", "ToeBase")),
        ),
    ),
    "mpfb": Kind(
        "mpfb",
        {
            "centre": ["root", "spine05", "spine04", "spine03", "spine02", "spine01", "neck01", "neck02", "head"],
            "left": "L",
            "right": "R",
            "between": {
                "forearm": "upperarm02.{}",
                "hand": "lowerarm02.{}",
                "shin": "upperleg02.{}",
                "foot": "lowerleg02.{}",
            },
        }
        | _sided(
            "clavicle.{}", "upperarm01.{}", "lowerarm01.{}", "wrist.{}", "upperleg01.{}", "lowerleg01.{}", "foot.{}", ""
        ),
        arms=35.0,
        scale=0.1,
        mode="YZX",
    ),
    "cmu": Kind(
        "cmu",
        {
            "centre": ["Hips", "LowerBack", "Spine", "Spine1", "Neck", "Neck1", "Head"],
            "left": "Left",
            "right": "Right",
            "hips": {"left": "LHipJoint", "right": "RHipJoint"},
        }
        | _sided("{}Shoulder", "{}Arm", "{}ForeArm", "{}Hand", "{}UpLeg", "{}Leg", "{}Foot", "{}ToeBase"),
        y_up=True,
        mode="ZXY",
    ),
    "smpl_x": Kind(
        "smpl_x",
        {"centre": ["pelvis", "spine1", "spine2", "spine3", "neck", "head"], "left": "left", "right": "right"}
        | _sided(
            *(f"{{}}_{n}" for n in ("collar", "shoulder", "elbow", "wrist", "hip", "knee", "ankle", "foot")),
        ),
        mode="AXIS_ANGLE",
    ),
    "unknown": Kind(
        "",
        {"centre": ["k0", "k1", "k2", "k3", "k4", "k5"], "left": "q", "right": "w"}
        | _sided("{}_1", "{}_2", "{}_3", "{}_4", "{}_5", "{}_6", "{}_7", "{}_8"),
        arms=75.0,
    ),
}
"""Rigs by name: true names, rest pose, scale and axes; rolls are random."""


def build(context: Any, human: Any, kind: Kind, rng: np.random.Generator, height: float = 1.0) -> Any:
    """Build a rig of a kind, of a body like the default human's but for its proportions; active, in object mode."""
    import bpy

    rest = human.rest_matrices()
    place = {role: rest[j, :3, 3].copy() for j, role in enumerate(human.roles)}
    tip = {role: rest[j, :3, 3] + rest[j, :3, 1] * human.length[j] for j, role in enumerate(human.roles)}
    size = kind.scale**-1
    turn = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]) if kind.y_up else np.eye(3)
    rig = bpy.data.objects.new(kind.family or "unknown", bpy.data.armatures.new("data"))
    context.scene.collection.objects.link(rig)
    context.view_layer.objects.active = rig
    rig.scale = (kind.scale,) * 3
    rig.rotation_euler = (np.pi / 2, 0, 0) if kind.y_up else (0, 0, 0)
    bpy.ops.object.mode_set(mode="EDIT")
    bones = rig.data.edit_bones

    def add(name: str, parent: str | None, head: np.ndarray, tail: np.ndarray) -> str:
        bone = bones.new(kind.prefix + name)
        bone.head, bone.tail = turn @ head * size * height, turn @ tail * size * height
        bone.roll = float(rng.uniform(-np.pi, np.pi))
        bone.parent = None if parent is None else bones[kind.prefix + parent]
        return name

    def limb(parts: list[tuple[str, np.ndarray, np.ndarray]], above: str, between: dict[str, str]) -> None:
        """Add a chain; a bone "between" takes the second half of the one before the bone that it is listed with."""
        for number, (name, head, tail) in enumerate(parts):
            below = parts[number + 1][0] if number + 1 < len(parts) else ""
            if below in between:
                middle = (head + tail) / 2
                above = add(between[below], add(name, above, head, middle), middle, tail)
            else:
                above = add(name, above, head, tail)

    names = kind.bones["centre"]
    necks = sum(name.lower().lstrip("j_bipc").startswith(("neck", "eck")) for name in names)
    spines = len(names) - 2 - necks
    hips = place["pelvis"] + [0, 0.01, 0.02]
    levels = [*np.linspace(hips + [0, 0, 0.05], place["neck"], spines + 1)]
    levels += [*np.linspace(place["neck"], place["head"], necks + 1)[1:]] if necks else []
    above = add(names[0], None, hips, levels[0])
    chest = above
    for number, name in enumerate(names[1:-1]):
        above = add(name, above, levels[number], levels[number + 1])
        chest = above if number < spines else chest
    add(names[-1], above, place["head"], tip["head"])
    for side, sign in (("left", 1.0), ("right", -1.0)):
        word = kind.bones[side]
        at = {part: kind.bones[part].format(word) for part in ("collar", "arm", "forearm", "hand")}
        at |= {part: kind.bones[part].format(word) for part in ("thigh", "shin", "foot", "toe")}
        between = {at[part]: name.format(word) for part, name in kind.bones.get("between", {}).items()}
        twist = [name.format(word) for name in kind.bones.get("twist", ())]
        shoulder = place[f"{side}_shoulder"]
        angle = np.radians(kind.arms)
        along = np.array([sign * np.cos(angle), 0.0, -np.sin(angle)])
        long = [human.length[human.index(f"{side}_{role}")] for role in ("shoulder", "elbow", "wrist")]
        elbow = shoulder + along * long[0]
        wrist = elbow + along * long[1]

        limb(
            [
                (at["collar"], place[f"{side}_clavicle"], shoulder),
                (at["arm"], shoulder, elbow),
                (at["forearm"], elbow, wrist),
                (at["hand"], wrist, wrist + along * long[2]),
            ],
            chest,
            between,
        )
        start = names[0]
        if "hips" in kind.bones:
            start = add(kind.bones["hips"][side], start, hips, place[f"{side}_hip"])
        ball = place[f"{side}_toes"]
        parts = [
            (at["thigh"], place[f"{side}_hip"], place[f"{side}_knee"]),
            (at["shin"], place[f"{side}_knee"], place[f"{side}_ankle"]),
            (at["foot"], place[f"{side}_ankle"], ball),
        ]
        limb(parts + ([(at["toe"], ball, tip[f"{side}_toes"])] if at["toe"] else []), start, between)
        for name, part, begin, end in zip(
            twist,
            ("arm", "forearm", "thigh", "shin"),
            (shoulder, elbow, place[f"{side}_hip"], place[f"{side}_knee"]),
            (elbow, wrist, place[f"{side}_knee"], place[f"{side}_ankle"]),
            strict=False,
        ):
            add(name, at[part], (begin + end) / 2, end)
    bpy.ops.object.mode_set(mode="OBJECT")
    for bone in rig.pose.bones:
        bone.rotation_mode = kind.mode
    context.view_layer.update()
    return rig


def rigify(context: Any, generate: bool) -> Any:
    """Return Rigify's human metarig, or the rig that it generates; active."""
    import addon_utils
    import bpy

    if "rigify" not in context.preferences.addons:
        addon_utils.enable("rigify", default_set=True)
    bpy.ops.object.armature_human_metarig_add()
    metarig = context.view_layer.objects.active
    if not generate:
        return metarig
    before = set(bpy.data.objects)
    bpy.ops.pose.rigify_generate()
    rig = next(obj for obj in set(bpy.data.objects) - before if obj.type == "ARMATURE")
    bpy.data.objects.remove(metarig)
    bpy.ops.object.mode_set(mode="OBJECT") if context.mode != "OBJECT" else None
    context.view_layer.objects.active = rig
    context.view_layer.update()
    return rig
