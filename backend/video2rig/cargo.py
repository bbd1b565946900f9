# SPDX-License-Identifier: GPL-3.0-or-later
"""What a client sends to be solved, message by message: a video's frames, or keypoints that were seen in one before."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple, Protocol

import numpy as np

from .frames import VideoSource, fitted
from .link import ServerError
from .seen import Seen
from .wire import Limits


class Piece(NamedTuple):
    """One message: its kind, arrays, and fields but the session."""

    kind: str
    arrays: dict[str, np.ndarray]
    fields: dict[str, Any]


class Cargo(Protocol):
    """What is sent.

    Attributes:
        stage: What a user reads while it is sent and worked through. noun, again: What a user reads of it, and of
            its being sent once more.
        facts: About the video, for the server. seen: For the message that opens the session.
        notices: What is to be told about it, growing.
    """

    stage: str
    noun: str
    again: str
    facts: dict[str, Any]
    seen: dict[str, Any]
    notices: list[str]

    def count(self, limits: Limits) -> int:
        """Return how many pieces there are, as far as is known."""
        ...

    def pieces(self, limits: Limits) -> Generator[Piece, None, None]:
        """Yield the pieces, in order, no larger than the server takes."""
        ...


class VideoCargo:
    """A video's frames; see `Cargo`."""

    stage, noun, again = "detecting", "this video", "the video again from its first frame"

    def __init__(self, source: VideoSource) -> None:
        self._source = source
        self.facts = source.info.facts()
        self.seen: dict[str, Any] = {}
        self.notices = source.notices

    def count(self, limits: Limits) -> int:
        """Return how many frames the file says that it has."""
        return self._source.info.frame_count

    def pieces(self, limits: Limits) -> Generator[Piece, None, None]:
        """Yield the frames, as small as this server wants them, with their scale."""
        for frame in self._source.frames():
            if frame.index >= limits.frames:
                raise ServerError(
                    f"{self._source.info.path}: has more than {limits.frames} frames, the most that this server takes"
                )
            image, scale = fitted(frame, limits.max_side)
            yield Piece("frame", {"image": image.image}, {"index": frame.index, "time": frame.time, "scale": scale})


class KeypointsCargo:
    """Keypoints; see `Cargo`."""

    stage, noun, again = "sending", "these keypoints", "the keypoints again"

    def __init__(self, seen: Seen, video: dict[str, Any]) -> None:
        self._keypoints, self._former = seen.keypoints, seen.former
        self.facts = video
        self.seen = seen.header()
        self.notices: list[str] = []

    def count(self, limits: Limits) -> int:
        """Return into how many messages the frames go."""
        return -(-len(self._keypoints.times) // self._rows(limits))

    def pieces(self, limits: Limits) -> Generator[Piece, None, None]:
        """Yield as many frames at once as fit into what the server takes for a picture."""
        keypoints, rows = self._keypoints, self._rows(limits)
        if len(keypoints.times) > limits.frames:
            raise ServerError(
                f"the take has {len(keypoints.times)} frames, this server takes at most {limits.frames}", "limit"
            )
        for index, begin in enumerate(range(0, len(keypoints.times), rows)):
            part = slice(begin, begin + rows)
            arrays = {
                "positions": keypoints.positions[part].astype(np.float32),
                "confidence": keypoints.confidence[part].astype(np.float32),
                "times": keypoints.times[part],
            }
            if keypoints.world is not None:
                arrays["world"] = keypoints.world[part].astype(np.float32)
            if self._former is not None:
                arrays["rotations"] = self._former.rotations[part].astype(np.float32)
                arrays["root_position"] = self._former.root_position[part].astype(np.float32)
            yield Piece("keypoints", arrays, {"index": index})

    def _rows(self, limits: Limits) -> int:
        # bytes of a frame: its time, its positions in space, or the rotations of its joints
        joints = 0 if self._former is None else self._former.rotations.shape[1]
        largest = max(8, 12 * len(self._keypoints.names), 16 * joints)
        return max(1, limits.frame_bytes // largest)
