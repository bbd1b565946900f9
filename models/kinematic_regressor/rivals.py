# SPDX-License-Identifier: GPL-3.0-or-later
"""The rivals of Zhou et al. 2016, Table 1, on the test: direct joint regression, and a body fitted to its joints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from scipy.spatial.transform import Rotation

from video2rig.human import default_human
from video2rig.ik import solve_markers
from video2rig.keypoints import sites
from video2rig.markers import Markers
from video2rig.regression.features import features
from video2rig.regression.network import Shape, TemporalNetwork
from video2rig.regression.points import POINTS, rays_of
from video2rig.regression.proportions import proportions
from video2rig.skeleton import Skeleton

from .protocol import TestSequence

_TO_Z_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # from a level camera's axes


class JointRegressor:
    """A network of the joint head: joints and points without a body between."""

    def __init__(self, weights: Path) -> None:
        """Read what ``train --head joint`` wrote."""
        state = load_file(weights)
        self._network = TemporalNetwork(default_human(), Shape(width=len(state["norm.weight"])), state["mean"])
        self._network.load_state_dict(state)
        self._network.eval()

    def predict(self, test: TestSequence) -> np.ndarray:
        """Return J joints and P points [T, J + P, 3], metres from the root, in the camera's axes; all is known."""
        rays, confidence = (
            torch.tensor(part, dtype=torch.float32)[None] for part in rays_of(test.keypoints, test.camera)
        )
        told = torch.tensor(proportions(test.body), dtype=torch.float32)[None]
        with torch.inference_mode():
            read, turn = features(rays, confidence, told, torch.ones(1), torch.ones(1))
            places = self._network(read).parameters.unflatten(-1, (-1, 3))
            return (places @ turn)[0].double().numpy()


def fitted(body: Skeleton, places: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return local rotations [T, J, 3, 3], the root's in the camera's axes, of a body fitted to joints and points.

    The paper's ModelFit: bones have the body's lengths, joints their range of motion, and motion is smooth.

    Args:
        places: [T, J + P, 3] metres, in the camera's axes. times: [T] seconds.
    """
    joints, offsets = sites(body, POINTS)
    centres = np.arange(len(body))
    names = (*(f"centre of {name}" for name in body.names), *POINTS)
    markers = Markers(names, places @ _TO_Z_UP.T, np.ones(places.shape[:2]), times)
    on_body = np.concatenate([centres, joints]), np.concatenate([np.zeros((len(body), 3)), offsets])
    solved = solve_markers(body, markers, sites=on_body, estimate_lengths=False).rotations
    rotation = Rotation.from_quat(solved.reshape(-1, 4), scalar_first=True).as_matrix().reshape(*solved.shape[:2], 3, 3)
    rest = body.rest_rotation[0]
    rotation[:, 0] = rest.T @ _TO_Z_UP.T @ rest @ rotation[:, 0]
    return rotation
