# SPDX-License-Identifier: GPL-3.0-or-later
"""Take: one person in one video, solved. The same header and arrays travel on the wire and lie in a .npz."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .camera import Camera
from .errors import Video2RigError
from .keypoints import Keypoints
from .motion import Contact, Motion
from .skeleton import Skeleton

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
    """

    motion: Motion
    keypoints: Keypoints
    camera: Camera
    video: dict[str, Any] = field(default_factory=dict)

    def pack(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the take as a JSON header and named arrays."""
        header = {
            "format": FORMAT,
            "skeleton": self.motion.skeleton.to_json(),
            "contacts": [list(contact) for contact in self.motion.contacts],
            "provenance": self.motion.provenance,
            "keypoint_set": self.keypoints.set_name,
            "camera": self.camera.to_json(),
            "video": self.video,
        }
        arrays = {
            "times": self.motion.times,
            "rotations": self.motion.rotations,
            "root_position": self.motion.root_position,
            "confidence": self.motion.confidence.astype(np.float32),
            "keypoints": self.keypoints.positions.astype(np.float32),
            "keypoint_confidence": self.keypoints.confidence.astype(np.float32),
        }
        if self.keypoints.world is not None:
            arrays["keypoint_world"] = self.keypoints.world.astype(np.float32)
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
            motion = Motion(
                Skeleton.from_json(header["skeleton"]),
                arrays["times"],
                arrays["rotations"],
                arrays["root_position"],
                arrays["confidence"],
                tuple(Contact(str(j), float(start), float(end)) for j, start, end in header["contacts"]),
                dict(header["provenance"]),
            )
            keypoints = Keypoints(
                header["keypoint_set"],
                arrays["keypoints"],
                arrays["keypoint_confidence"],
                arrays["times"],
                arrays.get("keypoint_world"),
            )
            return cls(motion, keypoints, Camera.from_json(header["camera"]), dict(header["video"]))
        except (KeyError, TypeError, ValueError) as error:
            raise TakeError(f"take: unreadable or incomplete ({error})") from error

    def save(self, path: str | Path) -> None:
        """Write the take as a .npz; an existing file is replaced only once the new one is whole.

        Raises:
            TakeError: The file cannot be written.
        """
        path = Path(path)
        if path.exists() and not path.is_file():
            raise TakeError(f"take: {path} cannot be written: it is a folder or a device, not a file")
        header, arrays = self.pack()
        partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with open(partial, "wb") as file:
                np.savez_compressed(file, **{_HEADER: np.array(json.dumps(header))}, **arrays)
            os.replace(partial, path)
        except OSError as error:
            raise TakeError(f"take: {path} cannot be written: {error.strerror or error}") from error
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path) -> Take:
        """Read a take that :meth:`save` wrote.

        Raises:
            TakeError: There is no such file, or it is not a take.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            header = json.loads(str(arrays.pop(_HEADER)))
        except FileNotFoundError:
            raise TakeError(f"take: there is no file {path}") from None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise TakeError(f"take: {path} is not a take that `video2rig solve` wrote ({error})") from error
        return cls.unpack(header, arrays)
