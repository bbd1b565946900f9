# SPDX-License-Identifier: GPL-3.0-or-later
"""The solver against a plain dense one, and what it promises of bounds, clips and errors."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from small_problems import Problem, chain, disturbed, problem, solve_densely
from strategies import bodies, seeds
from synthetic import random_pose
from video2rig.ik import clips, solver
from video2rig.ik.evidence import Positions
from video2rig.ik.model import ROOT_DOFS, Pose
from video2rig.ik.objective import Objective
from video2rig.ik.smoothness import Smoothness

EXACTLY = {"iterations": 300, "tolerance": 1e-12}


def of_clip(task: Problem, clip: int) -> Problem:
    one = slice(clip, clip + 1)
    objective = task.objective.mapped(lambda array: array[one])
    return Problem(objective, task.smoothness, task.pose[one], task.shared[one])


@pytest.mark.parametrize(
    ("seed", "frames", "smooth", "lengths", "beyond"),
    [
        (0, 4, True, False, 0.0),
        (1, 6, True, False, 0.0),
        (2, 4, True, False, 0.6),
        (3, 3, True, False, 0.6),
        (4, 4, True, True, 0.0),
        (5, 3, True, True, 0.6),
        (6, 1, False, False, 0.6),
        (7, 1, False, True, 0.0),
        (8, 3, False, False, 0.6),
        (9, 3, False, True, 0.0),
        (10, 2, True, True, 0.0),
    ],
)
def test_it_reaches_the_minimum_of_a_plain_dense_solver(
    seed: int, frames: int, smooth: bool, lengths: bool, beyond: float
) -> None:
    """Inside the range and at its bounds (true angles then lie outside it), frames coupled and by themselves."""
    task = problem(seed, frames=frames, lengths=lengths, beyond=beyond)
    start, shared = disturbed(task, seed)
    plain = solve_densely(task, start, shared, smooth)
    pose, _, cost = solver.solve(task.objective, task.smoothness if smooth else None, start, shared, **EXACTLY)
    model = task.objective.model
    assert float(cost[0]) == pytest.approx(2 * plain.cost, rel=1e-5)
    at_bound = (pose.angles <= model.lower) | (pose.angles >= model.upper)
    assert at_bound.any() or not beyond


@given(seeds, st.booleans(), st.booleans())
@settings(max_examples=10)
def test_no_angle_leaves_its_range(seed: int, smooth: bool, lengths: bool) -> None:
    task = problem(seed, clips=2, beyond=1.0, lengths=lengths)
    start, shared = disturbed(task, seed, size=0.5)
    pose, _, cost = solver.solve(task.objective, task.smoothness if smooth else None, start, shared)
    model = task.objective.model
    assert ((pose.angles >= model.lower) & (pose.angles <= model.upper)).all()
    first = task.objective.linearise(start, shared).cost
    if smooth:
        first = first + task.smoothness.differences(start).cost
    assert (cost <= first + task.objective.shared_cost(shared)).all()


@given(bodies(max_joints=4), seeds, st.integers(1, 5))
@settings(max_examples=15)
def test_any_body_is_solved_to_a_stationary_point(model, seed: int, frames: int) -> None:
    """Bodies whose points tell too little, single joints and those without a free angle among them.

    A root that turns by half a revolution from one frame to the next is left out: the turn itself jumps there.
    """
    rng = np.random.default_rng(seed)
    truth, start = random_pose(model, rng, 1, frames), random_pose(model, rng, 1, frames)
    deviation = torch.tensor(0.02, dtype=torch.float64)
    points = model.points(truth)
    spots = Positions(points, torch.ones(points.shape[:3]).double(), deviation, deviation, robust=False)
    middle = (model.lower + model.upper) / 2
    objective = Objective(model, [spots], middle, middle * 0 + 1.0)
    smoothness = Smoothness(np.arange(frames) / 30, torch.ones(model.size).double(), 1 / 30)
    pose, shared, _ = solver.solve(objective, smoothness, start, torch.zeros(1, 0).double(), **EXACTLY)
    differences = smoothness.differences(pose)
    assume((differences.turn.norm(dim=-1) < np.pi - 0.01).all())
    equations = objective.normal_equations(pose, shared, objective.linearise(pose, shared))
    gradient = equations.gradient + smoothness.gradient(differences)
    held = clips.bound_by_range(model, pose, gradient)
    scale = (equations.hessian.diagonal(dim1=2, dim2=3) + smoothness.hessian_bands(differences)[:, 0] + 1).sqrt()
    assert (gradient / scale)[~held].abs().max() < 0.05


@given(seeds, st.booleans(), st.booleans())
@settings(max_examples=5)
def test_clips_side_by_side_give_what_each_alone_gives(seed: int, smooth: bool, lengths: bool) -> None:
    task = problem(seed, clips=3, lengths=lengths, beyond=0.3)
    start, shared = disturbed(task, seed)
    together, together_shared, costs = solver.solve(
        task.objective, task.smoothness if smooth else None, start, shared, **EXACTLY
    )
    for clip in range(3):
        one, own = of_clip(task, clip), slice(clip, clip + 1)
        alone, alone_shared, cost = solver.solve(
            one.objective, one.smoothness if smooth else None, start[own], shared[own], **EXACTLY
        )
        assert float(cost[0]) == pytest.approx(float(costs[clip]), rel=1e-9)
        assert torch.allclose(alone.angles, together.angles[own], atol=1e-6)
        assert torch.allclose(alone_shared, together_shared[own], atol=1e-6)


def test_clips_of_one_person_share_their_lengths() -> None:
    """All clips weigh in: the lengths are those of the dense solver with one set of them for all."""
    task = problem(3, clips=2, frames=3, lengths=True)
    start, shared = disturbed(task, 3)
    _, found, cost = solver.solve(task.objective, task.smoothness, start, shared, one_person=True, **EXACTLY)
    assert torch.equal(found[0], found[1])
    plain = solve_densely(task, start, shared, smooth=True, one_person=True)
    assert float(cost.sum()) == pytest.approx(2 * plain.cost, rel=1e-5)
    assert np.allclose(found[0].numpy(), plain.x[-found.shape[1] :], atol=1e-4)
    apart = solver.solve(task.objective, task.smoothness, start, shared, **EXACTLY)[1]
    assert not torch.allclose(apart[0], apart[1], atol=1e-3)


@pytest.mark.parametrize("fixed", [1, 2])
def test_fixed_frames_do_not_move_and_others_join_them(fixed: int) -> None:
    task = problem(4, clips=2, frames=5)
    start, shared = disturbed(task, 4)
    pose, _, _ = solver.solve(task.objective, task.smoothness, start, shared, fixed=(fixed, 1))
    for part in ("root_position", "root_rotation", "angles"):
        before, after = getattr(start, part), getattr(pose, part)
        assert torch.equal(after[:, :fixed], before[:, :fixed]) and torch.equal(after[:, -1:], before[:, -1:])
        assert not torch.allclose(after[:, fixed:-1], before[:, fixed:-1])


def test_an_unknown_is_held_only_at_a_bound_that_it_would_cross() -> None:
    model = chain(np.random.default_rng(5))
    pose = random_pose(model, np.random.default_rng(5), 1, 3)
    angles = pose.angles.clone()
    angles[:, 0], angles[:, 1] = model.lower, model.upper
    gradient = torch.ones(1, 3, model.size, dtype=torch.float64)
    held = clips.bound_by_range(model, Pose(pose.root_position, pose.root_rotation, angles), gradient)[0]
    assert not held[:, :ROOT_DOFS].any() and not held[2].any()
    assert held[0, ROOT_DOFS:].all() and not held[1, ROOT_DOFS:].any()


def test_progress_may_abort() -> None:
    task = problem(6)
    steps: list[tuple[int, int]] = []

    class Stop(Exception):
        pass

    def abort(done: int, total: int) -> None:
        steps.append((done, total))
        if done == 2:
            raise Stop

    with pytest.raises(Stop):
        start, shared = disturbed(task, 6, size=0.5)
        solver.solve(task.objective, task.smoothness, start, shared, progress=abort, iterations=20, tolerance=0.0)
    assert steps == [(0, 20), (1, 20), (2, 20)]


@pytest.mark.parametrize("part", ["root_position", "root_rotation", "angles"])
@pytest.mark.parametrize("clips", [1, 2])
def test_a_start_that_is_not_finite_is_an_error_and_no_endless_loop(part: str, clips: int) -> None:
    task = problem(7, clips=clips)
    start, shared = disturbed(task, 7)
    array = getattr(start, part).clone()
    array[-1, 1] = float("nan")
    with pytest.raises(solver.SolveError, match="not finite"):
        solver.solve(task.objective, task.smoothness, dataclasses.replace(start, **{part: array}), shared)
