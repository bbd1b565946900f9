# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways out of local minima: an arm that was started in the wrong basin is freed."""

import numpy as np
import pytest
import torch
from torch import Tensor

from synthetic import random_pose
from video2rig.human import default_human
from video2rig.ik.escapes import Branch, branches_of, try_other_starts
from video2rig.ik.evidence import Positions
from video2rig.ik.finishing import finish
from video2rig.ik.model import BodyModel, Pose
from video2rig.ik.objective import Objective
from video2rig.ik.sequence import ORDER, jumping
from video2rig.ik.smoothness import Smoothness
from video2rig.ik.solver import solve
from video2rig.keypoints import KEYPOINT_SETS

NAMES = KEYPOINT_SETS["h36m_17"]
MODEL = BodyModel.for_keypoints(default_human(), NAMES)
MIDDLE, WIDTH = (MODEL.lower + MODEL.upper) / 2, MODEL.upper - MODEL.lower
BRANCHES = branches_of(MODEL)
ARM = next(branch for branch in BRANCHES if NAMES.index("left_elbow") in branch.points)


def objective(spots: Tensor, deviation: float, robust: bool = False) -> Objective:
    noise = torch.tensor(deviation, dtype=torch.float64)
    evidence = Positions(spots, torch.ones(spots.shape[:3]).double(), noise, noise, robust)
    return Objective(MODEL, [evidence], MIDDLE, WIDTH)


def with_arm_at_the_other_end(pose: Pose) -> Pose:
    """The poses with the left arm's angles at those ends of their ranges that are farther away."""
    angles = pose.angles.clone()
    lower, upper = (MIDDLE + share * WIDTH for share in (-0.45, 0.45))
    far = torch.where(angles > MIDDLE, lower, upper)
    angles[..., ARM.angles] = far[..., ARM.angles]
    return Pose(pose.root_position, pose.root_rotation, angles)


def arm_misses(terms: Objective, pose: Pose) -> Tensor:
    """How far the arm's points are off, [B, T] metres."""
    apart = terms.model.points(pose) - terms.evidence[0].target  # type: ignore[union-attr]
    return apart[..., ARM.points, :].norm(dim=-1).amax(-1)


def test_a_body_branches_into_its_limbs_and_its_head() -> None:
    def of(point: str) -> Branch:
        (branch,) = [branch for branch in BRANCHES if NAMES.index(point) in branch.points]
        return branch

    assert len(BRANCHES) == 5
    for side in ("left", "right"):
        for middle, end, role in (("elbow", "wrist", "elbow"), ("knee", "ankle", "knee")):
            limb = of(f"{side}_{middle}")
            assert limb is of(f"{side}_{end}") and limb.hinge is not None
            assert MODEL.skeleton.roles[int(MODEL.dof_joint[limb.hinge])] == f"{side}_{role}"
    assert of("nose") is of("head_top") and of("nose").hinge is None


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_arms_in_single_frames_are_freed(seed: int) -> None:
    count = 60
    true = random_pose(MODEL, np.random.default_rng(seed), count, 1)
    terms, nothing = objective(MODEL.points(true), 0.02), torch.zeros(count, 0).double()
    caught, _, _ = solve(terms, None, with_arm_at_the_other_end(true), nothing)
    stuck = arm_misses(terms, caught)[:, 0] > 0.05
    assert stuck.sum() >= 3  # or the test shows nothing
    freed, _, _ = solve(terms, None, try_other_starts(terms, BRANCHES, caught), nothing)
    assert arm_misses(terms, freed).max() < 0.01


def test_what_is_not_stuck_is_left_alone() -> None:
    true = random_pose(MODEL, np.random.default_rng(3), 10, 1)
    terms = objective(MODEL.points(true), 0.02)
    assert try_other_starts(terms, BRANCHES, true) is true


@pytest.mark.parametrize("seed", [2, 3, 5])
def test_arms_that_are_stuck_for_a_while_are_led_out_by_their_neighbours(seed: int) -> None:
    """Poses that caught an arm, each for most of a second in which it moves a little; some catch the arm there too."""
    rng, count, frames, wrong = np.random.default_rng(seed), 60, 40, slice(8, 32)
    single = random_pose(MODEL, rng, count, 1)
    nothing = torch.zeros(count, 0).double()
    terms = objective(MODEL.points(single), 0.02)
    caught, _, _ = solve(terms, None, with_arm_at_the_other_end(single), nothing)
    stuck = arm_misses(terms, caught)[:, 0] > 0.05
    smoothness = Smoothness(
        np.arange(frames) / 30, torch.full((MODEL.size,), 3e2).double(), 1 / 30, ORDER, jumping(MODEL)
    )
    wave = 0.05 * torch.sin(torch.arange(frames) / 5.0)[:, None]
    freed = 0
    for number in stuck.nonzero()[:, 0].tolist():
        held, off = (pose[number].reshape(1, 1) for pose in (single, caught))
        position, rotation = held.root_position.expand(1, frames, 3), held.root_rotation.expand(1, frames, 3, 3)
        true = Pose(position, rotation, torch.clamp(held.angles + wave, MODEL.lower, MODEL.upper))
        points = MODEL.points(true)
        spots = points + 0.005 * torch.tensor(rng.normal(size=points.shape))
        seen = objective(spots, 0.005, robust=True)
        _, _, least = solve(seen, smoothness, true, nothing[:1])
        angles = true.angles.clone()
        angles[:, wrong] = off.angles
        start, _, cost = solve(seen, smoothness, Pose(position, rotation, angles), nothing[:1])
        if float(cost[0]) < 1.01 * float(least[0]):
            continue  # the neighbours pulled it out already
        solved, _ = finish(seen, smoothness, BRANCHES, start, nothing[:1])
        assert float(solve(seen, smoothness, solved, nothing[:1])[2][0]) == pytest.approx(float(least[0]), rel=0.01)
        freed += 1
    assert freed > 0  # or the test shows nothing
