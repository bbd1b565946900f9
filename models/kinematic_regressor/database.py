# SPDX-License-Identifier: GPL-3.0-or-later
"""Motion capture of the CMU Graphics Lab, as the files beside a development checkout hold it (``data/mocap``).

Local rotations at 30 Hz from a T-pose, Y up, +Z forward, +X the subject's left, all clips on one skeleton. The data was
obtained from mocap.cs.cmu.edu; the database was created with funding from NSF EIA-0196217.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.linalg import solveh_banded
from scipy.spatial.transform import Rotation

from video2rig.errors import Video2RigError

TO_Z_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
"""Takes the files' axes to the project's: Z up, the figure faces -Y."""


class MocapError(Video2RigError):
    """The motion-capture data is not where it was said to be."""


@dataclass(frozen=True, eq=False)
class Database:
    """Clips on one skeleton, as the files hold them.

    Attributes:
        joints: 21 names. parents: [21]. offset: [21, 3] metres, Y up. rotations: [N, 21, 3, 3] local, of all clips
        after one another. root: [N, 3] metres, Y up. broken: [N] bool, frames whose capture is faulty.
        clips: name of each clip, and its frames. subjects, actions, sources: of each clip, in the order of ``clips``.
    """

    joints: tuple[str, ...]
    parents: tuple[int, ...]
    offset: np.ndarray
    rotations: np.ndarray
    root: np.ndarray
    broken: np.ndarray
    clips: dict[str, slice]
    subjects: tuple[str, ...]
    actions: tuple[str, ...]
    sources: tuple[str, ...]

    def people(self) -> dict[tuple[str, str], np.ndarray]:
        """Return the frames [M] of each subject of each source: one person on one skeleton."""
        frames: dict[tuple[str, str], list[np.ndarray]] = {}
        for clip, *person in zip(self.clips.values(), self.subjects, self.sources, strict=True):
            frames.setdefault((person[0], person[1]), []).append(np.arange(clip.start, clip.stop))
        return {person: np.concatenate(parts) for person, parts in frames.items()}

    @classmethod
    def load(cls, path: Path, every: int = 1) -> Database:
        """Read ``cmu_train.npz`` or ``cmu_val.npz``; ``every`` thins the frames.

        Raises:
            MocapError: There is no such file.
        """
        if not path.is_file():
            raise MocapError(f"there is no motion capture at {path}; --mocap names the folder of cmu_val.npz")
        with np.load(path, allow_pickle=False) as data:
            joints = tuple(str(name) for name in data["joints"])
            body = data["q_xyz"][::every].astype(float) / 32767
            root = data["root_q"][::every].astype(float) / 32767
            starts, counts = data["clip_start"].tolist(), data["clip_len"].tolist()
            clips = {
                str(name): slice(-(-start // every), -(-(start + count) // every))
                for name, start, count in zip(data["clip_name"], starts, counts, strict=True)
            }
            parents = tuple(int(parent) for parent in data["parents"])
            subjects, actions, sources = (
                tuple(str(word) for word in data[f"clip_{field}"]) for field in ("subject", "action", "source")
            )
            offset, path_of_root = data["rest_offset"].astype(float), data["root_mm"][::every] / 1000.0
        w = np.sqrt(np.clip(1 - (body**2).sum(-1, keepdims=True), 0, 1))
        xyzw = np.concatenate([root[:, None, [1, 2, 3, 0]], np.concatenate([body, w], -1)], axis=1)
        rotations = Rotation.from_quat(xyzw.reshape(-1, 4)).as_matrix().reshape(*xyzw.shape[:2], 3, 3)
        broken = np.load(path.with_name(f"{path.stem}_glitch.npy"))[::every]
        return cls(joints, parents, offset, rotations, path_of_root, broken, clips, subjects, actions, sources)


def forward(database: Database, local: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the segments' world rotations from the T-pose, and the joints' positions, Z up.

    Args:
        local: [N, 21, 3, 3] local rotations of all frames.

    Returns:
        [N, 21, 3, 3] from the files' axes, Y up, to the world's, and [N, 21, 3] metres.
    """
    root = database.root @ TO_Z_UP.T
    turned, placed = np.empty_like(local), np.empty(local.shape[:3])
    for joint, parent in enumerate(database.parents):
        if parent < 0:
            turned[:, joint], placed[:, joint] = TO_Z_UP @ local[:, joint], root
        else:
            turned[:, joint] = turned[:, parent] @ local[:, joint]
            placed[:, joint] = placed[:, parent] + turned[:, parent] @ database.offset[joint]
    return turned, placed


def anatomical(joints: tuple[str, ...], rotations: np.ndarray) -> np.ndarray:
    """Return local rotations [T, 21, 3, 3] of a body whose elbows flex and pronate, and whose wrists do not twist.

    The upper arm is turned about itself until the elbow's deviation is gone, smoothly through straight arms, where that
    turn is not defined; what is left of the deviation there is dropped. The hand's twist goes into the forearm.
    """
    result = rotations.copy()
    for side in "lr":
        upper, fore, hand = (joints.index(f"{side}_{name}") for name in ("upperarm", "forearm", "hand"))
        away = 1.0 if side == "l" else -1.0
        along = away * rotations[:, fore, :, 0]  # the forearm's direction; the upper arm's is (away, 0, 0)
        # bent, the forearm points forwards from the T-pose: to +z
        turn = smooth_angle(-along[:, 1], along[:, 2])
        about = Rotation.from_rotvec(np.stack([turn, 0 * turn, 0 * turn], axis=1))
        result[:, upper] = rotations[:, upper] @ about.as_matrix()
        bent = (about.inv() * Rotation.from_matrix(rotations[:, fore])).as_euler("YZX")
        wrist = Rotation.from_matrix(rotations[:, hand]).as_euler("XYZ")
        elbow = np.stack([bent[:, 0], 0 * turn, bent[:, 2] + wrist[:, 0]], axis=1)
        result[:, fore] = Rotation.from_euler("YZX", elbow).as_matrix()
        wrist[:, 0] = 0.0
        result[:, hand] = Rotation.from_euler("XYZ", wrist).as_matrix()
    return result


def smooth_angle(sine: np.ndarray, cosine: np.ndarray, stiffness: float = 3.0) -> np.ndarray:
    """Return the angles [T] of vectors, each counted by its squared length, with second differences held small."""
    frames = len(sine)
    if frames < 3:
        return np.arctan2(sine, cosine)
    ones = np.full(frames - 2, stiffness)
    system = np.zeros((3, frames))  # lower bands of the sum of squared second differences
    system[0] = np.convolve(ones, [1, 4, 1]) + sine**2 + cosine**2 + 1e-6
    system[1, :-1], system[2, :-2] = np.convolve(ones, [-2, -2]), ones
    # smooth the vectors, not the angles: those jump by a full turn
    smooth = [solveh_banded(system, (sine**2 + cosine**2) * part, lower=True) for part in (sine, cosine)]
    return np.arctan2(*smooth)


def euler_angles(rotations: np.ndarray, order: str, bounds: np.ndarray) -> np.ndarray:
    """Return angles about x, y, z [T, 3], of the two sets that make each rotation the one nearer to the bounds [3, 2].

    Args:
        order: Blender's naming: ``"YZX"`` turns about Y first.
    """
    axes = ["XYZ".index(axis) for axis in order]
    found = Rotation.from_matrix(rotations).as_euler(order.lower())  # extrinsic: about fixed axes, first named first
    other = np.stack([found[:, 0] + np.pi, np.pi - found[:, 1], found[:, 2] + np.pi], axis=1)
    candidates = np.empty((2, len(found), 3))
    middle = bounds.mean(axis=1)
    for candidate, angles in zip(candidates, (found, other), strict=True):
        candidate[:, axes] = angles
        candidate[:] = middle + (candidate - middle + np.pi) % (2 * np.pi) - np.pi
    outside = np.maximum(bounds[:, 0] - candidates, candidates - bounds[:, 1]).clip(min=0).sum(axis=-1)
    return np.where((outside[0] <= outside[1])[:, None], *candidates)
