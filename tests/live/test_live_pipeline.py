# SPDX-License-Identifier: GPL-3.0-or-later
"""The way of a live frame: keypoints of a known motion, the floor, and the sample with the real detector."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fake_people import CAMERA, CAMERA_HEIGHT, Standing, stand
from shared_data import SAMPLE, blazepose_files
from synthetic import moving_person
from video2rig.errors import Video2RigError
from video2rig.frames import open_video
from video2rig.human import default_human
from video2rig.ik.live import LiveFrame
from video2rig.ik.live_camera import LiveCamera
from video2rig.ik.to_motion import local_quaternions
from video2rig.keypoints import Keypoints
from video2rig.kinematics import joint_positions, keypoint_positions
from video2rig.live.pipeline import LAG, LivePipeline
from video2rig.live.world import RunningWorld
from video2rig.motion import Motion
from video2rig.pipeline import Backend
from video2rig.settings import Settings
from video2rig.skeleton import Skeleton


def frame_of(keypoints: Keypoints, number: int) -> Keypoints:
    """One frame of keypoints."""
    one = slice(number, number + 1)
    world = None if keypoints.world is None else keypoints.world[one]
    return Keypoints(
        keypoints.set_name, keypoints.positions[one], keypoints.confidence[one], keypoints.times[one], world
    )


def solved(skeleton: Skeleton, keypoints: Keypoints, camera, lag: int = LAG) -> list[LiveFrame]:
    """Live frames of keypoints, in the camera's axes."""
    seen_by = LiveCamera(skeleton, keypoints.set_name, keypoints.world is not None, camera)
    solver = seen_by.solver(skeleton, lag, 6.0)
    frames = [
        solver.push(float(keypoints.times[number]), *seen_by.points(frame_of(keypoints, number)))
        for number in range(len(keypoints.times))
    ]
    return [frame for frame in [*frames, *solver.flush()] if frame is not None]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_person_before_a_camera_is_followed(seed: int) -> None:
    scene = moving_person(np.random.default_rng(seed), frames=60, noise=1.0)
    frames = solved(scene.model.skeleton, scene.keypoints, scene.camera)
    assert len(frames) == 60 and np.allclose([frame.time for frame in frames], scene.keypoints.times)
    roots = np.array([frame.root_position for frame in frames])
    assert np.linalg.norm(roots - scene.pose.root_position.numpy(), axis=1)[10:].mean() < 0.06
    truth = local_quaternions(scene.model, scene.pose)
    found = np.array([frame.rotations for frame in frames])
    apart = np.degrees(2 * np.arccos(np.abs((found * truth).sum(-1)).clip(0, 1)))
    hinges = [scene.model.skeleton.index(f"{side}_{role}") for side in ("left", "right") for role in ("knee", "elbow")]
    assert np.median(apart[10:, hinges]) < 8.0


def test_without_depth_rays_alone_do() -> None:
    scene = moving_person(np.random.default_rng(3), frames=40)
    flat = Keypoints(
        scene.keypoints.set_name, scene.keypoints.positions, scene.keypoints.confidence, scene.keypoints.times
    )
    frames = solved(scene.model.skeleton, flat, scene.camera)
    motion = as_motion(scene.model.skeleton, frames)
    shown = scene.camera.project(keypoint_positions(motion, scene.model.names))
    assert np.median(np.linalg.norm(shown - flat.positions, axis=-1)[10:]) < 10.0


def as_motion(skeleton: Skeleton, frames: list[LiveFrame]) -> Motion:
    times, rotations, roots, confidence = (np.array(column) for column in zip(*frames, strict=True))
    return Motion(skeleton, times, rotations, roots, confidence)


@pytest.mark.parametrize("tilt", [0.0, 0.2])
def test_the_floor_is_found_and_then_stays(tilt: float) -> None:
    skeleton = default_human()
    keypoints = stand(Standing(1.75, 0.3, 4.0), frames=110, tilt=tilt)
    seen_by = LiveCamera(skeleton, keypoints.set_name, True, CAMERA)
    solver = seen_by.solver(skeleton, LAG, 6.0)
    world = RunningWorld(solver.model, CAMERA, tilt)
    placed, cameras = [], []
    for number in range(len(keypoints.times)):
        pose = solver.push(float(keypoints.times[number]), *seen_by.points(frame_of(keypoints, number)))
        if pose is not None:
            placed.append(world.place(pose))
            cameras.append(world.camera)
    motion = as_motion(skeleton, placed)
    positions, _ = joint_positions(motion)
    # upright, above the origin, feet on the floor, facing the camera that looks along +Y
    assert np.abs(positions[-20:, skeleton.index("head")] - positions[-20:, 0])[:, :2].max() < 0.15
    assert positions[-1, skeleton.index("left_ankle"), 2] == pytest.approx(0.07, abs=0.05)
    assert np.linalg.norm(positions[-1, 0, :2]) < 0.1
    front = Rotation.from_quat(motion.rotations[-1, 0], scalar_first=True).apply([0.0, 0.0, 1.0])
    assert np.degrees(np.arccos(front @ [0, 0, 1])) < 15  # as at rest, where it faces -Y
    assert cameras[-1].position[2] == pytest.approx(CAMERA_HEIGHT, abs=0.15)
    assert all(camera is cameras[-1] for camera in cameras[91:])


def test_others_than_the_largest_cannot_be_asked_for() -> None:
    with pytest.raises(Video2RigError, match="largest person is followed; person '2' is for videos"):
        LivePipeline(Settings(person="2"), {"width": 64, "height": 48}, Backend("cpu"))


def test_the_sample_is_followed_with_one_look_a_frame() -> None:
    blazepose_files()
    source = open_video(SAMPLE)
    pipeline = LivePipeline(Settings(device="cpu"), source.info.facts(), Backend("cpu"))
    answers = []
    for frame in source.frames():
        if frame.index == 60:
            break
        answers.append(pipeline.push(frame.image, frame.time))
    assert pipeline._follower.searched == 1
    assert all(answer.keypoints.seen()[0] for answer in answers)
    poses = [answer.pose for answer in answers]
    assert poses[:LAG] == [None] * LAG and all(pose is not None for pose in poses[LAG:])
    assert [pose.time for pose in poses[LAG:]] == [float(answer.keypoints.times[0]) for answer in answers[:-LAG]]
    # nobody: the pose is held, and no number is anything but finite
    dark = np.zeros_like(frame.image)
    for number in range(12):
        answer = pipeline.push(dark, frame.time + number / 30)
        assert not answer.keypoints.seen()[0] and answer.pose is not None
        assert np.isfinite(answer.pose.rotations).all() and np.isfinite(answer.pose.root_position).all()
    assert not answer.pose.confidence.any()


def test_a_rig_takes_over_what_is_seen_of_the_person() -> None:
    """Its arms are shorter and its legs longer; each limb still points where it does without the rig."""
    blazepose_files()
    scene = moving_person(np.random.default_rng(1), frames=20)
    human = default_human()
    factor = np.array([0.7 if "wrist" in role or "elbow" in role else 1.2 for role in human.roles])
    rig, facts = human.scaled(factor, factor), {"width": scene.camera.width, "height": scene.camera.height}
    places = []
    for skeleton in (None, rig):
        pipeline = LivePipeline(Settings(device="cpu"), facts, Backend("cpu"), skeleton)
        poses = [pipeline.solve(frame_of(scene.keypoints, number)) for number in range(20)]
        frames = [pose for pose in poses if pose is not None]
        motion = as_motion(pipeline.skeleton, frames)
        assert len(frames) == 20 - LAG and motion.skeleton.to_json() == (skeleton or human).to_json()
        given = np.stack([frame.rotations for frame in frames])
        assert ((given[1:] * given[:-1]).sum(-1) > 0).all()
        places.append(joint_positions(motion)[0])
    begin, end = ([human.index(f"{side}_{role}") for side in ("left", "right")] for role in ("elbow", "wrist"))
    along = [place[:, end] - place[:, begin] for place in places]
    along = [each / np.linalg.norm(each, axis=-1, keepdims=True) for each in along]
    assert np.degrees(np.linalg.norm(along[0] - along[1], axis=-1).max()) < 0.1
