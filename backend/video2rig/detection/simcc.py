# SPDX-License-Identifier: GPL-3.0-or-later
"""RTMPose and RTMW: keypoints of one person in a box, said as two rows of bins a keypoint, one for x and one for y.

Li et al., "SimCC: a Simple Coordinate Classification Perspective for Human Pose Estimation" (2022); Jiang et al.,
"RTMPose: Real-Time Multi-Person Pose Estimation based on MMPose" (2023); Jiang et al., "RTMW: Real-Time Multi-Person 2D
and 3D Whole-body Pose Estimation" (2024). Models are ONNX files, as OpenMMLab's deployment tools write them, with the
input `input` [B,3,H,W] and the outputs `simcc_x` [B,K,2W] and `simcc_y` [B,K,2H]; see `onnx_session.py`.

Crop pixel (x, y) of width W and height H samples the image at the box's own (x / W, y / H), as in the training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..keypoints import KEYPOINT_SETS
from .blazepose import BlazePose
from .circles import radius, same_body
from .crops import Roi, crop_to_image, roi_of_circles, sample_crops, warp_crop
from .detector import People
from .keypoint_circles import circles as circles_of
from .onnx_session import OnnxError, OnnxSession
from .tracking import MIN_PERSON

MEAN, DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of red, green and blue, 0..255
SPLIT = 2  # bins a pixel of the crop
PADDING = 1.25  # a box of the training is so much higher than the person
REACH = 2  # bins beside the highest one from which its place between bins is read
SEEN = 0.3  # keypoints that are less sure say nothing of where the body is (as RTMPose's own tools have it)
NOWHERE = 1e-3  # confidence of a keypoint that the network sees nowhere; its place is where it would rather have it
SETTLED = 0.15  # in radii: keypoints that move a circle further are taken again, in the circle that they gave
SAME_PERSON = 0.15  # mean distance of the keypoints, in radii of the circle, below which two are one person
CPU_BATCH, GPU_BATCH = 4, 32

Finder = Callable[[Tensor, bool], list[np.ndarray]]
"""images [B,H,W,3], and whether to look for small people too -> circles [N,4] px of the people of each frame."""


class SimCCError(OnnxError):
    """A file that is not the network it should be."""


@dataclass(frozen=True)
class Shape:
    """What a network of this kind takes and says.

    Attributes:
        keypoint_set: A key of `keypoints.KEYPOINT_SETS`. width, height: Of its input, pixels.
        peak: What the highest bin of a keypoint that is surely there holds. RTMPose was trained to say a Gaussian of
            height 1 (its loss multiplies logits by 10, as it does labels). RTMW's loss multiplies labels alone: up to
            10, and 3 to 8 for joints in view, as users of it tell.
    """

    keypoint_set: str
    width: int
    height: int
    peak: float = 1.0

    @property
    def count(self) -> int:
        """How many keypoints, K."""
        return len(KEYPOINT_SETS[self.keypoint_set])


class SimCC:
    """One of these networks, with what finds people for it: a `TilingDetector` and a `MirroringDetector`.

    Attributes:
        shape: What it takes and says. keypoint_set: The set whose order its keypoints have.
    """

    def __init__(self, session: OnnxSession, shape: Shape, finder: Finder) -> None:
        """Take a network.

        Raises:
            SimCCError: It takes or says something else than `shape`.
        """
        check(session, shape)
        self.shape, self.keypoint_set = shape, shape.keypoint_set
        self._session, self._finder = session, finder
        names = KEYPOINT_SETS[shape.keypoint_set]
        body = set(KEYPOINT_SETS["coco_17"])
        self._body = [k for k, name in enumerate(names) if name in body]
        self._twins = [names.index(_other_side(name)) for name in names]

    @classmethod
    def load(cls, path: Path, shape: Shape, device: torch.device | str = "cpu", finder: Finder | None = None) -> SimCC:
        """Read a network; people are found with BlazePose's detector unless told otherwise.

        Raises:
            OnnxError: onnxruntime is absent, or cannot compute on the device, or cannot read the file.
            SimCCError: The file is another model.
            WeightsError: Those of BlazePose are nowhere.
        """
        session = OnnxSession(path, device)
        return cls(session, shape, finder or blazepose_finder(BlazePose.load(device)))

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self._session.device

    @property
    def batch(self) -> int:
        """Crops a network call that suit the device."""
        return CPU_BATCH if self.device.type == "cpu" else GPU_BATCH

    def find(self, images: Tensor) -> list[People]:
        """images [B,H,W,3] uint8 RGB on `device` -> the people of each frame, best first."""
        return self._people(images, self._finder(images, False))

    def find_small(self, images: Tensor) -> list[People]:
        """Also those who are too small in the whole frame, which takes the finder several times as long."""
        return self._people(images, self._finder(images, True))

    def _people(self, images: Tensor, found: list[np.ndarray]) -> list[People]:
        """Keypoints of everyone; a finder's circle is rough: they are taken again where they disagree with it."""
        frame = np.repeat(np.arange(len(found)), [len(circles) for circles in found])
        circles = np.concatenate([np.zeros((0, 4)), *found])
        people = self._look_from(images, circles, frame)
        moved = ~same_body(circles, people.circle, SETTLED) & (people.score >= MIN_PERSON)
        if moved.any():
            again = self._look_from(images, people.circle[moved], frame[moved])
            for whole, part in zip(people[:4], again[:4], strict=True):
                whole[moved] = part
        return [_distinct(people.picked(frame == b)) for b in range(len(found))]

    def _look_from(self, images: Tensor, circles: np.ndarray, frame: np.ndarray) -> People:
        return self.look(images, torch.from_numpy(circles).to(self.device), torch.from_numpy(frame).to(self.device))

    def look(self, images: Tensor, circles: Tensor, frame: Tensor) -> People:
        """What stands in R circles [R,4] px of images [B,H,W,3] uint8 RGB; frame [R] says which image each is of.

        Crops are turned so that the circle's vector points up in them: somebody who lies or hangs upside down is seen
        as if they stood. The score is the mean confidence of the better half of COCO's 17 keypoints, so that half a
        person is one too. Where no keypoint is sure the circle stays as it was.
        """
        return self._seen(images, circles, frame, mirrored=False)

    def look_mirrored(self, images: Tensor, circles: Tensor, frame: Tensor) -> People:
        """`look`, through mirrored crops; the result is in the image as it is, left being left."""
        return self._seen(images, circles, frame, mirrored=True)

    @torch.inference_mode()
    def _seen(self, images: Tensor, circles: Tensor, frame: Tensor, mirrored: bool) -> People:
        circles = circles.float()
        known = circles.isfinite().all(-1)
        given = torch.where(known[:, None], circles, 0.0)
        rows = (slice(begin, begin + self.batch) for begin in range(0, len(frame), self.batch))
        parts = [self._look(images, given[some], frame[some], mirrored) for some in rows]
        count = self.shape.count
        places = torch.cat([given.new_zeros(0, count, 2), *(place for place, _ in parts)])
        confidence = torch.cat([given.new_zeros(0, count), *(sure for _, sure in parts)]) * known[:, None]
        sure = confidence.double().cpu().numpy()
        positions = np.where(sure[..., None] > 0, places.double().cpu().numpy(), np.nan)
        certain = np.where(sure >= SEEN, sure, 0.0)
        circle = circles_of(positions, certain, self.keypoint_set)
        circle = np.where(certain.any(1)[:, None], circle, circles.double().cpu().numpy())
        better = np.sort(sure[:, self._body], axis=1)[:, len(self._body) // 2 :]
        return People(better.mean(1), circle, positions, sure)

    def _look(self, images: Tensor, circles: Tensor, frame: Tensor, mirrored: bool) -> tuple[Tensor, Tensor]:
        """Places [R,K,2] px of the images and confidence [R,K]."""
        width, height = self.shape.width, self.shape.height
        box, edge = box_of(circles, width, height), max(width, height)
        if self.device.type == "cpu":
            rows = [Roi(*(part[i : i + 1] for part in box)) for i in range(len(frame))]
            squares = [warp_crop(images[i].numpy(), row, edge) for i, row in zip(frame.tolist(), rows, strict=True)]
            crops = torch.cat(squares)
        else:
            crops = sample_crops(images, box, frame, edge)
        left, top = (edge - width) // 2, (edge - height) // 2
        crops = crops[:, :, top : top + height, left : left + width]
        if mirrored:
            crops = crops.flip(-1)
        mean, deviation = (crops.new_tensor(values)[:, None, None] / 255 for values in (MEAN, DEVIATION))
        simcc_x, simcc_y = self._session.run(((crops - mean) / deviation).contiguous())
        places, peak = decode(simcc_x, simcc_y)
        if mirrored:
            places = places[:, self._twins] * places.new_tensor([-1, 1]) + places.new_tensor([width - 1, 0])
            peak = peak[:, self._twins]
        places = (places + places.new_tensor([left, top])) / edge
        return crop_to_image(places, box), (peak / self.shape.peak).clamp(NOWHERE, 1.0)


def check(session: OnnxSession, shape: Shape) -> None:
    """Tell whether a network is what `shape` says, and puts out numbers.

    Raises:
        SimCCError: It is or does not; the message says in what.
    """
    bins = (shape.count, shape.width * SPLIT), (shape.count, shape.height * SPLIT)
    wanted = f"one input [B,3,{shape.height},{shape.width}], outputs " + " and ".join(f"[B,{k},{n}]" for k, n in bins)
    taken = session.input_shape
    if len(taken) != 4 or any(
        isinstance(n, int) and n != m for n, m in zip(taken[1:], wanted_input(shape), strict=True)
    ):
        raise SimCCError(f"{session.path} is another model: its input is {list(taken)}; it should have {wanted}")
    outputs = session.run(torch.zeros(1, *wanted_input(shape), device=session.device))
    said = [tuple(output.shape[1:]) for output in outputs]
    if said != list(bins):
        given = " and ".join(str(["B", *sizes]) for sizes in said)
        raise SimCCError(f"{session.path} is another model: its outputs are {given}; it should have {wanted}")
    if not all(bool(output.isfinite().all()) for output in outputs):
        raise SimCCError(f"{session.path} is damaged: what it puts out is not finite")


def wanted_input(shape: Shape) -> tuple[int, int, int]:
    """Channels, height and width of the input."""
    return 3, shape.height, shape.width


def box_of(circles: Tensor, width: int, height: int) -> Roi:
    """The turned square around the crop of circles [R,4]: its middle `width` columns (or `height` rows) are the crop.

    The crop holds the circle's full width, so that arms held out are in it, and is PADDING times as high as the circle
    or more.
    """
    margin = max(PADDING, height / width) * max(width, height) / height
    box = roi_of_circles(circles, margin)
    return box._replace(size=box.size.clamp_min(1.0))


def decode(simcc_x: Tensor, simcc_y: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of bins [R,K,SPLIT*W] and [R,K,SPLIT*H] -> places [R,K,2] px of the crop, and how high the bins are [R,K].

    The highest bin tells the place, and the lesser of the heights along x and y how sure it is (as RTMPose has it).
    Rows are Gaussians where the network is sure: the place between bins is the vertex of the parabola through the
    logarithms of the highest bin and of those REACH beside it, which is exact for a Gaussian.
    """
    places, heights = zip(*(_peak(rows) for rows in (simcc_x, simcc_y)), strict=True)
    return torch.stack(places, -1) / SPLIT, torch.minimum(*heights)


def _peak(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The place [R,K] in bins and the height [R,K] of the highest bin of rows [R,K,N]."""
    height, index = rows.max(-1)
    inside = (index >= REACH) & (index < rows.shape[-1] - REACH)
    around = torch.stack([index - REACH, index, index + REACH], -1).clamp(0, rows.shape[-1] - 1)
    before, at, after = rows.gather(-1, around).unbind(-1)
    inside = inside & (before > 0) & (after > 0)
    before, at, after = (torch.where(inside, value, 1.0).log() for value in (before, at, after))
    bend = before - 2 * at + after
    offset = torch.where(bend < -1e-6, 0.5 * REACH * (before - after) / bend.clamp_max(-1e-6), 0.0)
    return index + torch.where(inside, offset.clamp(-1.0, 1.0), 0.0), height


def blazepose_finder(model: BlazePose) -> Finder:
    """People as BlazePose's own detector finds them."""
    return lambda images, small: [boxes.circle for boxes in model.detect(images, tiles=small)]


def _other_side(name: str) -> str:
    """The same keypoint on the other side of the body; of one in its middle, itself."""
    side, _, rest = name.partition("_")
    return {"left": f"right_{rest}", "right": f"left_{rest}"}.get(side, name)


def _distinct(people: People) -> People:
    """Those who are there, best first; of those whose keypoints are the same person's, the best alone."""
    kept: list[int] = []
    for i in np.argsort(-people.score, kind="stable"):
        if not people.score[i] >= MIN_PERSON:  # nor where it is no number
            break
        apart = np.linalg.norm(people.positions[i] - people.positions[kept], axis=-1)  # [N,K]
        seen = np.isfinite(apart)
        mean = np.where(seen, apart, 0.0).sum(1) / np.maximum(seen.sum(1), 1)
        if not (seen.any(1) & (mean < SAME_PERSON * radius(people.circle[i]))).any():
            kept.append(int(i))
    return people.picked(np.array(kept, dtype=np.int64))
