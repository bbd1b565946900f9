# SPDX-License-Identifier: GPL-3.0-or-later
"""The way of a live frame: one look at one person, the live solver, the floor."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from ..body_solving import DEFAULT_FIELD_OF_VIEW
from ..camera import Camera
from ..detection import Detector, catalogue
from ..detection.detector import CropDetector
from ..errors import Video2RigError
from ..human import DEFAULT_HEIGHT, default_human
from ..ik.live import LiveFrame
from ..ik.live_camera import LiveCamera
from ..keypoints import KEYPOINT_SETS, Keypoints
from ..kinematics import keypoint_positions
from ..motion import Motion, hemisphere_continuous
from ..onto_rig import leg_length, onto_rig
from ..pipeline import Backend
from ..settings import Settings
from ..skeleton import Skeleton
from .follow import Follower
from .world import RunningWorld

LAG = 2
"""Frames that a pose is behind the newest; see docs/live.md for what other values cost and gain."""

_REHEARSED = 28
"""Frames of the rehearsal: more than the live solver's window."""

_TO_CAMERA = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
"""World to camera, for a camera that looks along +Y."""


class Answer(NamedTuple):
    """What comes of a live frame.

    Attributes:
        keypoints: One frame, in pixels of the source; confidence 0 throughout where nobody was seen.
        pose: Of the frame :data:`LAG` frames earlier, in the world; None while there is none, or before anybody was
            seen.
    """

    keypoints: Keypoints
    pose: LiveFrame | None


class LivePipeline:
    """Frames in, one by one; poses out.

    Attributes:
        skeleton: What the poses are of. keypoint_set: Of the detector. lag: Frames that a pose is behind the newest.
        digests: Of the weights that take part, for the provenance of what is recorded.
    """

    def __init__(
        self,
        settings: Settings,
        video: dict[str, Any],
        backend: Backend,
        skeleton: Skeleton | None = None,
        lag: int = LAG,
    ) -> None:
        """Load and try what is needed, so that the first frame takes no longer than the others.

        Args:
            settings: What the user chose. `person` must be "largest"; `contacts` and `regression` take the whole of a
                motion and do nothing here.
            video: Facts about the source: ``width`` and ``height`` in pixels.
            backend: The networks. skeleton: Of a rig, which takes over the default human's pose; None is that one's.
            lag: Frames to look ahead.

        Raises:
            SkeletonError: The skeleton lacks a joint that keypoints of the detector sit on.
            Video2RigError: Another person is wanted than the largest, or the detector cannot be had.
        """
        if settings.choice().kind != "largest":
            raise Video2RigError(f"live: the largest person is followed; person {settings.person!r} is for videos")
        self._detector = backend.detector(settings.detector)
        self.keypoint_set = self._detector.keypoint_set
        self.lag = lag
        self.digests = catalogue.digests(settings.detector)
        self._body = default_human(settings.height or DEFAULT_HEIGHT, settings.rom)
        self._rig, self._size = skeleton, 1.0 if skeleton is None else leg_length(skeleton) / leg_length(self._body)
        self.skeleton = self._body if skeleton is None else skeleton
        camera = Camera.from_field_of_view(
            int(video["width"]), int(video["height"]), settings.field_of_view or DEFAULT_FIELD_OF_VIEW
        )
        self._has_depth = _try_out(self._detector)
        self._camera = LiveCamera(self._body, self.keypoint_set, self._has_depth, camera)
        self._rehearse(lag, settings.smoothing_hz, camera)
        self._follower = Follower(self._detector)
        self._solver = self._camera.solver(self._body, lag, settings.smoothing_hz)
        self._world = RunningWorld(self._solver.model, camera, settings.tilt)
        self._begun = False
        self._last: np.ndarray | None = None

    def push(self, image: np.ndarray, time: float, scale: float = 1.0) -> Answer:
        """Take the next frame: :meth:`see`, then :meth:`solve`, whose arguments and errors these are."""
        keypoints = self.see(image, time, scale)
        return Answer(keypoints, self.solve(keypoints))

    def see(self, image: np.ndarray, time: float, scale: float = 1.0) -> Keypoints:
        """Return the person's keypoints in the next frame, in pixels of the source; one thread may see while another
        one solves the frame before.

        Args:
            image: [H, W, 3] RGB, uint8. time: Seconds, rising. scale: Source pixels for each of these.
        """
        person = self._follower.step(image, time)
        count = len(KEYPOINT_SETS[self.keypoint_set])
        positions, confidence = np.full((1, count, 2), np.nan), np.zeros((1, count))
        world = np.full((1, count, 3), np.nan) if self._has_depth else None
        if person is not None:
            positions, confidence = (person.positions + 0.5) * scale - 0.5, person.confidence
            world = person.world
        return Keypoints(self.keypoint_set, positions, confidence, np.array([time]), world)

    def solve(self, keypoints: Keypoints) -> LiveFrame | None:
        """Return the pose of the frame that lies the lag back, in the world; None while there is none, or before
        anybody was seen.

        Args:
            keypoints: Of the next frame, as :meth:`see` returns them.

        Raises:
            LiveError: Its time does not follow the last one's.
        """
        points, confidence = self._camera.points(keypoints)
        self._begun |= bool(confidence.any())
        pose = self._solver.push(float(keypoints.times[0]), points, confidence)
        if pose is None or not self._begun:
            return None
        placed = self._world.place(pose)
        return placed if self._rig is None else self._onto(self._rig, placed)

    def _onto(self, rig: Skeleton, frame: LiveFrame) -> LiveFrame:
        """Return a frame of the body as one of a rig, its rotations in the hemisphere of the frame before."""
        arrays = (np.array([frame.time]), frame.rotations[None], frame.root_position[None], frame.confidence[None])
        made = onto_rig(Motion(self._body, *arrays), rig, self._camera.names, self._size)
        rotations = made.rotations if self._last is None else np.concatenate([self._last, made.rotations])
        self._last = hemisphere_continuous(rotations)[-1:]
        return LiveFrame(frame.time, self._last[0], made.root_position[0], made.confidence[0])

    def _rehearse(self, lag: int, smoothing_hz: float | None, camera: Camera) -> None:
        """Solve a body that stands before the camera: what is compiled at its first use is compiled then."""
        joints, frames = len(self._body), _REHEARSED
        rest, times = np.zeros((frames, joints, 4)), np.arange(frames) / 30.0
        rest[..., 0] = 1.0
        roots = np.tile(self._body.offset[0], (frames, 1))
        standing = Motion(self._body, times, rest, roots, np.ones((frames, joints)))
        names = self._camera.names
        points = keypoint_positions(standing, names) @ _TO_CAMERA.T
        hips = (points[:, [names.index("left_hip")]] + points[:, [names.index("right_hip")]]) / 2
        away = np.array([0.0, 0.0, 3.0 * float(np.ptp(points[..., 1]))])
        keypoint_set = next(key for key, known in KEYPOINT_SETS.items() if known == names)
        seen = Keypoints(
            keypoint_set,
            camera.project(points - hips + away),
            np.ones(points.shape[:2]),
            times,
            points - hips if self._has_depth else None,
        )
        solver = self._camera.solver(self._body, lag, smoothing_hz)
        for frame in range(frames):
            one = slice(frame, frame + 1)
            world = None if seen.world is None else seen.world[one]
            shown = Keypoints(keypoint_set, seen.positions[one], seen.confidence[one], times[one], world)
            solver.push(float(times[frame]), *self._camera.points(shown))


def _try_out(detector: Detector) -> bool:
    """Run every network once on a grey picture; return whether the detector tells depth."""
    grey = torch.full((1, 256, 256, 3), 128, dtype=torch.uint8, device=detector.device)
    (people,) = detector.find(grey)
    if isinstance(detector, CropDetector):
        circle = torch.tensor([[128.0, 128.0, 0.0, -100.0]], device=detector.device)
        people = detector.look(grey, circle, torch.zeros(1, dtype=torch.long, device=detector.device))
    return people.world is not None
