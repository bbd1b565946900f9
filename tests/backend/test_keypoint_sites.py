# SPDX-License-Identifier: GPL-3.0-or-later
import dataclasses

import numpy as np
import pytest
from hypothesis import given
from scipy.spatial.transform import Rotation

from strategies import seeds
from video2rig.human import default_human
from video2rig.keypoints import KEYPOINT_SETS, site, sites
from video2rig.skeleton import Skeleton

NAMES = KEYPOINT_SETS["blazepose_33"]


def resting_places(skeleton: Skeleton) -> np.ndarray:
    """Return [K, 3] where the keypoints lie at rest, metres."""
    joints, offsets = sites(skeleton, NAMES)
    rest = skeleton.rest_matrices()[joints]
    return rest[:, :3, 3] + np.einsum("kij,kj->ki", rest[:, :3, :3], offsets)


def rolled(skeleton: Skeleton, rng: np.random.Generator) -> Skeleton:
    """Return the same bones, each rolled about its length by any angle; heads and tails stay where they are."""
    turns = Rotation.from_rotvec(rng.uniform(-np.pi, np.pi, (len(skeleton), 1)) * [0, 1, 0]).as_matrix()
    rest, offset = skeleton.rest_rotation.copy(), skeleton.offset.copy()
    for joint, parent in enumerate(skeleton.parents):
        if parent >= 0:
            rest[joint] = turns[parent].T @ rest[joint]
            offset[joint] = turns[parent].T @ offset[joint]
        rest[joint] = rest[joint] @ turns[joint]
    return dataclasses.replace(skeleton, rest_rotation=rest, offset=offset)


def test_the_default_humans_sites_are_as_they_are_written() -> None:
    human = default_human()
    joints, offsets = sites(human, NAMES)
    written = np.array([site(name)[1] for name in NAMES]) * human.length[joints, None]
    assert np.abs(offsets - written).max() < 1e-12


@given(seeds)
def test_keypoints_lie_where_they_are_however_bones_are_rolled(seed: int) -> None:
    human = default_human()
    assert np.abs(resting_places(rolled(human, np.random.default_rng(seed))) - resting_places(human)).max() < 1e-9


@given(seeds)
def test_keypoints_follow_a_body_that_stands_another_way(seed: int) -> None:
    human = default_human()
    turn = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
    rest, offset = human.rest_rotation.copy(), human.offset.copy()
    rest[0], offset[0] = turn @ rest[0], turn @ offset[0]
    turned = dataclasses.replace(human, rest_rotation=rest, offset=offset)
    assert np.abs(resting_places(turned) - resting_places(human) @ turn.T).max() < 1e-9


def test_bones_that_hang_straight_down_keep_their_own_frame() -> None:
    human = default_human()
    rest = human.rest_rotation.copy()
    joint = human.index("left_wrist")
    world = human.rest_matrices()[:, :3, :3]
    down = Rotation.align_vectors([[0, 0, -1]], [world[joint][:, 1]])[0].as_matrix()
    rest[joint] = world[human.parents[joint]].T @ down @ world[joint]
    hanging = dataclasses.replace(human, rest_rotation=rest)
    assert sites(hanging, ("left_thumb",))[1] == pytest.approx(sites(human, ("left_thumb",))[1])
