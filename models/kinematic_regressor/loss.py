# SPDX-License-Identifier: GPL-3.0-or-later
"""What the network is trained for: joints through the kinematic layer, rotations, calm, and honest doubt."""

from __future__ import annotations

import roma
import torch
from torch import Tensor

from video2rig.regression.hypotheses import LIMBS
from video2rig.regression.motion_parameters import MotionParameters
from video2rig.regression.network import Prediction
from video2rig.skeleton import Skeleton

from .batches import Batch, Bodies

SCALES = {"joints": 10.0, "speed": 10.0, "local": 2.5, "global": 0.5, "doubt": 0.02, "others": 0.1}
"""Of the parts: a metre, a metre a frame, Frobenius norms between rotations, a likelihood, a Frobenius norm."""

_ROOT_COUNTS = 2.0
_ALL_LEARN = 0.05  # share of the alternatives' loss that goes to all of them, so that none is left untrained
_EVERY = 4  # frames: doubt and alternatives are learnt from every fourth
_SUREST = 0.01  # radians: about an axis that a joint has not, nothing is ever wrong, and doubt would fall for ever


class Loss:
    """The loss of the regression network, and its parts for a curve."""

    def __init__(
        self,
        skeleton: Skeleton,
        parameters: MotionParameters,
        bodies: Bodies,
        scales: dict[str, float] = SCALES,
    ) -> None:
        self._parameters, self._bodies, self._scales = parameters, bodies, scales
        self._limbs = [torch.tensor([skeleton.index(role) for role in limb]) for limb in LIMBS]

    def __call__(self, said: Prediction, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Return the loss, and its parts: joints in metres, rotations as Frobenius norms."""
        rotation = self._parameters.rotations(said.parameters)
        joints, points, turned = self._bodies.places(rotation, batch.offset, batch.site_offset)
        weight = batch.trust.clone()
        weight[..., 0] *= _ROOT_COUNTS
        parts = _of_places(torch.cat([joints, points], -2), batch) | {
            "local": (_frobenius(rotation - batch.rotation) * weight).mean(),
            "global": (_frobenius(turned - batch.turned) * batch.trust).mean(),
            "doubt": self._doubt(said.log_deviation, rotation, batch),
            "others": self._others(said, rotation, batch),
        }
        return _total(parts, self._scales)

    @staticmethod
    def _doubt(log_deviation: Tensor, rotation: Tensor, batch: Batch) -> Tensor:
        """Return the negative log likelihood of what is wrong, which is not learnt from here."""
        wrong = rotation.detach()[:, ::_EVERY].transpose(-1, -2) @ batch.rotation[:, ::_EVERY]
        error = roma.rotmat_to_rotvec(wrong)
        log_deviation = log_deviation[:, ::_EVERY]
        likelihood = 0.5 * (error.square() + _SUREST**2) * (-2 * log_deviation).exp() + log_deviation
        return (likelihood * batch.trust[:, ::_EVERY, :, None]).mean()

    def _others(self, said: Prediction, rotation: Tensor, batch: Batch) -> Tensor:
        """Return how far each limb is from the nearest answer, the prediction among them (winner takes all)."""
        others = self._parameters.rotations(said.alternatives[:, ::_EVERY])
        answers = torch.cat([rotation.detach()[:, ::_EVERY, None], others], dim=2)
        wrong = _frobenius(answers - batch.rotation[:, ::_EVERY, None]) * batch.trust[:, ::_EVERY, None]
        of_limb = torch.stack([wrong[..., limb].mean(-1) for limb in self._limbs], dim=-1)
        return (1 - _ALL_LEARN) * of_limb.amin(2).mean() + _ALL_LEARN * of_limb[:, :, 1:].mean()


def joint_loss(said: Prediction, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Return the loss of a network whose parameters are joints and points themselves, [B, T, (J + P) * 3]."""
    return _total(_of_places(said.parameters.unflatten(-1, (-1, 3)), batch), SCALES)


def _of_places(places: Tensor, batch: Batch) -> dict[str, Tensor]:
    truth = torch.cat([batch.joints, batch.points], -2)
    return {
        "joints": _length(places - truth).mean(),
        "speed": _length(places.diff(dim=1) - truth.diff(dim=1)).mean(),
    }


def _total(parts: dict[str, Tensor], scales: dict[str, float]) -> tuple[Tensor, dict[str, float]]:
    total = torch.stack([scales[name] * part for name, part in parts.items()]).sum()
    return total, {name: part.item() for name, part in parts.items()}


def _length(vector: Tensor) -> Tensor:
    return (vector.square().sum(-1) + 1e-6).sqrt()


def _frobenius(matrix: Tensor) -> Tensor:
    return (matrix.square().sum((-1, -2)) + 1e-6).sqrt()
