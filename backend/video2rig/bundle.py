# SPDX-License-Identifier: GPL-3.0-or-later
"""Offline bundles: all that an installation of the backend takes from the network, as a folder or one zip.

A bundle is for one kind of computer, one version of Python and one build of torch, which its ``bundle.json`` names
with the size and SHA-256 of every file::

    bundle.json   uv/*.whl   wheels/*.whl   weights/blazepose/*
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from .errors import Cancelled, Video2RigError
from .files import sha256
from .uv_wheel import machine

FORMAT = 1
FACTS = "bundle.json"
_NAME = re.compile(r"(uv|wheels)/[\w.+!-]+\.whl|weights/\w+/[\w.-]+")
_BLOCK = 1 << 20


class BundleError(Video2RigError):
    """A bundle that is damaged, or made for another kind of computer."""


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files were checked.

    Attributes:
        uv: The wheel of the installer.
        wheels, weights: Its folders.
        python: The versions that it is for, as in "==3.12.*".
        device: The build of torch in it, "cpu" or "cuda".
    """

    uv: Path
    wheels: Path
    weights: Path
    python: str
    device: str


def fits(version: str, wanted: str) -> bool:
    """Whether a Python "3.12.4" is in a range: comma-separated ``>=3.11``, ``<3.15`` or ``==3.12.*``."""
    numbers = tuple(map(int, version.split(".")[:2]))
    for part in wanted.split(","):
        found = re.fullmatch(r"(>=|<|==)(\d+)\.(\d+)(?:\.\*)?", part)
        if found is None:
            raise BundleError(f"{wanted!r} is not a range of Python versions")
        limit = (int(found[2]), int(found[3]))
        if not {">=": numbers >= limit, "<": numbers < limit, "==": numbers == limit}[found[1]]:
            return False
    return True


def open_bundle(path: Path, scratch: Path, cancelled: threading.Event) -> Bundle:
    """Check every file of a bundle, and unpack a zip into ``scratch``.

    Raises:
        BundleError: It is not a bundle, it is damaged, or for another kind of computer.
        Cancelled: ``cancelled`` was set.
    """
    if path.is_dir():
        folder, archive = path, None
    else:
        folder = scratch
        try:
            archive = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            reason = getattr(error, "strerror", None) or "it is not a zip, or only a part of one"
            raise BundleError(f"the bundle {path} cannot be opened: {reason}") from error
    with archive or contextlib.nullcontext():
        facts = _facts(path, archive)
        if facts["machine"] != machine():
            raise BundleError(f"the bundle {path} is for {facts['machine']}, and this computer is {machine()}")
        for name, (size, digest) in facts["files"].items():
            _check(path, archive, name, size, digest, folder, cancelled)
    uv = [folder / name for name in facts["files"] if name.startswith("uv/")]
    if len(uv) != 1:
        raise BundleError(f"the bundle {path} has {len(uv)} installers instead of 1")
    return Bundle(uv[0], folder / "wheels", folder / "weights", f"=={facts['python']}.*", facts["device"])


def write_facts(folder: Path, python: str, device: str, version: str) -> dict[str, Any]:
    """Write the ``bundle.json`` of a folder that holds all the rest; return what it says.

    Args:
        folder: Of the bundle. python: As in "3.12". device: The build of torch, "cpu" or "cuda".
        version: Of the backend that it was made for.
    """
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != FACTS:
            if not _NAME.fullmatch(name):
                raise BundleError(f"{name} has no place in a bundle")
            files[name] = (path.stat().st_size, sha256(path))
    facts = {"format": FORMAT, "machine": machine(), "python": python, "device": device, "version": version}
    facts["files"] = files
    (folder / FACTS).write_text(json.dumps(facts, indent=2), "utf-8")
    return facts


def write_zip(folder: Path, target: IO[bytes]) -> None:
    """Write a bundle's folder as a zip, uncompressed: wheels are compressed already."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), (1980, 1, 1, 0, 0, 0))
                entry.external_attr = 0o100644 << 16
                with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as inside:
                    shutil.copyfileobj(source, inside, _BLOCK)


def _facts(path: Path, archive: zipfile.ZipFile | None) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    try:
        text = (path / FACTS).read_bytes() if archive is None else archive.read(FACTS)
        facts = json.loads(text)
        right = (
            facts["format"] == FORMAT
            and all(isinstance(facts[name], str) for name in ("machine", "python", "device", "version"))
            and re.fullmatch(r"\d+\.\d+", facts["python"])
            and all(_NAME.fullmatch(name) and len(entry) == 2 for name, entry in facts["files"].items())
        )
    except (OSError, KeyError, ValueError, TypeError, AttributeError, zipfile.BadZipFile):
        right = False
    if not right:
        raise BundleError(f"{path} is not a bundle of this version: no {FACTS} that can be read")
    return facts


def _check(
    path: Path,
    archive: zipfile.ZipFile | None,
    name: str,
    size: int,
    digest: str,
    folder: Path,
    cancelled: threading.Event,
) -> None:
    """Read a file through, into ``folder`` where it comes out of a zip, and compare its digest."""
    hashed, read = hashlib.sha256(), 0
    try:
        with contextlib.ExitStack() as stack:
            source: IO[bytes] = stack.enter_context((path / name).open("rb") if archive is None else archive.open(name))
            target = None
            if archive is not None:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                target = stack.enter_context((folder / name).open("wb"))
            for block in _blocks(source, cancelled):
                hashed.update(block)
                read += len(block)
                if target is not None:
                    target.write(block)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or error
        raise BundleError(f"{name} of the bundle {path}: {reason}") from error
    if (read, hashed.hexdigest()) != (size, digest):
        raise BundleError(f"the bundle {path} is damaged: {name} is not what {FACTS} says; copy it again")


def _blocks(source: IO[bytes], cancelled: threading.Event) -> Iterator[bytes]:
    while block := source.read(_BLOCK):
        if cancelled.is_set():
            raise Cancelled("cancelled")
        yield block
