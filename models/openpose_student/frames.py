# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames that the user brings, people that are known in them, and the crops that a lesson shows."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from video2rig.detection.openpose.layout import PARTS
from video2rig.errors import Video2RigError
from video2rig.frames import open_video


class LessonError(Video2RigError):
    """Frames or known people that cannot be used."""


class Clip(NamedTuple):
    """Frames [T,H,W,3] uint8 RGB of one video, and known people [T,P,18,2] px of these frames or None."""

    frames: Tensor
    people: Tensor | None


class Crops(NamedTuple):
    """Pictures [B,3,S,S] 0..255 and known people [B,P,18,2] px of them, NaN where nothing is known of a crop.

    `known` [B] says of which crops anything is known.
    """

    pictures: Tensor
    people: Tensor
    known: Tensor


def read_clip(path: Path, height: int, every: int = 1, truth: Path | None = None) -> Clip:
    """Every so many frames of a video or a folder of pictures, shrunk or enlarged to a height in pixels.

    `truth`: an .npz with `positions` [T,P,18,2], the parts of P people in every frame of the video, px of it, NaN where
    missing.

    Raises:
        VideoError: It cannot be read. LessonError: The known people do not fit.
    """
    source = open_video(path)
    factor = height / source.info.height
    size = (max(1, round(factor * source.info.width)), height)
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    frames = [
        cv2.resize(frame.image, size, interpolation=method) for frame in source.frames() if not frame.index % every
    ]
    people = None
    if truth is not None:
        people = _read_truth(truth, len(frames), every)
        people = (people + 0.5) * people.new_tensor([size[0] / source.info.width, factor]) - 0.5
    return Clip(torch.from_numpy(np.stack(frames)), people)


def _read_truth(path: Path, count: int, every: int) -> Tensor:
    try:
        with np.load(path, allow_pickle=False) as file:
            positions = file["positions"][::every]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise LessonError(f"{path}: no .npz with `positions` that can be read ({error})") from error
    if positions.ndim != 4 or positions.shape[0] != count or positions.shape[2:] != (len(PARTS), 2):
        raise LessonError(f"{path}: positions are {list(positions.shape)}, expected [{count},P,{len(PARTS)},2]")
    return torch.from_numpy(positions.astype(np.float32))


def draw_crops(
    clips: list[Clip], rows: Tensor, middles: Tensor, size: int, scales: tuple[float, float], random: torch.Generator
) -> Crops:
    """Turned, scaled and mirrored squares of `size` pixels.

    rows [B,2]: clip and frame of each; middles [B,2] px of the frame, anywhere in it where NaN. Scales are of the
    clips' own pixels, turns up to 0.5 rad; what lies outside of a frame is grey.
    """
    most = max((clip.people.shape[1] for clip in clips if clip.people is not None), default=0)
    pictures, people, known = [], [], []
    for (index, row), middle in zip(rows.tolist(), middles.tolist(), strict=True):
        frame, truth = clips[index].frames[row].numpy(), clips[index].people
        matrix, mirrored = _placement(frame.shape[1], frame.shape[0], middle, size, scales, random)
        picture = cv2.warpAffine(frame, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=(128, 128, 128))
        pictures.append(torch.from_numpy(picture))
        parts = torch.full((most, len(PARTS), 2), float("nan"))
        if truth is not None:
            transform = torch.from_numpy(matrix.astype(np.float32))
            moved = truth[row] @ transform[:, :2].T + transform[:, 2]
            parts[: len(moved)] = moved[:, _MIRRORED] if mirrored else moved
        people.append(parts)
        known.append(truth is not None)
    return Crops(torch.stack(pictures).permute(0, 3, 1, 2), torch.stack(people), torch.tensor(known))


_OTHER = {"left": "right", "right": "left"}
_MIRRORED = [PARTS.index("_".join(_OTHER.get(word, word) for word in part.split("_"))) for part in PARTS]


def _placement(
    width: int,
    height: int,
    chosen: list[float],
    size: int,
    scales: tuple[float, float],
    random: torch.Generator,
) -> tuple[np.ndarray, bool]:
    """An affine map [2,3] from a frame to a crop, and whether it mirrors."""
    u = torch.rand(5, generator=random).tolist()
    scale = scales[0] * (scales[1] / scales[0]) ** u[0]
    turn = 0.5 * (2 * u[1] - 1)
    mirrored = u[2] < 0.5
    c, s = scale * np.cos(turn), scale * np.sin(turn)
    linear = np.array([[-c if mirrored else c, -s], [-s if mirrored else s, c]])
    anywhere = np.array([u[3] * (width - 1), u[4] * (height - 1)])
    middle = np.where(np.isfinite(chosen), chosen, anywhere)
    return np.concatenate([linear, ((size - 1) / 2 - linear @ middle)[:, None]], 1), mirrored
