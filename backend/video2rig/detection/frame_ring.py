# SPDX-License-Identifier: GPL-3.0-or-later
"""The last frames of a stream: as many as may still be looked at."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .detector import People

Look = Callable[[Tensor, Tensor, Tensor], People]
"""As `CropDetector.look`: images [B,H,W,3], circles [R,4] px, frame [R]."""


class FrameRing:
    """Frames by their number in the stream, on the detector's device; the oldest give way to new ones.

    Attributes:
        pushed: How many frames came in so far.
    """

    def __init__(self, length: int, shape: tuple[int, ...], device: torch.device) -> None:
        """Make room for so many frames of a shape [H,W,3], uint8."""
        self._images = torch.empty((length, *shape), dtype=torch.uint8, device=device)
        self.pushed = 0

    def __len__(self) -> int:
        return len(self._images)

    def push(self, images: np.ndarray) -> None:
        """Take the next frames [B,H,W,3], no more than there is room for."""
        while len(images):
            slot = self.pushed % len(self)
            part, images = images[: len(self) - slot], images[len(self) - slot :]
            self._images[slot : slot + len(part)] = torch.from_numpy(np.ascontiguousarray(part)).to(self._images.device)
            self.pushed += len(part)

    def images(self, frames: list[int]) -> Tensor:
        """[B,H,W,3] uint8 of the frames of these numbers."""
        return self._images[self._slots(np.array(frames, int))]

    def look(self, look: Look, frames: np.ndarray, circles: np.ndarray) -> People:
        """What stands in circles [R,4] px of the frames [R] of these numbers."""
        return look(self._images, torch.from_numpy(circles).to(self._images.device), self._slots(frames))

    def _slots(self, frames: np.ndarray) -> Tensor:
        return torch.from_numpy(frames % len(self)).to(self._images.device)
