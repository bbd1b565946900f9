# SPDX-License-Identifier: GPL-3.0-or-later
"""An armature at rest as plain arrays: any bones, any names, as it stands in the world."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .errors import Video2RigError


class RestRigError(Video2RigError):
    """Bones that contradict each other, or a bone that is not there."""


@dataclass(frozen=True, eq=False)
class RestRig:
    """Bones at rest.

    Attributes:
        names: Of the bones, parents before children; several may have no parent.
        parents: Index of each bone's parent, -1 for none.
        frames: [B, 3, 3] each bone's axes in the world, +Y along it; rotations.
        heads, tails: [B, 3] where bones begin and end in the world, metres.
        axes: [3, 3] the axes of the object that the bones belong to, in the world.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    frames: np.ndarray
    heads: np.ndarray
    tails: np.ndarray
    axes: np.ndarray = field(default_factory=lambda: np.eye(3))

    def __post_init__(self) -> None:
        count = len(self.names)
        shapes = {"frames": (count, 3, 3), "heads": (count, 3), "tails": (count, 3), "axes": (3, 3)}
        for name, shape in shapes.items():
            array = np.array(getattr(self, name), dtype=np.float64)
            if array.shape != shape or not np.isfinite(array).all():
                raise RestRigError(f"bones: {name} has shape {array.shape} or is not finite; expected {shape}")
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        if len(set(self.names)) != count or count == 0 or len(self.parents) != count:
            raise RestRigError("bones: each needs a name of its own and a parent, and there must be at least one")
        for bone, parent in enumerate(self.parents):
            if parent >= bone:
                raise RestRigError(f"bones: the parent of {self.names[bone]!r} must come before it")

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """Return a bone's number.

        Raises:
            RestRigError: There is no such bone.
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise RestRigError(f"there is no bone {name!r}") from None

    def ancestors(self, bone: int) -> list[int]:
        """Return the bones above one, the nearest first."""
        above = []
        while (bone := self.parents[bone]) >= 0:
            above.append(bone)
        return above

    def children(self) -> list[list[int]]:
        """Return each bone's children."""
        found: list[list[int]] = [[] for _ in self.names]
        for bone, parent in enumerate(self.parents):
            if parent >= 0:
                found[parent].append(bone)
        return found

    def size(self) -> float:
        """Return the longest side of the box around all bones, metres."""
        points = np.concatenate([self.heads, self.tails])
        return float(np.ptp(points, axis=0).max())
