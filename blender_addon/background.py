# SPDX-License-Identifier: GPL-3.0-or-later
"""Something that runs on a thread of its own, which touches nothing of Blender."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod


class Background(ABC):
    """Work that is started, may be cancelled, and ends; what it does stands in `_work`."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._work, name="video2rig", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def cancel(self) -> None:
        """Ask it to end; :meth:`done` tells when it has."""
        self._cancelled.set()

    @property
    def cancelling(self) -> bool:
        """Whether :meth:`cancel` was called."""
        return self._cancelled.is_set()

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return not self._thread.is_alive()

    def wait(self, seconds: float) -> bool:
        """Wait for its end, at most so long; return :attr:`done`."""
        self._thread.join(seconds)
        return self.done

    @abstractmethod
    def _work(self) -> None:
        """Run to the end, on the thread."""
