# SPDX-License-Identifier: GPL-3.0-or-later
"""The way of a frame: detection, then inverse kinematics over the whole sequence, then the world.

The command line, the batch runner and the server all call this; none has logic of its own.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from . import __version__, weights
from .camera import Camera
from .detection import BlazePose, FollowOne
from .device import resolve_device
from .frames import VideoSource, fitted
from .ground import estimate_up, find_contacts, place_camera, up_of_tilt
from .human import DEFAULT_HEIGHT, default_human
from .ik import Anchors, BodyModel, Pose, SequenceSolver, Solution
from .keypoints import Keypoints
from .motion import Contact, Motion
from .settings import Settings
from .take import Take
from .wire import Limits

DEFAULT_FIELD_OF_VIEW = np.radians(62.0)
"""Across the longer side of the picture: the main camera of common phones while filming, within 10 degrees."""

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, what is done and the total; may raise to abort."""

_FEET = {"heel": "foot", "big_toe": "toe"}  # keypoints that touch the floor, and the bones that carry them
_ANCHOR_DEVIATION = (0.01, 0.01, 0.02)  # metres along the world's x, y, z


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
        self.detector = BlazePose.load(self.device)


class Pipeline:
    """One video on its way: frames are pushed in order, then the whole is solved."""

    def __init__(self, settings: Settings, video: dict[str, Any], backend: Backend) -> None:
        """Begin a video.

        Args:
            settings: What the user chose.
            video: Facts about it: ``width`` and ``height`` in pixels as displayed; the rest is passed on to the take.
            backend: The networks.
        """
        self._settings = settings
        self._video = dict(video)
        self._backend = backend
        self._follower = FollowOne(backend.detector, fps=float(video.get("fps") or 30.0))
        self._times: list[np.ndarray] = []
        self._scales: list[np.ndarray] = []

    def push(self, images: np.ndarray, times: np.ndarray, scale: float = 1.0) -> None:
        """Detect the person in the next frames.

        Args:
            images: [B, H, W, 3] RGB, uint8. times: [B] seconds from the video's first frame.
            scale: Pixels of the source video for each pixel of these images.
        """
        self._follower.push(images)
        self._times.append(np.asarray(times, dtype=np.float64))
        self._scales.append(np.full(len(images), scale))

    def push_all(self, source: VideoSource, progress: Progress = lambda stage, done, total: None) -> None:
        """Read a whole video, as small as a client would send it.

        Raises:
            VideoError: It cannot be read.
        """
        for frame in source.frames():
            shrunk, scale = fitted(frame, Limits().max_side)
            self.push(shrunk.image[None], np.array([frame.time]), scale)
            progress("detecting", frame.index + 1, max(source.info.frame_count, frame.index + 1))

    def solve(self, progress: Progress = lambda stage, done, total: None) -> Take:
        """Solve all frames that were pushed.

        Raises:
            NobodySeen: No frame shows a person.
        """
        return solve_keypoints(self.keypoints(), self._settings, self._video, self._provenance(), progress)

    def keypoints(self) -> Keypoints:
        """Return what was seen of the person; no frame can be pushed after."""
        self._follower.finish()
        positions, confidence, world = self._follower.keypoints()
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
            "weights": weights.digests(self._settings.detector),
            "settings": self._settings.to_json(),
        }


def solve_keypoints(
    keypoints: Keypoints,
    settings: Settings,
    video: dict[str, Any],
    provenance: dict[str, Any],
    progress: Progress = lambda stage, done, total: None,
) -> Take:
    """Solve keypoints, whichever detector they are from.

    Args:
        keypoints: T frames. settings: What the user chose.
        video: Facts about the video: ``width`` and ``height`` in pixels as displayed; the rest is passed on.

    Raises:
        NobodySeen: No frame shows a person.
    """
    camera = Camera.from_field_of_view(
        int(video["width"]), int(video["height"]), settings.field_of_view or DEFAULT_FIELD_OF_VIEW
    )
    solver = SequenceSolver(default_human(settings.height or DEFAULT_HEIGHT), keypoints, camera, settings.smoothing_hz)
    solution = solver.solve(lambda done, total: progress("solving", done, total))
    camera = _place(camera, solver.model, solution.pose, settings.tilt)
    contacts: tuple[Contact, ...] = ()
    if settings.contacts == "auto":
        feet = _feet(solver.model, solution.pose, camera)
        contacts = find_contacts(feet, keypoints.times)
        anchors = _hold(solver.model, feet, contacts, keypoints.times, camera)
        solution = solver.solve_again(
            solution, anchors, lambda done, total: progress("holding feet still", done, total)
        )
    motion = to_motion(solver.model, solution, camera, keypoints.times, contacts, provenance)
    return Take(motion, keypoints, camera, video)


def to_motion(
    model: BodyModel,
    solution: Solution,
    camera: Camera,
    times: np.ndarray,
    contacts: tuple[Contact, ...],
    provenance: dict[str, Any],
) -> Motion:
    """Turn a solution from the camera's axes into the world, and its matrices into quaternions."""
    pose = solution.pose
    local = model.chain.local_rotations(model.full_angles(pose.angles)).clone()
    to_world = torch.tensor(camera.rotation.T)
    local[:, 0] = model.chain.rest_rotation[0].T @ to_world @ pose.root_rotation
    quaternions = Rotation.from_matrix(local.reshape(-1, 3, 3).numpy()).as_quat(scalar_first=True)
    return Motion(
        model.skeleton,
        times,
        quaternions.reshape(*local.shape[:2], 4),
        _to_world(pose.root_position.numpy(), camera),
        solution.confidence.clamp(0, 1).numpy(),
        contacts,
        provenance,
    )


def _to_world(points: np.ndarray, camera: Camera) -> np.ndarray:
    return (points - camera.translation) @ camera.rotation


def _place(camera: Camera, model: BodyModel, pose: Pose, tilt: float | None) -> Camera:
    points = model.points(pose).numpy()
    feet = [k for k, name in enumerate(model.keypoint_names) if name.partition("_")[2] in _FEET]
    positions, _ = model.joints(pose)
    neck = positions[:, model.skeleton.index("neck")].numpy()
    up = estimate_up(neck, points[:, feet].mean(axis=1)) if tilt is None else up_of_tilt(tilt)
    return place_camera(camera, up, points[:, feet], pose.root_position.numpy())


def _feet(model: BodyModel, pose: Pose, camera: Camera) -> dict[str, np.ndarray]:
    """Return the points that touch the floor, [T, 3] in the world, by the name of the bone that carries them."""
    points = _to_world(model.points(pose).numpy(), camera)
    return {
        model.skeleton.names[int(model.site_joint[k])]: points[:, k]
        for k, name in enumerate(model.keypoint_names)
        if name.partition("_")[2] in _FEET
    }


def _hold(
    model: BodyModel, feet: dict[str, np.ndarray], contacts: tuple[Contact, ...], times: np.ndarray, camera: Camera
) -> Anchors:
    """Return anchors that hold every foot in contact at its middle place, at its height when standing."""
    frames, count = len(times), len(model.keypoint_names)
    target = torch.zeros(frames, count, 3, dtype=torch.float64)
    weight = torch.zeros(frames, count, 3, dtype=torch.float64)
    rest = model.skeleton.rest_matrices()
    carriers = [model.skeleton.names[joint] for joint in model.site_joint.tolist()]
    points = [k for k, name in enumerate(model.keypoint_names) if name.partition("_")[2] in _FEET]
    for contact in contacts:
        held = torch.from_numpy((times >= contact.start) & (times <= contact.end))
        for point in (k for k in points if carriers[k] == contact.joint):
            place = np.median(feet[contact.joint][held.numpy()], axis=0)
            standing = rest[int(model.site_joint[point])] @ np.append(model.site_offset[point].numpy(), 1.0)
            place[2] = standing[2]
            target[held, point] = torch.from_numpy(place)
            weight[held, point] = 1.0 / torch.tensor(_ANCHOR_DEVIATION, dtype=torch.float64)
    axes = torch.tensor(camera.rotation.T)
    origin = torch.tensor(camera.rotation.T @ camera.translation)
    return Anchors(axes, target + origin, weight)
