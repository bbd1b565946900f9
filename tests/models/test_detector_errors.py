# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors measured on renders are found again by how a torso faces, apart from what is constant and what is swapped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.kinematic_regressor import detector_errors
from models.kinematic_regressor.detector_errors import (
    LOWER,
    MIRROR,
    NAMES,
    PATH,
    DetectorErrors,
    DetectorErrorsError,
    clip_means,
    facing,
    straightened,
    swapped,
)

POINTS = len(NAMES)
CLIPS = {"towards": 0.0, "right": np.pi / 2, "away": np.pi}
FRAMES = 80
generator = torch.Generator().manual_seed


def body(frames: int, seed: int = 0) -> np.ndarray:
    """Points [frames, K, 2] of somebody whose sides are well apart, in units of the stature."""
    random = np.random.default_rng(seed)
    side = np.array([(-1.0, 0.0, 1.0)[1 + ("left" in name) - ("right" in name)] for name in NAMES])
    points = np.stack([0.15 * side, np.linspace(-0.5, 0.5, POINTS)], axis=-1)
    points[:, 1] = (points[:, 1] + points[list(MIRROR), 1]) / 2
    return points + 0.01 * random.standard_normal((frames, POINTS, 2))


def arrays() -> dict[str, np.ndarray]:
    """A file's contents: a clip for each of CLIPS, whose constant error is its number in percent, to the right."""
    random = np.random.default_rng(1)
    count = FRAMES * len(CLIPS)
    number = np.repeat(np.arange(len(CLIPS)), FRAMES)
    error = 0.01 * random.standard_normal((count, POINTS, 2))
    error[..., 0] += 0.01 * (1 + number)[:, None]
    detected = np.ones(count, dtype=bool)
    detected[5:9] = False
    error[~detected] = 0
    return {
        "truth": body(count).astype(np.float16),
        "error": error.astype(np.float16),
        "world_error": random.standard_normal((count, POINTS, 3)).astype(np.float16),
        "confidence": np.where(detected[:, None], 200, 0) * np.ones((1, POINTS), dtype=np.uint8),
        "detected": detected,
        "facing": np.repeat(list(CLIPS.values()), FRAMES).astype(np.float32),
        "length": np.full(len(CLIPS), FRAMES),
        "keypoints": np.array(NAMES),
    }


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("errors") / "errors.npz"
    np.savez(path, **arrays())
    return path


@pytest.fixture()
def errors(file: Path) -> DetectorErrors:
    return DetectorErrors.load(file)


angles = st.floats(-3.0, 3.0)


@given(turn=angles, walk=angles)
def test_facing_is_seen_from_the_camera(turn: float, walk: float) -> None:
    """Whoever walks around the camera and turns with it shows the same side."""
    about = torch.tensor([[np.cos(walk), 0, np.sin(walk)], [0, 1, 0], [-np.sin(walk), 0, np.cos(walk)]])
    across = torch.tensor([np.cos(turn), 0.1, np.sin(turn)])
    place = torch.tensor([0.0, 0.3, 4.0], dtype=torch.float64)
    before, after = facing(across, place), facing(about @ across, about @ place)
    assert torch.isclose((before - after).cos(), torch.tensor(1.0, dtype=torch.float64), atol=1e-6)
    assert float(before) == pytest.approx(turn, abs=1e-6)


def test_facing_the_right_of_the_picture_has_the_left_side_away() -> None:
    left_is_away = torch.tensor([0.0, 0.0, 1.0])
    assert float(facing(left_is_away, torch.tensor([0.0, 0.0, 3.0]))) == pytest.approx(np.pi / 2)


def test_swaps_are_found_and_put_right() -> None:
    truth = body(40)
    error = 0.01 * np.random.default_rng(2).standard_normal(truth.shape)
    legs = np.arange(40) % 3 == 0
    arms = np.arange(40) % 4 == 0
    which = np.where(LOWER, legs[:, None], arms[:, None])
    reported = np.where(which[..., None], (truth + error)[:, MIRROR], truth + error)
    assert np.array_equal(swapped(truth, reported - truth), np.stack([arms, legs], axis=1))
    right, crossed = straightened(truth, reported - truth)
    np.testing.assert_allclose(right, error, atol=1e-12)
    assert np.array_equal(crossed, which)


def test_sides_that_cannot_be_told_apart_are_not_swapped() -> None:
    truth = body(10)
    truth[..., 0] *= 0.02
    assert not swapped(truth, truth[:, MIRROR] - truth).any()


def test_means_are_those_of_detected_frames() -> None:
    values = np.array([1.0, 3.0, 100.0, 5.0, 7.0])[:, None]
    detected = np.array([True, True, False, False, False])
    np.testing.assert_allclose(clip_means(values, detected, np.array([3, 2])), [[2.0], [0.0]])


def test_constant_part_is_apart(errors: DetectorErrors) -> None:
    np.testing.assert_allclose(errors.constant[..., 0].mean(dim=1), [0.01, 0.02, 0.03], atol=1e-3)
    for clip in errors.error.split(FRAMES):
        np.testing.assert_allclose(clip.mean(dim=0), 0, atol=1e-4)
    assert (errors.error[5:9] == 0).all() and (errors.confidence[5:9] == 0).all()


@pytest.mark.parametrize(("name", "turned"), [("towards", 0.0), ("right", np.pi / 2), ("away", np.pi)])
def test_errors_are_of_somebody_who_faces_alike(errors: DetectorErrors, name: str, turned: float) -> None:
    errors.neighbours = 1
    sample = errors.sample(torch.full((6, 50), turned), generator(0))
    number = list(CLIPS).index(name)
    np.testing.assert_allclose(sample.constant[..., 0].mean(dim=1).abs(), 0.01 * (1 + number), atol=1e-3)


def test_somebody_who_faces_left_is_the_mirror_of_one_who_faces_right(errors: DetectorErrors) -> None:
    errors.neighbours, errors.random_scale = 1, (1.0, 1.0)
    towards_left = torch.full((1, FRAMES), -np.pi / 2)
    left, right = errors.sample(towards_left, generator(0)), errors.sample(-towards_left, generator(0))
    flip = torch.tensor([-1.0, 1.0])
    torch.testing.assert_close(left.error, right.error[..., MIRROR, :] * flip)
    torch.testing.assert_close(left.constant, right.constant[..., MIRROR, :] * flip)
    torch.testing.assert_close(left.world_error, right.world_error[..., MIRROR, :] * torch.tensor([-1.0, 1.0, 1.0]))
    torch.testing.assert_close(left.confidence, right.confidence[..., MIRROR])


@given(seed=st.integers(0, 1000), frames=st.sampled_from([1, 27, 64, 243]), count=st.integers(1, 5))
def test_samples_have_the_shapes_and_are_seeded(seed: int, frames: int, count: int) -> None:
    made = arrays()
    errors = DetectorErrors(
        torch.tensor(made["error"].astype(np.float32)),
        torch.zeros(len(CLIPS), POINTS, 2),
        torch.ones(len(made["facing"]), POINTS),
        torch.tensor(made["world_error"].astype(np.float32)),
        torch.tensor(made["facing"]),
        torch.tensor(made["length"]),
    )
    turning = torch.linspace(-3, 3, frames).expand(count, frames)
    first, again = (errors.sample(turning, generator(seed)) for _ in range(2))
    shapes = [(count, frames, POINTS, 2), (count, POINTS, 2), (count, frames, POINTS), (count, frames, POINTS)]
    assert [tuple(part.shape) for part in first] == [*shapes, (count, frames, POINTS, 3)]
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one, other) and torch.isfinite(one.float()).all()


def test_random_part_is_enlarged(errors: DetectorErrors) -> None:
    errors.neighbours, towards = 1, torch.zeros(200, FRAMES)
    spread = errors.sample(towards, generator(0)).error.std(dim=(1, 2, 3)) / errors.error[:FRAMES].std()
    assert spread.min() > 0.95 and spread.max() < 1.65 and spread.std() > 0.05


def test_swaps_come_in_bursts_of_the_expected_share(errors: DetectorErrors) -> None:
    swaps = errors.sample(torch.zeros(3000, 64), generator(0)).swapped
    legs = swaps[..., NAMES.index("left_knee")]
    assert torch.equal(legs, swaps[..., NAMES.index("right_heel")])
    assert 0.04 < legs.float().mean() < 0.10
    assert 0.15 < legs.any(dim=1).float().mean() < 0.25
    stays = (legs[:, 1:] & legs[:, :-1]).sum() / legs[:, :-1].sum()
    assert 0.75 < stays < 0.9
    errors.swap_share = 0.0
    assert not errors.sample(torch.zeros(50, 64), generator(0)).swapped.any()


def test_detected_points_are_swapped_and_moved(errors: DetectorErrors) -> None:
    points = 400 * torch.tensor(body(64), dtype=torch.float32).expand(300, -1, -1, -1)
    sample = errors.sample(torch.zeros(300, 64), generator(0))
    off = (sample.detected(points, torch.full((300, 64), 400.0)) - points) / 400 - sample.error
    other = (points[..., MIRROR, :] - points) / 400
    torch.testing.assert_close(off, torch.where(sample.swapped[..., None], other, 0.0), atol=1e-4, rtol=0)
    assert sample.swapped.any()


def test_files_that_are_not_errors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DetectorErrorsError, match=r"nothing\.npz"):
        DetectorErrors.load(tmp_path / "nothing.npz")
    (tmp_path / "text.npz").write_text("text")
    with pytest.raises(DetectorErrorsError, match=r"text\.npz"):
        DetectorErrors.load(tmp_path / "text.npz")
    np.savez(tmp_path / "empty.npz", keypoints=np.array(NAMES))
    with pytest.raises(DetectorErrorsError, match="truth"):
        DetectorErrors.load(tmp_path / "empty.npz")
    np.savez(tmp_path / "other.npz", **(arrays() | {"keypoints": np.array(NAMES[::-1])}))
    with pytest.raises(DetectorErrorsError, match="its keypoints are not"):
        DetectorErrors.load(tmp_path / "other.npz")


def test_the_file_that_ships_has_the_errors_of_a_detector() -> None:
    assert PATH.stat().st_size < 6_000_000
    errors = DetectorErrors.load()
    size = errors.error.norm(dim=-1).mean()
    assert 0.003 < size < 0.03
    assert (errors.confidence > 0).any(dim=1).float().mean() > 0.95
    last = detector_errors.FPS * 2
    sample = errors.sample(torch.linspace(-3, 3, 30)[:, None].expand(30, int(last)), generator(0))
    lag = (sample.error[:, 1:] * sample.error[:, :-1]).sum() / sample.error[:, :-1].square().sum()
    assert 0.4 < lag < 0.95
