# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an installation stands: told to whoever asked for it, and written into its log."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import IO

from .errors import Cancelled
from .install_request import Progress

PACKAGES = "Installing packages"
"""The stage in which uv's lines tell how far it is."""

PACKAGES_AT, WEIGHTS_AT = 0.15, 0.8
"""Where that stage begins and ends, of the whole."""


class InstallLog:
    """The stages of one installation and the lines of the programs at work.

    Attributes:
        stage: What is done now, in words.
    """

    def __init__(self, report: Callable[[Progress], None], cancelled: threading.Event, log: IO[str]) -> None:
        """Begin at nothing.

        Args:
            report: Called at each stage and with each line. cancelled: Once set, no stage is begun.
            log: Takes the same lines, each at once.
        """
        self._report, self._cancelled, self._log = report, cancelled, log
        self.stage, self._fraction = "Starting", 0.0
        self._sizes: dict[str, float] = {}  # MiB of what is being downloaded
        self._here: set[str] = set()

    def begin(self, stage: str, fraction: float) -> None:
        """Begin a stage, at a fraction of the whole.

        Raises:
            Cancelled: The installation was cancelled.
        """
        self.stage, self._fraction = stage, fraction
        self.say(f"== {stage}")
        if self._cancelled.is_set():
            raise Cancelled("cancelled")

    def say(self, text: str) -> None:
        """Tell a line."""
        if self.stage == PACKAGES:
            self._follow(text)
        self.write(text)
        self._report(Progress(self.stage, self._fraction, text))

    def write(self, text: str) -> None:
        """Write a line that only the log wants."""
        self._log.write(f"{text}\n")
        self._log.flush()

    def _follow(self, text: str) -> None:
        """Tell from uv's lines how much of the packages is here; the downloads count for nine tenths of it."""
        if found := re.fullmatch(r"\s*Downloading (\S+) \(([\d.]+)([KMG])iB\)", text):
            self._sizes[found[1]] = float(found[2]) * {"K": 1 / 1024, "M": 1.0, "G": 1024.0}[found[3]]
        elif found := re.fullmatch(r"\s*Downloaded (\S+)", text):
            self._here.add(found[1])
        part = sum(self._sizes.get(name, 0.0) for name in self._here) / (sum(self._sizes.values()) or 1.0)
        if text.startswith(("Prepared", "Installed")):
            part = 1.0
        self._fraction = max(self._fraction, PACKAGES_AT + 0.9 * part * (WEIGHTS_AT - PACKAGES_AT))
