# SPDX-License-Identifier: GPL-3.0-or-later
"""What property tests draw: skeletons, bodies with points on them, angles inside a range of motion, motions, takes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from video2rig.camera import Camera
from video2rig.human import default_human
from video2rig.ik import BodyModel
from video2rig.keypoints import KEYPOINT_SETS, Keypoints
from video2rig.motion import Contact, Motion
from video2rig.skeleton import EULER_ORDERS, Skeleton
from video2rig.take import Take

seeds = st.integers(0, 2**32 - 1)


@st.composite
def skeletons(draw: st.DrawFn, max_joints: int = 8) -> Skeleton:
    """Any tree of joints with any rest pose, Euler orders and ranges of motion (locked axes among them)."""
    rng = np.random.default_rng(draw(seeds))
    count = draw(st.integers(1, max_joints))
    bounds = np.sort(rng.uniform(-2.5, 2.5, (count, 3, 2)), axis=-1)
    bounds[rng.random((count, 3)) < 0.3] = 0.0
    return Skeleton(
        tuple(f"bone.{j}" for j in range(count)),
        tuple(int(rng.integers(0, j)) if j else -1 for j in range(count)),
        ("pelvis",) + ("",) * (count - 1),
        Rotation.random(count, rng=rng).as_matrix().reshape(count, 3, 3),
        rng.normal(0.0, 0.3, (count, 3)),
        rng.uniform(0.01, 0.5, count),
        tuple(rng.choice(EULER_ORDERS, count).tolist()),
        bounds,
    )


@st.composite
def planar_skeletons(draw: st.DrawFn, max_joints: int = 8) -> Skeleton:
    """Any tree of joints in the x-y plane that turn about z alone, some of them not at all."""
    skeleton = draw(skeletons(max_joints))
    rng = np.random.default_rng(draw(seeds))
    offset, rom = skeleton.offset.copy(), skeleton.rom.copy()
    offset[:, 2], rom[:, :2] = 0.0, 0.0
    turned = Rotation.from_euler("z", rng.uniform(-np.pi, np.pi, (len(skeleton), 1))).as_matrix()
    return replace(skeleton, rest_rotation=turned, offset=offset, rom=rom)


@st.composite
def bodies(draw: st.DrawFn, max_joints: int = 5, max_points: int = 6) -> BodyModel:
    """Any small body: a random tree with points anywhere on it, and directions between some of them."""
    skeleton = draw(skeletons(max_joints))
    rng = np.random.default_rng(draw(seeds))
    points = draw(st.integers(1, max_points))
    place = rng.normal(0.0, 0.2, (points, 3))
    place[rng.random(points) < 0.4] = 0.0
    pairs = rng.integers(0, points, (draw(st.integers(0, 3)), 2))
    return BodyModel(skeleton, (rng.integers(0, len(skeleton), points), place), pairs[pairs[:, 0] != pairs[:, 1]])


def random_motion(rng: np.random.Generator, frames: int = 12, skeleton: Skeleton | None = None) -> Motion:
    """A motion of the default human whose every frame is a random pose inside the range of motion."""
    skeleton = skeleton or default_human()
    angles = rng.uniform(skeleton.rom[..., 0], skeleton.rom[..., 1], (frames, len(skeleton), 3))
    quaternions = np.stack(
        [
            Rotation.from_euler(order.lower(), angles[:, j, ["XYZ".index(axis) for axis in order]]).as_quat(
                scalar_first=True
            )
            for j, order in enumerate(skeleton.euler_order)
        ],
        axis=1,
    )
    times = np.cumsum(rng.uniform(0.01, 0.05, frames))
    return Motion(
        skeleton,
        times,
        quaternions,
        rng.normal(size=(frames, 3)),
        rng.uniform(size=(frames, len(skeleton))),
        (Contact("foot.L", float(times[0]), float(times[-1])),) if "foot.L" in skeleton.names else (),
        {"settings": {"smoothing_hz": 6.0}},
    )


def random_take(rng: np.random.Generator, frames: int = 12) -> Take:
    """A take of random poses, with keypoints that fail in the second frame."""
    motion = random_motion(rng, frames)
    count = len(KEYPOINT_SETS["blazepose_33"])
    confidence = rng.uniform(0.1, 1.0, (frames, count))
    positions = rng.uniform(0, 640, (frames, count, 2))
    if frames > 1:
        confidence[1], positions[1] = 0.0, np.nan
    keypoints = Keypoints("blazepose_33", positions, confidence, motion.times)
    camera = Camera.from_field_of_view(640, 480, 1.0)
    return Take(motion, keypoints, camera, {"fps": 30.0, "name": "clip.mp4"})
