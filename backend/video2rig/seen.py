# SPDX-License-Identifier: GPL-3.0-or-later
"""What is solved again: a person's keypoints, and what else of the first solve must stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .camera import Camera
from .keypoints import Keypoints
from .take import Take

MAX_PERSON = 1 << 20


@dataclass(frozen=True, eq=False)
class Seen:
    """Keypoints of one person of a video that was solved before.

    Attributes:
        keypoints: On all frames of the video.
        person: The person's number.
        world: The camera over the floor, where others of the same video stand in the same world; None finds it anew.
    """

    keypoints: Keypoints
    person: int
    world: Camera | None

    @classmethod
    def of(cls, take: Take) -> Seen:
        """Return what a take was solved from; its world stays where it was one of several people's."""
        return cls(take.keypoints, take.person, take.camera if in_one_world(take) else None)

    def header(self) -> dict[str, Any]:
        """Return all but the arrays, as plain JSON values."""
        return {
            "keypoint_set": self.keypoints.set_name,
            "person": self.person,
            "camera": {} if self.world is None else self.world.to_json(),
        }


def in_one_world(take: Take) -> bool:
    """Tell whether a take was solved with everybody of its video, in one world."""
    settings = take.motion.provenance.get("settings")
    return isinstance(settings, dict) and settings.get("person") == "everyone"
