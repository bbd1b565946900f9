# SPDX-License-Identifier: GPL-3.0-or-later
"""From a person's keypoints to a take: the person's own body is solved, then a rig takes over its pose."""

from __future__ import annotations

import dataclasses
from typing import Any

from .body_solving import StageProgress, Wanted, solve_body
from .camera import Camera
from .contacts import on_frames
from .human import DEFAULT_HEIGHT, default_human
from .keypoints import Keypoints
from .motion import Contact
from .onto_rig import leg_length, onto_rig, same_contacts
from .own_body import OwnBody
from .planting import planted, rest_heights
from .regression import Regressor
from .rom_profiles import with_profile
from .settings import MARKED, Settings
from .skeleton import Skeleton
from .take import MEASURED, OF_THE_ARMATURE, Take


def solve_keypoints(
    keypoints: Keypoints,
    settings: Settings,
    video: dict[str, Any],
    provenance: dict[str, Any],
    progress: StageProgress = lambda stage, done, total: None,
    skeleton: Skeleton | None = None,
    regressor: Regressor | None = None,
    *,
    world: Camera | None = None,
    person: int = 1,
    marked: tuple[Contact, ...] | None = None,
    former: OwnBody | None = None,
) -> Take:
    """Solve keypoints, whichever detector they are from.

    Args:
        keypoints: T frames. settings: What the user chose.
        video: Facts about the video: ``width`` and ``height`` in pixels as displayed; the rest is passed on.
        provenance: For the motion. progress: Of the stages.
        skeleton: Of a rig, which takes over the person's pose. It is the person's own body if it has the former one's
            bones and proportions, or the settings say so. None takes the default human for it.
        regressor: Tells the rotations that one camera leaves open; None does without.
        world: The camera over the floor as somebody else of this video was solved before it: this person is put into
            the same world. None finds the focal length, the floor and which way is up from this person.
        person: The person's number, for the take.
        marked: When feet rest, where the settings' contacts are "marked".
        former: How the person's own body moved in the same frames, perhaps under other settings: where to begin. None
            measures the person.

    Raises:
        ContactsError: Marked contacts are wanted and there are none, or they do not lie in the video.
        NobodySeen: No frame shows a person.
        RegressionError: The regressor knows none of the keypoints.
    """
    body = default_human(settings.height or DEFAULT_HEIGHT, settings.rom)
    resting = on_frames(marked, skeleton or body, keypoints.times) if settings.contacts == MARKED else ()
    if former is not None and skeleton is not None and former.is_of(skeleton):
        body, rig = skeleton, None
    elif skeleton is not None and settings.proportions == "armature":
        body, rig, former = skeleton, None, None
    else:
        # what a profile does not speak of is the clinical one's, as in the default human
        body = body if former is None else with_profile(with_profile(former.skeleton, "clinical"), settings.rom)
        rig = skeleton
        resting = resting if rig is None else same_contacts(resting, rig, body)
    known = former is not None or body is skeleton
    wanted = Wanted(settings, body, known, regressor, world, resting, former)
    solved, camera = solve_body(keypoints, wanted, int(video["width"]), int(video["height"]), progress)
    resting_feet = settings.contacts != "off"
    motion = planted(solved) if resting_feet else solved
    own = None
    if rig is not None:
        # it takes over feet that are planted already, so that little is left to be moved at its own proportions
        own = OwnBody(solved.skeleton, solved.rotations, solved.root_position, camera)
        legs = leg_length(rig) / leg_length(solved.skeleton)
        if world is None:
            # the whole world becomes as large as the rig, so that the camera sees it where it saw the person
            camera = camera.placed(camera.rotation, legs * camera.translation)
        motion = onto_rig(motion, rig, keypoints.on_skeleton().names, legs if world is None else 1.0)
        if resting_feet:
            motion = planted(motion, [legs * height for height in rest_heights(solved)])
    measured = rig is None and (skeleton is None or settings.proportions == "person")
    told = provenance | {"proportions": MEASURED if measured else OF_THE_ARMATURE}
    return Take(dataclasses.replace(motion, provenance=told), keypoints, camera, video, person, own)
