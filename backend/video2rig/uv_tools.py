# SPDX-License-Identifier: GPL-3.0-or-later
"""uv, which makes environments and fills them: found or fetched, and run with its lines told."""

from __future__ import annotations

import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from . import child
from .install_request import InstallError
from .package_index import Indexes, redacted
from .torch_build import build_of
from .uv_wheel import fetch_uv_wheel, unpack_uv, uv_program

UV = "VIDEO2RIG_UV"
"""Environment variable that names a `uv` to use."""

OLDEST_UV = (0, 9)

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


class Tools:
    """uv, with the places that it is to use, its lines told.

    Attributes:
        environment: Of the programs that are run. say: Called with each line of theirs.
    """

    def __init__(
        self,
        folder: Path,
        indexes: Indexes,
        say: Callable[[str], None],
        cancelled: threading.Event,
        offline: bool = False,
    ) -> None:
        """Look for nothing yet.

        Args:
            folder: Keeps everything: ``tools``, ``python`` and ``cache``. indexes: Where packages come from.
            say: Called with each line of the programs at work. cancelled: Once set, the program at work is ended.
            offline: Whether the network is never used.
        """
        self._folder = folder
        self._indexes = indexes
        self.say = say
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
        """Find uv, or unpack it from its wheel, which is downloaded if None; return its version and origin in words.

        Raises:
            InstallError: $VIDEO2RIG_UV names no program, or what was found does not run.
            PackageIndexError: uv cannot be downloaded or unpacked.
            Cancelled: ``cancelled`` was set.
        """
        named = os.environ.get(UV)
        if named:
            found = shutil.which(os.path.expanduser(named))
            if found is None:
                raise InstallError(f"${UV} names {named!r}, which is not a program that can be run")
            self._program = Path(found)
            return f"{self.version()} (${UV})"
        ours = uv_program(self._folder / "tools")
        if not ours.is_file() or _uv_version(str(ours)) < OLDEST_UV:
            if wheel is None and (found := shutil.which("uv")) and _uv_version(found) >= OLDEST_UV:
                self._program = Path(found)
                return f"{self.version()} (on the PATH)"
            taken = wheel or self.fetch(self._folder / "tools")
            ours = unpack_uv(taken, self._folder / "tools")
            if wheel is None:
                taken.unlink()
        self._program = ours
        return f"{self.version()} (its pinned wheel)"

    def fetch(self, folder: Path) -> Path:
        """Download uv's wheel into ``folder`` and return it.

        Raises:
            PackageIndexError, Cancelled: See :func:`fetch_uv_wheel`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        told = [0]

        def report(done: int, total: int) -> None:
            if done - told[0] > 1_000_000:
                told[0] = done
                self.say(f"Downloading uv ({done / 1e6:.0f} of {total / 1e6:.0f} MB)")

        return fetch_uv_wheel(self._indexes, folder, report, self._cancelled)

    def version(self) -> str:
        """Return uv's version."""
        return " ".join(self.run("--version")[-1].split()[:2])

    def run(self, *arguments: str | Path) -> list[str]:
        """Run uv, which was prepared, and return its lines.

        Raises:
            InstallError: It failed; the message is its own.
            ChildError, Cancelled: See :func:`child.run`.
        """
        assert self._program is not None
        return self.program([self._program, *arguments])

    def program(self, command: Sequence[str | Path], environment: dict[str, str] | None = None) -> list[str]:
        """Run a program in uv's environment with changes, and return its lines.

        Raises:
            InstallError: It failed; the message is its own.
            ChildError, Cancelled: See :func:`child.run`.
        """
        self.say(f"> {' '.join(redacted(str(part)) for part in command)}")
        ended = child.run(
            command,
            folder=self._folder,
            environment=self.environment | (environment or {}),
            line=self.say,
            cancelled=self._cancelled,
        )
        if ended.code:
            raise InstallError(_failure(ended))
        return ended.lines

    def torch_arguments(self, device: str) -> list[str]:
        """Return uv's option for the build of torch: of PyTorch's own index, unless another index was chosen."""
        if self._indexes.chosen or os.environ.get("UV_TORCH_BACKEND") or sys.platform == "darwin":
            return []
        return ["--torch-backend", "auto" if build_of(device) == "cuda" else "cpu"]


def _uv_version(program: str) -> tuple[int, ...]:
    found = re.search(r"uv (\d+)\.(\d+)", child.output([program, "--version"]))
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _failure(ended: child.Ended) -> str:
    """Return why a program failed, from what it said."""
    causes = [text.strip() for text in ended.lines if re.match(r"\s*(error|cause|ERROR|video2rig|hint):? ?", text)]
    chosen = causes or [text.strip() for text in ended.lines if text.strip()][-1:]
    return "; ".join(chosen) if chosen else f"it ended with code {ended.code} and said nothing"
