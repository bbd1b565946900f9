# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the solver starts: the trunk by rigid alignment, limbs in closed form from their two segments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .gaps import nearest_known
from .limbs import Limb, find_limbs
from .model import BodyModel, Pose

_STRAIGHT = 0.02
"""A limb bent by a smaller sine does not tell the direction of its hinge."""


class Starter:
    """Finds a first pose of frames from points in 3D."""

    def __init__(self, model: BodyModel, neutral: Tensor) -> None:
        """Read the skeleton's structure.

        Args:
            model: The body. neutral: [A] angles of joints that nothing tells, radians.
        """
        self._model, self._neutral = model, neutral
        rest = torch.tensor(model.skeleton.rest_matrices()[0], device=model.device)
        resting = Pose(rest[None, :3, 3], rest[None, :3, :3], neutral[None])
        self._root = rest[:3, :3]
        self._resting_points = model.points(resting)[0]
        self._resting_joints = model.joints(resting)[0][0]
        self._trunk = self._trunk_points()
        limbs = find_limbs(model)
        self._limbs = _Limbs(model, limbs) if limbs else None

    def __call__(self, spots: Tensor, weight: Tensor, stretch: Tensor) -> Pose:
        """Return a first pose of B clips of T frames.

        Args:
            spots: [B, T, K, 3] where points were seen, metres; any finite value where not.
            weight: [B, T, K] how far each is trusted, 0 where not seen.
            stretch: [B, G] logarithms of the lengths.
        """
        clips, frames = spots.shape[:2]
        stretch = stretch[:, None].expand(clips, frames, -1).flatten(0, 1)
        return self._of_frames(spots.flatten(0, 1), weight.flatten(0, 1), stretch, frames).reshape(clips, frames)

    def _of_frames(self, spots: Tensor, weight: Tensor, stretch: Tensor, frames: int) -> Pose:
        """Return a first pose of [N, ...] frames, clip after clip."""
        turn, known = self._align_trunk(spots, weight, stretch)
        turn = _from_nearest(turn, known, frames)
        root_rotation = turn @ self._root
        angles = self._neutral.expand(len(spots), -1).clone()
        pose = Pose(torch.zeros_like(spots[:, 0]), root_rotation, angles)
        if self._limbs is not None:
            self._bend(pose, spots, weight)
        points = self._model.points(pose, stretch)
        share = weight / weight.sum(1, keepdim=True).clamp_min(1e-12)
        trunk = torch.zeros_like(share)
        trunk[:, self._trunk] = share[:, self._trunk]
        share = torch.where(known[:, None], trunk, share)
        share = share / share.sum(1, keepdim=True).clamp_min(1e-12)
        position = ((spots - points) * share[..., None]).sum(1)
        return Pose(position, root_rotation, angles)

    def _trunk_points(self) -> Tensor:
        """Return the points with the least freedom against the root that span more than a line."""
        model = self._model
        freedom = model.moves @ (model.upper - model.lower)
        order = freedom.argsort(stable=True)
        for count in range(3, len(order) + 1):
            spread = self._resting_points[order[:count]]
            width = torch.linalg.svdvals(spread - spread.mean(0))
            if width[1] > 0.3 * width[0]:
                return order[:count]
        return order

    def _align_trunk(self, spots: Tensor, weight: Tensor, stretch: Tensor) -> tuple[Tensor, Tensor]:
        """Return rotations [N, 3, 3] that turn the resting trunk onto that seen, and [N] which of them are known."""
        count = len(spots)
        resting = Pose(
            self._resting_joints[0].expand(count, -1),
            self._root.expand(count, -1, -1),
            self._neutral.expand(count, -1),
        )
        rest = self._model.points(resting, stretch)[:, self._trunk]
        seen, share = spots[:, self._trunk], weight[:, self._trunk, None]
        total = share.sum(1, keepdim=True).clamp_min(1e-12)
        middle, resting_middle = (
            (seen * share).sum(1, keepdim=True) / total,
            (rest * share).sum(1, keepdim=True) / total,
        )
        moment = ((seen - middle) * share).transpose(1, 2) @ (rest - resting_middle)
        u, width, v = torch.linalg.svd(moment)
        u = torch.cat([u[..., :2], (u[..., 2] * torch.linalg.det(u @ v)[:, None])[..., None]], dim=-1)
        return u @ v, width[:, 1] > 0.01 * width[:, 0].clamp_min(1e-12)

    def _bend(self, pose: Pose, spots: Tensor, weight: Tensor) -> None:
        """Write into the angles of a pose those that point its L limbs as they were seen."""
        model, limbs = self._model, self._limbs
        assert limbs is not None
        upper, lower = (
            _unit(spots[:, two] - spots[:, one])
            for one, two in ((limbs.begin, limbs.middle), (limbs.middle, limbs.end))
        )
        seen = (weight[:, torch.stack([limbs.begin, limbs.middle, limbs.end], -1)] > 0).all(-1)  # [N, L]
        _, orientation = model.joints(pose)
        before = orientation[:, limbs.parent] @ model.chain.rest_rotation[limbs.ball]
        current = (orientation[:, limbs.ball] @ limbs.axis[..., None])[..., 0]
        hinge = torch.linalg.cross(upper, lower)
        wanted = _frame(upper, hinge + _STRAIGHT * current) @ _frame(limbs.along, limbs.axis).transpose(-1, -2)
        angles = _euler_inside(before.transpose(-1, -2) @ wanted, limbs.order, limbs.bounds)
        bend = torch.atan2(hinge.norm(dim=-1), (upper * lower).sum(-1))
        found = torch.cat([angles.flatten(1)[:, limbs.free], limbs.sign * bend + limbs.straight], dim=1)
        known = torch.cat([seen.repeat_interleave(3, dim=1)[:, limbs.free], seen], dim=1)
        found = torch.clamp(found, model.lower[limbs.dofs], model.upper[limbs.dofs])
        pose.angles[:, limbs.dofs] = torch.where(known, found, pose.angles[:, limbs.dofs])


def pose_of_rotations(model: BodyModel, rotation: Tensor) -> Pose:
    """Return poses [...] nearly of local rotations [..., J, 3, 3], inside the range of motion, at the origin.

    Args:
        rotation: Of the root, its orientation.
    """
    frames = rotation.shape[:-3]
    flat = rotation.reshape(-1, *rotation.shape[-3:])
    order = model.chain.axis_order
    bounds = torch.tensor(model.skeleton.rom, device=model.device).gather(1, order[..., None].expand(-1, -1, 2))
    turns = _euler_inside(flat, order, bounds)
    full = torch.zeros_like(turns).scatter(2, order.expand_as(turns), turns)
    angles = torch.clamp(full[:, model.dof_joint, model.dof_axis], model.lower, model.upper)
    return Pose(torch.zeros_like(flat[:, 0, 0]), flat[:, 0], angles).reshape(*frames)


class _Limbs:
    """All L limbs of a body, for the tensors of frames.

    Attributes:
        ball, parent, begin, middle, end, along, axis, sign, straight: [L, ...] of :class:`~.limbs.Limb`.
        order: [L, 3] axes about which the ball joints turn, first to third; bounds: [L, 3, 2] their ranges, radians.
        free: Those of the 3 L that are free. dofs: Numbers of these angles, then of the L hinges'.
    """

    def __init__(self, model: BodyModel, limbs: Sequence[Limb]) -> None:
        skeleton, device = model.skeleton, model.device

        def to_device(values: object) -> Tensor:
            return torch.tensor(np.array(values), device=device)

        ball = np.array([limb.ball for limb in limbs], dtype=np.int64)
        order = np.array([["XYZ".index(axis) for axis in skeleton.euler_order[joint]] for joint in ball]).reshape(-1, 3)
        dofs = model.topology.dof[ball[:, None], order].ravel()
        self.ball, self.order = to_device(ball), to_device(order)
        self.parent = to_device([skeleton.parents[joint] for joint in ball])
        self.bounds = to_device(skeleton.rom[ball[:, None], order])
        self.free = to_device(np.flatnonzero(dofs >= 0))
        self.dofs = to_device(np.append(dofs[dofs >= 0], [limb.dof for limb in limbs]))
        self.begin, self.middle, self.end = (
            to_device([getattr(limb, name) for limb in limbs]) for name in ("begin", "middle", "end")
        )
        self.sign, self.straight = (to_device([getattr(limb, name) for limb in limbs]) for name in ("sign", "straight"))
        self.along, self.axis = (torch.stack([getattr(limb, name) for limb in limbs]) for name in ("along", "axis"))


def _euler_inside(local: Tensor, order: Tensor, bounds: Tensor) -> Tensor:
    """Return the angles [N, L, 3] of local rotations [N, L, 3, 3], of the two solutions the one nearer to the range.

    Args:
        order: [L, 3] axes, first to third, of the angles. bounds: [L, 3, 2] their ranges, radians.
    """
    first, second, third = order.unbind(-1)
    joint = torch.arange(len(order), device=order.device)
    parity = torch.where((second - first) % 3 == 1, 1.0, -1.0).to(local.dtype)
    # R = R_third R_second R_first
    middle = (-parity * local[:, joint, third, first]).clamp(-1.0, 1.0).asin()
    outer = torch.atan2(parity * local[:, joint, third, second], local[:, joint, third, third])
    inner = torch.atan2(parity * local[:, joint, second, first], local[:, joint, first, first])
    one = torch.stack([outer, middle, inner], dim=-1)
    other = torch.stack([outer + torch.pi, torch.pi - middle, inner + torch.pi], dim=-1)
    other = torch.remainder(other + torch.pi, 2 * torch.pi) - torch.pi
    outside = [
        (solution - torch.clamp(solution, bounds[..., 0], bounds[..., 1])).square().sum(-1) for solution in (one, other)
    ]
    return torch.where((outside[0] <= outside[1])[..., None], one, other)


def _from_nearest(turn: Tensor, known: Tensor, frames: int) -> Tensor:
    """Return rotations [N, 3, 3], those not known from the nearest frame of their clip that is; 1 where none is."""
    known = known.reshape(-1, frames)
    here = torch.arange(frames, device=turn.device)
    before, after = nearest_known(known)
    nearest = torch.where((here - before).abs() <= (after - here).abs(), before, after)
    first = frames * torch.arange(len(known), device=turn.device)[:, None]
    any_known = known.any(1, keepdim=True).expand_as(known).flatten()
    identity = torch.eye(3, dtype=turn.dtype, device=turn.device)
    return torch.where(any_known[:, None, None], turn[(first + nearest).flatten()], identity)


def _unit(vector: Tensor) -> Tensor:
    return vector / vector.norm(dim=-1, keepdim=True).clamp_min(1e-9)


def _frame(first: Tensor, second: Tensor) -> Tensor:
    """Return [..., 3, 3] frames with one axis along ``first`` and another as near as possible to ``second``."""
    one = _unit(first)
    two = _unit(second - one * (one * second).sum(-1, keepdim=True))
    return torch.stack([one, two, torch.linalg.cross(one, two)], dim=-1)
