# SPDX-License-Identifier: GPL-3.0-or-later
"""The temporal inverse kinematics on the test's sequences, with and without the regressor before it."""

from __future__ import annotations

import numpy as np
import torch

from video2rig.camera import Camera
from video2rig.human import default_human
from video2rig.ik import CameraSolver
from video2rig.regression import Regressor, predictor
from video2rig.settings import Settings

from .evaluate import GUESSED_FIELD_OF_VIEW
from .protocol import TestSequence


def solve_test(sequence: TestSequence, regressor: Regressor | None, known: bool) -> tuple[np.ndarray, np.ndarray]:
    """Solve a sequence as the product does.

    Args:
        sequence: Its keypoints are solved. regressor: None does without.
        known: Whether body and focal length are told; else both are estimated, from an average adult and a guess.

    Returns:
        Local rotations [T, J, 3, 3] and joints [T, J, 3], metres, as those of the sequence.
    """
    width, height = sequence.camera.width, sequence.camera.height
    camera = sequence.camera if known else Camera.from_field_of_view(width, height, GUESSED_FIELD_OF_VIEW)
    body = sequence.body if known else default_human()
    solver = CameraSolver(
        body,
        sequence.keypoints,
        camera,
        Settings().smoothing_hz,
        estimate_lengths=not known,
        estimate_focal=not known,
        predict=None if regressor is None else predictor(regressor, body),
    )
    pose, model = solver.solve().pose, solver.model
    joints, turned = model.joints(pose)
    rotation = model.chain.local_rotations(model.full_angles(pose.angles)).clone()
    rotation[:, 0] = model.chain.rest_rotation[0].T @ turned[:, 0]
    return rotation.numpy(), joints.to(torch.float64).numpy()
