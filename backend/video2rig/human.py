# SPDX-License-Identifier: GPL-3.0-or-later
"""The default human: 22 joints, 53 degrees of freedom, Rigify's names, an A-pose at rest.

Frames: every bone's +Y runs along it and its X is its main flexion axis, so that an elbow, a knee or the
spine flexes by turning about +X, on both sides; a right bone mirrors its left one, with the signs of Y and Z
reversed (Blender's own symmetry).

Each Euler order puts the largest range on the outer axes and keeps the middle one below 90 degrees, and the
absolute bounds of a joint add up to less than 270 degrees. Inside such a box Blender's decomposition of a
rotation gives the very angles that were solved, so that a Limit Rotation constraint changes nothing.
"""

from __future__ import annotations

import numpy as np

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

# Ranges of motion in degrees about the bone's own axes; of the left side for paired joints. Where a joint is
# modelled by several (spine, neck) the clinical range of the whole is shared among them.
# role: (euler order, {axis: (lower, upper)}) - the source of each range stands beside it. AAOS: the ranges of the
# American Academy of Orthopaedic Surgeons (1965). Those marked with * were checked against an excerpt of its table; the
# others are as commonly quoted.
_ROM: dict[str, tuple[str, dict[str, tuple[float, float]]]] = {
    # thoracolumbar flexion 80, extension 25, lateral 35, rotation 45 (AAOS), a third each
    "spine_lower": ("YZX", {"x": (-25 / 3, 80 / 3), "y": (-15, 15), "z": (-35 / 3, 35 / 3)}),
    "spine_middle": ("YZX", {"x": (-25 / 3, 80 / 3), "y": (-15, 15), "z": (-35 / 3, 35 / 3)}),
    "spine_upper": ("YZX", {"x": (-25 / 3, 80 / 3), "y": (-15, 15), "z": (-35 / 3, 35 / 3)}),
    # cervical flexion and extension 45, lateral 45, rotation 60 (AAOS), half each
    "neck": ("YZX", {"x": (-22.5, 22.5), "y": (-30, 30), "z": (-22.5, 22.5)}),
    "head": ("YZX", {"x": (-22.5, 22.5), "y": (-30, 30), "z": (-22.5, 22.5)}),
    # sternoclavicular: protraction 25, retraction 20, elevation 35, depression 10. Not in the clinical table;
    # the elevation completes the arm's 180 degrees of abduction (AAOS counts the whole shoulder).
    "clavicle": ("YXZ", {"x": (-20, 25), "z": (-10, 35)}),
    # shoulder, from an arm 50 degrees abducted. z: abduction -45 to 145, and to 180 with the clavicle (AAOS 180*).
    # x: towards the front 84 and back 60 (AAOS extension 60*); the arm is then straight ahead within 6 degrees, and
    # flexion to 180* goes on about z. y: external 90* and internal 70* rotation (AAOS).
    "shoulder": ("YXZ", {"x": (-60, 84), "y": (-90, 70), "z": (-95, 95)}),
    # elbow flexion 0 to 150*, pronation and supination 80* (AAOS)
    "elbow": ("YZX", {"x": (0, 150), "y": (-80, 80)}),
    # wrist flexion 80*, extension 70*; radial deviation 20*, ulnar 30* (AAOS)
    "wrist": ("YZX", {"x": (-70, 80), "z": (-30, 20)}),
    # hip flexion 120, extension 30 (AAOS, and OpenSim's Rajagopal2016); abduction 45, adduction 30; rotation 45 (AAOS)
    "hip": ("YZX", {"x": (-120, 30), "y": (-45, 45), "z": (-45, 30)}),
    # knee flexion 135 with 10 of hyperextension (AAOS and its allowance)
    "knee": ("YZX", {"x": (-10, 135)}),
    # ankle dorsiflexion 20, plantar flexion 50; subtalar inversion 35, eversion 15 (AAOS)
    "ankle": ("YZX", {"x": (-20, 50), "y": (-35, 15)}),
    # hallux metatarsophalangeal extension 70, flexion 45 (AAOS)
    "toes": ("YZX", {"x": (-70, 45)}),
}


def _axis_frame(along: np.ndarray, z_hint: tuple[int, int, int]) -> np.ndarray:
    """Return the [3, 3] frame with Y along a bone and Z as near to the hint as that allows."""
    y = along / np.linalg.norm(along)
    z = np.asarray(z_hint) - y * (y @ np.asarray(z_hint))
    z /= np.linalg.norm(z)
    return np.stack([np.cross(y, z), y, z], axis=1)


def _range_of_motion(role: str) -> tuple[str, np.ndarray]:
    """Return a role's Euler order and its [3, 2] bounds in radians, mirrored for a right joint."""
    side, _, part = role.partition("_")
    mirrored = side == "right"
    order, degrees = _ROM[part if side in ("left", "right") else role]
    bounds = np.zeros((3, 2))
    for axis, (lower, upper) in degrees.items():
        flips = mirrored and axis != "x"
        bounds["xyz".index(axis)] = (-upper, -lower) if flips else (lower, upper)
    return order, np.radians(bounds)


def default_human(height: float = DEFAULT_HEIGHT) -> Skeleton:
    """Return the default human, standing on the floor z = 0, facing -Y, arms 40 degrees below horizontal.

    Args:
        height: Standing height, metres; all proportions scale with it.
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

    # name, parent, role, head, tail, direction that the bone's Z faces
    rows: list[tuple[str, str | None, str, np.ndarray, np.ndarray, tuple[int, int, int]]] = [
        ("spine", None, "pelvis", centre[0], centre[1], _FORWARD),
        ("spine.001", "spine", "spine_lower", centre[1], centre[2], _FORWARD),
        ("spine.002", "spine.001", "spine_middle", centre[2], centre[3], _FORWARD),
        ("spine.003", "spine.002", "spine_upper", centre[3], centre[4], _FORWARD),
        ("spine.004", "spine.003", "neck", centre[4], centre[5], _FORWARD),
        ("spine.006", "spine.004", "head", centre[5], centre[6], _FORWARD),
    ]
    for suffix, side, mirror in ((".L", "left", 1.0), (".R", "right", -1.0)):
        limb = [
            ("shoulder", "spine.003", "clavicle", np.array([0.015, -0.012, 0.826]), shoulder, _FORWARD),
            ("upper_arm", "shoulder", "shoulder", shoulder, elbow, _FORWARD),
            ("forearm", "upper_arm", "elbow", elbow, wrist, _FORWARD),
            ("hand", "forearm", "wrist", wrist, knuckles, _DOWN),
            ("thigh", "spine", "hip", hip, knee, _BACK),
            ("shin", "thigh", "knee", knee, ankle, _BACK),
            ("foot", "shin", "ankle", ankle, ball, _DOWN),
            ("toe", "foot", "toes", ball, toe_tip, _DOWN),
        ]
        flip = np.array([mirror, 1.0, 1.0])
        for name, parent, role, head, tail, z_hint in limb:
            parent_name = parent if parent.startswith("spine") else parent + suffix
            rows.append((name + suffix, parent_name, f"{side}_{role}", head * flip, tail * flip, z_hint))

    names = tuple(row[0] for row in rows)
    parents = tuple(-1 if row[1] is None else names.index(row[1]) for row in rows)
    roles = tuple(row[2] for row in rows)
    frames = np.stack([_axis_frame(tail - head, hint) for *_, head, tail, hint in rows])
    heads = np.stack([row[3] for row in rows]) * height
    lengths = np.array([np.linalg.norm(row[4] - row[3]) for row in rows]) * height

    rest, offset = frames.copy(), heads.copy()
    orders, rom = ["XYZ"], [np.tile(ROOT_RANGE, (3, 1))]
    for joint, parent in enumerate(parents):
        if parent < 0:
            continue
        rest[joint] = frames[parent].T @ frames[joint]
        offset[joint] = frames[parent].T @ (heads[joint] - heads[parent])
        order, bounds = _range_of_motion(roles[joint])
        orders.append(order)
        rom.append(bounds)
    return Skeleton(names, parents, roles, rest, offset, lengths, tuple(orders), np.stack(rom))
