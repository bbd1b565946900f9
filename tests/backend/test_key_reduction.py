# SPDX-License-Identifier: GPL-3.0-or-later
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from strategies import seeds
from video2rig.key_reduction import (
    Channels,
    KeysError,
    error,
    handles,
    hermite,
    reduce_keys,
    tridiagonal,
)
from video2rig.rotation_channels import axis_angle_curves, euler_curves

KINDS = ("QUATERNION", "AXIS_ANGLE", "XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX")


def motion(rng: np.random.Generator, count: int, roughness: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Frames that rise unevenly, and [T, 4] quaternions wxyz that swing, and jump where there is roughness."""
    frames = 1 + np.cumsum(rng.uniform(0.3, 1.2, count))
    phase, speed = rng.uniform(0, 6, (3, 3)), rng.uniform(0.02, 0.3, (3, 3))
    vector = np.sin(frames[:, None, None] * speed + phase).sum(axis=1) * 0.5
    vector += roughness * np.cumsum(rng.normal(size=(count, 3)) * (rng.random((count, 1)) < 0.1), axis=0)
    vector += 0.1 * roughness * rng.normal(size=(count, 3))
    turned = Rotation.from_rotvec(vector).as_quat(scalar_first=True)
    signs = np.where((turned[1:] * turned[:-1]).sum(axis=1) < 0, -1.0, 1.0).cumprod()
    turned[1:] *= signs[:, None]
    return frames, turned


def as_channel(kind: str, turned: np.ndarray) -> np.ndarray:
    if kind == "QUATERNION":
        return turned
    return axis_angle_curves(turned) if kind == "AXIS_ANGLE" else euler_curves(turned, kind)


def as_rotation(kind: str, values: np.ndarray) -> Rotation:
    """By another library."""
    if kind == "QUATERNION":
        return Rotation.from_quat(values, scalar_first=True)
    if kind == "AXIS_ANGLE":
        return Rotation.from_rotvec(values[:, :1] * values[:, 1:] / np.linalg.norm(values[:, 1:], axis=1)[:, None])
    return Rotation.from_euler(kind.lower(), values[:, ["XYZ".index(letter) for letter in kind]])


def bezier(frames: np.ndarray, values: np.ndarray, left: np.ndarray, right: np.ndarray, at: float) -> float:
    """The value of a curve as Blender has it: the parameter is found by its time, then the value is evaluated."""
    k = int(np.clip(np.searchsorted(frames, at, side="right") - 1, 0, len(frames) - 2))
    points = np.array([(frames[k], values[k]), right[k], left[k + 1], (frames[k + 1], values[k + 1])])
    low, high, now = 0.0, 1.0, points[0]
    for _ in range(60):
        u = (low + high) / 2
        weights = np.array([(1 - u) ** 3, 3 * u * (1 - u) ** 2, 3 * u * u * (1 - u), u**3])
        now = weights @ points
        low, high = (u, high) if now[0] < at else (low, u)
    return float(now[1])


@given(seeds, st.sampled_from(KINDS), st.floats(0.0005, 0.1), st.sampled_from([0.0, 0.2]), st.integers(1, 80))
@settings(max_examples=60, deadline=None)
def test_no_frame_is_beyond_the_bound(seed: int, kind: str, bound: float, roughness: float, count: int) -> None:
    rng = np.random.default_rng(seed)
    frames, turned = motion(rng, count, roughness)
    values = as_channel(kind, turned)
    place = np.cumsum(rng.normal(size=(count, 3)), axis=0) * 0.01
    rotation, location = Channels(kind, values, bound), Channels("VECTOR", place, 0.005)
    sparse = reduce_keys(frames, [rotation, location])
    assert {0, count - 1} <= set(sparse.keys.tolist()) and (np.diff(sparse.keys) > 0).all()
    if count == 1:
        return
    got = [
        hermite(frames[sparse.keys], one.values[sparse.keys], slopes, frames)
        for one, slopes in zip((rotation, location), sparse.slopes, strict=True)
    ]
    assert np.linalg.norm(got[1] - place, axis=1).max() <= 0.005
    assert (as_rotation(kind, got[0]).inv() * as_rotation(kind, values)).magnitude().max() <= bound + 1e-6


@given(seeds, st.sampled_from(KINDS))
@settings(max_examples=40)
def test_errors_are_angles_between_rotations(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    width = 3 if len(kind) == 3 else 4
    one, other = rng.normal(size=(2, 8, width))
    wanted = (as_rotation(kind, one).inv() * as_rotation(kind, other)).magnitude()
    assert np.allclose(error(kind, one, other), wanted, atol=1e-7)
    assert (error(kind, one, one) == 0).all()


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_handles_make_blenders_curve_of_these_slopes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames = np.cumsum(rng.uniform(0.5, 20, 6))
    values, slopes = rng.normal(size=(2, 6))
    left, right = handles(frames, values, slopes)
    for at in rng.uniform(frames[0], frames[-1], 5):
        wanted = hermite(frames, values[:, None], slopes[:, None], np.array([at]))[0, 0]
        assert bezier(frames, values, left, right, at) == pytest.approx(wanted, abs=1e-9)
    # both handles of a key lie on one line through it
    assert np.allclose((right[:, 1] - values) / (right[:, 0] - frames), (values - left[:, 1]) / (frames - left[:, 0]))


@given(seeds, st.integers(1, 40))
def test_tridiagonal_systems_are_solved(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    side = rng.normal(size=max(count - 1, 0))
    diagonal = rng.uniform(0.1, 1, count)
    diagonal[:-1] += np.abs(side)
    diagonal[1:] += np.abs(side)
    right = rng.normal(size=(count, 3))
    matrix = np.diag(diagonal) + np.diag(side, 1) + np.diag(side, -1)
    assert np.allclose(tridiagonal(diagonal, side, right), np.linalg.solve(matrix, right), atol=1e-8)


def test_what_one_curve_can_tell_needs_two_keys() -> None:
    frames = np.arange(200) * 0.8 + 3
    share = (frames - 80) / 80
    still = np.tile([1.0, 0, 0, 0], (200, 1))
    cubic = np.column_stack([share**3 - share, share**2, share])
    sparse = reduce_keys(frames, [Channels("QUATERNION", still, 0.001), Channels("VECTOR", cubic, 0.001)])
    assert sparse.keys.tolist() == [0, 199]


def test_a_looser_bound_leaves_fewer_keys() -> None:
    frames, turned = motion(np.random.default_rng(0), 1000)
    counts = [len(reduce_keys(frames, [Channels("QUATERNION", turned, b)]).keys) for b in np.radians([0.1, 0.5, 2.0])]
    assert counts[0] > 1.2 * counts[1] > 1.4 * counts[2] and counts[1] < 400, counts


@pytest.mark.parametrize("frames", [np.array([]), np.array([1.0, 1.0]), np.array([2.0, 1.0])])
def test_frames_must_rise(frames: np.ndarray) -> None:
    with pytest.raises(KeysError, match="frames that rise"):
        reduce_keys(frames, [Channels("VECTOR", np.zeros((len(frames), 3)), 0.1)])


def test_a_bound_must_be_positive() -> None:
    with pytest.raises(KeysError, match="positive"):
        reduce_keys(np.arange(3.0), [Channels("VECTOR", np.zeros((3, 3)), 0.0)])


def test_a_long_take_is_quick() -> None:
    frames, turned = motion(np.random.default_rng(1), 10_000)
    began = time.process_time()
    for _ in range(2):
        reduce_keys(frames, [Channels("QUATERNION", turned, np.radians(0.5))])
    each = (time.process_time() - began) / 2
    assert each < 1.5, f"22 bones of 10,000 frames would take {22 * each:.0f} s"
