# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of frames as networks take them: whole frames and tiles in a letterbox, turned square crops of one person.

Pixels are indices: (0, 0) is the middle of the first pixel. A crop's own coordinates run from 0 to 1 over its edge, and
crop pixel i of n samples the image at i / n. Batches are everywhere the leading dimension; frames come in as uint8.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

TILE_ASPECT = 1.3
MAX_TILES = 5
MAX_FINE = {2: 45, 4: 120}  # windows, by the parts of the short edge
WARP_MAX_SIDE = 32766  # px; OpenCV's warp counts in 16 bits


class Roi(NamedTuple):
    """Turned squares of an image: centre [R,2] px, edge length [R] px, angle [R] rad (clockwise on the screen)."""

    centre: Tensor
    size: Tensor
    angle: Tensor

    def moved(self, shift: tuple[float, float] = (0.0, 0.0), scale: float = 1.0, turn: float = 0.0) -> Roi:
        """Shifted by a part of the edge (along the image's axes), scaled, and turned by radians."""
        offset = self.centre.new_tensor(shift) * self.size[:, None]
        return Roi(self.centre + offset, self.size * scale, self.angle + turn)


def roi_of_circles(circles: Tensor, margin: float) -> Roi:
    """The upright squares around circles [R,4] px (hip centre, arm to the edge), `margin` times as large as they."""
    hip, arm = circles[:, :2], circles[:, 2:]
    angle = math.pi / 2 - torch.atan2(-arm[:, 1], arm[:, 0])
    angle = torch.remainder(angle + math.pi, 2 * math.pi) - math.pi
    return Roi(hip, 2 * margin * arm.norm(dim=-1), angle)


def turn(vectors: Tensor, angle: Tensor) -> Tensor:
    """Vectors [R,K,2] (x right, y down) turned by angle [R], clockwise on the screen."""
    cosine, sine = torch.cos(angle)[:, None], torch.sin(angle)[:, None]
    x, y = vectors[..., 0], vectors[..., 1]
    return torch.stack([cosine * x - sine * y, sine * x + cosine * y], -1)


def crop_to_image(points: Tensor, roi: Roi) -> Tensor:
    """Points [R,K,2] of the crop (0..1) -> px of the image."""
    return roi.centre[:, None] + turn(points - 0.5, roi.angle) * roi.size[:, None, None]


def mirror(points: Tensor) -> Tensor:
    """Points [R,K,2] of a crop (0..1) in the mirrored crop, and back."""
    return torch.stack([1 - points[..., 0], points[..., 1]], -1)


def sample_crops(images: Tensor, roi: Roi, frame: Tensor, n: int, mirrored: bool = False) -> Tensor:
    """Crops [R,3,n,n] in 0..1 of images [B,H,W,3] uint8, bilinear, black outside; frame [R] picks the image.

    `mirrored` swaps the crop's left and right. Only the pixels that are needed are read, so that no frame is ever
    converted to floats as a whole.
    """
    count, height, width, _ = images.shape
    step = torch.arange(n, device=images.device) / n
    v, u = torch.meshgrid(step, step, indexing="ij")
    grid = torch.stack([u, v], -1).reshape(1, -1, 2).expand(len(frame), -1, -1)
    where = crop_to_image(mirror(grid) if mirrored else grid, roi)  # [R,n*n,2]
    low = where.floor()
    part = where - low
    flat = images.reshape(count * height * width, 3)
    total = torch.zeros(len(frame), n * n, 3, device=images.device)
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        x, y = low[..., 0] + dx, low[..., 1] + dy
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        weight = (part[..., 0] if dx else 1 - part[..., 0]) * (part[..., 1] if dy else 1 - part[..., 1]) * inside
        x, y = x.clamp(0, width - 1).long(), y.clamp(0, height - 1).long()
        total += weight[..., None] * flat[(frame[:, None] * height + y) * width + x]
    return (total / 255).reshape(len(frame), n, n, 3).permute(0, 3, 1, 2)


def warp_crop(image: np.ndarray, roi: Roi, n: int, mirrored: bool = False) -> Tensor:
    """`sample_crops` of one crop on the CPU, ten times as fast: image [H,W,3] uint8, a Roi of one -> [1,3,n,n].

    OpenCV rounds places to 1/32 px and colours to bytes.
    """
    if max(image.shape[:2]) > WARP_MAX_SIDE:
        return sample_crops(torch.from_numpy(image)[None], roi, torch.zeros(1, dtype=torch.long), n, mirrored)
    x, y, size, angle = *roi.centre[0].tolist(), float(roi.size[0]), float(roi.angle[0])
    c, s = size / n * math.cos(angle), size / n * math.sin(angle)
    to_image: np.ndarray = np.array([[c, -s, x - (c - s) * n / 2], [s, c, y - (s + c) * n / 2]])
    if mirrored:
        to_image = np.column_stack([-to_image[:, 0], to_image[:, 1], to_image[:, 2] + n * to_image[:, 0]])
    crop = cv2.warpAffine(image, to_image, (n, n), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    # bytes with the channels last, as the network likes its input
    return torch.from_numpy(crop)[None].float().div_(255).permute(0, 3, 1, 2)


def letterbox_frame(height: int, width: int) -> tuple[float, np.ndarray]:
    """Edge in px of the square around a frame, and the px of its corner [2] (x, y)."""
    edge = float(max(height, width))
    return edge, np.array([(width - edge) / 2, (height - edge) / 2])


def letterbox(images: Tensor, n: int) -> Tensor:
    """[B,H,W,3] uint8 -> [B,3,n,n] in -1..1, the whole frame in the middle, the border -1 (black).

    Shrinks with an antialiasing filter, unlike MediaPipe: on a 1768-pixel wide video of small people it finds someone
    in 193 frames instead of 166 of 230, and its points shake less.
    """
    _, height, width, _ = images.shape
    edge, _ = letterbox_frame(height, width)
    size = max(1, round(height * n / edge)), max(1, round(width * n / edge))
    frames = images.permute(0, 3, 1, 2)
    if frames.device.type != "cpu":
        frames = frames.float()  # the filter takes bytes on the CPU alone, where that is much faster
    small = functional.interpolate(frames, size=size, mode="bilinear", antialias=True, align_corners=False)
    top, left = (n - size[0]) // 2, (n - size[1]) // 2
    pad = (left, n - size[1] - left, top, n - size[0] - top)
    return functional.pad(small.float() / 127.5 - 1, pad, value=-1.0)


def tile_windows(height: int, width: int, least: int) -> list[tuple[int, int, int, int]]:
    """Squares (left, top, right, bottom) of the frame's short edge, overlapping by half or more, along the long one.

    None where the frame is square enough for the whole one to show as much, or its short edge is less than `least` px;
    never more than MAX_TILES.
    """
    short, long = min(height, width), max(height, width)
    if short < least or long < TILE_ASPECT * short:
        return []
    count = min(MAX_TILES, 1 + math.ceil(2 * (long - short) / short))
    starts = [round(k * (long - short) / (count - 1)) for k in range(count)]
    return [(s, 0, s + short, short) if width > height else (0, s, short, s + short) for s in starts]


def fine_windows(height: int, width: int, least: int, parts: int = 2) -> list[tuple[int, int, int, int]]:
    """Squares of a half or a quarter (2 or 4 `parts`) of the frame's short edge all over it, overlapping by half or
    more.

    None where they would be less than `least` px wide, or more than MAX_FINE.
    """
    edge = min(height, width) // parts
    if edge < least:
        return []
    rows, columns = (1 + math.ceil(2 * (side - edge) / edge) for side in (height, width))
    if rows * columns > MAX_FINE[parts]:
        return []
    tops, lefts = (
        [round(k * (side - edge) / (count - 1)) for k in range(count)]
        for side, count in ((height, rows), (width, columns))
    )
    return [(left, top, left + edge, top + edge) for top in tops for left in lefts]
