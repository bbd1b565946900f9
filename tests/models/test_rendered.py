# SPDX-License-Identifier: GPL-3.0-or-later
"""Rendered people stand where their truth says; needs the packages of the recipe, anny and bpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("anny", reason="the recipe's body is the package anny")
pytest.importorskip("bpy", reason="the recipe renders with the package bpy")

from models.kinematic_regressor.mocap import Clips
from models.kinematic_regressor.rendered.body import STATURES, Body, random_body
from models.kinematic_regressor.rendered.make import FRAMES, SIZES, join
from models.kinematic_regressor.rendered.people import paper_points, square
from models.kinematic_regressor.rendered.scene import Scene, room
from models.kinematic_regressor.rendered.views import Posed, posed, random_camera, random_frames
from video2rig.camera import Camera
from video2rig.human import default_human
from video2rig.kinematics import KinematicChain


@pytest.fixture(scope="module", params=range(3))
def body(request: pytest.FixtureRequest) -> Body:
    return random_body(np.random.default_rng(request.param))


@pytest.fixture(scope="module")
def clips() -> Clips:
    """Two clips of the default human: standing, and lifting the left leg forward, 40 frames each."""
    human = default_human()
    rotation = np.tile(np.eye(3, dtype=np.float32), (80, 22, 1, 1))
    angle = np.linspace(0, -1.2, 40)
    thigh = human.index("left_hip")
    rotation[40:, thigh, 1, 1] = rotation[40:, thigh, 2, 2] = np.cos(angle)
    rotation[40:, thigh, 2, 1], rotation[40:, thigh, 1, 2] = np.sin(angle), -np.sin(angle)
    root = np.tile(human.offset[0].astype(np.float32), (80, 1))
    names = ("stand", "lift")
    trust = np.ones((80, 22), dtype=np.float32)
    return Clips(human, rotation, root, trust, np.array([0, 40]), np.array([40, 40]), names, names, names, names)


@pytest.fixture(scope="module")
def film(clips: Clips) -> Posed:
    return posed(clips, np.arange(40, 80), random_body(np.random.default_rng(0)))


def test_bodies_are_whole_and_differ(body: Body) -> None:
    assert STATURES[0] <= body.stature <= STATURES[1]
    assert np.ptp(body.vertices[:, 2]) == pytest.approx(body.stature, rel=0.02)  # clothes and hair are on it
    np.testing.assert_allclose(body.weights.sum(axis=1), 1)
    assert (body.weights.max(axis=0) > 0.4).all()
    assert ((body.colours >= 0) & (body.colours <= 1)).all()
    other = random_body(np.random.default_rng(99))
    assert abs(other.stature - body.stature) > 1e-3 and not np.allclose(other.colours, body.colours)


def test_skin_in_the_rest_pose_is_the_rest_pose(body: Body) -> None:
    np.testing.assert_allclose(body.skin(body.heads, body.frames), body.vertices, atol=1e-9)


def test_joints_of_the_skeleton_lie_inside_the_posed_limbs(body: Body) -> None:
    chain = KinematicChain(body.skeleton)
    rest = torch.eye(3, dtype=torch.float64).expand(22, 3, 3)
    positions, rotations = (part.numpy() for part in chain.forward(rest, torch.tensor(body.skeleton.offset[0])))
    vertices = body.skin(positions, rotations)
    for role in ("left_knee", "right_knee", "left_elbow", "right_elbow", "neck"):
        joint = positions[body.skeleton.index(role)]
        near = vertices[np.linalg.norm(vertices - joint, axis=1) < 0.06 * body.stature]
        assert np.linalg.norm(near.mean(axis=0) - joint) < 0.03 * body.stature, role
        assert (np.ptp(near, axis=0) > 0.02).all()


def test_poses_follow_the_clip(film: Posed) -> None:
    skeleton = film.body.skeleton
    knee, hip = (film.positions[:, skeleton.index(role)] for role in ("left_knee", "left_hip"))
    assert knee[-1, 1] < knee[0, 1] - 0.25  # forward is -Y
    assert np.ptp(np.linalg.norm(knee - hip, axis=1)) < 1e-6
    assert film.vertices(0)[:, 2].min() >= film.floor - 1e-9
    points = paper_points(film)
    np.testing.assert_allclose(points[:, 7], (points[:, 0] + points[:, 8]) / 2)


def test_cameras_see_the_person(film: Posed) -> None:
    for seed in range(5):
        camera = random_camera(film, SIZES, np.random.default_rng(seed))
        pixels = camera.project(film.positions)
        assert np.isfinite(pixels).all()
        assert ((pixels > 0) & (pixels < [camera.width, camera.height])).all(axis=-1).mean() > 0.6
        corner, edge = square(camera, pixels[0], np.random.default_rng(seed))
        assert (pixels[0] > corner).all() and (pixels[0] < corner + edge).all()


def test_frames_are_consecutive_and_of_one_clip(clips: Clips) -> None:
    for seed in range(10):
        clip, frames = random_frames(clips, 25, np.random.default_rng(seed))
        assert len(frames) == 25 and (np.diff(frames) == 1).all()
        assert clips.start[clip] <= frames[0] and frames[-1] < clips.start[clip] + clips.length[clip]
    assert len(random_frames(clips, FRAMES, np.random.default_rng(0))[1]) == 40


def test_pictures_show_the_body_where_it_is(film: Posed) -> None:
    """Whatever is drawn before the room is within the body's outline, and the outline is filled."""
    eye = np.array([0.0, -4.0, 1.0])
    towards_y = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    camera = Camera.from_field_of_view(240, 320, np.radians(40)).placed(towards_y, -towards_y @ eye)
    scene = Scene(film.body, camera, film.floor, np.random.default_rng(3))
    picture = scene.picture(film.vertices(0)).astype(float)
    empty = scene.picture(film.vertices(0) + [0, 100, 0]).astype(float)
    assert picture.shape == (320, 240, 3)
    drawn = np.abs(picture - empty).sum(axis=-1) > 60
    pixels = camera.project(film.vertices(0))
    rows, columns = np.nonzero(drawn)
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    inside = (columns > low[0] - 3) & (columns < high[0] + 3) & (rows > low[1] - 3) & (rows < high[1] + 3)
    assert inside.mean() > 0.98
    assert np.ptp(rows[inside]) > 0.85 * (high - low)[1]


def test_rooms_have_a_floor_and_differ() -> None:
    down = np.radians(30)
    rotation = np.array([[1.0, 0, 0], [0, -np.sin(down), -np.cos(down)], [0, np.cos(down), -np.sin(down)]])
    camera = Camera.from_field_of_view(64, 64, 1.0).placed(rotation, -rotation @ [0, 0, 2.0])
    one, other = (room(camera, 0.0, np.random.default_rng(seed)) for seed in (0, 1))
    assert one.shape == (64, 64, 3) and one.min() >= 0 and one.max() <= 255
    assert np.abs(one - other).mean() > 5


def test_clips_are_joined_in_their_order() -> None:
    def part(frames: int) -> dict[str, np.ndarray]:
        of_frames = {"truth": 2, "error": 2, "world_error": 3}
        arrays = {key: np.full((frames, 25, size), float(frames)) for key, size in of_frames.items()}
        arrays |= {key: np.ones((frames, 25)) for key in ("confidence", "inside")}
        arrays |= {key: np.ones(frames) for key in ("detected", "stature", "facing")}
        return arrays | {key: np.array(0.5) for key in ("elevation", "field_of_view", "first_frame", "name", "action")}

    parts = [part(3), part(5)]
    parts[1]["error"][2] = np.nan
    joined = join(parts)
    assert joined["length"].tolist() == [3, 5]
    assert joined["truth"][:, 0, 0].tolist() == [3] * 3 + [5] * 5
    assert (joined["error"][5] == 0).all() and joined["error"].dtype == np.float16
    assert (joined["confidence"] == 255).all() and joined["elevation"].shape == (2,)
