# SPDX-License-Identifier: GPL-3.0-or-later
"""From a person's keypoints to how the person's body moves: inverse kinematics over all frames, then the world."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from .camera import Camera
from .contacts import Feet, find_contacts, floor_below, hold, rest_in
from .ground import estimate_up, place_camera, up_of_tilt
from .human import DEFAULT_HEIGHT
from .ik import BodyModel, CameraSolver, FormerPoses, Pose, to_motion
from .keypoints import Keypoints
from .motion import Contact, Motion
from .one_world import person_camera, size_on_floor
from .own_body import OwnBody
from .regression import Regressor, predictor
from .settings import MARKED, Settings
from .skeleton import Skeleton

DEFAULT_FIELD_OF_VIEW = np.radians(62.0)
"""Across the longer side of the picture: the main camera of common phones while filming, within 10 degrees."""

StageProgress = Callable[[str, int, int], None]
"""Called with a stage's name, what is done and the total; may raise to abort."""


@dataclass(frozen=True)
class Wanted:
    """What of a person is solved, and how.

    Attributes:
        settings: What the user chose.
        body: The person's own; of the default human's proportions where they are not known.
        known: Whether its proportions are the person's.
        regressor: Tells the rotations that one camera leaves open; None does without.
        world: The camera over the floor as somebody else of this video was solved before it: this person is put into
            the same world. None finds the focal length, the floor and which way is up from this person.
        marked: When feet rest, on the video's frames, where the settings' contacts are "marked".
        former: How the body moved in the same frames, perhaps under other settings: where to begin; None searches.
    """

    settings: Settings
    body: Skeleton
    known: bool
    regressor: Regressor | None
    world: Camera | None
    marked: tuple[Contact, ...]
    former: OwnBody | None


def solve_body(
    keypoints: Keypoints, wanted: Wanted, width: int, height: int, progress: StageProgress
) -> tuple[Motion, Camera]:
    """Solve how a person's body moves, whichever detector the keypoints are from.

    Args:
        keypoints: T frames. width, height: Of the video, pixels as displayed. progress: Of the stages.

    Returns:
        The motion, without provenance, whose resting feet may still stray by millimetres, and the camera over its
        floor.

    Raises:
        NobodySeen: No frame shows a person.
        RegressionError: The regressor knows none of the keypoints.
    """
    settings, body, world = wanted.settings, wanted.body, wanted.world
    optics = world or Camera.from_field_of_view(width, height, settings.field_of_view or DEFAULT_FIELD_OF_VIEW)

    def of_stage(stage: str) -> Callable[[int, int], None]:
        return lambda done, total: progress(stage, done, total)

    solver = CameraSolver(
        body,
        keypoints,
        optics,
        settings.smoothing_hz,
        estimate_lengths=not wanted.known,
        estimate_focal=settings.field_of_view is None and world is None,
        predict=None if wanted.regressor is None else predictor(wanted.regressor, body),
        former=None if wanted.former is None else _before_camera(wanted.former),
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
        if settings.contacts == MARKED:
            contacts, resting = wanted.marked, rest_in(feet, wanted.marked, keypoints.times)
        else:
            contacts, resting = find_contacts(feet, places, keypoints, camera, always)
        held, floor = hold(model, feet, places, resting, camera, always), floor_below(model, feet, camera)
        solution = solver.solve_again(solution, held, floor, of_stage("holding feet still"))
    root = _to_world(solution.pose.root_position.numpy(), camera)
    pose = Pose(torch.tensor(root), torch.tensor(camera.rotation.T) @ solution.pose.root_rotation, solution.pose.angles)
    motion = to_motion(model, model.no_stretch(), pose, solution.confidence, keypoints.times, contacts)
    if world is not None:
        stature = settings.height or DEFAULT_HEIGHT
        size = 1.0 if wanted.known else size_on_floor(world, camera, root[keypoints.seen()], stature)
        every = np.full(len(motion.skeleton), size)
        motion = dataclasses.replace(
            motion,
            skeleton=motion.skeleton if size == 1.0 else motion.skeleton.scaled(every, every),
            # seen from the camera, a larger person further away is the same
            root_position=world.position + size * (motion.root_position - camera.position),
        )
        camera = world
    return motion, camera


def _before_camera(former: OwnBody) -> FormerPoses:
    """Return a former motion in its camera's axes."""
    turn = former.camera.rotation
    local = Rotation.from_quat(former.rotations.reshape(-1, 4), scalar_first=True).as_matrix()
    local = local.reshape(*former.rotations.shape[:2], 3, 3)
    local[:, 0] = turn @ former.skeleton.rest_rotation[0] @ local[:, 0]
    return FormerPoses(local, former.root_position @ turn.T + former.camera.translation)


def _to_world(points: np.ndarray, camera: Camera) -> np.ndarray:
    return (points - camera.translation) @ camera.rotation


def _place(camera: Camera, model: BodyModel, feet: Feet, pose: Pose, tilt: float | None) -> Camera:
    places = feet.places(model, pose)
    neck = model.joints(pose)[0][:, model.skeleton.index("neck")].numpy()
    up = estimate_up(neck, places.mean(axis=1)) if tilt is None else up_of_tilt(tilt)
    return place_camera(camera, up, places, feet.standing, pose.root_position.numpy())
