# SPDX-License-Identifier: GPL-3.0-or-later
"""What joints are called: the roles of Rigify's bones, and the anatomical motions about a bone's own axes.

Axes are those of the default human (`human.py`): +Y runs along the bone and X is the main flexion axis. A right
bone mirrors its left one, so that a motion turns it about Y and Z the other way.
"""

from __future__ import annotations

from typing import NamedTuple

_CENTRE_ROLES = {
    "spine": "pelvis",
    "spine.001": "spine_lower",
    "spine.002": "spine_middle",
    "spine.003": "spine_upper",
    "spine.004": "neck",
    "spine.006": "head",
}
_LIMB_ROLES = {
    "shoulder": "clavicle",
    "upper_arm": "shoulder",
    "forearm": "elbow",
    "hand": "wrist",
    "thigh": "hip",
    "shin": "knee",
    "foot": "ankle",
    "toe": "toes",
}

RIGIFY_ROLES: dict[str, str] = _CENTRE_ROLES | {
    f"{bone}{suffix}": f"{side}_{role}"
    for suffix, side in ((".L", "left"), (".R", "right"))
    for bone, role in _LIMB_ROLES.items()
}
"""Role of each bone of Rigify's human metarig that the default human has."""


class JointMotion(NamedTuple):
    """An anatomical motion of a joint and its opposite.

    Attributes:
        axis: 0 to 2, the bone's own axis that it turns about. sign: +1 where a left bone turns about +axis.
        words: The motion, and its opposite.
        at_rest: The anatomical angle in the default human's rest pose, degrees.
    """

    axis: int
    sign: int
    words: tuple[str, str]
    at_rest: float = 0.0

    @property
    def name(self) -> str:
        """How range-of-motion profiles name it."""
        return " / ".join(self.words)


_BENDING = JointMotion(0, 1, ("flexion", "extension"))
_TRUNK = (
    _BENDING,
    JointMotion(1, 1, ("rotation to the left", "rotation to the right")),
    JointMotion(2, 1, ("bending to the right", "bending to the left")),
)

MOTIONS: dict[str, tuple[JointMotion, ...]] = {
    "spine_lower": _TRUNK,
    "spine_middle": _TRUNK,
    "spine_upper": _TRUNK,
    "neck": _TRUNK,
    "head": _TRUNK,
    "clavicle": (
        JointMotion(0, 1, ("protraction", "retraction")),
        JointMotion(2, 1, ("elevation", "depression")),
    ),
    "shoulder": (
        JointMotion(0, 1, ("horizontal adduction", "horizontal abduction")),
        JointMotion(1, 1, ("internal rotation", "external rotation")),
        JointMotion(2, 1, ("abduction", "adduction"), at_rest=50.0),
    ),
    "elbow": (_BENDING, JointMotion(1, 1, ("pronation", "supination"))),
    "wrist": (_BENDING, JointMotion(2, 1, ("radial deviation", "ulnar deviation"))),
    "hip": (
        JointMotion(0, -1, ("flexion", "extension")),
        JointMotion(1, 1, ("internal rotation", "external rotation")),
        JointMotion(2, -1, ("abduction", "adduction")),
    ),
    "knee": (_BENDING,),
    "ankle": (
        JointMotion(0, -1, ("dorsiflexion", "plantar flexion")),
        JointMotion(1, -1, ("inversion", "eversion")),
    ),
    "toes": (JointMotion(0, -1, ("extension", "flexion")),),
}
"""The motions of each joint, by its role without the side."""


def split_role(role: str) -> tuple[str, str]:
    """Return the side (``"left"``, ``"right"`` or ``""``) and the rest of a role."""
    side, _, part = role.partition("_")
    return (side, part) if side in ("left", "right") else ("", role)


def motion_words(role: str, axis: int, upper: bool) -> str:
    """Return what a joint does at a bound of the angle about an axis of its bone.

    Args:
        role: ``"left_knee"``; ``""`` where the joint has none.
        axis: 0 to 2. upper: Whether it is the upper bound.

    Returns:
        The anatomical motion, or the axis with its direction (``"+X"``) where the role has no word for it.
    """
    side, part = split_role(role)
    for motion in MOTIONS.get(part, ()):
        if motion.axis == axis:
            sign = motion.sign * (-1 if side == "right" and axis > 0 else 1)
            return motion.words[0 if (sign > 0) == upper else 1]
    return f"{'+' if upper else '-'}{'XYZ'[axis]}"
