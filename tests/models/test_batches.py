# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

from models.kinematic_regressor import batches as module
from models.kinematic_regressor.batches import Batch, Batches
from small_clips import small_clips
from video2rig.regression.points import POINTS
from video2rig.skeleton import Skeleton

CLIPS = small_clips()
SKELETON: Skeleton = CLIPS.skeleton


def assert_equal(one: Batch, other: Batch) -> None:
    for field in fields(Batch):
        assert torch.equal(getattr(one, field.name), getattr(other, field.name)), field.name


def test_the_same_seed_draws_the_same_batches() -> None:
    one, same, other = (Batches(CLIPS, seed).draw(3, 8) for seed in (1, 1, 2))
    assert_equal(one, same)
    assert not torch.equal(one.features, other.features)


def test_batches_go_on_from_a_state() -> None:
    drawn = Batches(CLIPS, 1)
    drawn.draw(3, 8)
    state = drawn.state()
    expected = [drawn.draw(3, 8), drawn.draw(2, 5)]
    resumed = Batches(CLIPS, 7)
    resumed.restore(state)
    for batch in expected:
        assert_equal(resumed.draw(*batch.features.shape[:2]), batch)


def test_a_batch_is_one_body_in_motion() -> None:
    batch = Batches(CLIPS, 3).draw(20, 16)
    rotation = batch.rotation
    assert batch.features.isfinite().all()
    assert torch.allclose(rotation @ rotation.mT, torch.eye(3).expand_as(rotation), atol=1e-5)
    parents = list(SKELETON.parents[1:])
    bones = (batch.joints[:, :, 1:] - batch.joints[:, :, parents]).norm(dim=-1)
    lengths = batch.offset[:, :, 1:].norm(dim=-1)
    assert torch.allclose(bones, lengths.expand_as(bones), atol=1e-5)
    assert (batch.joints[:, :, 0] == 0).all()
    stature = lengths.sum(-1).flatten().numpy()
    assert np.std(np.log(stature)) > 0.02, "bodies differ"
    wrist = SKELETON.index("left_wrist")
    assert torch.equal(batch.points[:, :, POINTS.index("left_wrist")], batch.joints[:, :, wrist])


def test_a_perfect_detectors_points_are_those_of_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "detected", lambda rays, size, choose: (rays, torch.ones(rays.shape[:3])))
    monkeypatch.setattr(module, "_SITE", 0.0)
    monkeypatch.setattr(Batches, "_focal", lambda self, count: (torch.ones(count, 1, 1, 1), torch.ones(count)))
    batch = Batches(CLIPS, 4).draw(10, 6)
    read = batch.features.double()
    size = (read[..., 3 * len(POINTS)] - 2).exp()
    turned = read[..., : 2 * len(POINTS)].unflatten(-1, (-1, 2)) * size[..., None, None]
    points = batch.points.double()
    # some place of the root puts every point onto its ray: (x + root x) = ray x (z + root z), and so for y
    zero, one = torch.zeros_like(turned[..., 0]), torch.ones_like(turned[..., 0])
    rows = torch.cat(
        [torch.stack([one, zero, -turned[..., 0]], -1), torch.stack([zero, one, -turned[..., 1]], -1)], dim=-2
    )
    sides = torch.cat([turned[..., axis] * points[..., 2] - points[..., axis] for axis in (0, 1)], dim=-1)[..., None]
    root = torch.linalg.lstsq(rows, sides).solution
    assert (rows @ root - sides).abs().max() < 1e-4
    assert root[..., 2, 0].min() > 1.0


def test_the_truth_is_told_in_the_camera_that_is_turned_to_the_torso() -> None:
    batch = Batches(CLIPS, 5).draw(200, 4)
    upright = batch.turned[:, 0, 0, :, 1]  # the pelvis points up: against the picture's y
    assert upright[:, 1].median() < -0.6
    facing = batch.turned[:, 0, 0, :, 2]
    assert (facing[:, 2] > 0.3).any() and (facing[:, 2] < -0.3).any()


def test_proportions_and_focal_length_are_told_to_some() -> None:
    batch = Batches(CLIPS, 6).draw(400, 1)
    body_known, focal_known = batch.features[:, 0, -2], batch.features[:, 0, -1]
    assert set(body_known.tolist()) == set(focal_known.tolist()) == {0.0, 1.0}
    assert body_known.mean() == pytest.approx(0.5, abs=0.1) and focal_known.mean() == pytest.approx(0.525, abs=0.1)
    told = batch.features[:, 0, -12:-2] / 8
    assert (told[body_known == 0] == 0).all()
    thigh = (batch.offset[:, 0, SKELETON.index("left_knee")].norm(dim=-1)).log()
    thigh = thigh - np.log(np.linalg.norm(SKELETON.offset[SKELETON.index("left_knee")]))
    off = (told[:, 7] - thigh)[body_known == 1]
    assert off.abs().mean() < 0.05 < thigh.std()
