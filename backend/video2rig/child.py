# SPDX-License-Identifier: GPL-3.0-or-later
"""A program that is run for what it says: read as it comes, ended together with all that it started."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from .errors import Cancelled, Video2RigError

TERM_SECONDS = 3.0
"""Between asking a program to end and ending it."""

OUTPUT_SECONDS = 30.0
"""For a program that is asked for a line or two, as its version."""

NO_CONSOLE = 0x08000200 if sys.platform == "win32" else 0
"""CREATE_NO_WINDOW and CREATE_NEW_PROCESS_GROUP."""

FOREIGN = ("PYTHONHOME", "PYTHONPATH", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__", "VIRTUAL_ENV", "CONDA_PREFIX")
"""Of the program that asks, and wrong for another Python."""


class ChildError(Video2RigError):
    """A program could not be started."""


class Ended(NamedTuple):
    """How a program ended: its exit code and all that it said, on both streams."""

    code: int
    lines: list[str]


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without what belongs to its own Python, and with ``extra``."""
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    return kept | {"PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"} | dict(extra or {})


def run(
    command: Sequence[str | Path],
    *,
    folder: Path,
    environment: Mapping[str, str],
    line: Callable[[str], None] = lambda text: None,
    cancelled: threading.Event | None = None,
) -> Ended:
    """Run a program to its end.

    Args:
        command: The program and its arguments.
        folder: Its working folder.
        environment: All of its environment.
        line: Called on this thread with each line as it comes, both streams as one.
        cancelled: Once set, the program and all that it started are ended.

    Raises:
        ChildError: It cannot be started.
        Cancelled: ``cancelled`` was set; nothing of the program runs any more.
    """
    try:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            creationflags=NO_CONSOLE,
            start_new_session=True,  # a group of its own, so that it ends with its children
        )
    except OSError as error:
        raise ChildError(f"{command[0]} cannot be started: {error.strerror or error}") from error
    said: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(process, said), daemon=True).start()
    lines: list[str] = []
    try:
        while True:
            if cancelled is not None and cancelled.is_set():
                raise Cancelled("cancelled")
            try:
                text = said.get(timeout=0.1)
            except queue.Empty:
                continue
            if text is None:
                return Ended(process.wait(), lines)
            lines.append(text)
            line(text)
    except BaseException:
        end_tree(process)
        raise


def output(command: Sequence[str]) -> str:
    """Return what a program says on its standard output; "" where it cannot be run, fails or does not end in time."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=OUTPUT_SECONDS,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            creationflags=NO_CONSOLE,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def end_tree(process: subprocess.Popen[bytes]) -> None:
    """End a program that was started in a group of its own, and all that it started."""
    if sys.platform == "win32":
        subprocess.run(
            ["taskkill", "/T", "/F", "/PID", str(process.pid)], capture_output=True, creationflags=NO_CONSOLE
        )
        process.wait()
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        # the group outlives its leader for as long as a child of it runs
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(TERM_SECONDS)
    process.wait()


def _read(process: subprocess.Popen[bytes], said: queue.SimpleQueue[str | None]) -> None:
    assert process.stdout is not None
    with process.stdout as stream:
        for raw in stream:
            said.put(raw.decode("utf-8", "replace").rstrip())
    said.put(None)
