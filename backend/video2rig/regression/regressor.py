# SPDX-License-Identifier: GPL-3.0-or-later
"""From a person's keypoints over time to rotations of the default human, and how sure each is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..camera import Camera
from ..human import default_human
from ..keypoints import Keypoints
from ..skeleton import Skeleton
from .features import features
from .motion_parameters import MotionParameters
from .network import RATE, RegressionError, TemporalNetwork, load
from .points import known_of, rays_of
from .proportions import SEGMENTS, proportions

_WINDOW = 2048
"""Frames that are predicted at once; windows overlap by what the network sees of a frame's past and future, so that
the answer does not depend on them."""


@dataclass(frozen=True, eq=False)
class Regression:
    """What the network says of T frames.

    Attributes:
        skeleton: The default human, whose joints the rotations are of.
        rotation: [T, J, 3, 3] local rotations; the root's as in `skeleton.py`, in the camera's axes.
        deviation: [T, J, 3] standard deviations about each joint's own axes, radians.
        alternatives: [T, H, J, 3, 3] other answers; those of a limb's joints may be the true ones. None, H = 0, where
            they were not asked for.
    """

    skeleton: Skeleton
    rotation: np.ndarray
    deviation: np.ndarray
    alternatives: np.ndarray


class Regressor:
    """The trained network, ready for keypoints of any set at any frame rate."""

    def __init__(
        self, network: TemporalNetwork, device: torch.device | str = "cpu", with_alternatives: bool = False
    ) -> None:
        self.skeleton = default_human()
        self._network, self._device = network, device
        self._alternatives = network.shape.alternatives if with_alternatives else 0
        self._parameters = MotionParameters(self.skeleton, device)
        self._reach = sum(network.shape.dilations)
        self._rest = torch.tensor(self.skeleton.rest_rotation[0], dtype=torch.float32, device=device)

    @classmethod
    def load(cls, path: Path, device: torch.device | str = "cpu", with_alternatives: bool = False) -> Regressor:
        """Read weights.

        Args:
            with_alternatives: Whether other answers for limbs are wanted, which take a third of the time.

        Raises:
            RegressionError: The file holds none, or those of another version.
        """
        return cls(load(path, default_human(), device), device, with_alternatives)

    def predict(
        self, keypoints: Keypoints, camera: Camera, body: Skeleton | None = None, focal_known: bool = True
    ) -> Regression:
        """Return rotations of all frames.

        Frames in which nobody was seen get what those around them suggest, with a larger deviation.

        Args:
            keypoints: T frames. camera: Its optics are used.
            body: A skeleton with the person's proportions, if they are known.
            focal_known: Whether the camera's focal length is more than a guess.

        Raises:
            RegressionError: There is no frame, or the network knows none of the keypoints.
        """
        if not len(keypoints.times):
            raise RegressionError("regression: there is no frame to predict")
        if not len(known_of(keypoints.names)[0]):
            raise RegressionError(f"regression: the network knows none of the keypoints of {keypoints.set_name!r}")
        rays, confidence = rays_of(keypoints, camera)
        told = torch.zeros(len(SEGMENTS)) if body is None else torch.tensor(proportions(body), dtype=torch.float32)
        told = told - told.mean()  # a child near by looks like an adult far away
        known = torch.tensor([float(body is not None), float(focal_known)])
        with torch.inference_mode():
            parts = self._at_rate(torch.tensor(rays), torch.tensor(confidence), keypoints.times, told, known)
        rotation, deviation, alternatives = (part.double().cpu().numpy() for part in parts)
        return Regression(self.skeleton, rotation, deviation, alternatives)

    def _at_rate(
        self, rays: Tensor, confidence: Tensor, times: np.ndarray, told: Tensor, known: Tensor
    ) -> tuple[Tensor, ...]:
        """Predict frames as nearly as possible at the network's own rate: a fast video as several that interleave, a
        slow one with frames in between."""
        rate = 1.0 / float(np.median(np.diff(times))) if len(times) > 1 else RATE
        between, stride = max(1, round(RATE / rate)), min(max(1, round(rate / RATE)), len(times))
        if between > 1:
            rays, confidence = _with_frames_between(rays, confidence, between)
        parts = [self._predict(rays[phase::stride], confidence[phase::stride], told, known) for phase in range(stride)]
        if stride > 1:
            order = torch.argsort(torch.cat([torch.arange(phase, len(rays), stride) for phase in range(stride)]))
            return tuple(torch.cat(part)[order] for part in zip(*parts, strict=True))
        return tuple(part[::between] for part in parts[0])

    def _predict(self, rays: Tensor, confidence: Tensor, told: Tensor, known: Tensor) -> tuple[Tensor, ...]:
        """Predict frames of one rate, window by window; the windows' answers are those of the whole."""
        parts = []
        for begin in range(0, len(rays), _WINDOW):
            first = max(0, begin - self._reach)
            window = slice(first, begin + _WINDOW + self._reach)
            inside = slice(begin - first, begin - first + min(_WINDOW, len(rays) - begin))
            predicted = self._window(rays[window], confidence[window], told, known)
            parts.append([part[inside] for part in predicted])
        return tuple(torch.cat(part) for part in zip(*parts, strict=True))

    def _window(self, rays: Tensor, confidence: Tensor, told: Tensor, known: Tensor) -> list[Tensor]:
        rays, confidence, told, known = (
            part.to(self._device, torch.float32)[None] for part in (rays, confidence, told, known)
        )
        read, turn = features(rays, confidence, told, known[:, 0], known[:, 1])
        said = self._network(read)
        rotation = self._parameters.rotations(said.parameters, bounded=True)
        others = self._parameters.rotations(said.alternatives[..., : self._alternatives, :], bounded=True)
        # from the camera turned to the torso to the camera's own axes
        back = self._rest.T @ turn.transpose(-1, -2) @ self._rest
        rotation[..., 0, :, :] = back @ rotation[..., 0, :, :]
        others[..., 0, :, :] = rotation[..., None, 0, :, :]
        return [rotation[0], said.log_deviation[0].exp(), others[0]]


def _with_frames_between(rays: Tensor, confidence: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return frames [(T - 1) * count + 1] with interpolated ones between; what one neighbour lacks is lacking."""
    time = torch.arange((len(rays) - 1) * count + 1, dtype=rays.dtype) / count
    before = time.long().clamp(max=max(0, len(rays) - 2))
    after = (before + 1).clamp(max=len(rays) - 1)
    share = (time - before)[:, None]
    mixed = torch.lerp(confidence[before], confidence[after], share)
    lost = ((confidence[before] == 0) & (share < 1)) | ((confidence[after] == 0) & (share > 0))
    return torch.lerp(rays[before], rays[after], share[..., None]), torch.where(lost, 0.0, mixed)
