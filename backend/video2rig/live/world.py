# SPDX-License-Identifier: GPL-3.0-or-later
"""Which way is up and where the floor lies, found while the first frames come, and then kept."""

from __future__ import annotations

import numpy as np

from ..camera import Camera
from ..contacts import Feet
from ..ground import estimate_up, place_camera, up_of_tilt
from ..ik import BodyModel
from ..ik.live import LiveFrame
from ..kinematics import joint_positions, keypoint_positions
from ..motion import Motion
from ..retarget import matrices, quaternions

_FOUND_AFTER = (1, 8, 30, 90)
"""The floor is found anew after so many frames that show the person; then it stays."""


class RunningWorld:
    """The camera over the floor, from the poses so far.

    Attributes:
        camera: As it is known by now.
    """

    def __init__(self, model: BodyModel, camera: Camera, tilt: float | None) -> None:
        """Begin. camera: Its optics. tilt: How far it looks down, radians; None finds it from the person."""
        self.camera = camera
        self._model, self._tilt, self._feet = model, tilt, Feet(model)
        self._frames: list[LiveFrame] = []
        self._settled = False

    def place(self, frame: LiveFrame) -> LiveFrame:
        """Return a frame that was solved in the camera's axes in those of the world, its root's first place above the
        origin."""
        if not self._settled and frame.confidence.any():
            self._frames.append(frame)
            if len(self._frames) in _FOUND_AFTER:
                self._find()
            if len(self._frames) >= _FOUND_AFTER[-1]:
                self._settled, self._frames = True, []
        to_world, rest = self.camera.rotation.T, self._model.skeleton.rest_rotation[0]
        turned = rest.T @ to_world @ rest @ matrices(frame.rotations[:1])
        rotations = np.concatenate([quaternions(turned), frame.rotations[1:]])
        return frame._replace(
            rotations=rotations, root_position=to_world @ (frame.root_position - self.camera.translation)
        )

    def _find(self) -> None:
        times, rotations, roots, confidence = (np.array(arrays) for arrays in zip(*self._frames, strict=True))
        motion = Motion(self._model.skeleton, times, rotations, roots, confidence)
        feet = keypoint_positions(motion, tuple(self._model.names[k] for k in self._feet.keypoints))
        neck = joint_positions(motion)[0][:, self._model.skeleton.index("neck")]
        up = estimate_up(neck, feet.mean(axis=1)) if self._tilt is None else up_of_tilt(self._tilt)
        self.camera = place_camera(self.camera, up, feet, self._feet.standing, roots)
