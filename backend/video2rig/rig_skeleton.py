# SPDX-License-Identifier: GPL-3.0-or-later
"""The skeleton that is solved for a rig: its joint centres and proportions, the default human's axes and limits.

A range of motion means something only where the zero of its angles does. A rig may rest in a T-pose, an A-pose or with
its arms down, its bones rolled in any way; the default human's zero is standing straight, arms 40 degrees below
horizontal, flexion about X. So the rig is turned, bone by bone, into the default human's rest pose, and its joint
centres are taken there:

- **Trunk** (pelvis, spine, neck, head, clavicles) keeps its shape and turns as one, until its left and its up are those
  of the default human. Up is from the hips to the shoulders, or the axis of the object within 15 degrees of that.
- **Arms and legs** turn at each joint by the smallest rotation that brings the segment to the next joint into the
  default human's direction. So a rest pose may differ by any swing; a twist about a bone's length cannot be told from
  joint centres and is taken for none.
- **Feet** are taken to rest flat on the floor: they turn about the vertical until they point forward.

Each bone of the rig then is its joint of the skeleton, turned by one constant rotation. A joint that has limits of its
own (a Limit Rotation) keeps its own axes and its own rest pose, in which these limits are meant.

More bones than roles: what lies between two mapped bones is carried by the upper one. Fewer: the joints that are
missing are there, but cannot turn; the range of a missing joint of the spine or the neck goes to its neighbour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from .anatomy import split_role
from .errors import Video2RigError
from .human import default_human
from .rest_rig import RestRig
from .rom_profiles import JointRange
from .skeleton import Skeleton


class MapError(Video2RigError):
    """A map from roles to bones that cannot be solved."""


SPINE = ("spine_lower", "spine_middle", "spine_upper")
SIDES = ("left", "right")

REQUIRED = ("pelvis",) + tuple(
    f"{side}_{role}" for role in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist") for side in SIDES
)
"""Roles without which a rig cannot be solved. The joints of others that it lacks do not turn."""

ROLES = default_human().roles
"""All of them, parents before children."""

_HEIRS = {
    "spine_lower": ("spine_middle", "spine_upper"),
    "spine_middle": ("spine_upper", "spine_lower"),
    "spine_upper": ("spine_middle", "spine_lower"),
    "neck": ("head",),
    "head": ("neck",),
}
"""Who gets the range of a joint that a rig lacks; the first that it has."""

_NEXT = {"shoulder": "elbow", "elbow": "wrist", "hip": "knee", "knee": "ankle"}
_UPRIGHT = np.cos(np.radians(15.0))
_FLAT = np.sin(np.radians(65.0))  # a foot that is steeper at rest points its toes
_ON_FLOOR = 0.06  # of the length of the legs: an origin this near to the soles is the floor
_SOLE = 0.024  # of the length of the legs: from the floor to the lowest joint of a foot, as the default human has it
_LEAST = 1e-3  # of the length of the legs: joints nearer to one another are the same


@dataclass(frozen=True, eq=False)
class RigSkeleton:
    """A rig's skeleton and how its bones follow from it.

    Attributes:
        skeleton: What is solved. Joints are named as the bones that they move; joints that move none have names of the
            default human and cannot turn.
        bones: [M] bone of the rig that each mapped joint moves, its index. joints: [M] these joints; the first is the
            root.
        turn: [M, 3, 3] the bone's axes in the joint's, constant: ``bone = joint @ turn``.
        root_offset: [3] from the root joint to the head of its bone, in the root joint's axes, metres.
    """

    skeleton: Skeleton
    bones: tuple[int, ...]
    joints: tuple[int, ...]
    turn: np.ndarray
    root_offset: np.ndarray


def check_map(rig: RestRig, bones: Mapping[str, str]) -> None:
    """Make sure that a map can be solved.

    Args:
        rig: The armature. bones: Name of the bone of each role; roles that it lacks are absent or "".

    Raises:
        MapError: A role that is needed has no bone, a bone is not there or has two roles, or bones do not hang on one
            another as a body's do.
    """
    bones = {role: bone for role, bone in bones.items() if bone}
    unknown = sorted(set(bones) - set(ROLES))
    if unknown:
        raise MapError(f"bones: there is no role {unknown[0]!r}; roles are {', '.join(ROLES)}")
    missing = [role for role in REQUIRED if role not in bones]
    if missing:
        raise MapError("bones are missing for: " + ", ".join(role.replace("_", " ") for role in missing))
    for role, bone in bones.items():
        if bone not in rig.names:
            raise MapError(f"the bone {bone!r}, mapped to {role.replace('_', ' ')}, is not there")
        others = [other for other in bones if other != role and bones[other] == bone]
        if others:
            both = " and ".join(name.replace("_", " ") for name in (role, others[0]))
            raise MapError(f"the bone {bone!r} is mapped to both {both}")
    size = _leg_length(rig, bones)
    for side in SIDES:
        for upper, lower in _NEXT.items():
            above, below = bones[f"{side}_{upper}"], bones[f"{side}_{lower}"]
            apart = np.linalg.norm(rig.heads[rig.index(above)] - rig.heads[rig.index(below)])
            if apart < _LEAST * size:
                raise MapError(
                    f"the bones {above!r} ({side} {upper}) and {below!r} ({side} {lower}) begin at the same place"
                )


def _leg_length(rig: RestRig, bones: Mapping[str, str]) -> float:
    """Return the length of the left leg from hip to ankle."""
    joints = rig.heads[[rig.index(bones[f"left_{role}"]) for role in ("hip", "knee", "ankle")]]
    return max(float(np.linalg.norm(np.diff(joints, axis=0), axis=1).sum()), 1e-9)


def smallest_rotation(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return the [3, 3] smallest rotation that turns one [3] direction into another."""
    a, b = before / np.linalg.norm(before), after / np.linalg.norm(after)
    cosine = float(a @ b)
    if cosine < -1 + 1e-9:
        axis = np.cross(a, np.eye(3)[np.abs(a).argmin()])
        axis /= np.linalg.norm(axis)
        return 2 * np.outer(axis, axis) - np.eye(3)
    x, y, z = np.cross(a, b)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + cross + cross @ cross / (1 + cosine)


def body_axes(rig: RestRig, bones: Mapping[str, str]) -> np.ndarray:
    """Return [3, 3]: the body's left, back and up at rest, as columns, in the world.

    Raises:
        MapError: Hips or shoulders lie where a body has no left or no up.
    """
    hip_left, hip_right, arm_left, arm_right = (
        rig.heads[rig.index(bones[f"{side}_{role}"])] for role in ("hip", "shoulder") for side in SIDES
    )
    up = arm_left + arm_right - hip_left - hip_right
    left = hip_left - hip_right
    size = _leg_length(rig, bones)
    if np.linalg.norm(up) < _LEAST * size or np.linalg.norm(left) < _LEAST * size:
        raise MapError("the hips, or hips and shoulders, lie at the same place; the map is wrong")
    up = up / np.linalg.norm(up)
    nearest = (np.concatenate([rig.axes, -rig.axes], axis=1)).T
    closest = nearest[int((nearest @ up).argmax())]
    if closest @ up > _UPRIGHT:
        up = closest
    left = left - up * (left @ up)
    if np.linalg.norm(left) < _LEAST * size:
        raise MapError("the shoulders are beside the hips and not above them; the map is wrong")
    left /= np.linalg.norm(left)
    return np.stack([left, np.cross(up, left), up], axis=1)


def _axis_frame(along: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return the [3, 3] frame with Y along a bone and Z as near to a direction as that allows."""
    y = along / np.linalg.norm(along)
    z = faces - y * (y @ faces)
    z /= np.linalg.norm(z)
    return np.stack([np.cross(y, z), y, z], axis=1)


def rig_skeleton(
    rig: RestRig,
    bones: Mapping[str, str],
    rom: str = "clinical",
    limits: Mapping[str, JointRange] | None = None,
    origin: np.ndarray | None = None,
) -> RigSkeleton:
    """Return the skeleton that is solved for a rig.

    Args:
        rig: The armature. bones: Name of the bone of each role (:func:`check_map`).
        rom: Range-of-motion profile of the joints.
        limits: Ranges that bones have themselves, by their names, about their own axes.
        origin: [3] where the object stands in the world, metres; the skeleton then stands at the world's origin.

    Raises:
        MapError: See :func:`check_map` and :func:`body_axes`.
        RomError: There is no such profile.
    """
    bones = {role: bone for role, bone in bones.items() if bone}
    limits = limits or {}
    check_map(rig, bones)
    human = default_human(rom=rom)
    index = {role: rig.index(bone) for role, bone in bones.items()}
    scale = _leg_length(rig, bones) / (human.length[human.index("left_hip")] + human.length[human.index("left_knee")])
    own = {role for role, bone in bones.items() if bone in limits and role != "pelvis"}
    align, frames = _aligned(rig, bones, index, human, own)
    heads = _joint_places(rig, index, human, align, scale)
    parents = human.parents

    rest, offset = frames.copy(), heads.copy()
    for joint, parent in enumerate(parents):
        if parent >= 0:
            rest[joint] = frames[parent].T @ frames[joint]
            offset[joint] = frames[parent].T @ align[parent] @ (heads[joint] - heads[parent])
    names, orders, ranges = [], list(human.euler_order), human.rom.copy()
    for joint, role in enumerate(human.roles):
        names.append(bones.get(role) or _free_name(human.names[joint], set(rig.names)))
        if role not in bones:
            ranges[joint] = 0.0
            heir = next((other for other in _HEIRS.get(role, ()) if other in bones), None)
            if heir is not None and heir not in own:
                ranges[human.index(heir)] += human.rom[joint]
        elif role in own:
            orders[joint], ranges[joint] = limits[bones[role]].euler_order, limits[bones[role]].bounds
    length = _lengths(rig, index, human, heads, scale)
    skeleton = Skeleton(tuple(names), parents, human.roles, rest, offset, length, tuple(orders), ranges)
    skeleton = _standing(skeleton, rig, index, body_axes(rig, bones), np.zeros(3) if origin is None else origin)
    joints = tuple(joint for joint, role in enumerate(human.roles) if role in index)
    mapped = tuple(index[human.roles[joint]] for joint in joints)
    turn = np.array([frames[j].T @ align[j] @ rig.frames[b] for j, b in zip(joints, mapped, strict=True)])
    root_offset = frames[0].T @ align[0] @ (rig.heads[index["pelvis"]] - heads[0])
    return RigSkeleton(skeleton, mapped, joints, turn, root_offset)


def _free_name(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "'"
    return name


def _aligned(
    rig: RestRig, bones: Mapping[str, str], index: Mapping[str, int], human: Skeleton, own: set[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return [J, 3, 3] the turn of each joint's bone into the default rest pose, and [J, 3, 3] the joints' frames."""
    body = body_axes(rig, bones)
    frames = human.rest_matrices()[:, :3, :3].copy()
    align = np.tile(body.T, (len(human), 1, 1))
    for joint, role in enumerate(human.roles):
        side, part = split_role(role)
        parent = human.parents[joint]
        if part in ("shoulder", "elbow", "wrist", "hip", "knee", "toes"):
            align[joint] = align[parent]
        if role not in index:
            continue
        bone = index[role]
        if role in own:
            align[joint] = align[parent]
            frames[joint] = align[joint] @ rig.frames[bone]
        elif part in _NEXT:
            along = align[parent] @ (rig.heads[index[f"{side}_{_NEXT[part]}"]] - rig.heads[bone])
            align[joint] = smallest_rotation(along, frames[joint, :, 1]) @ align[parent]
        elif part == "wrist":
            along = align[parent] @ (rig.tails[bone] - rig.heads[bone])
            # tails of hands may point anywhere; one that goes on from the forearm is the hand's direction
            if along @ frames[joint, :, 1] > 0.5 * np.linalg.norm(along):
                align[joint] = smallest_rotation(along, frames[joint, :, 1]) @ align[parent]
        elif part == "ankle":
            align[joint], frames[joint] = _flat_foot(rig, index, side, body, align[parent], frames[joint])
    return align, frames


def _flat_foot(
    rig: RestRig, index: Mapping[str, int], side: str, body: np.ndarray, shin: np.ndarray, frame: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return a foot's turn [3, 3] and its joint's frame [3, 3]: it points forward, as steeply as it does at rest."""
    bone = index[f"{side}_ankle"]
    toes = index.get(f"{side}_toes")
    along = body.T @ ((rig.tails[bone] if toes is None else rig.heads[toes]) - rig.heads[bone])
    length = np.linalg.norm(along)
    if length < 1e-9 or abs(along[2]) > _FLAT * length:
        if length < 1e-9:
            return shin, frame
        return smallest_rotation(shin @ body @ along, frame[:, 1]) @ shin, frame
    forward = np.array([along[0], along[1], 0.0])
    level = np.linalg.norm(forward)
    turned = smallest_rotation(forward, np.array([0.0, -1.0, 0.0])) @ body.T
    return turned, _axis_frame(np.array([0.0, -level, along[2]]), np.array([0.0, 0.0, -1.0]))


def _joint_places(
    rig: RestRig, index: Mapping[str, int], human: Skeleton, align: np.ndarray, scale: float
) -> np.ndarray:
    """Return [J, 3] where each joint is on the rig at rest, metres; joints without a bone where one would be."""
    places = np.zeros((len(human), 3))
    places[0] = (rig.heads[index["left_hip"]] + rig.heads[index["right_hip"]]) / 2
    known = {0}
    for joint, role in enumerate(human.roles):
        if joint and role in index:
            places[joint] = rig.heads[index[role]]
            known.add(joint)
    frames = human.rest_matrices()[:, :3, :3]
    for joint in range(1, len(human)):
        if joint in known:
            continue
        # in the trunk it coincides with the next joint that is there; at an end it is where the default human has it
        below = [child for child in range(joint + 1, len(human)) if human.parents[child] == joint and child in known]
        parent = human.parents[joint]
        if human.roles[joint] in SPINE or not below:
            step = align[parent].T @ frames[parent] @ human.offset[joint] * scale
            places[joint] = places[parent] + (0.0 if human.roles[joint] in SPINE else step)
        else:
            places[joint] = places[below[0]]
    return places


def _lengths(rig: RestRig, index: Mapping[str, int], human: Skeleton, places: np.ndarray, scale: float) -> np.ndarray:
    """Return [J] lengths of the joints' bones, metres."""
    length = human.length * scale
    ends = {"head", *(f"{side}_{role}" for side in SIDES for role in ("wrist", "toes"))}
    for joint, role in enumerate(human.roles):
        child = next((child for child in range(len(human)) if human.parents[child] == joint), joint)
        if role not in ends:
            apart = np.linalg.norm(places[child] - places[joint])
            if apart > 0.05 * length[joint]:
                length[joint] = apart
        elif role in index:
            bone = index[role]
            apart = np.linalg.norm(rig.tails[bone] - rig.heads[bone])
            if 0.6 < apart / length[joint] < 1.7:
                length[joint] = apart
    # the detector's hips lie beside the joints, by the width of the pelvis
    hips = [places[human.index(f"{side}_hip")] for side in SIDES]
    wide = np.linalg.norm(human.offset[human.index("left_hip")] - human.offset[human.index("right_hip")])
    length[0] = human.length[0] * np.linalg.norm(hips[0] - hips[1]) / wide
    return length


def _standing(
    skeleton: Skeleton, rig: RestRig, index: Mapping[str, int], body: np.ndarray, origin: np.ndarray
) -> Skeleton:
    """Return the skeleton over the floor z = 0.

    The object's origin is the floor where it lies near the soles; else the default human says how far below the lowest
    joint of the feet the floor is.
    """
    up = body[:, 2]
    legs = float(
        np.linalg.norm(skeleton.offset[[skeleton.index("left_knee"), skeleton.index("left_ankle")]], axis=1).sum()
    )
    above, clearance = [], []
    for side in SIDES:
        ends = [index[role] for role in (f"{side}_ankle", f"{side}_toes") if role in index]
        lowest = float((np.concatenate([rig.heads[ends], rig.tails[ends]]) @ up).min())
        above.append(float(rig.heads[ends[0]] @ up) - lowest)
        clearance.append(lowest - float(origin @ up))
    sole = min(clearance)
    if abs(sole) > _ON_FLOOR * legs:
        sole = _SOLE * legs
    ankles = [skeleton.index(f"{side}_ankle") for side in SIDES]
    offset = skeleton.offset.copy()
    offset[0] = 0.0
    standing = replace(skeleton, offset=offset)
    offset = offset.copy()
    offset[0, 2] = np.mean(above) + sole - standing.rest_matrices()[ankles, 2, 3].mean()
    return replace(skeleton, offset=offset)
