# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import numpy as np
import pytest
import torch

from models.kinematic_regressor.chance import Random
from models.kinematic_regressor.compose import Composer, Motions
from small_clips import small_clips
from video2rig.kinematics import KinematicChain

CLIPS = small_clips()
SKELETON = CLIPS.skeleton
CHAIN = KinematicChain(SKELETON, torch.float32)


def joints(motion: Motions) -> torch.Tensor:
    """Where the joints are, [B, T, J, 3]."""
    local = CHAIN.local_rotations(motion.angles)
    local[:, :, 0] = CHAIN.rest_rotation[0].T @ motion.orientation
    return CHAIN.forward(local, motion.path)[0]


@pytest.mark.parametrize("frames", [1, 20, 64])
def test_windows_are_motions_that_the_body_can_make(frames: int) -> None:
    motion = Composer(CLIPS, Random(1)).windows(80, frames)
    assert motion.angles.shape == (80, frames, 22, 3) and motion.path.shape == (80, frames, 3)
    low, high = torch.tensor(SKELETON.rom, dtype=torch.float32).unbind(-1)
    inside = (motion.angles >= low - 1e-6) & (motion.angles <= high + 1e-6)
    assert inside[:, :, 1:].all()
    turned = motion.orientation
    assert torch.allclose(turned @ turned.mT, torch.eye(3).expand_as(turned), atol=1e-5)
    assert (torch.linalg.det(turned) > 0).all()
    assert motion.trust.min() >= 0 and motion.trust.max() <= 1 and joints(motion).isfinite().all()


def test_windows_are_smooth_and_differ() -> None:
    motion = Composer(CLIPS, Random(2)).windows(60, 64)
    step = joints(motion).diff(dim=1).norm(dim=-1)
    assert step.max() < 0.35  # metres a frame, at the ends of limbs that are thrown about
    assert len(np.unique(motion.angles[:, :, 5].mean(1).numpy().round(5), axis=0)) == 60


def test_what_is_captured_is_in_the_clips() -> None:
    motion = Composer(CLIPS, Random(3))._captured(40, 10)
    known = Composer(CLIPS, Random(0))._angles
    both = torch.cat([known, known[:, Composer(CLIPS, Random(0))._twin] * torch.tensor([1.0, -1.0, -1.0])])
    nearest = torch.cdist(motion.angles[:, :, 1:].flatten(0, 1).flatten(1), both[:, 1:].flatten(1)).amin(1)
    between_neighbours = known[:, 1:].diff(dim=0).flatten(1).norm(dim=1)[:49].max()
    assert nearest.max() < between_neighbours


def test_a_mirrored_motion_is_its_mirror_image() -> None:
    composer = Composer(CLIPS, Random(4))
    motion = composer.windows(20, 12)
    twin = [SKELETON.index(_other_side(role)) for role in SKELETON.roles]
    image = joints(motion)[:, :, twin] * torch.tensor([-1.0, 1.0, 1.0])
    assert torch.allclose(joints(composer._mirrored(motion)), image, atol=1e-5)


def test_arms_of_another_clip_come_with_their_trust() -> None:
    composer = Composer(CLIPS, Random(5))
    motion, other = composer._captured(400, 2), composer._captured(400, 2)
    motion.trust[:], other.trust[:] = 1.0, 0.5
    mixed = composer._recombined(motion, other)
    taken = (mixed.trust == 0.5)[:, 0]
    assert torch.equal(mixed.angles[:, 0], torch.where(taken[..., None], other.angles[:, 0], motion.angles[:, 0]))
    legs = [joint for joint, role in enumerate(SKELETON.roles) if role.endswith(("hip", "knee", "ankle", "toes"))]
    assert not taken[:, [0, *legs]].any()
    kinds = {tuple(sorted(SKELETON.roles[j] for j in row.nonzero()[:, 0].tolist())) for row in taken}
    arms = [tuple(sorted(f"{side}_{part}" for part in ("elbow", "shoulder", "wrist"))) for side in ("left", "right")]
    assert {(), *arms} < kinds and len(kinds) == 4


def test_a_clip_that_is_shorter_than_a_window_goes_there_and_back() -> None:
    motion = Composer(small_clips(lengths=(12, 9, 15)), Random(6)).windows(30, 64)
    assert joints(motion).isfinite().all()


def _other_side(role: str) -> str:
    side, _, part = role.partition("_")
    return {"left": "right_", "right": "left_"}[side] + part if side in ("left", "right") else role
