# SPDX-License-Identifier: GPL-3.0-or-later
"""The detector's own errors, measured on rendered people, for synthetic training data.

`detector_errors.npz` is made by `rendered/make.py`. Its arrays, C clips of `length` [C] frames at 30 Hz after one
another, N frames, K keypoints (`keypoints` [K], a part of ``blazepose_33``):
    truth [N, K, 2]: where the keypoints are in the picture, relative to the middle of the hips. error [N, K, 2]:
        detected minus true. Both in units of the person's apparent stature (stature * focal length / depth of the
        hips), x right, y down; 0 where nothing was detected. stature [N]: that unit, pixels.
    world_error [N, K, 3]: BlazePose's world landmarks minus the truth, both from the middle of the hips, metres,
        camera axes (x right, y down, z forward).
    confidence [N, K]: 0 to 255. detected [N]: whether anybody was. inside [N, K]: whether the picture holds the point.
    facing [N]: see `facing`, radians. elevation, field_of_view [C]: the camera's, radians, above the horizon and
        across the longer side. name, action, first_frame [C]: of the motion.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from video2rig.errors import Video2RigError
from video2rig.keypoints import KEYPOINT_SETS

FPS = 30.0
NAMES = tuple(name for name in KEYPOINT_SETS["blazepose_33"] if not any(part in name for part in ("eye", "mouth")))
"""The keypoints that have a place on the body: all of BlazePose's but those of eyes and mouth."""

MIRROR = tuple(
    NAMES.index(name.replace("left", "right") if "left" in name else name.replace("right", "left")) for name in NAMES
)
"""The keypoint [K] of the other side."""

LOWER = tuple(any(part in name for part in ("hip", "knee", "ankle", "heel", "toe")) for name in NAMES)
"""[K] whether a keypoint is one of the legs'; the others swap sides with the arms."""

PATH = Path(__file__).with_suffix(".npz")
OFFSETS = 9  # stretches of each clip to choose from
LARGEST = 0.25  # of the stature; what is further off is someone or something else than a keypoint
_APART, _NEARER = 0.05, 0.7  # when a frame counts as swapped: see `swapped`


class DetectorErrorsError(Video2RigError):
    """A file without the errors, or a request that they cannot serve."""


def facing(across: Tensor, place: Tensor) -> Tensor:
    """Return where a torso faces [...], radians: 0 into the camera, a quarter turn to the right of the picture.

    Args:
        across: [..., 3] from the torso's right to its left. place: [..., 3] its place. Both in camera axes.
    """
    turned = torch.atan2(across[..., 2], across[..., 0]) + torch.atan2(place[..., 0], place[..., 2])
    return torch.remainder(turned + torch.pi, 2 * torch.pi) - torch.pi


def swapped(truth: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Return [N, 2] whether arms, and whether legs, were taken for those of the other side.

    So they are where detected keypoints are nearer to the other side's, by a third or more, and the two are apart.

    Args:
        truth, error: [N, K, 2] as the file has them.
    """
    mirrored = truth[:, MIRROR]
    apart, wrong, crossed = (
        np.linalg.norm(gap, axis=-1) for gap in (truth - mirrored, error, truth + error - mirrored)
    )
    found = []
    for parts in (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle", "heel", "toe")):
        group = [any(part in name for part in parts) for name in NAMES]
        gap, straight, turned = (distance[:, group].mean(axis=1) for distance in (apart, wrong, crossed))
        found.append((gap > _APART) & (turned < _NEARER * straight))
    return np.stack(found, axis=1)


def straightened(truth: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the errors [N, K, 2] with left and right put right, and [N, K] where they were not."""
    arms, legs = swapped(truth, error).T
    crossed = np.where(LOWER, legs[:, None], arms[:, None])
    mirrored = truth[:, MIRROR] + error[:, MIRROR] - truth
    return np.where(crossed[..., None], mirrored, error), crossed


def clip_means(values: np.ndarray, detected: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Return the means [C, ...] of values [N, ...] over the detected frames of each clip; 0 where there are none."""
    begin = np.cumsum(length) - length
    weight = detected.reshape(-1, *(1,) * (values.ndim - 1)).astype(values.dtype)
    return np.add.reduceat(values * weight, begin) / np.add.reduceat(weight, begin).clip(min=1)


class ErrorSample(NamedTuple):
    """Errors for B sequences of T frames of the K keypoints `NAMES`, in units of the person's apparent stature.

    Attributes:
        error: [B, T, K, 2] without its constant part. constant: [B, K, 2] that part, which depends on what the
            detector takes for a joint. confidence: [B, T, K] from 0, nothing detected.
        swapped: [B, T, K] whether the other side's keypoint is reported.
        world_error: [B, T, K, 3] of the world landmarks, metres, camera axes, as they were measured.
    """

    error: Tensor
    constant: Tensor
    confidence: Tensor
    swapped: Tensor
    world_error: Tensor

    def detected(self, points: Tensor, stature: Tensor) -> Tensor:
        """Return what a detector would report [B, T, K, 2], pixels, without the constant part.

        Args:
            points: [B, T, K, 2] true keypoints, pixels. stature: [B, T] of the person, pixels.
        """
        reported = torch.where(self.swapped[..., None], points[..., MIRROR, :], points)
        return reported + self.error * stature[..., None, None]


class DetectorErrors:
    """Real error sequences, found by how the torso faces the camera.

    Attributes:
        random_scale: Range of the factor by which a sequence's random part is enlarged: its median is a little
            smaller than on three views of a real video (`rendered/README.md`).
        neighbours: From how many of the sequences that face most alike one is drawn.
        swap_share: Share of the sequences in which the detector confuses left and right for a while, with the
            `swap_seconds` (range) and the `swap_density`, the share of frames swapped in them. Renders have few; in
            one view of a real video (Pose2Sim's cam02) 0.6 s are so, three quarters of their frames swapped, legs and
            arms together, in runs of 0.06 s.
    """

    random_scale = (1.0, 1.6)
    neighbours = 8
    swap_share = 0.25
    swap_seconds = (0.2, 1.5)
    swap_density = 0.7
    swap_parts = ((True, True), (True, True), (False, True))
    """Arms, legs; one row is drawn for a sequence."""

    def __init__(
        self,
        error: Tensor,
        constant: Tensor,
        confidence: Tensor,
        world_error: Tensor,
        facing: Tensor,
        length: Tensor,
    ) -> None:
        """Take clips of `length` [C] frames one after another: error [N, K, 2] without its constant [C, K, 2],
        confidence [N, K], world_error [N, K, 3], facing [N]."""
        self.error, self.constant, self.confidence, self.world_error = error, constant, confidence, world_error
        self._direction = torch.stack([facing.cos(), facing.sin()])
        self._length, self._first = length, length.cumsum(0) - length
        self._mirror = torch.tensor(MIRROR, device=error.device)
        self._lower = torch.tensor(LOWER, device=error.device)
        self._of_length: dict[int, tuple[Tensor, Tensor]] = {}

    @classmethod
    def load(cls, path: Path = PATH, device: torch.device | str = "cpu") -> DetectorErrors:
        """Read the file; left and right are put right in frames in which they were swapped.

        Raises:
            DetectorErrorsError: It is not there, or not such a file.
        """
        try:
            with np.load(path, allow_pickle=False) as data:
                if tuple(data["keypoints"]) != NAMES:
                    raise DetectorErrorsError(f"{path}: its keypoints are not {', '.join(NAMES)}")
                truth, error, world, facing = (
                    data[key].astype(np.float32) for key in ("truth", "error", "world_error", "facing")
                )
                confidence, detected, length = data["confidence"], data["detected"], data["length"]
        except (OSError, KeyError, ValueError) as problem:
            raise DetectorErrorsError(f"{path}: no detector errors can be read from it ({problem})") from problem
        error = straightened(truth, error)[0].clip(-LARGEST, LARGEST)
        constant = clip_means(error, detected, length)
        error = np.where(detected[:, None, None], error - np.repeat(constant, length, axis=0), 0)
        arrays = (error, constant, confidence.astype(np.float32) / 255, world, facing, length)
        return cls(*(torch.tensor(array, device=device) for array in arrays))

    def sample(self, facing: Tensor, generator: torch.Generator | None = None) -> ErrorSample:
        """Draw errors for sequences at 30 Hz.

        Args:
            facing: [B, T] where the torsos face (`facing`), radians. generator: Of the same device.
        """
        count, frames = facing.shape
        device = facing.device
        index, direction = self._stretches(frames)
        clips = len(index)
        # likeness: the mean cosine of the angle between the two torsos, for each stretch as it is and mirrored
        wanted = torch.stack([facing.cos(), facing.sin()], dim=1) / frames
        parts = torch.einsum("bdt,cstd->dbcs", wanted, direction)
        like, offset = torch.stack([parts[0] + parts[1], parts[0] - parts[1]], dim=1).max(dim=-1)
        like, offset = like.flatten(1), offset.flatten(1)
        best = like.topk(min(self.neighbours, like.shape[1]), dim=1).indices
        drawn = best[torch.arange(count), torch.randint(best.shape[1], (count,), generator=generator, device=device)]
        mirrored, clip = drawn >= clips, drawn % clips
        rows = index[clip, offset[torch.arange(count), drawn]]

        low, high = self.random_scale
        scale = low + (high - low) * torch.rand(count, 1, 1, 1, generator=generator, device=device)
        return ErrorSample(
            self._turned(self.error[rows], mirrored) * scale,
            self._turned(self.constant[clip], mirrored),
            self._turned(self.confidence[rows][..., None], mirrored)[..., 0],
            self._swaps(count, frames, generator, device),
            self._turned(self.world_error[rows], mirrored),
        )

    def _stretches(self, frames: int) -> tuple[Tensor, Tensor]:
        """Return the frames [C, OFFSETS, T] of stretches of every clip, and their torsos' directions [C, OFFSETS, T,
        2]; a clip that is too short goes to and fro."""
        if frames not in self._of_length:
            device = self.error.device
            start = (self._length - frames).clamp(min=0)[:, None] * torch.linspace(0, 1, OFFSETS, device=device)
            time = start.round().long()[..., None] + torch.arange(frames, device=device)
            last = (self._length - 1)[:, None, None]
            time = last - (time % (2 * last).clamp(min=1) - last).abs()
            index = self._first[:, None, None] + time
            self._of_length[frames] = index, self._direction.T[index]
        return self._of_length[frames]

    def _turned(self, values: Tensor, mirrored: Tensor) -> Tensor:
        """Return values [B, ..., K, D] with left and right, and the sign of x, exchanged where `mirrored` [B]."""
        sign = torch.ones(values.shape[-1], device=values.device)
        if len(sign) > 1:
            sign[0] = -1
        where = mirrored.view(-1, *(1,) * (values.dim() - 1))
        return torch.where(where, values[..., self._mirror, :] * sign, values)

    def _swaps(self, count: int, frames: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
        """Return [B, T, K] the keypoints that are swapped: in one stretch of some sequences, on and off."""

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator, device=device)

        low, high = self.swap_seconds
        length = FPS * (low + (high - low) * uniform(count, 1))
        begin = uniform(count, 1) * (frames + length) - length
        time = torch.arange(frames, device=device)
        confused = (uniform(count, 1) < self.swap_share) & (time >= begin) & (time < begin + length)
        # the mean of neighbours, so that frames stay swapped for a few; ranked by its distribution (two uniforms)
        noise = uniform(count, frames + 1)
        mean = (noise[:, 1:] + noise[:, :-1]) / 2
        rank = torch.where(mean < 0.5, 2 * mean**2, 1 - 2 * (1 - mean) ** 2)
        on = confused & (rank < self.swap_density)
        parts = torch.tensor(self.swap_parts, device=device)
        arms, legs = parts[torch.randint(len(parts), (count,), generator=generator, device=device)].unbind(1)
        which = torch.where(self._lower, legs[:, None], arms[:, None])
        return on[..., None] & which[:, None]
