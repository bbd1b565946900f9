# SPDX-License-Identifier: GPL-3.0-or-later
"""Where live pictures come from: a camera, the screen, a stream, or a video file at its own pace.

A thread takes the pictures, and only the newest is kept: who is slow misses some and never falls behind.
"""

from __future__ import annotations

import threading
from typing import NamedTuple, Self

import numpy as np

from .errors import Video2RigError
from .frames import Frame, fitted
from .live_grabbers import Grabber, grabber_of

LIVE_SIDE = 640
"""Longest side of a picture that travels, pixels: a person fills 256 of them for the detector."""

FIRST_SECONDS = 15.0
"""That the first picture may take."""


class Picture(NamedTuple):
    """One picture: its number, when it was taken (monotonic seconds), [H, W, 3] RGB, and source pixels for each of
    its."""

    number: int
    taken: float
    image: np.ndarray
    scale: float


class LiveError(Video2RigError):
    """A camera, screen or stream that is not there, is taken, or has ended too early."""


class LiveSource:
    """A running source of pictures; a context manager.

    Attributes:
        name: What it is, for the user and the take. width, height: Of its pictures, pixels.
    """

    def __init__(self, grabber: Grabber, side: int = LIVE_SIDE) -> None:
        """Begin, and wait for the first picture.

        Args:
            grabber: Takes the pictures. side: Longest side of what :meth:`newest` gives.

        Raises:
            LiveError: There is none, and why.
        """
        self.name = grabber.name
        self._grabber, self._side = grabber, side
        self._news = threading.Condition()
        self._picture: Picture | None = None
        self._error: Video2RigError | None = None
        self._taken = 0
        self._ended = self._closing = False
        self._thread = threading.Thread(target=self._work, name="live source", daemon=True)
        self._thread.start()
        with self._news:
            came = self._news.wait_for(lambda: self._picture is not None or self._ended, FIRST_SECONDS)
        first = self.newest()
        if not came or first is None:
            self.close()
            raise LiveError(f"{self.name}: gives no picture; {grabber.hint}")
        height, width = first.image.shape[:2]
        scale = first.scale
        self.width, self.height = round(width * scale), round(height * scale)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    @property
    def taken(self) -> int:
        """How many pictures were taken so far, those that nobody asked for among them."""
        return self._taken

    @property
    def ended(self) -> bool:
        """Whether no picture will follow."""
        return self._ended

    def begin(self) -> None:
        """Let a file play on from its first picture; cameras run anyway."""
        self._grabber.wanted.set()

    def newest(self, after: int = -1) -> Picture | None:
        """Return the newest picture if its number is higher than `after`.

        Raises:
            LiveError: The source failed.
        """
        with self._news:
            if self._error is not None:
                raise self._error
            picture = self._picture
        return picture if picture is not None and picture.number > after else None

    def close(self) -> None:
        """Stop; a camera that hangs is left to its thread."""
        self._closing = True
        self._thread.join(2.0)

    def _work(self) -> None:
        try:
            with self._grabber as grabber:
                for number, (taken, image) in enumerate(grabber.pictures(lambda: self._closing)):
                    if self._closing:
                        return
                    frame, scale = fitted(Frame(number, taken, image), self._side)
                    with self._news:
                        self._picture = Picture(number, taken, frame.image, scale)
                        self._taken = number + 1
                        self._news.notify_all()
        except Video2RigError as error:
            self._error = error
        except Exception as error:  # on a thread of its own it would be lost
            self._error = LiveError(f"{self.name}: failed ({type(error).__name__}: {error})")
        finally:
            with self._news:
                self._ended = True
                self._news.notify_all()


def open_live(text: str) -> LiveSource:
    """Open a source by the text that names it.

    Args:
        text: The number of a camera; ``screen``, ``screen:2`` (the second one), ``screen:LEFT,TOP,WIDTH,HEIGHT``; the
            address of a stream; or the path of a video.

    Raises:
        Video2RigError: It is not there, or gives no picture; the message says why.
    """
    return LiveSource(grabber_of(text))
