# SPDX-License-Identifier: GPL-3.0-or-later
"""When feet rest, shown and edited as markers of the action: the editors call them pose markers.

They go where the action goes, layered or not: into saved files, through undo, along when an armature is appended.
"""

from __future__ import annotations

import bpy
import numpy as np

from . import kept
from .core.contact_marks import Mark, MarkError, Rest, is_contact, marks_of, rests_of
from .core.motion import Contact, Motion
from .core.skeleton import Skeleton
from .video_camera import Clock


def mark(action: bpy.types.Action, motion: Motion, clock: Clock) -> None:
    """Show a motion's contacts on an action, in the place of those that it shows."""
    for marker in [marker for marker in action.pose_markers if is_contact(marker.name)]:
        action.pose_markers.remove(marker)
    add(action, marks_of(_rests(motion, clock)))


def add(action: bpy.types.Action, marks: list[Mark]) -> None:
    """Add markers to an action."""
    for name, frame in marks:
        action.pose_markers.new(name).frame = frame


def carry_over(former: bpy.types.Action, action: bpy.types.Action, ours: tuple[str, ...] = ()) -> None:
    """Take the animator's own markers along to another action: all but contacts, and those that begin with our words.

    Args:
        former: Whose they are. action: What gets them. ours: Beginnings of names.
    """
    own = [marker for marker in former.pose_markers if not is_contact(marker.name)]
    add(action, [Mark(marker.name, marker.frame) for marker in own if not marker.name.startswith(ours)])


def read(action: bpy.types.Action, of: kept.Kept, skeleton: Skeleton) -> tuple[Contact, ...]:
    """Return the contacts that an action's markers tell.

    A marker that was not moved stands for the very time that was solved; any other for the video's frame next to it.

    Args:
        action: With the markers. of: What it keeps. skeleton: What will be solved.

    Raises:
        MarkError: There are no contact markers, or one of them makes no sense.
    """
    rests = rests_of(marks(action))
    if not rests:
        raise MarkError(
            f"the action {action.name} has no contact markers; press Contacts as Solved to have them back, or choose "
            "Foot Contacts: Off"
        )
    clock, motion = of.placement.clock, of.take.motion
    times = motion.times
    edges = {end: _edges(motion, clock, end) for end in ("down", "up")}
    frame = clock.first + times * clock.rate
    contacts = []
    for rest in rests:
        if rest.role not in skeleton.roles:
            (name, at), _ = marks_of([rest])
            raise MarkError(f'the marker "{name}" at frame {at} is of a part that the armature lacks; delete it')
        if rest.up < frame[0] - 0.5 or rest.down > frame[-1] + 0.5:
            (name, at), _ = marks_of([rest])
            raise MarkError(
                f'the marker "{name}" at frame {at} lies outside of the take, which lasts from frame {frame[0]:.0f} to '
                f"{frame[-1]:.0f}; move it, or delete it"
            )
        down, up = (
            edges[end].get((rest.role, at), float(times[np.abs(frame - at).argmin()]))
            for end, at in (("down", rest.down), ("up", rest.up))
        )
        contacts.append(Contact(skeleton.names[skeleton.roles.index(rest.role)], min(down, up), max(down, up)))
    return tuple(contacts)


def edited(action: bpy.types.Action, of: kept.Kept) -> bool:
    """Tell whether the contact markers are others than those that were solved."""
    solved = marks_of(_rests(of.take.motion, of.placement.clock))
    there = [Mark(" ".join(mark.name.lower().split()), mark.frame) for mark in marks(action) if is_contact(mark.name)]
    return sorted(there) != sorted(solved)


def marks(action: bpy.types.Action) -> list[Mark]:
    """Return all markers of an action."""
    return [Mark(marker.name, marker.frame) for marker in action.pose_markers]


def frame_of(seconds: float, clock: Clock) -> int:
    """Return the whole scene frame next to a time of the video."""
    return int(np.floor(clock.first + seconds * clock.rate + 0.5))


def _rests(motion: Motion, clock: Clock) -> list[Rest]:
    skeleton = motion.skeleton
    return [
        Rest(skeleton.roles[skeleton.index(joint)], frame_of(start, clock), frame_of(end, clock))
        for joint, start, end in motion.contacts
    ]


def _edges(motion: Motion, clock: Clock, end: str) -> dict[tuple[str, int], float]:
    """Return the times of one end of all contacts, by role and marker frame."""
    skeleton = motion.skeleton
    times = [(contact.joint, contact.start if end == "down" else contact.end) for contact in motion.contacts]
    return {(skeleton.roles[skeleton.index(joint)], frame_of(time, clock)): time for joint, time in times}
