# SPDX-License-Identifier: GPL-3.0-or-later
"""What commands tell on a terminal while they work: lines, and lines that are written anew."""

from __future__ import annotations

import json
import math
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..live.recorded import Glance


def say(text: str) -> None:
    """Tell the user a line, on standard error."""
    print(f"video2rig: {text}", file=sys.stderr)


class ProgressLine:
    """Progress on a terminal, or as JSON lines."""

    def __init__(self, as_json: bool) -> None:
        """Tell nothing yet; with `as_json`, one object a line on standard output, else a line on standard error."""
        self._as_json = as_json
        self._stage = ""
        self._begin = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Tell that so many frames of a stage are done."""
        now = time.monotonic()
        if stage != self._stage:
            if self._stage and not self._as_json:
                print(file=sys.stderr)
            self._stage, self._begin = stage, now
        rate = done / (now - self._begin) if now > self._begin else 0.0
        if self._as_json:
            print(json.dumps({"stage": stage, "done": done, "total": total, "fps": round(rate, 2)}), flush=True)
        else:
            print(f"\r{stage}: {done}/{total} frames, {rate:.1f} frames/s   ", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the line, so that what follows begins one."""
        if self._stage and not self._as_json:
            print(file=sys.stderr)


class GlanceLine:
    """A line on a terminal that is written anew, at most a few times a second."""

    def __init__(self) -> None:
        self._told = -math.inf

    def __call__(self, now: Glance) -> None:
        """Tell how far the recording is."""
        if time.monotonic() - self._told < 0.2:
            return
        self._told = time.monotonic()
        rate = (now.frames - 1) / now.seconds if now.seconds > 0 else 0.0
        who = "" if now.seen else ", nobody in view"
        text = f"{now.seconds:.1f} s, {rate:.1f} frames/s of {now.taken} pictures, {1e3 * now.latency:.0f} ms behind"
        print(f"\rlive: {text}{who}          ", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the line."""
        if self._told > -math.inf:
            print(file=sys.stderr)
