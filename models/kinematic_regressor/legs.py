# SPDX-License-Identifier: GPL-3.0-or-later
"""Legs of the mocap: a hinge for a knee, and knees that straighten.

A leg is what hip, ankle and foot say: the line from hip to ankle, the plane about that line in which the knee lies, and
how far the knee is bent. The skeletons that the clips were captured on have joint centres with which legs never
straighten: walking subjects' knees are 15 to 20 degrees more flexed in stance than published gait has them, and 5 to
10 in swing. A leg that is straightened keeps the line from hip to ankle, the plane and the foot's orientation; thigh
and shank close in on the line, and hip, knee and ankle angles follow.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from video2rig.skeleton import Skeleton

from .database import Database, smooth_angle
from .retarget import about

STANDING = 25
"""Percentile of a subject's knees in stance that is known to be :data:`STANCE_KNEE`."""

STANCE_KNEE = np.radians(7.0)
"""Knee flexion that three quarters of normal gait's stance are above: it goes from 5 to 15 and back (`gait.py`)."""

TYPICAL_EXCESS, TYPICAL_FRAMES = np.radians(18.5), 100
"""The median excess of the training subjects, and how many frames of stance it counts as in a subject's own."""

LARGEST_EXCESS = np.radians(24.0)
"""What three quarters of the training subjects are under. More is a subject who crouches: dances, a stealthy walk."""

BENT_SHARE = 0.5
"""Part of the excess that is left in a knee beyond :data:`BENT`: swing peaks at 70 degrees where gait has 60 to 65."""

BENT = np.radians([40.0, 70.0])
"""Between these flexions the excess declines to its part in bent knees."""

LOCKED = np.radians(0.5)
"""Knees within this of straight were held there by their source's own limit and say nothing of its bias."""

STRAIGHTEST, SOFTNESS = np.radians(2.0), np.radians(3.0)
"""Where a straightened knee locks, and over what angle it comes to that."""

SLOW, LOW = 0.35, 0.06
"""Metres a second and metres above its lowest under which an ankle is in stance."""


def stance(database: Database, placed: np.ndarray) -> np.ndarray:
    """Return which feet stand, [N, 2 (left, right)] bool.

    Args:
        placed: [N, 21, 3] positions of the mocap's joints, metres, Z up.
    """
    ankles = placed[:, [database.joints.index(f"{side}_foot") for side in "lr"]]
    stands = np.zeros(ankles.shape[:2], dtype=bool)
    for clip in database.clips.values():
        own = ankles[clip]
        if len(own) > 2:
            speed = np.linalg.norm(np.gradient(own, axis=0), axis=-1) * 30.0
            stands[clip] = (speed < SLOW) & (own[..., 2] < np.percentile(own[..., 2], 5) + LOW)
    return stands & ~database.broken[:, None]


def knee_excess(database: Database, knees: np.ndarray, stands: np.ndarray) -> np.ndarray:
    """Return by how much the knees of each frame's subject are too bent in stance, [N] radians.

    The excess is found for each subject of each source: how far a low percentile of the stance lies above gait's. Few
    frames of stance lean on the typical excess.

    Args:
        knees: [N, 2] flexion, radians. stands: [N, 2] bool.
    """
    excess = np.empty(len(knees))
    for frames in database.people().values():
        own = knees[frames][stands[frames]]
        own = own[(own > LOCKED) & (own < BENT[1])]
        measured = np.percentile(own, STANDING) - STANCE_KNEE if len(own) else TYPICAL_EXCESS
        share = len(own) / (len(own) + TYPICAL_FRAMES)
        excess[frames] = np.clip(share * measured + (1 - share) * TYPICAL_EXCESS, 0.0, LARGEST_EXCESS)
    return excess


def straightened(knees: np.ndarray, excess: np.ndarray) -> np.ndarray:
    """Return flexions [N] without the excess [N] that they have in stance, radians; no knee hyperextends."""
    bent = np.clip((knees - BENT[0]) / (BENT[1] - BENT[0]), 0.0, 1.0)
    less = knees - excess * (1 - (1 - BENT_SHARE) * bent)
    locked = STRAIGHTEST + SOFTNESS * np.logaddexp(0.0, (less - STRAIGHTEST) / SOFTNESS)
    return np.where(excess > 0, np.minimum(locked, knees), knees)


def knee_flexion(orientations: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Return the angles between thighs and shanks, [N, 2 (left, right)] radians.

    Args:
        orientations: [N, J, 3, 3] of the bones in the world.
    """
    pairs = [[skeleton.index(f"{bone}.{side}") for bone in ("thigh", "shin")] for side in "LR"]
    cosine = [(orientations[:, thigh, :, 1] * orientations[:, shin, :, 1]).sum(-1) for thigh, shin in pairs]
    return np.arccos(np.stack(cosine, axis=1).clip(-1, 1))


def set_legs(orientations: np.ndarray, skeleton: Skeleton, clips: list[slice], flexion: np.ndarray) -> None:
    """Make knees hinges that are bent by so much, in place.

    The ankle stays on its line from the hip. The plane of the leg is the one that the knee and the ball of the foot are
    nearest to, each counted by its distance from that line: a bent knee settles it, and a straight one leaves it to the
    foot. The foot keeps its direction in that plane and its inversion.

    Args:
        orientations: [N, J, 3, 3] of the bones in the world.
        clips: Frames that follow each other in time.
        flexion: [N, 2 (left, right)] of the knees, radians.
    """
    for number, side in enumerate("LR"):
        thigh, shin, foot, toe = (skeleton.index(f"{bone}.{side}") for bone in ("thigh", "shin", "foot", "toe"))
        upper, lower, ball = (orientations[:, j, :, 1] * skeleton.length[j] for j in (thigh, shin, foot))
        line = upper + lower
        line /= np.linalg.norm(line, axis=-1, keepdims=True)
        aimed = _aim(orientations[:, thigh], line)
        forwards = (aimed.transpose(0, 2, 1) @ (upper + ball)[..., None])[..., 0] / skeleton.length[thigh]
        turn = np.concatenate([smooth_angle(-forwards[clip, 0], -forwards[clip, 2]) for clip in clips])
        plane = aimed @ about("y", turn)  # x: the knee's axis, y: from hip to ankle, z: backwards

        knee = flexion[:, number]
        l1, l2 = skeleton.length[thigh], skeleton.length[shin]
        orientations[:, thigh] = plane @ about("x", -np.arctan2(l2 * np.sin(knee), l1 + l2 * np.cos(knee)))
        orientations[:, shin] = orientations[:, thigh] @ about("x", knee)

        before = orientations[:, foot].copy()
        base = orientations[:, shin] @ skeleton.rest_rotation[foot]
        angles = Rotation.from_matrix(base.transpose(0, 2, 1) @ before).as_euler("yzx")
        angles[:, 1] = 0.0
        orientations[:, foot] = base @ Rotation.from_euler("yzx", angles).as_matrix()
        orientations[:, toe] = orientations[:, foot] @ before.transpose(0, 2, 1) @ orientations[:, toe]


def _aim(frames: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Return frames [N, 3, 3] turned the shortest way to have their Y along unit vectors [N, 3]."""
    axis = np.cross(frames[:, :, 1], along)
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    angle = np.arctan2(sine, (frames[:, :, 1] * along).sum(-1, keepdims=True))
    turn = Rotation.from_rotvec(axis * np.where(sine > 1e-9, angle / np.maximum(sine, 1e-9), 1.0))
    return turn.as_matrix() @ frames
