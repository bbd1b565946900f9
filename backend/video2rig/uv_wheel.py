# SPDX-License-Identifier: GPL-3.0-or-later
"""uv's own wheel, which is pinned: fetched from where packages come from on this computer, checked and unpacked."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from .errors import Video2RigError
from .files import sha256
from .index_files import address_of, download
from .package_index import PYPI, Indexes, redacted

UV_VERSION = "0.13.9"

# name and SHA-256 of uv's wheel (licence MIT or Apache-2.0) on each platform that the add-on is built for
UV_WHEELS = {
    "linux-x64": (
        "uv-0.13.9-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19",
    ),
    "macos-arm64": (
        "uv-0.13.9-py3-none-macosx_11_0_arm64.whl",
        "66c512266d633bef48384a1f53003f41f2a8e7b36fe6e7fbfd3e0fd52d96fa63",
    ),
    "macos-x64": (
        "uv-0.13.9-py3-none-macosx_10_12_x86_64.whl",
        "c16ed11e013557536b3e60065f1b912f6407bd6518e041b961e23ef9e6b4fbf5",
    ),
    "windows-x64": (
        "uv-0.13.9-py3-none-win_amd64.whl",
        "6a44b2ed8111d2f60d2b92627c5dccda3f7ed7570b18ce115e569cd68c28246b",
    ),
}


class PackageIndexError(Video2RigError):
    """A package index does not answer, or does not have what is needed."""


def machine() -> str:
    """Return Blender's name for this kind of computer.

    Raises:
        PackageIndexError: There is no installer for it.
    """
    system = {"linux": "linux", "darwin": "macos", "win32": "windows"}.get(sys.platform, sys.platform)
    kind = platform.machine().lower()
    name = f"{system}-{ {'x86_64': 'x64', 'amd64': 'x64', 'aarch64': 'arm64'}.get(kind, kind) }"
    if name not in UV_WHEELS:
        raise PackageIndexError(f"there is no installer for {name}; there is one for {', '.join(UV_WHEELS)}")
    return name


def fetch_uv_wheel(
    indexes: Indexes, folder: Path, report: Callable[[int, int], None], cancelled: threading.Event
) -> Path:
    """Download uv's wheel into ``folder``, from the first place that has it, and check its digest.

    Args:
        indexes: Where to look. folder: Where to put it.
        report: Called with the bytes that are here and the bytes in all (0: unknown).
        cancelled: Once set, the download ends.

    Raises:
        PackageIndexError: No place has it; the message names every one that was asked.
        Cancelled: ``cancelled`` was set.
    """
    name, digest = UV_WHEELS[machine()]
    target = folder / name
    tried: list[str] = []
    for place in _places(indexes):
        try:
            download(address_of(place, name), target, digest, report, cancelled)
            return target
        except (OSError, ValueError) as error:
            tried.append(f"{redacted(place)}: {_reason(error)}")
    raise PackageIndexError(
        f"the installer {name} cannot be downloaded ({'; '.join(tried)}); check the network, the proxy ($HTTPS_PROXY) "
        "and the package index in the add-on's preferences, put a program `uv` on the PATH, or install from an "
        "offline bundle"
    )


def uv_program(tools: Path) -> Path:
    """Return where :func:`unpack_uv` puts the program of the pinned version."""
    return tools / f"uv-{UV_VERSION}" / ("uv.exe" if sys.platform == "win32" else "uv")


def unpack_uv(wheel: Path, tools: Path) -> Path:
    """Check a wheel's digest and put its program into ``tools``; return the program.

    Raises:
        PackageIndexError: It is not the pinned wheel, or cannot be written.
    """
    name, digest = UV_WHEELS[machine()]
    program = uv_program(tools)
    partial = program.with_suffix(".part")
    try:
        if (found := sha256(wheel)) != digest:
            raise PackageIndexError(f"{wheel} has the digest {found}, pinned is {digest}; remove it and try again")
        program.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(wheel) as archive:
            partial.write_bytes(archive.read(f"uv-{UV_VERSION}.data/scripts/{program.name}"))
        partial.chmod(0o755)
        os.replace(partial, program)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise PackageIndexError(f"{name} cannot be unpacked into {tools}: {_reason(error)}") from error
    return program


def _places(indexes: Indexes) -> Iterator[str]:
    yield from indexes.find_links
    if not indexes.no_index:
        yield f"{(indexes.default or PYPI).rstrip('/')}/uv/"
    for address in indexes.extra:
        yield f"{address.rstrip('/')}/uv/"


def _reason(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return " ".join(str(reason).split())
