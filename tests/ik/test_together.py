# SPDX-License-Identifier: GPL-3.0-or-later
"""Many clips at once, and the way that GPUs take: both give what one clip by the compiled kernels gives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from test_from_markers import hidden, seen, wandering

from video2rig.human import default_human
from video2rig.ik import BodyModel, NobodySeen, Pose, dispatch, solve_markers, solve_markers_together
from video2rig.ik.clips import Clips
from video2rig.ik.from_markers import sequence_of_points
from video2rig.ik.sequence import ORDER, jumping
from video2rig.ik.smoothness import Smoothness
from video2rig.ik.variances import sample_posterior, with_estimated_noise
from video2rig.keypoints import KEYPOINT_SETS, sites
from video2rig.markers import Markers, MarkersError
from video2rig.motion import Motion

NAMES = KEYPOINT_SETS["halpe_26"]
SAME = np.degrees(1e-6)

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def noisy(markers: Markers, deviation: float, seed: int = 0) -> Markers:
    noise = np.random.default_rng(seed).normal(0.0, deviation, markers.positions.shape)
    return replace(markers, positions=markers.positions + noise)


def larger(markers: Markers, factor: float) -> Markers:
    """Markers of a person who is so many times larger."""
    return replace(markers, positions=markers.positions * factor)


def degrees_apart(one: Motion, other: Motion) -> np.ndarray:
    """Angles [T, J] between local rotations."""
    a, b = (Rotation.from_quat(motion.rotations.reshape(-1, 4), scalar_first=True) for motion in (one, other))
    return np.degrees((a.inv() * b).magnitude()).reshape(one.rotations.shape[:2])


def check_same(one: Motion, other: Motion, degrees: float = SAME) -> None:
    assert degrees_apart(one, other).max() < degrees
    assert np.allclose(one.root_position, other.root_position, atol=1e-6)
    assert np.allclose(one.skeleton.offset, other.skeleton.offset, atol=1e-6)
    assert np.allclose(one.confidence, other.confidence, atol=1e-5)
    assert np.array_equal(one.times, other.times)


def clips(count: int, frames: int = 24) -> list[Markers]:
    """Clips of people of several sizes, seen with noise of several sizes."""
    return [
        noisy(larger(seen(wandering(seed, frames), NAMES), 0.9 + 0.1 * seed), 0.003 * (1 + seed), seed)
        for seed in range(count)
    ]


@contextmanager
def by_torch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Send this CPU the way of other devices; arrays are read on the host only after ``cpu()``, as those need it."""
    to_numpy, to_cpu = torch.Tensor.numpy, torch.Tensor.cpu

    def cpu(self: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        host = to_cpu(self, *arguments, **options).clone()
        host.on_host = True  # type: ignore[attr-defined]
        return host

    def numpy(self: torch.Tensor, *arguments: Any, **options: Any) -> np.ndarray:
        assert getattr(self, "on_host", False), "a tensor of the device is read as if it were on the host"
        return to_numpy(self, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(dispatch, "is_compiled", lambda device: False)
        patched.setattr(torch.Tensor, "cpu", cpu)
        patched.setattr(torch.Tensor, "numpy", numpy)
        patched.setattr(torch.Tensor, "__array__", numpy)
        yield


@pytest.mark.parametrize("estimate_lengths", [True, False])
@pytest.mark.parametrize("smoothing_hz", [None, 6.0])
def test_together_is_one_by_one(estimate_lengths: bool, smoothing_hz: float | None) -> None:
    many = clips(3)
    settings: dict[str, Any] = {"estimate_lengths": estimate_lengths, "smoothing_hz": smoothing_hz}
    together = solve_markers_together(default_human(), many, **settings)
    for markers, motion in zip(many, together, strict=True):
        check_same(motion, solve_markers(default_human(), markers, **settings))


def test_clips_of_other_times_and_gaps_keep_their_order() -> None:
    short, late, slow = clips(3, 12)
    late = replace(late, times=late.times + 7.0)
    slow = replace(slow, times=slow.times * 2.0)
    long = seen(wandering(4, 20), NAMES)
    gone = np.zeros(long.confidence.shape, dtype=bool)
    gone[5:8] = True
    many = [short, long, late, hidden(long, gone), slow]
    together = solve_markers_together(default_human(), many)
    assert [len(motion.times) for motion in together] == [12, 20, 12, 20, 12]
    for markers, motion in zip(many, together, strict=True):
        check_same(motion, solve_markers(default_human(), markers))
    assert (together[3].confidence[5:8] == 0).all() and (together[1].confidence[5:8] > 0).all()


def test_lengths_and_noise_are_found_for_each_clip() -> None:
    still = seen(wandering(1, 60), NAMES)
    many = [noisy(larger(still, factor), noise) for factor, noise in ((0.8, 0.001), (1.0, 0.02), (1.2, 0.001))]
    motions = solve_markers_together(default_human(), many)
    thigh = default_human().index("left_knee")
    true = np.linalg.norm(default_human().offset[thigh])
    for motion, factor in zip(motions, (0.8, 1.0, 1.2), strict=True):
        assert np.linalg.norm(motion.skeleton.offset[thigh]) / true == pytest.approx(factor, rel=0.03)
    # what was seen with much noise is followed less closely in time
    unrest = [np.square(np.diff(motion.root_position, n=2, axis=0)).sum() for motion in motions]
    error = [np.square(np.diff(markers.positions.mean(1), n=2, axis=0)).sum() for markers in many]
    assert unrest[1] < 0.5 * error[1]
    # alone, a clip finds the same: the noise of its neighbours does not reach it
    (alone,) = solve_markers_together(default_human(), many[:1])
    check_same(alone, motions[0])


def test_a_clip_that_shows_nobody_is_named() -> None:
    one, other = clips(2, 5)
    empty = hidden(other, np.ones(other.confidence.shape, dtype=bool))
    with pytest.raises(NobodySeen, match="clip 1"):
        solve_markers_together(default_human(), [one, empty])


def test_clips_have_the_same_markers() -> None:
    one, other = clips(2, 5)
    with pytest.raises(MarkersError, match="clip 1"):
        solve_markers_together(default_human(), [one, replace(other, names=tuple(reversed(other.names)))])


def test_no_clips_are_no_motions() -> None:
    assert solve_markers_together(default_human(), []) == []


def test_progress_counts_the_frames_of_all_clips() -> None:
    told: list[tuple[int, int]] = []
    many = [*clips(2, 8), seen(wandering(3, 5), NAMES)]
    solve_markers_together(default_human(), many, progress=lambda done, total: told.append((done, total)))
    assert {total for _, total in told} == {21}
    done = [done for done, _ in told]
    assert min(done) == 0 and 16 <= done[-1] <= max(done) <= 21


@pytest.mark.parametrize("estimate_lengths", [True, False])
def test_the_way_of_gpus_gives_what_the_compiled_one_gives(
    estimate_lengths: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = clips(2, 12)
    expected = [solve_markers(default_human(), markers, estimate_lengths=estimate_lengths) for markers in many]
    with by_torch(monkeypatch):
        together = solve_markers_together(default_human(), many, estimate_lengths=estimate_lengths)
        alone = solve_markers(default_human(), many[0], estimate_lengths=estimate_lengths)
    for motion, compiled in zip([*together, alone], [*expected, expected[0]], strict=True):
        check_same(motion, compiled)


@pytest.mark.parametrize("estimate_lengths", [True, False])
def test_a_step_mixes_no_devices_and_reads_nothing_back(estimate_lengths: bool) -> None:
    # tensors on the meta device have no values: to read one fails, and so does to mix them with those of the CPU
    device, count, frames = torch.device("meta"), 3, 12
    model = BodyModel(default_human(), sites(default_human(), NAMES), device=device)

    def array(*shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=torch.float64, device=device)

    times = np.arange(frames) / 30
    sequence = sequence_of_points(
        model, times, array(count, frames, len(NAMES), 3), array(count, frames, len(NAMES)), estimate_lengths
    )
    objective = sequence.objective
    if not estimate_lengths:
        objective = objective.given(array(count, frames, model.groups))
    smoothness = Smoothness(times, array(count, model.size), 1 / 30, ORDER, jumping(model))
    pose = Pose(array(count, frames, 3), array(count, frames, 3, 3), array(count, frames, len(model.lower)))
    shared = array(count, model.groups if estimate_lengths else 0)
    for _ in range(2):  # the second time with a noise of each clip
        people = Clips(objective, smoothness)
        step = people.step(people.evaluate(pose, shared), array(count))
        moved = model.retract(pose, step.frames)
        for tensor in (moved.root_position, moved.root_rotation, moved.angles, step.shared, step.failed):
            assert tensor.device == device
        posterior = sample_posterior(objective, smoothness, pose, shared, None, one_person=False)
        objective = objective.over(with_estimated_noise(objective.evidence, posterior, one_person=False))
        assert objective.evidence[0].deviation is not None
        assert objective.evidence[0].deviation.shape == (count, frames)
        assert objective.misses(pose, shared).device == device


@needs_cuda
def test_a_gpu_gives_what_the_cpu_gives() -> None:
    many = clips(3)
    on_gpu = solve_markers_together(default_human(), many, device="cuda")
    # noise and smoothness come from samples, which other devices draw otherwise
    for markers, motion in zip(many, on_gpu, strict=True):
        assert degrees_apart(motion, solve_markers(default_human(), markers)).mean() < 0.2
