# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from video2rig.human import default_human
from video2rig.ik import NobodySeen, long_clip, sequence, solve_markers
from video2rig.ik.swaps import mirror_by_names, relabelled
from video2rig.keypoints import KEYPOINT_SETS, KeypointsError, sites
from video2rig.kinematics import joint_positions
from video2rig.markers import Markers, MarkersError
from video2rig.motion import Motion
from video2rig.skeleton import Skeleton, SkeletonError


def wandering(seed: int, frames: int = 40, rate: float = 30.0) -> Motion:
    """The default human in smooth motion well inside its range, elbows and knees bent."""
    rng = np.random.default_rng(seed)
    skeleton = default_human()
    times = np.arange(frames) / rate
    low, high = skeleton.rom[..., 0], skeleton.rom[..., 1]
    middle, reach = 0.5 * (low + high), 0.2 * (high - low)
    phase, speed = rng.uniform(0, 2 * np.pi, middle.shape), rng.uniform(0.2, 0.6, middle.shape)
    angles = middle + reach * np.sin(2 * np.pi * speed * times[:, None, None] + phase)
    angles[:, 0] = 0.4 * np.sin(2 * np.pi * 0.3 * times[:, None] + phase[0])
    local = [
        Rotation.from_euler(order.lower(), angles[:, j, ["XYZ".index(axis) for axis in order]]).as_quat(
            scalar_first=True
        )
        for j, order in enumerate(skeleton.euler_order)
    ]
    root = skeleton.offset[0] + 0.2 * np.sin(2 * np.pi * 0.3 * times[:, None] + phase[1])
    return Motion(skeleton, times, np.stack(local, axis=1), root, np.ones((frames, len(skeleton))))


def with_straight_arms(motion: Motion) -> Motion:
    """The motion with its elbows stretched for every other second, at its ends bent in a third of one."""
    bent = np.clip(3.0 * np.abs(np.mod(motion.times, 2.0) - 1.0) - 1.0, 0.0, 1.0)
    elbows = [motion.skeleton.index(f"{side}_elbow") for side in ("left", "right")]
    rotations = motion.rotations.copy()
    flexed = Rotation.from_quat(rotations[:, elbows].reshape(-1, 4), scalar_first=True).as_rotvec()
    flexed = flexed.reshape(-1, 2, 3) * bent[:, None, None]
    rotations[:, elbows] = Rotation.from_rotvec(flexed.reshape(-1, 3)).as_quat(scalar_first=True).reshape(-1, 2, 4)
    return replace(motion, rotations=rotations)


def seen(motion: Motion, names: tuple[str, ...]) -> Markers:
    """The keypoints of a motion, all of them seen."""
    joints, offsets = sites(motion.skeleton, names)
    positions, rotations = joint_positions(motion)
    points = positions[:, joints] + np.einsum("tkij,kj->tki", rotations[:, joints], offsets)
    return Markers(names, points, np.ones(points.shape[:2]), motion.times)


def told_angles(one: Motion, other: Motion) -> np.ndarray:
    """Angles [T, joints] between local rotations, degrees, of hips, knees and shoulders."""
    chosen = [
        one.skeleton.index(f"{side}_{part}") for side in ("left", "right") for part in ("hip", "knee", "shoulder")
    ]
    a, b = (
        Rotation.from_quat(motion.rotations[:, chosen].reshape(-1, 4), scalar_first=True) for motion in (one, other)
    )
    return np.degrees((a.inv() * b).magnitude()).reshape(len(one.times), -1)


def hidden(markers: Markers, where: np.ndarray) -> Markers:
    """Markers of which some [T, K] are not seen."""
    positions = np.where(where[..., None], np.nan, markers.positions)
    return replace(markers, positions=positions, confidence=np.where(where, 0.0, markers.confidence))


def assert_sound(motion: Motion) -> None:
    assert np.isfinite(motion.rotations).all() and np.isfinite(motion.root_position).all()
    assert np.isfinite(motion.confidence).all() and np.isfinite(motion.skeleton.length).all()


def misses(motion: Motion, markers: Markers) -> np.ndarray:
    """Distances [T, K] of the solved keypoints from the markers, metres."""
    return np.linalg.norm(seen(motion, markers.names).positions - markers.positions, axis=-1)


@pytest.mark.parametrize("set_name", ["halpe_26", "blazepose_33"])
@pytest.mark.parametrize("estimate_lengths", [False, True])
def test_the_way_to_markers_and_back(set_name: str, estimate_lengths: bool) -> None:
    truth = wandering(3)
    markers = seen(truth, KEYPOINT_SETS[set_name])
    motion = solve_markers(truth.skeleton, markers, estimate_lengths=estimate_lengths)
    assert_sound(motion)
    # without a neck, the clavicles' lengths and slants are told by how the shoulders move alone
    assert told_angles(truth, motion).mean() < (2.0 if estimate_lengths and set_name == "blazepose_33" else 1.0)
    assert misses(motion, markers).max() < 0.005
    assert motion.confidence.min() > 0.5


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_a_few_frames_are_solved(frames: int) -> None:
    truth = wandering(1, frames)
    markers = seen(truth, KEYPOINT_SETS["halpe_26"])
    motion = solve_markers(truth.skeleton, markers)
    assert_sound(motion)
    assert len(motion.times) == frames
    assert misses(motion, markers).max() < 0.02


def test_bursts_of_exchanged_sides_change_nothing() -> None:
    truth = wandering(2)
    markers = seen(truth, KEYPOINT_SETS["halpe_26"])
    mirror = mirror_by_names(markers.names)
    swapped = np.zeros((len(truth.times), 3), dtype=bool)
    swapped[8:13, 1] = swapped[20, 0] = swapped[28:31, :2] = True
    exchanged = replace(markers, positions=relabelled(markers.positions, swapped, mirror))
    clean, dirty = (solve_markers(truth.skeleton, each, estimate_lengths=False) for each in (markers, exchanged))
    np.testing.assert_array_equal(dirty.rotations, clean.rotations)


def test_outliers_and_gaps_cost_little() -> None:
    truth, rng = wandering(4), np.random.default_rng(0)
    markers = seen(truth, KEYPOINT_SETS["halpe_26"])
    noise = 0.005 * rng.normal(size=markers.positions.shape)
    noise[rng.random(markers.confidence.shape) < 0.01] += 0.5
    away = rng.random(markers.confidence.shape) < 0.2
    away[15:20] = True  # nobody is seen
    motion = solve_markers(truth.skeleton, hidden(replace(markers, positions=markers.positions + noise), away))
    assert_sound(motion)
    assert told_angles(truth, motion).mean() < 6.0
    assert misses(motion, markers).mean() < 0.02
    assert (motion.confidence[15:20] == 0).all() and motion.confidence[25].max() > 0.2


def test_a_limb_that_is_never_seen_has_no_confidence() -> None:
    truth = wandering(5)
    markers = seen(truth, KEYPOINT_SETS["coco_17"])
    away = np.zeros(markers.confidence.shape, dtype=bool)
    away[:, [markers.index(f"left_{part}") for part in ("shoulder", "elbow", "wrist")]] = True
    motion = solve_markers(truth.skeleton, hidden(markers, away))
    assert_sound(motion)
    skeleton = truth.skeleton
    assert (motion.confidence[:, skeleton.index("left_elbow")] == 0).all()
    assert (motion.confidence[:, skeleton.index("right_elbow")] > 0.5).all()


def test_who_stands_still_stays_there() -> None:
    still = wandering(6, 1)
    markers = seen(still, KEYPOINT_SETS["halpe_26"])
    many = Markers(
        markers.names, np.tile(markers.positions, (30, 1, 1)), np.ones((30, len(markers.names))), np.arange(30) / 30
    )
    motion = solve_markers(still.skeleton, many)
    assert_sound(motion)
    assert misses(motion, many).max() < 0.005
    assert np.ptp(motion.root_position, axis=0).max() < 1e-3


def test_far_from_the_origin_all_is_the_same() -> None:
    truth = wandering(7)
    markers = seen(truth, KEYPOINT_SETS["halpe_26"])
    away = np.array([3e4, -2e4, 100.0])
    here = solve_markers(truth.skeleton, markers, estimate_lengths=False)
    there = solve_markers(truth.skeleton, replace(markers, positions=markers.positions + away), estimate_lengths=False)
    np.testing.assert_allclose(there.root_position - away, here.root_position, atol=1e-3)
    assert told_angles(here, there).max() < 0.1


def test_nobody_seen_is_said() -> None:
    markers = seen(wandering(0, 5), KEYPOINT_SETS["coco_17"])
    with pytest.raises(NobodySeen, match="none is seen"):
        solve_markers(default_human(), hidden(markers, np.ones(markers.confidence.shape, dtype=bool)))


def test_markers_of_another_set_are_refused() -> None:
    markers = seen(wandering(0, 5), ("nose", "left_knee"))
    with pytest.raises(KeypointsError, match="'C7' has no place"):
        solve_markers(default_human(), replace(markers, names=("nose", "C7")))


def test_a_skeleton_without_the_roles_is_refused() -> None:
    human = default_human()
    markers = seen(wandering(0, 5), KEYPOINT_SETS["coco_17"])
    bare = replace(human, roles=("",) * len(human))
    with pytest.raises(SkeletonError, match="no joint"):
        solve_markers(bare, markers)


def test_positions_that_are_not_finite_are_refused() -> None:
    markers = seen(wandering(0, 5), KEYPOINT_SETS["coco_17"])
    for bad in (np.nan, np.inf):
        positions = markers.positions.copy()
        positions[2, 3, 1] = bad
        with pytest.raises(MarkersError, match="not finite"):
            replace(markers, positions=positions)


def test_a_skeleton_that_cannot_be_is_refused() -> None:
    human = default_human()
    with pytest.raises(SkeletonError, match="lower bound above"):
        replace(human, rom=human.rom[..., ::-1])
    with pytest.raises(SkeletonError, match="no length"):
        replace(human, length=np.zeros(len(human)))


def test_a_body_that_cannot_turn_is_still_placed() -> None:
    truth = wandering(8, 5)
    stiff = Skeleton(
        **{
            field: getattr(truth.skeleton, field)
            for field in ("names", "parents", "roles", "rest_rotation", "offset", "length", "euler_order")
        },
        rom=np.zeros_like(truth.skeleton.rom),
    )
    motion = solve_markers(stiff, seen(truth, KEYPOINT_SETS["coco_17"]))
    assert_sound(motion)
    assert np.linalg.norm(motion.root_position - truth.root_position, axis=-1).max() < 0.3


def test_a_long_clip_in_windows_has_the_answer_of_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """To 0.1 degrees in every joint and frame, where straight arms leave their twist open."""
    markers = seen(with_straight_arms(wandering(3, 150)), KEYPOINT_SETS["h36m_17"])
    noise = np.random.default_rng(3).normal(0.0, 0.01, markers.positions.shape)
    markers = replace(markers, positions=markers.positions + noise)
    monkeypatch.setattr(sequence, "WHOLE", 100)  # more frames are a long clip, whose lengths come from samples
    monkeypatch.setattr(sequence, "_SAMPLE", 25)
    whole = solve_markers(default_human(), markers)
    monkeypatch.setattr(long_clip, "WINDOW", 40)
    windows = solve_markers(default_human(), markers)
    a, b = (Rotation.from_quat(motion.rotations.reshape(-1, 4), scalar_first=True) for motion in (whole, windows))
    assert np.degrees((a.inv() * b).magnitude()).max() < 0.1
    assert np.abs(whole.root_position - windows.root_position).max() < 1e-4
