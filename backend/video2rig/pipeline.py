# SPDX-License-Identifier: GPL-3.0-or-later
"""The way of a frame: detection, then inverse kinematics over the whole sequence, then the world.

The command line, the benchmarks and the server all call this; none has logic of its own.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import torch

from . import __version__, weights
from .camera import Camera
from .contacts import Feet, find_contacts, floor_below, hold
from .detection import BlazePose, PeopleStream
from .device import resolve_device, set_cpu_threads
from .frames import VideoSource, fitted
from .ground import estimate_up, place_camera, up_of_tilt
from .human import DEFAULT_HEIGHT, default_human
from .ik import BodyModel, CameraSolver, NobodySeen, Pose, to_motion
from .keypoints import KEYPOINT_SETS, Keypoints, sites
from .motion import Contact
from .person import PersonChoice
from .regression import Regressor, predictor
from .settings import Settings
from .skeleton import Skeleton
from .take import Take
from .wire import Limits

DEFAULT_FIELD_OF_VIEW = np.radians(62.0)
"""Across the longer side of the picture: the main camera of common phones while filming, within 10 degrees."""

REGRESSOR = "kinematic_regressor"
"""The regression network's name among the weights."""

StageProgress = Callable[[str, int, int], None]
"""Called with a stage's name, what is done and the total; may raise to abort."""


class Backend:
    """What sessions share: the device and the networks on it.

    Attributes:
        device: Where the networks run. notice: A line for the user about how it was chosen.
    """

    def __init__(self, device: str = "auto") -> None:
        """Load the detector.

        Args:
            device: ``"auto"``, ``"cpu"`` or ``"cuda"``.

        Raises:
            DeviceError: A device was asked for that is not there.
            WeightsError: The weights can neither be found nor fetched.
        """
        self.device, self.notice = resolve_device(device)
        set_cpu_threads()
        self.detector = BlazePose.load(self.device)

    @cached_property
    def regressor(self) -> Regressor:
        """The regression network.

        Raises:
            WeightsError: Its weights are nowhere. RegressionError: They cannot be read.
        """
        return Regressor.load(weights.fetch(REGRESSOR)["weights.safetensors"], self.device)


class Pipeline:
    """One video on its way: frames are pushed in order, then the whole is solved."""

    def __init__(
        self, settings: Settings, video: dict[str, Any], backend: Backend, skeleton: Skeleton | None = None
    ) -> None:
        """Begin a video.

        Args:
            settings: What the user chose.
            video: Facts about it: ``width`` and ``height`` in pixels as displayed, ``fps``; all of them are kept in
                the take.
            backend: The networks.
            skeleton: What to solve, with its own proportions; None takes the default human and measures the person.

        Raises:
            SkeletonError: The skeleton lacks a joint that keypoints of the detector sit on.
            WeightsError: The regression's weights are nowhere. RegressionError: They cannot be read.
        """
        if skeleton is not None:
            sites(skeleton, KEYPOINT_SETS["blazepose_33"])
        self._skeleton = skeleton
        self._settings = settings
        self._video = dict(video)
        self._backend = backend
        self._regressor = backend.regressor if settings.regression else None
        self._stream = PeopleStream(backend.detector, float(video["fps"]), PersonChoice.parse("largest"))
        self._times: list[np.ndarray] = []
        self._scales: list[np.ndarray] = []

    def push(self, images: np.ndarray, times: np.ndarray, scale: float = 1.0) -> None:
        """Detect the person in the next frames.

        Args:
            images: [B, H, W, 3] RGB, uint8. times: [B] seconds from the video's first frame.
            scale: Pixels of the source video for each pixel of these images.
        """
        self._stream.push(images)
        self._times.append(np.asarray(times, dtype=np.float64))
        self._scales.append(np.full(len(images), scale))

    def push_all(self, source: VideoSource, progress: StageProgress = lambda stage, done, total: None) -> None:
        """Read a whole video, as small as a client would send it.

        Raises:
            VideoError: It cannot be read.
        """
        for frame in source.frames():
            shrunk, scale = fitted(frame, Limits().max_side)
            self.push(shrunk.image[None], np.array([frame.time]), scale)
            progress("detecting", frame.index + 1, max(source.info.frame_count, frame.index + 1))

    def solve(self, progress: StageProgress = lambda stage, done, total: None) -> Take:
        """Solve all frames that were pushed.

        Raises:
            NobodySeen: No frame shows a person.
        """
        keypoints, provenance = self.keypoints(), self._provenance()
        return solve_keypoints(
            keypoints, self._settings, self._video, provenance, progress, self._skeleton, self._regressor
        )

    def keypoints(self) -> Keypoints:
        """Return what was seen of the person; no frame can be pushed after.

        Raises:
            NobodySeen: No frame was pushed.
        """
        if not self._times:
            raise NobodySeen("no frame of this video could be read")
        self._stream.finish()
        people = self._stream.people()
        if not people:
            raise NobodySeen("no person was found in any frame of this video")
        _, positions, confidence, world = people[0]
        scale = np.concatenate(self._scales)[:, None, None]
        # pixels are indices: the middle of a scaled pixel is not that of its first source pixel
        positions = (positions + 0.5) * scale - 0.5
        return Keypoints("blazepose_33", positions, confidence, np.concatenate(self._times), world)

    def _provenance(self) -> dict[str, Any]:
        return {
            "video2rig": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "device": str(self._backend.device),
            "weights": {
                name: weights.digests(name)
                for name in (self._settings.detector, *([] if self._regressor is None else [REGRESSOR]))
            },
            "settings": self._settings.to_json(),
            "proportions": "measured" if self._skeleton is None else "the armature's own",
        }


def solve_keypoints(
    keypoints: Keypoints,
    settings: Settings,
    video: dict[str, Any],
    provenance: dict[str, Any],
    progress: StageProgress = lambda stage, done, total: None,
    skeleton: Skeleton | None = None,
    regressor: Regressor | None = None,
) -> Take:
    """Solve keypoints, whichever detector they are from.

    Args:
        keypoints: T frames. settings: What the user chose.
        video: Facts about the video: ``width`` and ``height`` in pixels as displayed; the rest is passed on.
        skeleton: What to solve, with its own proportions; None takes the default human and measures the person.
        regressor: Tells the rotations that one camera leaves open; None does without.

    Raises:
        NobodySeen: No frame shows a person.
        RegressionError: The regressor knows none of the keypoints.
    """
    camera = Camera.from_field_of_view(
        int(video["width"]), int(video["height"]), settings.field_of_view or DEFAULT_FIELD_OF_VIEW
    )

    def of_stage(stage: str) -> Callable[[int, int], None]:
        return lambda done, total: progress(stage, done, total)

    body = default_human(settings.height or DEFAULT_HEIGHT, settings.rom) if skeleton is None else skeleton
    solver = CameraSolver(
        body,
        keypoints,
        camera,
        settings.smoothing_hz,
        estimate_lengths=skeleton is None,
        estimate_focal=settings.field_of_view is None,
        predict=None if regressor is None else predictor(regressor, body),
        progress=of_stage("measuring the body"),
    )
    model, feet = solver.model, Feet(solver.model)
    solution = solver.solve(of_stage("solving"))
    camera = _place(solver.camera, model, feet, solution.pose, settings.tilt)
    contacts: tuple[Contact, ...] = ()
    if settings.contacts != "off":
        places = _to_world(feet.places(model, solution.pose), camera)
        always = settings.contacts == "always"
        contacts, resting = find_contacts(feet, places, keypoints, camera, always)
        held, floor = hold(model, feet, places, resting, camera, always), floor_below(model, feet, camera)
        solution = solver.solve_again(solution, held, floor, of_stage("holding feet still"))
    to_world = torch.tensor(camera.rotation.T)
    pose = Pose(
        torch.tensor(_to_world(solution.pose.root_position.numpy(), camera)),
        to_world @ solution.pose.root_rotation,
        solution.pose.angles,
    )
    motion = to_motion(model, model.no_stretch(), pose, solution.confidence, keypoints.times, contacts, provenance)
    return Take(motion, keypoints, camera, video)


def _to_world(points: np.ndarray, camera: Camera) -> np.ndarray:
    return (points - camera.translation) @ camera.rotation


def _place(camera: Camera, model: BodyModel, feet: Feet, pose: Pose, tilt: float | None) -> Camera:
    places = feet.places(model, pose)
    neck = model.joints(pose)[0][:, model.skeleton.index("neck")].numpy()
    up = estimate_up(neck, places.mean(axis=1)) if tilt is None else up_of_tilt(tilt)
    return place_camera(camera, up, places, feet.standing, pose.root_position.numpy())
