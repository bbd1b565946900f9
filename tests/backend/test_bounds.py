# SPDX-License-Identifier: GPL-3.0-or-later
import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from strategies import random_motion, seeds
from video2rig.bounds import AtBound, find_at_bounds, joint_angles, summary, to_json
from video2rig.human import default_human
from video2rig.motion import Motion
from video2rig.settings import ROM_PROFILES
from video2rig.skeleton import EULER_ORDERS, Skeleton


def rotations(skeleton: Skeleton, angles: np.ndarray) -> np.ndarray:
    """Return [T, J, 4] quaternions of [T, J, 3] angles about x, y, z; scipy's, for a twin."""
    columns = []
    for joint, order in enumerate(skeleton.euler_order):
        turns = angles[:, joint, ["XYZ".index(axis) for axis in order]]
        columns.append(Rotation.from_euler(order.lower(), turns).as_quat(scalar_first=True))
    return np.stack(columns, axis=1)


def motion_of(skeleton: Skeleton, angles: np.ndarray, times: np.ndarray) -> Motion:
    shape = angles.shape[:2]
    return Motion(skeleton, times, rotations(skeleton, angles), np.zeros((shape[0], 3)), np.ones(shape))


@given(seeds, st.sampled_from(ROM_PROFILES))
def test_angles_inside_a_profiles_box_come_back_exactly(seed: int, name: str) -> None:
    human = default_human(rom=name)
    rng = np.random.default_rng(seed)
    share = np.clip(rng.uniform(-0.2, 1.2, (6, len(human), 3)), 0, 1)  # ends and corners too
    angles = human.rom[..., 0] + share * (human.rom[..., 1] - human.rom[..., 0])
    angles[:, 0] = 0
    got = joint_angles(motion_of(human, angles, np.arange(6.0)))
    assert np.abs(got[:, 1:] - angles[:, 1:]).max() < 1e-7


@given(seeds, st.sampled_from(EULER_ORDERS))
def test_angles_are_those_of_the_box_even_where_its_middle_axis_goes_beyond_90_degrees(seed: int, order: str) -> None:
    rng = np.random.default_rng(seed)
    human = default_human()
    middle = "XYZ".index(order[1])
    rom = human.rom.copy()
    rom[1:] = [-1.0, 1.0]
    rom[1:, middle] = [1.8, 3.0]
    skeleton = dataclasses.replace(human, rom=rom, euler_order=(order,) * len(human))
    angles = rng.uniform(rom[..., 0], rom[..., 1], (4, len(human), 3))
    got = joint_angles(motion_of(skeleton, angles, np.arange(4.0)))
    assert np.abs(got[:, 1:] - angles[:, 1:]).max() < 1e-7


def bent_knee(times: np.ndarray, degrees: np.ndarray, side: str = "left") -> Motion:
    human = default_human()
    angles = np.tile(human.rom.mean(axis=-1), (len(times), 1, 1))
    angles[:, 0] = 0
    angles[:, human.index(f"{side}_knee"), 0] = np.radians(degrees)
    return motion_of(human, angles, times)


def test_a_stay_at_a_bound_is_found_with_its_times_and_share() -> None:
    times = np.arange(60) / 30
    degrees = np.full(60, 40.0)
    degrees[10:20] = -9.6  # the bound is -10
    degrees[30:32] = -10.0  # too short
    degrees[40:50] = -9.4  # outside the tolerance
    (stay,) = find_at_bounds(bent_knee(times, degrees))
    assert (stay.joint, stay.role, stay.motion, stay.upper) == ("shin.L", "left_knee", "extension", False)
    assert stay.title == "left knee extension"
    assert stay.intervals == ((times[10], times[19]),)
    assert stay.share == pytest.approx(12 / 60)
    assert stay.seconds == pytest.approx(0.3)
    assert np.degrees(stay.bound) == pytest.approx(-10)


def test_stays_are_timed_by_the_videos_own_times() -> None:
    times = np.array([0.0, 0.1, 0.15, 0.9, 2.0])
    found = find_at_bounds(bent_knee(times, np.array([135.0, 135.0, 40.0, 134.8, 135.0])))
    (stay,) = found
    assert stay.motion == "flexion" and stay.upper
    assert stay.intervals == ((0.0, 0.1), (0.9, 2.0))


def test_a_right_joint_is_told_by_its_own_words() -> None:
    human = default_human()
    angles = np.zeros((10, len(human), 3))
    angles[:, human.index("left_elbow"), 0] = angles[:, human.index("right_elbow"), 0] = 1.0
    joint = human.index("right_hip")
    angles[:, joint, 2] = human.rom[joint, 2, 1]
    (stay,) = find_at_bounds(motion_of(human, angles, np.arange(10.0)))
    assert stay.title == "right hip abduction"


def test_the_root_locked_axes_and_free_axes_have_no_bounds() -> None:
    human = default_human()
    free = dataclasses.replace(human, rom=np.tile([-np.pi, np.pi], (len(human), 3, 1)))
    turned = np.zeros((10, len(human), 3))
    turned[..., 0] = np.pi
    assert find_at_bounds(motion_of(free, turned, np.arange(10.0))) == ()
    locked = dataclasses.replace(human, rom=np.zeros_like(human.rom))
    assert find_at_bounds(motion_of(locked, np.zeros((10, len(human), 3)), np.arange(10.0))) == ()


def test_in_a_range_narrower_than_the_tolerance_a_joint_sits_at_one_end() -> None:
    human = default_human()
    rom = human.rom.copy()
    rom[human.index("left_knee"), 0] = np.radians([-0.1, 0.1])
    narrow = dataclasses.replace(human, rom=rom)
    angles = np.tile(rom.mean(axis=-1), (10, 1, 1))
    angles[:, narrow.index("left_knee"), 0] = np.radians(0.05)
    angles[:, 0] = 0
    (stay,) = find_at_bounds(motion_of(narrow, angles, np.arange(10.0)))
    assert stay.upper


@given(seeds)
def test_every_stay_lies_within_the_motion_and_is_long_enough(seed: int) -> None:
    motion = random_motion(np.random.default_rng(seed), 30)
    found = find_at_bounds(motion, tolerance=0.2, shortest=0.05)
    assert [stay.seconds for stay in found] == sorted((stay.seconds for stay in found), reverse=True)
    angles = joint_angles(motion)
    for stay in found:
        assert 0 < stay.share <= 1
        joint = motion.skeleton.index(stay.joint)
        for start, end in stay.intervals:
            assert motion.times[0] <= start < end <= motion.times[-1] and end - start >= 0.05 - 1e-9
            inside = (motion.times >= start) & (motion.times <= end)
            assert np.abs(angles[inside, joint, stay.axis] - stay.bound).max() <= 0.2 + 1e-9


def test_one_frame_has_no_stays() -> None:
    assert find_at_bounds(bent_knee(np.zeros(1), np.array([135.0]))) == ()


def stays(count: int) -> tuple[AtBound, ...]:
    return tuple(AtBound(f"bone.{n}", "", 1, True, 1.0, "+Y", 0.25, ((0.0, 1.0), (2.0, 2.5))) for n in range(count))


def test_the_summary_is_short_and_the_report_is_whole() -> None:
    assert summary(()) == ["no joint stayed at the end of its range of motion"]
    assert summary(stays(4), most=3)[0] == "bone.0 +Y at its bound for 1.5 s, 25% of the frames"
    assert len(summary(stays(4), most=3)) == 4 and summary(stays(4), most=3)[-1] == "and 1 more"
    assert len(summary(stays(4), most=4)) == 4
    (line,) = summary(stays(1))
    assert "57.3 degrees about Y" in line and "0.00-1.00, 2.00-2.50 s" in line


def test_json_is_plain() -> None:
    (entry,) = json.loads(json.dumps(to_json(stays(1))))
    assert entry["joint"] == "bone.0" and entry["axis"] == "y" and entry["end"] == "upper"
    assert entry["intervals"] == [[0.0, 1.0], [2.0, 2.5]] and entry["bound_degrees"] == pytest.approx(57.29578)
