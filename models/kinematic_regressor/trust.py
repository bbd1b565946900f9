# SPDX-License-Identifier: GPL-3.0-or-later
"""How far each joint's rotation in the mocap may be believed: what is frozen, wrong or glitching counts less."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import maximum_filter1d

from video2rig.anatomy import split_role
from video2rig.skeleton import Skeleton

from .database import Database

FROZEN_CLAVICLE = 0.1
"""Most sources never move the collar bones: shoulders' motion is all in the upper arm."""

FROZEN_TOES = 0.1
STILL = np.radians(1.0)
"""A toe joint whose rotation stays within this of its median over a clip is frozen."""

TWISTED = {"elbow": 0.2, "wrist": 0.2, "shoulder": 0.7, "hip": 0.7, "knee": 0.8, "ankle": 0.7}
"""Clips converted by way of DAZ: forearm and hand are turned by 20 to 45 degrees, thigh and shank by 5 to 8."""

TWISTED_SUBJECTS = ("cmu60", "cmu61", "cmu94", "cmu10")

WRIST = 0.3
"""Hands carry one marker or two: their rest differs by tens of degrees between subjects, and between left and right."""

GLITCH_MARGIN = 3
"""Frames on either side of a glitch that are not believed either."""


FASTEST = np.radians(1500.0)
"""A joint that turns faster, a second, jumps: mostly a forearm whose twist is lost and found again."""


HELD_BACK = np.radians(30.0)
"""A joint that its range of motion held back by more does not show what the person did."""


def trust(database: Database, local: np.ndarray, excess: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Return the weight [N, J] of each joint's rotation in a loss, 0 to 1.

    Args:
        local: [N, J, 3, 3] local rotations of the skeleton's joints.
        excess: [N, J] how far each was held back by its range of motion, radians.
    """
    weight = np.ones((len(database.root), len(skeleton)), dtype=np.float32)
    parts = np.array([split_role(role)[1] for role in skeleton.roles])
    weight[:, parts == "clavicle"] = FROZEN_CLAVICLE
    weight[:, parts == "wrist"] = WRIST
    for frames, subject in zip(database.clips.values(), database.subjects, strict=True):
        clip = weight[frames]
        if subject in TWISTED_SUBJECTS:
            for part, least in TWISTED.items():
                clip[:, parts == part] = least
        for side in "LR":
            toes = database.rotations[frames, database.joints.index(f"{side.lower()}_toes")]
            if np.abs(toes - np.median(toes, axis=0)).max() < STILL:
                clip[:, skeleton.index(f"toe.{side}")] = FROZEN_TOES
        wrong = database.broken[frames, None] | _jumps(local[frames]) | (excess[frames] > HELD_BACK)
        clip[maximum_filter1d(wrong, 2 * GLITCH_MARGIN + 1, axis=0)] = 0.0
    return weight


def _jumps(local: np.ndarray) -> np.ndarray:
    """Return [T, J] bool: joints that got to their rotation, or left it, too fast."""
    cosine = (np.einsum("tjab,tjab->tj", local[1:], local[:-1]) - 1) / 2
    fast = np.pad(cosine < np.cos(FASTEST / 30.0), ((1, 1), (0, 0)))
    return fast[1:] | fast[:-1]
