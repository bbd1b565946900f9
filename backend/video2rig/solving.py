# SPDX-License-Identifier: GPL-3.0-or-later
"""From a person's keypoints to a take: inverse kinematics over the whole sequence, then the world."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from .camera import Camera
from .contacts import Feet, find_contacts, floor_below, hold, on_frames, rest_in
from .ground import estimate_up, place_camera, up_of_tilt
from .human import DEFAULT_HEIGHT, default_human
from .ik import BodyModel, CameraSolver, FormerPoses, Pose, to_motion
from .keypoints import Keypoints
from .motion import Contact
from .one_world import person_camera, size_on_floor
from .planting import planted
from .regression import Regressor, predictor
from .seen import Former
from .settings import MARKED, Settings
from .skeleton import Skeleton
from .take import Take

DEFAULT_FIELD_OF_VIEW = np.radians(62.0)
"""Across the longer side of the picture: the main camera of common phones while filming, within 10 degrees."""

StageProgress = Callable[[str, int, int], None]
"""Called with a stage's name, what is done and the total; may raise to abort."""


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
    former: Former | None = None,
) -> Take:
    """Solve keypoints, whichever detector they are from.

    Args:
        keypoints: T frames. settings: What the user chose.
        video: Facts about the video: ``width`` and ``height`` in pixels as displayed; the rest is passed on.
        skeleton: What to solve, with its own proportions; None takes the default human and measures the person.
        regressor: Tells the rotations that one camera leaves open; None does without.
        world: The camera over the floor as somebody else of this video was solved before it: this person is put into
            the same world. None finds the focal length, the floor and which way is up from this person.
        person: The person's number, for the take.
        marked: When feet rest, where the settings' contacts are "marked".
        former: How the given skeleton moved in the same frames, perhaps under other settings: where to begin.

    Raises:
        ContactsError: Marked contacts are wanted and there are none, or they do not lie in the video.
        NobodySeen: No frame shows a person.
        RegressionError: The regressor knows none of the keypoints.
    """
    optics = world or Camera.from_field_of_view(
        int(video["width"]), int(video["height"]), settings.field_of_view or DEFAULT_FIELD_OF_VIEW
    )

    def of_stage(stage: str) -> Callable[[int, int], None]:
        return lambda done, total: progress(stage, done, total)

    stature = settings.height or DEFAULT_HEIGHT
    body = default_human(stature, settings.rom) if skeleton is None else skeleton
    if settings.contacts == MARKED:
        marked = on_frames(marked, body, keypoints.times)
    solver = CameraSolver(
        body,
        keypoints,
        optics,
        settings.smoothing_hz,
        estimate_lengths=skeleton is None,
        estimate_focal=settings.field_of_view is None and world is None,
        predict=None if regressor is None else predictor(regressor, body),
        former=None if former is None else _before_camera(former, body),
        progress=of_stage("measuring the body"),
    )
    model, feet = solver.model, Feet(solver.model)
    solution = solver.solve(of_stage("solving"), nearly=settings.contacts != "off")
    if world is None:
        camera = _place(solver.camera, model, feet, solution.pose, settings.tilt)
    else:
        camera = person_camera(world, feet, feet.places(model, solution.pose), keypoints)
    contacts: tuple[Contact, ...] = ()
    if settings.contacts != "off":
        places = _to_world(feet.places(model, solution.pose), camera)
        always = settings.contacts == "always"
        if settings.contacts == MARKED and marked is not None:
            contacts, resting = marked, rest_in(feet, marked, keypoints.times)
        else:
            contacts, resting = find_contacts(feet, places, keypoints, camera, always)
        held, floor = hold(model, feet, places, resting, camera, always), floor_below(model, feet, camera)
        solution = solver.solve_again(solution, held, floor, of_stage("holding feet still"))
    root = _to_world(solution.pose.root_position.numpy(), camera)
    pose = Pose(torch.tensor(root), torch.tensor(camera.rotation.T) @ solution.pose.root_rotation, solution.pose.angles)
    motion = to_motion(model, model.no_stretch(), pose, solution.confidence, keypoints.times, contacts, provenance)
    if world is not None:
        size = 1.0 if skeleton is not None else size_on_floor(world, camera, root[keypoints.seen()], stature)
        every = np.full(len(motion.skeleton), size)
        motion = dataclasses.replace(
            motion,
            skeleton=motion.skeleton if size == 1.0 else motion.skeleton.scaled(every, every),
            # seen from the camera, a larger person further away is the same
            root_position=world.position + size * (motion.root_position - camera.position),
        )
        camera = world
    if settings.contacts != "off":
        motion = planted(motion)
    return Take(motion, keypoints, camera, video, person)


def _before_camera(former: Former, skeleton: Skeleton) -> FormerPoses:
    """Return a former motion in its camera's axes."""
    turn = former.camera.rotation
    local = Rotation.from_quat(former.rotations.reshape(-1, 4), scalar_first=True).as_matrix()
    local = local.reshape(*former.rotations.shape[:2], 3, 3)
    local[:, 0] = turn @ skeleton.rest_rotation[0] @ local[:, 0]
    return FormerPoses(local, former.root_position @ turn.T + former.camera.translation)


def _to_world(points: np.ndarray, camera: Camera) -> np.ndarray:
    return (points - camera.translation) @ camera.rotation


def _place(camera: Camera, model: BodyModel, feet: Feet, pose: Pose, tilt: float | None) -> Camera:
    places = feet.places(model, pose)
    neck = model.joints(pose)[0][:, model.skeleton.index("neck")].numpy()
    up = estimate_up(neck, places.mean(axis=1)) if tilt is None else up_of_tilt(tilt)
    return place_camera(camera, up, places, feet.standing, pose.root_position.numpy())
