# SPDX-License-Identifier: GPL-3.0-or-later
"""People who stand on one floor before one camera, and a stream that sees them without any network."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch

from synthetic import FACING, NAMES, see
from video2rig.camera import Camera
from video2rig.contacts import Feet
from video2rig.human import default_human
from video2rig.ik import BodyModel, Pose
from video2rig.ik.prior import relaxed_pose
from video2rig.keypoints import Keypoints
from video2rig.person import PersonChoice, PersonError

CAMERA = Camera.from_field_of_view(1280, 720, np.radians(62))
CAMERA_HEIGHT = 1.4


class Standing(NamedTuple):
    """Somebody on the floor: stature, metres to the left of the camera's axis, metres before the camera, and how high
    what they stand on is above the floor."""

    stature: float
    left: float
    away: float
    above: float = 0.0


def stand(who: Standing, frames: int = 30, tilt: float = 0.0, noise: float = 1.0) -> Keypoints:
    """What a detector says of somebody who stands on the floor and swings the arms, seen by a camera that looks down
    by so many radians."""
    model = BodyModel.for_keypoints(default_human(who.stature), NAMES)
    relaxed, _ = relaxed_pose(model.skeleton, model.dof_joint, model.dof_axis)
    seconds = torch.arange(frames, dtype=torch.float64) / 30
    angles = relaxed.expand(frames, -1).clone()
    arms = [d for d, joint in enumerate(model.dof_joint.tolist()) if "arm" in model.skeleton.names[joint]]
    angles[:, arms] += 0.2 * torch.sin(3 * seconds + who.left)[:, None]
    angles = angles.clamp(model.lower, model.upper)
    pose = Pose(torch.zeros(frames, 3, dtype=torch.float64), FACING.expand(frames, 3, 3), angles)
    feet = Feet(model)
    below = (feet.places(model, pose)[..., 1] + feet.standing).max()
    root = torch.tensor([-who.left, CAMERA_HEIGHT - who.above - below, who.away], dtype=torch.float64).expand(frames, 3)
    down = torch.tensor(
        [[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]], dtype=torch.float64
    )
    seen = Pose(root @ down.T, down @ pose.root_rotation, angles)
    return see(model, seen, CAMERA, seconds.numpy(), np.random.default_rng(0), noise)


class FakeBackend:
    """A backend whose networks are a name."""

    device = notice = "an abacus"

    def __init__(self, device: str = "auto", names: list[str] | None = None) -> None:
        self.names = [] if names is None else names

    def detector(self, name: str) -> Any:
        self.names.append(name)
        return SimpleNamespace(keypoint_set="blazepose_33")

    @property
    def regressor(self) -> Any:
        raise AssertionError("the regression network was asked for")


def streaming(people: dict[int, Keypoints], scale: float = 1.0) -> type:
    """Return a class that stands for `PeopleStream`: whatever is pushed, it sees these people, whose pixels are those
    of the source video, in images that are smaller by `scale`."""

    class Stream:
        made: list[PersonChoice] = []  # noqa: RUF012 what the pipeline asked for
        passed_over = 0

        def __init__(self, detector: Any, fps: float, person: PersonChoice) -> None:
            self._choice, self.finished = person, False
            Stream.made.append(person)

        def push(self, images: np.ndarray, times: np.ndarray) -> None:
            assert not self.finished

        def finish(self) -> None:
            self.finished = True

        def seen(self) -> int:
            return len(people)

        def people(self) -> list[Any]:
            assert self.finished
            numbers = sorted(people)
            if self._choice.kind == "number":
                if self._choice.number not in people:
                    raise PersonError(f"there is no person {self._choice.number}; {len(people)} people were seen")
                numbers = [self._choice.number]
            elif self._choice.kind != "everyone":
                numbers = numbers[:1]
            return [
                SimpleNamespace(
                    number=number,
                    positions=(people[number].positions + 0.5) / scale - 0.5,
                    confidence=people[number].confidence,
                    world=people[number].world,
                )
                for number in numbers
            ]

    return Stream
