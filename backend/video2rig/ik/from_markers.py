# SPDX-License-Identifier: GPL-3.0-or-later
"""From points measured in 3D to a motion: triangulated keypoints, or markers of a motion capture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..keypoints import sites as human_sites
from ..markers import Markers, MarkersError
from ..motion import Motion
from ..skeleton import Skeleton
from . import dispatch
from .evidence import Positions
from .model import BodyModel, Sites
from .objective import Objective
from .sequence import WHOLE, Progress, estimate, solve_all, with_deviations
from .sequence import Sequence as People
from .swaps import Mirror, find_swaps, mirror_by_places, relabelled
from .threads import one_thread
from .to_motion import NobodySeen, fill_gaps, joint_confidence, to_motions

_LEAST_NOISE = 1e-4
"""Metres: markers without noise are still not followed further than the arithmetic goes."""

_SAME_TIME = 1e-6
"""Seconds to which times agree of clips that are solved side by side."""

_FRAMES_AT_ONCE, _FRAMES_AT_ONCE_COMPILED = 40_000, 1_000
"""Clips of so many frames are solved side by side at most. On a GPU, a frame takes about half a megabyte; the compiled
kernels go clip by clip, and gain nothing from more than their caches hold."""

_LENGTH_DEVIATION, _SIZE_DEVIATION = 0.1, 0.15
"""How far single lengths stray from the skeleton's, and all of them together: of their logarithms."""


def solve_markers(
    skeleton: Skeleton,
    markers: Markers,
    *,
    sites: Sites | None = None,
    estimate_lengths: bool = True,
    smoothing_hz: float | None = None,
    device: torch.device | str = "cpu",
    progress: Progress = lambda done, total: None,
) -> Motion:
    """Solve joint rotations, the root's path and the lengths of the bones from points in 3D.

    Points that mirror one another are given back to their sides where they were exchanged for a while.

    Args:
        skeleton: Any skeleton; its range of motion bounds the rotations.
        markers: T frames of K points in the world, metres.
        sites: Where the points sit: joints [K] and places [K, 3] in their bones' frames, metres; None places
            keypoints by their names.
        estimate_lengths: Whether the lengths of the bones are unknown, the same in all frames and on both sides.
        smoothing_hz: Cut-off of the smoothness, hertz; None estimates it, as the noise always is.
        device: Where to solve.
        progress: Called with frames done and their total; may raise to abort.

    Returns:
        The motion, on a skeleton with the estimated lengths. Where nothing was seen, its confidence is 0.

    Raises:
        NobodySeen: No marker is seen in any frame.
        KeypointsError: A marker has no place on the skeleton.
        SkeletonError: The skeleton lacks the role that carries one.
    """
    if not (markers.confidence > 0).any():
        raise NobodySeen("markers: none is seen in any frame")
    (motion,) = solve_markers_together(
        skeleton,
        [markers],
        sites=sites,
        estimate_lengths=estimate_lengths,
        smoothing_hz=smoothing_hz,
        device=device,
        progress=progress,
    )
    return motion


def solve_markers_together(
    skeleton: Skeleton,
    many: Sequence[Markers],
    *,
    sites: Sites | None = None,
    estimate_lengths: bool = True,
    smoothing_hz: float | None = None,
    device: torch.device | str = "cpu",
    progress: Progress = lambda done, total: None,
) -> list[Motion]:
    """Solve many clips as :func:`solve_markers` solves one, each with lengths, noise and smoothness of its own.

    Clips are solved side by side whose frames that show anything are equally many and equally far apart, as a GPU
    needs them to be fast; others, and those longer than :data:`sequence.WHOLE`, take their turns.

    Args:
        skeleton: Where the lengths of all people begin. many: Of the same markers in the same order.
        sites, estimate_lengths, smoothing_hz, device: As for :func:`solve_markers`.
        progress: Called with frames done, of all clips, and their total; may raise to abort.

    Returns:
        The motions, in the order of the clips.

    Raises:
        NobodySeen: A clip shows no marker in any frame; its number is said.
        MarkersError: Clips have different markers.
        KeypointsError: A marker has no place on the skeleton.
        SkeletonError: The skeleton lacks the role that carries one.
    """
    if not many:
        return []
    names = many[0].names
    for number, markers in enumerate(many):
        if markers.names != names:
            raise MarkersError(
                f"clip {number} has other markers than clip 0: clips that are solved together must have the same, "
                "in the same order"
            )
        if not (markers.confidence > 0).any():
            raise NobodySeen(f"clip {number}: no marker is seen in any frame")
    sites = human_sites(skeleton, names) if sites is None else sites
    motions: dict[int, Motion] = {}
    with one_thread():
        model = BodyModel(skeleton, sites, device=device)
        mirror = mirror_by_places(names, skeleton, sites)
        clips = [_Clip.of(markers, mirror) for markers in many]
        done, total = 0, sum(len(clip) for clip in clips)
        most = _FRAMES_AT_ONCE_COMPILED if dispatch.is_compiled(model.device) else _FRAMES_AT_ONCE
        for batch in _batches(clips, most):
            chosen, share = [clips[number] for number in batch], sum(len(clips[number]) for number in batch)

            def batch_progress(frames: int, of: int, done: int = done, share: int = share) -> None:
                progress(done + share * frames // of, total)

            found = _solve_batch(model, chosen, estimate_lengths, smoothing_hz, batch_progress)
            motions.update(zip(batch, found, strict=True))
            done += share
    return [motions[number] for number in range(len(many))]


@dataclass(frozen=True, eq=False)
class _Clip:
    """The frames of a clip that show anything, its sides as they should be.

    Attributes:
        seen: [T] bool, of all frames; all_times: [T] theirs, seconds. times: [S] of those that show anything.
        spots: [S, K, 3] metres, finite. confidence: [S, K].
    """

    seen: np.ndarray
    all_times: np.ndarray
    times: np.ndarray
    spots: np.ndarray
    confidence: np.ndarray

    @classmethod
    def of(cls, markers: Markers, mirror: Mirror) -> _Clip:
        """Read a clip, and give points that were exchanged for a while back to their sides."""
        seen = (markers.confidence > 0).any(axis=1)
        times = markers.times[seen]
        swapped = find_swaps(markers.positions[seen], markers.confidence[seen], times, mirror)
        confidence, spots = (
            np.nan_to_num(relabelled(array[seen], swapped, mirror)) for array in (markers.confidence, markers.positions)
        )
        return cls(seen, markers.times, times, spots, confidence)

    def __len__(self) -> int:
        return len(self.times)


def _batches(clips: list[_Clip], most: int) -> Iterator[list[int]]:
    """Return the numbers of clips that are solved together: of equal times, of so many frames at most."""
    alike: dict[tuple[int, ...], list[int]] = {}
    for number, clip in enumerate(clips):
        ticks = tuple(np.rint((clip.times - clip.times[0]) / _SAME_TIME).astype(np.int64).tolist())
        alike.setdefault(ticks, []).append(number)
    for ticks, numbers in alike.items():
        size = 1 if len(ticks) > WHOLE else max(most // len(ticks), 1)
        for begin in range(0, len(numbers), size):
            yield numbers[begin : begin + size]


def _solve_batch(
    model: BodyModel, clips: list[_Clip], estimate_lengths: bool, smoothing_hz: float | None, progress: Progress
) -> list[Motion]:
    """Solve clips of equal times."""
    spots, confidence = (
        torch.tensor(np.stack(arrays), device=model.device)
        for arrays in zip(*((clip.spots, clip.confidence) for clip in clips), strict=True)
    )
    times = clips[0].times - clips[0].times[0]
    sequence = sequence_of_points(model, times, spots, confidence, estimate_lengths)
    lengths = first_lengths(model, spots, confidence) if estimate_lengths else model.no_stretch(len(clips))
    estimates, pose = estimate(sequence, lengths, smoothing_hz, progress)
    pose, shared = solve_all(sequence, estimates, pose, progress)
    found = sequence.objective.over(with_deviations(sequence.objective.evidence, estimates))
    if estimate_lengths:
        lengths = shared[:, : model.groups]
    trusts = joint_confidence(model, confidence, found.misses(pose, shared))
    poses = [fill_gaps(pose[number], clip.times, clip.all_times) for number, clip in enumerate(clips)]
    spread = [_spread(trust, clip) for trust, clip in zip(trusts, clips, strict=True)]
    return to_motions(model, lengths, poses, spread, [clip.all_times for clip in clips])


def _spread(trust: Tensor, clip: _Clip) -> Tensor:
    """Return the confidence [T, J] of all frames, 0 where nothing was seen."""
    if clip.seen.all():
        return trust
    spread = trust.new_zeros(len(clip.seen), trust.shape[1])
    return spread.index_copy(0, torch.from_numpy(np.flatnonzero(clip.seen)).to(trust.device), trust)


def sequence_of_points(
    model: BodyModel, times: np.ndarray, spots: Tensor, confidence: Tensor, estimate_lengths: bool
) -> People:
    """Return T frames in which points of B people were seen in 3D as the solver takes them.

    Args:
        model: The body. times: [T] seconds, rising.
        spots: [B, T, K, 3] metres; any finite value where not seen. confidence: [B, T, K], 0 where not seen.
        estimate_lengths: Whether the lengths of the bones are unknown.
    """
    interval = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    neutral, width = (model.lower + model.upper) / 2, (model.upper - model.lower)
    least = torch.tensor(_LEAST_NOISE, dtype=spots.dtype, device=model.device)
    evidence = Positions(spots, confidence, least, least)
    objective = Objective(model, [evidence], neutral, width, shared=_length_prior(model) if estimate_lengths else None)
    return People(objective, times, interval, spots, confidence)


def _length_prior(model: BodyModel) -> Tensor:
    """Return the inverse covariance [G, G] of the logarithms of the lengths."""
    groups = model.groups
    covariance = _LENGTH_DEVIATION**2 * np.eye(groups) + _SIZE_DEVIATION**2
    return torch.tensor(np.linalg.inv(covariance), device=model.device)


def first_lengths(model: BodyModel, spots: Tensor, confidence: Tensor) -> Tensor:
    """Return [B, G] logarithms of the lengths that distances [B, T] between neighbouring joints tell.

    Lengths that no two points tell take the typical factor of those that are told.

    Args:
        model: The body. spots: [B, T, K, 3] metres. confidence: [B, T, K], 0 where not seen.
    """
    skeleton = model.skeleton
    at_joint = {int(j): k for k, (j, place) in enumerate(zip(*model.sites, strict=True)) if not place.any()}
    bones = [
        (joint, at_joint[parent], at_joint[joint])
        for joint, parent in enumerate(skeleton.parents)
        if model.lengths.offset_group[joint] >= 0 and joint in at_joint and parent in at_joint
    ]
    if not bones:
        return model.no_stretch(len(spots))
    joints, begin, end = np.array(bones).T
    seen = (confidence[..., begin] > 0) & (confidence[..., end] > 0)
    distance = (spots[:, :, begin] - spots[:, :, end]).norm(dim=-1)
    # told apart on the host: few numbers, of irregular groups
    distance = torch.where(seen, distance, torch.nan).nanmedian(1).values.cpu().numpy()
    factor = distance / np.linalg.norm(skeleton.offset[joints], axis=1)
    member = model.lengths.offset_matrix()[joints].astype(bool)
    factors = np.ones((len(spots), model.groups))
    for clip, told in enumerate(factor):
        known = np.isfinite(told)
        means = np.array([told[known & of].mean() if (known & of).any() else np.nan for of in member.T])
        usual = np.nanmedian(means) if known.any() else 1.0
        factors[clip] = np.where(np.isfinite(means), means, usual)
    return torch.tensor(np.log(factors.clip(0.3, 3.0)), device=model.device)
