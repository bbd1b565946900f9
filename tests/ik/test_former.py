# SPDX-License-Identifier: GPL-3.0-or-later
"""Solved from a former motion, a sequence comes to what it comes to from nothing; pieces of long clips to the whole."""

import dataclasses

import numpy as np
import pytest
import torch

from synthetic import Scene, moving_person
from video2rig.ik import CameraSolver, FormerPoses, Solution, finishing
from video2rig.ik.finishing import _pieces  # pyright: ignore[reportPrivateUsage]
from video2rig.keypoints import Keypoints


def solved(scene: Scene, keypoints: Keypoints, hz: float | None, former: FormerPoses | None = None) -> Solution:
    skeleton, camera = scene.model.skeleton, scene.camera
    solver = CameraSolver(skeleton, keypoints, camera, hz, estimate_lengths=False, former=former)
    return solver.solve()


def former_of(scene: Scene, solution: Solution) -> FormerPoses:
    model = scene.model
    rotation = model.chain.local_rotations(model.full_angles(solution.pose.angles)).clone()
    rotation[:, 0] = solution.pose.root_rotation
    return FormerPoses(rotation.numpy(), solution.pose.root_position.numpy())


def apart(one: Solution, other: Solution) -> torch.Tensor:
    """Degrees by which angles differ."""
    return (one.pose.angles - other.pose.angles).rad2deg().abs()


@pytest.mark.parametrize(("frames", "then"), [(40, None), (40, 3.0), (220, None), (220, 8.0)])
def test_from_a_former_motion_comes_what_comes_from_nothing(frames: int, then: float | None) -> None:
    scene = moving_person(np.random.default_rng(frames), frames, noise=2.0)
    keypoints = scene.keypoints
    first = solved(scene, keypoints, None)
    fresh = solved(scene, keypoints, then)
    again = solved(scene, keypoints, then, former_of(scene, first))
    assert apart(again, fresh).mean() < 0.1 and apart(again, fresh).quantile(0.99) < 1.0


def test_a_bad_former_motion_does_not_stay() -> None:
    scene = moving_person(np.random.default_rng(7), 60, noise=2.0)
    fresh = solved(scene, scene.keypoints, 6.0)
    former = former_of(scene, fresh)
    bad = dataclasses.replace(former, root_position=former.root_position + [0.4, 0.0, 0.8])
    assert apart(solved(scene, scene.keypoints, 6.0, bad), fresh).quantile(0.99) < 1.0


def test_pieces_cover_what_is_doubtful_and_share_only_their_ends() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        frames = int(rng.integers(200, 900))
        doubtful = np.convolve(rng.random(frames) < 0.004, np.ones(9), mode="same") > 0
        pieces = list(_pieces(doubtful, 2))
        free = np.zeros(frames, dtype=int)
        for piece in pieces:
            assert piece.stop - piece.start <= finishing._LONGEST + 2  # pyright: ignore[reportPrivateUsage]
            free[piece.start + 2 * (piece.start > 0) : piece.stop - 2 * (piece.stop < frames)] += 1
        assert free.max(initial=0) <= 1 and bool(pieces) == bool(doubtful.any())
        inner = np.convolve(free == 0, np.ones(1), mode="same") > 0
        assert (inner & doubtful).sum() <= 2 * len(pieces)


def test_what_pieces_come_to_does_not_depend_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = moving_person(np.random.default_rng(11), 260, noise=1.0)
    wrong = scene.keypoints.positions.copy()
    for begin in (40, 120, 200):  # an arm that is seen elsewhere for a while
        wrong[begin : begin + 12, 13:23] += [60.0, -40.0]
    keypoints = dataclasses.replace(scene.keypoints, positions=wrong)
    found, led = [], finishing._lead  # pyright: ignore[reportPrivateUsage]
    for threads in (1, 2):
        pieces = []
        monkeypatch.setattr(finishing, "_THREADS", threads)
        monkeypatch.setattr(finishing, "_lead", lambda *a, pieces=pieces: (pieces.append(a), led(*a))[1])
        found.append(solved(scene, keypoints, None))
        assert len(pieces) > 1  # or the test shows nothing
    assert torch.equal(found[0].pose.angles, found[1].pose.angles)
