# SPDX-License-Identifier: GPL-3.0-or-later
"""Feet that rest on the floor stand still: legs give way until they do, inside their range of motion.

The solver weighs where feet rest against what the video shows, so that a resting foot still strays by millimetres. Here
the solved motion is the start, and only legs with their toes, and the pelvis's place where legs do not reach, move from
it: by each frame's smallest change of angles that puts resting heels and toes onto their places and nothing into the
floor (damped Gauss-Newton, angles clipped to their range). No other joint turns. Before and after a rest the change
fades.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from .bounds import joint_angles
from .ik.time_kernels import solve_each
from .keypoints import sites
from .kinematics import keypoint_positions
from .motion import Contact, Motion, hemisphere_continuous
from .retarget import matrices, orientations, quaternions
from .skeleton import Skeleton

SOLES = tuple(f"{side}_{part}" for side in ("left", "right") for part in ("heel", "big_toe"))
"""The points of the feet that rest on the floor."""

_FIRM = (0.002, 0.0002, 0.00002)  # metres by which a resting point may stray, at first and at last
_LOOSE = 0.015  # of that firmness: on the way to a rest and from it, so that it gives way to what rests
_TURN = np.radians(3.0)  # by which a leg's angle may as well change as the pelvis move by the next
_SHIFT = 0.006  # metres
_FADE = 0.2  # seconds before and after a rest over which the change fades
_SUNK = 0.0005  # metres below its height when standing at which a part is in the floor
_ROUNDS = 5  # of lifting out of the floor what sinks while something else is put right
_ITERATIONS = 60  # of each firmness, at most
_SETTLED = 1e-3  # a frame is done once a step lowers its cost by a smaller part,
_FIRST_DAMPING, _HOPELESS = 1e-3, 1e3  # or no step does so under this damping


def planted(motion: Motion, heights: Sequence[float] | None = None) -> Motion:
    """Return the motion with the parts of feet that rest at one place, and none below the floor.

    A part rests where one of the motion's contacts says so: heels by the ankle's joint, toes by the toes'. Its place is
    the middle of where it was, and not below the height that it has when standing.

    Args:
        motion: In a world whose floor is z = 0, on a skeleton with human roles.
        heights: How much higher than when standing the part rests in each of the contacts, metres; None keeps what is.
    """
    joints, offset, standing = _soles(motion.skeleton)
    legs = _Legs(motion, joints, offset)
    state = legs.start
    places = legs.points(state)
    heights = rest_heights(motion) if heights is None else heights
    target, held = _targets(motion, joints, places, standing, heights)
    for _ in range(_ROUNDS):
        sunk = (places[..., 2] < standing - _SUNK) & (held[..., 2] < 1)
        target[..., 2] = np.where(sunk, standing, target[..., 2])
        held[..., 2] = np.where(sunk, 1.0, held[..., 2])
        if not held.any():
            return motion
        state = legs.start + _faded(motion.times, held.any(axis=(1, 2)), legs.solve(target, held) - legs.start)
        places = legs.points(state)
        if (places[..., 2] >= standing - _SUNK).all():
            break
    return legs.motion(state)


def rest_heights(motion: Motion) -> list[float]:
    """Return how much higher than when standing a part of a foot rests in each of the motion's contacts, metres."""
    joints, _, standing = _soles(motion.skeleton)
    places = keypoint_positions(motion, SOLES)
    names = [motion.skeleton.names[joint] for joint in joints]
    found = []
    for contact in motion.contacts:
        part, frames = names.index(contact.joint), _frames(motion, contact)
        height = np.median(places[frames, part, 2]) - standing[part] if len(frames) else 0.0
        found.append(max(float(height), 0.0))
    return found


def _soles(skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the joints [S] that carry the soles, their places [S, 3] there, and their heights [S] when standing."""
    joints, offset = sites(skeleton, SOLES)
    rest = skeleton.rest_matrices()[joints]
    return joints, offset, rest[:, 2, 3] + np.einsum("si,si->s", rest[:, 2, :3], offset)


def _frames(motion: Motion, contact: Contact) -> np.ndarray:
    return np.flatnonzero((motion.times >= contact.start - 1e-9) & (motion.times <= contact.end + 1e-9))


def _targets(
    motion: Motion, joints: np.ndarray, places: np.ndarray, standing: np.ndarray, heights: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return [T, S, 3] where the soles should be, metres, and [T, S, 3] from 0 (anywhere) to 1 (there)."""
    target, held = places.copy(), np.zeros(places.shape)
    times = motion.times
    for rest in _rests(motion, joints, places, standing, heights):
        part, inside = rest.part, slice(rest.first, rest.last + 1)
        # on the way to its place and from it a part is as far off as at the end of the rest, less and less
        for edge, frames in ((rest.first, times < times[rest.first]), (rest.last, times > times[rest.last])):
            share = _smooth(1 - np.abs(times - times[edge]) / _FADE) * frames
            near = _LOOSE * share > held[:, part, 0]
            target[near, part] = places[near, part] + share[near, None] * (rest.place - places[edge, part])
            held[near, part] = _LOOSE * share[near, None]
        target[inside, part], held[inside, part] = rest.place, 1.0
    return target, held


class _Rest(NamedTuple):
    part: int
    first: int  # frames
    last: int
    place: np.ndarray  # [3] metres


def _rests(
    motion: Motion, joints: np.ndarray, places: np.ndarray, standing: np.ndarray, heights: Sequence[float]
) -> list[_Rest]:
    """Return where and when parts of the feet rest; a heel is as far from toes that rest with it as a foot is long."""
    found: list[_Rest] = []
    for contact, height in zip(motion.contacts, heights, strict=True):
        frames = _frames(motion, contact)
        for part in [part for part, joint in enumerate(joints) if motion.skeleton.names[joint] == contact.joint]:
            if len(frames):
                place = np.median(places[frames, part], axis=0)
                place[2] = standing[part] + height
                found.append(_Rest(part, int(frames[0]), int(frames[-1]), place))
    # the longest rests keep their places; those beside them follow, and those beside these
    waiting = sorted(found, key=lambda rest: rest.first - rest.last)
    placed: list[_Rest] = []
    while waiting:
        pairs = ((fixed, n) for fixed in placed for n, other in enumerate(waiting) if _together(fixed, other))
        beside, number = next(pairs, (None, 0))
        rest = waiting.pop(number)
        placed.append(rest if beside is None else rest._replace(place=_a_foot_apart(beside, rest, places)))
    return placed


def _together(one: _Rest, other: _Rest) -> bool:
    """Tell whether heel and toes of one foot rest at the same time."""
    same_foot = one.part // 2 == other.part // 2 and one.part != other.part
    return same_foot and one.first <= other.last and other.first <= one.last


def _a_foot_apart(fixed: _Rest, other: _Rest, places: np.ndarray) -> np.ndarray:
    """Return the place [3] of one rest, moved along the floor until a foot's length lies between it and the fixed."""
    both = slice(max(fixed.first, other.first), min(fixed.last, other.last) + 1)
    length = np.median(np.linalg.norm(places[both, fixed.part] - places[both, other.part], axis=1))
    step = other.place - fixed.place
    level = np.sqrt(max(length**2 - step[2] ** 2, 0.0))
    return fixed.place + np.append(step[:2] * level / max(float(np.linalg.norm(step[:2])), 1e-9), step[2])


def _smooth(share: np.ndarray) -> np.ndarray:
    share = share.clip(0.0, 1.0)
    return share * share * (3 - 2 * share)


def _faded(times: np.ndarray, solved: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Return [T, N] changes: as solved where anything is held, and fading in time where nothing is."""
    frames = np.flatnonzero(solved)
    before = frames[np.maximum(np.searchsorted(frames, np.arange(len(times)), side="right") - 1, 0)]
    after = frames[np.minimum(np.searchsorted(frames, np.arange(len(times))), len(frames) - 1)]
    since, until = np.abs(times - times[before]), np.abs(times[after] - times)
    from_before, from_after = _smooth(1 - since / _FADE), _smooth(1 - until / _FADE)
    total = np.maximum(from_before + from_after, 1.0)
    faded = (from_before / total)[:, None] * change[before] + (from_after / total)[:, None] * change[after]
    return np.where(solved[:, None], change, faded)


class _Way(NamedTuple):
    """From the pelvis to a sole: its place [T, 3], and of each number that turns it the axis and centre, [T, 3] each;
    metres, in the world."""

    place: np.ndarray
    numbers: list[int]
    axes: list[np.ndarray]
    centres: list[np.ndarray]


class _Legs:
    """Legs, and the pelvis's place, as numbers that may change.

    Attributes:
        start: [T, N] the pelvis's position, metres, and the legs' free angles, radians, as they were solved.
        lower, upper: [T, N] their range. weight: [N] of a change, by its usual size.
    """

    def __init__(self, motion: Motion, joints: np.ndarray, offset: np.ndarray) -> None:
        self._motion, self._joints, self._offset = motion, joints, offset
        skeleton = motion.skeleton
        self._ways = [self._way(skeleton, joint) for joint in joints]
        roles = {f"{side}_{part}" for side in ("left", "right") for part in ("hip", "knee", "ankle", "toes")}
        turning = sorted({joint for way in self._ways for joint in way if skeleton.roles[joint] in roles})
        free = skeleton.free_axes()
        self._variables = [(joint, axis) for joint in turning for axis in range(3) if free[joint, axis]]
        self._numbers = {variable: 3 + place for place, variable in enumerate(self._variables)}
        self._angles = joint_angles(motion)
        self._turning = turning
        rom = np.array([skeleton.rom[joint, axis] for joint, axis in self._variables]).reshape(-1, 2)
        own = np.array([self._angles[:, joint, axis] for joint, axis in self._variables]).reshape(-1, len(motion)).T
        self.start = np.concatenate([motion.root_position, own], axis=1)
        # a solved angle may lie beyond its bound by rounding
        self.lower = np.concatenate([np.full((len(own), 3), -np.inf), np.minimum(rom[:, 0], own)], axis=1)
        self.upper = np.concatenate([np.full((len(own), 3), np.inf), np.maximum(rom[:, 1], own)], axis=1)
        self.weight = np.concatenate([np.full(3, _SHIFT**-2), np.full(own.shape[1], _TURN**-2)])
        self._world, self._rotations = orientations(motion), motion.rotations

    @staticmethod
    def _way(skeleton: Skeleton, joint: int) -> list[int]:
        way = [int(joint)]
        while skeleton.parents[way[-1]] >= 0:
            way.append(skeleton.parents[way[-1]])
        return way[::-1]

    def points(self, state: np.ndarray) -> np.ndarray:
        """Return [T, S, 3] places of the soles, metres."""
        return np.stack([self._follow(sole, state).place for sole in range(len(self._ways))], axis=1)

    def slopes(self, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return :meth:`points`, and their derivatives [T, S, 3, N]."""
        ways = [self._follow(sole, state) for sole in range(len(self._ways))]
        slopes = np.zeros((len(state), len(ways), 3, state.shape[1]))
        slopes[..., :3] = np.eye(3)
        for sole, way in enumerate(ways):
            if way.numbers:
                arms = way.place[..., None] - np.stack(way.centres, axis=-1)
                slopes[:, sole][..., way.numbers] = np.cross(np.stack(way.axes, axis=-1), arms, axis=1)
        return np.stack([way.place for way in ways], axis=1), slopes

    def _follow(self, sole: int, state: np.ndarray) -> _Way:
        """Go from the pelvis to a sole, for numbers [T, N]."""
        skeleton, number = self._motion.skeleton, self._numbers
        turned, head = self._world[:, 0], state[:, :3]
        numbers: list[int] = []
        axes: list[np.ndarray] = []
        centres: list[np.ndarray] = []
        for joint in self._ways[sole][1:]:
            head = head + turned @ skeleton.offset[joint]
            turned = turned @ skeleton.rest_rotation[joint]
            if joint not in self._turning:
                turned = turned @ matrices(self._rotations[:, joint])
                continue
            for axis in reversed(["XYZ".index(letter) for letter in skeleton.euler_order[joint]]):
                index = number.get((joint, axis))
                if index is not None:
                    numbers.append(index)
                    axes.append(turned[:, :, axis])
                    centres.append(head)
                angle = self._angles[:, joint, axis] if index is None else state[:, index]
                turned = turned @ _about(axis, angle)
        return _Way(head + turned @ self._offset[sole], numbers, axes, centres)

    def solve(self, target: np.ndarray, held: np.ndarray) -> np.ndarray:
        """Return the [T, N] numbers nearest to the start that put held soles onto their targets."""
        frames = np.flatnonzero(held.any(axis=(1, 2)))
        legs, state = self._at(frames), self.start[frames]
        # straight away, hard places make a valley too narrow to go along
        for firm in _FIRM:
            state = legs.descended(state, target[frames], (held[frames] / firm) ** 2)
        whole = self.start.copy()
        whole[frames] = state
        return whole

    def descended(self, state: np.ndarray, target: np.ndarray, firm: np.ndarray) -> np.ndarray:
        """Return the [T, N] numbers of least :meth:`cost`, from some that are near."""
        state, damping, moving = state.copy(), np.full(len(state), _FIRST_DAMPING), np.arange(len(state))
        for _ in range(_ITERATIONS):
            legs, here = self._at(moving), state[moving]
            to, held = target[moving], firm[moving]
            places, slopes = legs.slopes(here)
            cost = legs.cost(here, places, to, held)
            gradient = np.einsum("tsi,tsi,tsin->tn", places - to, held, slopes) + legs.weight * (here - legs.start)
            hessian = np.einsum("tsin,tsi,tsim->tnm", slopes, held, slopes) + np.eye(here.shape[1]) * legs.weight
            stuck = ((here <= legs.lower) & (gradient > 0)) | ((here >= legs.upper) & (gradient < 0))
            step = solve_each(hessian, ~stuck, damping[moving], gradient[..., None])[0][..., 0]
            tried = np.clip(here - step, legs.lower, legs.upper)
            gain = cost - legs.cost(tried, legs.points(tried), to, held)
            better = gain > 0
            state[moving] = np.where(better[:, None], tried, here)
            damping[moving] = np.where(better, damping[moving] * 0.1, damping[moving] * 10).clip(1e-9, 1e6)
            settled = np.where(better, gain < _SETTLED * cost, damping[moving] > _HOPELESS)
            moving = moving[~settled]
            if not len(moving):
                break
        return state

    def cost(self, state: np.ndarray, places: np.ndarray, target: np.ndarray, firm: np.ndarray) -> np.ndarray:
        """Return [T] how far soles are from their targets and the numbers from the start, in their deviations."""
        off = np.einsum("tsi,tsi->t", firm, (places - target) ** 2)
        return off + np.einsum("n,tn->t", self.weight, (state - self.start) ** 2)

    def _at(self, frames: np.ndarray) -> _Legs:
        """Return the same legs in some frames alone."""
        few = copy(self)
        few.start, few.lower, few.upper = self.start[frames], self.lower[frames], self.upper[frames]
        few._angles, few._world = self._angles[frames], self._world[frames]
        few._rotations = self._rotations[frames]
        return few

    def motion(self, state: np.ndarray) -> Motion:
        """Return the motion with these numbers in place of its own."""
        state = np.clip(state, self.lower, self.upper)
        angles = self._angles.copy()
        for place, (joint, axis) in enumerate(self._variables):
            angles[:, joint, axis] = state[:, 3 + place]
        rotations = self._rotations.copy()
        for joint in self._turning:
            turned = np.tile(np.eye(3), (len(state), 1, 1))
            for letter in reversed(self._motion.skeleton.euler_order[joint]):
                axis = "XYZ".index(letter)
                turned = turned @ _about(axis, angles[:, joint, axis])
            rotations[:, joint] = quaternions(turned)
        return replace(self._motion, rotations=hemisphere_continuous(rotations), root_position=state[:, :3])


def _about(axis: int, angles: np.ndarray) -> np.ndarray:
    """Return [T, 3, 3] rotations about one axis by [T] angles, radians."""
    turned = np.zeros((len(angles), 3, 3))
    one, two = (axis + 1) % 3, (axis + 2) % 3
    turned[:, axis, axis] = 1.0
    turned[:, one, one] = turned[:, two, two] = np.cos(angles)
    turned[:, two, one] = np.sin(angles)
    turned[:, one, two] = -np.sin(angles)
    return turned
