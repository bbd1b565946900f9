# SPDX-License-Identifier: GPL-3.0-or-later
"""The default human: 22 joints, 53 degrees of freedom, Rigify's names, an A-pose at rest.

Frames: every bone's +Y runs along it and its X is its main flexion axis, so that an elbow, a knee or the
spine flexes by turning about +X, on both sides; a right bone mirrors its left one, with the signs of Y and Z
reversed (Blender's own symmetry).

Its ranges of motion are a profile's (`rom_profiles.py`); names and roles are those of `anatomy.py`.
"""

from __future__ import annotations

import numpy as np

from .anatomy import RIGIFY_ROLES
from .rom_profiles import with_profile
from .skeleton import ROOT_RANGE, Skeleton

DEFAULT_HEIGHT = 1.75
"""Standing height of :func:`default_human`, metres."""

_ARM_ANGLE = np.radians(40.0)  # below horizontal

_FORWARD, _BACK, _UP, _DOWN = (0, -1, 0), (0, 1, 0), (0, 0, 1), (0, 0, -1)

# Segment lengths follow Drillis and Contini (1966, in Winter, Biomechanics and Motor Control of Human
# Movement) and de Leva (1996), as fractions of standing height; joint centres, not surface landmarks.
_SEGMENT = {
    "ankle_height": 0.039,
    "shin": 0.246,
    "thigh": 0.245,
    "hip_half_width": 0.050,
    "upper_arm": 0.170,
    "forearm": 0.146,
    "hand": 0.055,
    "shoulder_height": 0.818,
    "shoulder_half_width": 0.106,
}


def _axis_frame(along: np.ndarray, z_hint: tuple[int, int, int]) -> np.ndarray:
    """Return the [3, 3] frame with Y along a bone and Z as near to the hint as that allows."""
    y = along / np.linalg.norm(along)
    z = np.asarray(z_hint) - y * (y @ np.asarray(z_hint))
    z /= np.linalg.norm(z)
    return np.stack([np.cross(y, z), y, z], axis=1)


def default_human(height: float = DEFAULT_HEIGHT, rom: str = "clinical") -> Skeleton:
    """Return the default human, standing on the floor z = 0, facing -Y, arms 40 degrees below horizontal.

    Args:
        height: Standing height, metres; all proportions scale with it.
        rom: Name of the range-of-motion profile; what it does not speak of is the clinical one's.

    Raises:
        RomError: There is no such profile.
    """
    s = _SEGMENT
    hip = np.array([s["hip_half_width"], 0.0, s["ankle_height"] + s["shin"] + s["thigh"]])
    knee = hip - [0, 0, s["thigh"]]
    ankle = knee - [0, 0, s["shin"]]
    ball = np.array([ankle[0], -0.074, 0.012])
    toe_tip = ball - np.array([0, 0.042, 0])
    shoulder = np.array([s["shoulder_half_width"], 0.0, s["shoulder_height"]])
    along_arm = np.array([np.cos(_ARM_ANGLE), 0.0, -np.sin(_ARM_ANGLE)])
    elbow = shoulder + along_arm * s["upper_arm"]
    wrist = elbow + along_arm * s["forearm"]
    knuckles = wrist + along_arm * s["hand"]
    centre = [np.array([0.0, 0.0, z]) for z in (hip[2], 0.588, 0.656, 0.732, 0.848, 0.900, 1.0)]

    # name, parent, head, tail, direction that the bone's Z faces
    rows: list[tuple[str, str | None, np.ndarray, np.ndarray, tuple[int, int, int]]] = [
        ("spine", None, centre[0], centre[1], _FORWARD),
        ("spine.001", "spine", centre[1], centre[2], _FORWARD),
        ("spine.002", "spine.001", centre[2], centre[3], _FORWARD),
        ("spine.003", "spine.002", centre[3], centre[4], _FORWARD),
        ("spine.004", "spine.003", centre[4], centre[5], _FORWARD),
        ("spine.006", "spine.004", centre[5], centre[6], _FORWARD),
    ]
    for suffix, mirror in ((".L", 1.0), (".R", -1.0)):
        limb = [
            ("shoulder", "spine.003", np.array([0.015, -0.012, 0.826]), shoulder, _FORWARD),
            ("upper_arm", "shoulder", shoulder, elbow, _FORWARD),
            ("forearm", "upper_arm", elbow, wrist, _FORWARD),
            ("hand", "forearm", wrist, knuckles, _DOWN),
            ("thigh", "spine", hip, knee, _BACK),
            ("shin", "thigh", knee, ankle, _BACK),
            ("foot", "shin", ankle, ball, _DOWN),
            ("toe", "foot", ball, toe_tip, _DOWN),
        ]
        flip = np.array([mirror, 1.0, 1.0])
        for name, parent, head, tail, z_hint in limb:
            parent_name = parent if parent.startswith("spine") else parent + suffix
            rows.append((name + suffix, parent_name, head * flip, tail * flip, z_hint))

    names = tuple(row[0] for row in rows)
    parents = tuple(-1 if row[1] is None else names.index(row[1]) for row in rows)
    roles = tuple(RIGIFY_ROLES[name] for name in names)
    frames = np.stack([_axis_frame(tail - head, hint) for *_, head, tail, hint in rows])
    heads = np.stack([row[2] for row in rows]) * height
    lengths = np.array([np.linalg.norm(row[3] - row[2]) for row in rows]) * height

    rest, offset = frames.copy(), heads.copy()
    for joint, parent in enumerate(parents):
        if parent < 0:
            continue
        rest[joint] = frames[parent].T @ frames[joint]
        offset[joint] = frames[parent].T @ (heads[joint] - heads[parent])
    bounds = np.zeros((len(rows), 3, 2))
    bounds[0] = ROOT_RANGE
    locked = Skeleton(names, parents, roles, rest, offset, lengths, ("XYZ",) * len(rows), bounds)
    clinical = with_profile(locked, "clinical")
    return clinical if rom == "clinical" else with_profile(clinical, rom)
