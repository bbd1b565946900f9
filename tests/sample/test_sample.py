# SPDX-License-Identifier: GPL-3.0-or-later
"""The sample video and its truth belong together, and the truth is a motion that a body could make."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from video2rig.kinematics import KinematicChain
from video2rig.take import Take

HERE = Path(__file__).parent
VIDEO, TRUTH = HERE / "sample.mp4", HERE / "sample_truth.npz"


@pytest.fixture(scope="module")
def truth() -> Take:
    return Take.load(TRUTH)


@pytest.fixture(scope="module")
def joints(truth: Take) -> np.ndarray:
    """[T,J,3] joint positions in the world, metres."""
    motion = truth.motion
    chain = KinematicChain(motion.skeleton)
    local = Rotation.from_quat(motion.rotations[..., [1, 2, 3, 0]].reshape(-1, 4)).as_matrix()
    local = torch.tensor(local.reshape(*motion.rotations.shape[:2], 3, 3))
    return chain.forward(local, torch.tensor(motion.root_position))[0].numpy()


def held(truth: Take, start: float, end: float) -> np.ndarray:
    """[T] bool: the frames of an interval given in seconds."""
    return (truth.motion.times >= start - 1e-6) & (truth.motion.times <= end + 1e-6)


def test_files_are_small() -> None:
    assert VIDEO.stat().st_size < 2_000_000
    assert TRUTH.stat().st_size < 500_000


def test_video_has_the_truths_frames_rate_and_size(truth: Take) -> None:
    video = cv2.VideoCapture(str(VIDEO))
    rate = video.get(cv2.CAP_PROP_FPS)
    frames = 0
    while True:
        decoded, image = video.read()
        if not decoded:
            break
        assert image.shape == (truth.camera.height, truth.camera.width, 3)
        assert image.std() > 20
        frames += 1
    assert frames == len(truth.motion)
    np.testing.assert_allclose(np.arange(frames) / rate, truth.motion.times, atol=1e-4)


def test_truth_is_inside_the_range_of_motion(truth: Take) -> None:
    skeleton = truth.motion.skeleton
    for joint in range(1, len(skeleton)):
        order = skeleton.euler_order[joint][::-1]  # scipy names intrinsic rotations outermost first
        rotation = Rotation.from_quat(truth.motion.rotations[:, joint, [1, 2, 3, 0]])
        found = rotation.as_euler(order)
        for axis, angles in zip(order, found.T, strict=True):
            lower, upper = skeleton.rom[joint, "XYZ".index(axis)]
            assert angles.min() > lower - 1e-5, (skeleton.names[joint], axis)
            assert angles.max() < upper + 1e-5, (skeleton.names[joint], axis)


def test_truth_is_smooth(joints: np.ndarray, truth: Take) -> None:
    rate = 1 / np.diff(truth.motion.times).mean()
    acceleration = np.linalg.norm(np.diff(joints, n=2, axis=0), axis=-1) * rate**2
    assert acceleration.max() < 70  # m/s^2, a foot that stamps
    assert acceleration[:, 0].max() < 10  # of the pelvis: one g is a jump


def test_feet_rest_on_the_floor_and_hold_still(joints: np.ndarray, truth: Take) -> None:
    motion = truth.motion
    rest = motion.skeleton.rest_matrices()[:, 2, 3]
    assert len(motion.contacts) >= 8
    standing = np.zeros(len(motion), dtype=bool)
    for contact in motion.contacts:
        joint, frames = motion.skeleton.index(contact.joint), held(truth, contact.start, contact.end)
        positions = joints[frames, joint]
        assert np.abs(positions[:, 2] - rest[joint]).max() < 0.008, contact
        assert np.linalg.norm((positions - positions.mean(0))[:, :2], axis=1).max() < 0.005, contact
        standing |= frames
    assert standing.mean() > 0.9
    assert joints[..., 2].min() > 0.0


def test_figure_is_in_the_picture_and_moves_all_limbs(joints: np.ndarray, truth: Take) -> None:
    pixels = truth.camera.project(joints)
    assert (pixels > 20).all()
    assert (pixels < [truth.camera.width - 20, truth.camera.height - 20]).all()
    skeleton = truth.motion.skeleton
    for role in ("left_wrist", "right_wrist", "left_ankle", "right_ankle"):
        in_body = joints[:, skeleton.index(role)] - joints[:, 0]
        assert np.ptp(in_body, axis=0).max() > 0.3, role
