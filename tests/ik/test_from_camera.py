# SPDX-License-Identifier: GPL-3.0-or-later
import dataclasses

import numpy as np
import pytest
import roma
import torch

from synthetic import NAMES, Scene, moving_person, see
from video2rig.human import default_human
from video2rig.ik import BodyModel, CameraSolver, NobodySeen, RotationPrior, Solution, long_clip
from video2rig.keypoints import Keypoints

_ARM = ("elbow", "wrist", "index", "pinky", "thumb")


def solve(scene: Scene, keypoints: Keypoints | None = None, hz: float = 15.0) -> tuple[CameraSolver, Solution]:
    solver = CameraSolver(default_human(), keypoints or scene.keypoints, scene.camera, hz)
    return solver, solver.solve()


def errors(scene: Scene, solver: CameraSolver, solution: Solution) -> tuple[np.ndarray, np.ndarray]:
    """Distances of the keypoints from where they are on the body [T, K], metres, and of the rotations [T, J], degrees.

    The person's distance is left out: one camera tells it only as well as the person's size.
    """
    points = solver.model.points(solution.pose) - scene.model.points(scene.pose)
    points = points - points.mean(dim=1, keepdim=True)
    chain = scene.model.chain
    mine, true = (chain.local_rotations(scene.model.full_angles(pose.angles)) for pose in (solution.pose, scene.pose))
    return points.norm(dim=-1).numpy(), roma.rotmat_geodesic_distance(mine, true).rad2deg().numpy()


def without_frames(keypoints: Keypoints, frames: list[int]) -> Keypoints:
    positions, confidence = keypoints.positions.copy(), keypoints.confidence.copy()
    assert keypoints.world is not None
    world = keypoints.world.copy()
    positions[frames], confidence[frames], world[frames] = np.nan, 0.0, np.nan
    return dataclasses.replace(keypoints, positions=positions, confidence=confidence, world=world)


def check_plain(scene: Scene, solver: CameraSolver, solution: Solution) -> None:
    frames = len(scene.keypoints.times)
    pose = solution.pose
    assert len(pose) == frames and solution.confidence.shape == (frames, len(solver.model.skeleton))
    for tensor in (pose.root_position, pose.root_rotation, pose.angles, solution.confidence):
        assert torch.isfinite(tensor).all()
    assert ((pose.angles >= solver.model.lower) & (pose.angles <= solver.model.upper)).all()


def test_a_perfectly_seen_person_is_recovered() -> None:
    scene = moving_person(np.random.default_rng(0), frames=60)
    solver, solution = solve(scene)
    check_plain(scene, solver, solution)
    distance, angle = errors(scene, solver, solution)
    assert distance.mean() < 0.035
    for role in ("left_knee", "right_knee"):
        assert angle[:, scene.model.skeleton.index(role)].mean() < 4
    lengths = solver.model.skeleton.length / scene.model.skeleton.length
    assert np.abs(np.log(lengths)).max() < 0.12


def test_the_persons_own_proportions_are_found() -> None:
    long_legged = np.ones((2, 22))  # of the distances from their parents, and of the bones' own lengths
    human = default_human()
    for side in ("left", "right"):
        hip, knee, ankle = (human.index(f"{side}_{part}") for part in ("hip", "knee", "ankle"))
        long_legged[0, [knee, ankle]] = long_legged[1, [hip, knee]] = 1.07
    scene = moving_person(np.random.default_rng(1), frames=60, skeleton=human.scaled(*long_legged))
    found = CameraSolver(human, scene.keypoints, scene.camera, 15.0).model.skeleton
    legs = [found.index("left_hip"), found.index("left_knee")]
    trunk = [found.index("spine_middle"), found.index("neck")]
    assert found.length[legs].sum() / human.length[legs].sum() > found.length[trunk].sum() / human.length[trunk].sum()
    left = [j for j, name in enumerate(found.names) if name.endswith(".L")]
    right = [found.index(found.names[j].replace(".L", ".R")) for j in left]
    assert np.array_equal(found.length[left], found.length[right])


def test_windows_give_what_one_piece_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = moving_person(np.random.default_rng(2), frames=120, noise=3.0)
    _, whole = solve(scene, hz=6.0)
    monkeypatch.setattr(long_clip, "WINDOW", 50)
    _, windows = solve(scene, hz=6.0)
    assert (whole.pose.angles - windows.pose.angles).rad2deg().abs().max() < 1e-3


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_the_shortest_sequences_are_solved(frames: int) -> None:
    scene = moving_person(np.random.default_rng(3), frames)
    check_plain(scene, *solve(scene))


def test_a_person_who_leaves_and_comes_back_is_held_and_joined() -> None:
    scene = moving_person(np.random.default_rng(4), frames=40)
    away = [0, 1, *range(15, 25), 39]
    solver, solution = solve(scene, without_frames(scene.keypoints, away))
    check_plain(scene, solver, solution)
    assert (solution.confidence[away] == 0).all() and (solution.confidence[5] > 0).all()
    assert torch.equal(solution.pose.angles[0], solution.pose.angles[2])
    steps = solution.pose.root_position[14:26].diff(dim=0)
    assert torch.allclose(steps, steps.mean(0), atol=1e-9)


def test_a_limb_that_is_never_seen_stays_relaxed_and_says_so() -> None:
    scene = moving_person(np.random.default_rng(5), frames=20)
    arm = [k for k, name in enumerate(NAMES) if name in ("left_elbow", "left_wrist") or "left_index" in name]
    hidden = [*arm, NAMES.index("left_pinky"), NAMES.index("left_thumb")]
    confidence = scene.keypoints.confidence.copy()
    confidence[:, hidden] = 0.0
    solver, solution = solve(scene, dataclasses.replace(scene.keypoints, confidence=confidence))
    check_plain(scene, solver, solution)
    skeleton = solver.model.skeleton
    assert solution.confidence[:, skeleton.index("left_elbow")].max() < 0.01
    assert solution.confidence[:, skeleton.index("right_elbow")].min() > 0.3


def test_without_depth_from_the_detector_a_pose_is_still_found() -> None:
    scene = moving_person(np.random.default_rng(6), frames=20)
    check_plain(scene, *solve(scene, dataclasses.replace(scene.keypoints, world=None)))


def test_nobody_is_an_error() -> None:
    scene = moving_person(np.random.default_rng(7), frames=3)
    with pytest.raises(NobodySeen, match="no person"):
        solve(scene, without_frames(scene.keypoints, [0, 1, 2]))


def test_an_impossible_pose_ends_at_the_bounds() -> None:
    """A knee that is seen bent the wrong way straightens and bends no further."""
    human = default_human()
    wrong = BodyModel.for_keypoints(human, NAMES)
    knee = (wrong.dof_joint == human.index("left_knee")).nonzero().item()
    scene = moving_person(np.random.default_rng(8), frames=10)
    scene.pose.angles[:, knee] = -1.0
    keypoints = see(wrong, scene.pose, scene.camera, scene.keypoints.times, np.random.default_rng(0))
    solver, solution = solve(scene, keypoints)
    check_plain(scene, solver, solution)
    assert solution.pose.angles[:, knee].max() < np.radians(15)


def test_measuring_the_body_may_be_aborted() -> None:
    scene = moving_person(np.random.default_rng(9), frames=3)

    class Stop(Exception):
        pass

    def abort(done: int, total: int) -> None:
        raise Stop

    with pytest.raises(Stop):
        CameraSolver(default_human(), scene.keypoints, scene.camera, 6.0, progress=abort)


def test_a_guessed_focal_length_is_corrected() -> None:
    """The person comes near: how much larger than the rest of them what is nearest looks tells the distance."""
    scene = moving_person(np.random.default_rng(10), frames=60)
    position = scene.pose.root_position.clone()
    position[:, 2] = torch.linspace(5.0, 1.8, 60, dtype=torch.float64)
    pose = dataclasses.replace(scene.pose, root_position=position)
    keypoints = see(scene.model, pose, scene.camera, scene.keypoints.times, np.random.default_rng(0))
    off = []
    for factor in (0.8, 1.25):
        guess = dataclasses.replace(scene.camera, focal=scene.camera.focal * factor)
        found = CameraSolver(default_human(), keypoints, guess, 15.0, estimate_focal=True).camera.focal
        off.append(abs(np.log(found / scene.camera.focal)))
        kept = CameraSolver(default_human(), keypoints, guess, 15.0).camera.focal
        assert kept == guess.focal
    assert max(off) < 0.5 * np.log(1.25)


def test_a_regressions_rotations_tell_what_no_keypoint_does() -> None:
    scene = moving_person(np.random.default_rng(11), frames=20)
    hidden = [k for k, name in enumerate(NAMES) if name.startswith("left_") and name[5:] in _ARM]
    confidence = scene.keypoints.confidence.copy()
    confidence[:, hidden] = 0.0
    keypoints = dataclasses.replace(scene.keypoints, confidence=confidence)
    model = scene.model
    rotation = model.chain.local_rotations(model.full_angles(scene.pose.angles)).clone()
    rotation[:, 0] = scene.pose.root_rotation
    whitening = np.zeros(rotation.shape)
    whitening[:] = np.eye(3) / np.radians(3.0)
    elbow = model.skeleton.index("left_elbow")
    apart = []
    prior = RotationPrior(rotation.numpy(), whitening)
    for predict in (None, lambda *known: prior):
        solver = CameraSolver(default_human(), keypoints, scene.camera, 15.0, predict=predict)
        apart.append(errors(scene, solver, solver.solve())[1][:, elbow].mean())
    assert apart[0] > 10 and apart[1] < 2
