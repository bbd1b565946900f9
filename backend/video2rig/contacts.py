# SPDX-License-Identifier: GPL-3.0-or-later
"""Feet that rest on the floor: when, and where they are then held."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import binary_closing, binary_opening, gaussian_filter1d, minimum_filter1d

from .anatomy import split_role
from .camera import Camera
from .ik import BodyModel, Contacts, Floor, Pose
from .keypoints import Keypoints
from .motion import Contact
from .seen import ContactsError
from .skeleton import Skeleton

SPEED = 0.35
"""A foot that moves slower than this, metres a second, may rest on the floor."""

HEIGHT = 0.07
"""A foot that is higher than this above the floor, metres, does not rest on it."""

CONFIDENCE = 0.3
"""Feet that are seen with less confidence are not known to rest on anything."""

SHORTEST = 0.1
"""Shorter contacts, in seconds, are noise."""

_DEPTH_SHARE = 0.3  # of a speed along the line of sight: what moves there is mostly the detector's idea of depth
_STEP = 0.15  # metres: a foot that rests higher above the floor stands on something else
_CALM = 0.06  # seconds over which positions are averaged before speeds are taken
_DEVIATION = (0.01, 0.01, 0.02)  # metres along the world's x, y, z, by which a held foot may stray
_SINKING = 0.02  # metres by which a foot may sink below its height when standing: soles are soft, and floors estimated
_SAME = 1e-5  # seconds: times that were told in text
_RESTING = ("ankle", "toes")  # roles of joints whose parts rest: heels, and toes
_SOLES = ("heel", "big_toe")


class Feet:
    """The keypoints of a body that touch the floor: heels and toes, or ankles in sets that have no feet.

    Attributes:
        keypoints: [F] their numbers. joints: [F] names of the joints that carry them.
        standing: [F] their heights above the floor at rest, metres.
    """

    def __init__(self, model: BodyModel) -> None:
        parts = [name.partition("_")[2] for name in model.names]
        kinds = _SOLES if "heel" in parts else ("ankle",)
        self.keypoints = np.array([k for k, part in enumerate(parts) if part in kinds])
        carriers = model.site_joint.numpy()[self.keypoints]
        self.joints = [model.skeleton.names[joint] for joint in carriers]
        rest = model.skeleton.rest_matrices()[carriers]
        offset = model.site_offset.numpy()[self.keypoints]
        self.standing = rest[:, 2, 3] + np.einsum("fi,fi->f", rest[:, 2, :3], offset)

    def places(self, model: BodyModel, pose: Pose) -> np.ndarray:
        """Return where they are, [T, F, 3] in the axes of the pose, metres."""
        return model.points(pose).numpy()[:, self.keypoints]


def find_contacts(
    feet: Feet, places: np.ndarray, keypoints: Keypoints, camera: Camera, always: bool = False
) -> tuple[tuple[Contact, ...], np.ndarray]:
    """Find the intervals in which parts of the feet rest on the floor: seen, low, and nearly still.

    Heights are taken from the lowest that any part of the feet reaches within a second, as the floor under a walking
    person is not known better than the person's depth.

    Args:
        places: [T, F, 3] in the world, metres. keypoints: T frames. camera: Over the world's floor.
        always: Whether the person never leaves the floor: where nothing seems to rest, what does so most rests.

    Returns:
        The contacts, by their start, and [T, F] bool: the frames in which each part rests.
    """
    keypoints, times = keypoints.on_skeleton(), keypoints.times
    resting = np.zeros(places.shape[:2], dtype=bool)
    if len(times) < 3:
        return (), resting
    rate = min(1.0 / float(np.median(np.diff(times))), 1000.0)
    calm = gaussian_filter1d(places, sigma=_CALM * rate, axis=0)
    velocity = np.gradient(calm @ camera.rotation.T, times, axis=0)
    speed = np.linalg.norm(velocity * (1.0, 1.0, _DEPTH_SHARE), axis=-1)
    height = calm[..., 2] - feet.standing
    floor = minimum_filter1d(height.min(axis=1), size=2 * round(rate) + 1)
    seen = keypoints.confidence[:, feet.keypoints] >= CONFIDENCE
    still = (speed < SPEED) & (height - floor[:, None] < HEIGHT) & seen
    length = max(2, round(SHORTEST * rate))
    brush = np.ones(length, dtype=bool)
    known = keypoints.confidence[:, feet.keypoints] > 0
    for part in range(len(feet.joints)):
        padded = np.pad(still[:, part], length, mode="edge")
        calmed = np.asarray(binary_opening(binary_closing(padded, brush), brush), dtype=bool)[length:-length]
        resting[:, part] = calmed & known[:, part]
    if always:
        unrest = np.where(known, speed / SPEED + (height - floor[:, None]) / HEIGHT, np.inf)
        airborne = np.flatnonzero(~resting.any(axis=1) & known.any(axis=1))
        resting[airborne, unrest[airborne].argmin(axis=1)] = True
    contacts = []
    for part, joint in enumerate(feet.joints):
        for start, end in _runs(resting[:, part]):
            if always or times[end] - times[start] >= SHORTEST:
                contacts.append(Contact(joint, float(times[start]), float(times[end])))
            else:
                resting[start : end + 1, part] = False
    return tuple(sorted(contacts, key=lambda contact: contact.start)), resting


def on_frames(contacts: tuple[Contact, ...] | None, skeleton: Skeleton, times: np.ndarray) -> tuple[Contact, ...]:
    """Return marked contacts from their first frame to their last one, as they can be held.

    Args:
        contacts: What was marked. skeleton: What is solved. times: [T] seconds, of the video's frames.

    Raises:
        ContactsError: There are none, one is of a joint that is no foot, or lies where the video has no frame.
    """
    if contacts is None:
        raise ContactsError("contacts can be as marked only where a take is solved again: choose auto, always or off")
    feet = [name for name, role in zip(skeleton.names, skeleton.roles, strict=True) if split_role(role)[1] in _RESTING]
    found = []
    for contact in contacts:
        if contact.joint not in feet:
            raise ContactsError(f"there is no contact of {contact.joint!r}; feet are {', '.join(feet)}")
        inside = times[(times >= contact.start - _SAME) & (times <= contact.end + _SAME)]
        if len(inside) == 0:
            raise ContactsError(
                f"the contact of {contact.joint} from {contact.start:.2f} to {contact.end:.2f} s lies outside of the "
                f"video, which lasts from {times[0]:.2f} to {times[-1]:.2f} s, or between two of its frames"
            )
        found.append(Contact(contact.joint, float(inside[0]), float(inside[-1])))
    return tuple(found)


def rest_in(feet: Feet, contacts: tuple[Contact, ...], times: np.ndarray) -> np.ndarray:
    """Return [T, F] bool: the frames at [T] seconds in which each part of the feet rests by contacts of `on_frames`."""
    resting = np.zeros((len(times), len(feet.joints)), dtype=bool)
    for contact in contacts:
        inside = (times >= contact.start) & (times <= contact.end)
        for part, joint in enumerate(feet.joints):
            resting[:, part] |= inside & (joint == contact.joint)
    return resting


def hold(
    model: BodyModel, feet: Feet, places: np.ndarray, resting: np.ndarray, camera: Camera, always: bool = False
) -> Contacts:
    """Return what holds every resting part at its middle place.

    Its height is the one that it has when standing, unless it stands on something else than the floor.

    Args:
        places: [T, F, 3] in the world, metres. resting: [T, F] bool. camera: Over the world's floor.
        always: Whether the person never leaves the floor, so that there is nothing else to stand on.
    """
    frames, count = len(places), len(model.names)
    target, weight = np.zeros((2, frames, count, 3))
    for part, keypoint in enumerate(feet.keypoints):
        for start, end in _runs(resting[:, part]):
            interval = slice(start, end + 1)
            place = np.median(places[interval, part], axis=0)
            if always or abs(place[2] - feet.standing[part]) < _STEP:
                place[2] = feet.standing[part]
            target[interval, keypoint] = place
            weight[interval, keypoint] = 1.0 / np.array(_DEVIATION)
    to_world = camera.rotation.T
    target += to_world @ camera.translation  # along the world's axes, but from the camera
    return Contacts(torch.tensor(to_world), torch.tensor(target)[None], torch.tensor(weight)[None])


def floor_below(model: BodyModel, feet: Feet, camera: Camera) -> Floor:
    """Return the floor that no part of a foot sinks into. camera: Over the world's floor."""
    up = camera.rotation[:, 2]
    level, weight = np.zeros((2, len(model.names)))
    level[feet.keypoints] = up @ camera.translation + feet.standing
    weight[feet.keypoints] = 1.0 / _SINKING
    return Floor(torch.tensor(up), torch.tensor(level), torch.tensor(weight))


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Return the first and last index of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return [(int(start), int(end) - 1) for start, end in zip(edges[::2], edges[1::2], strict=True)]
