# SPDX-License-Identifier: GPL-3.0-or-later
"""When feet rest, as an animator reads and edits it: marks on a timeline, two for each rest.

"left heel down" stands at the first frame of a rest and "left heel up" at its last one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .errors import Video2RigError

PARTS = {
    "left heel": "left_ankle",
    "left toes": "left_toes",
    "right heel": "right_ankle",
    "right toes": "right_toes",
}
"""The parts of feet by what a mark calls them, with the role of the joint that carries each."""

_SIDES = ("left", "right")
_ENDS = ("down", "up")
_WORDS = {"heel": ("heel",), "toes": ("toes",), "toe": ("toes",), "foot": ("heel", "toes")}


class MarkError(Video2RigError):
    """Marks that make no sense; the message names one and says what would."""


class Mark(NamedTuple):
    """A mark: what it is called, and its frame."""

    name: str
    frame: int


class Rest(NamedTuple):
    """A part of a foot that rests: the role of its joint, the first frame and the last."""

    role: str
    down: int
    up: int


def is_contact(name: str) -> bool:
    """Tell whether a mark is meant to be one of these: it names two of a side, a part of the foot, and down or up.

    Any other mark is the animator's own, and nothing is made of it.
    """
    words = name.lower().split()
    return sum(any(word in known for word in words) for known in (_SIDES, _WORDS, _ENDS)) >= 2


def marks_of(rests: Iterable[Rest]) -> list[Mark]:
    """Return the marks of rests, by their frames. Roles without a name of their own are left out."""
    names = {role: name for name, role in PARTS.items()}
    marks = [
        Mark(f"{names[rest.role]} {end}", frame)
        for rest in rests
        if rest.role in names
        for end, frame in zip(_ENDS, (rest.down, rest.up), strict=True)
    ]
    return sorted(marks, key=lambda mark: mark.frame)


def rests_of(marks: Sequence[Mark]) -> list[Rest]:
    """Return the rests that marks tell, by their first frames; "foot" means heel and toes.

    Marks that are not meant as contacts are left alone.

    Raises:
        MarkError: A mark is misspelt, or a down and an up do not make a pair.
    """
    ends: dict[str, list[tuple[int, str, Mark]]] = {}
    for mark in marks:
        if is_contact(mark.name):
            parts, end = _read(mark)
            for part in parts:
                ends.setdefault(part, []).append((mark.frame, end, mark))
    rests = [rest for part, events in ends.items() for rest in _paired(part, events)]
    return sorted(rests, key=lambda rest: rest.down)


def _read(mark: Mark) -> tuple[list[str], str]:
    words = mark.name.lower().split()
    if len(words) != 3 or words[0] not in _SIDES or words[1] not in _WORDS or words[2] not in _ENDS:
        raise MarkError(
            f"the marker {_told(mark)} is no contact; contacts are called left or right, heel, toes or foot, down or "
            'up, as in "left heel down". Rename it, or delete it'
        )
    return [f"{words[0]} {part}" for part in _WORDS[words[1]]], words[2]


def _paired(part: str, events: list[tuple[int, str, Mark]]) -> list[Rest]:
    rests: list[Rest] = []
    down: Mark | None = None
    waiting = sorted(events, key=lambda event: event[0])
    while waiting:
        # of several at one frame, the one that makes a pair comes first
        wanted = "down" if down is None else "up"
        here = [event for event in waiting if event[0] == waiting[0][0]]
        event = next((event for event in here if event[1] == wanted), here[0])
        waiting.remove(event)
        frame, end, mark = event
        if end == "up" and down is None:
            raise MarkError(f'the marker {_told(mark)} has no "{part} down" before it; add one, or delete it')
        if end == "down" and down is not None:
            raise MarkError(
                f'the marker {_told(mark)} comes while {part} is down since frame {down.frame}; add "{part} up" '
                "between them, or delete one"
            )
        if end == "up" and down is not None:
            rests.append(Rest(PARTS[part], down.frame, frame))
        down = mark if end == "down" else None
    if down is not None:
        raise MarkError(f'the marker {_told(down)} has no "{part} up" after it; add one, or delete it')
    return rests


def _told(mark: Mark) -> str:
    return f'"{mark.name}" at frame {mark.frame}'
