# SPDX-License-Identifier: GPL-3.0-or-later
"""Heat maps and part affinity fields -> the people of each frame, any number of them.

Cao et al. 2017, section 2.3 and 2.4: candidates of each part, their links limb by limb, people from links.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .assembly import assemble
from .layout import PARTS
from .links import link
from .peaks import MIN_HEAT, Peaks, find_peaks
from .resample import enlarge
from .stages import StageOutput

MIN_PARTS = 4
MIN_SCORE = 0.25
ENLARGE = 2
"""Cells of the grid on which peaks are sought, for each of the network's along an axis."""


class Bodies(NamedTuple):
    """N people of one frame, those with many parts and a high score first.

    score [N] 0..1; places [N,18,2] in cells of the maps (x, y), NaN where a part was not seen; its heat [N,18] 0..1.
    """

    score: np.ndarray
    places: np.ndarray
    heat: np.ndarray


def decode(output: StageOutput, least: float = MIN_HEAT) -> list[Bodies]:
    """People of each of B frames; parts whose heat is no more than `least` are not looked at.

    A person has at least MIN_PARTS parts and a score of at least MIN_SCORE: the mean of the heat of its parts, times
    the mean of the score of its links, as a geometric mean.
    """
    peaks = find_peaks(enlarge(output.heat[:, : len(PARTS)].float(), ENLARGE), least)
    peaks = Peaks((peaks.places + 0.5) / ENLARGE - 0.5, peaks.heat)
    links = link(output.fields.float(), peaks)
    places, heat, partner, score = (tensor.cpu().numpy() for tensor in (*peaks, *links))
    return [_people(*frame) for frame in zip(places, heat, partner, score, strict=True)]


def _people(places: np.ndarray, heat: np.ndarray, partner: np.ndarray, score: np.ndarray) -> Bodies:
    """The people of one frame: candidates [18,P,2] and their heat [18,P], links [L,P]."""
    people = assemble(partner, score)
    found = np.full((len(people), len(PARTS), 2), np.nan)
    warmth = np.zeros((len(people), len(PARTS)))
    for i, person in enumerate(people):
        part, candidate = list(person.parts), list(person.parts.values())
        found[i, part], warmth[i, part] = places[part, candidate], heat[part, candidate].clip(0, 1)
    counts = (warmth > 0).sum(1)
    agreement = np.array([np.mean(person.scores) for person in people])
    scores = np.sqrt(warmth.sum(1) / np.maximum(counts, 1) * agreement)
    kept = np.flatnonzero((counts >= MIN_PARTS) & (scores >= MIN_SCORE))
    kept = kept[np.argsort(-(scores * counts)[kept], kind="stable")]
    return Bodies(scores[kept], found[kept], warmth[kept])
