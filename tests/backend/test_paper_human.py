# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strategies import seeds
from video2rig.human import default_human
from video2rig.keypoints import KEYPOINT_SETS, sites
from video2rig.kinematics import KinematicChain
from video2rig.paper_human import paper_human, paper_sites
from video2rig.skeleton import Skeleton

NAMES = KEYPOINT_SETS["h36m_17"]


def pose(human: Skeleton, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions [J, 3] and orientations [J, 3, 3] for Euler angles [J, 3], the root at the origin."""
    chain = KinematicChain(human)
    found = chain.forward(chain.local_rotations(torch.from_numpy(angles)), torch.zeros(3, dtype=torch.float64))
    return found[0].numpy(), found[1].numpy()


def points(human: Skeleton, angles: np.ndarray) -> dict[str, np.ndarray]:
    positions, rotations = pose(human, angles)
    joints, offsets = paper_sites(human)
    found = positions[joints] + np.einsum("kij,kj->ki", rotations[joints], offsets)
    return dict(zip(NAMES, found, strict=True))


def random_angles(human: Skeleton, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(human.rom[..., 0], human.rom[..., 1])


def test_it_has_the_papers_joints_and_degrees_of_freedom() -> None:
    human = paper_human()
    free = human.free_axes()
    assert len(human) == 17
    assert 3 + free.sum() == 27  # three more for the root's position
    counts = {role: int(count) for role, count in zip(human.roles, free.sum(axis=1), strict=True) if count}
    ball = {f"{side}_{joint}": 3 for side in ("left", "right") for joint in ("shoulder", "hip")}
    hinges = {f"{side}_{joint}": 1 for side in ("left", "right") for joint in ("elbow", "knee")}
    assert counts == {"pelvis": 3, "spine_lower": 2, "neck": 3, **ball, **hinges}


@given(seeds)
def test_the_torso_stays_half_way_between_pelvis_and_neck(seed: int) -> None:
    human = paper_human()
    found = points(human, random_angles(human, seed))
    assert np.allclose(found["spine"], (found["pelvis"] + found["neck"]) / 2, atol=1e-12)


def test_the_trunk_rolls_and_yaws_but_does_not_pitch() -> None:
    human = paper_human()
    trunk = human.index("spine_lower")
    rest = points(human, np.zeros((17, 3)))
    yawed, rolled = np.zeros((17, 3)), np.zeros((17, 3))
    yawed[trunk, 1], rolled[trunk, 2] = 0.3, 0.3
    turned, leant = points(human, yawed), points(human, rolled)
    assert np.allclose(turned["neck"], rest["neck"])
    assert np.hypot(*turned["left_shoulder"][:2]) == pytest.approx(np.hypot(*rest["left_shoulder"][:2]))
    assert abs(turned["left_shoulder"][1] - rest["left_shoulder"][1]) > 0.04
    assert abs(leant["neck"][0]) > 0.1
    assert leant["neck"][1] == pytest.approx(rest["neck"][1])
    assert not human.free_axes()[trunk, 0]


@given(seeds, st.sampled_from(["left_knee", "right_knee", "left_elbow", "right_elbow", "neck"]))
def test_what_a_joint_turns_is_what_hangs_from_it(seed: int, role: str) -> None:
    human = paper_human()
    angles = random_angles(human, seed)
    before = points(human, angles)
    angles[human.index(role), 0] = human.rom[human.index(role), 0, 1] + 0.5
    after = points(human, angles)
    moved = {name for name in NAMES if not np.allclose(before[name], after[name], atol=1e-9)}
    hangs = {"knee": "ankle", "elbow": "wrist"}
    side, _, joint = role.partition("_")
    assert moved == ({"nose", "head_top"} if role == "neck" else {f"{side}_{hangs[joint]}"})


def test_it_stands_where_the_default_human_stands() -> None:
    human, default = paper_human(1.8), default_human(1.8)
    rest, other = human.rest_matrices(), default.rest_matrices()
    for role in set(human.roles) - {"spine_lower", "spine_middle"}:
        mine, theirs = human.index(role), default.index(role)
        assert np.allclose(rest[mine], other[theirs]), role
        assert human.euler_order[mine] == default.euler_order[theirs]
    assert np.allclose(human.rom[human.index("left_knee"), 0], default.rom[default.index("left_knee"), 0])
    spine = [default.index(role) for role in ("spine_lower", "spine_middle", "spine_upper")]
    assert np.allclose(human.rom[human.index("spine_lower"), 1:], default.rom[spine, 1:].sum(axis=0))


def test_points_sit_at_joint_centres_and_the_general_sites_fit_too() -> None:
    human = paper_human()
    joints, offsets = paper_sites(human)
    for name, joint, offset in zip(NAMES, joints, offsets, strict=True):
        if name not in ("nose", "head_top", "spine"):
            assert human.roles[joint] == name
            assert not offset.any()
    general_joints, general_offsets = sites(human, NAMES)
    hips = np.array([name.endswith("_hip") for name in NAMES])
    assert (general_joints == joints)[~hips].all()
    assert np.allclose(general_offsets[~hips], offsets[~hips])
