# SPDX-License-Identifier: GPL-3.0-or-later
"""Which joint sat at the end of its range of motion, when, and how long.

Motion that leans on a bound is where the range, or the video, should be looked at first.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .anatomy import motion_words
from .motion import Motion
from .skeleton import Skeleton

TOLERANCE = float(np.radians(0.5))
"""An angle within this of a bound, radians, sits at it."""

SHORTEST = 0.1
"""Shorter stays, in seconds, are not told."""

_FREE = np.pi - 1e-4  # a bound beyond this is none


class AtBound(NamedTuple):
    """One end of one joint's range, and when the joint sat there.

    Attributes:
        joint: Name of the bone. role: Of the joint; ``""`` where it has none.
        axis: 0 to 2, the bone's axis. upper: Whether it is the upper end. bound: The end itself, radians.
        motion: Anatomical word for going there (``"extension"``), or the axis (``"-X"``).
        share: Part of all frames in which the joint sat there, 0 to 1.
        intervals: Start and end of each stay of at least :data:`SHORTEST`, seconds.
    """

    joint: str
    role: str
    axis: int
    upper: bool
    bound: float
    motion: str
    share: float
    intervals: tuple[tuple[float, float], ...]

    @property
    def seconds(self) -> float:
        """Length of all the intervals together."""
        return sum(end - start for start, end in self.intervals)

    @property
    def title(self) -> str:
        """The joint and what it did, as a user reads it."""
        return f"{self.role.replace('_', ' ') or self.joint} {self.motion}"


def joint_angles(motion: Motion) -> np.ndarray:
    """Return [T, J, 3] Euler angles about x, y, z in each joint's own order, radians.

    A rotation has two triples of angles; this is the one inside the range of motion, or nearest to it.
    """
    skeleton = motion.skeleton
    angles = np.empty((*motion.rotations.shape[:2], 3))
    for joint, order in enumerate(skeleton.euler_order):
        angles[:, joint] = _angles(motion.rotations[:, joint], order, skeleton.rom[joint])
    return angles


def euler_angles(quaternions: np.ndarray, order: str) -> np.ndarray:
    """Return [T, 3] angles about x, y, z of [T, 4] quaternions wxyz; R = R_third @ R_second @ R_first.

    The middle axis of the order turns by at most 90 degrees.
    """
    first, second, third = ("XYZ".index(axis) for axis in order)
    sign = 1.0 if order in ("XYZ", "YZX", "ZXY") else -1.0
    matrix = _matrices(quaternions)
    one = np.empty((len(quaternions), 3))
    one[:, first] = np.arctan2(sign * matrix[:, third, second], matrix[:, third, third])
    one[:, second] = np.arcsin(np.clip(-sign * matrix[:, third, first], -1.0, 1.0))
    one[:, third] = np.arctan2(sign * matrix[:, second, first], matrix[:, first, first])
    return one


def _angles(quaternions: np.ndarray, order: str, bounds: np.ndarray) -> np.ndarray:
    """Return [T, 3] angles about x, y, z: of the two triples that make a rotation the one nearer to the bounds."""
    one = euler_angles(quaternions, order)
    second = "XYZ".index(order[1])
    other = one + np.pi
    other[:, second] = np.pi - one[:, second]
    other = (other + np.pi) % (2 * np.pi) - np.pi
    outside = [np.abs(triple - triple.clip(*bounds.T)).sum(axis=1) for triple in (one, other)]
    return np.where((outside[0] <= outside[1] + 1e-9)[:, None], one, other)


def _matrices(quaternions: np.ndarray) -> np.ndarray:
    w, x, y, z = quaternions.T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def find_at_bounds(motion: Motion, tolerance: float = TOLERANCE, shortest: float = SHORTEST) -> tuple[AtBound, ...]:
    """Return the ends of ranges at which joints sat, the longest first.

    The root, locked axes and axes without a bound are left out; an end where every stay was too short is not told.

    Args:
        motion: What was solved. tolerance: Radians. shortest: Of a stay, seconds.
    """
    found = []
    angles = joint_angles(motion)
    for joint, axis, upper in _ends(motion.skeleton):
        lower_bound, upper_bound = motion.skeleton.rom[joint, axis]
        below, above = angles[:, joint, axis] - lower_bound, upper_bound - angles[:, joint, axis]
        # in a range narrower than the tolerance, the nearer end
        sits = (above <= tolerance) & (above < below) if upper else (below <= tolerance) & (below <= above)
        stays = [(float(motion.times[start]), float(motion.times[end])) for start, end in _runs(sits)]
        stays = [(start, end) for start, end in stays if end - start >= shortest - 1e-9]
        if stays:
            role = motion.skeleton.roles[joint]
            found.append(
                AtBound(
                    motion.skeleton.names[joint],
                    role,
                    axis,
                    upper,
                    float(upper_bound if upper else lower_bound),
                    motion_words(role, axis, upper),
                    float(sits.mean()),
                    tuple(stays),
                )
            )
    return tuple(sorted(found, key=lambda stay: -stay.seconds))


def _ends(skeleton: Skeleton) -> list[tuple[int, int, bool]]:
    """Return joint, axis and side of every end of a range that is one."""
    return [
        (joint, axis, upper)
        for joint in range(1, len(skeleton))
        for axis in range(3)
        for upper in (False, True)
        if skeleton.rom[joint, axis, 0] < skeleton.rom[joint, axis, 1]
        and abs(skeleton.rom[joint, axis, int(upper)]) < _FREE
    ]


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Return the first and last index of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return [(int(start), int(end) - 1) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def summary(found: tuple[AtBound, ...], most: int | None = None) -> list[str]:
    """Return lines that tell a user what was found.

    Args:
        found: What :func:`find_at_bounds` returned. most: Ends to tell before the rest is counted; None tells all,
            with their intervals.
    """
    if not found:
        return ["no joint stayed at the end of its range of motion"]
    lines = []
    for stay in found[:most]:
        line = f"{stay.title} at its bound for {stay.seconds:.1f} s, {stay.share:.0%} of the frames"
        if most is None:
            spans = ", ".join(f"{start:.2f}-{end:.2f}" for start, end in stay.intervals)
            line += f" ({np.degrees(stay.bound):.1f} degrees about {'XYZ'[stay.axis]}; {spans} s)"
        lines.append(line)
    if most is not None and len(found) > most:
        lines.append(f"and {len(found) - most} more")
    return lines


def to_json(found: tuple[AtBound, ...]) -> list[dict[str, Any]]:
    """Return what was found as plain JSON values: angles in degrees, times in seconds."""
    return [
        {
            "title": stay.title,
            "joint": stay.joint,
            "role": stay.role,
            "motion": stay.motion,
            "axis": "xyz"[stay.axis],
            "end": "upper" if stay.upper else "lower",
            "bound_degrees": float(np.degrees(stay.bound)),
            "share": stay.share,
            "seconds": stay.seconds,
            "intervals": [list(interval) for interval in stay.intervals],
        }
        for stay in found
    ]
