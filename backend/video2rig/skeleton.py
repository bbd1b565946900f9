# SPDX-License-Identifier: GPL-3.0-or-later
"""Skeleton: the rig as data. What an animator sees and edits in Blender is exactly what is solved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .errors import Video2RigError

EULER_ORDERS = ("XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX")
ROOT_RANGE = (-np.pi, np.pi)


class SkeletonError(Video2RigError):
    """A skeleton that contradicts itself, or lacks a joint that was asked for."""


@dataclass(frozen=True, eq=False)
class Skeleton:
    """Joints as Blender's bones: each has a frame at its head, with +Y along the bone.

    Forward kinematics, for local rotations ``L`` (Blender's ``pose_bone.rotation_quaternion``)::

        G[j] = G[parent] @ rest_rotation[j] @ L[j]      p[j] = p[parent] + G[parent] @ offset[j]

    with the world in place of the parent for joint 0, the only root, whose position is a motion's own.

    Attributes:
        names: Bone names, parents before children; Rigify's where the skeleton is human.
        parents: Index of the parent, -1 for the root.
        roles: What a joint is, whatever its name: ``"left_knee"``; ``""`` where it has no role.
        rest_rotation: [J, 3, 3] bone frame in the parent's bone frame; the root's in the world.
        offset: [J, 3] bone head in the parent's bone frame, metres; the root's in the world.
        length: [J] bone length, metres.
        euler_order: Order of the Euler angles that the range of motion limits, in Blender's naming:
            ``"YZX"`` applies Y first, so R = Rx @ Rz @ Ry.
        rom: [J, 3, 2] range of motion: lower and upper bound of the angle about x, y, z, radians.
            ``(0, 0)`` locks an axis. The root is free whatever stands there.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    roles: tuple[str, ...]
    rest_rotation: np.ndarray
    offset: np.ndarray
    length: np.ndarray
    euler_order: tuple[str, ...]
    rom: np.ndarray

    def __post_init__(self) -> None:
        count = len(self.names)
        shapes = {
            "rest_rotation": (count, 3, 3),
            "offset": (count, 3),
            "length": (count,),
            "rom": (count, 3, 2),
        }
        for field, shape in shapes.items():
            array = np.array(getattr(self, field), dtype=np.float64)
            if array.shape != shape:
                raise SkeletonError(f"skeleton: {field} has shape {array.shape}, expected {shape} for {count} joints")
            if not np.isfinite(array).all():
                raise SkeletonError(f"skeleton: {field} holds a value that is not finite")
            array.setflags(write=False)
            object.__setattr__(self, field, array)
        for field in ("parents", "roles", "euler_order"):
            if len(getattr(self, field)) != count:
                raise SkeletonError(f"skeleton: {field} has {len(getattr(self, field))} entries for {count} joints")
        if len(set(self.names)) != count or count == 0:
            raise SkeletonError("skeleton: joint names must be unique, and there must be at least one")
        for joint, parent in enumerate(self.parents):
            if (parent < 0) != (joint == 0) or parent >= joint:
                raise SkeletonError(
                    f"skeleton: the parent of {self.names[joint]!r} must come before it, "
                    "and the first joint must be the only root"
                )
        for name, order in zip(self.names, self.euler_order, strict=True):
            if order not in EULER_ORDERS:
                raise SkeletonError(f"skeleton: Euler order {order!r} of {name!r} is none of {EULER_ORDERS}")
        for name, bounds in zip(self.names, self.rom, strict=True):
            if (bounds[:, 0] > bounds[:, 1]).any():
                raise SkeletonError(f"skeleton: the range of motion of {name!r} has a lower bound above its upper")
        gram = self.rest_rotation @ self.rest_rotation.transpose(0, 2, 1)
        if np.abs(gram - np.eye(3)).max() > 1e-5 or (np.linalg.det(self.rest_rotation) < 0).any():
            raise SkeletonError("skeleton: rest_rotation holds a matrix that is not a rotation")
        if (self.length <= 0).any():
            raise SkeletonError(f"skeleton: bone {self.names[int(self.length.argmin())]!r} has no length")

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name_or_role: str) -> int:
        """Return the joint with this name or role.

        Raises:
            SkeletonError: No joint has it; the message lists the roles that exist.
        """
        for labels in (self.names, self.roles):
            if name_or_role and name_or_role in labels:
                return labels.index(name_or_role)
        known = ", ".join(role or name for role, name in zip(self.roles, self.names, strict=True))
        raise SkeletonError(f"skeleton: no joint {name_or_role!r}; there are {known}")

    def rest_matrices(self) -> np.ndarray:
        """Return [J, 4, 4] rest matrices in the armature's space (Blender's ``bone.matrix_local``), metres."""
        local = np.tile(np.eye(4), (len(self), 1, 1))
        local[:, :3, :3], local[:, :3, 3] = self.rest_rotation, self.offset
        for joint, parent in enumerate(self.parents):
            if parent >= 0:
                local[joint] = local[parent] @ local[joint]
        return local

    def free_axes(self) -> np.ndarray:
        """Return [J, 3] bool: the axes about which a joint may turn; all three of the root."""
        free = self.rom[..., 1] > self.rom[..., 0]
        free[0] = True
        return free

    def scaled(self, offset: np.ndarray, length: np.ndarray) -> Skeleton:
        """Return the same joints with other proportions, standing at the same height above the floor.

        Args:
            offset: [J] factor of each joint's distance from its parent; the root's stays.
            length: [J] factor of each bone's length.
        """
        offsets = self.offset * np.asarray(offset, dtype=np.float64)[:, None]
        offsets[0] = self.offset[0]
        scaled = replace(self, offset=offsets, length=self.length * np.asarray(length, dtype=np.float64))
        offsets[0, 2] += self.lowest() - scaled.lowest()
        return replace(scaled, offset=offsets)

    def lowest(self) -> float:
        """Return the height of the lowest end of a bone at rest, metres."""
        rest = self.rest_matrices()
        tails = rest[:, :3, 3] + rest[:, :3, 1] * self.length[:, None]
        return float(min(rest[:, 2, 3].min(), tails[:, 2].min()))

    def to_json(self) -> dict[str, Any]:
        """Return the skeleton as plain JSON values, one entry a joint."""
        return {
            "joints": [
                {
                    "name": self.names[j],
                    "parent": self.parents[j],
                    "role": self.roles[j],
                    "rest_rotation": self.rest_rotation[j].tolist(),
                    "offset": self.offset[j].tolist(),
                    "length": float(self.length[j]),
                    "euler_order": self.euler_order[j],
                    "rom": self.rom[j].tolist(),
                }
                for j in range(len(self))
            ]
        }

    @classmethod
    def from_json(cls, data: Any) -> Skeleton:
        """Read what :meth:`to_json` wrote.

        Raises:
            SkeletonError: A joint lacks an entry, or an entry is not what it should be.
        """
        try:
            joints = data["joints"]
            return cls(
                tuple(str(j["name"]) for j in joints),
                tuple(int(j["parent"]) for j in joints),
                tuple(str(j["role"]) for j in joints),
                np.array([j["rest_rotation"] for j in joints], dtype=np.float64),
                np.array([j["offset"] for j in joints], dtype=np.float64),
                np.array([j["length"] for j in joints], dtype=np.float64),
                tuple(str(j["euler_order"]) for j in joints),
                np.array([j["rom"] for j in joints], dtype=np.float64),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise SkeletonError(f"skeleton: unreadable description ({error})") from error


def blender_finds(euler_order: str, bounds: np.ndarray) -> bool:
    """Return whether Blender's decomposition of a rotation gives back every triple of angles inside a box.

    Of the two triples that make a rotation Blender takes the one whose absolute angles add up to less. Limit Rotation
    clamps those; it changes nothing inside its own limits if the middle axis of the order stays below 90 degrees and
    the largest absolute angles of the three axes add up to less than 270.

    Args:
        euler_order: Order of the three angles. bounds: [3, 2] about x, y, z, radians.
    """
    largest = np.abs(bounds).max(axis=1)
    return bool(largest.sum() < np.radians(270) and largest["XYZ".index(euler_order[1])] < np.pi / 2)
