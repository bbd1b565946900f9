# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is who: pictures of a video in which everyone is boxed and numbered once at least."""

from __future__ import annotations

import math
from collections.abc import Mapping

import cv2
import numpy as np

from .frames import VideoError, VideoSource
from .keypoints import Keypoints
from .presence import boxes, clarity
from .stillness import stillness

_CLEAR = 0.6
"""A frame that shows a person this well, against the one that does best, is good enough."""

_LARGEST = 960
"""Pixels of a picture's longer side."""

_TORSO = ("left_shoulder", "right_shoulder", "left_hip", "right_hip")
_COLOURS = ((242, 115, 33), (46, 160, 67), (59, 113, 235), (219, 61, 184), (214, 168, 0), (0, 168, 179))  # RGB


def telling_frames(people: Mapping[int, Keypoints]) -> list[int]:
    """Return few frames that show everyone well, in order.

    Args:
        people: By number; of the same T frames.
    """
    shown = np.array([clarity(keypoints) for keypoints in people.values()])
    shown /= shown.max(axis=1, keepdims=True)
    chosen: list[int] = []
    missing = np.ones(len(shown), dtype=bool)
    while missing.any():
        frame = int(np.where(shown[missing] >= _CLEAR, shown[missing], 0.0).sum(axis=0).argmax())
        chosen.append(frame)
        missing &= shown[:, frame] < _CLEAR
    return sorted(chosen)


def point_on(keypoints: Keypoints, frame: int) -> tuple[float, float]:
    """Return a point on a person in a frame that shows them, (x, y) in pixels: the middle of the torso, or of what was
    seen of it, or else of the person."""
    names = [keypoints.names.index(name) for name in _TORSO]
    seen = keypoints.confidence[frame] > 0
    torso = [k for k in names if seen[k]] or np.flatnonzero(seen).tolist()
    x, y = np.median(keypoints.positions[frame, torso], axis=0)
    return float(x), float(y)


def contact_sheet(source: VideoSource, people: Mapping[int, Keypoints], chosen: list[int]) -> np.ndarray:
    """Return the chosen frames side by side, [H, W, 3] RGB, uint8, with a numbered box around everyone;
    who hardly moves, as a picture or a statue, is marked as still.

    Args:
        people: By number. chosen: Frames in order, as of :func:`telling_frames`.

    Raises:
        VideoError: The video no longer has such a frame.
    """
    frames = iter(source.frames())
    names = {number: f"{number} still" if stillness(seen) else f"{number}" for number, seen in people.items()}
    pictures = []
    for index in chosen:
        frame = next((frame for frame in frames if frame.index == index), None)
        if frame is None:
            raise VideoError(f"{source.info.path}: frame {index} is no longer there")
        pictures.append(_picture(frame.image, frame.time, index, people, names))
    columns = math.ceil(math.sqrt(len(pictures)))
    empty = [np.full_like(pictures[0], 24)] * (-len(pictures) % columns)
    cells = pictures + empty
    return np.vstack([np.hstack(cells[row : row + columns]) for row in range(0, len(cells), columns)])


def _picture(
    image: np.ndarray, time: float, index: int, people: Mapping[int, Keypoints], names: Mapping[int, str]
) -> np.ndarray:
    height, width = image.shape[:2]
    scale = _LARGEST / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    taken: list[tuple[int, int, int, int]] = []
    for number, keypoints in people.items():
        box = boxes(keypoints)[index]
        if not np.isfinite(box).all():
            continue
        edge = np.array([*size, *size]) - 1  # keypoints may lie outside of the picture
        left, top, right, bottom = np.clip(np.round((box + 0.5) * scale - 0.5), 0, edge).astype(int).tolist()
        colour = _COLOURS[(number - 1) % len(_COLOURS)]
        cv2.rectangle(image, (left, top), (right, bottom), colour, 2, cv2.LINE_AA)
        # beside the edge of the picture the label stays inside
        taken.append(_label(image, names[number], (left, max(top, 26)), colour, taken))
    _label(image, f"{time:.2f} s", (0, size[1]), (40, 40, 40), taken)
    return image


def _label(
    image: np.ndarray,
    text: str,
    corner: tuple[int, int],
    colour: tuple[int, int, int],
    taken: list[tuple[int, int, int, int]],
) -> tuple[int, int, int, int]:
    """Write a text on a plate whose lower left corner is given, or to the right of those that are there; return the
    plate: left, top, right, bottom."""
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.7, 2)
    x, y = corner
    for left, top, right, bottom in sorted(taken):
        if left < x + width + 10 and x < right and top < y and y - height - 10 < bottom:
            x = right
    cv2.rectangle(image, (x, y - height - 10), (x + width + 10, y), colour, -1)
    cv2.putText(image, text, (x + 5, y - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 255), 2, cv2.LINE_AA)
    return x, y - height - 10, x + width + 10, y
