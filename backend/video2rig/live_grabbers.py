# SPDX-License-Identifier: GPL-3.0-or-later
"""Cameras, streams, files and screens, each as pictures with the moments at which they were taken."""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import cv2
import numpy as np

from .errors import Video2RigError
from .frames import open_video

SCREEN_RATE = 30.0
"""Pictures of the screen a second, at most."""

_OPEN_MILLISECONDS = 10_000
_MISSED = 30
"""Pictures that a camera may fail to give in a row before it counts as gone."""

Taken = tuple[float, np.ndarray]
"""Monotonic seconds, and [H, W, 3] RGB, uint8."""


class GrabError(Video2RigError):
    """A source that cannot be opened, or no longer read."""


class Grabber(ABC):
    """A source, opened while it is used as a context manager; all on one thread.

    Attributes:
        name: What it is. hint: What may be wrong where no picture comes.
        wanted: Set once pictures are wanted beyond the first; files wait for it.
    """

    hint = "is it in use by another program?"

    def __init__(self, name: str) -> None:
        self.name = name
        self.wanted = threading.Event()

    def __enter__(self) -> Self:
        return self

    @abstractmethod
    def __exit__(self, *details: object) -> None:
        """Close it."""

    @abstractmethod
    def pictures(self, stopped: Callable[[], bool]) -> Iterator[Taken]:
        """Yield pictures until the end, or until `stopped` returns true.

        Raises:
            Video2RigError: It cannot be read, or no longer.
        """


class CameraGrabber(Grabber):
    """A camera by its number, or a stream by its address."""

    def __init__(self, which: int | str) -> None:
        super().__init__(f"camera {which}" if isinstance(which, int) else without_secrets(which))
        self._which = which
        self._capture: Any = None
        if isinstance(which, int):
            self.hint = "another program may use it, or this one may not be allowed to"
        else:
            self.hint = "does the stream run, and is its address right?"

    def __enter__(self) -> Self:
        level = cv2.getLogLevel()
        cv2.setLogLevel(0)  # its complaints become an error of ours
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        try:
            if isinstance(self._which, int):
                self._capture = cv2.VideoCapture(self._which)
                self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # old pictures help nobody; not all drivers heed it
            else:
                wait = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _OPEN_MILLISECONDS]
                wait += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, _OPEN_MILLISECONDS]
                self._capture = cv2.VideoCapture(self._which, cv2.CAP_FFMPEG, wait)
        finally:
            cv2.setLogLevel(level)
        if not self._capture.isOpened():
            self._capture.release()
            raise GrabError(f"{self.name}: cannot be opened; {self._why()}")
        return self

    def _why(self) -> str:
        if isinstance(self._which, int) and sys.platform == "linux":
            there = sorted(Path("/dev").glob("video[0-9]*"), key=lambda path: int(path.name[5:]))
            if Path(f"/dev/video{self._which}") not in there:
                names = ", ".join(path.name[5:] for path in there)
                return f"there is no such camera; there are {names}" if names else "this computer has no camera"
        return self.hint

    def __exit__(self, *details: object) -> None:
        """Let go of it."""
        self._capture.release()

    def pictures(self, stopped: Callable[[], bool]) -> Iterator[Taken]:
        """See :meth:`Grabber.pictures`."""
        missed = 0
        while not stopped():
            grabbed = self._capture.grab()
            taken = time.monotonic()
            good, image = self._capture.retrieve() if grabbed else (False, None)
            if good and image is not None and image.size:
                missed = 0
                yield taken, cv2.cvtColor(image, cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB)
                continue
            missed += 1
            if missed >= _MISSED:
                raise GrabError(f"{self.name}: gives no pictures (any more); {self.hint}")
            time.sleep(0.01)


class FileGrabber(Grabber):
    """A video file or a folder of pictures, at its own pace, as if it were a camera; once."""

    hint = "it has no frames"

    def __init__(self, path: str) -> None:
        super().__init__(Path(path).name)
        self._path = path

    def __exit__(self, *details: object) -> None:
        """Nothing: the file is closed with its last frame."""

    def pictures(self, stopped: Callable[[], bool]) -> Iterator[Taken]:
        """See :meth:`Grabber.pictures`; what cannot be decoded in time is left out."""
        source = open_video(self._path)
        began = time.monotonic()
        for frame in source.frames():
            if frame.index == 0:
                yield began, frame.image
                while not stopped() and not self.wanted.wait(0.05):
                    pass
                began = time.monotonic()
            due = began + frame.time
            while not stopped() and (early := due - time.monotonic()) > 0:
                time.sleep(min(early, 0.1))
            if stopped():
                return
            if time.monotonic() - due < 1.0 / source.info.fps:
                yield due, frame.image


class ScreenGrabber(Grabber):
    """A screen, or a part of all screens."""

    hint = "the screen cannot be read"

    def __init__(self, where: int | tuple[int, int, int, int]) -> None:
        """where: A screen's number from 1, or left, top, width, height in pixels of the whole desktop."""
        super().__init__(f"screen {where}" if isinstance(where, int) else "screen " + ",".join(map(str, where)))
        self._where = where
        self._screens: Any = None
        self._region: Any = None

    def __enter__(self) -> Self:
        try:
            mss = importlib.import_module("mss")  # not in every environment
        except ImportError:
            raise GrabError(f"{self.name}: the package mss is not installed; run `pip install mss`") from None
        try:
            self._screens = mss.MSS()
            monitors = self._screens.monitors[1:]
        except Exception as error:
            # its errors differ from system to system: no display, a Wayland session, no permission
            raise GrabError(f"{self.name}: cannot be read ({error})") from error
        if isinstance(self._where, int):
            if not 1 <= self._where <= len(monitors):
                self._screens.close()
                raise GrabError(f"{self.name}: there is no such screen; there are 1 to {len(monitors)}")
            self._region = monitors[self._where - 1]
        else:
            self._region = dict(zip(("left", "top", "width", "height"), self._where, strict=True))
        return self

    def __exit__(self, *details: object) -> None:
        """Let go of it."""
        self._screens.close()

    def pictures(self, stopped: Callable[[], bool]) -> Iterator[Taken]:
        """See :meth:`Grabber.pictures`."""
        due = time.monotonic()
        while not stopped():
            time.sleep(max(0.0, due - time.monotonic()))
            taken = time.monotonic()
            try:
                shot = self._screens.grab(self._region)
            except Exception as error:
                raise GrabError(f"{self.name}: cannot be read ({error})") from error
            due = max(due + 1.0 / SCREEN_RATE, taken)
            yield taken, cv2.cvtColor(np.asarray(shot), cv2.COLOR_BGRA2RGB)


def grabber_of(text: str) -> Grabber:
    """Return the grabber that a text names; see `live_source.open_live`.

    Raises:
        GrabError: It names none.
    """
    text = text.strip()
    if not text:
        raise GrabError("no live source was named: a camera's number, 'screen', a stream's address or a video")
    if text.isdecimal() and len(text) <= 3:
        return CameraGrabber(int(text))
    kind, _, where = text.partition(":")
    if kind == "screen":
        return ScreenGrabber(_screen(where))
    if is_address(text):
        return CameraGrabber(text)
    return FileGrabber(text)


def is_address(text: str) -> bool:
    """Tell whether a text is the address of a stream."""
    return "://" in text


def host_of(text: str) -> str:
    """Return the host of a stream's address."""
    return urlsplit(text).hostname or ""


def without_secrets(address: str) -> str:
    """Return a stream's address without user, password and query, which do not belong into takes and messages."""
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _screen(where: str) -> int | tuple[int, int, int, int]:
    numbers = where.split(",") if where else ["1"]
    try:
        found = [int(number) for number in numbers]
    except ValueError:
        found = []
    if len(found) == 1 and found[0] >= 1:
        return found[0]
    if len(found) == 4 and min(found[2:]) >= 1:
        return found[0], found[1], found[2], found[3]
    raise GrabError(f"'screen:{where}' names no screen; write screen, screen:2 or screen:LEFT,TOP,WIDTH,HEIGHT")
