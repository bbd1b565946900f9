# SPDX-License-Identifier: GPL-3.0-or-later
"""Small inverse kinematics on points seen in 3D, and a plain dense solver to hold the real one against."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import OptimizeResult, least_squares
from scipy.spatial.transform import Rotation
from torch import Tensor

from derivatives import moved
from video2rig.ik.evidence import Positions
from video2rig.ik.model import BodyModel, Pose
from video2rig.ik.objective import Objective
from video2rig.ik.smoothness import Smoothness
from video2rig.skeleton import Skeleton


class Problem(NamedTuple):
    """Clips of noisy points: the truth is ``pose`` with ``shared`` logarithms of lengths."""

    objective: Objective
    smoothness: Smoothness
    pose: Pose
    shared: Tensor


def chain(rng: np.random.Generator, joints: int = 3) -> BodyModel:
    """A chain of bones with any axes and ranges, and points enough on each to tell its rotation."""
    bounds = np.sort(rng.uniform(-2.0, 2.0, (joints, 3, 2)), axis=-1)
    bounds[..., 0] -= 0.2
    bounds[:, 2] = 0.0
    skeleton = Skeleton(
        tuple(f"bone.{joint}" for joint in range(joints)),
        tuple(range(-1, joints - 1)),
        ("",) * joints,
        Rotation.random(joints, rng=rng).as_matrix(),
        np.tile([0.0, 0.4, 0.0], (joints, 1)),
        np.full(joints, 0.4),
        ("YZX",) * joints,
        bounds,
    )
    carrier = np.repeat(np.arange(joints), 3)
    place = np.tile([[0.0, 0, 0], [0.15, 0.2, 0], [0.0, 0.3, 0.15]], (joints, 1))
    return BodyModel(skeleton, (carrier, place))


def problem(
    seed: int,
    clips: int = 1,
    frames: int = 4,
    *,
    joints: int = 3,
    noise: float = 0.02,
    lengths: bool = False,
    beyond: float = 0.0,
) -> Problem:
    """A chain that moves smoothly, some of its points unseen.

    Args:
        noise: Standard deviation of a coordinate, metres. lengths: Whether lengths are unknown.
        beyond: Radians by which the true angles may lie outside their range.
    """
    rng = np.random.default_rng(seed)
    model = chain(rng, joints)
    turn = Rotation.from_rotvec(np.cumsum(rng.normal(0, 0.15, (clips * frames, 3)), axis=0)).as_matrix()
    walk = np.cumsum(rng.normal(0, 0.15, (clips, frames, len(model.lower))), axis=1)
    middle, half = (model.lower + model.upper) / 2, (model.upper - model.lower) / 2
    pose = Pose(
        torch.tensor(np.cumsum(rng.normal(0, 0.05, (clips, frames, 3)), axis=1)),
        torch.tensor(turn.reshape(clips, frames, 3, 3)),
        middle + (half + beyond) * torch.tensor(np.tanh(rng.normal(size=len(model.lower)) + walk)),
    )
    shared = torch.tensor(rng.normal(0, 0.1, (clips, model.groups if lengths else 0)))
    points = model.points(pose, shared if lengths else None)
    spots = points + noise * torch.tensor(rng.normal(size=points.shape))
    confidence = torch.tensor(rng.uniform(0.3, 1.0, points.shape[:3]) * (rng.random(points.shape[:3]) > 0.1))
    deviation = torch.tensor(0.02, dtype=torch.float64)
    prior = torch.eye(model.groups, dtype=torch.float64) / 0.2**2 if lengths else None
    evidence = Positions(spots, confidence, deviation, deviation, robust=False)
    objective = Objective(model, [evidence], middle, half + 0.5, prior)
    times = np.cumsum(rng.uniform(0.02, 0.04, frames))
    return Problem(objective, Smoothness(times, torch.full((model.size,), 20.0).double(), 0.03), pose, shared)


def disturbed(task: Problem, seed: int, size: float = 0.15) -> tuple[Pose, Tensor]:
    """A start near the truth, inside the range of motion, and lengths that are not yet known."""
    rng, model = np.random.default_rng(seed), task.objective.model
    step = torch.tensor(rng.normal(0, size, (*task.pose.frames, model.size)))
    return model.retract(task.pose, step), torch.zeros_like(task.shared)


def solve_densely(task: Problem, start: Pose, shared: Tensor, smooth: bool, one_person: bool = False) -> OptimizeResult:
    """Solve with SciPy's trust region for bounded least squares; residuals are differentiated numerically.

    Returns:
        What SciPy returns; ``cost`` is half the sum of squares.
    """
    objective, model = task.objective, task.objective.model
    count = start.root_position[..., 0].numel() * model.size
    half = None if objective.shared is None else torch.linalg.cholesky(objective.shared)
    common_shape = (1 if one_person else len(shared), shared.shape[1])

    def residuals(unknowns: np.ndarray) -> np.ndarray:
        step = torch.from_numpy(unknowns[:count]).reshape(*start.frames, model.size)
        common = torch.from_numpy(unknowns[count:]).reshape(common_shape)
        pose, everyone = moved(model, start, step), common.expand(len(shared), -1)
        features = objective.features(pose, everyone)
        parts = [item.rows(features[:, :, item.where], None).value.flatten() for item in objective.evidence]
        parts.append(((pose.angles - objective.neutral) / objective.deviation).flatten())
        if smooth:
            differences = task.smoothness.differences(pose)
            parts.append((differences.value * differences.weight.sqrt()).flatten())
        if half is not None:
            parts.append((common @ half).flatten())
        return torch.cat(parts).numpy()

    inside = 1e-9
    lower, upper = (torch.full((*start.frames, model.size), sign * torch.inf).double() for sign in (-1, 1))
    lower[..., 6:], upper[..., 6:] = model.lower - start.angles - inside, model.upper - start.angles + inside
    common = shared[:1] if one_person else shared
    free = np.full(common.numel(), np.inf)
    bounds = [np.append(side.flatten().numpy(), sign * free) for side, sign in ((lower, -1), (upper, 1))]
    first = np.append(np.zeros(count), common.flatten().numpy())
    return least_squares(residuals, first, bounds=bounds, xtol=1e-14, ftol=1e-14, gtol=1e-12, max_nfev=300)
