# SPDX-License-Identifier: GPL-3.0-or-later
"""The body that is solved: its unknowns, the points on it, and their analytic derivatives.

Two paths, one mathematics: on a CPU the compiled :mod:`.kernels` go frame by frame; elsewhere, and in the tests as
their naive twin, batched torch does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import roma
import torch
from torch import Tensor

from ..keypoints import sites as keypoint_sites
from ..kinematics import KinematicChain
from ..skeleton import Skeleton
from . import dispatch, kernels, normal_kernels
from .lengths import LengthGroups

ROOT_DOFS = 6
"""The first unknowns of a frame: a step of the root's position, then of its orientation as a rotation vector."""

Sites = tuple[np.ndarray, np.ndarray]
"""Points on a body: the joint [K] that carries each, and its place [K, 3] in that bone's frame, metres."""


@dataclass(frozen=True)
class Pose:
    """Poses of frames; the leading dimensions are the frames [T], or clips and frames [B, T].

    Attributes:
        root_position: [..., 3] metres.
        root_rotation: [..., 3, 3] orientation of the root bone.
        angles: [..., A] angles of the free axes, radians.
    """

    root_position: Tensor
    root_rotation: Tensor
    angles: Tensor

    def __len__(self) -> int:
        return self.angles.shape[0]

    def __getitem__(self, frames: int | slice | Tensor | tuple[slice | Tensor, ...]) -> Pose:
        return Pose(self.root_position[frames], self.root_rotation[frames], self.angles[frames])

    @property
    def frames(self) -> tuple[int, ...]:
        """The leading dimensions."""
        return tuple(self.angles.shape[:-1])

    def reshape(self, *frames: int) -> Pose:
        """Return the same poses with other leading dimensions."""
        position = self.root_position.reshape(*frames, 3)
        frames = tuple(position.shape[:-1])  # a -1 among them cannot be told from angles if there are none
        return Pose(
            position,
            self.root_rotation.reshape(*frames, 3, 3),
            self.angles.reshape(*frames, self.angles.shape[-1]),
        )

    def replaced(self, numbers: Tensor, part: Pose) -> Pose:
        """Return the same poses with some of the first dimension replaced, given by their numbers."""
        return Pose(
            self.root_position.index_copy(0, numbers, part.root_position),
            self.root_rotation.index_copy(0, numbers, part.root_rotation),
            self.angles.index_copy(0, numbers, part.angles),
        )

    def with_frames(self, clip: int, frames: slice, part: Pose) -> Pose:
        """Return the same poses [B, T] with a range of one clip's frames replaced by poses [1, t]."""
        copies = []
        for own, other in zip(*((p.root_position, p.root_rotation, p.angles) for p in (self, part)), strict=True):
            copies.append(own.clone())
            copies[-1][clip, frames] = other[0]
        return Pose(*copies)

    @staticmethod
    def concatenate(parts: list[Pose], dim: int = 0) -> Pose:
        """Join poses along one of their leading dimensions."""
        return Pose(
            torch.cat([part.root_position for part in parts], dim),
            torch.cat([part.root_rotation for part in parts], dim),
            torch.cat([part.angles for part in parts], dim),
        )

    @staticmethod
    def where(condition: Tensor, one: Pose, other: Pose) -> Pose:
        """Take ``one`` where the condition over leading dimensions holds, else ``other``."""
        spread = condition.reshape(*condition.shape, *(1 for _ in range(one.angles.ndim - 1 - condition.ndim)))
        return Pose(
            torch.where(spread[..., None], one.root_position, other.root_position),
            torch.where(spread[..., None, None], one.root_rotation, other.root_rotation),
            torch.where(spread[..., None], one.angles, other.angles),
        )


@dataclass(frozen=True)
class NormalEquations:
    """Half the gradient and half the Gauss-Newton Hessian of a cost, for B clips of T frames.

    Attributes:
        gradient: [B, T, D]; hessian: [B, T, D, D] of each frame's own unknowns; only its lower triangle counts.
        coupling: [B, T, D, S] between a frame's unknowns and those that its clip shares.
        shared_gradient: [B, S]; shared_hessian: [B, S, S].
    """

    gradient: Tensor
    hessian: Tensor
    coupling: Tensor
    shared_gradient: Tensor
    shared_hessian: Tensor


class BodyModel:
    """A skeleton's degrees of freedom, the lengths of its bones, and the points on it that are observed.

    Attributes:
        chain: Forward kinematics of the skeleton.
        names: Of the points, where they have names.
        site_joint: [K] joint that carries each point; site_offset: [K, 3] its place in that bone's frame, metres.
        pairs: [P, 2] points between which directions are observed. Features are the K points, then the P differences.
        feature_points: [F] the point that each feature is, or at which its difference ends.
        dof_joint, dof_axis: [A] joint and axis (0 to 2) of each angle.
        lower, upper: [A] range of motion, radians.
        moves: [K, A] 1 where an angle moves a point.
        lengths: Which lengths scale together; G of them.
        topology: All of this for the compiled kernels.
        size: Unknowns of a frame, D = 6 + A.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        sites: Sites,
        pairs: np.ndarray | None = None,
        device: torch.device | str = "cpu",
        names: tuple[str, ...] = (),
    ) -> None:
        self.skeleton, self.sites, self.names = skeleton, sites, names
        self.device = torch.device(device)
        self.chain = KinematicChain(skeleton, device=self.device)
        free = skeleton.free_axes()
        free[0] = False
        dof_joint, dof_axis = np.nonzero(free)
        self.size = ROOT_DOFS + len(dof_joint)
        self.pairs = np.zeros((0, 2), dtype=np.int64) if pairs is None else np.asarray(pairs, dtype=np.int64)
        self.lengths = LengthGroups.of(skeleton, sites)
        self.topology = _topology(skeleton, sites, self.pairs, dof_joint, dof_axis, self.size, self.lengths)

        def to_device(array: np.ndarray) -> Tensor:
            return torch.tensor(array, device=self.device)

        self.dof_joint, self.dof_axis = to_device(dof_joint), to_device(dof_axis)
        self.lower, self.upper = to_device(skeleton.rom[dof_joint, dof_axis].T.copy())
        self.site_joint, self.site_offset = to_device(sites[0]), to_device(sites[1])
        self.moves = to_device(self.topology.moves.astype(np.float64))
        self._offset_length = to_device(self.lengths.offset_matrix())
        self._site_length = to_device(self.lengths.site_matrix())

        self._parents = to_device(np.array(skeleton.parents))
        self._above = to_device(_above(skeleton)[sites[0]].astype(np.float64))
        self._pair_begin, self._pair_end = to_device(self.pairs.T.copy())
        self.feature_points = to_device(np.concatenate([np.arange(len(sites[0])), self.pairs[:, 1]]))
        self._no_stretch = self.no_stretch(1)

    @classmethod
    def for_keypoints(
        cls,
        skeleton: Skeleton,
        names: tuple[str, ...],
        pairs: np.ndarray | None = None,
        device: torch.device | str = "cpu",
    ) -> BodyModel:
        """Return a human body with keypoints on it.

        Raises:
            KeypointsError: A keypoint has no place on a skeleton.
            SkeletonError: The skeleton lacks the role that carries one.
        """
        return cls(skeleton, keypoint_sites(skeleton, names), pairs, device, names)

    @property
    def groups(self) -> int:
        """How many lengths are unknown, G."""
        return len(self.lengths.names)

    def no_stretch(self, *clips: int) -> Tensor:
        """Return logarithms of lengths [..., G] that leave the skeleton as it is."""
        return torch.zeros(*clips, self.groups, dtype=torch.float64, device=self.device)

    def full_angles(self, angles: Tensor) -> Tensor:
        """Spread [..., A] free angles to [..., J, 3]; locked axes are zero."""
        full = angles.new_zeros(*angles.shape[:-1], len(self.skeleton), 3)
        full[..., self.dof_joint, self.dof_axis] = angles
        return full

    def joints(self, pose: Pose, stretch: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return positions [..., J, 3], metres, and orientations [..., J, 3, 3] of the bones.

        Args:
            pose: Of [...] frames. stretch: Logarithms of the lengths, [..., G] or what broadcasts to it.
        """
        if dispatch.is_compiled(self.device):
            place, turn = map(torch.from_numpy, kernels.joints(self.topology, *self._batch(pose, stretch)))
            count = len(self.skeleton)
            return place.reshape(*pose.frames, count, 3), turn.reshape(*pose.frames, count, 3, 3)
        return self.joints_by_torch(pose, stretch)

    def joints_by_torch(self, pose: Pose, stretch: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Do what :meth:`joints` does, in torch."""
        local = self.chain.local_rotations(self.full_angles(pose.angles)).clone()
        local[..., 0, :, :] = self.chain.rest_rotation[0].T @ pose.root_rotation
        return self.chain.forward(local, pose.root_position, self._offsets(stretch))

    def points(self, pose: Pose, stretch: Tensor | None = None) -> Tensor:
        """Return the points on the body, [..., K, 3] metres; arguments as for :meth:`joints`."""
        if dispatch.is_compiled(self.device):
            return self._compiled_features(pose, stretch, len(self.site_joint))
        return self.points_by_torch(pose, stretch)

    def points_by_torch(self, pose: Pose, stretch: Tensor | None = None) -> Tensor:
        """Do what :meth:`points` does, in torch."""
        return self._sites(*self.joints_by_torch(pose, stretch), stretch)

    def features(self, pose: Pose, stretch: Tensor | None = None) -> Tensor:
        """Return [..., F, 3] metres: the points, and the differences of the pairs; arguments as for :meth:`joints`."""
        if dispatch.is_compiled(self.device):
            return self._compiled_features(pose, stretch, len(self.feature_points))
        return self.features_by_torch(pose, stretch)

    def _compiled_features(self, pose: Pose, stretch: Tensor | None, count: int) -> Tensor:
        features = torch.from_numpy(kernels.features(self.topology, *self._batch(pose, stretch), count))
        return features if features.shape[:2] == pose.frames else features.reshape(*pose.frames, count, 3)

    def features_by_torch(self, pose: Pose, stretch: Tensor | None = None) -> Tensor:
        """Do what :meth:`features` does, in torch."""
        points = self.points_by_torch(pose, stretch)
        if not len(self.pairs):
            return points
        return torch.cat([points, points[..., self._pair_end, :] - points[..., self._pair_begin, :]], dim=-2)

    def jacobian(self, pose: Pose, stretch: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the derivatives of the points by the unknowns of their frame, [..., K, 3, D], and by the logarithms
        of the lengths, [..., K, 3, G].

        The unknowns are a step of the root's position, a rotation vector that turns the root from the left, and the
        free angles.
        """
        positions, rotations = self.joints_by_torch(pose, stretch)
        points = self._sites(positions, rotations, stretch)
        before = rotations[..., self._parents[self.dof_joint], :, :] @ self.chain.rest_rotation[self.dof_joint]
        local_axes = self.chain.rotation_axes(self.full_angles(pose.angles))[..., self.dof_joint, self.dof_axis, :]
        axes = (before @ local_axes[..., None])[..., 0]  # [..., A, 3]
        arms = points[..., :, None, :] - positions[..., None, self.dof_joint, :]  # [..., K, A, 3]
        turn = torch.linalg.cross(axes[..., None, :, :].expand_as(arms), arms) * self.moves[..., None]

        jacobian = points.new_zeros(*points.shape, self.size)
        jacobian[..., :3] = torch.eye(3, dtype=points.dtype, device=self.device)
        jacobian[..., 3:ROOT_DOFS] = -skew(points - pose.root_position[..., None, :])
        jacobian[..., ROOT_DOFS:] = turn.transpose(-1, -2)

        steps = positions - positions[..., self._parents.clamp_min(0), :]  # [..., J, 3]
        by_length = torch.einsum("...jr,kj,jg->...krg", steps, self._above, self._offset_length)
        own = points - positions[..., self.site_joint, :]
        return jacobian, by_length + own[..., None] * self._site_length[:, None]

    def normal_equations(
        self, pose: Pose, stretch: Tensor, pull: Tensor, information: Tensor, *, lengths: bool
    ) -> NormalEquations:
        """Carry what is asked of the features to the unknowns.

        Args:
            pose: Of [B, T] frames. stretch: [B, G] logarithms of the lengths, or [1, G] where all clips have the same
                and they are no unknowns.
            pull: [B, T, F, 3] half the gradient of a cost by each feature, 1/metres.
            information: [B, T, F, 3, 3] half its Gauss-Newton Hessian, 1/metres^2.
            lengths: Whether the lengths are unknowns; if not, S = 0.
        """
        if not dispatch.is_compiled(self.device):
            return self.normal_equations_by_torch(pose, stretch, pull, information, lengths=lengths)
        (clips, frames), unknowns = pose.frames, self.size
        shared = self.groups if lengths else 0
        poses = self._batch(pose, stretch)
        batch = poses[0].shape[:2]
        gradient, hessian = np.zeros((*batch, unknowns)), np.empty((*batch, unknowns, unknowns))
        coupling = np.zeros((*batch, unknowns, shared))
        shared_hessian, shared_gradient = np.zeros((clips, shared, shared)), np.zeros((clips, shared))
        pulls, informations = (
            array.reshape(*batch, *array.shape[2:]).contiguous().numpy() for array in (pull, information)
        )
        normal_kernels.normal_equations(
            self.topology, *poses, pulls, informations, lengths,
            hessian, gradient, coupling, shared_hessian, shared_gradient,
        )  # fmt: skip
        return NormalEquations(
            gradient=torch.from_numpy(gradient).reshape(clips, frames, unknowns),
            hessian=torch.from_numpy(hessian).reshape(clips, frames, unknowns, unknowns),
            coupling=torch.from_numpy(coupling).reshape(clips, frames, unknowns, shared),
            shared_gradient=torch.from_numpy(shared_gradient),
            shared_hessian=torch.from_numpy(shared_hessian),
        )

    def normal_equations_by_torch(
        self, pose: Pose, stretch: Tensor, pull: Tensor, information: Tensor, *, lengths: bool
    ) -> NormalEquations:
        """Do what :meth:`normal_equations` does, in torch."""
        jacobian, by_length = self.jacobian(pose, stretch[:, None])
        if not lengths:
            by_length = by_length[..., :0]
        if len(self.pairs):
            jacobian, by_length = (
                torch.cat([d, d[..., self._pair_end, :, :] - d[..., self._pair_begin, :, :]], dim=-3)
                for d in (jacobian, by_length)
            )
        own, shared = jacobian.flatten(-3, -2), by_length.flatten(-3, -2)  # [B, T, F * 3, D or S]
        weighted, weighted_shared = ((information @ d).flatten(-3, -2).transpose(-1, -2) for d in (jacobian, by_length))
        slope = pull.flatten(-2)[..., None]
        return NormalEquations(
            gradient=(own.transpose(-1, -2) @ slope)[..., 0],
            hessian=weighted @ own,
            coupling=weighted @ shared,
            shared_gradient=(shared.transpose(-1, -2) @ slope)[..., 0].sum(1),
            shared_hessian=(weighted_shared @ shared).sum(1),
        )

    def retract(self, pose: Pose, step: Tensor) -> Pose:
        """Move poses by [..., D] steps of the unknowns; angles stop at their bounds."""
        moved = self.moved(pose, step)
        return Pose(moved.root_position, moved.root_rotation, torch.clamp(moved.angles, self.lower, self.upper))

    def moved(self, pose: Pose, step: Tensor) -> Pose:
        """Move poses by [..., D] steps of the unknowns, through the bounds too."""
        if not dispatch.is_compiled(self.device):
            return self.moved_by_torch(pose, step)
        flat, frames = pose.reshape(-1), pose.frames
        arrays = as_arrays(flat.root_position, flat.root_rotation, flat.angles, step.reshape(-1, self.size))
        return Pose(*map(torch.from_numpy, kernels.moved(*arrays))).reshape(*frames)

    def moved_by_torch(self, pose: Pose, step: Tensor) -> Pose:
        """Do what :meth:`moved` does, in torch."""
        return Pose(
            pose.root_position + step[..., :3],
            self.turned(pose.root_rotation, step[..., 3:ROOT_DOFS]),
            pose.angles + step[..., ROOT_DOFS:],
        )

    @staticmethod
    def turned(rotation: Tensor, step: Tensor) -> Tensor:
        """Turn orientations [..., 3, 3] from the left by [..., 3] rotation vectors."""
        return roma.rotvec_to_rotmat(step) @ rotation

    def _offsets(self, stretch: Tensor | None) -> Tensor:
        if stretch is None:
            return self.chain.offset
        return self.chain.offset * (stretch @ self._offset_length.T).exp()[..., None]

    def _site_offsets(self, stretch: Tensor | None) -> Tensor:
        if stretch is None:
            return self.site_offset
        return self.site_offset * (stretch @ self._site_length.T).exp()[..., None]

    def _sites(self, positions: Tensor, rotations: Tensor, stretch: Tensor | None) -> Tensor:
        turned = rotations[..., self.site_joint, :, :] @ self._site_offsets(stretch)[..., None]
        return positions[..., self.site_joint, :] + turned[..., 0]

    def _batch(self, pose: Pose, stretch: Tensor | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return arrays for the kernels: poses [B, T, ...] and lengths [B, G]; one clip where one has all lengths."""
        lengths = self._no_stretch if stretch is None else stretch.reshape(stretch.shape[:-1].numel(), self.groups)
        flat = pose if pose.frames[:-1] == lengths.shape[:1] else pose.reshape(len(lengths), -1)
        arrays = as_arrays(flat.root_position, flat.root_rotation, flat.angles, lengths)
        position, rotation, angles, stretches = arrays
        return position, rotation, angles, stretches


def as_arrays(*tensors: Tensor) -> tuple[np.ndarray, ...]:
    """Return tensors on a CPU as the kernels take them."""
    return tuple(tensor.contiguous().numpy() for tensor in tensors)


def _above(skeleton: Skeleton) -> np.ndarray:
    """Return [J, J] bool: whether joint j hangs on joint i, or is it."""
    above = np.zeros((len(skeleton), len(skeleton)), dtype=bool)
    for joint, parent in enumerate(skeleton.parents):
        above[joint] = above[parent] if parent >= 0 else False
        above[joint, joint] = True
    return above


def _topology(
    skeleton: Skeleton,
    sites: Sites,
    pairs: np.ndarray,
    dof_joint: np.ndarray,
    dof_axis: np.ndarray,
    unknowns: int,
    lengths: LengthGroups,
) -> kernels.Topology:
    site_joint = sites[0]
    above = _above(skeleton)
    moves = above[site_joint][:, dof_joint]
    carried = np.tril(above[dof_joint][:, dof_joint])
    carrying = np.argsort(~carried, axis=1, kind="stable")
    dof = np.full((len(skeleton), 3), -1)
    dof[dof_joint, dof_axis] = np.arange(len(dof_joint))
    points = np.arange(len(site_joint))
    features = np.concatenate([np.stack([np.full_like(points, -1), points], axis=1), pairs])
    columns, count = np.zeros((len(features), unknowns), dtype=np.int64), np.zeros(len(features), dtype=np.int64)
    for feature, (begin, end) in enumerate(features):
        root = np.arange(ROOT_DOFS) if begin < 0 else np.arange(3, ROOT_DOFS)
        moving = moves[end] if begin < 0 else moves[end] | moves[begin]
        used = np.concatenate([root, ROOT_DOFS + np.flatnonzero(moving)])
        columns[feature, : len(used)], count[feature] = used, len(used)
    arrays = (
        np.array(skeleton.parents),
        skeleton.offset.copy(),
        np.array(sites[1], dtype=np.float64),
        skeleton.rest_rotation.copy(),
        np.array([["XYZ".index(axis) for axis in order] for order in skeleton.euler_order]),
        dof,
        dof_joint,
        site_joint,
        lengths.offset_group,
        lengths.site_group,
        features,
        columns,
        count,
        moves,
        carrying,
        carried.sum(axis=1),
    )
    # one layout for all, so that the kernels are compiled once
    return kernels.Topology(*map(np.ascontiguousarray, arrays))


def skew(vector: Tensor) -> Tensor:
    """Return the matrices [..., 3, 3] of the cross product with [..., 3] vectors."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
