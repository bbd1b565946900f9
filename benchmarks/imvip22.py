# SPDX-License-Identifier: GPL-3.0-or-later
"""The reference tool for position-to-rotation IK, and its kinematic chain as a Skeleton.

The tool (``position_ik`` beside a development checkout) re-creates the evaluation of KinePose (Gildea et al., IMVIP
2022); its README says what was measured with it. Its chain has 19 joints, 14 of them free, and 16 keypoints at joints.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from video2rig.errors import Video2RigError
from video2rig.markers import Markers
from video2rig.skeleton import ROOT_RANGE, Skeleton

FRAME_RATE = 30.0
TIP_LENGTH = 0.05
"""Length of a bone that has no child, metres: nothing in the chain says one."""

_ROLES = {
    "Pelvis": "pelvis",
    "SpineLow": "spine_lower",
    "SpineUp": "spine_upper",
    "Neck": "neck",
    "Head": "head",
    **{
        f"{name}{suffix}": f"{side}_{name.lower()}"
        for name in ("Hip", "Knee", "Ankle", "Clavicle", "Shoulder", "Elbow", "Wrist")
        for suffix, side in (("L", "left"), ("R", "right"))
    },
}
_KEYPOINTS = {"pelvis": "pelvis", "spine": "spine", "neck": "neck", "head": "head_top"}


class ReferenceError(Video2RigError):
    """The reference tool is not where it was said to be."""


def default_folder() -> Path:
    """Return where the reference tool lies beside a development checkout."""
    return Path(__file__).resolve().parents[2] / "shared" / "reference" / "position_ik"


@dataclass(frozen=True)
class Reference:
    """The reference tool's modules, and its nominal chain.

    Attributes:
        chain, motion, metrics, evaluate: Its modules.
        nominal: The chain that a solver is given unless it is told the subject's.
        evaluated, legs: Joints over which errors are averaged, and those of the legs among them.
    """

    chain: Any
    motion: Any
    metrics: Any
    evaluate: Any
    nominal: Any
    evaluated: tuple[int, ...]
    legs: tuple[int, ...]

    @classmethod
    def load(cls, folder: Path | None = None) -> Reference:
        """Import the tool from its folder.

        Raises:
            ReferenceError: The folder holds no such tool.
        """
        folder = folder or default_folder()
        if not (folder / "evaluate.py").is_file():
            raise ReferenceError(
                f"there is no reference tool at {folder}; --reference names its folder, with evaluate.py"
            )
        names = ("chain", "motion", "metrics", "evaluate")
        sys.path.insert(0, str(folder))
        try:
            chain, motion, metrics, evaluate = (importlib.import_module(name) for name in names)
        finally:
            sys.path.remove(str(folder))
        return cls(chain, motion, metrics, evaluate, chain.Chain(), tuple(chain.EVAL), tuple(chain.LEGS))


@dataclass(frozen=True, eq=False)
class Sequence:
    """One subject's motion: chain of the subject's own proportions, true rotations, keypoints with noise.

    rotations [T, 19, 3, 3] local; keypoints [T, 16, 3] metres; straight [T, 19] bool: joints held straight.
    """

    name: str
    chain: Any
    rotations: np.ndarray
    keypoints: np.ndarray
    straight: np.ndarray


def sequences(
    reference: Reference, kind: str, noise: float, seed: int, count: int = 0, frames: int = 300
) -> list[Sequence]:
    """Return the very sequences that the reference tool scores.

    Args:
        kind: ``"paper"``, 24 sequences of 30 frames, or ``"long"``, of ``frames`` each.
        noise: Standard deviation on every coordinate, millimetres.
        seed: The tool's ``--seed``.
        count: The tool's ``--seqs``; 0 is its default.
    """
    nominal, motion = reference.nominal, reference.motion
    if kind == "paper":
        motions = motion.paper_set(nominal, seed=seed)
        motions = motions[:count] if count else motions
    else:
        motions = [motion.long_seq(nominal, frames, seed + number) for number in range(count or 3)]
    found = []
    for number, one in enumerate(motions):
        chain = reference.evaluate.subject(nominal, np.random.default_rng([number, 5, seed]))
        rotations = reference.chain.local_rot(one["E"])
        keypoints = reference.chain.fk(chain, rotations)[2]
        disturbance = np.random.default_rng([number, 99, seed]).normal(0, noise / 1000, keypoints.shape)
        found.append(Sequence(one["name"], chain, rotations, keypoints + disturbance, one["straight"]))
    return found


def skeleton_of(chain: Any) -> tuple[Skeleton, tuple[np.ndarray, np.ndarray]]:
    """Return the chain as a Skeleton, and where its keypoints sit.

    Both have the same frames, so that local rotations are the same; a bone's +Y need not run along it. L = Rz Ry Rx is
    the Euler order ``"XYZ"``. The chain faces +X with its left at +Y, and has its root at the origin.

    Args:
        chain: names, parent, R0 [J, 3, 3], t0 [J, 3] metres, lo and hi [J, 3] radians, kp_joint [K].

    Returns:
        The skeleton, and (joint [K], offset [K, 3] in the bone's frame, metres).
    """
    count = len(chain.names)
    length = np.full(count, TIP_LENGTH)
    for joint in reversed(range(1, count)):
        length[chain.parent[joint]] = np.linalg.norm(chain.t0[joint])  # the first child's stands
    rom = np.stack([chain.lo, chain.hi], axis=-1)
    rom[0] = ROOT_RANGE
    skeleton = Skeleton(
        tuple(chain.names),
        tuple(int(parent) for parent in chain.parent),
        tuple(_ROLES.get(name, "") for name in chain.names),
        chain.R0,
        chain.t0,
        length,
        ("XYZ",) * count,
        rom,
    )
    return skeleton, (np.array(chain.kp_joint, dtype=int), np.zeros((len(chain.kp_joint), 3)))


def markers_of(chain: Any, keypoints: np.ndarray) -> Markers:
    """Return keypoints [T, 16, 3] as Markers, under the names that keypoints have in video2rig."""
    names = tuple(_keypoint(name) for name in chain.kp_names)
    times = np.arange(len(keypoints)) / FRAME_RATE
    return Markers(names, keypoints, np.ones(keypoints.shape[:2]), times)


def _keypoint(name: str) -> str:
    side = {"L": "left_", "R": "right_"}.get(name[-1])
    return _KEYPOINTS[name] if side is None else side + name[:-1]
