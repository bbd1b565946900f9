# SPDX-License-Identifier: GPL-3.0-or-later
"""From points measured in 3D to a motion: triangulated keypoints, or markers of a motion capture."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..keypoints import sites as human_sites
from ..markers import Markers
from ..motion import Motion
from ..skeleton import Skeleton
from .evidence import Positions
from .model import BodyModel, Sites
from .objective import Objective
from .sequence import Progress, Sequence, estimate, solve_all, with_deviations
from .swaps import find_swaps, mirror_by_places, relabelled
from .threads import one_thread
from .to_motion import NobodySeen, fill_gaps, joint_confidence, to_motion

_LEAST_NOISE = 1e-4
"""Metres: markers without noise are still not followed further than the arithmetic goes."""

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
    sites = human_sites(skeleton, markers.names) if sites is None else sites
    seen = (markers.confidence > 0).any(axis=1)
    if not seen.any():
        raise NobodySeen("markers: none is seen in any frame")
    with one_thread():
        model = BodyModel(skeleton, sites, device=device)
        times = markers.times[seen]
        mirror = mirror_by_places(markers.names, skeleton, sites)
        swapped = find_swaps(markers.positions[seen], markers.confidence[seen], times, mirror)
        confidence, spots = (
            torch.tensor(np.nan_to_num(relabelled(array[seen], swapped, mirror)), device=device)
            for array in (markers.confidence, markers.positions)
        )
        sequence = sequence_of_points(model, times, spots, confidence, estimate_lengths)
        objective = sequence.objective
        lengths = first_lengths(model, spots, confidence) if estimate_lengths else model.no_stretch()
        estimates, pose = estimate(sequence, lengths, smoothing_hz, progress)
        pose, shared = solve_all(sequence, estimates, pose, progress)
        if estimate_lengths:
            lengths = shared[: model.groups]
        found = objective.over(with_deviations(objective.evidence, estimates))
        if not estimate_lengths:
            found = found.given(lengths)
        misses = found.misses(pose.reshape(1, -1), shared[None])[0]
        trust = torch.zeros(len(markers), len(skeleton), dtype=spots.dtype, device=device)
        trust[torch.from_numpy(seen)] = joint_confidence(model, confidence, misses)
        pose = fill_gaps(pose, times, markers.times)
    return to_motion(model, lengths, pose, trust, markers.times)


def sequence_of_points(
    model: BodyModel, times: np.ndarray, spots: Tensor, confidence: Tensor, estimate_lengths: bool
) -> Sequence:
    """Return T frames in which points were seen in 3D as the solver takes them.

    Args:
        model: The body. times: [T] seconds, rising.
        spots: [T, K, 3] metres; any finite value where not seen. confidence: [T, K], 0 where not seen.
        estimate_lengths: Whether the lengths of the bones are unknown.
    """
    interval = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    neutral, width = (model.lower + model.upper) / 2, (model.upper - model.lower)
    least = torch.tensor(_LEAST_NOISE, dtype=spots.dtype, device=model.device)
    evidence = Positions(spots[None], confidence[None], least, least)
    objective = Objective(model, [evidence], neutral, width, shared=_length_prior(model) if estimate_lengths else None)
    return Sequence(objective, times, interval, spots, confidence)


def _length_prior(model: BodyModel) -> Tensor:
    """Return the inverse covariance [G, G] of the logarithms of the lengths."""
    groups = model.groups
    covariance = _LENGTH_DEVIATION**2 * np.eye(groups) + _SIZE_DEVIATION**2
    return torch.tensor(np.linalg.inv(covariance), device=model.device)


def first_lengths(model: BodyModel, spots: Tensor, confidence: Tensor) -> Tensor:
    """Return [G] logarithms of the lengths that distances between neighbouring joints tell.

    Lengths that no two points tell take the typical factor of those that are told.
    """
    skeleton = model.skeleton
    at_joint = {int(j): k for k, (j, place) in enumerate(zip(*model.sites, strict=True)) if not place.any()}
    told: dict[int, list[float]] = {}
    for joint, parent in enumerate(skeleton.parents):
        group = int(model.lengths.offset_group[joint])
        if group < 0 or joint not in at_joint or parent not in at_joint:
            continue
        one, two = at_joint[joint], at_joint[parent]
        both = (confidence[:, one] > 0) & (confidence[:, two] > 0)
        if both.any():
            distance = (spots[both, one] - spots[both, two]).norm(dim=-1).median()
            told.setdefault(group, []).append(float(distance) / float(np.linalg.norm(skeleton.offset[joint])))
    means = {group: float(np.mean(factors)) for group, factors in told.items()}
    usual = float(np.median(list(means.values()))) if means else 1.0
    factors = np.array([means.get(group, usual) for group in range(model.groups)])
    return torch.tensor(np.log(factors.clip(0.3, 3.0)), device=model.device)
