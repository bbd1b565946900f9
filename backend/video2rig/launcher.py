# SPDX-License-Identifier: GPL-3.0-or-later
"""The server of this computer: found through its connection file, started where there is none, stopped if started."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import IO

from .child import FOREIGN, NO_CONSOLE
from .connection import ENVIRONMENT, Connection, ConnectionFileError, default_path
from .errors import Video2RigError
from .greeting import probe
from .installation import find_installed
from .link import ServerError, Unreachable
from .parent import is_running

COMMAND = "VIDEO2RIG_COMMAND"
START_SECONDS = 90.0
"""For a server to answer after its start; the first import of torch from a slow disk takes most of it."""
STOP_SECONDS = 5.0


class LaunchError(Video2RigError):
    """The backend's program is absent, or its server does not start."""


def find_backend_command(explicit: str | None = None) -> list[str]:
    """Return the command that runs the backend: the one named, $VIDEO2RIG_COMMAND, the one installed, that on the PATH.

    Args:
        explicit: Path of the program; None or "" where the user named none.

    Raises:
        LaunchError: There is no such program, or the installed one is broken.
        InstallationError: What is installed cannot be told.
    """
    named = explicit or os.environ.get(COMMAND)
    if named:
        found = shutil.which(os.path.expanduser(named))
        if found is None:
            origin = "the backend command" if explicit else f"${COMMAND}"
            raise LaunchError(f"{origin} {named!r} is not a program that can be run; name the `video2rig` of its venv")
        return [found]
    if installed := find_installed():
        if installed.problem:
            raise LaunchError(f"the installed backend is broken: {installed.problem}")
        return [str(installed.program)]
    found = shutil.which("video2rig")
    if found is None:
        raise LaunchError(
            "the backend is not installed, or not on the PATH: there is no program `video2rig`; press Install Backend "
            f"in the add-on's preferences, or name the program there or in ${COMMAND}"
        )
    return [found]


class LocalServer:
    """The user's own server: another's that already runs, or one that this object starts and stops."""

    def __init__(
        self, command: list[str], connection_path: str | Path | None = None, start_seconds: float = START_SECONDS
    ) -> None:
        """Start nothing yet.

        Args:
            command: What :func:`find_backend_command` returned.
            connection_path: Where the connection file is; None takes the user's runtime folder.
            start_seconds: How long a start may take.
        """
        self._command = command
        self._path = connection_path
        self._start_seconds = start_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._log: Path | None = None
        self._lock = threading.Lock()

    @property
    def started(self) -> bool:
        """Whether a server that this object started runs."""
        return self._process is not None and self._process.poll() is None

    def ensure(self) -> Connection:
        """Return a server that answers, starting one if there is none.

        Raises:
            LaunchError: It does not start (the message holds the last line of its log), or one runs that speaks another
                version.
        """
        with self._lock:
            path = default_path(create=True) if self._path is None else Path(self._path)
            return self._answering(path) or self._start(path)

    def stop(self) -> None:
        """End the server if this object started it."""
        with self._lock:
            process, self._process = self._process, None
            if process is not None:
                _end(process)
            if self._log is not None:
                with contextlib.suppress(OSError):
                    self._log.unlink(missing_ok=True)

    def _answering(self, path: Path) -> Connection | None:
        try:
            connection = Connection.load(path)
        except ConnectionFileError:
            return None
        try:
            probe(connection)
        except Unreachable:
            return None
        except ServerError as error:
            if not is_running(connection.pid):
                return None  # what an older version left behind
            raise LaunchError(f"{error}; or end the server that runs now (process {connection.pid})") from error
        return connection

    def _start(self, path: Path) -> Connection:
        if self._process is not None:
            _end(self._process)  # it does not answer
        self._log = log_path = path.with_name(f"server-{os.getpid()}.log")
        environment = {name: value for name, value in os.environ.items() if name not in FOREIGN}
        environment[ENVIRONMENT] = str(path)
        command = [*self._command, "serve", "--parent-pid", str(os.getpid())]
        try:
            with _private_log(log_path) as log:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    creationflags=NO_CONSOLE,
                    start_new_session=True,  # Ctrl-C in the terminal is for the program that asked
                )
        except OSError as error:
            raise LaunchError(f"{' '.join(command)}: {error.strerror or error}") from error
        self._process = process
        deadline = time.monotonic() + self._start_seconds
        while time.monotonic() < deadline:
            ended = process.poll()
            if connection := self._answering(path):
                return connection
            if ended is not None:
                raise LaunchError(f"the server ended at its start (code {ended}): {_last_line(log_path)}")
            time.sleep(0.05)
        _end(process)
        raise LaunchError(f"the server did not answer within {self._start_seconds:g} s: {_last_line(log_path)}")


def _private_log(path: Path) -> IO[bytes]:
    try:
        path.unlink(missing_ok=True)
        return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except OSError as error:
        raise LaunchError(
            f"nothing can be written to {path.parent}, where the connection file lies: {error.strerror or error}; "
            f"${ENVIRONMENT} names another file"
        ) from error


def _last_line(path: Path) -> str:
    with contextlib.suppress(OSError):
        lines = path.read_text("utf-8", "replace").strip().splitlines()
        if lines:
            return f"{lines[-1][:500]} (log: {path})"
    return f"its log {path} is empty"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
