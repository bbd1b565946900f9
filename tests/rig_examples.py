# SPDX-License-Identifier: GPL-3.0-or-later
"""Rigs for tests: a body with bones beside those that matter, in any rest pose and with any rolls."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.spatial.transform import Rotation

from video2rig.human import default_human
from video2rig.motion import Motion
from video2rig.rest_rig import RestRig
from video2rig.skeleton import Skeleton

SPINE = ("spine_a", "spine_b", "spine_c", "spine_d", "spine_e")
MAP = {
    "pelvis": "hips",
    "spine_lower": "spine_a",
    "spine_middle": "spine_c",
    "spine_upper": "spine_e",
    "neck": "neck_a",
    "head": "head",
    **{
        f"{side}_{role}": f"{bone}{suffix}"
        for side, suffix in (("left", "_l"), ("right", "_r"))
        for role, bone in (
            *(("clavicle", "collar"), ("shoulder", "arm"), ("elbow", "lower_arm"), ("wrist", "palm")),
            *(("hip", "leg"), ("knee", "lower_leg"), ("ankle", "foot"), ("toes", "ball")),
        )
    },
}
"""Role -> bone of :func:`body`."""


class Body:
    """Bones in the default human's rest pose, to be posed and read as somebody's rig.

    Attributes:
        names, parents, heads, tails: Of the bones, as in RestRig, metres; it faces -Y.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.parents: list[int] = []
        self.heads: list[np.ndarray] = []
        self.tails: list[np.ndarray] = []

    def add(self, name: str, parent: str | None, head: np.ndarray, tail: np.ndarray) -> None:
        """Add a bone below another."""
        self.names.append(name)
        self.parents.append(-1 if parent is None else self.names.index(parent))
        self.heads.append(np.asarray(head, dtype=np.float64))
        self.tails.append(np.asarray(tail, dtype=np.float64))

    def rest(
        self,
        swings: Mapping[str, np.ndarray] | None = None,
        rolls: np.ndarray | None = None,
        place: tuple[np.ndarray, float, np.ndarray] | None = None,
    ) -> tuple[RestRig, np.ndarray]:
        """Return the bones as a rig that rests in another pose, and [B, 3, 3] how each bone was turned for that.

        Args:
            swings: [3, 3] rotation of a bone and all below it, about its head, in the axes of the body in its own pose.
            rolls: [B] roll of each bone about its length, radians.
            place: Rotation [3, 3], scale and place [3] of the whole.
        """
        count = len(self.names)
        turned, heads = np.tile(np.eye(3), (count, 1, 1)), np.zeros((count, 3))
        for bone, parent in enumerate(self.parents):
            above = np.eye(3) if parent < 0 else turned[parent]
            start = 0.0 if parent < 0 else heads[parent] - above @ self.heads[parent]
            heads[bone] = start + above @ self.heads[bone]
            turned[bone] = above @ (swings or {}).get(self.names[bone], np.eye(3))
        along = np.einsum("bij,bj->bi", turned, np.array(self.tails) - np.array(self.heads))
        turn, scale, origin = place or (np.eye(3), 1.0, np.zeros(3))
        turned, along = turn @ turned, along @ turn.T
        frames = np.array([_frame(direction) for direction in along])
        if rolls is not None:
            frames = frames @ Rotation.from_euler("y", rolls[:, None]).as_matrix()
        heads = origin + scale * heads @ turn.T
        return RestRig(tuple(self.names), tuple(self.parents), frames, heads, heads + scale * along, turn), turned


def _frame(along: np.ndarray) -> np.ndarray:
    y = along / np.linalg.norm(along)
    z = np.cross(y, np.eye(3)[np.abs(y).argmin()])
    z /= np.linalg.norm(z)
    return np.stack([np.cross(y, z), y, z], axis=1)


def body(rng: np.random.Generator | None = None, height: float = 1.75) -> Body:
    """Return a body with five bones of the spine, two of the neck, fingers, twist bones, a tail and a root.

    Args:
        rng: Gives proportions of its own; None takes those of the default human. height: Metres.
    """
    skeleton = default_human(height)
    if rng is not None:
        factor = rng.uniform(0.87, 1.15, len(skeleton))
        paired = {role: f for role, f in zip(skeleton.roles, factor, strict=True)}
        factor = np.array([paired[role.replace("right_", "left_")] for role in skeleton.roles])
        skeleton = skeleton.scaled(factor, factor)
    rest = skeleton.rest_matrices()
    head = {role: rest[j, :3, 3] for j, role in enumerate(skeleton.roles)}
    tail = {role: rest[j, :3, 3] + rest[j, :3, 1] * skeleton.length[j] for j, role in enumerate(skeleton.roles)}
    made = Body()
    made.add("root", None, np.zeros(3), np.array([0, 0.3, 0]))
    hips = head["pelvis"] + [0, 0.01, 0.03]
    ends = np.linspace(hips + [0, 0, 0.06], head["neck"], 6)
    made.add("hips", "root", hips, ends[0])
    for name, above, begin, end in zip(SPINE, ("hips", *SPINE), ends, ends[1:], strict=False):
        made.add(name, above, begin, end)
    middle = (head["neck"] + head["head"]) / 2
    made.add("neck_a", "spine_e", head["neck"], middle)
    made.add("neck_b", "neck_a", middle, head["head"])
    made.add("head", "neck_b", head["head"], tail["head"])
    made.add("jaw", "head", head["head"] + [0, -0.03, 0], head["head"] + [0, -0.09, -0.03])
    made.add("tail_a", "hips", hips, hips + [0, 0.2, -0.1])
    made.add("tail_b", "tail_a", hips + [0, 0.2, -0.1], hips + [0, 0.5, -0.3])
    for side, suffix in (("left", "_l"), ("right", "_r")):
        joint = {role.partition("_")[2]: place for role, place in head.items() if role.startswith(side)}
        end = {role.partition("_")[2]: place for role, place in tail.items() if role.startswith(side)}
        made.add("collar" + suffix, "spine_e", joint["clavicle"], joint["shoulder"])
        made.add("arm" + suffix, "collar" + suffix, joint["shoulder"], joint["elbow"])
        half = (joint["shoulder"] + joint["elbow"]) / 2
        made.add("arm_twist" + suffix, "arm" + suffix, half, joint["elbow"])
        made.add("lower_arm" + suffix, "arm" + suffix, joint["elbow"], joint["wrist"])
        half = (joint["elbow"] + joint["wrist"]) / 2
        made.add("lower_arm_twist" + suffix, "lower_arm" + suffix, half, joint["wrist"])
        made.add("palm" + suffix, "lower_arm" + suffix, joint["wrist"], end["wrist"])
        along = end["wrist"] - joint["wrist"]
        for number, name in enumerate(("index", "middle", "ring", "little")):
            begin = end["wrist"] + np.array([0, 0.02 * (number - 1.5), 0])
            above = "palm" + suffix
            for part in range(3):
                made.add(f"{name}_{part}{suffix}", above, begin, begin + 0.3 * along)
                above, begin = f"{name}_{part}{suffix}", begin + 0.3 * along
        thumb = joint["wrist"] + 0.3 * along + [0, -0.03, 0]
        made.add("thumb" + suffix, "palm" + suffix, thumb, thumb + 0.4 * along + [0, -0.02, 0])
        made.add("leg" + suffix, "hips", joint["hip"], joint["knee"])
        made.add("lower_leg" + suffix, "leg" + suffix, joint["knee"], joint["ankle"])
        half = (joint["hip"] + joint["knee"]) / 2
        made.add("leg_twist" + suffix, "leg" + suffix, half, joint["knee"])
        made.add("foot" + suffix, "lower_leg" + suffix, joint["ankle"], joint["toes"])
        made.add("ball" + suffix, "foot" + suffix, joint["toes"], end["toes"])
    return made


def swing(along: np.ndarray, angle: float, towards: float) -> np.ndarray:
    """Return the [3, 3] rotation by an angle about an axis at right angles to a direction; no twist about it."""
    frame = _frame(along)
    axis = frame[:, 0] * np.cos(towards) + frame[:, 2] * np.sin(towards)
    return Rotation.from_rotvec(angle * axis).as_matrix()


def moving(skeleton: Skeleton, rng: np.random.Generator, frames: int = 40) -> Motion:
    """Return a motion through the whole range of every joint, whose root walks and turns."""
    times = np.arange(frames) / 30.0
    phase, pace = rng.uniform(0, 6, (len(skeleton), 3)), rng.uniform(0.5, 2, (len(skeleton), 3))
    angles = skeleton.rom.mean(-1) + np.ptp(skeleton.rom, axis=-1) / 2 * np.sin(pace * times[:, None, None] + phase)
    angles[:, 0] = np.stack([0.2 * np.sin(times), 0.1 * np.cos(times), 4.0 * times], axis=1)
    turned = np.empty((frames, len(skeleton), 4))
    for joint, order in enumerate(skeleton.euler_order):
        # scipy's lower case is extrinsic: the first letter turns first, as in Blender's names
        columns = ["XYZ".index(axis) for axis in order]
        turned[:, joint] = np.roll(Rotation.from_euler(order.lower(), angles[:, joint, columns]).as_quat(), 1, axis=-1)
    path = skeleton.offset[0] + np.stack([0.4 * times, 0.3 * np.sin(times), 0.05 * np.cos(3 * times)], axis=1)
    return Motion(skeleton, times, turned, path, np.ones((frames, len(skeleton))))
