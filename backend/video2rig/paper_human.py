# SPDX-License-Identifier: GPL-3.0-or-later
"""The human of Zhou et al. 2016, Deep Kinematic Pose Regression (section 4.2): 17 joints, 27 degrees of freedom.

Position and orientation of the pelvis (6); the neck rolls and yaws against the root (2), the torso lies half way
between pelvis and neck without a parameter of its own; hips and shoulders (3 each), knees and elbows (1 each); the neck
turns nose and head (3). A trunk bone at the pelvis carries the two that move the neck.

The paper prescribes neither frames nor ranges: they are those of :mod:`.human`, whose three spine joints and whose
neck and head are one joint each here, with their ranges together.
"""

from __future__ import annotations

import numpy as np

from . import keypoints
from .human import DEFAULT_HEIGHT, default_human
from .skeleton import Skeleton

# name, parent, role, joint of the default human that gives its frame and, unless it is the neck, its place
_CENTRE = (
    ("spine", "", "pelvis", "pelvis"),
    ("spine.001", "spine", "spine_lower", "pelvis"),
    ("spine.002", "spine.001", "spine_middle", "pelvis"),
    ("spine.004", "spine.002", "neck", "neck"),
    ("spine.006", "spine.004", "head", "head"),
)
_LIMB = (
    ("upper_arm", "spine.002", "shoulder"),
    ("forearm", "upper_arm", "elbow"),
    ("hand", "forearm", "wrist"),
    ("thigh", "spine", "hip"),
    ("shin", "thigh", "knee"),
    ("foot", "shin", "ankle"),
)
_FREE = {
    "spine_lower": "yz",
    "neck": "xyz",
    **{f"{side}_{joint}": "xyz" for side in ("left", "right") for joint in ("shoulder", "hip")},
    **{f"{side}_{joint}": "x" for side in ("left", "right") for joint in ("elbow", "knee")},
}
_SHARED = {"spine_lower": ("spine_lower", "spine_middle", "spine_upper"), "neck": ("neck", "head")}


def paper_human(height: float = DEFAULT_HEIGHT) -> Skeleton:
    """Return the skeleton, standing on the floor z = 0, facing -Y, in the default human's proportions.

    Args:
        height: Standing height of the default human that gives the proportions, metres.
    """
    human = default_human(height)
    rows = list(_CENTRE)
    for suffix, side in ((".L", "left"), (".R", "right")):
        for name, parent, joint in _LIMB:
            above = parent if parent.startswith("spine") else parent + suffix
            rows.append((name + suffix, above, f"{side}_{joint}", f"{side}_{joint}"))
    names, roles = tuple(row[0] for row in rows), tuple(row[2] for row in rows)
    parents = tuple(names.index(row[1]) if row[1] else -1 for row in rows)
    model = [human.index(row[3]) for row in rows]

    world = human.rest_matrices()[model]
    pelvis, neck = (world[roles.index(role), :3, 3] for role in ("pelvis", "neck"))
    torso = roles.index("spine_middle")
    world[torso, :3, 3] = (pelvis + neck) / 2
    length = human.length[model]
    length[[roles.index("spine_lower"), torso]] = np.linalg.norm(neck - pelvis) / 2

    local = world.copy()
    for joint, parent in enumerate(parents):
        if parent >= 0:
            local[joint] = np.linalg.inv(world[parent]) @ world[joint]
    rom = np.zeros((len(rows), 3, 2))
    rom[0] = human.rom[0]
    for joint, role in enumerate(roles):
        axes = ["xyz".index(axis) for axis in _FREE.get(role, "")]
        together = [human.index(part) for part in _SHARED.get(role, (role,))]
        rom[joint, axes] = human.rom[together].sum(axis=0)[axes]
    order = tuple(human.euler_order[human.index(role)] for role in roles)
    return Skeleton(names, parents, roles, local[:, :3, :3], local[:, :3, 3], length, order, rom)


def paper_sites(skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray]:
    """Return where the 17 points of ``h36m_17`` sit: at the joints' centres, nose and head top on the head.

    :func:`.keypoints.sites` places all 17 on this skeleton as well, but the hips where detectors of images see them.

    Returns:
        Joints [17] and offsets [17, 3] in their bones' frames, metres.
    """
    names = keypoints.KEYPOINT_SETS["h36m_17"]
    joints, offsets = keypoints.sites(skeleton, names)
    for point, name in enumerate(names):
        if name.endswith("_hip"):
            joints[point], offsets[point] = skeleton.index(name), 0.0
    return joints, offsets
