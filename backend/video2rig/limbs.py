# SPDX-License-Identifier: GPL-3.0-or-later
"""Which limb a joint belongs to."""

from __future__ import annotations

from .anatomy import split_role
from .skeleton import Skeleton

BODY = "body"
LIMBS = ("left arm", "right arm", "left leg", "right leg", "head", BODY)
"""The limbs; the body is the hips with their path, and the spine."""

_PARTS = {
    "arm": ("clavicle", "shoulder", "elbow", "wrist"),
    "leg": ("hip", "knee", "ankle", "toes"),
    "head": ("neck", "head"),
}


def limb_of(role: str) -> str:
    """Return the limb of a joint's role; "" for no role."""
    side, part = split_role(role)
    for limb, parts in _PARTS.items():
        if part in parts:
            return f"{side} {limb}".strip()
    return BODY if role else ""


def limbs_of(skeleton: Skeleton) -> tuple[str, ...]:
    """Return the limb of each joint; one without a role belongs to what it hangs on."""
    found: list[str] = []
    for role, parent in zip(skeleton.roles, skeleton.parents, strict=True):
        found.append(limb_of(role) or (BODY if parent < 0 else found[parent]))
    return tuple(found)
