# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings: everything that a user may choose about a solve, in one typed record."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, get_type_hints

from .errors import Video2RigError
from .person import PersonChoice, PersonError

DEVICES = ("auto", "cpu", "cuda")
DETECTORS = (
    "blazepose",
    *("openpose_6", "openpose_5", "openpose_4", "openpose_3", "openpose_2", "openpose_mobilenet"),
    *("rtmpose_m_halpe26", "rtmpose_x_halpe26", "rtmw_l_wholebody", "rtmw_x_wholebody"),
)
CONTACT_MODES = ("off", "auto", "always")
MARKED = "marked"
"""Contacts that somebody has marked, of a take that is solved again."""
PROPORTIONS = ("person", "armature")
ROM_PROFILES = ("clinical", "athlete", "kinepose", "opensim")

_CHOICES = {
    "device": DEVICES,
    "detector": DETECTORS,
    "contacts": (*CONTACT_MODES, MARKED),
    "rom": ROM_PROFILES,
    "proportions": PROPORTIONS,
}
# lower and upper bound, and what a user reads them in: a unit, and how many of them one of ours is
_DEGREES = ("degrees", 180 / math.pi)
_RANGES: dict[str, tuple[float, float, tuple[str, float]]] = {
    "smoothing_hz": (0.5, 30.0, ("Hz", 1.0)),
    "height": (0.5, 2.6, ("m", 1.0)),
    "field_of_view": (math.radians(5.0), math.radians(150.0), _DEGREES),
    "tilt": (math.radians(-89.0), math.radians(89.0), _DEGREES),
}


class SettingsError(Video2RigError):
    """A setting that does not exist, or a value that it cannot take."""


@dataclass(frozen=True)
class Settings:
    """What a user may choose about one solve.

    Attributes:
        device: Where the networks run: ``"auto"`` takes a GPU where there is one and says so; ``"cuda"`` without
            one is an error.
        detector: Which network finds the pose, by its name in the backend's catalogue (`video2rig models list`).
        person: Whom to solve: ``"largest"``, ``"everyone"``, a number, or a point; see `PersonChoice.parse`.
        smoothing_hz: Motion slower than this passes unchanged, faster motion is smoothed; hertz. None estimates it
            from the motion.
        height: Standing height of the person, metres; None takes an average adult. It alone sets the scale: one
            camera cannot tell a tall person far away from a short one nearby. Of several people, that of the one who is
            seen best; the others are measured against them by the floor that all stand on.
        field_of_view: Angle across the longer side of the picture, radians; None estimates it with the pose, from that
            of a common phone.
        tilt: How far the camera looks down (positive) or up, radians; None estimates it from the person.
        contacts: Whether feet that rest on the floor are found and held still: ``"off"``, ``"auto"``, or ``"always"``
            for a person who never leaves the floor; ``"marked"`` where intervals come with a take that is solved again.
        rom: Profile of the joints' ranges of motion, see `rom_profiles.py`.
        proportions: Whose proportions are seen where an armature is given: ``"person"`` measures the person's and has
            the armature take over the pose; ``"armature"`` takes the armature's for the person's.
        regression: Whether a network that knows how people move tells the rotations that one camera leaves open.
    """

    device: str = "auto"
    detector: str = "blazepose"
    person: str = "largest"
    smoothing_hz: float | None = 6.0
    height: float | None = None
    field_of_view: float | None = None
    tilt: float | None = None
    contacts: str = "auto"
    rom: str = "clinical"
    proportions: str = "person"
    regression: bool = True

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise SettingsError(f"settings: {name} is {getattr(self, name)!r}; it can be {', '.join(choices)}")
        try:
            self.choice()
        except PersonError as error:
            raise SettingsError(f"settings: {error}") from error
        if not isinstance(self.regression, bool):
            raise SettingsError(f"settings: regression is {self.regression!r}; it can be true or false")
        for name, (lower, upper, (unit, factor)) in _RANGES.items():
            value = getattr(self, name)
            if value is None and "None" in str(get_type_hints(type(self))[name]):
                continue
            bounds = f"it must lie between {lower * factor:g} and {upper * factor:g} {unit}"
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise SettingsError(f"settings: {name} is {value!r}; {bounds}")
            if not lower <= value <= upper:
                raise SettingsError(f"settings: {name} is {value * factor:g} {unit}; {bounds}")

    def choice(self) -> PersonChoice:
        """Return whom to solve.

        Raises:
            PersonError: `person` cannot be read; it was when the settings were made.
        """
        return PersonChoice.parse(self.person)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Settings:
        """Read what :meth:`to_json` wrote; absent entries take their defaults.

        Raises:
            SettingsError: There is no such setting, or its value cannot be.
        """
        if not isinstance(data, dict):
            raise SettingsError("settings: expected a JSON object")
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(data) - set(known))
        if unknown:
            raise SettingsError(f"settings: there is no {', '.join(map(repr, unknown))}; there are {', '.join(known)}")
        return cls(**data)
