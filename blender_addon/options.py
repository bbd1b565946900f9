# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user may choose: shown in the panel, kept with the scene, the same for the window and the command line."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, FloatVectorProperty, IntProperty, StringProperty
from bpy.types import PropertyGroup

from . import limbs, units
from .core.settings import DETECTORS, MARKED, Settings, SettingsError

_DEFAULTS = Settings()
_ADD = "its weights are added with `video2rig models add`"
_TITLES = {
    "blazepose": ("BlazePose", "33 keypoints and their depth; comes with the backend"),
    **{
        f"openpose_{stages}": (f"OpenPose, {stages} Stages", f"18 keypoints; fewer stages are faster; {_ADD}")
        for stages in range(2, 7)
    },
    "openpose_mobilenet": ("OpenPose, Small", f"18 keypoints, fast, poor at unusual poses; {_ADD}"),
    "rtmpose_m_halpe26": ("RTMPose-m", f"26 keypoints, heels and toes among them; {_ADD}"),
    "rtmpose_x_halpe26": ("RTMPose-x", f"26 keypoints, heels and toes among them, slower and more exact; {_ADD}"),
    "rtmw_l_wholebody": ("RTMW-l, Hands Too", f"35 keypoints, knuckles among them; {_ADD}"),
    "rtmw_x_wholebody": ("RTMW-x, Hands Too", f"35 keypoints, knuckles among them, slower and more exact; {_ADD}"),
}
_DETECTORS = [
    (name, title, tooltip[:1].upper() + tooltip[1:])
    for name in DETECTORS
    for title, tooltip in [_TITLES.get(name, (name.replace("_", " ").title(), _ADD))]
]

TOLERANCE: dict[str, Any] = {
    "name": "Tolerance",
    "subtype": "ANGLE",
    "min": math.radians(0.01),
    "soft_max": math.radians(5.0),
    "max": math.radians(45.0),
    "default": math.radians(0.5),
}
"""What every property that says how far sparse keys may be off has in common; radians."""


class VIDEO2RIG_PG_options(PropertyGroup):
    """The choices for the next video."""

    filepath: StringProperty(  # type: ignore[valid-type]
        name="Video", description="A video of people, filmed by a camera that stands still", subtype="FILE_PATH"
    )
    person: EnumProperty(  # type: ignore[valid-type]
        name="Person",
        description="Whom to solve, where the video shows several people",
        items=[
            ("LARGEST", "Largest", "The largest person at first, that same one to the end"),
            ("EVERYONE", "Everyone", "An armature for each person"),
            ("NUMBER", "By Number", "One person by number, in the order of their appearance"),
            ("POINT", "At Point", "One person, picked by a click on the video"),
        ],
        default="LARGEST",
    )
    person_number: IntProperty(  # type: ignore[valid-type]
        name="Number",
        description="From 1, in the order of appearance, as `video2rig people` shows them and Everyone names them",
        min=1,
        soft_max=32,
        default=1,
    )
    person_point: FloatVectorProperty(  # type: ignore[valid-type]
        name="Point", description="Pixels of the video, from its upper left corner", size=2
    )
    person_time: FloatProperty(  # type: ignore[valid-type]
        name="Time",
        description="Of the frame in which the point was picked",
        subtype="TIME_ABSOLUTE",
        unit="TIME_ABSOLUTE",
    )
    picked_in: StringProperty(options={"HIDDEN"})  # type: ignore[valid-type]
    armature: EnumProperty(  # type: ignore[valid-type]
        name="Armature",
        description="What the motion is solved on",
        items=[
            ("NEW", "New Armature", "A new armature, with the person's proportions"),
            ("ACTIVE", "Active Armature", "The active one: its bones, its proportions, its Limit Rotation constraints"),
        ],
        default="NEW",
    )
    device: EnumProperty(  # type: ignore[valid-type]
        name="Device",
        description="Where the networks run",
        items=[
            ("auto", "Automatic", "A GPU where there is one"),
            ("cpu", "CPU", "The processor"),
            ("cuda", "GPU", "A CUDA device; an error if there is none"),
        ],
        default=_DEFAULTS.device,
    )
    detector: EnumProperty(  # type: ignore[valid-type]
        name="Detector",
        description="Which network finds people; `video2rig models list` tells which of them are installed",
        items=_DETECTORS,
        default=_DEFAULTS.detector,
    )
    height: FloatProperty(  # type: ignore[valid-type]
        name="Person's Height",
        description="Standing height; it sets the scale of everything. 0 takes an average adult",
        subtype="DISTANCE",
        unit="LENGTH",
        min=0.0,
        soft_max=2.6,
        default=_DEFAULTS.height or 0.0,
    )
    field_of_view: FloatProperty(  # type: ignore[valid-type]
        name="Field of View",
        description="Angle across the longer side of the video. 0 finds it, beginning at a common phone's",
        subtype="ANGLE",
        min=0.0,
        max=2.6,
        default=_DEFAULTS.field_of_view or 0.0,
    )
    smoothing_hz: FloatProperty(  # type: ignore[valid-type]
        name="Smoothing (Hz)",
        description="Motion slower than this passes unchanged; lower values are smoother. 0 finds it from the motion",
        min=0.0,
        max=30.0,
        default=_DEFAULTS.smoothing_hz or 0.0,
    )
    contacts: EnumProperty(  # type: ignore[valid-type]
        name="Foot Contacts",
        description="Whether feet that rest on the floor are held still",
        items=[
            ("auto", "Automatic", "Feet that rest on the floor are found in the motion, and held still"),
            ("always", "Always", "The person never leaves the floor: one foot or the other always rests on it"),
            ("off", "Off", "Feet move as they were seen"),
            (
                "marked",
                "As Marked",
                "Solve Again holds feet where the action's contact markers say so. In a new video, which has no "
                "markers, they are found",
            ),
        ],
        default=_DEFAULTS.contacts,
    )
    rom: EnumProperty(  # type: ignore[valid-type]
        name="Joint Limits",
        description="How far joints may turn; the new armature carries these limits as constraints",
        items=[
            ("clinical", "Clinical", "Ranges of healthy adults (AAOS)"),
            ("athlete", "Athlete", "Wider ranges: dancers, gymnasts, throwers"),
            ("kinepose", "KinePose", "The ranges of KinePose's chain; a stiff trunk"),
            ("opensim", "OpenSim", "The ranges of the Rajagopal and Lai-Uhlrich models"),
        ],
        default=_DEFAULTS.rom,
    )
    proportions: EnumProperty(  # type: ignore[valid-type]
        name="Proportions",
        description="Whose proportions the video shows, where the motion goes onto an armature that was there before",
        items=[
            (
                "person",
                "Person's",
                "The person is measured; the armature takes over the pose, whatever its proportions",
            ),
            ("armature", "Armature's", "The armature was built to the person's own measures, and is solved as such"),
        ],
        default=_DEFAULTS.proportions,
    )
    regression: BoolProperty(  # type: ignore[valid-type]
        name="Learned Motion",
        description="Let a network that knows how people move tell the rotations that one camera leaves open",
        default=_DEFAULTS.regression,
    )
    limbs: EnumProperty(  # type: ignore[valid-type]
        name="Limbs",
        description="Limbs that are solved. One that is off keeps the keys that the armature's action has for it, "
        "edits by hand included; on a new armature it rests. Hips and spine are always solved, so legs that are off "
        "move with new hips and their feet may slide",
        items=limbs.ITEMS,
        options={"ENUM_FLAG"},
        default={identifier for identifier, _, _ in limbs.ITEMS},
    )
    interpolation: EnumProperty(  # type: ignore[valid-type]
        name="Interpolation",
        description="How the keys are joined",
        items=[
            ("LINEAR", "Linear", "Straight from key to key"),
            ("BEZIER", "Bezier", "Smooth curves with handles, for editing by hand"),
        ],
        default="LINEAR",
    )
    keys: EnumProperty(  # type: ignore[valid-type]
        name="Keys",
        description="How many keys a motion gets",
        items=[
            ("EVERY", "Every Frame", "A key at every frame of the video: the motion exactly as it was solved"),
            (
                "SPARSE",
                "Sparse",
                "As few keys as the tolerance allows, joined by smooth curves that are easy to edit by hand",
            ),
        ],
        default="EVERY",
    )
    key_tolerance: FloatProperty(  # type: ignore[valid-type]
        description="How far a bone may turn away from the solved motion at any frame, where keys are sparse. The hips "
        "may be off by 5 mm for each degree",
        **TOLERANCE,
    )
    match_scene: BoolProperty(  # type: ignore[valid-type]
        name="Match Scene to Video",
        description="Set the scene's frame rate, frame range and resolution to the video's. "
        "Off, keys are placed by time at the scene's own rate",
        default=False,
    )

    def settings(self) -> Settings:
        """Return the choices that concern the solve.

        Raises:
            SettingsError: A value lies outside what the solver takes.
        """
        values: dict[str, Any] = {"device": self.device, "rom": self.rom, "contacts": self.contacts}
        values |= {"person": self._who(), "detector": self.detector}
        values |= {"proportions": self.proportions, "regression": self.regression}
        values["smoothing_hz"] = self.smoothing_hz or None
        if self.height > 0:
            values["height"] = self.height * units.metres(self.id_data)
        if self.field_of_view > 0:
            values["field_of_view"] = self.field_of_view
        return Settings.from_json(values)

    def key_bound(self) -> float | None:
        """Return how far a bone may be off where keys are sparse, radians; None where every frame has a key."""
        return self.key_tolerance if self.keys == "SPARSE" else None

    def settings_for(self, path: str) -> Settings:
        """Return the choices for a video; contacts that are to be as marked are found, as a video has no marks.

        Raises:
            SettingsError: See :meth:`settings`; or somebody is to be found at a point that was picked in another video,
                or in none.
        """
        if self.person == "POINT" and not self.picked(path):
            raise SettingsError("nobody was picked in this video; press Pick Person, or choose Largest")
        chosen = self.settings()
        return dataclasses.replace(chosen, contacts="auto") if chosen.contacts == MARKED else chosen

    def pick(self, path: str, x: float, y: float, time: float) -> None:
        """Choose who is at a pixel of a video at a time in seconds."""
        self.person, self.person_point, self.person_time, self.picked_in = "POINT", (x, y), time, path

    def picked(self, path: str) -> bool:
        """Tell whether somebody was picked in this video."""
        return self.picked_in != "" and self.picked_in == path

    def _who(self) -> str:
        if self.person == "NUMBER":
            return str(self.person_number)
        if self.person == "POINT":
            x, y = self.person_point
            return f"{x:.1f},{y:.1f}@{self.person_time:.4f}"
        return self.person.lower()


def of(context: bpy.types.Context) -> VIDEO2RIG_PG_options:
    """Return the options of the context's scene."""
    return context.scene.video2rig


def register() -> None:
    """Attach the options to scenes."""
    bpy.types.Scene.video2rig = bpy.props.PointerProperty(type=VIDEO2RIG_PG_options)


def unregister() -> None:
    """Detach them."""
    del bpy.types.Scene.video2rig
