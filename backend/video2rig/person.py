# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom to solve: the largest person of a video, everyone, one by number, or one by a point in the picture."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from .errors import Video2RigError

_NUMBER = re.compile(r"[0-9]{1,9}")
_POINT = re.compile(r"(-?[0-9.]{1,20}),(-?[0-9.]{1,20})@([0-9.]{1,20})")
_FORMS = "'largest', 'everyone', a number from 1 on, or a point in pixels with its time in seconds as '640,360@1.5'"


class PersonError(Video2RigError):
    """A choice of a person that cannot be read, or that nobody in the video fits."""


@dataclass(frozen=True)
class PersonChoice:
    """Whom to solve.

    Attributes:
        kind: "largest" follows the largest person at first, that same one to the end; "everyone" is all who were
            tracked; "number" and "point" are one of them.
        number: From 1, in the order of their appearance.
        point: Pixels of the source video (x, y), on the person. time: Seconds from the video's first frame.
    """

    kind: Literal["largest", "everyone", "number", "point"]
    number: int = 0
    point: tuple[float, float] = (0.0, 0.0)
    time: float = 0.0

    @classmethod
    def parse(cls, text: str) -> PersonChoice:
        """Read a choice as settings and the command line hold it.

        Raises:
            PersonError: It has none of the forms.
        """
        if not isinstance(text, str):
            raise PersonError(f"person is {text!r}; it can be {_FORMS}")
        if text == "largest" or text == "everyone":
            return cls(text)
        if _NUMBER.fullmatch(text) and int(text) >= 1:
            return cls("number", number=int(text))
        if point := _POINT.fullmatch(text):
            try:
                x, y, time = map(float, point.groups())
            except ValueError:
                x = y = time = math.nan
            if math.isfinite(x + y + time):
                return cls("point", point=(x, y), time=time)
        raise PersonError(f"person is {text[:60]!r}; it can be {_FORMS}")
