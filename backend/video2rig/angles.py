# SPDX-License-Identifier: GPL-3.0-or-later
"""Joint angles under OpenSim's names and signs, from the motion of any skeleton with human roles.

The conventions are those of the model of Rajagopal et al. 2016 (Full-body musculoskeletal model for muscle-driven
simulation of human gait, IEEE TBME 63) as Pose2Sim's ``Model_Pose2Sim_simple.osim`` has them. Segments have anatomical
frames, X forward, Y up, Z to the person's right, that coincide in the anatomical posture, where every angle is zero:
upright, arms hanging, palms forward, feet flat. A joint's angles are the intrinsic Z-X-Y Cardan angles of the distal
segment in the proximal one; on the left, X and Y are mirrored.

What differs from that model, whose joint axes are those of one specimen: the axes of knee, ankle, subtalar joint, toes
and elbow are oblique there (by 8 degrees at the ankle, 13 at the elbow, 38 at the subtalar joint), and here they are
the axes of the segments; the inversion of the foot is about the line from the ankle to the ball. An arm is straight at
zero, where the forearm of that model points 9 degrees outward and 6 back: for the same joint centres elbow_flex is 5
degrees less here than there, and arm_rot 6 to 11 more. The third angle of a joint that has only two in OpenSim (toe-out
at the ankle) is left out.

Bone rolls, Euler orders and where arms and legs point at rest do not matter. At rest a figure must stand upright on
flat feet and look ahead, knee and elbow must be turned so that they bend as they do in a T-pose, an A-pose or with the
arms hanging, and the palms must face down or the thighs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from .errors import Video2RigError
from .kinematics import joint_positions
from .motion import Motion
from .skeleton import Skeleton

OPENSIM_AXES = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
"""Takes OpenSim's ground (Y up) to our world (Z up): world = (Z, X, Y), the same turn that Pose2Sim makes."""

# Middle of the anterior superior iliac spines, the origin of OpenSim's pelvis, seen from the middle of the hips, in
# distances between the hips (Model_Pose2Sim_simple.osim: 70.7 mm forward, 66.1 mm up, hips 167 mm apart).
_PELVIS_ORIGIN = np.array([0.0707, 0.0661, 0.0]) / 0.167

_TRANSLATION = re.compile(r"(^|_)t[xyz0-9](_|$)")
_SINGULAR = 1e-6  # cosine of the middle angle under which only the sum or difference of the outer ones is known


class AnglesError(Video2RigError):
    """Joint angles that cannot be told, or a table whose columns do not fit."""


@dataclass(frozen=True, eq=False)
class JointAngles:
    """Generalised coordinates over time, as OpenSim names them.

    Attributes:
        names: N coordinates: ``hip_flexion_r``, ``pelvis_tx``.
        values: [T, N] radians; metres where :attr:`translations` is true.
        times: [T] seconds, rising.
    """

    names: tuple[str, ...]
    values: np.ndarray
    times: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        if not self.names or len(set(self.names)) != len(self.names):
            raise AnglesError("angles: needs at least one name, and names that differ")
        shapes = {"values": (len(self.times), len(self.names)), "times": (len(self.times),)}
        for field, shape in shapes.items():
            array = np.array(getattr(self, field), dtype=np.float64)
            if array.shape != shape:
                raise AnglesError(f"angles: {field} has shape {array.shape}, expected {shape}")
            if not np.isfinite(array).all():
                raise AnglesError(f"angles: {field} holds a value that is not finite")
            array.setflags(write=False)
            object.__setattr__(self, field, array)
        if len(self.times) == 0 or (np.diff(self.times) <= 0).any():
            raise AnglesError("angles: needs at least one frame, and times that rise from frame to frame")

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a coordinate over time, [T].

        Raises:
            AnglesError: There is no such coordinate.
        """
        if name not in self.names:
            raise AnglesError(f"angles: no {name!r}; there are {', '.join(self.names)}")
        return self.values[:, self.names.index(name)]

    @property
    def translations(self) -> np.ndarray:
        """[N] bool: the columns in metres, told by OpenSim's habit of naming them (``pelvis_tx``, ``sh_tx_r``)."""
        return np.array([_TRANSLATION.search(name) is not None for name in self.names])

    def in_degrees(self) -> np.ndarray:
        """Return [T, N] degrees, and metres where :attr:`translations` is true."""
        return np.where(self.translations, self.values, np.degrees(self.values))

    @classmethod
    def from_degrees(cls, names: tuple[str, ...], values: np.ndarray, times: np.ndarray) -> JointAngles:
        """Make a table from what :meth:`in_degrees` returns.

        Raises:
            AnglesError: The arrays do not fit.
        """
        table = cls(names, values, times)
        return cls(names, np.where(table.translations, table.values, np.radians(table.values)), times)


# proximal and distal segment, and what a turn about Z, X and Y is called on the right, with its sign
_MIDLINE = (
    ("pelvis", "trunk", (("lumbar_extension", 1), ("lumbar_bending", 1), ("lumbar_rotation", 1))),
    ("trunk", "head", (("neck_flexion", 1), ("neck_bending", 1), ("neck_rotation", 1))),
)
_LEG = (
    ("pelvis", "thigh", (("hip_flexion", 1), ("hip_adduction", 1), ("hip_rotation", 1))),
    ("thigh", "shank", (("knee_angle", -1), None, None)),
    ("shank_at_ankle", "foot", (("ankle_angle", 1), ("subtalar_angle", 1), None)),
    ("foot", "toes", (("mtp_angle", -1), None, None)),
)
_ARM = (
    ("torso", "upper_arm", (("arm_flex", 1), ("arm_add", 1), ("arm_rot", 1))),
    ("upper_arm", "forearm", (("elbow_flex", 1), None, ("pro_sup", 1))),
    ("forearm", "hand", (("wrist_flex", 1), ("wrist_dev", 1), None)),
)
_SIDES = {"r": "right", "l": "left"}
_UNPAIRED = ("pelvis", "trunk", "torso", "head")


def joint_angles(motion: Motion) -> JointAngles:
    """Return the joint angles of a motion under OpenSim's names and signs.

    ``pelvis_tilt``, ``pelvis_list`` and ``pelvis_rotation`` turn the pelvis from OpenSim's ground, whose X is our Y: a
    figure that faces our -Y has a rotation of 180 degrees, and there, as always in OpenSim, tilt and list are turns
    about the ground's axes and not the pelvis's. ``pelvis_tx``, ``_ty`` (up) and ``_tz`` are the place of the pelvis's
    origin, in the middle of the anterior superior iliac spines. Lumbar angles are the whole spine's; positive
    ``neck_flexion`` leans the head back, and positive ``mtp_angle`` bends the toes down, as they do in the model.

    Angles are continuous in time: no jumps by whole turns, nor by the half turns with which Cardan angles say the
    same orientation twice. Of all such readings, the one that stays nearest to zero is returned.

    Returns:
        The table; without the columns of joints for which the skeleton has no roles.

    Raises:
        AnglesError: The skeleton lacks the pelvis or a hip, or a foot of it points straight down at rest.
    """
    frames = anatomical_frames(motion.skeleton)
    positions, rotations = joint_positions(motion)
    orientation = {name: rotations[:, joint] @ axes for name, (joint, axes) in frames.items()}
    left, right = (positions[:, motion.skeleton.index(f"{side}_hip")] for side in ("left", "right"))
    apart = np.linalg.norm(right - left, axis=-1, keepdims=True)
    origin = (left + right) / 2 + np.einsum("tij,j->ti", orientation["pelvis"], _PELVIS_ORIGIN) * apart

    columns: dict[str, np.ndarray] = {}
    ground = np.broadcast_to(OPENSIM_AXES, orientation["pelvis"].shape)
    turns = continuous_cardan(ground.transpose(0, 2, 1) @ orientation["pelvis"])
    columns |= {f"pelvis_{name}": turns[:, axis] for axis, name in enumerate(("tilt", "list", "rotation"))}
    columns |= {f"pelvis_t{axis}": (origin @ OPENSIM_AXES)[:, column] for column, axis in enumerate("xyz")}

    def add(joints: tuple, side: str) -> None:
        for proximal, distal, named in joints:
            base, moved = (name if name in _UNPAIRED else f"{_SIDES[side]}_{name}" for name in (proximal, distal))
            if base not in orientation or moved not in orientation:
                continue
            in_base = orientation[base].transpose(0, 2, 1) @ orientation[moved]
            turns = continuous_cardan(in_base, keep_middle=None in named)
            for axis, entry in enumerate(named):
                if entry is not None:
                    name, sign = entry
                    mirror = -1 if side == "l" and axis > 0 else 1
                    columns[f"{name}_{side}" if side else name] = sign * mirror * turns[:, axis]

    add(_LEG, "r")
    add(_LEG, "l")
    add(_MIDLINE, "")
    add(_ARM, "r")
    add(_ARM, "l")
    return JointAngles(tuple(columns), np.stack(list(columns.values()), axis=1), motion.times)


def anatomical_frames(skeleton: Skeleton) -> dict[str, tuple[int, np.ndarray]]:
    """Return the anatomical frames of a skeleton's segments.

    Returns:
        For each segment (``pelvis``, ``trunk``, ``head``, ``torso``, ``right_thigh`` ...) the joint whose bone it is,
        and its axes in that bone's frame, [3, 3], as columns: forward, up, to the right. ``torso`` is what the arms
        hang from: the trunk, or the pelvis of a skeleton without a spine. ``shank_at_ankle`` and ``foot`` are both
        turned about Z by the same angle, so that X lies along the foot.

    Raises:
        AnglesError: The skeleton lacks the pelvis or a hip, or a foot of it points straight down at rest.
    """
    absent = [role for role in ("pelvis", "left_hip", "right_hip") if role not in skeleton.roles]
    if absent:
        raise AnglesError(f"angles: need the joints pelvis, left_hip, right_hip, and the skeleton has no {absent[0]}")
    rest = skeleton.rest_matrices()

    def joint(*roles: str) -> int | None:
        return next((skeleton.roles.index(role) for role in roles if role in skeleton.roles), None)

    def along(index: int, next_role: str = "") -> np.ndarray:
        """The direction of a segment at rest: to the next joint, or along its bone."""
        end = joint(next_role)
        step = rest[index, :3, 1] if end is None else rest[end, :3, 3] - rest[index, :3, 3]
        length = np.linalg.norm(step)
        return step / length if length > 1e-6 else rest[index, :3, 1]

    axes: dict[str, tuple[int, np.ndarray]] = {}
    left, right = (rest[skeleton.roles.index(f"{side}_hip"), :3, 3] for side in ("left", "right"))
    upright = _frame(z_hint=right - left, y=np.array([0.0, 0.0, 1.0]))
    axes["pelvis"] = skeleton.roles.index("pelvis"), upright
    trunk = joint("spine_upper", "spine_middle", "spine_lower")
    head = joint("head")
    if trunk is not None:
        axes["trunk"] = trunk, upright
    axes["torso"] = axes.get("trunk", axes["pelvis"])
    if head is not None:
        axes["head"] = head, upright

    for side, mirror in (("right", 1.0), ("left", -1.0)):
        thigh, shank, foot, toes = (joint(f"{side}_{part}") for part in ("hip", "knee", "ankle", "toes"))
        frame = upright
        if thigh is not None:
            frame = _swung(frame, along(thigh, f"{side}_knee"))
            axes[f"{side}_thigh"] = thigh, frame
        if shank is not None:
            frame = _swung(frame, along(shank, f"{side}_ankle"))
            axes[f"{side}_shank"] = shank, frame
        if foot is not None:
            forward = along(foot, f"{side}_toes")
            if abs(forward[2]) > np.cos(np.radians(10)):
                raise AnglesError(f"angles: the foot of {skeleton.names[foot]!r} points straight down or up at rest")
            flat = _frame(z_hint=np.cross(forward, [0.0, 0.0, 1.0]), y=np.array([0.0, 0.0, 1.0]))
            slope = _about("Z", np.arcsin(forward[2]))
            axes[f"{side}_foot"] = foot, flat @ slope
            if shank is not None:
                axes[f"{side}_shank_at_ankle"] = shank, frame @ slope
            if toes is not None:
                axes[f"{side}_toes"] = toes, flat @ slope
        upper_arm, forearm, hand = (joint(f"{side}_{part}") for part in ("shoulder", "elbow", "wrist"))
        frame = upright
        if upper_arm is not None:
            frame = _swung(frame, along(upper_arm, f"{side}_elbow"))
            axes[f"{side}_upper_arm"] = upper_arm, frame
        if forearm is not None:
            palms_inward = _about("Y", mirror * np.pi / 2)
            frame = _swung(frame, along(forearm, f"{side}_wrist")) @ palms_inward
            axes[f"{side}_forearm"] = forearm, frame
        if hand is not None:
            axes[f"{side}_hand"] = hand, _swung(frame, along(hand))
    return {name: (index, rest[index, :3, :3].T @ frame) for name, (index, frame) in axes.items()}


def continuous_cardan(rotations: np.ndarray, keep_middle: bool = False) -> np.ndarray:
    """Return intrinsic Z-X-Y Cardan angles that are continuous in time.

    Rz(a) Rx(b) Ry(c) is also Rz(a + pi) Rx(pi - b) Ry(c + pi): from frame to frame the nearer of the two goes on, with
    whole turns taken out; of the two series, with whole turns added, the one with the smallest sum of squares is
    returned. Where b is +-90 degrees only a + c or a - c is known: a is interpolated there.

    Args:
        rotations: [T, 3, 3].
        keep_middle: Keep b within +-90 degrees, for joints that never reach them: there is one reading then.

    Returns:
        [T, 3] radians: a, b, c.
    """
    angles = _cardan(rotations)
    regular = np.abs(np.cos(angles[:, 1])) > _SINGULAR
    if not regular.any():
        return np.unwrap(_with_first(rotations, angles, np.zeros(len(angles))), axis=0)
    good = angles[regular]
    step, other = np.diff(good, axis=0), _other_reading(good)[1:] - good[:-1]
    nearer = (_principal(other) ** 2).sum(axis=1) < (_principal(step) ** 2).sum(axis=1)
    nearer &= not keep_middle
    swapped = np.append(False, np.cumsum(nearer) % 2 == 1)[:, None]
    good = np.unwrap(np.where(swapped, _other_reading(good), good), axis=0)
    readings = [_nearest_zero(good)] + ([] if keep_middle else [_nearest_zero(_other_reading(good))])
    good = min(readings, key=lambda reading: float((reading**2).sum()))
    frames = np.arange(len(angles))
    smooth = np.stack([np.interp(frames, frames[regular], good[:, axis]) for axis in range(3)], axis=1)
    exact = _with_first(rotations, angles, smooth[:, 0])
    return np.where(regular[:, None], smooth, smooth + _principal(exact - smooth))


def _cardan(rotations: np.ndarray) -> np.ndarray:
    """Return [T, 3] angles of [T, 3, 3] with b within +-90 degrees; not scipy's, which warns where b is +-90."""
    r = rotations
    first = np.arctan2(-r[:, 0, 1], r[:, 1, 1])
    third = np.arctan2(-r[:, 2, 0], r[:, 2, 2])
    return np.stack([first, np.arctan2(r[:, 2, 1], np.hypot(r[:, 2, 0], r[:, 2, 2])), third], axis=1)


def _with_first(rotations: np.ndarray, angles: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return the [T, 3] angles of singular orientations whose first angle is chosen to be ``first`` [T]."""
    turned = Rotation.from_euler("ZX", np.stack([first, angles[:, 1]], axis=1)).as_matrix()
    rest = turned.transpose(0, 2, 1) @ rotations
    return np.stack([first, angles[:, 1], np.arctan2(rest[:, 0, 2], rest[:, 0, 0])], axis=1)


def _other_reading(angles: np.ndarray) -> np.ndarray:
    """Return the other [T, 3] angles of the same orientations: (a + pi, pi - b, c + pi)."""
    return angles * [1, -1, 1] + np.pi


def _nearest_zero(angles: np.ndarray) -> np.ndarray:
    """Return [T, 3] angles less the whole turns that their means have too many."""
    return angles - 2 * np.pi * np.round(angles.mean(axis=0) / (2 * np.pi))


def _principal(angles: np.ndarray) -> np.ndarray:
    return (angles + np.pi) % (2 * np.pi) - np.pi


def _about(axis: str, angle: float) -> np.ndarray:
    return Rotation.from_euler(axis, angle).as_matrix()


def _frame(z_hint: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the frame [3, 3] with this Y and with Z as near to the hint as that allows."""
    z = z_hint - y * (y @ z_hint)
    length = np.linalg.norm(z)
    if length < 1e-9:
        raise AnglesError("angles: the hips of the skeleton lie one above the other at rest: no side is the right one")
    z = z / length
    return np.stack([np.cross(y, z), y, z], axis=1)


def _swung(frame: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Return a frame turned by the shortest way that brings its -Y onto a direction."""
    down = -frame[:, 1]
    axis = np.cross(down, along)
    sine = float(np.linalg.norm(axis))
    # straight, or folded right back, where sideways is how an arm comes down from overhead
    axis = axis / sine if sine > 1e-9 else frame[:, 0]
    return Rotation.from_rotvec(axis * np.arctan2(sine, down @ along)).as_matrix() @ frame
