# SPDX-License-Identifier: GPL-3.0-or-later
"""Long clips in windows: the steps and the answers of one piece, to rounding, with a bounded need of memory."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from small_problems import disturbed, problem
from strategies import seeds
from video2rig.ik import long_clip, solver
from video2rig.ik.clips import Clips
from video2rig.ik.long_clip import LongClip


def windows_of(monkeypatch: pytest.MonkeyPatch, frames: int) -> None:
    monkeypatch.setattr(long_clip, "WINDOW", frames)


@given(seeds, st.integers(3, 30), st.integers(2, 12), st.sampled_from([0.0, 1e-4, 1.0]))
def test_a_step_in_windows_is_that_of_one_piece(seed: int, frames: int, window: int, damping: float) -> None:
    """With angles held at their bounds, and windows that fit the frames or do not."""
    task = problem(seed, frames=frames, beyond=0.5)
    pose, shared = disturbed(task, seed)
    with pytest.MonkeyPatch.context() as patch:
        windows_of(patch, window)
        pieces = LongClip(task.objective, task.smoothness)
    whole = Clips(task.objective, task.smoothness)
    here, there = whole.evaluate(pose, shared), pieces.evaluate(pose, shared)
    assert float(there.total) == pytest.approx(float(here.total), rel=1e-12)
    expected = whole.step(here, torch.tensor([damping]).double())
    step = pieces.step(there, torch.tensor([damping]).double())
    assert not step.failed.any() and step.shared.shape == expected.shared.shape
    assert torch.allclose(step.frames, expected.frames, rtol=1e-7, atol=1e-9)
    assert (expected.frames == 0).any() == (step.frames == 0).any()


def test_what_cannot_be_factorised_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    task = problem(0, frames=12)
    windows_of(monkeypatch, 5)
    clip = LongClip(task.objective, task.smoothness)
    step = clip.step(clip.evaluate(task.pose, task.shared), torch.tensor([-2.0]).double())
    assert step.failed.all() and torch.isfinite(step.frames).all()


def test_a_start_that_is_not_finite_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    task = problem(1, frames=12)
    windows_of(monkeypatch, 5)
    task.pose.angles[0, 9] = torch.nan
    with pytest.raises(solver.SolveError, match="not finite"):
        solver.solve(task.objective, task.smoothness, task.pose, task.shared)


def test_clips_each_go_through_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    task = problem(2, clips=2, frames=12)
    start, shared = disturbed(task, 2)
    expected = solver.solve(task.objective, task.smoothness, start, shared)
    windows_of(monkeypatch, 5)
    pose, _, cost = solver.solve(task.objective, task.smoothness, start, shared)
    assert torch.allclose(pose.angles, expected[0].angles, atol=1e-6)
    assert torch.allclose(cost, expected[2], rtol=1e-9)
