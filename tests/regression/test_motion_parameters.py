# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from scipy.spatial.transform import Rotation

from strategies import seeds, skeletons
from video2rig.human import default_human
from video2rig.kinematics import KinematicChain
from video2rig.regression.motion_parameters import MotionParameters
from video2rig.skeleton import Skeleton

HUMAN = default_human()


def pose(skeleton: Skeleton, seed: int, frames: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Local rotations [T, J, 3, 3] anywhere inside the range of motion, the root's any, and their angles."""
    rng = np.random.default_rng(seed)
    angles = torch.tensor(rng.uniform(skeleton.rom[..., 0], skeleton.rom[..., 1], (frames, len(skeleton), 3)))
    rotation = KinematicChain(skeleton).local_rotations(angles)
    rotation[:, 0] = torch.tensor(Rotation.random(frames, rng=rng).as_matrix())
    return rotation, angles


@given(skeletons(), seeds)
def test_rotations_that_are_written_are_read_again(skeleton: Skeleton, seed: int) -> None:
    parameters = MotionParameters(skeleton)
    rotation, angles = pose(skeleton, seed)
    written = parameters.written(rotation, angles)
    assert written.shape == (5, parameters.size)
    for bounded in (False, True):
        assert torch.allclose(parameters.rotations(written, bounded), rotation, atol=1e-6)


@given(skeletons(), seeds)
def test_any_numbers_are_rotations(skeleton: Skeleton, seed: int) -> None:
    parameters = MotionParameters(skeleton)
    generator = torch.Generator().manual_seed(seed)
    numbers = 3 * torch.randn(2, 3, parameters.size, generator=generator, dtype=torch.float64)
    rotation = parameters.rotations(numbers)
    assert rotation.shape == (2, 3, len(skeleton), 3, 3)
    assert torch.allclose(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64).expand_as(rotation), atol=1e-9)
    assert (torch.linalg.det(rotation) > 0).all()


@given(skeletons(), seeds)
def test_bounded_angles_are_those_at_the_bounds(skeleton: Skeleton, seed: int) -> None:
    parameters = MotionParameters(skeleton)
    rotation, angles = pose(skeleton, seed)
    beyond = angles + torch.tensor(np.random.default_rng(seed).normal(0, 2, angles.shape))
    low, high = torch.tensor(skeleton.rom).unbind(-1)
    held = KinematicChain(skeleton).local_rotations(torch.minimum(torch.maximum(beyond, low), high))
    found = parameters.rotations(parameters.written(rotation, beyond), bounded=True)
    partly = ~skeleton.free_axes().all(axis=1)
    assert torch.allclose(found[:, partly], held[:, partly], atol=1e-6)


@given(seeds)
def test_hinges_stay_hinges(seed: int) -> None:
    numbers = 5 * torch.randn(8, MotionParameters(HUMAN).size, generator=torch.Generator().manual_seed(seed))
    rotation = MotionParameters(HUMAN).rotations(numbers)
    for hinge in ("left_knee", "right_knee", "left_toes", "right_toes"):
        assert torch.allclose(rotation[:, HUMAN.index(hinge), :, 0], torch.tensor([1.0, 0.0, 0.0]))
        assert torch.allclose(rotation[:, HUMAN.index(hinge), 0], torch.tensor([1.0, 0.0, 0.0]))
