# SPDX-License-Identifier: GPL-3.0-or-later
"""Every detector that can be chosen: what it finds, under which licence, how well, and whether it can run here.

Names are those of `settings.DETECTORS`. Where weights come from is the business of `weights.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from .. import weights
from ..errors import Video2RigError
from ..weights import WeightsError
from . import onnx_session
from .blazepose import BlazePose
from .detector import Detector
from .simcc import Shape, SimCC, blazepose_finder
from .simcc import check as check_shape

Loader = Callable[[dict[str, Path], "torch.device | str"], Detector]
"""From the weights' files, by name, and a device to a detector."""


class DetectorError(WeightsError):
    """A detector that does not exist, or that cannot run here; the message lists those there are."""


@dataclass(frozen=True)
class Status:
    """A line of the list of detectors.

    Attributes:
        name: As `Settings.detector` has it. keypoint_set: A key of `keypoints.KEYPOINT_SETS`.
        licence: Of the weights. size: Bytes of its own weights; about, or 0 where nobody knows, if they are not here.
        accuracy: What is known of it, with the source. here: Whether it can run without fetching anything.
        place: Where its weights are, or what is missing and how to get it. damaged: Files of them that are here and are
            not what they should be, and why; "" where none is.
    """

    name: str
    keypoint_set: str
    licence: str
    size: int
    accuracy: str
    here: bool
    place: str
    damaged: str = ""

    @property
    def state(self) -> str:
        """ "here", "damaged" or "absent"."""
        return "here" if self.here else "damaged" if self.damaged else "absent"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Entry:
    """A detector.

    Attributes:
        name, keypoint_set, accuracy: See :class:`Status`.
        weights: Names of its weights in `weights.ENTRIES`; those that make it what it is first.
        loader: What makes it. shape: Of its network, where that runs on onnxruntime.
    """

    name: str
    keypoint_set: str
    accuracy: str
    weights: tuple[str, ...]
    loader: Loader
    shape: Shape | None = None

    @property
    def licence(self) -> str:
        """Of its weights, each once."""
        return ", ".join(dict.fromkeys(weights.ENTRIES[name].licence for name in self.weights))

    def status(self, found: dict[str, weights.WeightsStatus]) -> Status:
        """Tell whether it can run here, from what `weights.status` says of all weights."""
        here, places = True, []
        if self.shape is not None and not onnx_session.installed():
            here = False
            places.append(f"onnxruntime is not installed: {_ONNXRUNTIME}")
        for name in self.weights:
            if found[name].folder is not None:
                places.append(f"{found[name].place}, {found[name].folder}")
                continue
            here = False
            if weights.ENTRIES[name].sources:
                who = "" if name == self.name else f"{name} is "
                places.append(f"{who}fetched when needed (`video2rig fetch {name}`)")
            else:
                places.append(weights.ENTRIES[name].how)
        size = found[self.weights[0]].size
        damaged = "; ".join(found[name].damaged for name in self.weights if found[name].damaged)
        return Status(self.name, self.keypoint_set, self.licence, size, self.accuracy, here, "; ".join(places), damaged)

    def fetch(self) -> dict[str, Path]:
        """Paths of its weights' files, by file name.

        Raises:
            WeightsError: They are nowhere.
        """
        return {file: path for name in self.weights for file, path in weights.fetch(name).items()}

    def load(self, device: torch.device | str) -> Detector:
        """Make it.

        Raises:
            Video2RigError: Weights are nowhere or of another model, or it cannot compute on the device.
        """
        return self.loader(self.fetch(), device)


def _openpose(stages: int) -> Loader:
    def load(files: dict[str, Path], device: torch.device | str) -> Detector:
        from .openpose.detector import OpenPose

        return OpenPose.load(files["body_pose_model.pth"], stages, device)

    return load


def _openpose_mobilenet(files: dict[str, Path], device: torch.device | str) -> Detector:
    from .openpose.detector import OpenPose

    return OpenPose.load_mobilenet(files["openpose_mobilenet_v2_small.pb"], device=device)


def _simcc(name: str, shape: Shape, accuracy: str) -> Entry:
    def load(files: dict[str, Path], device: torch.device | str) -> Detector:
        return SimCC.load(files[f"{name}.onnx"], shape, device, blazepose_finder(BlazePose.load(device)))

    return Entry(name, shape.keypoint_set, accuracy, (name, "blazepose"), load, shape)


_ONNXRUNTIME = "`pip install video2rig[onnx]`"
_MEASURED = "benchmarks/detection.py measures it on real video"
_FEWER = "benchmarks/openpose_stages.py measures how far its maps are from those of 6"

CATALOGUE: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            "blazepose",
            "blazepose_33",
            f"3D too; {_MEASURED}",
            ("blazepose",),
            lambda files, device: BlazePose.load(device),
        ),
        Entry(
            "openpose_6",
            "coco_18",
            "COCO test-dev AP 61.8, several scales and refined by a second network (Cao et al. 2017)",
            ("openpose",),
            _openpose(6),
        ),
        *(
            Entry(
                f"openpose_{n}", "coco_18", f"the first {n} stages of openpose_6; {_FEWER}", ("openpose",), _openpose(n)
            )
            for n in (5, 4, 3, 2)
        ),
        Entry(
            "openpose_mobilenet",
            "coco_18",
            "COCO AP 17.3 (its authors)",
            ("openpose_mobilenet",),
            _openpose_mobilenet,
        ),
        _simcc(
            "rtmpose_m_halpe26",
            Shape("halpe_26", 192, 256),
            "Body8 PCK@0.1 94.75, AUC 71.91 (its authors, body8-halpe26)",
        ),
        _simcc(
            "rtmpose_x_halpe26",
            Shape("halpe_26", 288, 384),
            "Body8 PCK@0.1 95.74, AUC 74.82 (its authors, body8-halpe26)",
        ),
        _simcc(
            "rtmw_l_wholebody",
            Shape("coco_wholebody_133", 288, 384, peak=6.0),
            "COCO-WholeBody AP 70.1 (its authors)",
        ),
        _simcc(
            "rtmw_x_wholebody",
            Shape("coco_wholebody_133", 288, 384, peak=6.0),
            "COCO-WholeBody AP 70.2 (its authors); reported to misplace toes, so rather rtmw_l_wholebody",
        ),
    )
}
"""All detectors by name, in the order in which they are listed.

OpenPose has a name for each number of stages, as every choice of a detector is one name: all five run the same file.
"""


def load(name: str, device: torch.device | str) -> Detector:
    """Make the detector of this name on a device.

    Raises:
        DetectorError: There is none of this name, or its weights are nowhere; the message lists the detectors.
        Video2RigError: Its weights are of another model, or it cannot compute on the device.
    """
    entry = _entry(name)
    try:
        return entry.load(device)
    except WeightsError as error:
        also = entry.shape is not None and not onnx_session.installed()
        needs = f". It needs onnxruntime too: {_ONNXRUNTIME}" if also else ""
        raise DetectorError(f"the detector '{name}' is not here: {error}{needs}. {_there_are()}") from error


def fetch(name: str) -> dict[str, Path]:
    """Paths of the weights' files of a detector, by file name; fetched where they are nowhere and can be.

    Raises:
        DetectorError: There is no such detector. WeightsError: Its weights are nowhere; of those that are never fetched
            it says what to do.
    """
    if name not in CATALOGUE and name in weights.ENTRIES:  # of weights that several detectors share
        return weights.fetch(name)
    return _entry(name).fetch()


def add(name: str, path: Path) -> Path:
    """Take a file of weights that a user brings for a detector, once it is seen to be that; return where it lies now.

    `name` may also be that of the weights, which several detectors share: then the file must do for all of them,
    whichever is named.

    Raises:
        DetectorError: There is no such detector.
        Video2RigError: The file is damaged or of another model, or this detector's weights are not brought by users.
    """
    own = name if name not in CATALOGUE and name in weights.ENTRIES else _entry(name).weights[0]
    sharing = [entry for entry in CATALOGUE.values() if entry.weights[0] == own]
    if not sharing:
        raise DetectorError(f"no detector is called '{name}'. {_there_are()}")
    most = sharing[0]  # the first one needs the most of the file

    def check(copy: Path) -> None:
        if most.shape is not None:
            check_shape(onnx_session.OnnxSession(copy), most.shape)
            return
        try:
            most.loader({copy.name: copy}, "cpu")
        except Video2RigError as error:
            if not _takes(sharing[-1], copy):
                raise
            names = ", ".join(entry.name for entry in sharing)
            raise WeightsError(f"{error}. One file serves {names}, so it must do for {most.name}") from error

    return weights.add(own, path, check)


def _takes(least: Entry, path: Path) -> bool:
    """Whether the detector that needs the least of a file can do with it."""
    try:
        least.loader({path.name: path}, "cpu")
    except Video2RigError:
        return False
    return True


def digests(name: str) -> dict[str, dict[str, str]]:
    """SHA-256 of a detector's weights, by weights and file name: what a result's provenance quotes.

    Raises:
        DetectorError: There is no such detector. WeightsError: Weights that a user brings are nowhere.
    """
    return {own: weights.digests(own) for own in _entry(name).weights}


def licences(name: str) -> list[str]:
    """A line for each of a detector's weights: licence, whose they are, and what; `name` is as for :func:`add`.

    Raises:
        DetectorError: There is no such detector.
    """
    own = (name,) if name not in CATALOGUE and name in weights.ENTRIES else _entry(name).weights
    return [f"{e.name}: {e.licence}, (c) {e.copyright}; {e.description}" for e in map(weights.ENTRIES.__getitem__, own)]


def status() -> list[Status]:
    """A line for each detector, without touching the network."""
    found = {line.name: line for line in weights.status()}
    return [entry.status(found) for entry in CATALOGUE.values()]


def format_status(lines: list[Status]) -> str:
    """Return the list as text for a terminal."""
    rows = [
        (
            line.name,
            line.keypoint_set,
            f"{line.size / 1e6:.0f} MB" if line.size else "? MB",
            line.state,
            line.licence,
        )
        for line in lines
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    text, above = [], ""
    for line, row in zip(lines, rows, strict=True):
        text.append("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip())
        text.append(f"    {line.accuracy}")
        if line.place != above:  # several stages of one network lie in one place
            text.append(f"    {line.place}")
            if line.damaged:
                text.append(f"    damaged: {line.damaged}")
        above = line.place
    return "\n".join(text)


def _entry(name: str) -> Entry:
    if name not in CATALOGUE:
        raise DetectorError(f"no detector is called '{name}'. {_there_are()}")
    return CATALOGUE[name]


def _there_are() -> str:
    named = ", ".join(f"{line.name} ({line.state})" for line in status())
    return f"There are {named}; `video2rig models list` tells more"
