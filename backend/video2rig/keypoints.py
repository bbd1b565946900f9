# SPDX-License-Identifier: GPL-3.0-or-later
"""Keypoints: what a detector saw, and where on a skeleton each keypoint sits."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from .errors import Video2RigError
from .skeleton import Skeleton


class KeypointsError(Video2RigError):
    """Keypoints of an unknown set, or arrays that do not fit one another."""


def _both(*names: str) -> tuple[str, ...]:
    return tuple(f"{side}_{name}" for name in names for side in ("left", "right"))


_COCO = ("nose", *_both("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"))


def _whole_body() -> tuple[str, ...]:
    """Body, feet, face and hands in the order of COCO-WholeBody (Jin et al. 2020).

    The face is numbered from the person's right to their left, as all 68-point faces are. The first knuckles of index
    and little finger and the second of the thumb are those that BlazePose calls index, pinky and thumb.
    """

    def sides(*names: str) -> tuple[str, ...]:
        return tuple(f"{side}_{name}" for side in ("left", "right") for name in names)

    def across(right: tuple[str, ...], *middle: str) -> tuple[str, ...]:
        return (*(f"right_{name}" for name in right), *middle, *(f"left_{name}" for name in reversed(right)))

    lower_lips = ("left_lip_3", "left_lip_4", "lower_lip", "right_lip_4", "right_lip_3")
    fingers: list[tuple[str, ...]] = [("thumb_1", "thumb", "thumb_3", "thumb_4")]
    for finger, knuckle in (("index", "index"), ("middle", "middle_1"), ("ring", "ring_1"), ("pinky", "pinky")):
        fingers.append((knuckle, *(f"{finger}_{number}" for number in (2, 3, 4))))
    return (
        *_COCO,
        *sides("big_toe", "small_toe", "heel"),
        *across(tuple(f"jaw_{number}" for number in range(1, 9)), "chin"),
        *across(tuple(f"brow_{number}" for number in range(1, 6))),
        *(f"nose_bridge_{number}" for number in range(1, 5)),
        *across(("nostril_1", "nostril_2"), "nose_base"),
        *("right_eye_outer", "right_eyelid_1", "right_eyelid_2", "right_eye_inner", "right_eyelid_3", "right_eyelid_4"),
        *("left_eye_inner", "left_eyelid_2", "left_eyelid_1", "left_eye_outer", "left_eyelid_4", "left_eyelid_3"),
        *across(("mouth", "lip_1", "lip_2"), "upper_lip"),
        *lower_lips,
        *across(("inner_lip_1", "inner_lip_2"), "upper_inner_lip"),
        *("left_inner_lip_3", "lower_inner_lip", "right_inner_lip_3"),
        *sides("hand", *(name for finger in fingers for name in finger)),
    )


KEYPOINT_SETS: dict[str, tuple[str, ...]] = {
    "coco_17": _COCO,
    "halpe_26": (*_COCO, "head_top", "neck", "pelvis", *_both("big_toe", "small_toe", "heel")),
    "blazepose_33": (
        "nose",
        *(f"{side}_{name}" for side in ("left", "right") for name in ("eye_inner", "eye", "eye_outer")),
        *_both("ear", "mouth", "shoulder", "elbow", "wrist", "pinky", "index", "thumb"),
        *_both("hip", "knee", "ankle", "heel", "big_toe"),
    ),
    "h36m_17": (
        "pelvis",
        *(f"{side}_{name}" for side in ("right", "left") for name in ("hip", "knee", "ankle")),
        *("spine", "neck", "nose", "head_top"),
        *(f"{side}_{name}" for side in ("left", "right") for name in ("shoulder", "elbow", "wrist")),
    ),
    # OpenPose's body network (Cao et al. 2017), without its background
    "coco_18": (
        *("nose", "neck"),
        *(f"{side}_{name}" for side in ("right", "left") for name in ("shoulder", "elbow", "wrist")),
        *(f"{side}_{name}" for side in ("right", "left") for name in ("hip", "knee", "ankle")),
        *("right_eye", "left_eye", "right_ear", "left_ear"),
    ),
    "coco_wholebody_133": _whole_body(),
}
"""Keypoint names of each set, in the order of its arrays. Left and right are the person's own.

Some of a set's keypoints may have no place on a skeleton, as fingertips: detectors tell them, takes keep them, and
solvers use :meth:`Keypoints.on_skeleton`. "coco_wholebody_35" is those of "coco_wholebody_133" that have one.
"""

# Where a keypoint sits: role of the joint that carries it, and offset in that bone's frame in units of the bone's
# length. The frame is the default human's: Y along the bone, Z as `_Z_FACES` says. Written for the left side; X is
# negated on the right, as the bones themselves are mirrored.
_SITES: dict[str, tuple[str, tuple[float, float, float]]] = {
    "nose": ("head", (0.0, 0.28, 0.64)),
    "head_top": ("head", (0.0, 1.0, 0.0)),
    "neck": ("neck", (0.0, 0.0, 0.0)),
    "spine": ("spine_middle", (0.0, 0.0, 0.0)),
    "pelvis": ("pelvis", (0.0, 0.0, 0.0)),
    "left_eye_inner": ("head", (0.08, 0.48, 0.52)),
    "left_eye": ("head", (0.18, 0.48, 0.50)),
    "left_eye_outer": ("head", (0.26, 0.48, 0.44)),
    "left_ear": ("head", (0.43, 0.36, -0.02)),
    "left_mouth": ("head", (0.14, 0.06, 0.52)),
    "left_shoulder": ("left_shoulder", (0.0, 0.0, 0.0)),
    "left_elbow": ("left_elbow", (0.0, 0.0, 0.0)),
    "left_wrist": ("left_wrist", (0.0, 0.0, 0.0)),
    "left_pinky": ("left_wrist", (0.40, 0.95, 0.05)),
    "left_index": ("left_wrist", (-0.30, 1.05, 0.05)),
    "left_thumb": ("left_wrist", (-0.45, 0.55, 0.15)),
    # detectors mark the hips at the side of the body, 3 to 4 cm lateral of the joints' centres
    "left_hip": ("pelvis", (1.20, 0.10, 0.0)),
    "left_knee": ("left_knee", (0.0, 0.0, 0.0)),
    "left_ankle": ("left_ankle", (0.0, 0.0, 0.0)),
    "left_heel": ("left_ankle", (0.0, -0.19, 0.42)),
    "left_big_toe": ("left_toes", (0.0, 0.85, 0.0)),
    "left_small_toe": ("left_toes", (0.35, 0.25, 0.0)),
}


# where the Z of a bone that carries keypoints beside its own axis faces at rest: along the body's left, forward, up
_FORWARD, _DOWN = (0.0, 1.0, 0.0), (0.0, 0.0, -1.0)
_Z_FACES = {
    "head": _FORWARD,
    "pelvis": _FORWARD,
    **dict.fromkeys(_both("wrist", "ankle", "toes"), _DOWN),
}
_TOO_STEEP = 0.3  # a bone that runs along that direction, within the angle of this sine, keeps its own frame


def site(keypoint: str) -> tuple[str, tuple[float, float, float]]:
    """Return where a keypoint sits on a human skeleton.

    Returns:
        The role of the joint that carries it, and its offset in the frame of that joint's bone, in units of the
        bone's length.

    Raises:
        KeypointsError: The keypoint has no place on a skeleton.
    """
    mirrored = keypoint.startswith("right_")
    try:
        role, (x, y, z) = _SITES[keypoint.replace("right_", "left_") if mirrored else keypoint]
    except KeyError:
        raise KeypointsError(f"keypoints: {keypoint!r} has no place on a skeleton") from None
    return (role.replace("left_", "right_"), (-x, y, z)) if mirrored else (role, (x, y, z))


def has_site(keypoint: str) -> bool:
    """Tell whether a keypoint has a place on a human skeleton."""
    return re.sub("^right_", "left_", keypoint) in _SITES


KEYPOINT_SETS["coco_wholebody_35"] = tuple(name for name in KEYPOINT_SETS["coco_wholebody_133"] if has_site(name))


def sites(skeleton: Skeleton, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the joints [K] that carry keypoints, and the keypoints' offsets [K, 3] in their bones' frames, metres.

    Bones may be rolled about their length in any way: where the palm, the sole and the face are follows from how the
    skeleton stands at rest, in a T- or A-pose.

    Raises:
        KeypointsError: A keypoint has no place on a skeleton.
        SkeletonError: The skeleton lacks the role that carries one.
    """
    places = [site(name) for name in names]
    joints = np.array([skeleton.index(role) for role, _ in places])
    offsets = np.array([offset for _, offset in places]) * skeleton.length[joints, None]
    rolls = _rolls(skeleton)
    return joints, np.einsum("kij,kj->ki", rolls[joints], offsets)


def _rolls(skeleton: Skeleton) -> np.ndarray:
    """Return [J, 3, 3] from the frame that a bone of its role has in the default human to the bone's own."""
    rolls = np.tile(np.eye(3), (len(skeleton), 1, 1))
    sides = [f"{side}_{role}" for role in ("hip", "shoulder") for side in ("left", "right")]
    if any(role not in skeleton.roles for role in sides):
        return rolls
    rest = skeleton.rest_matrices()
    left_hip, right_hip, left_shoulder, right_shoulder = (rest[skeleton.index(role), :3, 3] for role in sides)
    up = left_shoulder + right_shoulder - left_hip - right_hip
    up = up / max(float(np.linalg.norm(up)), 1e-9)
    left = left_hip - right_hip
    left = left - up * (up @ left)
    left = left / max(float(np.linalg.norm(left)), 1e-9)
    body = np.stack([left, np.cross(left, up), up], axis=1)
    for role, faces in _Z_FACES.items():
        if role not in skeleton.roles:
            continue
        joint = skeleton.index(role)
        own = rest[joint, :3, :3]
        z = body @ np.array(faces)
        z = z - own[:, 1] * (own[:, 1] @ z)
        if np.linalg.norm(z) > _TOO_STEEP:
            z = z / np.linalg.norm(z)
            rolls[joint] = own.T @ np.stack([np.cross(own[:, 1], z), own[:, 1], z], axis=1)
    return rolls


@dataclass(frozen=True, eq=False)
class Keypoints:
    """What a detector saw of one person.

    Attributes:
        set_name: A key of :data:`KEYPOINT_SETS`.
        positions: [T, K, 2] pixels of the source video; NaN where nothing was seen.
        confidence: [T, K] from 0 (not seen) to 1.
        times: [T] seconds from the video's first frame, rising.
        world: [T, K, 3] metres from the centre of the hips, camera axes (x right, y down, z forward), or None.
    """

    set_name: str
    positions: np.ndarray
    confidence: np.ndarray
    times: np.ndarray
    world: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.set_name not in KEYPOINT_SETS:
            raise KeypointsError(f"keypoints: no set {self.set_name!r}; there are {', '.join(KEYPOINT_SETS)}")
        count, frames = len(KEYPOINT_SETS[self.set_name]), len(self.times)
        shapes = {
            "positions": (frames, count, 2),
            "confidence": (frames, count),
            "times": (frames,),
            "world": (frames, count, 3),
        }
        for field, shape in shapes.items():
            value = getattr(self, field)
            if value is None:
                continue
            array = np.array(value, dtype=np.float64)
            if array.shape != shape:
                raise KeypointsError(f"keypoints: {field} has shape {array.shape}, expected {shape}")
            array.setflags(write=False)
            object.__setattr__(self, field, array)
        if not (np.isfinite(self.times).all() and (np.diff(self.times) > 0).all()):
            raise KeypointsError("keypoints: frame times must be finite and rise from frame to frame")
        if not ((self.confidence >= 0) & (self.confidence <= 1)).all():
            raise KeypointsError("keypoints: confidence must lie between 0 and 1")
        seen = self.confidence > 0
        if not np.isfinite(self.positions[seen]).all():
            raise KeypointsError("keypoints: a keypoint with confidence above 0 has a position that is not finite")
        if self.world is not None and not np.isfinite(self.world[seen]).all():
            raise KeypointsError("keypoints: a keypoint with confidence above 0 has no finite world position")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the K keypoints."""
        return KEYPOINT_SETS[self.set_name]

    def seen(self) -> np.ndarray:
        """Return [T] bool: the frames in which anybody was seen."""
        return (self.confidence > 0).any(axis=1)

    def on_skeleton(self) -> Keypoints:
        """Return those keypoints that have a place on a human skeleton: of most sets all, and then itself."""
        placed = [k for k, name in enumerate(self.names) if has_site(name)]
        if len(placed) == len(self.names):
            return self
        names = tuple(self.names[k] for k in placed)
        set_name = next(name for name, others in KEYPOINT_SETS.items() if others == names)
        world = None if self.world is None else self.world[:, placed]
        return Keypoints(set_name, self.positions[:, placed], self.confidence[:, placed], self.times, world)
