# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets of keypoints on their whole way: regression, inverse kinematics, takes, files; with some that have no place."""

from pathlib import Path

import numpy as np
import pytest

from random_network import random_network
from synthetic import Scene, moving_person, see
from video2rig.formats.export import export
from video2rig.formats.trc import read_trc
from video2rig.human import default_human
from video2rig.ik import BodyModel, CameraSolver
from video2rig.ik.swaps import mirror_by_names
from video2rig.keypoints import KEYPOINT_SETS, Keypoints, KeypointsError, has_site, sites
from video2rig.regression import Regressor
from video2rig.regression.hypotheses import most_plausible
from video2rig.regression.mirror import mirror_image, predict_symmetrically
from video2rig.settings import Settings
from video2rig.solving import solve_keypoints
from video2rig.take import Take

WHOLE, PLACED = KEYPOINT_SETS["coco_wholebody_133"], KEYPOINT_SETS["coco_wholebody_35"]


def seen_as(set_name: str, frames: int = 12, depth: bool = False) -> tuple[Scene, Keypoints]:
    """A moving person, and what a perfect detector of some set says; keypoints without a place are noise."""
    rng = np.random.default_rng(3)
    scene = moving_person(rng, frames=frames)
    names = KEYPOINT_SETS[set_name]
    placed = [k for k, name in enumerate(names) if has_site(name)]
    model = BodyModel.for_keypoints(scene.model.skeleton, tuple(names[k] for k in placed))
    of_body = see(model, scene.pose, scene.camera, scene.keypoints.times, rng)
    assert of_body.world is not None
    positions = rng.uniform(0, 700, (frames, len(names), 2))
    confidence = rng.uniform(0, 1, (frames, len(names)))
    world = rng.normal(size=(frames, len(names), 3))
    positions[:, placed], confidence[:, placed], world[:, placed] = of_body.positions, 1.0, of_body.world
    return scene, Keypoints(set_name, positions, confidence, of_body.times, world if depth else None)


@pytest.mark.parametrize("set_name", KEYPOINT_SETS)
def test_names_are_unique_and_sides_have_twins(set_name: str) -> None:
    names = KEYPOINT_SETS[set_name]
    assert len(names) == len(set(names)) == int(set_name.rpartition("_")[2])
    for name in names:
        side, _, rest = name.partition("_")
        if side in ("left", "right"):
            assert {"left": "right_", "right": "left_"}[side] + rest in names
    twin = mirror_by_names(names).twin
    assert np.array_equal(twin[twin], np.arange(len(names)))


def test_openposes_order_is_its_own() -> None:
    names = KEYPOINT_SETS["coco_18"]
    assert names[:5] == ("nose", "neck", "right_shoulder", "right_elbow", "right_wrist")
    assert names[8:14] == ("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle")
    assert names[14:] == ("right_eye", "left_eye", "right_ear", "left_ear")
    assert set(names) == {*KEYPOINT_SETS["coco_17"], "neck"}


def test_the_whole_body_has_each_part_where_the_data_set_has_it() -> None:
    assert WHOLE[:17] == KEYPOINT_SETS["coco_17"]
    assert WHOLE[17:23] == tuple(f"{s}_{n}" for s in ("left", "right") for n in ("big_toe", "small_toe", "heel"))
    # of 68 points of a face: the corners of the right eye are 36 and 39, of the left 45 and 42, of the mouth 48 and 54
    face = WHOLE[23:91]
    assert (face[8], face[36], face[39], face[42], face[45]) == (
        "chin",
        "right_eye_outer",
        "right_eye_inner",
        "left_eye_inner",
        "left_eye_outer",
    )
    assert (face[48], face[54]) == ("right_mouth", "left_mouth")
    for first, side in ((91, "left"), (112, "right")):
        hand = WHOLE[first : first + 21]
        assert (hand[0], hand[2], hand[5], hand[17]) == tuple(
            f"{side}_{n}" for n in ("hand", "thumb", "index", "pinky")
        )
    # what the data set's own table of mirrored points says of the face
    for a, b in ((0, 16), (7, 9), (17, 26), (21, 22), (31, 35), (32, 34), (37, 44), (40, 47), (41, 46), (50, 52)):
        assert face[a] == face[b].replace("left_", "right_") != face[b]
    for a, b in ((49, 53), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67)):
        assert {face[a], face[b]} == {side + face[a].partition("_")[2] for side in ("left_", "right_")}


def test_keypoints_on_the_skeleton_are_the_same_ones() -> None:
    _, whole = seen_as("coco_wholebody_133", depth=True)
    placed = whole.on_skeleton()
    assert placed.set_name == "coco_wholebody_35" and placed.on_skeleton() is placed
    assert placed.world is not None and whole.world is not None
    for column, name in enumerate(placed.names):
        assert np.array_equal(placed.positions[:, column], whole.positions[:, WHOLE.index(name)])
        assert np.array_equal(placed.confidence[:, column], whole.confidence[:, WHOLE.index(name)])
        assert np.array_equal(placed.world[:, column], whole.world[:, WHOLE.index(name)])
    with pytest.raises(KeypointsError, match="no place"):
        sites(default_human(), WHOLE)


def test_keypoints_without_a_place_change_nothing() -> None:
    scene, whole = seen_as("coco_wholebody_133")
    one, other = (CameraSolver(default_human(), k, scene.camera, 6.0) for k in (whole, whole.on_skeleton()))
    assert np.allclose(one.model.skeleton.length, other.model.skeleton.length, atol=1e-9)
    assert np.allclose(one.solve().pose.angles, other.solve().pose.angles, atol=1e-6)


@pytest.mark.parametrize("set_name", ["coco_18", "coco_wholebody_133"])
@pytest.mark.parametrize("depth", [False, True])
def test_new_sets_go_the_whole_way(set_name: str, depth: bool, tmp_path: Path) -> None:
    _, keypoints = seen_as(set_name, depth=depth)
    facts = {"width": 1280, "height": 720, "fps": 30.0}
    regressor = Regressor(random_network(), with_alternatives=True)
    take = solve_keypoints(keypoints, Settings(contacts="always"), facts, {}, regressor=regressor)
    assert np.isfinite(take.motion.root_position).all() and take.keypoints is keypoints
    take.save(tmp_path / "take.npz")
    again = Take.load(tmp_path / "take.npz")
    assert again.keypoints.set_name == set_name
    assert np.allclose(again.keypoints.positions, keypoints.positions, atol=1e-3)
    export(again, tmp_path / "take.trc")
    assert read_trc(tmp_path / "take.trc").names == tuple(filter(has_site, KEYPOINT_SETS[set_name]))


@pytest.mark.parametrize("set_name", ["coco_18", "coco_wholebody_133"])
def test_the_regression_reads_new_sets(set_name: str) -> None:
    scene, keypoints = seen_as(set_name)
    regressor = Regressor(random_network(), with_alternatives=True)
    found = regressor.predict(keypoints, scene.camera)
    same = regressor.predict(keypoints.on_skeleton(), scene.camera)
    assert np.array_equal(found.rotation, same.rotation) and np.isfinite(found.deviation).all()
    back = mirror_image(mirror_image(keypoints, scene.camera), scene.camera)
    assert np.allclose(back.positions, keypoints.positions)
    mean = predict_symmetrically(regressor, keypoints, scene.camera, None, True)
    assert np.isfinite(most_plausible(mean, keypoints, scene.camera, None).rotation).all()


@pytest.mark.parametrize(("set_name", "tolerance"), [("coco_18", 6.0), ("coco_wholebody_35", 6.0)])
def test_a_perfectly_seen_person_is_recovered_from_new_sets(set_name: str, tolerance: float) -> None:
    scene, keypoints = seen_as(set_name, frames=60, depth=True)
    solver = CameraSolver(default_human(), keypoints, scene.camera, 15.0)
    solution = solver.solve()
    true, mine = (m.full_angles(p.angles) for m, p in ((scene.model, scene.pose), (solver.model, solution.pose)))
    for role in ("left_knee", "right_knee"):
        joint = scene.model.skeleton.index(role)
        assert (true - mine)[:, joint, 0].abs().rad2deg().mean() < tolerance
