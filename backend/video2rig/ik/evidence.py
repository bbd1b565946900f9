# SPDX-License-Identifier: GPL-3.0-or-later
"""What was observed, each kind with its own noise: where its residuals come from and how far to trust them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from . import dispatch, evidence_kernels, terms
from .model import as_arrays
from .terms import Rows


class _OverFrames:
    """Arrays whose leading dimensions are clips and frames, [B, T, ...]."""

    over_frames: ClassVar[tuple[str, ...]]
    term: ClassVar[Callable[..., Rows]]
    kernel: ClassVar[Callable[..., np.ndarray]]

    def mapped(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Return the same with a function applied to every such array."""
        return replace(self, **{name: function(getattr(self, name)) for name in self.over_frames})  # type: ignore[type-var]

    def at_zoom(self, zoom: Tensor) -> Self:
        """Return the same for a focal length that is given; only what is seen in a picture depends on it."""
        return self

    def told(self, zoom: Tensor | None) -> tuple[Tensor, ...]:
        """Return what the term asks for besides the features."""
        raise NotImplementedError

    def rows(self, features: Tensor, zoom: Tensor | None) -> Rows:
        """Return the residuals of those features [B, T, P, 3] that are observed."""
        return type(self).term(features, *self.told(zoom))

    def gather(self, features: Tensor, zoom: Tensor | None, scale: float, pull: Tensor, information: Tensor) -> Tensor:
        """Do :func:`terms.gather` with what is observed of all features [B, T, F, 3]."""
        where: slice = self.where  # type: ignore[attr-defined]
        if not dispatch.is_compiled(pull.device):
            seen, *added = (array[:, :, where] for array in (features, pull, information))
            return terms.gather(self.rows(seen, zoom), scale, *added)
        told = self._told if zoom is None else as_arrays(*self.told(zoom))
        arrays = pull.numpy(), information.numpy()
        return torch.from_numpy(type(self).kernel(features.numpy(), where.start, *told, scale, *arrays))

    @cached_property
    def _told(self) -> tuple[np.ndarray, ...]:
        return as_arrays(*self.told(None))


class _Noisy(_OverFrames):
    """Observations with a noise that is estimated, one for all clips or one for each."""

    axes_of_noise: ClassVar[int] = 0
    confidence: Tensor
    deviation: Tensor
    least_deviation: Tensor

    def mapped(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Return the same with a function applied to every array over clips and frames."""
        mapped = super().mapped(function)
        if self.deviation.ndim == self.axes_of_noise:
            return mapped
        return replace(mapped, deviation=function(self.deviation))  # type: ignore[type-var]

    def of_clips(self, deviation: Tensor) -> Self:
        """Return the same with the deviation of each clip, [B, ...] or [1, ...]."""
        frames = self.confidence.shape[:2]
        return replace(self, deviation=deviation[:, None].expand(*frames, *deviation.shape[1:]))  # type: ignore[type-var]

    def rescaled(self, factor: Tensor) -> Self:
        """Return the same with the deviations of clips times [B] or [1] factors, and outliers bounded from now on."""
        each = self.deviation[None] if self.deviation.ndim == self.axes_of_noise else self.deviation[:, 0]
        each = (each * factor.reshape(-1, *[1] * self.axes_of_noise)).maximum(self.least_deviation)
        return replace(self.of_clips(each), robust=True)  # type: ignore[type-var]


@dataclass(frozen=True)
class Positions(_Noisy):
    """Points seen in 3D, of B clips of T frames.

    Attributes:
        target: [B, T, K, 3] metres. confidence: [B, T, K], 0 where a point was not seen.
        deviation: [], or [B, T] where clips differ, standard deviation of a fully trusted coordinate, metres;
            least_deviation: [] below which no estimate may bring it.
        robust: Whether outliers are bounded.
    """

    target: Tensor
    confidence: Tensor
    deviation: Tensor
    least_deviation: Tensor
    robust: bool = True
    over_frames: ClassVar[tuple[str, ...]] = ("target", "confidence")
    term, kernel = terms.positions, evidence_kernels.positions

    @property
    def where(self) -> slice:
        """The features that are observed: the points."""
        return slice(0, self.target.shape[2])

    def told(self, zoom: Tensor | None) -> tuple[Tensor, ...]:
        """Return what :func:`terms.positions` asks for."""
        return self.target, self.weight

    @cached_property
    def weight(self) -> Tensor:
        """Inverse standard deviations [B, T, K]."""
        return self.confidence / self.deviation[..., None]

    def by_zoom(self, rows: Rows, zoom: Tensor | None) -> None:
        """Return None: no camera is involved."""


@dataclass(frozen=True)
class Rays(_Noisy):
    """Points seen in a picture, of B clips of T frames.

    Attributes:
        rays: [B, T, K, 2] x / z and y / z under the expected focal length. confidence: [B, T, K].
        depth: [B, T] rough distance along the camera's axis, metres; it turns an error in metres into an angle.
        deviation: [], or [B, T] where clips differ, standard deviation of a fully trusted point, metres at the
            person; least_deviation: [] below which no estimate may bring it.
        robust: Whether outliers are bounded.
    """

    rays: Tensor
    confidence: Tensor
    depth: Tensor
    deviation: Tensor
    least_deviation: Tensor
    robust: bool = True
    over_frames: ClassVar[tuple[str, ...]] = ("rays", "confidence", "depth")
    term, kernel = terms.reprojection, evidence_kernels.rays

    @property
    def where(self) -> slice:
        """The features that are observed: the points."""
        return slice(0, self.rays.shape[2])

    def told(self, zoom: Tensor | None) -> tuple[Tensor, ...]:
        """Return what :func:`terms.reprojection` asks for."""
        return self._zoomed(zoom), self._weight(zoom)

    def by_zoom(self, rows: Rows, zoom: Tensor | None) -> Tensor:
        """Return the derivative [B, T, K, 2] of residuals by the logarithm of the focal length's factor."""
        return terms.reprojection_by_zoom(rows, self._zoomed(zoom), self._weight(zoom))

    def at_zoom(self, zoom: Tensor) -> Rays:
        """Return the same for a focal length that is given: with the logarithms [B] of its factors."""
        return replace(self, rays=self._zoomed(zoom), depth=self.depth * zoom.exp()[:, None])

    def _zoomed(self, zoom: Tensor | None) -> Tensor:
        return self.rays if zoom is None else self.rays * (-zoom).exp()[:, None, None, None]

    def _weight(self, zoom: Tensor | None) -> Tensor:
        """Return inverse standard deviations of rays; of given pixels, which a longer focal length turns into less."""
        weight = self.confidence * self.depth[..., None] / self.deviation[..., None]
        return weight if zoom is None else weight * zoom.exp()[:, None, None]


@dataclass(frozen=True)
class Directions(_Noisy):
    """Directions of segments, of B clips of T frames.

    Attributes:
        first: Number of the feature that the first segment is.
        direction: [B, T, P, 3] unit vectors. confidence: [B, T, P].
        deviation: [3], or [B, T, 3] where clips differ, standard deviation along each axis, metres at a segment's
            end; least_deviation: [3] below which no estimate may bring it.
        robust: Whether outliers are bounded.
    """

    first: int
    direction: Tensor
    confidence: Tensor
    deviation: Tensor
    least_deviation: Tensor
    robust: bool = True
    over_frames: ClassVar[tuple[str, ...]] = ("direction", "confidence")
    axes_of_noise: ClassVar[int] = 1
    term, kernel = terms.directions, evidence_kernels.directions

    @property
    def where(self) -> slice:
        """The features that are observed: the differences of pairs."""
        return slice(self.first, self.first + self.direction.shape[2])

    def told(self, zoom: Tensor | None) -> tuple[Tensor, ...]:
        """Return what :func:`terms.directions` asks for."""
        return self.direction, self.confidence[..., None] / self.deviation[..., None, :]

    def by_zoom(self, rows: Rows, zoom: Tensor | None) -> None:
        """Return None: directions are taken as they are."""


@dataclass(frozen=True)
class Contacts(_OverFrames):
    """Points that rest on the floor keep their places, and none sinks below it; B clips of T frames.

    Attributes:
        axes: [3, 3] the world's axes, one a row. target: [B, T, K, 3] place along each, metres.
        weight: [B, T, K, 3] inverse standard deviation, 1/metres; 0 where a point is free.
    """

    axes: Tensor
    target: Tensor
    weight: Tensor
    robust: ClassVar[bool] = False
    deviation: ClassVar[None] = None
    over_frames: ClassVar[tuple[str, ...]] = ("target", "weight")
    term, kernel = terms.contact, evidence_kernels.contacts

    @property
    def where(self) -> slice:
        """The features that are held: the points."""
        return slice(0, self.target.shape[2])

    def told(self, zoom: Tensor | None) -> tuple[Tensor, ...]:
        """Return what :func:`terms.contact` asks for."""
        return self.axes, self.target, self.weight

    def by_zoom(self, rows: Rows, zoom: Tensor | None) -> None:
        """Return None: the floor is where it is."""


@dataclass(frozen=True)
class Floor(_OverFrames):
    """No point sinks below the floor.

    Attributes:
        up: [3] unit vector. level: [K] height that each point keeps along it, metres. weight: [K], 1/metres.
    """

    up: Tensor
    level: Tensor
    weight: Tensor
    robust: ClassVar[bool] = False
    deviation: ClassVar[None] = None
    over_frames: ClassVar[tuple[str, ...]] = ()
    term, kernel = terms.floor, evidence_kernels.floor

    @property
    def where(self) -> slice:
        """The features that stay above it: the points."""
        return slice(0, len(self.level))

    def told(self, zoom: Tensor | None) -> tuple[Tensor, ...]:
        """Return what :func:`terms.floor` asks for."""
        return self.up, self.level, self.weight

    def by_zoom(self, rows: Rows, zoom: Tensor | None) -> None:
        """Return None: the floor is where it is."""


Evidence = Positions | Rays | Directions | Contacts | Floor
"""Observations of some of a body's features, which :attr:`where` tells; ``deviation`` is None where no noise is
to be estimated."""
