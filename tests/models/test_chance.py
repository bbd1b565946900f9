# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.kinematic_regressor.chance import Random
from strategies import seeds


@given(seeds)
def test_the_same_seed_draws_the_same_numbers(seed: int) -> None:
    one, same, other = (
        torch.cat([draw.normal(3), draw.uniform(0, 1, 3), draw.smooth(1, 4, 2).flatten()])
        for draw in (Random(seed), Random(seed), Random(seed + 1))
    )
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_numbers_are_distributed_as_they_are_named() -> None:
    draw = Random(0)
    assert draw.uniform(-2, 6, 20_000).mean() == pytest.approx(2, abs=0.1)
    logarithms = draw.log_uniform(0.01, 1.0, 20_000).log10()
    assert logarithms.min() >= -2 and logarithms.max() <= 0 and logarithms.mean() == pytest.approx(-1, abs=0.02)
    assert draw.chance(0.3, 20_000).float().mean() == pytest.approx(0.3, abs=0.02)
    shares = draw.choice(torch.tensor([1.0, 0.0, 3.0]), 20_000).bincount() / 20_000
    assert shares.tolist() == pytest.approx([0.25, 0.0, 0.75], abs=0.02)


@pytest.mark.parametrize("every", [6, 14])
def test_smooth_numbers_wander_slowly_and_each_by_itself(every: int) -> None:
    curves = Random(1).smooth(300, 120, every, 2).numpy()
    assert curves.shape == (300, 120, 2)
    assert abs(curves.mean()) < 0.03 and curves.var() == pytest.approx(0.5, abs=0.08)
    assert np.diff(curves, axis=1).std() < 2 / every
    assert abs(np.corrcoef(curves[:, 60].T)[0, 1]) < 0.2
    apart = np.corrcoef(curves[:, 20, 0], curves[:, 20 + 3 * every, 0])[0, 1]
    assert abs(apart) < 0.2


@given(seeds, st.integers(1, 60), st.integers(2, 50))
def test_a_burst_is_one_stretch_no_longer_than_said(seed: int, frames: int, longest: int) -> None:
    bursts = Random(seed).bursts(0.7, longest, 40, frames, 3).numpy()
    assert bursts.shape == (40, frames, 3)
    edges = np.diff(np.pad(bursts, ((0, 0), (1, 1), (0, 0))).astype(int), axis=1)
    assert ((edges == 1).sum(1) <= 1).all()
    assert bursts.sum(1).max() <= longest


def test_bursts_come_as_often_as_said() -> None:
    bursts = Random(2).bursts(0.25, 10, 4000, 64)
    assert bursts.any(1).float().mean() == pytest.approx(0.25, abs=0.03)
