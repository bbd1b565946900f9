# SPDX-License-Identifier: GPL-3.0-or-later
"""BlazePose full in torch: a detector that finds people in a frame, and landmarks of one in a turned square crop.

Bazarevsky et al., "BlazePose: On-device real-time body pose tracking" (2020); Grishchenko et al., "BlazePose GHUM
Holistic" (2022). Constants are those of MediaPipe 0.10.21's graphs, whose results this module reproduces.

Pixels are indices: (0, 0) is the middle of the first pixel. A crop's own coordinates run from 0 to 1 over its edge, and
crop pixel i of n samples the image at i / n. Batches are everywhere the leading dimension; frames come in as uint8.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .. import weights
from .tflite_graph import TFLiteGraph

DETECTOR_SIZE = 224
DETECTOR_STRIDES = (8, 16, 32, 32, 32)
SCORE_CLIP = 100.0
MIN_SCORE = 0.5
MIN_OVERLAP = 0.3
TILE_ASPECT = 1.3
MAX_TILES = 5
LANDMARK_SIZE = 256
LANDMARK_COUNT = 39  # 33 of the body, hip centre and circle point of the next crop, 4 unused
BODY_LANDMARKS = 33
HIP_CENTRE, CIRCLE_POINT = 33, 34
CROP_MARGIN = 1.25
HEATMAP_KERNEL = 7
HEATMAP_MIN_CONFIDENCE = 0.5
CPU_BATCH, GPU_BATCH = 4, 16  # frames a network call: more than a few gain nothing on a CPU and cost cache


class Roi(NamedTuple):
    """Turned squares of an image: centre [R,2] px, edge length [R] px, angle [R] rad (clockwise on the screen)."""

    centre: Tensor
    size: Tensor
    angle: Tensor

    def moved(self, shift: tuple[float, float] = (0.0, 0.0), scale: float = 1.0, turn: float = 0.0) -> Roi:
        """Shifted by a part of the edge (along the image's axes), scaled, and turned by radians."""
        offset = self.centre.new_tensor(shift) * self.size[:, None]
        return Roi(self.centre + offset, self.size * scale, self.angle + turn)


class People(NamedTuple):
    """The people of one frame, best first: score [N] 0..1; box [N,4] px (left, top, right, bottom) around the face and
    upper body; hip centre [N,2] px; circle point [N,2] px, on the circle around the hip centre that holds the body."""

    score: np.ndarray
    box: np.ndarray
    hip: np.ndarray
    circle: np.ndarray


class Landmarks(NamedTuple):
    """Landmarks of R crops, in image axes (x right, y down).

    points [R,39,3]: px, and depth relative to the hips in the same scale, growing away from the camera;
    visibility, presence [R,39] 0..1: not hidden, inside the frame; person [R] 0..1: the crop holds a person at all;
    world [R,39,3]: metres from the hip centre, x right, y down, z forward (away from the camera).
    """

    points: Tensor
    visibility: Tensor
    presence: Tensor
    person: Tensor
    world: Tensor

    @property
    def confidence(self) -> Tensor:
        """[R,39] 0..1: the probability that the landmark is in the frame and seen, as the network's two heads give it.

        The product of visibility and presence. Hidden joints, whose place is a guess, come out low. It says nothing of
        left and right being swapped, which the network does without a change in either head.
        """
        return self.visibility * self.presence


class BlazePose(nn.Module):
    """Both networks on one device; `load` makes one."""

    def __init__(self, detector: TFLiteGraph, landmarker: TFLiteGraph) -> None:
        super().__init__()
        self.detector = detector
        self.landmarker = landmarker
        self.register_buffer("anchors", anchor_centres(DETECTOR_SIZE, DETECTOR_STRIDES), persistent=False)
        self.anchors: Tensor

    @classmethod
    def load(cls, device: torch.device | str) -> BlazePose:
        """The networks from `weights.fetch("blazepose")`, on `device`; raises WeightsError or GraphError."""
        files = weights.fetch("blazepose")
        detector = TFLiteGraph(files["pose_detection.tflite"], ("Identity", "Identity_1"))
        # without Identity_2, a mask of the person that nothing here reads
        landmarker = TFLiteGraph(
            files["pose_landmark_full.tflite"], ("Identity", "Identity_1", "Identity_3", "Identity_4")
        )
        model = cls(detector, landmarker).to(device)
        for network in model.modules():
            if isinstance(network, nn.Conv2d):  # the order in which both kinds of device are fastest
                network.weight.data = network.weight.data.contiguous(memory_format=torch.channels_last)
        return model

    @property
    def device(self) -> torch.device:
        return self.anchors.device

    @property
    def batch(self) -> int:
        """Frames a network call that suit the device."""
        return CPU_BATCH if self.device.type == "cpu" else GPU_BATCH

    @torch.inference_mode()
    def detect(self, images: Tensor, *, tiles: bool = False) -> list[People]:
        """images [B,H,W,3] uint8 RGB -> the people of each frame.

        `tiles` also looks at overlapping squares along a long frame, which finds people too small in the whole one.
        """
        windows = [(0, 0, images.shape[2], images.shape[1])]
        if tiles:
            windows += tile_windows(images.shape[1], images.shape[2])
        seen = [self._detect(images, window) for window in windows]
        return [_merge([people[i] for people in seen]) for i in range(len(images))]

    def _detect(self, images: Tensor, window: tuple[int, int, int, int]) -> list[People]:
        left, top, right, bottom = window
        found: list[People] = []
        for part in images[:, top:bottom, left:right].split(self.batch):
            scores, boxes, points = (t.cpu().numpy() for t in self.decode(*self.detector(letterbox(part))))
            edge, corner = letterbox_frame(part.shape[1], part.shape[2])
            corner = corner + np.array([left, top])
            for score, box, point in zip(scores, boxes, points, strict=True):
                likely = score >= MIN_SCORE
                score, box, point = weighted_nms(score[likely], box[likely], point[likely], MIN_OVERLAP)
                pixels = point * edge + corner
                found.append(People(score, box * edge + np.tile(corner, 2), pixels[:, 0], pixels[:, 1]))
        return found

    def decode(self, raw: Tensor, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Detector outputs [B,A,12] and [B,A,1] -> score [B,A], box [B,A,4] and four points [B,A,4,2], of the
        letterboxed frame's edge: 0..1."""
        score = logits[..., 0].clamp(-SCORE_CLIP, SCORE_CLIP).sigmoid()
        raw = raw / DETECTOR_SIZE
        centre, extent = raw[..., 0:2] + self.anchors, raw[..., 2:4]
        points = raw[..., 4:].unflatten(-1, (4, 2)) + self.anchors[:, None]
        return score, torch.cat([centre - extent / 2, centre + extent / 2], -1), points

    @torch.inference_mode()
    def landmarks(self, images: Tensor, roi: Roi, frame: Tensor) -> Landmarks:
        """Landmarks of R crops; images [B,H,W,3] uint8 RGB, frame [R] says which image each crop is of."""
        parts = [
            self._landmarks(images, Roi(*(t[rows] for t in roi)), frame[rows])
            for rows in torch.arange(len(frame), device=self.device).split(self.batch)
        ]
        return Landmarks(*(torch.cat(columns) for columns in zip(*parts, strict=True)))

    def _landmarks(self, images: Tensor, roi: Roi, frame: Tensor) -> Landmarks:
        crops = sample_crops(images, roi, frame, LANDMARK_SIZE)
        raw, person, heatmap, world = self.landmarker(crops)
        raw = raw.unflatten(1, (LANDMARK_COUNT, 5))
        place = refine(raw[..., :2] / LANDMARK_SIZE, heatmap)
        depth = raw[..., 2] / LANDMARK_SIZE * roi.size[:, None]
        world = world.unflatten(1, (LANDMARK_COUNT, 3))
        return Landmarks(
            points=torch.cat([crop_to_image(place, roi), depth[..., None]], -1),
            visibility=raw[..., 3].sigmoid(),
            presence=raw[..., 4].sigmoid(),
            person=person[:, 0],
            world=torch.cat([turn(world[..., :2], roi.angle), world[..., 2:]], -1),
        )


# ---- detector -----------------------------------------------------------------------------------------------------


def anchor_centres(size: int, strides: tuple[int, ...]) -> Tensor:
    """Centres [A,2] (x, y), 0..1: two anchors a layer and cell; consecutive layers of one stride share their cells."""
    centres = []
    for stride in dict.fromkeys(strides):
        cells = math.ceil(size / stride)
        middle = (torch.arange(cells, dtype=torch.float32) + 0.5) / cells
        y, x = torch.meshgrid(middle, middle, indexing="ij")
        grid = torch.stack([x, y], -1).reshape(-1, 2)
        centres.append(grid.repeat_interleave(2 * strides.count(stride), 0))
    return torch.cat(centres)


def letterbox_frame(height: int, width: int) -> tuple[float, np.ndarray]:
    """Edge in px of the square around a frame, and the px of its corner [2] (x, y)."""
    edge = float(max(height, width))
    return edge, np.array([(width - edge) / 2, (height - edge) / 2])


def letterbox(images: Tensor) -> Tensor:
    """[B,H,W,3] uint8 -> [B,3,224,224] in -1..1, the whole frame in the middle, the border -1 (black).

    Shrinks with an antialiasing filter, unlike MediaPipe: on a 1768-pixel wide video of small people it finds someone
    in 193 frames instead of 166 of 230, and its points shake less.
    """
    _, height, width, _ = images.shape
    edge, _ = letterbox_frame(height, width)
    size = max(1, round(height * DETECTOR_SIZE / edge)), max(1, round(width * DETECTOR_SIZE / edge))
    frames = images.permute(0, 3, 1, 2)
    if frames.device.type != "cpu":
        frames = frames.float()  # the filter takes bytes on the CPU alone, where that is much faster
    small = functional.interpolate(frames, size=size, mode="bilinear", antialias=True, align_corners=False)
    top, left = (DETECTOR_SIZE - size[0]) // 2, (DETECTOR_SIZE - size[1]) // 2
    pad = (left, DETECTOR_SIZE - size[1] - left, top, DETECTOR_SIZE - size[0] - top)
    return functional.pad(small.float() / 127.5 - 1, pad, value=-1.0)


def tile_windows(height: int, width: int) -> list[tuple[int, int, int, int]]:
    """Squares (left, top, right, bottom) of the frame's short edge, overlapping by half or more, along the long one.

    None where the frame is square enough for the whole one to show as much, and never more than MAX_TILES.
    """
    short, long = min(height, width), max(height, width)
    if short < DETECTOR_SIZE or long < TILE_ASPECT * short:
        return []
    count = min(MAX_TILES, 1 + math.ceil(2 * (long - short) / short))
    starts = [round(k * (long - short) / (count - 1)) for k in range(count)]
    return [(s, 0, s + short, short) if width > height else (0, s, short, s + short) for s in starts]


def _merge(parts: list[People]) -> People:
    """What several windows saw of one frame; of those whose boxes are the same person's, the best alone."""
    score, box, hip, circle = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    kept: list[int] = []
    for i in np.argsort(-score, kind="stable"):
        if not kept or overlap(box[i], box[kept]).max() <= MIN_OVERLAP:
            kept.append(int(i))
    return People(score[kept], box[kept], hip[kept], circle[kept])


def weighted_nms(
    scores: np.ndarray, boxes: np.ndarray, points: np.ndarray, min_overlap: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One result a cluster of candidates, best first.

    The best remaining candidate gathers all that overlap it by more than `min_overlap` (intersection over union); the
    result has its score and the score-weighted mean of their boxes and points.

    scores [N], boxes [N,4], points [N,K,2] -> the same shapes with N the number of clusters.
    """
    order = np.argsort(-scores, kind="stable")
    scores, boxes, points = scores[order], boxes[order].astype(np.float64), points[order].astype(np.float64)
    kept: list[tuple[float, np.ndarray, np.ndarray]] = []
    while len(scores):
        same = overlap(boxes[0], boxes) > min_overlap
        same[0] = True  # a box without area overlaps nothing, not even itself
        weight = scores[same] / scores[same].sum()
        kept.append((scores[0], weight @ boxes[same], np.tensordot(weight, points[same], 1)))
        scores, boxes, points = scores[~same], boxes[~same], points[~same]
    if not kept:
        return scores, boxes, points
    return np.array([k[0] for k in kept]), np.stack([k[1] for k in kept]), np.stack([k[2] for k in kept])


def overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of one box [4] with boxes [N,4]; 0 where the union has no area."""
    corner = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    intersection = np.clip(corner, 0, None).prod(-1)
    area = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(-1)
    union = area + np.clip(box[2:] - box[:2], 0, None).prod() - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


# ---- crop ---------------------------------------------------------------------------------------------------------


def roi_from_points(hip: Tensor, circle: Tensor) -> Roi:
    """The crop around a body: hip centre and circle point [R,2] px; the circle point goes straight up from the hips."""
    arm = circle - hip
    angle = math.pi / 2 - torch.atan2(-arm[:, 1], arm[:, 0])
    angle = torch.remainder(angle + math.pi, 2 * math.pi) - math.pi
    return Roi(hip, 2 * CROP_MARGIN * arm.norm(dim=-1), angle)


def turn(vectors: Tensor, angle: Tensor) -> Tensor:
    """Vectors [R,K,2] (x right, y down) turned by angle [R], clockwise on the screen."""
    cosine, sine = torch.cos(angle)[:, None], torch.sin(angle)[:, None]
    x, y = vectors[..., 0], vectors[..., 1]
    return torch.stack([cosine * x - sine * y, sine * x + cosine * y], -1)


def crop_to_image(points: Tensor, roi: Roi) -> Tensor:
    """Points [R,K,2] of the crop (0..1) -> px of the image."""
    return roi.centre[:, None] + turn(points - 0.5, roi.angle) * roi.size[:, None, None]


def sample_crops(images: Tensor, roi: Roi, frame: Tensor, n: int) -> Tensor:
    """Crops [R,3,n,n] in 0..1 of images [B,H,W,3] uint8, bilinear, black outside; frame [R] picks the image.

    Reads only the pixels it needs, so that no frame is ever converted to floats as a whole.
    """
    count, height, width, _ = images.shape
    step = torch.arange(n, device=images.device) / n
    v, u = torch.meshgrid(step, step, indexing="ij")
    grid = torch.stack([u, v], -1).reshape(1, -1, 2).expand(len(frame), -1, -1)
    where = crop_to_image(grid, roi)  # [R,n*n,2]
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


# ---- landmarks ----------------------------------------------------------------------------------------------------


def refine(points: Tensor, heatmap: Tensor) -> Tensor:
    """Points [R,K,2] of the crop, each moved to the mean of its heat map around it where the map is sure there.

    heatmap [R,K,h,w] logits. The mean runs over a window of HEATMAP_KERNEL cells around the point's own cell.
    """
    height, width = heatmap.shape[-2:]
    size = points.new_tensor([width, height])
    cell = (points * size).trunc()
    inside = ((points * size >= 0) & (cell < size)).all(-1)
    columns = torch.arange(width, device=points.device)
    rows = torch.arange(height, device=points.device)
    reach = (HEATMAP_KERNEL - 1) // 2
    near_x = (columns - cell[..., 0:1]).abs() <= reach
    near_y = (rows - cell[..., 1:2]).abs() <= reach
    mass = heatmap.sigmoid() * near_y[..., :, None] * near_x[..., None, :]
    total = mass.sum((-1, -2))
    mean = torch.stack([(mass.sum(-2) * columns).sum(-1) / width, (mass.sum(-1) * rows).sum(-1) / height], -1)
    sure = inside & (mass.amax((-1, -2)) >= HEATMAP_MIN_CONFIDENCE)
    return torch.where(sure[..., None], mean / total[..., None], points)
