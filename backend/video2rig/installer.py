# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend is installed into an environment of its own, outside Blender, and taken into use only when it is whole.

`uv` does the work. The backend itself comes from the wheel that the add-on brings, what it needs from the package
index or from an offline bundle. Pure standard library: it runs in Blender's Python and installs nothing into it.
"""

from __future__ import annotations

import ctypes.util
import hashlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from . import bundle, child, package_index
from .connection import ENVIRONMENT as CONNECTION
from .errors import Cancelled, Video2RigError
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
from .settings import DEVICES

UV = "VIDEO2RIG_UV"
"""Environment variable that names a `uv` to use."""

OLDEST_UV = (0, 9)
PYTHONS = ">=3.11,<3.15"
MANAGED_PYTHON = "3.12"
"""Fetched by uv where the system has none that will do."""

NEEDED_BYTES = {"cpu": 2_500_000_000, "cuda": 9_000_000_000}
"""Free space that an installation asks for: downloads and environment together, with room."""

FULL_BYTES = 200_000_000
"""A disk with less free space is full: then no downloads are kept for another try."""

DOWNLOAD_SIZE = {"cpu": "0.4 GB", "cuda": "3 GB"}
"""What a user is told beforehand."""

WEIGHTS = "blazepose"

# nothing where it is a 32-bit one, for which there is no PyTorch
_TELL_VERSION = "import platform, struct; print(platform.python_version() if struct.calcsize('P') == 8 else '')"

_PACKAGES = "Installing packages"
_PACKAGES_AT, _WEIGHTS_AT = 0.15, 0.8  # of the whole

# of a user's shell, and aimed at another environment
_AIMED = (
    "UV_PYTHON",
    "UV_PROJECT",
    "UV_SYSTEM_PYTHON",
    "UV_TARGET",
    "UV_PREFIX",
    "UV_WORKING_DIR",
    "UV_NO_BUILD_ISOLATION",
)


class InstallError(Video2RigError):
    """The backend could not be installed; what was there before is as it was."""


class Progress(NamedTuple):
    """How far an installation is.

    Attributes:
        stage: What it does, in words.
        fraction: Of the whole, 0 to 1.
        line: What the program at work said last.
    """

    stage: str
    fraction: float
    line: str


@dataclass(frozen=True)
class Request:
    """What to install, and how.

    Attributes:
        wheel: The backend's own wheel.
        device: "cpu" or "cuda" for that build of torch, "auto" for a GPU build where there is an NVIDIA driver.
        bundle: An offline bundle (folder or zip); then the network is never used.
        index: Address of the package index; "" takes the one that the computer is set up with.
        python: The Python to make the environment from; "" finds one.
        blender_python: Blender's own, taken where there is no other.
        root: The backend's folder; None takes the default one.
    """

    wheel: Path
    device: str = "auto"
    bundle: Path | None = None
    index: str = ""
    python: str = ""
    blender_python: str = ""
    root: Path | None = None


class Python(NamedTuple):
    """A Python to make an environment from: its program, "3.12.4", and where it came from, in words."""

    program: str
    version: str
    origin: str


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
        try:
            before = find_installed(root)
        except InstallationError:
            before = None  # a record that cannot be read is what a repair is for
        remove_left_overs(root, before)
        check_device(request.device)
        _check_space(root, request)
        try:
            with open(root / LOG, "w", encoding="utf-8") as log:
                done = _Installer(request, root, report, cancelled, log).run()
        except OSError as error:
            raise InstallError(f"{error.filename or root}: {error.strerror or error}") from error
        finally:
            try:
                kept = find_installed(root)
            except InstallationError:
                kept = None
            remove_left_overs(root, kept)
            if shutil.disk_usage(root).free < FULL_BYTES:
                shutil.rmtree(root / "cache", ignore_errors=True)  # else kept, so that the next try downloads less
        return done


def check_device(device: str) -> None:
    """Find out before a long download whether what was chosen can be there at all.

    Raises:
        InstallError: There is no such device, no NVIDIA driver, or no PyTorch for this kind of computer.
    """
    if package_index.machine() == "macos-x64":
        raise InstallError("PyTorch is no longer made for Intel Macs; connect to a backend on another computer")
    if device not in DEVICES:
        raise InstallError(f"no device is called '{device}'; there are: {', '.join(DEVICES)}")
    if device == "cuda" and not has_nvidia_driver():
        raise InstallError(
            "a GPU was chosen, but no NVIDIA driver is installed on this computer; install the driver, or choose CPU"
            if sys.platform != "darwin"
            else "a GPU was chosen, but CUDA does not exist on macOS; choose CPU, or connect to a remote backend"
        )


def has_nvidia_driver() -> bool:
    """Whether this computer has an NVIDIA driver: its CUDA library, or its program."""
    if sys.platform == "win32":
        return bool(ctypes.util.find_library("nvcuda") or shutil.which("nvidia-smi"))
    if sys.platform == "darwin":
        return False
    return os.path.exists("/proc/driver/nvidia/version") or bool(shutil.which("nvidia-smi"))


def build_of(device: str) -> str:
    """Return which build of torch a choice means on this computer: "cpu" or "cuda"."""
    return "cuda" if device == "cuda" or (device == "auto" and has_nvidia_driver()) else "cpu"


def digest_of(wheel: Path) -> str:
    """Return the SHA-256 of the backend's wheel.

    Raises:
        InstallError: It cannot be read.
    """
    try:
        with wheel.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InstallError(f"the backend's wheel {wheel} cannot be read: {error.strerror or error}") from error


def version_of(wheel: Path) -> str:
    """Return the version that a wheel's name tells."""
    return wheel.name.split("-")[1]


def needs_update(installed: Installed, wheel: Path) -> bool:
    """Whether the installed backend is another than the one that the add-on brings."""
    return installed.wheel_sha256 != digest_of(wheel)


def doctor(program: Path, device: str, cancelled: threading.Event | None = None) -> dict[str, Any]:
    """Run `video2rig doctor --json` and return its report, of all but a running server.

    Raises:
        InstallError: It does not run, or says no report.
        Cancelled: ``cancelled`` was set.
    """
    command = [program, "doctor", "--json", "--device", device]
    # whether a server of another version runs is no matter of the installation
    environment = child.clean_environment({CONNECTION: str(program.parent / "no server")})
    ended = child.run(command, folder=program.parent, environment=environment, cancelled=cancelled)
    text, decoder = "\n".join(ended.lines), json.JSONDecoder()
    for found in re.finditer(r"^{", text, re.MULTILINE):  # a library may have warned before it, or after
        with suppress(ValueError):
            return decoder.raw_decode(text, found.start())[0]
    raise InstallError(f"{program} doctor ended with code {ended.code} and said: {(ended.lines or ['nothing'])[-1]}")


class Tools:
    """uv, with the places that it is to use, its lines in a log."""

    def __init__(
        self,
        folder: Path,
        indexes: package_index.Indexes,
        say: Callable[[str], None],
        cancelled: threading.Event,
        offline: bool = False,
    ) -> None:
        """Keep everything in ``folder``: ``tools``, ``python`` and ``cache``."""
        self._folder = folder
        self._indexes = indexes
        self._say = say
        self._cancelled = cancelled
        self._program: Path | None = None
        self.environment = {name: value for name, value in child.clean_environment().items() if name not in _AIMED} | {
            "UV_PYTHON_INSTALL_DIR": str(folder / "python"),
            "NO_COLOR": "1",
            "UV_NO_PROGRESS": "1",
        }
        self.environment.setdefault("UV_CACHE_DIR", str(folder / "cache"))
        self.environment.setdefault("UV_SYSTEM_CERTS", "1")  # a studio's proxy has its own certificate
        self.environment |= indexes.uv_environment()
        if offline:
            self.environment |= {"UV_OFFLINE": "1", "UV_PYTHON_DOWNLOADS": "never", "PIP_NO_INDEX": "1"}

    def prepare(self, wheel: Path | None) -> str:
        """Find uv, or unpack it from its wheel, which is downloaded if None; return its version and origin in words."""
        named = os.environ.get(UV)
        if named:
            found = shutil.which(os.path.expanduser(named))
            if found is None:
                raise InstallError(f"${UV} names {named!r}, which is not a program that can be run")
            self._program = Path(found)
            return f"{self.version()} (${UV})"
        ours = self._folder / "tools" / f"uv-{package_index.UV_VERSION}" / ("uv.exe" if os.name == "nt" else "uv")
        if not ours.is_file() or _uv_version(str(ours)) < OLDEST_UV:
            if wheel is None and (found := shutil.which("uv")) and _uv_version(found) >= OLDEST_UV:
                self._program = Path(found)
                return f"{self.version()} (on the PATH)"
            taken = wheel or self.fetch(self._folder / "tools")
            ours = package_index.unpack_uv(taken, self._folder / "tools")
            if wheel is None:
                taken.unlink()
        self._program = ours
        return f"{self.version()} (its pinned wheel)"

    def fetch(self, folder: Path) -> Path:
        """Download uv's wheel."""
        folder.mkdir(parents=True, exist_ok=True)
        told = [0]

        def report(done: int, total: int) -> None:
            if done - told[0] > 1_000_000:
                told[0] = done
                self._say(f"Downloading uv ({done / 1e6:.0f} of {total / 1e6:.0f} MB)")

        return package_index.fetch_uv_wheel(self._indexes, folder, report, self._cancelled)

    def version(self) -> str:
        """Return uv's version."""
        return " ".join(self.run("--version")[-1].split()[:2])

    def run(self, *arguments: str | Path) -> list[str]:
        """Run uv and return its lines.

        Raises:
            InstallError: It failed; the message is its own.
        """
        assert self._program is not None
        return self.program([self._program, *arguments])

    def program(self, command: Sequence[str | Path], environment: dict[str, str] | None = None) -> list[str]:
        """Run a program and return its lines.

        Raises:
            InstallError: It failed.
        """
        self._say(f"> {' '.join(package_index.redacted(str(part)) for part in command)}")
        ended = child.run(
            command,
            folder=self._folder,
            environment=self.environment | (environment or {}),
            line=self._say,
            cancelled=self._cancelled,
        )
        if ended.code:
            raise InstallError(_failure(ended))
        return ended.lines

    def find_python(self, request: Request, wanted: str = PYTHONS) -> Python:
        """Return the Python to use: the one named, the system's, one that uv has or fetches, Blender's own.

        Raises:
            InstallError: There is none.
        """
        if request.python:
            version = _python_version(request.python)
            if version is None:
                raise InstallError(f"{request.python} is not a Python that can be run; name another in the preferences")
            if not bundle.fits(version, wanted):
                raise InstallError(f"{request.python} is Python {version}, and {_in_words(wanted)} is needed")
            return Python(request.python, version, "as named")
        for origin, arguments in (
            ("of this computer", ("--system", "--no-managed-python", "--no-python-downloads")),
            ("fetched earlier by uv", ("--managed-python", "--no-python-downloads")),
        ):
            try:
                found = _path_among(self.run("python", "find", "--no-project", *arguments, wanted))
            except InstallError:
                continue
            if version := _python_version(found):
                return Python(found, version, origin)
        if "UV_OFFLINE" not in self.environment:
            try:
                self.run("python", "install", "--no-bin", "--no-registry", MANAGED_PYTHON)
                found = _path_among(self.run("python", "find", "--no-project", "--managed-python", MANAGED_PYTHON))
                if version := _python_version(found):
                    return Python(found, version, "fetched by uv")
            except InstallError as error:
                self._say(f"no Python from uv: {error}")
        version = _python_version(request.blender_python)
        if version and bundle.fits(version, wanted):
            return Python(request.blender_python, version, "Blender's own: repair the backend when that Blender goes")
        raise InstallError(
            f"{_in_words(wanted)} is needed, and this computer has none; install one from python.org or the system's "
            "packages, or name one in the add-on's preferences"
        )

    def torch_arguments(self, device: str) -> list[str]:
        """Return uv's option for the build of torch: of PyTorch's own index, unless another index was chosen."""
        if self._indexes.chosen or os.environ.get("UV_TORCH_BACKEND") or sys.platform == "darwin":
            return []
        return ["--torch-backend", "auto" if build_of(device) == "cuda" else "cpu"]


class _Installer:
    """One installation, step by step."""

    def __init__(
        self,
        request: Request,
        root: Path,
        report: Callable[[Progress], None],
        cancelled: threading.Event,
        log: IO[str],
    ) -> None:
        self._request = request
        self._root = root
        self._report = report
        self._cancelled = cancelled
        self._log = log
        self._stage, self._fraction = "Starting", 0.0
        self._sizes: dict[str, float] = {}  # MiB of what is being downloaded
        self._here: set[str] = set()

    def run(self) -> Installed:
        try:
            return self._run()
        except Cancelled:
            self._say("cancelled")
            raise
        except Video2RigError as error:
            self._say(f"FAILED: {error}")
            raise InstallError(f"{self._stage}: {error} (log: {self._root / LOG})") from error

    def _run(self) -> Installed:
        request, root = self._request, self._root
        wheel_digest = digest_of(request.wheel)
        with self._opened() as opened:
            if opened and request.device == "cuda" and opened.device != "cuda":
                raise InstallError(
                    "a GPU was chosen, but the bundle has the CPU build of PyTorch; use one made for CUDA"
                )
            indexes = package_index.Indexes() if opened else package_index.configured(request.index)
            tools = Tools(root, indexes, self._say, self._cancelled, offline=opened is not None)
            self._at("Getting the installer", 0.02)
            uv = tools.prepare(opened.uv if opened else None)
            self._at("Looking for Python", 0.08)
            python = tools.find_python(request, opened.python if opened else PYTHONS)
            self._say(f"Python {python.version}, {python.origin}: {python.program}")
            self._at("Making the environment", 0.12)
            environment = root / f"env-{secrets.token_hex(4)}"
            tools.run("venv", "--no-project", "--no-config", "--python", python.program, environment)
            self._at(_PACKAGES, _PACKAGES_AT)
            where = ["--offline", "--no-index", "--find-links", opened.wheels] if opened else indexes.arguments()
            build = [] if opened else tools.torch_arguments(request.device)
            into = ["--python", python_of(environment), "--only-binary", ":all:"]
            # pip is what the backend fetches weights with
            tools.run("pip", "install", *into, *where, *build, request.wheel.absolute(), "pip")
            self._at("Getting the weights", _WEIGHTS_AT)
            notes = list(self._weights(tools, environment, opened, indexes))
            self._at("Checking", 0.9)
            facts = doctor(program_of(environment), request.device, self._cancelled)
            self._log.write(f"{json.dumps(facts, indent=2)}\n")
            if facts["problems"]:
                raise InstallError("; ".join(facts["problems"]))
            if build_of(request.device) == "cuda" and "GPU" not in facts["device"].partition(":")[0]:
                notes.append(f"there is an NVIDIA driver, but the backend is {facts['device']}")
            self._at("Finishing", 0.98)
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
            self._say(f"installed {installed.version} with {uv}: {installed.computes}")
            self._at("Installed", 1.0)
            return installed

    @contextmanager
    def _opened(self) -> Iterator[bundle.Bundle | None]:
        if self._request.bundle is None:
            yield None
            return
        self._at("Opening the bundle", 0.01)
        scratch = self._root / f"unpacked-{secrets.token_hex(4)}"
        try:
            yield bundle.open_bundle(self._request.bundle, scratch, self._cancelled)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _weights(
        self, tools: Tools, environment: Path, opened: bundle.Bundle | None, indexes: package_index.Indexes
    ) -> Iterator[str]:
        """Get the weights, their licence in the log; yield a note where that failed, since they can come later."""
        if opened is not None:
            target = environment / "share" / "video2rig"
            shutil.copytree(opened.weights, target, dirs_exist_ok=True)
        try:
            tools.program([program_of(environment), "fetch", WEIGHTS], indexes.pip_environment())
        except InstallError as error:
            yield f"the weights were not fetched, the first video will try again: {error}"

    def _at(self, stage: str, fraction: float) -> None:
        self._stage, self._fraction = stage, fraction
        self._say(f"== {stage}")
        if self._cancelled.is_set():
            raise Cancelled("cancelled")

    def _say(self, text: str) -> None:
        if self._stage == _PACKAGES:
            self._follow(text)
        self._log.write(f"{text}\n")
        self._log.flush()
        self._report(Progress(self._stage, self._fraction, text))

    def _follow(self, text: str) -> None:
        """Tell from uv's lines how much of the packages is here; the downloads count for nine tenths of it."""
        if found := re.fullmatch(r"\s*Downloading (\S+) \(([\d.]+)([KMG])iB\)", text):
            self._sizes[found[1]] = float(found[2]) * {"K": 1 / 1024, "M": 1.0, "G": 1024.0}[found[3]]
        elif found := re.fullmatch(r"\s*Downloaded (\S+)", text):
            self._here.add(found[1])
        part = sum(self._sizes.get(name, 0.0) for name in self._here) / (sum(self._sizes.values()) or 1.0)
        if text.startswith(("Prepared", "Installed")):
            part = 1.0
        self._fraction = max(self._fraction, _PACKAGES_AT + 0.9 * part * (_WEIGHTS_AT - _PACKAGES_AT))


def _check_space(root: Path, request: Request) -> None:
    needed, free = NEEDED_BYTES[build_of(request.device)], shutil.disk_usage(root).free
    if free < needed:
        raise InstallError(
            f"the disk of {root} has {free / 1e9:.1f} GB free, and the installation needs {needed / 1e9:.1f} GB; make "
            "room, or name another folder in $VIDEO2RIG_BACKEND_FOLDER"
        )


def _in_words(wanted: str) -> str:
    """Return a range of Pythons as a user reads it."""
    if wanted.startswith("=="):
        return f"Python {wanted[2:].removesuffix('.*')} (the bundle is for that one)"
    return f"Python {wanted}"


def _failure(ended: child.Ended) -> str:
    """Return why a program failed, from what it said."""
    causes = [text.strip() for text in ended.lines if re.match(r"\s*(error|cause|ERROR|video2rig|hint):? ?", text)]
    chosen = causes or [text.strip() for text in ended.lines if text.strip()][-1:]
    return "; ".join(chosen) if chosen else f"it ended with code {ended.code} and said nothing"


def _path_among(lines: list[str]) -> str:
    """Return the path that uv told; it may warn of other Pythons before it, or after."""
    return next((text for text in reversed(lines) if os.path.isabs(text) and os.path.isfile(text)), "")


def _uv_version(program: str) -> tuple[int, ...]:
    found = re.search(r"uv (\d+)\.(\d+)", _output([program, "--version"]))
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _python_version(program: str) -> str | None:
    """Return the version of a Python that can be used, or None."""
    if not program:
        return None
    found = re.fullmatch(r"(\d+\.\d+\.\d+)\S*", _output([program, "-I", "-c", _TELL_VERSION]))
    return found[1] if found else None


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=30.0,
            env=child.clean_environment(),
            stdin=subprocess.DEVNULL,
            creationflags=child.NO_CONSOLE,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
