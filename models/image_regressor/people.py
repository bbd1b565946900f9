# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures of people with their joints, as a user brings them: .npz files, N pictures each.

    images [N, 224, 224, 3] uint8 RGB: a square around the person (:func:`crop_person` cuts it)
    joints [N, 17, 3] metres relative to the pelvis, camera axes (x right, y down, z forward), in the order of
        the keypoint set ``h36m_17``
    subject [N] integers: who it is; subjects are held out whole
    action [N] text, optional: errors are also given by action

Other arrays are ignored. Whoever has Human3.6M can write it in this form; it cannot be given away.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from video2rig.errors import Video2RigError
from video2rig.keypoints import KEYPOINT_SETS

NAMES = KEYPOINT_SETS["h36m_17"]
SIZE = 224
"""Pixels a side."""


class PeopleError(Video2RigError):
    """A file of pictures that lacks something, or holds what it should not."""


@dataclass(frozen=True, eq=False)
class People:
    """Pictures [N, S, S, 3] uint8, joints [N, 17, 3] metres, subjects [N] and actions [N]."""

    images: np.ndarray
    joints: np.ndarray
    subject: np.ndarray
    action: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def of(self, subjects: Sequence[int], others: bool = False) -> People:
        """Return the pictures of these subjects, or of all others."""
        rows = np.isin(self.subject, subjects) != others
        return People(self.images[rows], self.joints[rows], self.subject[rows], self.action[rows])


def load_people(path: Path, size: int = SIZE) -> People:
    """Read a file, and shrink its pictures to so many pixels a side.

    Raises:
        PeopleError: It is not there, no .npz file, or not as this module's head describes it.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("images", "joints", "subject", "action") if name in file}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise PeopleError(f"{path}: cannot be read as .npz ({error})") from None
    if missing := [name for name in ("images", "joints", "subject") if name not in arrays]:
        raise PeopleError(f"{path}: lacks {', '.join(missing)}")
    count = len(arrays["images"])
    wanted = {"images": (count, SIZE, SIZE, 3), "joints": (count, len(NAMES), 3), "subject": (count,)}
    arrays.setdefault("action", np.full(count, ""))
    for name, shape in {**wanted, "action": (count,)}.items():
        if arrays[name].shape != shape:
            raise PeopleError(f"{path}: {name} has shape {arrays[name].shape}, expected {shape}")
    if count == 0:
        raise PeopleError(f"{path}: holds no picture")
    if arrays["images"].dtype != np.uint8:
        raise PeopleError(f"{path}: images are {arrays['images'].dtype}, expected uint8")
    if not np.issubdtype(arrays["subject"].dtype, np.integer):
        raise PeopleError(f"{path}: subjects are {arrays['subject'].dtype}, expected integers")
    joints = arrays["joints"].astype(np.float32)
    if not np.isfinite(joints).all():
        raise PeopleError(f"{path}: joints hold a value that is not finite")
    if np.abs(joints[:, NAMES.index("pelvis")]).max() > 1e-3:
        raise PeopleError(f"{path}: joints must be relative to the pelvis, which is joint {NAMES.index('pelvis')}")
    if not 0.1 < (extent := float(np.abs(joints).max())) < 3:
        raise PeopleError(f"{path}: joints reach {extent:.3g} m from the pelvis; are they metres?")
    images = arrays["images"]
    if size != SIZE:
        images = np.stack([cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA) for image in images])
    return People(images, joints, arrays["subject"].astype(np.int64), arrays["action"].astype(str))


def crop_person(image: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """Cut a square picture [224, 224, 3] around a person out of an image [H, W, 3].

    The aspect ratio stays, which the kinematic model needs; where the square leaves the image, the border is repeated.

    Args:
        image: Any image. box: Left, top, right and bottom of the person, pixels.

    Raises:
        PeopleError: The box is empty.
    """
    left, top, right, bottom = box
    edge = max(right - left, bottom - top)
    if min(right - left, bottom - top) <= 0:
        raise PeopleError(f"the box {box} is empty; it must be left, top, right, bottom")
    scale = SIZE / edge
    corner = np.array([left + right - edge, top + bottom - edge]) / 2
    to_crop = np.concatenate([np.eye(2) * scale, (0.5 - (corner + 0.5 / scale) * scale)[:, None]], axis=1)
    return cv2.warpAffine(image, to_crop, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
