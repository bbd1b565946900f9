# SPDX-License-Identifier: GPL-3.0-or-later
"""Accuracy of the temporal IK on real motion: clips of the CMU database, disturbed as triangulated keypoints are.

The subject's bones differ from the skeleton that the solver is given (whole body +-8 %, each bone +-10 %, left = right,
drawn anew for every clip); lengths and noise are estimated. Points are the joints' centres, then also ears, heels, toes
and knuckles. Dropouts hide 20 % of them, each frame and point by itself; swaps exchange left and right of the arms, the
legs or both for 1 to 5 frames, twice in three seconds.

MPJAS: mean angle between true and solved local rotations, degrees, of the joints that have points beyond them in both
tables. Twist: the part of that angle about the bone. Residual: from what was seen (swapped frames left out) to the
solved body. Position and acceleration error: of joint centres from the truth, of the keypoints as they came (gaps
bridged linearly) and as solved.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from cmu import Body, Database
from scipy.spatial.transform import Rotation

from video2rig.ik import solve_markers
from video2rig.kinematics import joint_positions
from video2rig.markers import Markers
from video2rig.motion import Motion
from video2rig.skeleton import Skeleton

SWAP_EVERY = 45
"""Frames from one left-right swap to the next."""

TWISTS = {"shoulder": "elbow", "hip": "knee", "elbow": "wrist"}
"""Joints whose twist is reported, and the joint at the bone's other end; the elbow's is the forearm's."""

_TIPS = ("head", "wrist", "toes", "clavicle")


class Disturbance(NamedTuple):
    """What is done to true points: noise in metres, share hidden, left-right swaps."""

    label: str
    noise: float
    dropouts: float
    swaps: bool


DISTURBANCES = (
    Disturbance("0 mm", 0.0, 0.0, False),
    Disturbance("10 mm", 0.010, 0.0, False),
    Disturbance("30 mm", 0.030, 0.0, False),
    Disturbance("10 mm, 20 % dropouts", 0.010, 0.2, False),
    Disturbance("10 mm, swaps", 0.010, 0.0, True),
    Disturbance("30 mm, 20 % dropouts, swaps", 0.030, 0.2, True),
)

COLUMNS = (
    *("MPJAS", "worst"),
    *("twist", "", ""),
    "residual",
    *("position", ""),
    *("accel", ""),
)
UNITS = ("deg", "clip", "shoulder", "hip", "forearm", "mm", "raw mm", "mm", "raw m/s2", "m/s2")


def default_folder() -> Path:
    """Return where the motion capture lies beside a development checkout."""
    return Path(__file__).resolve().parents[2] / "shared" / "data" / "mocap"


def print_table(folder: Path | None, seed: int, quick: bool) -> None:
    """Print a line for every set of points and every disturbance.

    Args:
        folder: Where cmu_train.npz and cmu_val.npz are; None for the place beside a development checkout.
        quick: Three short clips and two disturbances alone.

    Raises:
        MocapError: The files are not there.
    """
    folder = folder or default_folder()
    body = Body.of(Database.load(folder / "cmu_train.npz", every=4))
    clips = list(body.clips(Database.load(folder / "cmu_val.npz")))
    if quick:
        clips = [clip for clip in clips if len(clip[1]) < 130][:3]
    disturbances = (DISTURBANCES[1], DISTURBANCES[-1]) if quick else DISTURBANCES
    frames = sum(len(motion) for _, motion, _ in clips)
    print(f"\nreal motion (cmu_val, {len(clips)} clips, {frames} frames), lengths unknown, seed {seed}")
    for title, sites in (
        ("joint centres", body.centres),
        ("and ears, heels, toes, knuckles", {**body.centres, **body.extra}),
    ):
        for heads in (COLUMNS, UNITS):
            print(f"{title if heads is COLUMNS else '':32}" + "".join(f"{head:>10}" for head in heads))
        for disturbance in disturbances:
            rows = [score(body, clip, sites, disturbance, [seed, number]) for number, clip in enumerate(clips)]
            mean, worst = np.mean(rows, axis=0), np.max(rows, axis=0)
            values = [mean[0], worst[0], *mean[1:]]
            print(f"{disturbance.label:32}" + "".join(f"{value:10.1f}" for value in values), flush=True)


def score(
    body: Body,
    clip: tuple[str, Motion, np.ndarray],
    sites: dict[str, tuple[int, np.ndarray]],
    disturbance: Disturbance,
    seed: list[int],
) -> list[float]:
    """Return MPJAS, three twists, residual, position and acceleration error before and after, of a clip."""
    rng = np.random.default_rng(seed)
    _, motion, scored = clip
    truth = replace(motion, skeleton=subject(body.skeleton, rng))
    placed = np.array([joint for joint, _ in sites.values()]), np.stack([offset for _, offset in sites.values()])
    true_points = points_of(truth, body.skeleton, placed)
    markers, swapped = disturb(tuple(sites), true_points, truth.times, disturbance, rng)
    solved = solve_markers(body.skeleton, markers, sites=placed, estimate_lengths=True)

    angle, twist = rotation_errors(truth, solved)
    points = points_of(solved, body.skeleton, placed)
    seen = (markers.confidence > 0) & ~swapped & scored[:, None]
    residual = np.linalg.norm(points - markers.positions, axis=-1)[seen].mean()
    centres = [number for number, (_, offset) in enumerate(sites.values()) if not offset.any()]
    raw = bridged(markers)[:, centres]
    mine, true = points[:, centres], true_points[:, centres]
    rate = 1 / np.diff(truth.times).mean()

    def distance(found: np.ndarray) -> float:
        return 1000 * np.linalg.norm(found - true, axis=-1)[scored].mean()

    def acceleration(found: np.ndarray) -> float:
        difference = np.diff(found - true, n=2, axis=0) * rate**2
        return np.linalg.norm(difference, axis=-1)[scored[1:-1]].mean()

    twists = [twist[role][scored].mean() for role in TWISTS]
    before_after = [distance(raw), distance(mine), acceleration(raw), acceleration(mine)]
    return [angle[scored].mean(), *twists, 1000 * float(residual), *before_after]


def disturb(
    names: tuple[str, ...], points: np.ndarray, times: np.ndarray, what: Disturbance, rng: np.random.Generator
) -> tuple[Markers, np.ndarray]:
    """Return true points [T, K, 3] as they might be seen, and [T, K] bool, those that are exchanged left for right."""
    frames, count = points.shape[:2]
    seen = points + rng.normal(0.0, 1.0, points.shape) * what.noise
    swapped = np.zeros((frames, count), bool)
    if what.swaps:
        other = {"left": "right", "right": "left"}
        twin = [names.index("_".join([other.get(word, word) for word in name.split("_")])) for name in names]
        for begin in range(int(rng.integers(5, SWAP_EVERY)), frames, SWAP_EVERY):
            end = begin + int(rng.integers(1, 6))
            parts = [("shoulder", "elbow", "wrist", "index", "pinky"), ("hip", "knee", "ankle", "heel", "toe")]
            chosen = [parts[0], parts[1], parts[0] + parts[1]][int(rng.integers(3))]
            columns = [k for k, name in enumerate(names) if any(part in name for part in chosen)]
            seen[begin:end, columns] = seen[begin:end, [twin[k] for k in columns]]
            swapped[begin:end, columns] = True
    hidden = rng.random((frames, count)) < what.dropouts
    seen[hidden] = np.nan
    return Markers(names, seen, np.where(hidden, 0.0, 1.0), times), swapped


def rotation_errors(truth: Motion, solved: Motion) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return angles [T, joints] between local rotations, degrees, and their twist [T] for each of :data:`TWISTS`.

    The twist is that of the swing-twist decomposition of (true rotation)^-1 (solved rotation) about the bone, without
    sign, mean of left and right.
    """
    skeleton = truth.skeleton
    shape = truth.rotations.shape
    one, other = (Rotation.from_quat(motion.rotations.reshape(-1, 4), scalar_first=True) for motion in (truth, solved))
    difference = (one.inv() * other).as_quat(scalar_first=True).reshape(shape)
    angle = np.degrees(2 * np.arctan2(np.linalg.norm(difference[..., 1:], axis=-1), np.abs(difference[..., 0])))
    evaluated = [j for j, role in enumerate(skeleton.roles) if not any(tip in role for tip in _TIPS)]
    twists = {}
    for role, end in TWISTS.items():
        sides = []
        for side in ("left", "right"):
            joint, child = skeleton.index(f"{side}_{role}"), skeleton.index(f"{side}_{end}")
            bone = skeleton.offset[child] / np.linalg.norm(skeleton.offset[child])
            half = np.arctan2(difference[:, joint, 1:] @ bone, difference[:, joint, 0])
            sides.append(np.abs(np.degrees((2 * half + np.pi) % (2 * np.pi) - np.pi)))
        twists[role] = np.mean(sides, axis=0)
    return angle[:, evaluated], twists


def subject(skeleton: Skeleton, rng: np.random.Generator) -> Skeleton:
    """Return the skeleton with another person's bone lengths, left and right alike."""
    whole, factors = rng.uniform(0.92, 1.08), {}
    scale = np.array([whole * factors.setdefault(_sideless(role), rng.uniform(0.9, 1.1)) for role in skeleton.roles])
    offset = skeleton.offset * scale[np.maximum(skeleton.parents, 0)][:, None]
    return replace(skeleton, offset=offset, length=skeleton.length * scale)


def points_of(motion: Motion, nominal: Skeleton, sites: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return where sites [K] lie on a moving body, [T, K, 3] metres; their offsets grow with their bones' lengths."""
    joints, offsets = sites
    positions, rotations = joint_positions(motion)
    grown = offsets * (motion.skeleton.length / nominal.length)[joints, None]
    return positions[:, joints] + np.einsum("tkij,kj->tki", rotations[:, joints], grown)


def bridged(markers: Markers) -> np.ndarray:
    """Return positions [T, K, 3] with gaps filled linearly, and held at both ends."""
    filled = markers.positions.copy()
    for point in range(filled.shape[1]):
        seen = np.flatnonzero(markers.confidence[:, point] > 0)
        for axis in range(3):
            filled[:, point, axis] = np.interp(np.arange(len(filled)), seen, filled[seen, point, axis])
    return filled


def _sideless(role: str) -> str:
    return role.removeprefix("left_").removeprefix("right_")
