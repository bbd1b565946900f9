# SPDX-License-Identifier: GPL-3.0-or-later
"""Between an armature of the user's and the skeleton that is solved for it: there (a Skeleton), and back (channels).

The armature's own skeleton is solved where its bones are Rigify's and carry Limit Rotation constraints; of any other
armature the skeleton of `core.rig_skeleton`.
"""

from __future__ import annotations

from typing import NamedTuple

import bpy
import numpy as np

from . import families, mapping
from .core import retarget
from .core.motion import Motion
from .core.rig_skeleton import MapError, RigSkeleton, rig_skeleton
from .core.rom_profiles import JointRange
from .core.rotation_channels import axis_angle_curves, euler_curves
from .core.skeleton import Skeleton
from .families.family import Switch
from .joint_limits import limits_of
from .rig_bones import RigError, active_constraints, location_space, placement, rest_rig, rotation, spaces

_SAME = 1e-3  # of a matrix: the same axes, in 32-bit floats
_FOLLOWS = 1.0  # degrees: a bone that is further from its keys is held by something else
_LOOKS = 3  # frames at which that is looked at


class Channel(NamedTuple):
    """Keys of one property of a bone: [T, C] values."""

    bone: str
    prop: str
    values: np.ndarray


class Pose(NamedTuple):
    """A motion as an armature's keys.

    Attributes:
        channels: Rotations of bones, and where the body is.
        joints: The joint of the skeleton that each turned bone follows, by the bone's name.
        turned: [T, 3, 3] world orientation that each bone should have, by its name; what Blender shows is held to it.
        switches: Custom properties that must be set.
        left: Bones that are not keyed, because their limbs are switched off.
    """

    channels: list[Channel]
    joints: dict[str, int]
    turned: dict[str, np.ndarray]
    switches: tuple[Switch, ...]
    left: frozenset[str] = frozenset()


def target_of(rig: bpy.types.Object, bones: dict[str, str], rom: str, ranges: dict[str, JointRange]) -> RigSkeleton:
    """Return what is solved for an armature with this map.

    Args:
        rig: The armature. bones: Of each role. rom: Range-of-motion profile. ranges: Limits of single bones, by name.

    Raises:
        RigError: The map cannot be solved.
    """
    try:
        return rig_skeleton(rest_rig(rig), bones, rom, ranges, placement(rig)[2])
    except MapError as error:
        raise RigError(f"{rig.name}: {error}; see Bones in the panel") from None


def is_own(rig: bpy.types.Object, skeleton: Skeleton) -> bool:
    """Tell whether a skeleton's joints are the armature's bones themselves, axes and all."""
    if not all(name in rig.data.bones for name in skeleton.names):
        return False
    turn = placement(rig)[0]
    own = np.array([rig.data.bones[name].matrix_local.to_3x3() for name in skeleton.names])
    return bool(np.abs(turn @ rotation(own) - skeleton.rest_matrices()[:, :3, :3]).max() < _SAME)


def pose_on(rig: bpy.types.Object, motion: Motion) -> Pose:
    """Return the keys that make an armature move as a motion does.

    Raises:
        RigError: The armature is not the one whose skeleton the motion has.
    """
    return Onto(rig, motion.skeleton).pose(rig, motion)


class Onto:
    """How a skeleton's joints turn an armature's bones: read from the armature once, for any number of motions.

    The properties that its bones need to move the body are set.

    Attributes:
        switches: These properties.
    """

    def __init__(self, rig: bpy.types.Object, skeleton: Skeleton) -> None:
        """Read the armature.

        Raises:
            RigError: The armature is not the one whose skeleton this is.
        """
        rest = rest_rig(rig)
        self.switches: tuple[Switch, ...] = ()
        self._target: RigSkeleton | None = None
        travel, numbers = "", tuple(rest.index(name) for name in skeleton.names if name in rest.names)
        own = is_own(rig, skeleton)
        if own:
            self._names, self._joints = skeleton.names, tuple(range(len(skeleton)))
        else:
            bones = {r: n for r, n in zip(skeleton.roles, skeleton.names, strict=True) if n in rig.data.bones}
            used = mapping.of(rig)
            target = target_of(rig, bones, "clinical", limits_of(rig, bones.values()))
            if np.abs(target.skeleton.rest_matrices()[:, :3, :3] - skeleton.rest_matrices()[:, :3, :3]).max() > _SAME:
                raise RigError(f"{rig.name} is not the armature that was solved: its bones rest otherwise")
            self._target, numbers, self._joints = target, target.bones, target.joints
            self._names = tuple(rest.names[bone] for bone in numbers)
            self.switches, travel = switches_of(rig, used.family), used.travel
            set_switches(rig, self.switches)
        self._spaces = None
        if not own or tuple(rest.parents[bone] for bone in numbers) != tuple(
            -1 if parent < 0 else numbers[parent] for parent in skeleton.parents
        ):  # something lies between or above
            self._spaces = spaces(rig, rest, numbers)
        self._travel = travel
        self._root_space = location_space(rig, self._names[0])
        self._travel_space = _travel_space(rig, self._names[0], travel)

    def pose(self, rig: bpy.types.Object, motion: Motion) -> Pose:
        """Return the keys of a motion of the skeleton; `rig` is the armature that was read."""
        world = retarget.orientations(motion)
        turned, path = world, motion.root_position
        if self._target is not None:
            turned = retarget.bone_orientations(self._target, world)
            path = retarget.root_path(self._target, motion, world)
        own = motion.rotations if self._spaces is None else retarget.in_spaces(turned, self._spaces)
        channels = self._locations(path)
        for number, name in enumerate(self._names):
            channels.append(Channel(name, *rotation_channel(rig.pose.bones[name], own[:, number])))
        orientation = {name: turned[:, number] for number, name in enumerate(self._names)}
        return Pose(channels, dict(zip(self._names, self._joints, strict=True)), orientation, self.switches)

    def _locations(self, path: np.ndarray) -> list[Channel]:
        """Return the channels that take the body along a path [T, 3] of the root's head in the world, metres."""
        axes, base = self._root_space
        found = []
        if self._travel_space is not None:
            floor = (path - base) * [1.0, 1.0, 0.0]
            found.append(Channel(self._travel, ".location", np.linalg.solve(self._travel_space, floor.T).T))
            path = path - floor
        found.append(Channel(self._names[0], ".location", np.linalg.solve(axes, (path - base).T).T))
        return found


def switches_of(rig: bpy.types.Object, family: str) -> tuple[Switch, ...]:
    """Return the properties of a family of rigs that an armature has."""
    known = families.with_key(family)
    there = rig.pose.bones
    return tuple(s for s in (known.switches if known else ()) if s.bone in there and s.key in there[s.bone])


def set_switches(rig: bpy.types.Object, switches: tuple[Switch, ...]) -> None:
    """Set custom properties of bones, each as the kind of number that it is."""
    for switch in switches:
        bone = rig.pose.bones[switch.bone]
        bone[switch.key] = type(bone[switch.key])(switch.value)
    if switches:
        rig.update_tag()
        bpy.context.view_layer.update()


def rotation_channel(bone: bpy.types.PoseBone, quaternions: np.ndarray) -> tuple[str, np.ndarray]:
    """Return the property that turns a bone, and its values [T, C] for [T, 4] quaternions wxyz."""
    if bone.rotation_mode == "QUATERNION":
        return ".rotation_quaternion", quaternions
    if bone.rotation_mode == "AXIS_ANGLE":
        return ".rotation_axis_angle", axis_angle_curves(quaternions)
    return ".rotation_euler", euler_curves(quaternions, bone.rotation_mode)


def _travel_space(rig: bpy.types.Object, root: str, travel: str) -> np.ndarray | None:
    """Return the axes [3, 3] of the bone that takes the path along the floor; None where none does.

    Raises:
        RigError: It does not carry the root.
    """
    if not travel:
        return None
    if travel not in [bone.name for bone in rig.pose.bones[root].parent_recursive]:
        raise RigError(f"{rig.name}: the bone {travel!r} that should travel does not carry {root!r}; see Bones")
    return location_space(rig, travel)[0]


def what_was_set(pose: Pose) -> list[str]:
    """Return what was set so that the keyed bones move the body, in a line; nothing where nothing was."""
    words = dict.fromkeys(switch.words for switch in pose.switches)
    return [f"set and keyed on the rig: {', '.join(words)}"] if words else []


def what_holds(rig: bpy.types.Object, pose: Pose, frames: np.ndarray) -> list[str]:
    """Return why bones are not where their keys take them, one line each; mostly nothing.

    Args:
        rig: The armature with its keys. pose: What was keyed. frames: [T] scene frames of the keys.
    """
    scene = bpy.context.scene
    now = scene.frame_current, scene.frame_subframe
    off: dict[str, float] = {}
    for number in np.unique(np.linspace(0, len(frames) - 1, _LOOKS).astype(int)):
        scene.frame_set(int(np.floor(frames[number])), subframe=float(frames[number] % 1.0))
        evaluated = rig.evaluated_get(bpy.context.evaluated_depsgraph_get())
        for name, turned in pose.turned.items():
            shown = rotation(np.array((evaluated.matrix_world @ evaluated.pose.bones[name].matrix).to_3x3()))
            chord = np.linalg.norm(shown - turned[number]) / np.sqrt(8)
            off[name] = max(off.get(name, 0.0), float(np.degrees(2 * np.arcsin(min(chord, 1.0)))))
    scene.frame_set(now[0], subframe=now[1])
    lines = []
    for name, angle in off.items():
        holding = active_constraints(rig.pose.bones[name])
        if angle > _FOLLOWS and holding:
            kinds = ", ".join(repr(constraint.name) for constraint in holding)
            lines.append(f"the bone {name!r} is held by its constraints ({kinds}): mute them, or map another bone")
    if not lines and off and max(off.values()) > _FOLLOWS:
        worst = max(off, key=lambda name: off[name])
        lines.append(
            f"the bone {worst!r} is {off[worst]:.0f} degrees from its keys: a driver, a constraint above it or an NLA "
            "track moves it too"
        )
    return lines
