# SPDX-License-Identifier: GPL-3.0-or-later
"""Which bone of an unknown rig has which role: by hierarchy, symmetry and rest positions, never by names.

How it decides, in this order:

1. **Up** is the world's Z, then the other axes of the object: the first in which a body is found is taken.
2. **Pairs**: bones whose heads mirror each other across the plane of symmetry. That plane is the one, among those at
   right angles to an axis of the object, that pairs most bones. Bones in the plane are of the middle.
3. **Limbs** are chains of paired bones that hang on the middle, from there to a leaf. Of each, every three joints are
   scored as hip, knee and ankle, and as shoulder, elbow and wrist: how like a body's are the lengths of the two
   segments to each other and to the whole, and for legs how straight down they go and how near the ankle is to the
   floor. So bones before (hip helpers, clavicles), in between (twist bones in the chain) and after are passed over (no
   arm goes beyond a bone on which three chains hang, as fingers do), and chains that only look like limbs (wings,
   straps, hair) lose.
4. **Feet** tell forward: from the ankles to the lowest leaves. Forward and up tell left from right; where there are no
   toes, forward is the object's -Y, as in Blender.
5. **Pelvis** is the nearest bone that carries both legs and both arms; **spine** is the way from it to the nearest bone
   that carries both arms, of which three bones that part it evenly are taken; **neck** and **head** are on the highest
   way up from there; the **clavicle** is the last bone of the arm's chain before the shoulder.

A bone of the middle below the pelvis (a tail) or with its own root is never on these ways.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np

from .errors import Video2RigError
from .rest_rig import RestRig
from .rig_skeleton import SPINE


class StructureError(Video2RigError):
    """A rig in which no body was found; the message says what is missing."""


_MIRROR = 0.02  # of the rig's size: mirrored joints agree this well
_SAME = 0.01  # of the rig's size: joints nearer than this are one
_LONGEST = 40  # bones of a chain that are looked at


class _Limb(NamedTuple):
    cost: float
    chain: tuple[int, ...]  # from the middle to a leaf
    joints: tuple[int, int, int]  # bones, by their heads


class _View(NamedTuple):
    """A rig as seen along a supposed up: columns left or right, back or front, up; size 1, feet at 0."""

    rig: RestRig
    heads: np.ndarray
    tails: np.ndarray
    twin: np.ndarray  # [B] the mirrored bone; a bone of the middle is its own; -1 for none
    children: list[list[int]]


def find_roles(rig: RestRig) -> dict[str, str]:
    """Return the bone of each role that was found; roles that a rig may lack can be absent.

    Raises:
        StructureError: No body was found.
    """
    ups = [np.array([0.0, 0.0, 1.0]), *rig.axes.T, *-rig.axes.T]
    reason = ""
    for up in ups:
        try:
            return _body(_looked_at(rig, up))
        except StructureError as error:
            reason = reason or str(error)
    raise StructureError(reason)


def _looked_at(rig: RestRig, up: np.ndarray) -> _View:
    """Return the rig as seen along an up, in the symmetry that pairs most bones."""
    size = rig.size()
    best: tuple[int, _View] | None = None
    for axis in (*rig.axes.T, *np.eye(3)):
        if abs(axis @ up) > 0.1:
            continue
        side = axis - up * (axis @ up)
        side /= np.linalg.norm(side)
        turn = np.stack([side, np.cross(up, side), up])
        heads, tails = rig.heads @ turn.T / size, rig.tails @ turn.T / size
        for middle in {round(float(x), 4) for x in (np.median(heads[:, 0]), 0.0, heads[0, 0])}:
            shift = np.array([middle, 0.0, 0.0])
            twin = _pairs(heads - shift, np.linalg.norm(tails - heads, axis=1))
            count = int((twin >= 0).sum() + (twin != np.arange(len(twin)))[twin >= 0].sum())
            if best is None or count > best[0]:
                best = count, _View(rig, heads - shift, tails - shift, twin, rig.children())
    assert best is not None
    view = best[1]
    if not ((view.twin >= 0) & (view.twin != np.arange(len(rig)))).any():
        raise StructureError("no bone mirrors another; a body has a left and a right side")
    floor = np.concatenate([view.heads, view.tails])[:, 2].min()
    return view._replace(heads=view.heads - [0, 0, floor], tails=view.tails - [0, 0, floor])


def _pairs(heads: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return [B] each bone's mirror image across x = 0: head and length agree; -1 for none."""
    mirrored = heads * [-1, 1, 1]
    apart = np.linalg.norm(heads[:, None] - mirrored[None], axis=-1) + 0.25 * np.abs(lengths[:, None] - lengths[None])
    twin = np.full(len(heads), -1)
    middle = np.abs(heads[:, 0]) < _MIRROR / 2
    for bone in range(len(heads)):
        if middle[bone]:
            twin[bone] = bone
            continue
        other = int(np.where(heads[:, 0] * heads[bone, 0] < 0, apart[bone], np.inf).argmin())
        if apart[bone, other] < _MIRROR and heads[other, 0] * heads[bone, 0] < 0:
            twin[bone] = other
    return twin


def _body(view: _View) -> dict[str, str]:
    rig = view.rig
    chains = _chains(view)
    if not chains:
        raise StructureError("no chain of mirrored bones hangs on the middle; arms and legs were not found")
    legs = [limb for chain in chains if (limb := _leg(view, chain)) is not None]
    if not legs:
        raise StructureError(
            "the legs were not found: no chain has hip, knee and ankle above one another near the floor"
        )
    leg = min(legs, key=lambda limb: limb.cost)
    used = {leg.joints[0], int(view.twin[leg.joints[0]])}
    arms = [
        limb
        for chain in chains
        if not used & set(chain) and (limb := _arm(view, chain, view.heads[leg.joints[0], 2])) is not None
    ]
    if not arms:
        raise StructureError("the arms were not found: no chain above the hips has shoulder, elbow and wrist")
    arm = min(arms, key=lambda limb: limb.cost)

    toes = _toes(view, leg)
    left = _left_sign(view, leg, toes)
    roles: dict[str, int] = {}
    limbs = [("hip", leg.joints[0]), ("knee", leg.joints[1]), ("ankle", leg.joints[2])]
    limbs += [("shoulder", arm.joints[0]), ("elbow", arm.joints[1]), ("wrist", arm.joints[2])]
    optional = (("toes", toes), ("clavicle", _clavicle(view, arm)))
    limbs += [(role, bone) for role, bone in optional if bone is not None]
    for role, bone in limbs:
        for one in (bone, int(view.twin[bone])):
            side = "left" if view.heads[one, 0] * left > 0 else "right"
            roles[f"{side}_{role}"] = one
    roles |= _trunk(view, leg, arm, roles)
    if "pelvis" not in roles:
        raise StructureError("arms and legs hang on no bone together; parent the rig's parts to one bone")
    return {role: rig.names[bone] for role, bone in roles.items()}


def _chains(view: _View) -> list[tuple[int, ...]]:
    """Return the ways of paired bones on one side, from the bone that hangs on the middle to each leaf."""
    found = []
    for leaf, below in enumerate(view.children):
        if below and any(view.twin[child] >= 0 and view.twin[child] != child for child in below):
            continue
        chain = []
        bone = leaf
        while bone >= 0 and view.twin[bone] >= 0 and view.twin[bone] != bone and view.heads[bone, 0] > 0:
            chain.append(bone)
            bone = view.rig.parents[bone]
        if len(chain) >= 2 and bone >= 0:
            found.append(tuple(reversed(chain))[:_LONGEST])
    return found


def _bent(view: _View, joints: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, float, float]:
    a, b, c = view.heads[list(joints)]
    return b - a, c - b, float(np.linalg.norm(b - a)), float(np.linalg.norm(c - b))


def _leg(view: _View, chain: tuple[int, ...]) -> _Limb | None:
    """Return the best hip, knee and ankle of a chain; None where nothing is like a leg."""
    best = None
    for joints in combinations(chain, 3):
        upper, lower, one, two = _bent(view, joints)
        if min(one, two) < 0.05 or not 0.6 < one / two < 1.7:
            continue
        down = -upper[2] / one, -lower[2] / two
        ankle = view.heads[joints[2], 2]
        if min(down) < 0.6 or ankle > 0.35 * (one + two):
            continue
        # thighs and shins are as long as each other and a quarter of the height; the ankle is at a twelfth of the leg,
        # a quarter of it behind the tip of the toes
        whole = one + two
        foot = float(np.linalg.norm((view.tails[chain[-1]] - view.heads[joints[2]])[:2]))
        cost = (
            abs(np.log(one / two)) * 2
            + (2 - sum(down)) * 3
            + (1 - float(upper @ lower) / (one * two)) * 4
            + abs(ankle / whole - 0.08) * 4
            + abs(foot / whole - 0.23) * 4
            + max(0.0, 0.30 - whole) * 20
            - whole
        )
        if best is None or cost < best.cost - 1e-9:
            best = _Limb(float(cost), chain, joints)
    return best


def _arm(view: _View, chain: tuple[int, ...], hips: float) -> _Limb | None:
    """Return the best shoulder, elbow and wrist of a chain; None where nothing is like an arm."""
    best = None
    for joints in combinations(chain[: _fan(view, chain) + 1], 3):
        upper, lower, one, two = _bent(view, joints)
        if min(one, two) < 0.04 or not 0.6 < one / two < 1.8 or view.heads[joints[0], 2] < hips:
            continue
        straight = float(upper @ lower) / (one * two)
        if straight < -0.2:
            continue
        after = chain[chain.index(joints[2]) :]
        hand = float(np.linalg.norm(view.heads[after[-1]] - view.heads[joints[2]])) + _length(view, after[-1])
        whole = one + two
        # a forearm is a little shorter than an upper arm, a hand a third of both; shoulders are a quarter of the height
        # above the hips and near the middle
        cost = (
            abs(np.log(one / two / 1.12)) * 2
            + abs(hand / whole - 0.32) * 1.5
            + abs(whole - 0.32) * 4
            + max(0.0, abs(view.heads[joints[0], 0]) - 0.16) * 10
            + max(0.0, 0.06 - abs(view.heads[joints[0], 0])) * 30
            + (1 - straight)
            + abs(view.heads[joints[0], 2] - hips - 0.28) * 3
        )
        if best is None or cost < best.cost - 1e-9:
            best = _Limb(float(cost), chain, joints)
    return best


def _fan(view: _View, chain: tuple[int, ...]) -> int:
    """Return the place in a chain of the first bone on which three or more chains hang, as fingers do on a hand."""
    for place, bone in enumerate(chain):
        if sum(bool(view.children[child]) for child in view.children[bone]) >= 3:
            return place
    return len(chain)


def _length(view: _View, bone: int) -> float:
    return float(min(np.linalg.norm(view.tails[bone] - view.heads[bone]), 0.1))


def _toes(view: _View, leg: _Limb) -> int | None:
    """Return the bone of the toes: the only one below the ankle that lies away from it along the floor."""
    ankle = leg.joints[2]
    size = float(np.linalg.norm(view.heads[leg.joints[1]] - view.heads[ankle]))
    candidates = []
    for child in view.children[ankle]:
        step = view.heads[child] - view.heads[ankle]
        level = float(np.linalg.norm(step[:2]))
        if view.twin[child] >= 0 and level > 0.12 * size and level > 0.8 * abs(step[2]):
            candidates.append((abs(level / size - 0.3), child))
    # several toes are single ones, which a foot does not roll over
    return min(candidates)[1] if len(candidates) == 1 else None


def _left_sign(view: _View, leg: _Limb, toes: int | None) -> float:
    """Return +1 where the person's left lies towards +x of the view, else -1."""
    ankle = leg.joints[2]
    points = [view.heads[child] for child in view.children[ankle]] + [view.tails[ankle]]
    if toes is not None:
        points = [view.heads[toes]]
    steps = np.array(points) - view.heads[ankle]
    step = steps[np.linalg.norm(steps[:, :2], axis=1).argmax(), :2]
    if abs(step[1]) < 0.01:
        # nothing points forward: the object's X is the left of a figure that faces its -Y
        left = view.rig.heads[leg.joints[0]] - view.rig.heads[view.twin[leg.joints[0]]]
        return float(np.sign(view.heads[leg.joints[0], 0] * (left @ view.rig.axes[:, 0])))
    # the view's second axis points back where the first points left
    return 1.0 if step[1] < 0 else -1.0


def _clavicle(view: _View, arm: _Limb) -> int | None:
    before = arm.chain[: arm.chain.index(arm.joints[0])]
    shoulder = view.heads[arm.joints[0]]
    apart = [bone for bone in before if np.linalg.norm(view.heads[bone] - shoulder) > 2 * _SAME]
    return apart[-1] if apart else None


def _common(rig: RestRig, bones: list[int]) -> int | None:
    """Return the nearest bone that carries all of several, or None."""
    ways = [[bone, *rig.ancestors(bone)] for bone in bones]
    return next((bone for bone in ways[0] if all(bone in way for way in ways[1:])), None)


def _trunk(view: _View, leg: _Limb, arm: _Limb, roles: dict[str, int]) -> dict[str, int]:
    rig = view.rig
    chest = _common(rig, [arm.chain[0], int(view.twin[arm.chain[0]])])
    legs = _common(rig, [leg.chain[0], int(view.twin[leg.chain[0]])])
    if chest is None or legs is None:
        return {}
    pelvis = _common(rig, [chest, legs])
    if pelvis is None:
        return {}
    found = {"pelvis": pelvis}
    way = []
    bone = chest
    while bone != pelvis:
        way.append(bone)
        bone = rig.parents[bone]
    spine = _apart(view, way[::-1])
    found |= dict(zip(SPINE, _three(spine), strict=False)) if len(spine) > 1 else {}
    if len(spine) == 1:
        found["spine_upper"] = spine[0]
    elif len(spine) == 2:
        found = {"pelvis": pelvis, "spine_lower": spine[0], "spine_upper": spine[1]}
    up = _way_up(view, chest, set(roles.values()))
    up = [bone for bone in up if view.heads[bone, 2] > view.heads[arm.joints[0], 2] - 0.05]
    if up:
        found["head"] = _head(view, up)
        neck = up[: up.index(found["head"])]
        if neck:
            found["neck"] = neck[0]
    return found


def _apart(view: _View, bones: list[int]) -> list[int]:
    """Return the bones of a way that turn about different places."""
    kept: list[int] = []
    for bone in bones:
        if not kept or np.linalg.norm(view.heads[bone] - view.heads[kept[-1]]) > _SAME:
            kept.append(bone)
    return kept


def _three(bones: list[int]) -> list[int]:
    """Return the first, the last and the middle one of a way, in its order; all of them where there are not more."""
    return bones if len(bones) <= 3 else [bones[0], bones[(len(bones) - 1) // 2], bones[-1]]


def _way_up(view: _View, chest: int, taken: set[int]) -> list[int]:
    """Return the bones of the middle from the chest to the highest leaf."""
    best: tuple[float, list[int]] = (-1.0, [])
    waiting = [(child, [child]) for child in view.children[chest]]
    while waiting:
        bone, way = waiting.pop()
        if bone in taken or view.twin[bone] != bone:
            continue
        top = max(float(view.heads[bone, 2]), float(view.tails[bone, 2]))
        if top > best[0] + 1e-6:
            best = top, way
        waiting += [(child, [*way, child]) for child in view.children[bone]]
    return best[1]


def _head(view: _View, up: list[int]) -> int:
    """Return the head among the bones of the neck, by where it begins."""
    if len(up) == 1:
        return up[0]
    top = max(float(view.tails[up[-1], 2]), float(view.heads[up[-1], 2]))
    base = float(view.heads[up[0], 2])
    # a head begins about a third to half of the way from the neck's base to the top
    share = [(view.heads[bone, 2] - base) / max(top - base, 1e-6) for bone in up]
    return min(up[1:], key=lambda bone: abs(share[up.index(bone)] - 0.42))
