# SPDX-License-Identifier: GPL-3.0-or-later
"""One person followed live: one look a frame, a search only where nobody is followed."""

import numpy as np
import torch
from torch import Tensor

from video2rig.detection import People
from video2rig.detection.circles import apart
from video2rig.keypoints import KEYPOINT_SETS
from video2rig.live.follow import Follower

COUNT = len(KEYPOINT_SETS["coco_17"])
IMAGE = np.zeros((240, 320, 3), np.uint8)


def people(circles: list[list[float]], score: float = 0.9) -> People:
    found = np.array(circles, dtype=float).reshape(-1, 4)
    number = len(found)
    positions = np.repeat(found[:, None, :2], COUNT, axis=1)
    return People(np.full(number, score), found, positions, np.ones((number, COUNT)), None)


class Finder:
    """People at given circles; `looks` and `finds` are counted."""

    keypoint_set = "coco_17"
    device, batch = torch.device("cpu"), 1

    def __init__(self, circles: list[list[float]]) -> None:
        self.circles, self.finds = circles, 0

    def find(self, images: Tensor) -> list[People]:
        self.finds += 1
        return [people(self.circles)]


class Looker(Finder):
    """Whoever stands nearest to the circle that is looked at; nobody further than half its radius."""

    looks: int = 0

    def look(self, images: Tensor, circles: Tensor, frame: Tensor) -> People:
        self.looks += 1
        wanted = circles.numpy()[0]
        there = [circle for circle in self.circles if apart(wanted, np.array(circle)) < 0.5]
        return people([there[0] if there else wanted.tolist()], 0.9 if there else 0.1)


def test_the_largest_is_found_once_and_then_looked_at() -> None:
    detector = Looker([[60.0, 100.0, 0.0, -20.0], [200.0, 120.0, 0.0, -50.0]])
    follower = Follower(detector)
    for frame in range(60):
        detector.circles[1] = [200.0 - 2.0 * frame, 120.0, 0.0, -50.0]  # 60 pixels a second, past the other one
        seen = follower.step(IMAGE, frame / 30)
        assert seen is not None and seen.circle[0, 0] == detector.circles[1][0]
    assert detector.finds == follower.searched == 1 and detector.looks == 59


def test_who_is_lost_is_searched_for_and_another_one_taken() -> None:
    detector = Looker([[200.0, 120.0, 0.0, -50.0]])
    follower = Follower(detector)
    follower.step(IMAGE, 0.0)
    detector.circles = []
    assert follower.step(IMAGE, 0.04) is None and follower.step(IMAGE, 0.08) is None
    assert detector.finds == 3
    detector.circles = [[60.0, 100.0, 0.0, -20.0]]
    seen = follower.step(IMAGE, 0.12)
    assert seen is not None and seen.circle[0, 0] == 60.0


def test_after_a_pause_everyone_is_searched_for() -> None:
    detector = Looker([[200.0, 120.0, 0.0, -50.0]])
    follower = Follower(detector)
    follower.step(IMAGE, 0.0)
    detector.circles = [[60.0, 100.0, 0.0, -60.0], [200.0, 120.0, 0.0, -50.0]]
    seen = follower.step(IMAGE, 2.0)
    assert seen is not None and seen.circle[0, 0] == 60.0 and detector.finds == 2


def test_a_detector_that_cannot_look_stays_with_its_person() -> None:
    detector = Finder([[200.0, 120.0, 0.0, -50.0]])
    follower = Follower(detector)
    follower.step(IMAGE, 0.0)
    detector.circles = [[60.0, 100.0, 0.0, -70.0], [203.0, 120.0, 0.0, -50.0]]
    seen = follower.step(IMAGE, 0.04)
    assert seen is not None and seen.circle[0, 0] == 203.0 and detector.finds == 2
