# SPDX-License-Identifier: GPL-3.0-or-later
"""Real motion with known rotations: motion capture of the CMU database on a skeleton with a range of motion.

The clips lie beside a development checkout (``data/mocap``): local rotations at 30 Hz from a T-pose, Y up, +Z forward,
+X the subject's left. What markers on the skin cannot tell apart is made what joints are: an elbow flexes and
pronates, a wrist does the rest (:func:`anatomical`). Ranges of motion hold 99.8 % of the training subjects' angles,
both sides pooled, and 5 degrees more; the clips that are scored are of other subjects, and are clipped to them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.linalg import solveh_banded
from scipy.spatial.transform import Rotation

from video2rig.errors import Video2RigError
from video2rig.motion import Motion
from video2rig.skeleton import EULER_ORDERS, ROOT_RANGE, Skeleton

COVERED = (0.1, 99.9)
"""Percentiles of the training subjects' angles that a range of motion reaches to."""

MARGIN = np.radians(5.0)
LOCKED = np.radians(2.0)
"""An axis about which the training subjects' angles span less than this is locked."""

_TO_Z_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
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


class MocapError(Video2RigError):
    """The motion-capture data is not where it was said to be."""


@dataclass(frozen=True, eq=False)
class Database:
    """Clips on one skeleton, as the files hold them.

    Attributes:
        joints: 21 names. parents: [21]. offset: [21, 3] metres, Y up. rotations: [N, 21, 3, 3] local, of all clips
        after one another. root: [N, 3] metres, Y up. broken: [N] bool, frames whose capture is faulty.
        clips: name of each clip, and its frames.
    """

    joints: tuple[str, ...]
    parents: tuple[int, ...]
    offset: np.ndarray
    rotations: np.ndarray
    root: np.ndarray
    broken: np.ndarray
    clips: dict[str, slice]

    @classmethod
    def load(cls, path: Path, every: int = 1) -> Database:
        """Read ``cmu_train.npz`` or ``cmu_val.npz``; ``every`` thins the frames.

        Raises:
            MocapError: There is no such file.
        """
        if not path.is_file():
            raise MocapError(f"there is no motion capture at {path}; --mocap names the folder of cmu_val.npz")
        with np.load(path, allow_pickle=False) as data:
            joints = tuple(str(name) for name in data["joints"])
            body = data["q_xyz"][::every].astype(float) / 32767
            root = data["root_q"][::every].astype(float) / 32767
            starts, counts = data["clip_start"].tolist(), data["clip_len"].tolist()
            clips = {
                str(name): slice(-(-start // every), -(-(start + count) // every))
                for name, start, count in zip(data["clip_name"], starts, counts, strict=True)
            }
            parents = tuple(int(parent) for parent in data["parents"])
            offset, path_of_root = data["rest_offset"].astype(float), data["root_mm"][::every] / 1000.0
        w = np.sqrt(np.clip(1 - (body**2).sum(-1, keepdims=True), 0, 1))
        xyzw = np.concatenate([root[:, None, [1, 2, 3, 0]], np.concatenate([body, w], -1)], axis=1)
        rotations = Rotation.from_quat(xyzw.reshape(-1, 4)).as_matrix().reshape(*xyzw.shape[:2], 3, 3)
        broken = np.load(path.with_name(f"{path.stem}_glitch.npy"))[::every]
        return cls(joints, parents, offset, rotations, path_of_root, broken, clips)


def anatomical(joints: tuple[str, ...], rotations: np.ndarray) -> np.ndarray:
    """Return local rotations [T, 21, 3, 3] of a body whose elbows flex and pronate, and whose wrists do not twist.

    The upper arm is turned about itself until the elbow's deviation is gone, smoothly through straight arms, where that
    turn is not defined; what is left of the deviation there is dropped. The hand's twist goes into the forearm.
    """
    result = rotations.copy()
    for side in "lr":
        upper, fore, hand = (joints.index(f"{side}_{name}") for name in ("upperarm", "forearm", "hand"))
        away = 1.0 if side == "l" else -1.0
        along = away * rotations[:, fore, :, 0]  # the forearm's direction; the upper arm's is (away, 0, 0)
        # bent, the forearm points forwards from the T-pose: to +z
        turn = _smooth_angle(-along[:, 1], along[:, 2])
        about = Rotation.from_rotvec(np.stack([turn, 0 * turn, 0 * turn], axis=1))
        result[:, upper] = rotations[:, upper] @ about.as_matrix()
        bent = (about.inv() * Rotation.from_matrix(rotations[:, fore])).as_euler("YZX")
        wrist = Rotation.from_matrix(rotations[:, hand]).as_euler("XYZ")
        elbow = np.stack([bent[:, 0], 0 * turn, bent[:, 2] + wrist[:, 0]], axis=1)
        result[:, fore] = Rotation.from_euler("YZX", elbow).as_matrix()
        wrist[:, 0] = 0.0
        result[:, hand] = Rotation.from_euler("XYZ", wrist).as_matrix()
    return result


def _smooth_angle(sine: np.ndarray, cosine: np.ndarray, stiffness: float = 3.0) -> np.ndarray:
    """Return the angles [T] of vectors, each counted by its squared length, with second differences held small."""
    frames = len(sine)
    if frames < 3:
        return np.arctan2(sine, cosine)
    ones = np.full(frames - 2, stiffness)
    system = np.zeros((3, frames))  # lower bands of the sum of squared second differences
    system[0] = np.convolve(ones, [1, 4, 1]) + sine**2 + cosine**2 + 1e-6
    system[1, :-1], system[2, :-2] = np.convolve(ones, [-2, -2]), ones
    # smooth the vectors, not the angles: those jump by a full turn
    smooth = [solveh_banded(system, (sine**2 + cosine**2) * part, lower=True) for part in (sine, cosine)]
    return np.arctan2(*smooth)


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
        rest[0] = _TO_Z_UP
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
                database.root[frames] @ _TO_Z_UP.T,
                np.ones((count, len(self.skeleton))),
            )
            yield name, motion, ~database.broken[frames]


def euler_angles(rotations: np.ndarray, order: str, bounds: np.ndarray) -> np.ndarray:
    """Return angles about x, y, z [T, 3], of the two sets that make each rotation the one nearer to the bounds [3, 2].

    Args:
        order: Blender's naming: ``"YZX"`` turns about Y first.
    """
    axes = ["XYZ".index(axis) for axis in order]
    found = Rotation.from_matrix(rotations).as_euler(order.lower())  # extrinsic: about fixed axes, first named first
    other = np.stack([found[:, 0] + np.pi, np.pi - found[:, 1], found[:, 2] + np.pi], axis=1)
    candidates = np.empty((2, len(found), 3))
    middle = bounds.mean(axis=1)
    for candidate, angles in zip(candidates, (found, other), strict=True):
        candidate[:, axes] = angles
        candidate[:] = middle + (candidate - middle + np.pi) % (2 * np.pi) - np.pi
    outside = np.maximum(bounds[:, 0] - candidates, candidates - bounds[:, 1]).clip(min=0).sum(axis=-1)
    return np.where((outside[0] <= outside[1])[:, None], *candidates)


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
