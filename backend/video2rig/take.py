# SPDX-License-Identifier: GPL-3.0-or-later
"""Take: one person in one video, solved. The same header and arrays travel on the wire and lie in a .npz."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from .camera import Camera
from .errors import Video2RigError
from .files import replacing
from .keypoints import Keypoints
from .motion import Contact, Motion
from .own_body import OwnBody
from .skeleton import Skeleton

MEASURED, OF_THE_ARMATURE = "measured", "the armature's own"
"""What a motion's provenance says of its skeleton's proportions."""

FORMAT = 1
"""Version of the header; raised when a reader of the old one would misread the new one."""

_HEADER = "header"


class TakeError(Video2RigError):
    """A file or message that is not a take, or not one that this version reads."""


@dataclass(frozen=True, eq=False)
class Take:
    """A motion with what it was solved from.

    Attributes:
        motion: Rotations and root path in the world.
        keypoints: What the detector saw, on the same frames.
        camera: The camera that the world was placed under.
        video: Facts about the source that a reader may want (file name, frame rate); plain JSON values.
        person: Which person of the video, from 1, in the order of their appearance.
        own: How the person moved, where the motion is that of a rig with other proportions; None where it is the
            person's own.
    """

    motion: Motion
    keypoints: Keypoints
    camera: Camera
    video: dict[str, Any] = field(default_factory=dict)
    person: int = 1
    own: OwnBody | None = None

    def own_body(self) -> OwnBody | None:
        """Return how the person moved on the body that was measured; None where none was."""
        measured = self.motion.provenance.get("proportions") == MEASURED
        return self.body() if self.own is None and measured else self.own

    def body(self) -> OwnBody:
        """Return how what was solved moved, as if its proportions were the person's."""
        motion = self.motion
        return OwnBody(motion.skeleton, motion.rotations, motion.root_position, self.camera)

    def pack(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the take as a JSON header and named arrays."""
        skeleton = self.motion.skeleton
        header = {
            "format": FORMAT,
            "skeleton": skeleton.to_json(),
            "provenance": self.motion.provenance,
            "keypoint_set": self.keypoints.set_name,
            "camera": self.camera.to_json(),
            "video": self.video,
            "person": self.person,
        }
        arrays = {
            "times": self.motion.times,
            "rotations": self.motion.rotations,
            "root_position": self.motion.root_position,
            "confidence": self.motion.confidence.astype(np.float32),
            "contact_joints": np.array([skeleton.index(c.joint) for c in self.motion.contacts], dtype=np.int32),
            "contact_times": np.array([(c.start, c.end) for c in self.motion.contacts]).reshape(-1, 2),
            "keypoints": self.keypoints.positions.astype(np.float32),
            "keypoint_confidence": self.keypoints.confidence.astype(np.float32),
        }
        if self.keypoints.world is not None:
            arrays["keypoint_world"] = self.keypoints.world.astype(np.float32)
        if self.own is not None:
            header["own"] = self.own.header()
            arrays["own_rotations"] = self.own.rotations.astype(np.float32)
            arrays["own_root_position"] = self.own.root_position.astype(np.float32)
        return header, arrays

    @classmethod
    def unpack(cls, header: Any, arrays: dict[str, np.ndarray]) -> Take:
        """Read what :meth:`pack` wrote.

        Raises:
            TakeError: An entry is absent, or the format is not the one that this version reads.
        """
        try:
            if header["format"] != FORMAT:
                raise TakeError(f"take: format {header['format']}, this version reads format {FORMAT}")
            skeleton = Skeleton.from_json(header["skeleton"])
            contacts = zip(arrays["contact_joints"].tolist(), arrays["contact_times"].tolist(), strict=True)
            motion = Motion(
                skeleton,
                arrays["times"],
                arrays["rotations"],
                arrays["root_position"],
                arrays["confidence"],
                tuple(Contact(skeleton.names[joint], start, end) for joint, (start, end) in contacts),
                dict(header["provenance"]),
            )
            keypoints = Keypoints(
                header["keypoint_set"],
                arrays["keypoints"],
                arrays["keypoint_confidence"],
                arrays["times"],
                arrays.get("keypoint_world"),
            )
            # takes of older versions tell no number: they are of the one person that was followed
            person = int(header.get("person", 1))
            own = None
            if "own" in header:
                own = OwnBody.of_header(header["own"], arrays["own_rotations"], arrays["own_root_position"])
            return cls(motion, keypoints, Camera.from_json(header["camera"]), dict(header["video"]), person, own)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise TakeError(f"take: unreadable or incomplete ({error})") from error

    def save(self, path: str | Path) -> None:
        """Write the take as a .npz; an existing file is replaced only once the new one is whole.

        Raises:
            FileError: The file cannot be written.
        """
        with replacing(Path(path)) as file:
            self._write(file)

    def to_bytes(self) -> bytes:
        """Return what :meth:`save` writes."""
        file = io.BytesIO()
        self._write(file)
        return file.getvalue()

    def _write(self, file: IO[bytes]) -> None:
        header, arrays = self.pack()
        np.savez_compressed(file, **{_HEADER: np.array(json.dumps(header))}, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> Take:
        """Read a take that :meth:`save` wrote.

        Raises:
            TakeError: There is no such file, or it is not a take.
        """
        try:
            return cls._read(path, str(path))
        except FileNotFoundError:
            raise TakeError(f"take: there is no file {path}") from None

    @classmethod
    def from_bytes(cls, data: bytes) -> Take:
        """Read what :meth:`to_bytes` returned.

        Raises:
            TakeError: It is not a take.
        """
        return cls._read(io.BytesIO(data), "what was kept")

    @classmethod
    def _read(cls, file: str | Path | IO[bytes], name: str) -> Take:
        try:
            with np.load(file, allow_pickle=False) as found:
                arrays = {key: found[key] for key in found.files}
            header = json.loads(str(arrays.pop(_HEADER)))
        except FileNotFoundError:
            raise
        except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise TakeError(f"take: {name} is not a take that `video2rig solve` wrote ({error})") from error
        return cls.unpack(header, arrays)


def pack_all(takes: Sequence[Take]) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Return the takes of one video as JSON headers, and arrays named after take and array: ``"1.rotations"``."""
    packed = [take.pack() for take in takes]
    arrays = {f"{k}.{name}": array for k, (_, own) in enumerate(packed) for name, array in own.items()}
    return [header for header, _ in packed], arrays


def unpack_all(headers: Any, arrays: dict[str, np.ndarray]) -> list[Take]:
    """Read what :func:`pack_all` wrote.

    Raises:
        TakeError: There is no take, an array belongs to none, or a take is not whole.
    """
    if not isinstance(headers, list) or not headers:
        raise TakeError("take: expected a list with one header a person")
    own: list[dict[str, np.ndarray]] = [{} for _ in headers]
    for name, array in arrays.items():
        index, _, rest = name.partition(".")
        if not (index.isascii() and index.isdecimal() and int(index) < len(own)):
            raise TakeError(f"take: the array {name[:60]!r} belongs to none of {len(own)} people")
        own[int(index)][rest] = array
    return [Take.unpack(header, mine) for header, mine in zip(headers, own, strict=True)]
