# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import torch

from models.kinematic_regressor import errors
from models.kinematic_regressor.chance import Random
from models.kinematic_regressor.errors import detected
from video2rig.keypoints import KEYPOINT_SETS
from video2rig.regression.points import MIRRORED, POINTS, known_of

CLIPS, FRAMES = 400, 40
SIZE = torch.full((CLIPS, FRAMES), 0.1)


def true_rays() -> torch.Tensor:
    """Every point at a place of its own, one person in all clips."""
    generator = torch.Generator().manual_seed(0)
    return (0.1 * torch.randn(1, 1, len(POINTS), 2, generator=generator)).expand(CLIPS, FRAMES, -1, -1)


def test_confidence_is_0_where_a_point_is_lost_and_at_most_1() -> None:
    rays, confidence = detected(true_rays(), SIZE, Random(1))
    assert rays.shape == (CLIPS, FRAMES, len(POINTS), 2) and rays.isfinite().all()
    seen = confidence > 0
    assert confidence[seen].min() >= 0.02 and confidence.max() <= 1.0
    assert 0.05 < (~seen).float().mean() < 0.5
    assert (~seen).all(-1).any(), "frames in which nobody is seen"


def test_clips_show_the_points_of_one_keypoint_set() -> None:
    _, confidence = detected(true_rays(), SIZE, Random(2))
    shown = {tuple(row.nonzero()[:, 0].tolist()) for row in (confidence > 0).any(1)}
    everything = tuple(range(len(POINTS)))
    for name, _ in errors.SETS:
        assert (tuple(sorted(known_of(KEYPOINT_SETS[name])[1].tolist())) if name else everything) in shown
    legless = [points for points in shown if POINTS.index("left_knee") not in points]
    assert legless and all(POINTS.index("nose") in points for points in legless)


def test_errors_are_of_the_size_of_a_detectors() -> None:
    rays, confidence = detected(true_rays(), SIZE, Random(3))
    off = ((rays - true_rays()).norm(dim=-1) / SIZE[..., None])[confidence > 0]
    assert 0.02 < off.median() < 0.1
    sure, unsure = off[confidence[confidence > 0] > 0.9], off[confidence[confidence > 0] < 0.5]
    assert unsure.median() > 2 * sure.median()


def test_errors_grow_with_the_person_in_the_picture() -> None:
    near, far = (detected(true_rays(), size, Random(4))[0] - true_rays() for size in (SIZE, SIZE / 10))
    swapped = errors._swapped(true_rays(), Random(4)) != true_rays()
    kept = ~swapped.any(-1)
    assert torch.allclose(near[kept], 10 * far[kept], atol=1e-4)


def test_legs_and_the_rest_are_swapped_in_bursts() -> None:
    rays = true_rays()
    found = errors._swapped(rays, Random(5))
    mirrored = rays[:, :, torch.tensor(MIRRORED)]
    sided = torch.tensor([index != twin for index, twin in enumerate(MIRRORED)])
    swapped = (found == mirrored).all(-1)
    assert (swapped | (found == rays).all(-1)).all()
    legs = torch.tensor(errors._LEGS)
    of_legs, of_rest = swapped[:, :, sided & legs], swapped[:, :, sided & ~legs]
    for part in (of_legs, of_rest):
        assert torch.equal(part.any(-1), part.all(-1))
        assert 0.02 < part.float().mean() < 0.2
    assert (of_legs[..., 0] & ~of_rest[..., 0]).any() and (of_legs[..., 0] & of_rest[..., 0]).any()
    longest = max(int(row.sum()) for row in of_legs[..., 0])
    assert longest > 5
