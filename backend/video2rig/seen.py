# SPDX-License-Identifier: GPL-3.0-or-later
"""What is solved again: a person's keypoints, and what else of the first solve must stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .camera import Camera
from .errors import Video2RigError
from .keypoints import Keypoints
from .motion import Contact
from .own_body import OwnBody
from .take import Take

MAX_PERSON = 1 << 20
MAX_CONTACTS = 10_000
"""Intervals in which feet are said to rest; with them the message that opens a session still fits a server's limit."""
_LONGEST = 1e7  # seconds


class ContactsError(Video2RigError):
    """Contacts that were given and cannot be, or that are wanted and were not given."""


@dataclass(frozen=True, eq=False)
class Seen:
    """Keypoints of one person of a video that was solved before.

    Attributes:
        keypoints: On all frames of the video.
        person: The person's number.
        world: The camera over the floor, where others of the same video stand in the same world; None finds it anew.
        contacts: When feet rest, as somebody has marked it; None lets them be found.
        former: How the person's own body moved as it was solved before, maybe under other settings; None searches
            anew.
    """

    keypoints: Keypoints
    person: int
    world: Camera | None
    contacts: tuple[Contact, ...] | None = None
    former: OwnBody | None = None

    @classmethod
    def of(cls, take: Take, contacts: tuple[Contact, ...] | None = None, former: OwnBody | None = None) -> Seen:
        """Return what a take was solved from, with what else is known of it now.

        Its world stays where it was one of several people's.
        """
        return cls(take.keypoints, take.person, take.camera if in_one_world(take) else None, contacts, former)

    def header(self) -> dict[str, Any]:
        """Return all but the arrays, as plain JSON values."""
        return {
            "keypoint_set": self.keypoints.set_name,
            "person": self.person,
            "camera": {} if self.world is None else self.world.to_json(),
            "contacts": None if self.contacts is None else contacts_to_json(self.contacts),
            "former": {} if self.former is None else self.former.header(),
        }


def contacts_to_json(contacts: tuple[Contact, ...]) -> dict[str, list[list[float]]]:
    """Return contacts as plain JSON values: start and end of each, in seconds, by the joint's name."""
    found: dict[str, list[list[float]]] = {}
    for contact in contacts:
        found.setdefault(contact.joint, []).append([round(contact.start, 6), round(contact.end, 6)])
    return found


def contacts_from_json(data: Any) -> tuple[Contact, ...]:
    """Read what :func:`contacts_to_json` wrote.

    Returns:
        The contacts, by their start.

    Raises:
        ContactsError: It is nothing of the kind, there are too many, or one ends before it starts.
    """
    if not isinstance(data, dict) or not all(isinstance(rests, list) for rests in data.values()):
        raise ContactsError("contacts: expected lists of intervals, by names of joints")
    if sum(map(len, data.values())) > MAX_CONTACTS:
        raise ContactsError(f"contacts: more than {MAX_CONTACTS}; cut the video into parts")
    contacts = []
    for joint, rests in data.items():
        for rest in rests:
            numbers = isinstance(rest, list) and len(rest) == 2 and all(type(time) in (int, float) for time in rest)
            if not numbers or not -_LONGEST <= rest[0] <= rest[1] <= _LONGEST:
                raise ContactsError(f"contacts: {str(rest)[:40]} of {joint[:40]!r} is no start and end in seconds")
            contacts.append(Contact(joint, float(rest[0]), float(rest[1])))
    return tuple(sorted(contacts, key=lambda contact: contact.start))


def in_one_world(take: Take) -> bool:
    """Tell whether a take was solved with everybody of its video, in one world."""
    settings = take.motion.provenance.get("settings")
    return isinstance(settings, dict) and settings.get("person") == "everyone"
