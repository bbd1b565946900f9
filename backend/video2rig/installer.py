# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend is installed into an environment of its own, outside Blender, and taken into use only when it is whole.

`uv` does the work. The backend itself comes from the wheel that the add-on brings, what it needs from the package
index or from an offline bundle. Pure standard library: it runs in Blender's Python and installs nothing into it.
"""

from __future__ import annotations

import json
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .bundle import Bundle, open_bundle
from .errors import Cancelled, Video2RigError
from .install_log import PACKAGES, PACKAGES_AT, WEIGHTS_AT, InstallLog
from .install_request import InstallError, Progress, Request
from .installation import (
    LOG,
    InstallationError,
    Installed,
    default_root,
    find_installed,
    folder_bytes,
    locked,
    program_of,
    python_of,
    remove_left_overs,
)
from .package_index import Indexes, configured
from .pythons import PYTHONS, find_python
from .torch_build import NEEDED_BYTES, build_of, check_device
from .uv_tools import Tools
from .verification import digest_of, doctor_report

FULL_BYTES = 200_000_000
"""A disk with less free space is full: then no downloads are kept for another try."""

WEIGHTS = "blazepose"
"""Fetched with the backend: those of the default detector."""


def install(
    request: Request,
    report: Callable[[Progress], None] = lambda progress: None,
    cancelled: threading.Event | None = None,
) -> Installed:
    """Install, update or repair the backend: a new environment beside the old one, which goes when the new one works.

    Raises:
        InstallError: It could not be; the message names the step, the reason and the log.
        InstallationError: The folder cannot be written, or someone else is at work in it.
        Cancelled: ``cancelled`` was set. In this case as in the others, nothing half-installed is left, and what was
            installed before works as it did.
    """
    root = default_root() if request.root is None else request.root
    cancelled = cancelled or threading.Event()
    with locked(root):
        remove_left_overs(root, _in_use(root))
        check_device(request.device)
        _check_space(root, request)
        try:
            with open(root / LOG, "w", encoding="utf-8") as file:
                return _Installer(request, root, cancelled, InstallLog(report, cancelled, file)).run()
        except OSError as error:
            raise InstallError(f"{error.filename or root}: {error.strerror or error}") from error
        finally:
            remove_left_overs(root, _in_use(root))
            if shutil.disk_usage(root).free < FULL_BYTES:
                shutil.rmtree(root / "cache", ignore_errors=True)  # else kept, so that the next try downloads less


def _in_use(root: Path) -> Installed | None:
    """Return what is installed; a record that cannot be read, which a repair is for, names nothing."""
    try:
        return find_installed(root)
    except InstallationError:
        return None


class _Installer:
    """One installation, step by step."""

    def __init__(self, request: Request, root: Path, cancelled: threading.Event, log: InstallLog) -> None:
        self._request = request
        self._root = root
        self._cancelled = cancelled
        self._log = log

    def run(self) -> Installed:
        try:
            return self._run()
        except Cancelled:
            self._log.say("cancelled")
            raise
        except Video2RigError as error:
            self._log.say(f"FAILED: {error}")
            raise InstallError(f"{self._log.stage}: {error} (log: {self._root / LOG})") from error

    def _run(self) -> Installed:
        request, root, log = self._request, self._root, self._log
        wheel_digest = digest_of(request.wheel)
        with self._opened() as opened:
            if opened and request.device == "cuda" and opened.device != "cuda":
                raise InstallError(
                    "a GPU was chosen, but the bundle has the CPU build of PyTorch; use one made for CUDA"
                )
            indexes = Indexes() if opened else configured(request.index)
            tools = Tools(root, indexes, log.say, self._cancelled, offline=opened is not None)
            log.begin("Getting the installer", 0.02)
            uv = tools.prepare(opened.uv if opened else None)
            log.begin("Looking for Python", 0.08)
            python = find_python(tools, request, opened.python if opened else PYTHONS)
            log.say(f"Python {python.version}, {python.origin}: {python.program}")
            log.begin("Making the environment", 0.12)
            environment = root / f"env-{secrets.token_hex(4)}"
            tools.run("venv", "--no-project", "--no-config", "--python", python.program, environment)
            log.begin(PACKAGES, PACKAGES_AT)
            where = ["--offline", "--no-index", "--find-links", opened.wheels] if opened else indexes.arguments()
            build = [] if opened else tools.torch_arguments(request.device)
            into = ["--python", python_of(environment), "--only-binary", ":all:"]
            # pip is what the backend fetches weights with
            tools.run("pip", "install", *into, *where, *build, request.wheel.absolute(), "pip")
            log.begin("Getting the weights", WEIGHTS_AT)
            notes = list(self._weights(tools, environment, opened, indexes))
            log.begin("Checking", 0.9)
            facts = doctor_report(program_of(environment), request.device, self._cancelled)
            log.write(json.dumps(facts, indent=2))
            if facts["problems"]:
                raise InstallError("; ".join(facts["problems"]))
            if build_of(request.device) == "cuda" and "GPU" not in facts["device"].partition(":")[0]:
                notes.append(f"there is an NVIDIA driver, but the backend is {facts['device']}")
            log.begin("Finishing", 0.98)
            installed = Installed(
                folder=environment.name,
                version=str(facts["version"]),
                wheel_sha256=wheel_digest,
                device=request.device,
                computes=facts["device"],
                python=f"{python.version}, {python.origin}",
                source=f"the offline bundle {request.bundle}" if opened else indexes.origin,
                bytes=folder_bytes(environment),
                notes=tuple(notes),
                root=root,
            )
            if self._cancelled.is_set():
                raise Cancelled("cancelled")
            installed.save()
            shutil.rmtree(root / "cache", ignore_errors=True)  # of use only to an installation that broke off
            log.say(f"installed {installed.version} with {uv}: {installed.computes}")
            log.begin("Installed", 1.0)
            return installed

    @contextmanager
    def _opened(self) -> Iterator[Bundle | None]:
        if self._request.bundle is None:
            yield None
            return
        self._log.begin("Opening the bundle", 0.01)
        scratch = self._root / f"unpacked-{secrets.token_hex(4)}"
        try:
            yield open_bundle(self._request.bundle, scratch, self._cancelled)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _weights(self, tools: Tools, environment: Path, opened: Bundle | None, indexes: Indexes) -> Iterator[str]:
        """Get the weights, their licence in the log; yield a note where that failed, since they can come later."""
        if opened is not None:
            target = environment / "share" / "video2rig"
            shutil.copytree(opened.weights, target, dirs_exist_ok=True)
        try:
            tools.program([program_of(environment), "fetch", WEIGHTS], indexes.pip_environment())
        except InstallError as error:
            yield f"the weights were not fetched, the first video will try again: {error}"


def _check_space(root: Path, request: Request) -> None:
    needed, free = NEEDED_BYTES[build_of(request.device)], shutil.disk_usage(root).free
    if free < needed:
        raise InstallError(
            f"the disk of {root} has {free / 1e9:.1f} GB free, and the installation needs {needed / 1e9:.1f} GB; make "
            "room, or name another folder in $VIDEO2RIG_BACKEND_FOLDER"
        )
