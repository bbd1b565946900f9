# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames of a video file or of a folder of pictures, as displayed: upright, square pixels, RGB, at their own times.

Memory stays flat: one frame is held at a time. Frame indexes are exact, because a later start reads forward.
"""

from __future__ import annotations

import logging
import math
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from .errors import Video2RigError

log = logging.getLogger(__name__)

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})
WITH_ALPHA = frozenset({".png", ".tif", ".tiff", ".webp"})
DEFAULT_RATE = 30.0
"""Frames a second of pictures, and of streams that tell neither a rate nor times."""
PLAUSIBLE_RATE = 121.0
"""Above, a rate may be the ticks of the clock that a variable frame rate is written in, so it is measured."""
RATE_FRAMES = 60
"""Frames that a rate is measured over."""
BACKGROUND = 128
"""Grey that shows through transparent pixels."""


class VideoError(Video2RigError):
    """A video that is absent, is none, or has no frames."""


@dataclass(frozen=True)
class VideoInfo:
    """Facts about a video.

    Attributes:
        path: The file or folder.
        width, height: Size as displayed: rotation and pixel shape applied.
        fps: Average frames a second.
        frame_count: The container's estimate; 0 where it has none.
        duration: Seconds, from the same estimate.
    """

    path: Path
    width: int
    height: int
    fps: float
    frame_count: int
    duration: float

    def facts(self) -> dict[str, Any]:
        """Return what a backend is told of the video, as plain JSON values: everything but where it lies."""
        return {
            "name": self.path.name,
            "width": self.width,
            "height": self.height,
            "fps": self.fps,
            "frame_count": self.frame_count,
            "duration": self.duration,
        }


class Frame(NamedTuple):
    """One frame: its number, its time in seconds from the first frame, and its [H, W, 3] RGB picture, uint8."""

    index: int  # pyright: ignore[reportIncompatibleMethodOverride]
    time: float
    image: np.ndarray


class VideoSource(ABC):
    """A video that can be read any number of times.

    Attributes:
        info: Facts about it.
        notices: What the user should know about the last reading, one line each: times that were made up, an end
            that came early. Filled while frames are read.
    """

    def __init__(self, info: VideoInfo) -> None:
        self.info = info
        self.notices: list[str] = []

    @abstractmethod
    def frames(self, start: int = 0) -> Generator[Frame, None, None]:
        """Yield the frames in order, from the one with index ``start``; ends at the last readable one.

        Raises:
            VideoError: The video can no longer be read.
        """

    def _notice(self, text: str) -> None:
        line = f"{self.info.path.name}: {text}"
        log.warning(line)
        self.notices.append(line)


class VideoFile(VideoSource):
    """A video in a file that ffmpeg, as OpenCV carries it, can read."""

    def __init__(self, path: Path) -> None:
        with _capture(path) as capture:
            first = _next(capture)
            if first is None:
                raise VideoError(f"{path}: has no frame that can be read")
            height, width = first.shape[:2]
            fps, frames = _rate_and_count(capture)
        super().__init__(VideoInfo(path, width, height, fps, frames, frames / fps))

    def frames(self, start: int = 0) -> Generator[Frame, None, None]:
        """See :meth:`VideoSource.frames`."""
        self.notices.clear()
        info, index = self.info, -1
        with _capture(info.path) as capture:
            clock = _Clock(info.fps)
            while capture.grab():
                index += 1
                time = clock.tick(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0)
                if index < start:
                    continue
                image = _retrieve(capture)
                if image is None:
                    break
                if image.shape[:2] != (info.height, info.width):
                    raise VideoError(
                        f"{info.path}: frame {index} has {image.shape[1]}x{image.shape[0]} pixels, the first one "
                        f"{info.width}x{info.height}; re-encode the video at one size"
                    )
                yield Frame(index, time, image)
            read = index + 1
        if read == 0:
            raise VideoError(f"{info.path}: has no frame that can be read")
        if clock.trouble:
            self._notice(clock.trouble)
        # containers estimate the count, or the duration behind it, but hardly both wrongly
        missing, silent = info.frame_count - read, info.duration - (clock.now + 1 / info.fps)
        if missing > 2 + 0.01 * info.frame_count and silent > 2 / info.fps + 0.01 * info.duration:
            self._notice(
                f"ends early: {read} of about {info.frame_count} frames could be read; the file may be truncated"
            )


class PictureFolder(VideoSource):
    """A folder of pictures of one size, in the natural order of their names, at a fixed rate."""

    def __init__(self, path: Path, fps: float | None) -> None:
        self._assumed = fps is None
        fps = DEFAULT_RATE if fps is None else fps
        if not (math.isfinite(fps) and fps > 0):
            raise VideoError(f"{path}: {fps} frames a second; expected a positive number")
        self._files = sorted((file for file in path.iterdir() if _is_picture(file)), key=_natural)
        if not self._files:
            raise VideoError(f"{path}: the folder holds no pictures ({', '.join(sorted(PICTURES))})")
        height, width = _read_picture(self._files[0]).shape[:2]
        count = len(self._files)
        super().__init__(VideoInfo(path, width, height, fps, count, count / fps))

    def frames(self, start: int = 0) -> Generator[Frame, None, None]:
        """See :meth:`VideoSource.frames`."""
        self.notices.clear()
        if self._assumed:
            self._notice(f"pictures carry no times; {self.info.fps:g} frames a second were assumed")
        for index in range(start, len(self._files)):
            image = _read_picture(self._files[index])
            if image.shape[:2] != (self.info.height, self.info.width):
                raise VideoError(
                    f"{self._files[index]}: has {image.shape[1]}x{image.shape[0]} pixels, the first picture "
                    f"{self.info.width}x{self.info.height}"
                )
            yield Frame(index, index / self.info.fps, image)


def stream_rotation(path: Path) -> int:
    """Return how far a video's pictures must be turned to stand upright, degrees clockwise: 0, 90, 180 or 270.

    Frames of :class:`VideoSource` are turned already; this is for programs that read the file by themselves.
    """
    if path.is_dir():
        return 0
    with _capture(path) as capture:
        return int(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360


def open_video(path: str | Path, fps: float | None = None) -> VideoSource:
    """Open a video file, or a folder of pictures.

    Args:
        path: The file or folder.
        fps: Frames a second of a folder of pictures; None assumes `DEFAULT_RATE` and says so.

    Raises:
        VideoError: There is no such file, it is no video, or it has no frames.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return PictureFolder(path, fps)
        if not path.exists():
            raise VideoError(f"there is no file {path}")
        if not path.is_file():
            raise VideoError(f"{path}: is neither a file nor a folder")
        with open(path, "rb") as file:
            if not file.read(1):
                raise VideoError(f"{path}: the file is empty")
    except OSError as error:
        raise VideoError(f"{path}: cannot be read: {error.strerror or error}") from error
    if path.suffix.lower() in PICTURES:
        raise VideoError(f"{path}: is one picture, not a video; name its folder to read all pictures in it")
    return VideoFile(path)


class _Clock:
    """Times of frames from a stream's own time stamps, which must rise; what it had to make up is in `trouble`."""

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._origin = 0.0
        self._frames = 0
        self._mended = 0
        self._absent = False
        self.now = 0.0

    def tick(self, stamp: float) -> float:
        """Return the next frame's time for its stamp, both in seconds."""
        frame, self._frames = self._frames, self._frames + 1
        usable = abs(stamp) < 1e9  # false for NaN; a stream without stamps gives a constant
        if frame == 0:
            self._origin = stamp if usable else 0.0
            self._absent = not usable
            return self.now
        time = stamp - self._origin
        if frame == 1 and not (usable and time > 0):
            self._absent = True
        if self._absent:
            self.now = frame / self._fps
        elif usable and time > self.now:
            self.now = time
        else:
            self._mended += 1
            self.now += 0.5 / self._fps
        return self.now

    @property
    def trouble(self) -> str:
        """One line for the user, or ""."""
        if self._absent and self._frames > 1:
            return f"the stream carries no times; {self._fps:g} frames a second were assumed"
        if self._mended:
            return f"{self._mended} of {self._frames} frames carry times that do not rise; they were put in between"
        return ""


@contextmanager
def _capture(path: Path) -> Iterator[cv2.VideoCapture]:
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # its complaints become a VideoError of ours
    level = cv2.getLogLevel()
    cv2.setLogLevel(0)
    try:
        capture = cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG)
    finally:
        cv2.setLogLevel(level)
    try:
        if not capture.isOpened():
            raise VideoError(f"{path}: is not a video that can be read, or is damaged at its start")
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        yield capture
    finally:
        capture.release()


def _rate_and_count(capture: cv2.VideoCapture) -> tuple[float, int]:
    """Return the average frames a second of a stream at its first frame, and its estimated count of frames or 0."""
    rate, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
    rate = rate if 0 < rate < 1e6 else 0.0
    count = count if 0 < count < 1e9 else 0.0
    if 0 < rate <= PLAUSIBLE_RATE:
        return rate, int(count)
    began = now = capture.get(cv2.CAP_PROP_POS_MSEC)
    frames = 0
    while frames < RATE_FRAMES and capture.grab():
        now = capture.get(cv2.CAP_PROP_POS_MSEC)  # no time once the last frame is behind it
        frames += 1
    seconds = (now - began) / 1000.0
    measured = frames / seconds if 0 < seconds < 1e9 else 0.0
    if not 0 < measured < 10_000:
        return (rate if 0 < rate < 10_000 else DEFAULT_RATE), int(count)
    # the container's count is its duration at the nominal rate
    return measured, round(count / rate * measured) if rate else int(count)


def _next(capture: cv2.VideoCapture) -> np.ndarray | None:
    return _retrieve(capture) if capture.grab() else None


def _retrieve(capture: cv2.VideoCapture) -> np.ndarray | None:
    """The grabbed frame as displayed: upright, with square pixels."""
    good, image = capture.retrieve()
    if not good or image is None or not image.size:
        return None
    # OpenCV turns the picture but does not stretch it, and tells the pixel shape as stored
    aspect = capture.get(cv2.CAP_PROP_SAR_NUM) / (capture.get(cv2.CAP_PROP_SAR_DEN) or 1)
    if 0.1 < aspect < 10 and abs(aspect - 1) > 1e-3:
        height, width = image.shape[:2]
        turned = round(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 180 == 90
        size = (width, round(height * aspect)) if turned else (round(width * aspect), height)
        image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    return _rgb(image)


def _rgb(image: np.ndarray) -> np.ndarray:
    """[H, W], [H, W, 3] BGR or [H, W, 4] BGRA, 8 or 16 bits, as contiguous [H, W, 3] RGB, uint8."""
    if image.dtype == np.uint16:
        image = (image // 257).astype(np.uint8)
    if image.dtype != np.uint8:
        image = cv2.convertScaleAbs(image, alpha=255.0)
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    if image.shape[2] == 4:
        alpha = image[..., 3:].astype(np.uint16)
        blended = (image[..., 2::-1] * alpha + BACKGROUND * (255 - alpha) + 127) // 255
        return np.ascontiguousarray(blended, dtype=np.uint8)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURES and not path.name.startswith(".")


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(text), "") if text.isdecimal() else (-1, text) for text in re.split(r"(\d+)", path.name.lower())]


def _read_picture(path: Path) -> np.ndarray:
    # cv2.imread cannot open every name on Windows
    flags = cv2.IMREAD_UNCHANGED if path.suffix.lower() in WITH_ALPHA else cv2.IMREAD_COLOR
    try:
        data = np.fromfile(path, dtype=np.uint8)
        image = cv2.imdecode(data, flags) if data.size else None
    except OSError as error:
        raise VideoError(f"{path}: cannot be read: {error.strerror or error}") from error
    except cv2.error:
        image = None
    if image is None:
        raise VideoError(f"{path}: is not a picture that can be read, or is damaged")
    return _rgb(image)


def fitted(frame: Frame, longest: int) -> tuple[Frame, float]:
    """Return the frame shrunk so that no side is longer than so many pixels, and the source pixels for each of its."""
    height, width = frame.image.shape[:2]
    scale = max(height, width) / longest
    if scale <= 1.0:
        return frame, 1.0
    size = (max(1, round(width / scale)), max(1, round(height / scale)))
    return frame._replace(image=cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA)), scale
