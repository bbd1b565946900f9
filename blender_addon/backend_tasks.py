# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done to a backend, as tasks for a worker: install, remove, ask the doctor, test a remote one."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path

import bpy

from . import backend_state, job, preferences, worker
from .backend_state import BackendError
from .core import __version__, child, installation, installer
from .core.greeting import probe
from .core.install_request import Progress, Request
from .core.launcher import find_backend_command


def request_of(chosen: preferences.VIDEO2RIG_preferences, offline: str = "") -> Request:
    """Return what the preferences ask to be installed.

    Args:
        chosen: The preferences. offline: A bundle that takes precedence over theirs.

    Raises:
        BackendError: A video is being solved, or the network is needed while Blender is set to stay offline.
    """
    check_idle()
    named = offline or chosen.bundle
    if not named:
        check_online()
    return Request(
        backend_state.wheel(),
        device=chosen.install_device,
        bundle=Path(bpy.path.abspath(named)) if named else None,
        index=chosen.package_index.strip(),
        python=bpy.path.abspath(chosen.python) if chosen.python else "",
        blender_python=sys.executable,
    )


def check_idle() -> None:
    """Leave a backend that works alone.

    Raises:
        BackendError: A video is being solved.
    """
    if job.current is not None:
        raise BackendError("a video is being solved; wait for it, or cancel it")


def check_online() -> None:
    """Respect Blender's choice to stay offline.

    Raises:
        BackendError: It is set to stay offline.
    """
    if not bpy.app.online_access:
        raise BackendError(
            "the installation downloads packages, and Blender is set to stay offline; allow online access under "
            "Preferences > System > Network (or start Blender with --online-mode), or install from an offline bundle"
        )


def install(request: Request) -> worker.Task:
    """Return the task that installs the backend."""

    def task(report: Callable[[Progress], None], cancelled: threading.Event) -> list[str]:
        job.stop_server()  # an old backend's server would go on answering
        done = installer.install(request, report, cancelled)
        return [
            f"Installed {done.version} ({done.bytes / 1e9:.1f} GB) in {done.root}",
            f"{done.computes[:1].upper()}{done.computes[1:]}",
            f"Python {done.python}; packages from {done.source}",
            *(f"Note: {note}" for note in done.notes),
        ]

    return task


def remove() -> worker.Task:
    """Return the task that removes what was installed."""

    def task(report: Callable[[Progress], None], cancelled: threading.Event) -> list[str]:
        report(Progress("Removing", 0.5, ""))
        job.stop_server()
        left = installation.remove()
        return ["Removed", *(f"Not ours, left alone: {path}" for path in left)]

    return task


def ask_doctor(wanted: preferences.Wanted) -> worker.Task:
    """Return the task that asks how everything is: Blender's side, and `video2rig doctor` or the remote server."""

    def task(report: Callable[[Progress], None], cancelled: threading.Event) -> list[str]:
        report(Progress("Asking the doctor", 0.5, ""))
        lines = blender_lines()
        if wanted.remote is not None:
            return [*lines, *connection_lines(wanted)]
        program = find_backend_command(wanted.command)
        ended = child.run(
            [*program, "doctor"], folder=Path.home(), environment=child.clean_environment(), cancelled=cancelled
        )
        return [*lines, f"command     {' '.join(program)}", *ended.lines]

    return task


def test_connection(wanted: preferences.Wanted) -> worker.Task:
    """Return the task that asks a remote server who it is."""

    def task(report: Callable[[Progress], None], cancelled: threading.Event) -> list[str]:
        report(Progress("Connecting", 0.5, ""))
        return connection_lines(wanted)

    return task


def blender_lines() -> list[str]:
    """Return what Blender's side consists of."""
    import cv2
    import zmq

    python = ".".join(map(str, sys.version_info[:3]))
    online = "allowed" if bpy.app.online_access else "off; a backend on this computer works all the same"
    return [
        f"add-on      {__version__}, Blender {bpy.app.version_string}, Python {python}, "
        f"pyzmq {zmq.__version__}, OpenCV {cv2.__version__}",
        f"online      {online}",
    ]


def connection_lines(wanted: preferences.Wanted) -> list[str]:
    """Return who answers at a remote connection.

    Raises:
        Video2RigError: Nobody does, it refuses this key, or speaks another version.
    """
    assert wanted.remote is not None
    welcome = probe(wanted.remote)
    lines = [
        f"The server at {wanted.remote.control_endpoint} answers in {welcome.latency * 1000:.1f} ms",
        f"Version {welcome.package}, {welcome.device}, {welcome.sessions} sessions",
    ]
    if welcome.package != __version__:
        lines.append(f"Note: the add-on is {__version__}; install the same version on both sides")
    return lines
