# SPDX-License-Identifier: GPL-3.0-or-later
"""What a client says of a video, a skeleton and keypoints, checked before a session believes it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .camera import Camera, CameraError
from .keypoints import KEYPOINT_SETS, Keypoints, KeypointsError
from .motion import Contact
from .own_body import OwnBody
from .seen import MAX_PERSON, ContactsError, contacts_from_json
from .skeleton import Skeleton, SkeletonError
from .wire import Limits

MAX_SIDE_OF_SOURCE = 1 << 16
MAX_METRES = 1000.0
"""No bone of a skeleton is longer, or further away."""
MAX_NAME = 256
MAX_PIXELS = 1e6
"""No keypoint lies further from the picture's corner."""


class Refusal(Exception):
    """A request that the server does not follow: a code for programs and one line for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Asked(NamedTuple):
    """Of whom keypoints come: the fields of `Seen`."""

    keypoint_set: str
    person: int
    world: Camera | None
    contacts: tuple[Contact, ...] | None
    former: OwnBody | None  # without its frames


class Part(NamedTuple):
    """Keypoints of some frames, and how the person's own body was there as it was solved before."""

    keypoints: Keypoints
    rotations: np.ndarray | None
    root_position: np.ndarray | None


def check_video(video: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """Return the facts about a video that a client told, checked.

    Raises:
        Refusal: A fact is absent, unknown, or cannot be.
    """
    ranges = {
        "width": (int, 1, MAX_SIDE_OF_SOURCE),
        "height": (int, 1, MAX_SIDE_OF_SOURCE),
        "fps": (float, 1e-3, 1e4),
        "frame_count": (int, 0, limits.frames),
        "duration": (float, 0, 1e7),
    }
    if set(video) != {"name", *ranges}:
        raise Refusal("video", f"video: expected exactly the entries name, {', '.join(ranges)}")
    if not isinstance(video["name"], str) or len(video["name"]) > 1024:
        raise Refusal("video", "video: name must be a text of at most 1024 characters")
    for name, (kind, lower, upper) in ranges.items():
        value = video[name]
        if type(value) not in (int, kind) or not lower <= value <= upper:
            raise Refusal("video", f"video: {name} is {str(value)[:40]}; it must lie between {lower:g} and {upper:g}")
    return dict(video)


def check_skeleton(data: dict[str, Any], limits: Limits) -> Skeleton | None:
    """Return the skeleton that a client wants solved; None, for an empty object, is the default human.

    Raises:
        Refusal: It is none, or beyond the limits.
    """
    if not data:
        return None
    joints = data.get("joints")
    if isinstance(joints, list) and len(joints) > limits.joints:
        raise Refusal("limit", f"skeleton: {len(joints)} joints; at most {limits.joints} are allowed")
    try:
        skeleton = Skeleton.from_json(data)
    except SkeletonError as error:
        raise Refusal("skeleton", str(error)) from error
    if max(map(len, skeleton.names + skeleton.roles)) > MAX_NAME:
        raise Refusal("limit", f"skeleton: a name is longer than {MAX_NAME} characters")
    if max(np.abs(skeleton.offset).max(), skeleton.length.max()) > MAX_METRES:
        raise Refusal("limit", f"skeleton: a bone is longer than {MAX_METRES:g} m, or further away")
    return skeleton


def check_seen(data: dict[str, Any], limits: Limits) -> Asked | None:
    """Return of whom keypoints are announced; None, for an empty object, announces frames.

    Raises:
        Refusal: An entry is absent, unknown, or cannot be.
    """
    if not data:
        return None
    names = ("keypoint_set", "person", "camera", "contacts", "former")
    if set(data) != set(names):
        raise Refusal("seen", f"seen: expected exactly the entries {', '.join(names)}")
    keypoint_set, person, camera, contacts, former = (data[name] for name in names)
    if not isinstance(keypoint_set, str) or keypoint_set not in KEYPOINT_SETS:
        raise Refusal("seen", f"seen: no keypoint set {str(keypoint_set)[:40]!r}; there are {', '.join(KEYPOINT_SETS)}")
    if type(person) is not int or not 1 <= person <= MAX_PERSON:
        raise Refusal("seen", f"seen: person is {str(person)[:40]}; it must lie between 1 and {MAX_PERSON}")
    try:
        world = None if camera == {} else Camera.from_json(camera)
        marked = None if contacts is None else contacts_from_json(contacts)
        return Asked(keypoint_set, person, world, marked, None if former == {} else _own_body(former, limits))
    except (CameraError, ContactsError, OverflowError) as error:
        raise Refusal("seen", str(error)) from error


def _own_body(data: Any, limits: Limits) -> OwnBody:
    """Return the body of a former motion that is announced, of no frame yet.

    Raises:
        Refusal: There is none, or it is beyond the limits. CameraError: The camera cannot be.
    """
    if not isinstance(data, dict) or set(data) != {"skeleton", "camera"} or not isinstance(data["skeleton"], dict):
        raise Refusal("seen", "seen: former: expected exactly the entries skeleton, camera")
    skeleton = check_skeleton(data["skeleton"], limits)
    if skeleton is None:
        raise Refusal("seen", "seen: former: the skeleton is empty")
    return OwnBody(skeleton, np.empty((0, len(skeleton), 4)), np.empty((0, 3)), Camera.from_json(data["camera"]))


def check_keypoints(index: int, arrays: dict[str, np.ndarray], asked: Asked) -> Part:
    """Return the keypoints of some frames, and the former motion there if one was announced.

    Args:
        index: Of the message. arrays: As :meth:`Session.keypoints` has them. asked: What was announced.

    Raises:
        Refusal: They are none, beyond the limits, or not what was announced.
    """
    former = set() if asked.former is None else {"rotations", "root_position"}
    if set(arrays) | {"world"} != {"positions", "confidence", "times", "world"} | former:
        raise Refusal("keypoints", "keypoints: expected the arrays positions, confidence, times, and maybe world")
    columns = (arrays["positions"], arrays["confidence"], arrays["times"], arrays.get("world"))
    try:
        part = Keypoints(asked.keypoint_set, *columns)
    except (KeypointsError, ValueError, TypeError) as error:
        raise Refusal("keypoints", str(error)) from error
    certain = part.confidence > 0
    far = np.abs(part.positions[certain]).max(initial=0.0) > MAX_PIXELS
    if far or (part.world is not None and np.abs(part.world[certain]).max(initial=0.0) > MAX_METRES):
        raise Refusal("limit", f"keypoints {index}: one is beyond {MAX_PIXELS:g} pixels or {MAX_METRES:g} m")
    if asked.former is None:
        return Part(part, None, None)
    return Part(part, *_former(arrays, len(part.times), len(asked.former.skeleton)))


def _former(arrays: dict[str, np.ndarray], frames: int, bones: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rotations and root positions of so many frames of a former motion.

    Raises:
        Refusal: They are not those of the skeleton that was announced, or cannot be.
    """
    rotations, root = (np.asarray(arrays[name]) for name in ("rotations", "root_position"))
    if rotations.shape != (frames, bones, 4) or root.shape != (frames, 3):
        raise Refusal("keypoints", f"rotations: expected {frames} frames of the skeleton's {bones} bones")
    for array in (rotations, root):
        if array.dtype.kind != "f" or not np.abs(array).max(initial=0.0) <= MAX_METRES:
            raise Refusal("keypoints", "rotations and root_position: expected numbers that a motion can have")
    if not np.square(rotations).sum(axis=-1).min(initial=1.0) > 0.5:
        raise Refusal("keypoints", "rotations: expected unit quaternions")
    return rotations.astype(np.float64), root.astype(np.float64)


def joined(parts: list[Keypoints]) -> Keypoints:
    """Return keypoints of frames one part after the other."""
    worlds = [part.world for part in parts if part.world is not None]
    return Keypoints(
        parts[0].set_name,
        np.concatenate([part.positions for part in parts]),
        np.concatenate([part.confidence for part in parts]),
        np.concatenate([part.times for part in parts]),
        np.concatenate(worlds) if worlds else None,
    )
