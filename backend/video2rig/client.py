# SPDX-License-Identifier: GPL-3.0-or-later
"""The client: what is asked of a server to be solved: a video, a take's keypoints anew, or what was recorded live."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from .cargo import Cargo, KeypointsCargo, VideoCargo
from .conversation import Call, Conversation
from .frames import VideoSource
from .motion import Contact
from .recording import Recording
from .seen import Seen
from .settings import Settings, SettingsError
from .skeleton import Skeleton
from .take import Take, TakeError
from .wire import WireError

_SOLVING = ("kinematic_regressor",)
"""Networks that take part in a solve, by their names among the weights."""


def solve(source: VideoSource, settings: Settings, call: Call, skeleton: Skeleton | None = None) -> list[Take]:
    """Have a server solve a video; the takes are those of the people whom the settings name, by their numbers.

    Args:
        source: The video. settings: What the user chose. call: The server, and the caller's part.
        skeleton: What to solve, with its own proportions; None has the server take the default human and measure the
            person.

    Raises:
        Cancelled: The call was cancelled; the server's session is freed.
        Unreachable: The server is lost for good.
        ServerError: The server refuses, or the solve failed there.
        VideoError: The video cannot be read.
    """
    return Conversation(VideoCargo(source), settings, skeleton, call).run()


def solve_again(
    take: Take,
    settings: Settings,
    call: Call,
    skeleton: Skeleton | None = None,
    contacts: tuple[Contact, ...] | None = None,
) -> Take:
    """Have a server solve the keypoints of a take anew, without the video.

    Which detector saw whom is the take's and stays, whatever the settings say. So do the person's proportions where a
    skeleton is given, and the focal length, which was found together with them, where the settings tell none. Where
    the take is one of everyone's in its video, the camera stays as a whole, so that all still stand in one world.

    Args:
        take: What was solved. settings: What the user chose now. call: The server, and the caller's part.
        skeleton: What to solve; None has the server measure the person again.
        contacts: When feet rest, where the settings take contacts as marked.

    Raises:
        TakeError: The take does not tell what the server must know of its video.
        Cancelled, Unreachable, ServerError: See :func:`solve`.
    """
    before = take.motion.provenance
    settings = as_seen(take, settings)
    former = None
    if skeleton is not None:
        former = take.own_body() if settings.proportions == "person" else take.body()
    cargo = KeypointsCargo(Seen.of(take, contacts, former), video_facts(take))
    sent = settings
    if former is not None and settings.field_of_view is None:
        longer = max(take.camera.width, take.camera.height)
        sent = dataclasses.replace(settings, field_of_view=2.0 * math.atan(longer / 2 / take.camera.focal))
    new = _solve_one(cargo, sent, skeleton, call)
    kept: dict[str, Any] = {"settings": settings.to_json()}
    if "people" in before:
        kept["people"] = before["people"]
    seeing, solving = before.get("weights"), new.motion.provenance.get("weights")
    if isinstance(seeing, dict) and isinstance(solving, dict):
        # the detector's stay true; a network that solved before, and not now, has no part in this motion
        kept["weights"] = {name: seeing[name] for name in seeing if name not in _SOLVING} | solving
    motion = dataclasses.replace(new.motion, provenance={**new.motion.provenance, **kept})
    return dataclasses.replace(new, motion=motion, video=take.video)


def solve_recorded(recording: Recording, settings: Settings, call: Call, skeleton: Skeleton | None = None) -> Take:
    """Have a server solve what was recorded live, as a whole.

    Args:
        recording: What was seen. settings: What the user chose. call: The server, and the caller's part.
        skeleton: What to solve; None has the server measure the person.

    Raises:
        RecordingError: The recording is too short, or shows nobody.
        Cancelled, Unreachable, ServerError: See :func:`solve`.
    """
    cargo = KeypointsCargo(recording.seen(), recording.facts())
    new = _solve_one(cargo, settings, skeleton, call)
    made = new.motion.provenance
    kept = {"live": True, "weights": recording.weights | dict(made.get("weights", {}))}
    return dataclasses.replace(new, motion=dataclasses.replace(new.motion, provenance={**made, **kept}))


def as_seen(take: Take, settings: Settings) -> Settings:
    """Return settings with those that tell what was seen in the video, and of whom, as they are in the take.

    Raises:
        TakeError: The take's own are none that this version knows.
    """
    before = take.motion.provenance.get("settings")
    if not isinstance(before, dict):
        return settings
    seen = {name: before[name] for name in ("detector", "person") if name in before}
    try:
        return dataclasses.replace(settings, **seen)
    except SettingsError as error:
        raise TakeError(f"take: made with what this version does not know ({error})") from error


def video_facts(take: Take) -> dict[str, Any]:
    """Return what a server must know of a take's video.

    Raises:
        TakeError: The take does not tell it.
    """
    names = ("name", "width", "height", "fps", "frame_count", "duration")
    if absent := [name for name in names if name not in take.video]:
        raise TakeError(f"take: does not tell {', '.join(absent)} of its video; solve the video itself")
    return {name: take.video[name] for name in names}


def _solve_one(cargo: Cargo, settings: Settings, skeleton: Skeleton | None, call: Call) -> Take:
    takes = Conversation(cargo, settings, skeleton, call).run()
    if len(takes) != 1:
        raise WireError(f"the server sent {len(takes)} takes for the keypoints of one person")
    return takes[0]
