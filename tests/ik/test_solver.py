# SPDX-License-Identifier: GPL-3.0-or-later
import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_model import MODEL

from strategies import seeds
from synthetic import moving_person
from video2rig.ik import solver
from video2rig.ik.model import ROOT_DOFS
from video2rig.ik.objective import Objective
from video2rig.ik.observation import observe
from video2rig.ik.smoothness import Smoothness
from video2rig.ik.start import start_pose

WEIGHT = torch.full((MODEL.size,), 50.0, dtype=torch.float64)


@given(seeds, st.integers(1, 6))
@settings(max_examples=20)
def test_the_banded_matrix_equals_the_dense_one(seed: int, frames: int) -> None:
    rng = np.random.default_rng(seed)
    size = 4
    half = torch.tensor(rng.normal(size=(frames, size, size)))
    hessian = half @ half.transpose(1, 2)
    smoothness = Smoothness(np.cumsum(rng.uniform(0.01, 0.05, frames)), torch.tensor(rng.uniform(1, 2, size)), 0.03)
    bands = smoothness.hessian_bands(frames)
    held = torch.tensor(rng.random((frames, size)) < 0.3)

    dense = torch.zeros(frames, size, frames, size, dtype=torch.float64)
    for t in range(frames):
        dense[t, :, t, :] += hessian[t]
        for lag in range(min(3, frames - t)):
            dense[t, :, t + lag, :] += torch.diag(bands[lag, t])
            if lag:
                dense[t + lag, :, t, :] += torch.diag(bands[lag, t])
    matrix = dense.reshape(frames * size, frames * size).numpy()
    fixed = held.numpy().ravel()
    matrix[fixed], matrix[:, fixed] = 0, 0
    matrix[fixed, fixed] = 1

    band = solver._banded(hessian, bands, held)
    for row in range(frames * size):
        for column in range(row + 1):
            stored = band[row - column, column] if row - column <= 2 * size else 0.0
            assert np.isclose(stored, matrix[row, column])


def scene(seed: int, frames: int = 20, noise: float = 2.0):
    person = moving_person(np.random.default_rng(seed), frames, noise=noise)
    observation = observe(person.keypoints, person.camera)
    start = start_pose(MODEL, observation)
    return person, Objective(MODEL, observation, start.root_position[:, 2]), start


def test_the_solution_is_a_minimum_inside_the_range_of_motion() -> None:
    person, objective, start = scene(3)
    smoothness = Smoothness(person.keypoints.times, WEIGHT, 1 / 30)
    pose, _ = solver.solve_frames(MODEL, objective, start, 10)
    pose = solver.solve_sequence(MODEL, objective, smoothness, pose, iterations=200, tolerance=1e-12)
    assert ((pose.angles >= MODEL.lower) & (pose.angles <= MODEL.upper)).all()

    _, gradient, hessian = objective(pose)
    gradient = gradient + smoothness.gradient(pose)
    held = solver.bound_by_range(MODEL, pose, gradient)
    scaled = (gradient / hessian.diagonal(dim1=1, dim2=2).sqrt())[~held]
    assert scaled.abs().max() < 0.05


def test_held_frames_do_not_move_and_others_join_them() -> None:
    person, objective, start = scene(4)
    smoothness = Smoothness(person.keypoints.times, WEIGHT, 1 / 30)
    pose = solver.solve_sequence(MODEL, objective, smoothness, start, fixed=2)
    assert torch.equal(pose.angles[:2], start.angles[:2])
    assert torch.equal(pose.root_rotation[:2], start.root_rotation[:2])
    assert not torch.equal(pose.angles[2:], start.angles[2:])


def test_an_unknown_is_held_only_at_a_bound_that_it_would_cross() -> None:
    _, _, start = scene(5, frames=3)
    angles = start.angles.clone()
    angles[0], angles[1] = MODEL.lower, MODEL.upper
    gradient = torch.ones(3, MODEL.size, dtype=torch.float64)
    held = solver.bound_by_range(MODEL, type(start)(start.root_position, start.root_rotation, angles), gradient)
    assert not held[:, :ROOT_DOFS].any()
    assert held[0, ROOT_DOFS:].all() and not held[1, ROOT_DOFS:].any()


def test_progress_may_abort() -> None:
    person, objective, start = scene(6, frames=5)

    class Stop(Exception):
        pass

    def abort(done: int, total: int) -> None:
        raise Stop

    smoothness = Smoothness(person.keypoints.times, WEIGHT, 1 / 30)
    with pytest.raises(Stop):
        solver.solve_sequence(MODEL, objective, smoothness, start, progress=abort)


def test_a_start_that_is_not_finite_is_an_error_and_no_endless_loop() -> None:
    person, objective, start = scene(7, frames=5)
    broken = dataclasses.replace(start, root_position=start.root_position * float("nan"))
    smoothness = Smoothness(person.keypoints.times, WEIGHT, 1 / 30)
    with pytest.raises(solver.SolveError, match="not finite"):
        solver.solve_sequence(MODEL, objective, smoothness, broken)
