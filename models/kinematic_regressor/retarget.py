# SPDX-License-Identifier: GPL-3.0-or-later
"""From the mocap's skeleton to the default human: every bone takes the orientation of its segment.

Between a segment and its bone lies one constant rotation, for both are known in the same T-pose. What is found so is
made what the human's joints can do: wrists do not twist, knees are hinges (`legs.py`), angles are inside their range.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from video2rig.skeleton import Skeleton

from .database import TO_Z_UP, Database, euler_angles

SEGMENTS = {
    "spine": "pelvis",
    "spine.003": "chest",
    "spine.004": "neck",
    "spine.006": "head",
    "shoulder": "clavicle",
    "upper_arm": "upperarm",
    "forearm": "forearm",
    "hand": "hand",
    "thigh": "thigh",
    "shin": "shank",
    "foot": "foot",
    "toe": "toes",
}
"""The mocap's segment that a bone follows; bones that are not here share what lies between those around them."""

_ARM = ("upper_arm", "forearm", "hand")


def segment(bone: str) -> str | None:
    """Return the mocap's name of the segment that a bone follows, or None."""
    stem, _, side = bone.rpartition(".")
    if side not in ("L", "R"):
        return SEGMENTS.get(bone)
    return f"{side.lower()}_{SEGMENTS[stem]}"


def t_pose(skeleton: Skeleton) -> np.ndarray:
    """Return the world frames [J, 3, 3] of the default human's bones in a T-pose: at rest, but for raised arms."""
    frames = skeleton.rest_matrices()[:, :3, :3].copy()
    for joint, bone in enumerate(skeleton.names):
        if bone.split(".")[0] in _ARM:
            along, sideways = frames[joint, :, 1], np.array([1.0 if bone.endswith("L") else -1.0, 0.0, 0.0])
            axis = np.cross(along, sideways)
            raised = Rotation.from_rotvec(axis / np.linalg.norm(axis) * np.arccos(along @ sideways))
            frames[joint] = raised.as_matrix() @ frames[joint]
    return frames


def bone_orientations(database: Database, turned: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Return what the mocap says of each bone's world orientation, [N, J, 3, 3], Z up.

    Args:
        turned: [N, 21, 3, 3] world rotations of the segments (`database.forward`).
        skeleton: With the bones of the default human.
    """
    rest = t_pose(skeleton)
    found = np.zeros((len(turned), len(skeleton), 3, 3))
    for joint, bone in enumerate(skeleton.names):
        name = segment(bone)
        if name is not None:
            found[:, joint] = turned[:, database.joints.index(name)] @ (TO_Z_UP.T @ rest[joint])
    share_bend(found, skeleton, ("spine", "spine.001", "spine.002", "spine.003"))
    for side in "LR":
        _untwist_wrist(found, skeleton, side)
    return found


def share_bend(orientations: np.ndarray, skeleton: Skeleton, bones: tuple[str, ...]) -> None:
    """Turn the bones between the first and the last, in place, so that all joints on the way bend alike."""
    rest = skeleton.rest_matrices()[:, :3, :3]
    first, *between, last = (skeleton.index(bone) for bone in bones)
    base = Rotation.from_matrix(orientations[:, first] @ rest[first].T)
    bend = (base.inv() * Rotation.from_matrix(orientations[:, last] @ rest[last].T)).as_rotvec()
    for count, joint in enumerate(between, start=1):
        part = Rotation.from_rotvec(bend * count / (len(between) + 1))
        orientations[:, joint] = (base * part).as_matrix() @ rest[joint]


def _untwist_wrist(orientations: np.ndarray, skeleton: Skeleton, side: str) -> None:
    """Give the hand's turn about itself to the forearm: pronation is the forearm's."""
    forearm, hand = (skeleton.index(f"{bone}.{side}") for bone in ("forearm", "hand"))
    rest = skeleton.rest_rotation[hand]
    wrist = (orientations[:, forearm] @ rest).transpose(0, 2, 1) @ orientations[:, hand]
    twist = Rotation.from_matrix(wrist).as_euler("YXZ")[:, 0]
    orientations[:, forearm] = orientations[:, forearm] @ rest @ about("y", twist) @ rest.T


def raise_shoulders(orientations: np.ndarray, skeleton: Skeleton, rounds: int = 3) -> None:
    """Let the collar bones take what the upper arms ask for beyond their range, in place.

    In the mocap they hardly move; in people they carry the last of a raised or crossed arm's way.
    """
    chest = skeleton.index("spine.003")
    for clavicle, arm in ((skeleton.index(f"shoulder.{side}"), skeleton.index(f"upper_arm.{side}")) for side in "LR"):
        base = orientations[:, chest] @ skeleton.rest_rotation[clavicle]
        order, bounds = skeleton.euler_order[clavicle], skeleton.rom[clavicle]
        angles = euler_angles(base.transpose(0, 2, 1) @ orientations[:, clavicle], order, bounds)
        for _ in range(rounds):
            angles = angles.clip(*bounds.T)
            orientations[:, clavicle] = base @ euler_rotations(angles, order)
            in_shoulder = (orientations[:, clavicle] @ skeleton.rest_rotation[arm]).transpose(0, 2, 1)
            asked = euler_angles(in_shoulder @ orientations[:, arm], skeleton.euler_order[arm], skeleton.rom[arm])
            angles = angles + asked - asked.clip(*skeleton.rom[arm].T)


def euler_rotations(angles: np.ndarray, order: str) -> np.ndarray:
    """Return rotations [N, 3, 3] by angles about x, y, z [N, 3] in an order of Blender's naming."""
    return Rotation.from_euler(order.lower(), angles[:, ["XYZ".index(axis) for axis in order]]).as_matrix()


def about(axis: str, angle: np.ndarray) -> np.ndarray:
    """Return rotations [N, 3, 3] about a coordinate axis by angles [N], radians."""
    return Rotation.from_euler(axis, angle[:, None]).as_matrix()


def joint_rotations(orientations: np.ndarray, skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray]:
    """Return local rotations inside the range of motion, and how far each joint had been outside.

    Joints are done from the root outwards, so that a bone whose parent was held back still takes its own orientation
    where its range allows.

    Args:
        orientations: [N, J, 3, 3] of the bones in the world.

    Returns:
        Local rotations [N, J, 3, 3], and the angle [N, J] between each and what was asked for, radians.
    """
    local, turned = np.empty_like(orientations), np.empty_like(orientations)
    excess = np.zeros(orientations.shape[:2])
    for joint, parent in enumerate(skeleton.parents):
        rest = skeleton.rest_rotation[joint]
        base = np.broadcast_to(rest, orientations[:, 0].shape) if parent < 0 else turned[:, parent] @ rest
        asked = base.transpose(0, 2, 1) @ orientations[:, joint]
        if parent < 0:
            local[:, joint], turned[:, joint] = asked, orientations[:, joint]
            continue
        order, bounds = skeleton.euler_order[joint], skeleton.rom[joint]
        angles = euler_angles(asked, order, bounds).clip(*bounds.T)
        local[:, joint] = euler_rotations(angles, order)
        turned[:, joint] = base @ local[:, joint]
        cosine = (np.einsum("nij,nij->n", local[:, joint], asked) - 1) / 2
        excess[:, joint] = np.arccos(cosine.clip(-1, 1))
    return local, excess


def positions(local: np.ndarray, root: np.ndarray, skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray]:
    """Return joints' positions [N, J, 3], metres, and bones' orientations [N, J, 3, 3], Z up.

    Args:
        local: [N, J, 3, 3] local rotations. root: [N, 3] positions of joint 0, metres.
    """
    turned, placed = np.empty_like(local), np.empty(local.shape[:3], local.dtype)
    for joint, parent in enumerate(skeleton.parents):
        own = skeleton.rest_rotation[joint].astype(local.dtype) @ local[:, joint]
        if parent < 0:
            turned[:, joint], placed[:, joint] = own, root
        else:
            turned[:, joint] = turned[:, parent] @ own
            placed[:, joint] = placed[:, parent] + turned[:, parent] @ skeleton.offset[joint].astype(local.dtype)
    return placed, turned
