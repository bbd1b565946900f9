# SPDX-License-Identifier: GPL-3.0-or-later
"""Real motion with known rotations: motion capture of the CMU database on a skeleton with a range of motion.

The clips lie beside a development checkout (``data/mocap``): local rotations at 30 Hz from a T-pose, Y up, +Z forward,
+X the subject's left. What markers on the skin cannot tell apart is made what joints are: an elbow flexes and
pronates, a wrist does the rest (:func:`anatomical`). Ranges of motion hold 99.8 % of the training subjects' angles,
both sides pooled, and 5 degrees more; the clips that are scored are of other subjects, and are clipped to them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from video2rig.motion import Motion
from video2rig.skeleton import EULER_ORDERS, ROOT_RANGE, Skeleton

sys.path.append(str(Path(__file__).resolve().parents[1]))  # a script finds only what lies beside it

from models.kinematic_regressor.database import TO_Z_UP, Database, anatomical, euler_angles

COVERED = (0.1, 99.9)
"""Percentiles of the training subjects' angles that a range of motion reaches to."""

MARGIN = np.radians(5.0)
LOCKED = np.radians(2.0)
"""An axis about which the training subjects' angles span less than this is locked."""

_ROLES = {"spine": "spine_lower", "chest": "spine_upper", "pelvis": "pelvis", "neck": "neck", "head": "head"}
_LIMB_ROLES = {
    "clavicle": "clavicle",
    "upperarm": "shoulder",
    "forearm": "elbow",
    "hand": "wrist",
    "thigh": "hip",
    "shank": "knee",
    "foot": "ankle",
    "toes": "toes",
}
# points that show how a bone is turned about itself, of the left side: joint, offset in its frame, metres
_EXTRA = {
    "ear": ("head", (0.075, 0.05, 0.0)),
    "heel": ("l_foot", (0.0, -0.05, -0.06)),
    "big_toe": ("l_toes", (-0.02, 0.0, 0.06)),
    "small_toe": ("l_toes", (0.05, 0.0, 0.01)),
    "index": ("l_hand", (0.09, 0.0, 0.03)),
    "pinky": ("l_hand", (0.08, 0.0, -0.04)),
}


@dataclass(frozen=True, eq=False)
class Body:
    """The skeleton that all clips are on, and where markers sit on it.

    Attributes:
        skeleton: Bones with the T-pose's axes as frames: +X the subject's left, +Y up, +Z forward.
        centres: Sites of the joints' centres; extra: of ears, heels, toes and knuckles: name -> (joint, offset).
    """

    skeleton: Skeleton
    centres: dict[str, tuple[int, np.ndarray]]
    extra: dict[str, tuple[int, np.ndarray]]

    @classmethod
    def of(cls, train: Database) -> Body:
        """Build the skeleton, with ranges of motion from a database."""
        rotations = anatomical(train.joints, train.rotations)[~train.broken]
        orders, rom = ["XYZ"], [np.tile(ROOT_RANGE, (3, 1))]
        for joint, name in enumerate(train.joints[1:], start=1):
            own = rotations[:, joint]
            pooled = [own]
            if re.match("[lr]_", name):
                twin = train.joints.index(("r_" if name[0] == "l" else "l_") + name[2:])
                flip = np.diag([-1.0, 1.0, 1.0])
                pooled.append(flip @ rotations[:, twin] @ flip)
            order, bounds = _range_of_motion(np.concatenate(pooled))
            orders.append(order)
            rom.append(bounds)
        count = len(train.joints)
        rest = np.tile(np.eye(3), (count, 1, 1))
        rest[0] = TO_Z_UP
        length = np.full(count, 0.06)
        for joint in reversed(range(1, count)):
            length[train.parents[joint]] = np.linalg.norm(train.offset[joint])
        offset = train.offset.copy()
        offset[0] = [0.0, 0.0, 0.99]
        roles = tuple(_role(name) for name in train.joints)
        skeleton = Skeleton(train.joints, train.parents, roles, rest, offset, length, tuple(orders), np.stack(rom))
        centres = {role: (joint, np.zeros(3)) for joint, role in enumerate(roles) if "clavicle" not in role}
        extra = {}
        for name, (joint, place) in _EXTRA.items():
            for side, mirror in (("left", 1.0), ("right", -1.0)):
                bone = joint if side == "left" else joint.replace("l_", "r_")
                extra[f"{side}_{name}"] = (train.joints.index(bone), np.array(place) * [mirror, 1.0, 1.0])
        return cls(skeleton, centres, extra)

    def clips(self, database: Database) -> Iterator[tuple[str, Motion, np.ndarray]]:
        """Yield each clip's name, motion on the skeleton, inside its range of motion, and [T] bool, frames to score."""
        for name, frames in database.clips.items():
            local = anatomical(database.joints, database.rotations[frames])
            count = len(local)
            inside = local.copy()
            for joint in range(1, len(self.skeleton)):
                order, bounds = self.skeleton.euler_order[joint], self.skeleton.rom[joint]
                angles = np.clip(euler_angles(local[:, joint], order, bounds), bounds[:, 0], bounds[:, 1])
                axes = ["XYZ".index(axis) for axis in order]
                inside[:, joint] = Rotation.from_euler(order.lower(), angles[:, axes]).as_matrix()
            quaternions = Rotation.from_matrix(inside.reshape(-1, 3, 3)).as_quat(scalar_first=True)
            motion = Motion(
                self.skeleton,
                np.arange(count) / 30.0,
                quaternions.reshape(count, -1, 4),
                database.root[frames] @ TO_Z_UP.T,
                np.ones((count, len(self.skeleton))),
            )
            yield name, motion, ~database.broken[frames]


def _range_of_motion(rotations: np.ndarray) -> tuple[str, np.ndarray]:
    """Return the Euler order with the smallest middle angle, and the bounds [3, 2] that hold nearly all rotations."""
    best: tuple[float, str, np.ndarray] | None = None
    for order in EULER_ORDERS:
        axes = ["XYZ".index(axis) for axis in order]
        found = np.percentile(Rotation.from_matrix(rotations).as_euler(order.lower()), COVERED, axis=0).T
        widest = np.abs(found[1]).max() + 0.01 * np.ptp(found, axis=1).sum()
        if best is None or widest < best[0]:
            bounds = np.zeros((3, 2))
            bounds[axes] = found
            best = widest, order, bounds
    assert best is not None
    _, order, bounds = best
    locked = np.ptp(bounds, axis=1) < LOCKED
    return order, np.where(locked[:, None], 0.0, bounds + [-MARGIN, MARGIN])


def _role(name: str) -> str:
    if name in _ROLES:
        return _ROLES[name]
    side, _, part = name.partition("_")
    return {"l": "left_", "r": "right_"}[side] + _LIMB_ROLES[part]
