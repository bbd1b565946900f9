# SPDX-License-Identifier: GPL-3.0-or-later
"""A scripted scene that stands in for a detector's networks, so that the truth about who is where is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from video2rig.detection import People

HEIGHT, WIDTH, FPS = 60, 240, 30.0

Way = Callable[[int], tuple[float, float, float] | None]
"""Frame number -> hip x, hip y, radius in px; None where the person is out of view."""


def line(x: float, speed: float, radius: float, first: int = 0, last: int = 10**6) -> Way:
    """Walk along the middle of the frame at a speed in px a frame."""
    return lambda t: (x + speed * t, 30.0, radius) if first <= t < last else None


class Scene:
    """People on known ways, later ones nearer to the camera; each is one keypoint at the hips and one at the head.

    The frame number is written into the frame's first pixels. A crop shows the nearest person whose hips lie in its
    middle, as landmark networks do; the person's place in the list comes out as the world landmarks' z.
    """

    device, batch, keypoint_set = torch.device("cpu"), 4, "scene"

    def __init__(self, *ways: Way, blind: Callable[[int], bool] = lambda frame: False) -> None:
        self.ways, self.blind = ways, blind
        self.found = self.looked = self.calls = 0

    def frames(self, count: int) -> np.ndarray:
        images = np.zeros((count, HEIGHT, WIDTH, 3), np.uint8)
        images[:, 0, 0, 0], images[:, 0, 0, 1] = np.arange(count) % 256, np.arange(count) // 256
        return images

    def find(self, images: Tensor) -> list[People]:
        self.calls += 1
        self.found += len(images)
        result = []
        for number in _numbers(images):
            places = [way(number) for way in self.ways]
            there = [(who, place) for who, place in enumerate(places) if place is not None and not self.blind(number)]
            # someone right behind another is not detected
            seen = [
                (who, p)
                for i, (who, p) in enumerate(there)
                if all(abs(p[0] - q[0]) > 0.4 * q[2] for _, q in there[i + 1 :])
            ]
            rows = [_person(who, place, rough=0.05) for who, place in seen]
            result.append(_people(rows))
        return result


class CroppedScene(Scene):
    """The same, of a detector that can look at one person."""

    def look(self, images: Tensor, circles: Tensor, frame: Tensor) -> People:
        self.calls += 1
        self.looked += len(circles)
        numbers, rows = _numbers(images), []
        for circle, index in zip(circles.numpy(), frame.tolist(), strict=True):
            row = (0.0, circle.copy(), circle[:2], 0)
            for who, way in enumerate(self.ways):
                place = way(numbers[index])
                if place is not None and np.hypot(*(circle[:2] - place[:2])) <= 0.7 * np.hypot(*circle[2:]):
                    row = _person(who, place)
            rows.append(row)
        return _people(rows)


def _person(
    who: int, place: tuple[float, float, float], rough: float = 0.0
) -> tuple[float, np.ndarray, np.ndarray, int]:
    x, y, radius = place
    hip = np.array([x, y])
    return 1.0, np.array([x + rough * radius, y, 0.0, -radius]), hip, who


def _people(rows: list[tuple[float, np.ndarray, np.ndarray, int]]) -> People:
    circle = np.array([row[1] for row in rows], float).reshape(-1, 4)
    hip = np.array([row[2] for row in rows], float).reshape(-1, 1, 2)
    head = hip + 0.8 * circle[:, None, 2:]
    world = np.zeros((len(rows), 2, 3), np.float32)
    world[:, :, 2] = np.array([row[3] for row in rows], float).reshape(-1, 1)
    positions = np.concatenate([hip, head], 1).astype(np.float32)
    score = np.array([row[0] for row in rows], float)
    return People(score, circle, positions, np.ones((len(rows), 2), np.float32), world)


def _numbers(images: Tensor) -> list[int]:
    return (images[:, 0, 0, 0].int() + 256 * images[:, 0, 0, 1].int()).tolist()
