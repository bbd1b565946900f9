# SPDX-License-Identifier: GPL-3.0-or-later
"""New motions from an hour of motion capture: limbs of different clips, mirrored, faster and slower, bent elsewhere.

Poses are angles inside the range of motion, so that whatever is composed a body can make.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import roma
import torch
from torch import Tensor

from video2rig.skeleton import Skeleton

from .chance import Random
from .database import euler_angles
from .mocap import Clips

_SPEED = 0.4  # a window plays up to e^0.4 times faster or slower
_REVERSED = 0.15
_OTHER_UPPER_BODY, _OTHER_ARM = 0.3, 0.12
_BENT, _BEND = 0.6, 0.16  # share of windows whose joints are turned elsewhere; radians
_BENT_MORE = {"elbow": 1.5, "knee": 1.5, "shoulder": 1.0, "hip": 1.0, "wrist": 1.6, "clavicle": 0.4, "toes": 0.5}
_TILTED, _TILT = 0.08, 0.8
_RANDOM = 0.12  # share of windows that are moved towards a random smooth motion in the whole range of motion
_STEP_OF_RANDOM = 14  # frames


@dataclass(frozen=True)
class Motions:
    """Windows of motion.

    Attributes:
        angles: [B, T, J, 3] Euler angles about x, y, z in each joint's own order, radians; the root's mean nothing.
        orientation: [B, T, 3, 3] of the root's bone in the world. path: [B, T, 3] of the root, metres.
        trust: [B, T, J] weight of a joint's rotation.
    """

    angles: Tensor
    orientation: Tensor
    path: Tensor
    trust: Tensor

    def where(self, mask: Tensor, other: Motions) -> Motions:
        """Return the other's windows where the mask [B] is true."""
        both = ((getattr(self, field.name), getattr(other, field.name)) for field in fields(self))
        return Motions(*(torch.where(mask.reshape(-1, *[1] * (a.ndim - 1)), b, a) for a, b in both))


class Composer:
    """Draws windows of composed motion."""

    def __init__(self, clips: Clips, choose: Random) -> None:
        self._choose = choose
        device = choose.device
        skeleton = clips.skeleton
        self.skeleton = skeleton
        rotation = clips.rotation
        angles = np.zeros((*rotation.shape[:2], 3))
        for joint in range(1, len(skeleton)):
            angles[:, joint] = euler_angles(rotation[:, joint], skeleton.euler_order[joint], skeleton.rom[joint])
        to = {"dtype": torch.float32, "device": device}
        self._angles = torch.tensor(angles, **to)
        self._orientation = torch.tensor(skeleton.rest_rotation[0] @ rotation[:, 0], **to)
        self._path, self._trust = torch.tensor(clips.root, **to), torch.tensor(clips.trust, **to)
        self._start = torch.tensor(clips.start, device=device)
        self._length = torch.tensor(clips.length, device=device)
        self._weight = self._length.float() ** 0.7  # long clips repeat themselves
        self._bounds = torch.tensor(skeleton.rom, **to)
        self._twin = torch.tensor(_twins(skeleton), device=device)
        self._flip = torch.tensor([1.0, -1.0, -1.0], **to)
        self._across = torch.tensor([-1.0, 1.0, 1.0], **to)
        bend = [_BENT_MORE.get(role.split("_")[-1], 0.7) for role in skeleton.roles]
        self._bend = torch.tensor(bend, **to)[:, None] * torch.tensor(skeleton.free_axes(), **to)
        upper, arms = _above_the_waist(skeleton)
        self._upper = torch.tensor(upper, device=device)
        self._arms = [torch.tensor(arm, device=device) for arm in arms]

    def mean(self) -> tuple[Tensor, Tensor]:
        """Return the mean angles [J, 3], and the orientation [3, 3] of a root that stands upright and faces -Y."""
        rest = torch.tensor(self.skeleton.rest_rotation[0], dtype=torch.float32, device=self._choose.device)
        return self._angles.mean(0), rest

    def windows(self, count: int, frames: int) -> Motions:
        """Return composed windows."""
        return self._bent(self._recombined(self._captured(count, frames), self._captured(count, frames)))

    def _captured(self, count: int, frames: int) -> Motions:
        """Return windows of the clips, half of them mirrored, at other speeds, some backwards."""
        choose = self._choose
        clip = choose.choice(self._weight, count)
        speed = choose.uniform(-_SPEED, _SPEED, count).exp()
        last = (self._length[clip] - 1).float()
        begin = choose.uniform(0, 1, count) * (last - frames * speed).clamp_min(0)
        time = begin[:, None] + torch.arange(frames, device=choose.device) * speed[:, None]
        time = torch.where(choose.chance(_REVERSED, count, 1), time.flip(1), time)
        there_and_back = time % (2 * last[:, None])
        time = torch.minimum(there_and_back, 2 * last[:, None] - there_and_back)
        before = torch.minimum(time.floor(), (last[:, None] - 1).clamp_min(0))
        share = time - before
        at = self._start[clip, None] + before.long()

        def between(values: Tensor) -> Tensor:
            return torch.lerp(values[at], values[at + 1], share.reshape(*share.shape, *[1] * (values.ndim - 1)))

        orientation = roma.special_gramschmidt(between(self._orientation)[..., :2])
        motion = Motions(between(self._angles), orientation, between(self._path), self._trust[at])
        return motion.where(choose.chance(0.5, count), self._mirrored(motion))

    def _mirrored(self, motion: Motions) -> Motions:
        across = self._across[:, None] * self._across
        return Motions(
            motion.angles[..., self._twin, :] * self._flip,
            motion.orientation * across,
            motion.path * self._across,
            motion.trust[..., self._twin],
        )

    def _recombined(self, motion: Motions, other: Motions) -> Motions:
        """Give some windows the upper body or an arm of another."""
        count = len(motion.angles)
        kind = self._choose.uniform(0, 1, count)[:, None]
        taken = (kind < _OTHER_UPPER_BODY) & self._upper
        reach = _OTHER_UPPER_BODY
        for arm in self._arms:
            taken = taken | ((kind >= reach) & (kind < reach + _OTHER_ARM) & arm)
            reach += _OTHER_ARM
        taken = taken[:, None]
        angles = torch.where(taken[..., None], other.angles, motion.angles)
        return Motions(angles, motion.orientation, motion.path, torch.where(taken, other.trust, motion.trust))

    def _bent(self, motion: Motions) -> Motions:
        """Turn joints elsewhere, slowly, and some windows towards random motion; all within the range of motion."""
        choose = self._choose
        count, frames, joints = motion.angles.shape[:3]
        size = choose.chance(_BENT, count, 1, 1, 1) * choose.uniform(0, _BEND, count, 1, 1, 1)
        first, change = choose.normal(count, 1, joints, 3), 0.5 * choose.normal(count, 1, joints, 3)
        time = torch.linspace(0, 1, frames, device=choose.device)[:, None, None]
        angles = motion.angles + size * self._bend * (first + change * time * time * (3 - 2 * time))
        low, high = self._bounds.unbind(-1)
        anywhere = torch.sigmoid(1.5 * choose.smooth(count, frames, _STEP_OF_RANDOM, joints, 3)) * (high - low) + low
        share = choose.chance(_RANDOM, count, 1, 1, 1) * choose.uniform(0.2, 0.8, count, 1, 1, 1)
        angles = torch.lerp(angles, anywhere, share)
        angles = torch.minimum(torch.maximum(angles, low), high)
        tilt = choose.chance(_TILTED, count, 1) * _TILT * choose.normal(count, 3)
        orientation = roma.rotvec_to_rotmat(tilt)[:, None] @ motion.orientation
        return Motions(angles, orientation, motion.path, motion.trust)


def _twins(skeleton: Skeleton) -> list[int]:
    """Return [J] the joint on the other side of the body, or the joint itself."""
    swap = {"left_": "right_", "right_": "left_"}
    twins = []
    for joint, role in enumerate(skeleton.roles):
        side = next((side for side in swap if role.startswith(side)), None)
        twins.append(joint if side is None else skeleton.index(swap[side] + role.removeprefix(side)))
    return twins


def _above_the_waist(skeleton: Skeleton) -> tuple[list[bool], list[list[bool]]]:
    """Return the joints [J] of the upper body, and those of each arm."""

    def below(joint: int, top: int) -> bool:
        return joint == top or (skeleton.parents[joint] >= 0 and below(skeleton.parents[joint], top))

    def branch(role: str) -> list[bool]:
        return [below(joint, skeleton.index(role)) for joint in range(len(skeleton))]

    return branch("spine_lower"), [branch("left_shoulder"), branch("right_shoulder")]
