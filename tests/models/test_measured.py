# SPDX-License-Identifier: GPL-3.0-or-later
import torch

from models.kinematic_regressor.chance import Random
from models.kinematic_regressor.detector_errors import NAMES, DetectorErrors
from models.kinematic_regressor.measured import Measured
from video2rig.regression.points import POINTS

FRAMES = 20


def _errors(error: torch.Tensor, confidence: torch.Tensor) -> DetectorErrors:
    points = len(NAMES)
    return DetectorErrors(
        error.expand(FRAMES, points, 2).clone(),
        torch.zeros(1, points, 2),
        confidence[:, None].expand(FRAMES, points).clone(),
        torch.zeros(FRAMES, points, 3),
        torch.zeros(FRAMES),
        torch.tensor([FRAMES]),
    )


def _seen(error: torch.Tensor, confidence: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rays = Random(3).normal(16, FRAMES, len(POINTS), 2)
    stature = torch.full((16, FRAMES), 0.5)
    measured = Measured(_errors(error, confidence))
    return rays, *measured.detected(rays, stature, torch.zeros(16, FRAMES), Random(4))


def test_a_detector_without_errors_moves_points_by_offsets_that_stay_but_where_it_swaps_sides():
    rays, seen, confidence = _seen(torch.zeros(2), torch.ones(FRAMES))
    moved = (seen - rays)[confidence > 0].reshape(16, FRAMES, -1, 2)
    still = (moved - moved[:, :1]).abs().amax((1, 2, 3)) < 1e-5
    assert still.sum() > 8  # the others hold a stretch of swapped sides
    assert (moved[still].square().mean().sqrt() / 0.5 - 0.02).abs() < 0.005


def test_points_that_the_detector_lacks_are_not_seen():
    _, _, confidence = _seen(torch.zeros(2), torch.ones(FRAMES))
    lacking = [POINTS.index(name) for name in ("head_top", "pelvis", "left_small_toe")]
    assert (confidence[..., lacking] == 0).all()
    assert (confidence[..., POINTS.index("left_eye")] == 1).all()


def test_frames_in_which_nobody_was_detected_stay_unseen():
    told = torch.ones(FRAMES)
    told[5:9] = 0.0
    _, _, confidence = _seen(torch.full((2,), 0.01), told)
    unseen = (confidence == 0).all(-1)
    assert (unseen.sum(1) == 4).all()
