# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the solver starts: the trunk by rigid alignment, limbs in closed form from their two segments."""

from __future__ import annotations

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
        self._limbs = find_limbs(model)

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
        for limb in self._limbs:
            self._bend(limb, pose, spots, weight)
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

    def _bend(self, limb: Limb, pose: Pose, spots: Tensor, weight: Tensor) -> None:
        """Write into the angles of a pose those that point a limb as it was seen."""
        model = self._model
        upper, lower = (
            _unit(spots[:, two] - spots[:, one]) for one, two in ((limb.begin, limb.middle), (limb.middle, limb.end))
        )
        seen = (weight[:, [limb.begin, limb.middle, limb.end]] > 0).all(1)
        _, orientation = model.joints(pose)
        parent = model.skeleton.parents[limb.ball]
        before = orientation[:, parent] @ model.chain.rest_rotation[limb.ball]
        current = orientation[:, limb.ball] @ limb.axis
        wanted_axis = torch.linalg.cross(upper, lower) + _STRAIGHT * current
        wanted = _frame(upper, wanted_axis) @ _frame(limb.along, limb.axis).T
        local = before.transpose(1, 2) @ wanted
        bend = torch.atan2(torch.linalg.cross(upper, lower).norm(dim=-1), (upper * lower).sum(-1))
        angles = _euler_inside(model, limb.ball, local)
        for dof in (model.dof_joint == limb.ball).nonzero()[:, 0].tolist():
            axis = int(model.dof_axis[dof])
            pose.angles[:, dof] = torch.where(seen, angles[:, axis], pose.angles[:, dof])
        flexed = limb.sign * bend + limb.straight
        pose.angles[:, limb.dof] = torch.where(seen, flexed, pose.angles[:, limb.dof])
        pose.angles.copy_(torch.clamp(pose.angles, model.lower, model.upper))


def pose_of_rotations(model: BodyModel, rotation: Tensor) -> Pose:
    """Return poses [...] nearly of local rotations [..., J, 3, 3], inside the range of motion, at the origin.

    Args:
        rotation: Of the root, its orientation.
    """
    frames = rotation.shape[:-3]
    flat = rotation.reshape(-1, *rotation.shape[-3:])
    full = torch.stack([_euler_inside(model, joint, flat[:, joint]) for joint in range(flat.shape[1])], dim=1)
    angles = torch.clamp(full[:, model.dof_joint, model.dof_axis], model.lower, model.upper)
    return Pose(torch.zeros_like(flat[:, 0, 0]), flat[:, 0], angles).reshape(*frames)


def _euler_inside(model: BodyModel, joint: int, local: Tensor) -> Tensor:
    """Return the angles [T, 3] about x, y, z of local rotations, of the two solutions the one nearer to the range."""
    first, second, third = ("XYZ".index(axis) for axis in model.skeleton.euler_order[joint])
    parity = 1.0 if (second - first) % 3 == 1 else -1.0
    # R = R_third R_second R_first
    sine = (-parity * local[:, third, first]).clamp(-1.0, 1.0)
    middle = sine.asin()
    one = torch.zeros(len(local), 3, dtype=local.dtype, device=local.device)
    one[:, second] = middle
    one[:, first] = torch.atan2(parity * local[:, third, second], local[:, third, third])
    one[:, third] = torch.atan2(parity * local[:, second, first], local[:, first, first])
    other = one.clone()
    other[:, second] = torch.pi - middle
    other[:, first] += torch.pi
    other[:, third] += torch.pi
    other = torch.remainder(other + torch.pi, 2 * torch.pi) - torch.pi
    bounds = torch.tensor(model.skeleton.rom[joint], device=local.device)
    outside = [
        (solution - torch.clamp(solution, bounds[:, 0], bounds[:, 1])).square().sum(-1) for solution in (one, other)
    ]
    return torch.where((outside[0] <= outside[1])[:, None], one, other)


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
