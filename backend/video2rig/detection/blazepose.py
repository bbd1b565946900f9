# SPDX-License-Identifier: GPL-3.0-or-later
"""BlazePose full in torch: a detector that finds people in a frame, and landmarks of one in a turned square crop.

Bazarevsky et al., "BlazePose: On-device real-time body pose tracking" (2020); Grishchenko et al., "BlazePose GHUM
Holistic" (2022). Constants are those of MediaPipe 0.10.21's graphs, whose results this module reproduces.

On a GPU frames and crops go through the networks in batches. On a CPU every core takes a frame or a crop of its own
through a network that runs on one thread: convolutions as small as these gain nothing from several.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from .. import weights
from ..device import cpu_threads
from ..keypoints import KEYPOINT_SETS
from .boxes import MIN_OVERLAP, Boxes, anchor_centres, merge, weighted_nms
from .circles import radius, same_body
from .crops import (
    Roi,
    crop_to_image,
    fine_windows,
    letterbox,
    letterbox_frame,
    mirror,
    roi_of_circles,
    sample_crops,
    tile_windows,
    turn,
    warp_crop,
)
from .detector import People
from .tflite_graph import TFLiteGraph, frozen

DETECTOR_SIZE = 224
DETECTOR_STRIDES = (8, 16, 32, 32, 32)
SCORE_CLIP = 100.0
MIN_SCORE = 0.5
LANDMARK_SIZE = 256
LANDMARK_COUNT = 39  # 33 of the body, hip centre and circle point of the next crop, 4 unused
BODY_LANDMARKS = 33
HIP_CENTRE, CIRCLE_POINT = 33, 34
CROP_MARGIN = 1.25  # of a crop around a circle that is only roughly right
LOOK_MARGIN = 1.1  # of one that is: the body is larger in it, and left and right are told apart far more often
HEATMAP_KERNEL = 7
HEATMAP_MIN_CONFIDENCE = 0.5
MIN_PERSON = 0.8  # of a crop around a detection: textures reach 0.77
SETTLED = 0.15  # in radii: landmarks that move a circle further are taken again, in the circle that they gave
SMALL = 0.2  # of the frame's short edge: people of a smaller radius are looked for among smaller parts of the frame
GPU_BATCH = 64  # frames or crops a network call

_NAMES = KEYPOINT_SETS["blazepose_33"]
# of every landmark, the one that a mirrored person has in its place
_OTHER = {"left": "right", "right": "left"}
MIRRORED = [_NAMES.index("_".join(_OTHER.get(word, word) for word in name.split("_"))) for name in _NAMES] + list(
    range(BODY_LANDMARKS, LANDMARK_COUNT)
)

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


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

    def people(self) -> People:
        """As every detector gives them; the circle is where the landmarks say that the body is."""
        hip, rim = self.points[:, HIP_CENTRE, :2], self.points[:, CIRCLE_POINT, :2]
        return People(
            self.person.cpu().numpy(),
            torch.cat([hip, rim - hip], -1).double().cpu().numpy(),
            self.points[:, :BODY_LANDMARKS, :2].cpu().numpy(),
            self.confidence[:, :BODY_LANDMARKS].cpu().numpy(),
            self.world[:, :BODY_LANDMARKS].cpu().numpy(),
        )


class BlazePose(nn.Module):
    """Both networks on one device, a `TilingDetector`; `load` makes one."""

    keypoint_set = "blazepose_33"

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
        """Frames or crops that suit the device: a network call's on a GPU, one for every core on a CPU."""
        return GPU_BATCH if self._on_gpu else cpu_threads()

    @property
    def _on_gpu(self) -> bool:
        return self.device.type != "cpu"

    # ---- people ---------------------------------------------------------------------------------------------------

    def find(self, images: Tensor) -> list[People]:
        """images [B,H,W,3] uint8 RGB -> the people of each frame, best first, whose crop surely holds a person."""
        return self._people(images, self.detect(images))

    def find_small(self, images: Tensor) -> list[People]:
        """Also those who are too small in the whole frame: costs up to 6 times as much, up to 50 times in frames where
        nobody is found at all, or only small people, of whom there may be more, and up to 170 times for very small
        ones: crowds."""
        found = self.detect(images, tiles=True)
        height, width = images.shape[1:3]
        for parts in (2, 4):  # of the short edge
            small = SMALL * min(height, width) * 2 / parts
            few = [
                i
                for i, boxes in enumerate(found)
                if (np.median(radius(boxes.circle)) < small if len(boxes.score) else parts == 2)
            ]
            if few and (windows := fine_windows(height, width, DETECTOR_SIZE, parts)):
                closer = self._detect_in(images[torch.tensor(few, device=images.device)], windows)
                for i, boxes in zip(few, closer, strict=True):
                    found[i] = merge([found[i], boxes])
        return self._people(images, found)

    def look(self, images: Tensor, circles: Tensor, frame: Tensor) -> People:
        """Landmarks in R circles [R,4] px of images [B,H,W,3]; frame [R] says which image each circle is of."""
        return self.landmarks(images, roi_of_circles(circles.float(), LOOK_MARGIN), frame).people()

    def look_mirrored(self, images: Tensor, circles: Tensor, frame: Tensor) -> People:
        """The same through mirrored crops."""
        return self.landmarks(images, roi_of_circles(circles.float(), LOOK_MARGIN), frame, mirrored=True).people()

    def _people(self, images: Tensor, found: list[Boxes]) -> list[People]:
        """Landmarks of everyone; a detector's circle is rough: they are taken again where they disagree with it."""
        frame = np.repeat(np.arange(len(found)), [len(boxes.score) for boxes in found])
        circles = np.concatenate([boxes.circle for boxes in found]) if found else np.zeros((0, 4))
        people = self._look(images, circles, frame)
        moved = ~same_body(circles, people.circle, SETTLED) & (people.score >= MIN_PERSON)
        if moved.any():
            again = self._look(images, people.circle[moved], frame[moved])
            for whole, part in zip(people, again, strict=True):
                if whole is not None and part is not None:
                    whole[moved] = part
        return [_distinct(people.picked(frame == i)) for i in range(len(found))]

    def _look(self, images: Tensor, circles: np.ndarray, frame: np.ndarray) -> People:
        if not len(frame):
            empty = np.zeros((0, BODY_LANDMARKS, 3), np.float32)
            return People(empty[:, 0, 0], np.zeros((0, 4)), empty[..., :2], empty[..., 0], empty)
        roi = roi_of_circles(torch.from_numpy(circles).to(self.device, torch.float32), CROP_MARGIN)
        return self.landmarks(images, roi, torch.from_numpy(frame).to(self.device)).people()

    # ---- the detector ---------------------------------------------------------------------------------------------

    def detect(self, images: Tensor, *, tiles: bool = False) -> list[Boxes]:
        """images [B,H,W,3] uint8 RGB -> boxes and rough circles of the people of each frame.

        `tiles` also looks at overlapping squares along a long frame, which finds people too small in the whole one.
        """
        height, width = images.shape[1:3]
        windows = [(0, 0, width, height), *(tile_windows(height, width, DETECTOR_SIZE) if tiles else [])]
        return self._detect_in(images, windows)

    def _detect_in(self, images: Tensor, windows: list[tuple[int, int, int, int]]) -> list[Boxes]:
        """What all windows (left, top, right, bottom) show of each frame."""
        if self._on_gpu:
            seen = [
                [boxes for part in images.split(GPU_BATCH) for boxes in self._detect(part, window)]
                for window in windows
            ]
        else:
            jobs = [(images[i : i + 1], window) for window in windows for i in range(len(images))]
            flat = [boxes for (boxes,) in self._map(lambda job: self._detect(*job), jobs)]
            seen = [flat[k * len(images) : (k + 1) * len(images)] for k in range(len(windows))]
        return [merge(list(parts)) for parts in zip(*seen, strict=True)]

    @torch.inference_mode()
    def _detect(self, images: Tensor, window: tuple[int, int, int, int]) -> list[Boxes]:
        left, top, right, bottom = window
        part = images[:, top:bottom, left:right]
        raw = self._networks[0](letterbox(part, DETECTOR_SIZE))
        scores, boxes, points = (t.cpu().numpy() for t in self.decode(*raw))
        edge, corner = letterbox_frame(part.shape[1], part.shape[2])
        corner = corner + np.array([left, top])
        found = []
        for score, box, point in zip(scores, boxes, points, strict=True):
            likely = score >= MIN_SCORE
            score, box, point = weighted_nms(score[likely], box[likely], point[likely], MIN_OVERLAP)
            hip, rim = point[:, 0] * edge + corner, point[:, 1] * edge + corner
            found.append(Boxes(score, box * edge + np.tile(corner, 2), np.concatenate([hip, rim - hip], -1)))
        return found

    def decode(self, raw: Tensor, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Detector outputs [B,A,12] and [B,A,1] -> score [B,A], box [B,A,4] and four points [B,A,4,2], of the
        letterboxed frame's edge: 0..1."""
        score = logits[..., 0].clamp(-SCORE_CLIP, SCORE_CLIP).sigmoid()
        raw = raw / DETECTOR_SIZE
        centre, extent = raw[..., 0:2] + self.anchors, raw[..., 2:4]
        points = raw[..., 4:].unflatten(-1, (4, 2)) + self.anchors[:, None]
        return score, torch.cat([centre - extent / 2, centre + extent / 2], -1), points

    # ---- landmarks ------------------------------------------------------------------------------------------------

    def landmarks(self, images: Tensor, roi: Roi, frame: Tensor, mirrored: bool = False) -> Landmarks:
        """Landmarks of R >= 1 crops; images [B,H,W,3] uint8 RGB, frame [R] says which image each crop is of.

        `mirrored` shows the network mirrored crops; the landmarks are those of the image as it is.
        """
        if self._on_gpu:
            rows = torch.arange(len(frame), device=self.device).split(GPU_BATCH)
            parts = [self._batch_landmarks(images, Roi(*(t[r] for t in roi)), frame[r], mirrored) for r in rows]
        else:
            parts = self._map(
                lambda r: self._one_landmarks(images, Roi(*(t[r : r + 1] for t in roi)), int(frame[r]), mirrored),
                range(len(frame)),
            )
        return Landmarks(*(torch.cat(columns) for columns in zip(*parts, strict=True)))

    @torch.inference_mode()
    def _batch_landmarks(self, images: Tensor, roi: Roi, frame: Tensor, mirrored: bool) -> Landmarks:
        return self._place(sample_crops(images, roi, frame, LANDMARK_SIZE, mirrored), roi, mirrored)

    @torch.inference_mode()
    def _one_landmarks(self, images: Tensor, roi: Roi, frame: int, mirrored: bool) -> Landmarks:
        return self._place(warp_crop(images[frame].numpy(), roi, LANDMARK_SIZE, mirrored), roi, mirrored)

    def _place(self, crops: Tensor, roi: Roi, mirrored: bool) -> Landmarks:
        raw, person, heatmap, world = self._networks[1](crops)
        raw = raw.unflatten(1, (LANDMARK_COUNT, 5))
        place = refine(raw[..., :2] / LANDMARK_SIZE, heatmap)
        depth = raw[..., 2] / LANDMARK_SIZE * roi.size[:, None]
        world = world.unflatten(1, (LANDMARK_COUNT, 3))
        if mirrored:
            raw, place, depth, world = (column[:, MIRRORED] for column in (raw, mirror(place), depth, world))
            world = world * world.new_tensor([-1.0, 1.0, 1.0])
        return Landmarks(
            points=torch.cat([crop_to_image(place, roi), depth[..., None]], -1),
            visibility=raw[..., 3].sigmoid(),
            presence=raw[..., 4].sigmoid(),
            person=person[:, 0],
            world=torch.cat([turn(world[..., :2], roi.angle), world[..., 2:]], -1),
        )

    # ---- where it runs --------------------------------------------------------------------------------------------

    @cached_property
    def _networks(self) -> tuple[Callable[[Tensor], tuple[Tensor, ...]], Callable[[Tensor], tuple[Tensor, ...]]]:
        """Detector and landmarker as they run on this device."""
        if self._on_gpu:
            return self.detector, self.landmarker
        return frozen(self.detector, DETECTOR_SIZE), frozen(self.landmarker, LANDMARK_SIZE)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(cpu_threads(), "blazepose", initializer=torch.set_num_threads, initargs=(1,))

    def _map(self, work: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
        """Work on every item, one on each core at a time.

        Hardly more of them wait than there are cores, so that another thread's items have their turn among these.
        """
        _ = self._networks  # made once, before threads would each make their own
        waiting: deque[Future[_Result]] = deque()
        results: list[_Result] = []
        for item in items:
            if len(waiting) > cpu_threads():
                results.append(waiting.popleft().result())
            waiting.append(self._pool.submit(work, item))
        return results + [future.result() for future in waiting]


def _distinct(people: People) -> People:
    """Those who are there, best first, each body once: detections of parts of it end in the same circle."""
    kept: list[int] = []
    for i in np.argsort(-people.score, kind="stable"):
        if people.score[i] >= MIN_PERSON and not same_body(people.circle[i], people.circle[kept]).any():
            kept.append(int(i))
    return people.picked(np.array(kept, int))


def refine(points: Tensor, heatmap: Tensor) -> Tensor:
    """Points [R,K,2] of the crop, each moved to the mean of its heat map around it where the map is sure there.

    heatmap [R,K,h,w] logits. The mean runs over a window of HEATMAP_KERNEL cells around the point's own cell.
    """
    height, width = heatmap.shape[-2:]
    size = points.new_tensor([width, height])
    cell = (points * size).trunc()
    inside = ((points * size >= 0) & (cell < size)).all(-1)
    reach = torch.arange(HEATMAP_KERNEL, device=points.device) - (HEATMAP_KERNEL - 1) // 2
    column, row = (cell[..., axis, None].long() + reach for axis in (0, 1))  # [R,K,7]
    crop = torch.arange(points.shape[0], device=points.device)[:, None, None, None]
    point = torch.arange(points.shape[1], device=points.device)[:, None, None]
    there = ((row >= 0) & (row < height))[..., :, None] & ((column >= 0) & (column < width))[..., None, :]
    near = heatmap[crop, point, row.clamp(0, height - 1)[..., :, None], column.clamp(0, width - 1)[..., None, :]]
    mass = near.sigmoid() * there
    total = mass.sum((-1, -2))
    mean = torch.stack([(mass.sum(-2) * column).sum(-1) / width, (mass.sum(-1) * row).sum(-1) / height], -1)
    sure = inside & (mass.amax((-1, -2)) >= HEATMAP_MIN_CONFIDENCE)
    return torch.where(sure[..., None], mean / total[..., None], points)
