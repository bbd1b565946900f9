# SPDX-License-Identifier: GPL-3.0-or-later
"""Limbs -> people: of one frame, after all that is heavy has been done on the device."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .layout import LIMBS


@dataclass(eq=False)
class Assembled:
    """One person: the candidate's number of each part that it has, and the scores of its links."""

    parts: dict[int, int]
    scores: list[float] = field(default_factory=list)


def assemble(partner: np.ndarray, score: np.ndarray) -> list[Assembled]:
    """The people of one frame, from its links: partner [L,P], -1 for none, and score [L,P].

    The best link first, two groups of parts become one person unless both have some part already; links that join
    what better ones keep apart are left out. Limbs that only double others come last.
    """
    limbs, first = np.nonzero(partner >= 0)
    extra = np.array([limb.extra for limb in LIMBS])[limbs]
    people: dict[tuple[int, int], Assembled] = {}  # by each part and candidate
    for i in np.lexsort((-score[limbs, first], extra)):
        limb = LIMBS[limbs[i]]
        ends = ((limb.begin, int(first[i])), (limb.end, int(partner[limbs[i], first[i]])))
        one, other = (people[end] if end in people else Assembled(dict([end])) for end in ends)
        if one is not other:
            if one.parts.keys() & other.parts.keys():
                continue
            one = Assembled(one.parts | other.parts, one.scores + other.scores)
            people |= dict.fromkeys(one.parts.items(), one)
        one.scores.append(float(score[limbs[i], first[i]]))
    return list(dict.fromkeys(people.values()))
