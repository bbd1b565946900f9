# SPDX-License-Identifier: GPL-3.0-or-later
import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given

from strategies import seeds, skeletons
from video2rig.human import DEFAULT_HEIGHT, default_human
from video2rig.skeleton import Skeleton, SkeletonError


@given(skeletons())
def test_json_round_trip_is_exact(skeleton: Skeleton) -> None:
    again = Skeleton.from_json(json.loads(json.dumps(skeleton.to_json())))
    for field in dataclasses.fields(Skeleton):
        assert np.array_equal(getattr(again, field.name), getattr(skeleton, field.name)), field.name


@given(skeletons())
def test_scaling_by_one_changes_nothing_and_by_two_doubles_every_distance(skeleton: Skeleton) -> None:
    heads = skeleton.rest_matrices()[:, :3, 3]
    one, two = np.ones(len(skeleton)), np.full(len(skeleton), 2.0)
    same, double = skeleton.scaled(one, one), skeleton.scaled(two, two)
    assert np.allclose(same.rest_matrices(), skeleton.rest_matrices())
    assert np.array_equal(same.length, skeleton.length) and np.array_equal(double.length, 2 * skeleton.length)
    grown = double.rest_matrices()[:, :3, 3]
    assert np.allclose(grown - grown[0], 2 * (heads - heads[0]))


@given(seeds)
def test_other_proportions_stand_at_the_same_height(seed: int) -> None:
    human = default_human()
    scaled = human.scaled(*np.random.default_rng(seed).uniform(0.7, 1.4, (2, len(human))))
    assert scaled.lowest() == pytest.approx(human.lowest())


def test_the_default_human_stands_on_the_floor_facing_minus_y() -> None:
    human = default_human()
    rest = human.rest_matrices()
    heads = rest[:, :3, 3]
    tails = heads + rest[:, :3, 1] * human.length[:, None]
    assert tails[human.index("head"), 2] == pytest.approx(DEFAULT_HEIGHT)
    assert 0 < tails[:, 2].min() < 0.03
    assert heads[human.index("left_shoulder"), 0] > 0 > heads[human.index("right_shoulder"), 0]
    assert tails[human.index("left_toes"), 1] < heads[human.index("left_ankle"), 1]


def test_the_default_human_has_the_degrees_of_freedom_of_the_design() -> None:
    human = default_human()
    free = human.free_axes().sum(axis=1)
    expected = {
        "spine_lower": 3, "spine_middle": 3, "spine_upper": 3, "neck": 3, "head": 3,
        "clavicle": 2, "shoulder": 3, "elbow": 2, "wrist": 2, "hip": 3, "knee": 1, "ankle": 2, "toes": 1,
    }  # fmt: skip
    for role, count in expected.items():
        roles = [role] if role in human.roles else [f"left_{role}", f"right_{role}"]
        assert [free[human.index(name)] for name in roles] == [count] * len(roles), role
    assert free.sum() + 3 == 53


def test_the_default_human_is_symmetric() -> None:
    human = default_human()
    rest = human.rest_matrices()
    for joint, name in enumerate(human.names):
        twin = human.index(name.replace(".L", ".R")) if name.endswith(".L") else None
        if twin is None:
            continue
        assert np.allclose(rest[twin, :3, 3], rest[joint, :3, 3] * [-1, 1, 1])
        assert np.allclose(human.rom[twin, 0], human.rom[joint, 0])
        assert np.allclose(human.rom[twin, 1:], -human.rom[joint, 1:, ::-1])


def test_every_box_is_one_that_blender_decomposes_to_the_same_angles() -> None:
    human = default_human()
    largest = np.degrees(np.abs(human.rom).max(axis=-1))[1:]
    assert largest.sum(axis=1).max() < 270
    middle = [angles["XYZ".index(order[1])] for angles, order in zip(largest, human.euler_order[1:], strict=True)]
    assert max(middle) < 85


@pytest.mark.parametrize("name", ["left_tail", ""])
def test_an_absent_joint_is_refused_with_what_there_is(name: str) -> None:
    with pytest.raises(SkeletonError, match="left_knee"):
        default_human().index(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rom": lambda human: human.rom[..., ::-1]}, "lower bound above"),
        ({"rom": lambda human: np.full_like(human.rom, np.nan)}, "not finite"),
        ({"length": lambda human: human.length * 0}, "no length"),
        ({"parents": lambda human: (-1, -1, *human.parents[2:])}, "only root"),
        ({"rest_rotation": lambda human: human.rest_rotation * 1.1}, "not a rotation"),
        ({"euler_order": lambda human: ("XXY",) * len(human)}, "Euler order"),
        ({"names": lambda human: ("spine",) * len(human)}, "unique"),
        ({"offset": lambda human: human.offset[:3]}, "shape"),
    ],
)
def test_a_skeleton_that_contradicts_itself_is_refused(change: dict, message: str) -> None:
    human = default_human()
    with pytest.raises(SkeletonError, match=message):
        dataclasses.replace(human, **{field: make(human) for field, make in change.items()})


_ENDLESS = {"joints": [{**default_human().to_json()["joints"][0], "parent": float("inf")}]}


@pytest.mark.parametrize("data", [None, {}, {"joints": 3}, {"joints": [{"name": "spine"}]}, {"joints": []}, _ENDLESS])
def test_an_unreadable_description_is_refused(data: object) -> None:
    with pytest.raises(SkeletonError):
        Skeleton.from_json(data)
