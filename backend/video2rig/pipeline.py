# SPDX-License-Identifier: GPL-3.0-or-later
"""The way of a frame: detection, then inverse kinematics over the whole sequence, then the world.

The command line, the benchmarks and the server all call this; none has logic of its own.
"""

from __future__ import annotations

import dataclasses
import platform
from contextlib import closing
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch

from . import __version__, weights
from .ahead import READ_AHEAD, ahead
from .body_solving import StageProgress
from .contacts import on_frames
from .detection import Detector, PeopleStream, catalogue
from .device import resolve_device, set_cpu_threads
from .errors import Video2RigError
from .frames import VideoSource, fitted
from .human import default_human
from .ik import NobodySeen
from .keypoints import KEYPOINT_SETS, Keypoints, has_site, sites
from .person import PersonError
from .presence import clarity
from .regression import Regressor
from .seen import Seen
from .settings import MARKED, Settings
from .skeleton import Skeleton
from .solving import solve_keypoints
from .stillness import stillness
from .take import Take
from .wire import MAX_PEOPLE, Limits

REGRESSOR = "kinematic_regressor"
"""The regression network's name among the weights."""


BRIEFEST = 0.25
"""Seconds that each of several people must have been seen for: less is too little to tell how somebody moves."""


SMALLEST = 64
"""Pixels: nobody is found in frames that are narrower or lower."""
DARK = 0.08
"""Of white, on average: where no frame is brighter, the dark may be why nobody is found."""


class Person(NamedTuple):
    """Somebody in a video: a number from 1, in the order of appearance, and the keypoints in the source's pixels."""

    number: int
    keypoints: Keypoints


class Backend:
    """What sessions share: the device and the networks on it, each loaded when it is first needed.

    Attributes:
        device: Where the networks run. notice: A line for the user about how it was chosen.
    """

    def __init__(self, device: str = "auto") -> None:
        """Choose the device.

        Args:
            device: ``"auto"``, ``"cpu"`` or ``"cuda"``.

        Raises:
            DeviceError: A device was asked for that is not there.
        """
        self.device, self.notice = resolve_device(device)
        set_cpu_threads()
        self._detectors: dict[str, Detector] = {}

    def detector(self, name: str) -> Detector:
        """Return a detector of the catalogue.

        Raises:
            Video2RigError: There is none of this name, or it can neither be found nor fetched; the message has the
                list.
        """
        if name not in self._detectors:
            self._detectors[name] = catalogue.load(name, self.device)
        return self._detectors[name]

    @cached_property
    def regressor(self) -> Regressor:
        """The regression network.

        Raises:
            WeightsError: Its weights are nowhere. RegressionError: They cannot be read.
        """
        return Regressor.load(weights.fetch(REGRESSOR)["weights.safetensors"], self.device)


class Pipeline:
    """One video on its way: frames are pushed in order, then the people in it are solved.

    Attributes:
        notices: What the user should know about the people, one line each, once they are solved.
    """

    def __init__(
        self, settings: Settings, video: dict[str, Any], backend: Backend, skeleton: Skeleton | None = None
    ) -> None:
        """Begin a video.

        Args:
            settings: What the user chose.
            video: Facts about it: ``width`` and ``height`` in pixels as displayed, ``fps``; all of them are kept in
                the take.
            backend: The networks.
            skeleton: Of a rig, which takes over the person's pose; None lets the default human have the person's
                proportions.

        Raises:
            SkeletonError: The skeleton lacks a joint that keypoints of the detector sit on.
            PersonError: The point is outside of the picture.
            ContactsError: Contacts are to be taken as marked; a video has no marks.
            Video2RigError: The detector or the regression network cannot be had.
        """
        self.notices: list[str] = []
        self._skeleton = skeleton
        self._settings = settings
        self._video = dict(video)
        self._backend = backend
        self._choice = settings.choice()
        if self._choice.kind == "point":
            x, y = self._choice.point
            width, height = int(video["width"]), int(video["height"])
            if not (-0.5 <= x < width - 0.5 and -0.5 <= y < height - 0.5):
                raise PersonError(f"the point {x:g},{y:g} is outside of the picture, which has {width}x{height} pixels")
        if settings.contacts == MARKED:
            on_frames(None, skeleton or default_human(), np.empty(0))
        self._detector = backend.detector(settings.detector)
        if skeleton is not None:
            sites(skeleton, tuple(filter(has_site, KEYPOINT_SETS[self._detector.keypoint_set])))
        self._regressor = backend.regressor if settings.regression else None
        self._stream: PeopleStream | None = None
        self._times: list[np.ndarray] = []
        self._scales: list[np.ndarray] = []
        self._brightest = 0.0

    def push(self, images: np.ndarray, times: np.ndarray, scale: float = 1.0) -> None:
        """Detect people in the next frames.

        Args:
            images: [B, H, W, 3] RGB, uint8. times: [B] seconds from the video's first frame.
            scale: Pixels of the source video for each pixel of these images.
        """
        if self._stream is None:
            # pixels are indices: the middle of a scaled pixel is not that of its first source pixel
            x, y = ((value + 0.5) / scale - 0.5 for value in self._choice.point)
            choice = dataclasses.replace(self._choice, point=(x, y))
            self._stream = PeopleStream(self._detector, float(self._video["fps"]), choice)
        self._stream.push(images, times)
        self._times.append(np.asarray(times, dtype=np.float64))
        self._scales.append(np.full(len(images), scale))
        self._brightest = max(self._brightest, float(images[:, ::16, ::16].mean()) / 255)

    def push_all(self, source: VideoSource, progress: StageProgress = lambda stage, done, total: None) -> None:
        """Read a whole video, as small as a client would send it.

        Raises:
            VideoError: It cannot be read.
        """
        longest = Limits().max_side
        with closing(ahead((fitted(frame, longest) for frame in source.frames()), READ_AHEAD)) as frames:
            for frame, scale in frames:
                self.push(frame.image[None], np.array([frame.time]), scale)
                progress("detecting", frame.index + 1, max(source.info.frame_count, frame.index + 1))

    def finish(self) -> None:
        """Take note that no more frames come: people are detected in those that wait for others."""
        if self._stream is not None:
            self._stream.finish()

    def solve(self, progress: StageProgress = lambda stage, done, total: None) -> list[Take]:
        """Solve the people whom the settings name in all frames that were pushed; return their takes by number.

        Everyone stands in one world: the person who was seen best is solved first, and tells the others the focal
        length, which way is up, and the floor. Who cannot be solved does not spoil the rest, and is told in `notices`.

        Raises:
            NobodySeen: No frame shows a person.
            PersonError: Nobody is who the settings name.
        """
        people, provenance = self._solvable(self.people()), self._provenance()
        self._tell_of_the_still(people)
        takes: list[Take] = []
        trouble: list[Video2RigError] = []
        for index, person in enumerate(people):
            note = "" if len(people) == 1 else f", person {person.number} ({index + 1} of {len(people)})"
            try:
                take = solve_keypoints(
                    person.keypoints,
                    self._settings,
                    self._video,
                    provenance,
                    _noted(progress, note),
                    self._skeleton,
                    self._regressor,
                    world=takes[0].camera if takes else None,
                    person=person.number,
                )
            except Video2RigError as error:
                if len(people) == 1:
                    raise
                trouble.append(error)
                self.notices.append(f"person {person.number} was left out: {error}")
            else:
                takes.append(take)
        if not takes:
            raise trouble[0]
        return sorted(takes, key=lambda take: take.person)

    def people(self) -> list[Person]:
        """Return what was seen of the people whom the settings name, by number; no frame can be pushed after.

        Raises:
            NobodySeen: No frame was pushed, or nobody is in any of them.
            PersonError: Nobody is who the settings name.
        """
        if self._stream is None:
            raise NobodySeen("no frame of this video could be read")
        self.finish()
        tracked = self._stream.people()
        if not tracked:
            raise NobodySeen(f"no person was found in any frame of this video{self._why_nobody()}")
        scale, times = np.concatenate(self._scales)[:, None, None], np.concatenate(self._times)
        name = self._detector.keypoint_set
        return [
            Person(one.number, Keypoints(name, (one.positions + 0.5) * scale - 0.5, one.confidence, times, one.world))
            for one in tracked
        ]

    def _why_nobody(self) -> str:
        """Return what of the pictures may be the reason that nobody is found, and what would be right."""
        width, height = int(self._video["width"]), int(self._video["height"])
        if min(width, height) < SMALLEST:
            return f": its frames have {width}x{height} pixels; a person must be some {SMALLEST} pixels tall"
        if self._brightest < DARK:
            part = f"{100 * self._brightest:.1f} %"
            return f": even its brightest frame is nearly black ({part} of white on average); brighten it"
        return ""

    def _solvable(self, people: list[Person]) -> list[Person]:
        """Return whom to solve, who was seen best first; the rest is told in `notices`."""
        people = sorted(people, key=lambda person: -clarity(person.keypoints).sum())
        if len(people) == 1:
            return people
        count = len(people[0].keypoints.times)
        frames = max(2, min(count, round(BRIEFEST * float(self._video["fps"]))))
        brief = {person.number for person in people[1:] if person.keypoints.seen().sum() < frames}
        for number in sorted(brief):
            self.notices.append(f"person {number} was seen for less than {BRIEFEST:g} s and is left out")
        people = [person for person in people if person.number not in brief]
        if len(people) > MAX_PEOPLE:
            self.notices.append(f"{len(people)} people were seen; the {MAX_PEOPLE} who were seen best are solved")
        return people[:MAX_PEOPLE]

    def _tell_of_the_still(self, people: list[Person]) -> None:
        """Note in `notices` who hardly moves, as pictures and statues do, and who was taken in whose place."""
        if self._stream is not None and self._stream.passed_over:
            self.notices.append(
                f"person {self._stream.passed_over}, the largest, hardly moves, as a picture or a statue; person "
                f"{people[0].number}, who does, was taken instead. A number or a point chooses the largest all the same"
            )
        for person in sorted(people, key=lambda person: person.number):
            if (found := stillness(person.keypoints)) is not None:
                self.notices.append(f"person {person.number} {found}")

    def _provenance(self) -> dict[str, Any]:
        made = _provenance(self._settings, self._backend)
        return made | {
            "people": 0 if self._stream is None else self._stream.seen(),
            "weights": catalogue.digests(self._settings.detector) | made["weights"],
        }


def solve_seen(
    seen: Seen,
    settings: Settings,
    video: dict[str, Any],
    backend: Backend,
    progress: StageProgress = lambda stage, done, total: None,
    skeleton: Skeleton | None = None,
) -> Take:
    """Solve keypoints of a video that was solved before; no detector is asked for.

    Args:
        seen: The keypoints. settings: What the user chose; `detector` and `person` are not used here.
        video: Facts about it. backend: The networks.
        skeleton: Of a rig, which takes over the person's pose; None lets the default human have the person's
            proportions.

    Raises:
        NobodySeen: No frame shows the person.
        SkeletonError: The skeleton lacks a joint that keypoints sit on.
        ContactsError: Contacts are to be taken as marked, and those that were seen cannot be.
        Video2RigError: The regression network cannot be had, or it knows none of the keypoints.
    """
    if skeleton is not None:
        sites(skeleton, tuple(filter(has_site, seen.keypoints.names)))
    return solve_keypoints(
        seen.keypoints,
        settings,
        dict(video),
        _provenance(settings, backend),
        progress,
        skeleton,
        backend.regressor if settings.regression else None,
        world=seen.world,
        person=seen.person,
        marked=seen.contacts,
        former=seen.former if skeleton is not None else None,
    )


def _provenance(settings: Settings, backend: Backend) -> dict[str, Any]:
    """Return how a motion is made from keypoints."""
    return {
        "video2rig": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": str(backend.device),
        "weights": {REGRESSOR: weights.digests(REGRESSOR)} if settings.regression else {},
        "settings": settings.to_json(),
    }


def _noted(progress: StageProgress, note: str) -> StageProgress:
    return lambda stage, done, total: progress(stage + note, done, total)
