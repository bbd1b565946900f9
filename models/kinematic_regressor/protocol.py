# SPDX-License-Identifier: GPL-3.0-or-later
"""The test: clips of subjects that were never trained on, before cameras of every kind, with noise of the detector.

A test sequence is up to 128 frames of a clip of ``cmu_val``, a body with its own proportions, and a picture 1000 pixels
wide with 5 pixels of noise on every keypoint.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from video2rig.camera import Camera
from video2rig.keypoints import KEYPOINT_SETS, Keypoints, sites
from video2rig.kinematics import KinematicChain
from video2rig.regression.proportions import SEGMENTS, bone_segments, offset_segments
from video2rig.skeleton import Skeleton

from .cameras import Range, film
from .chance import Random
from .mocap import Clips

WIDTH = 1000  # pixels
_FRAMES, _SHORTEST = 128, 30
_FIELD_OF_VIEW = (30.0, 75.0)  # degrees
_PROPORTION = 0.05  # standard deviation of the logarithms: of the stature, and of each segment
_SITE = 0.01  # metres, in 3 axes: how far a detector's keypoints lie from where they are expected
_RANGE = Range(off_centre=0.15, moving=0.0, distance=(2.0, 8.0))


@dataclass(frozen=True, eq=False)
class TestSequence:
    """A filmed clip, and the truth.

    Attributes:
        name, action, subject: Of the clip. keypoints: [T] frames at 30 Hz. camera: The true one.
        body: The skeleton with the person's proportions.
        rotation: [T, J, 3, 3] local rotations, the root's in the camera's axes.
        joints: [T, J, 3] metres, in the camera's axes. trust: [T, J] weight of the rotations.
    """

    __test__ = False  # its name is no pytest's

    name: str
    action: str
    subject: str
    keypoints: Keypoints
    camera: Camera
    body: Skeleton
    rotation: np.ndarray
    joints: np.ndarray
    trust: np.ndarray


def sequences(
    clips: Clips, seed: int, noise: float = 5.0, per_window: int = 1, keypoint_set: str = "blazepose_33"
) -> list[TestSequence]:
    """Return test sequences; the same seed gives the same ones.

    Args:
        clips: Of ``cmu_val``. noise: standard deviation in each axis, pixels. per_window: cameras for each 128 frames.
    """
    choose, drawn = Random(seed), []
    for clip, (start, length) in enumerate(zip(clips.start, clips.length, strict=True)):
        for begin in range(start, start + length, _FRAMES):
            frames = slice(begin, min(begin + _FRAMES, start + length))
            if frames.stop - frames.start >= _SHORTEST:
                drawn += [_filmed(clips, clip, frames, choose, noise, keypoint_set) for _ in range(per_window)]
    return drawn


def _filmed(clips: Clips, clip: int, frames: slice, choose: Random, noise: float, keypoint_set: str) -> TestSequence:
    body = _body(clips.skeleton, choose)
    names = KEYPOINT_SETS[keypoint_set]
    count = frames.stop - frames.start
    path = torch.tensor(clips.root[frames]).double()
    camera_rotation, root = film(path[None].float(), choose, _RANGE)
    local = torch.tensor(clips.rotation[frames]).double()
    rest = torch.tensor(body.rest_rotation[0])
    local[:, 0] = rest.T @ camera_rotation[0].double() @ rest @ local[:, 0]
    joints, turned = KinematicChain(body).forward(local, root[0].double())
    site_joint, site_offset = sites(body, names)
    offset = torch.tensor(site_offset) + _SITE * choose.normal(len(names), 3).double()
    points = joints[:, site_joint] + (turned[:, site_joint] @ offset[..., None])[..., 0]
    rays = (points[..., :2] / points[..., 2:].clamp_min(0.3)).numpy()
    camera = _holding(rays, choose)
    pixels = rays * camera.focal + camera.center + noise * choose.normal(count, len(names), 2).double().numpy()
    keypoints = Keypoints(keypoint_set, pixels, np.ones(pixels.shape[:2]), np.arange(count) / 30.0)
    labels = clips.name[clip], clips.action[clip], clips.subject[clip]
    return TestSequence(*labels, keypoints, camera, body, local.numpy(), joints.numpy(), clips.trust[frames])


def _body(skeleton: Skeleton, choose: Random) -> Skeleton:
    """Return a body of other proportions, of the same stature scale on average."""
    proportion = _PROPORTION * (choose.normal(1) + choose.normal(len(SEGMENTS))).numpy()
    factors = np.append(np.exp(proportion.clip(-0.29, 0.26)), 1.0)
    return skeleton.scaled(factors[offset_segments(skeleton)], factors[bone_segments(skeleton)])


def _holding(rays: np.ndarray, choose: Random) -> Camera:
    """Return a camera whose picture, a square, holds all rays, with a field of view that is otherwise any."""
    low, high = np.radians(_FIELD_OF_VIEW)
    needed = min(max(low, 2 * np.arctan(np.abs(rays).max() * 1.02)), np.radians(160))
    view = needed + max(0.0, high - needed) * choose.uniform(0, 1, 1).item()
    return Camera.from_field_of_view(WIDTH, WIDTH, view)
