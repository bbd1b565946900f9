# SPDX-License-Identifier: GPL-3.0-or-later
"""The way from keypoints to a take, and what holds of every take."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from fake_people import FakeBackend
from synthetic import FACING, Scene, moving_person, see
from video2rig.bounds import joint_angles
from video2rig.contacts import Feet
from video2rig.human import default_human
from video2rig.ik import BodyModel, NobodySeen, Pose
from video2rig.ik.prior import relaxed_pose
from video2rig.keypoints import KEYPOINT_SETS
from video2rig.kinematics import joint_positions, keypoint_positions
from video2rig.pipeline import Pipeline
from video2rig.settings import Settings
from video2rig.skeleton import Skeleton, SkeletonError
from video2rig.solving import solve_keypoints
from video2rig.take import Take

FACTS = {"name": "clip.mp4", "width": 1280, "height": 720, "fps": 30.0}


def solve(scene: Scene, **changes) -> Take:
    settings = dataclasses.replace(Settings(field_of_view=float(np.radians(60)), height=1.75), **changes)
    return solve_keypoints(scene.keypoints, settings, FACTS, {"settings": settings.to_json()})


def euler_angles(skeleton: Skeleton, quaternions: np.ndarray) -> np.ndarray:
    """Return [T, J, 3] angles about x, y, z in each joint's own order, radians."""
    angles = np.zeros((*quaternions.shape[:2], 3))
    for joint, order in enumerate(skeleton.euler_order):
        turn = Rotation.from_quat(quaternions[:, joint], scalar_first=True).as_euler(order.lower())
        angles[:, joint, ["XYZ".index(axis) for axis in order]] = turn
    return angles


@pytest.fixture(scope="module")
def scene() -> Scene:
    return moving_person(np.random.default_rng(0), frames=60, noise=2.0)


@pytest.fixture(scope="module")
def take(scene: Scene) -> Take:
    return solve(scene)


def test_every_rotation_is_inside_its_range_of_motion(take: Take) -> None:
    skeleton = take.motion.skeleton
    angles = euler_angles(skeleton, take.motion.rotations)[:, 1:]
    lower, upper = skeleton.rom[1:, :, 0], skeleton.rom[1:, :, 1]
    assert (angles >= lower - 1e-7).all() and (angles <= upper + 1e-7).all()


def test_the_body_looks_through_the_solved_camera_as_it_was_seen(take: Take) -> None:
    pixels = take.camera.project(keypoint_positions(take.motion, take.keypoints.names))
    distance = np.linalg.norm(pixels - take.keypoints.positions, axis=-1)
    assert np.median(distance) < 8


def test_frames_keep_the_videos_own_times(scene: Scene, take: Take) -> None:
    assert np.array_equal(take.motion.times, scene.keypoints.times)
    assert take.video == FACTS


def test_the_scale_is_the_height_that_was_told(scene: Scene) -> None:
    short, tall = solve(scene, height=1.5, contacts="off"), solve(scene, height=2.0, contacts="off")
    ratio = tall.motion.skeleton.length / short.motion.skeleton.length
    assert np.allclose(ratio, 2.0 / 1.5, rtol=0.05)


def test_bones_keep_their_lengths(take: Take) -> None:
    positions, _ = joint_positions(take.motion)
    skeleton = take.motion.skeleton
    shin = np.linalg.norm(
        positions[:, skeleton.index("left_ankle")] - positions[:, skeleton.index("left_knee")], axis=1
    )
    assert np.ptp(shin) < 1e-9


def test_a_told_tilt_is_kept(scene: Scene) -> None:
    camera = solve(scene, tilt=float(np.radians(20)), contacts="off").camera
    assert np.degrees(np.arcsin(-camera.rotation[2, 2])) == pytest.approx(20)


def test_feet_in_contact_are_held(scene: Scene) -> None:
    """Somebody stands still and is seen to tremble: held, the feet tremble much less."""
    frames = len(scene.keypoints.times)
    relaxed, _ = relaxed_pose(scene.model.skeleton, scene.model.dof_joint, scene.model.dof_axis)
    standing = Pose(
        torch.tensor([[0.0, 0.0, 4.0]], dtype=torch.float64).expand(frames, 3),
        FACING.expand(frames, 3, 3),
        relaxed.expand(frames, -1),
    )
    rng = np.random.default_rng(1)
    seen = see(scene.model, standing, scene.camera, scene.keypoints.times, rng, noise=4.0)
    trembling = scene._replace(keypoints=seen)
    free, held = solve(trembling, contacts="off"), solve(trembling, contacts="auto")
    assert {contact.joint for contact in held.motion.contacts} == {"foot.L", "foot.R", "toe.L", "toe.R"}

    def slide(take: Take) -> float:
        heels = keypoint_positions(take.motion, ("left_heel", "right_heel"))
        return float(np.linalg.norm(np.diff(heels, axis=0), axis=-1).mean())

    assert slide(held) < 0.4 * slide(free)


@pytest.mark.parametrize("contacts", ["auto", "always"])
@pytest.mark.parametrize("seed", [1, 2])
def test_no_foot_sinks_into_the_floor(seed: int, contacts: str) -> None:
    moving = moving_person(np.random.default_rng(seed), frames=60, noise=2.0)
    motion = solve(moving, contacts=contacts).motion
    names = moving.keypoints.names
    feet = Feet(BodyModel.for_keypoints(motion.skeleton, names))
    height = keypoint_positions(motion, names)[:, feet.keypoints, 2] - feet.standing
    assert height.min() > -0.02


@pytest.mark.parametrize("name", ["athlete", "kinepose", "opensim"])
def test_a_profile_is_what_is_solved(scene: Scene, name: str) -> None:
    motion = solve(scene, rom=name, contacts="off").motion
    rom = default_human(rom=name).rom
    assert np.array_equal(motion.skeleton.rom, rom)
    angles = joint_angles(motion)[:, 1:]
    assert (angles >= rom[1:, :, 0] - 1e-7).all() and (angles <= rom[1:, :, 1] + 1e-7).all()


def test_a_rigs_own_skeleton_is_solved_as_it_is(scene: Scene) -> None:
    """Its proportions are kept, and what an animator limited, locked or left free is what bounds the motion."""
    human = default_human(1.9).scaled(np.linspace(0.95, 1.05, 22), np.linspace(0.95, 1.05, 22))
    rom, orders = human.rom.copy(), list(human.euler_order)
    rom[human.index("left_knee"), 0] = np.radians([20, 40])
    rom[human.index("right_elbow"), 1] = 0.0
    rom[human.index("right_shoulder")] = [-np.pi, np.pi]
    orders[human.index("right_shoulder")] = "XYZ"
    mine = dataclasses.replace(human, rom=rom, euler_order=tuple(orders))
    take = solve_keypoints(scene.keypoints, Settings(height=1.5), FACTS, {}, skeleton=mine)
    assert take.motion.skeleton.to_json() == mine.to_json()
    knee = joint_angles(take.motion)[:, mine.index("left_knee"), 0]
    assert np.degrees(knee).min() >= 20 - 1e-6 and np.degrees(knee).max() <= 40 + 1e-6
    assert np.isfinite(take.motion.rotations).all()


def test_a_rig_without_the_joints_that_were_seen_is_refused_before_any_frame(scene: Scene) -> None:
    headless = dataclasses.replace(default_human(), roles=("",) * 22)
    with pytest.raises(SkeletonError, match="no joint 'head'"):
        Pipeline(Settings(), FACTS, FakeBackend(), headless)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["coco_17", "halpe_26", "h36m_17"])
def test_other_keypoint_sets_are_solved(name: str) -> None:
    scene = moving_person(np.random.default_rng(2), frames=10)
    model = BodyModel.for_keypoints(scene.model.skeleton, KEYPOINT_SETS[name])
    seen = see(model, scene.pose, scene.camera, scene.keypoints.times, np.random.default_rng(0))
    take = solve(scene._replace(keypoints=seen))
    assert take.keypoints.set_name == name and np.isfinite(take.motion.root_position).all()


def test_nobody_is_an_error(scene: Scene) -> None:
    empty = dataclasses.replace(
        scene.keypoints,
        positions=np.full_like(scene.keypoints.positions, np.nan),
        confidence=np.zeros_like(scene.keypoints.confidence),
        world=None,
    )
    with pytest.raises(NobodySeen, match="no person"):
        solve(scene._replace(keypoints=empty))


def test_progress_names_its_stages_and_may_abort(scene: Scene) -> None:
    class Stop(Exception):
        pass

    stages = []

    def progress(stage: str, done: int, total: int) -> None:
        stages.append(stage)
        assert 0 <= done <= total == 60
        if stage == "holding feet still":
            raise Stop

    with pytest.raises(Stop):
        solve_keypoints(scene.keypoints, Settings(), FACTS, {}, progress)
    assert stages[0] == "measuring the body" and "solving" in stages
