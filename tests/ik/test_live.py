# SPDX-License-Identifier: GPL-3.0-or-later
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import roma
import torch
from hypothesis import given, settings
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from strategies import seeds
from video2rig.human import default_human
from video2rig.ik.evidence import Directions, Rays
from video2rig.ik.from_markers import solve_markers
from video2rig.ik.live import MOST_LAG, LiveError, LiveFrame, LiveSolver
from video2rig.ik.model import BodyModel, Pose
from video2rig.ik.objective import Objective
from video2rig.ik.running import Frame
from video2rig.ik.sequence import Sequence
from video2rig.ik.to_motion import local_quaternions
from video2rig.keypoints import KEYPOINT_SETS, sites
from video2rig.markers import Markers
from video2rig.skeleton import Skeleton

SKELETON = default_human()
NAMES = KEYPOINT_SETS["blazepose_33"]
MODEL = BodyModel(SKELETON, sites(SKELETON, NAMES))
SEEN = np.ones(len(NAMES))
PAIRS = np.array(
    [
        (NAMES.index(f"{side}_{begin}"), NAMES.index(f"{side}_{end}"))
        for side in ("left", "right")
        for begin, end in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
    ]
    + [
        (NAMES.index("left_hip"), NAMES.index("right_hip")),
        (NAMES.index("left_shoulder"), NAMES.index("right_shoulder")),
    ]
)
AS_IT_IS = np.zeros(MODEL.groups)


class Scene(NamedTuple):
    """The truth, and the points seen of it: [T], [T, J, 4], [T, 3], [T, K, 3]."""

    times: np.ndarray
    rotations: np.ndarray
    root: np.ndarray
    points: np.ndarray


def scene(seed: int, frames: int = 90, noise: float = 0.005, turning: float = 60.0, stretch: float = 0.0) -> Scene:
    """A person who moves smoothly inside the range of motion, walks in a circle and turns, at 30 frames a second.

    Args:
        noise: Of a coordinate, metres. turning: Degrees a second. stretch: Deviation of the lengths' logarithms.
    """
    rng = np.random.default_rng(seed)
    walk = gaussian_filter1d(rng.normal(size=(frames, len(MODEL.lower))), 10, axis=0, mode="wrap")
    walk /= walk.std(axis=0) + 1e-9
    times = np.arange(frames) / 30.0
    turn = np.zeros((frames, 3))
    turn[:, 2] = np.radians(turning) * times
    resting = torch.tensor(SKELETON.rest_matrices()[0, :3, :3])
    middle, half = (MODEL.lower + MODEL.upper) / 2, (MODEL.upper - MODEL.lower) / 2
    pose = Pose(
        torch.tensor(np.stack([np.sin(times), np.cos(times), 1 + 0.1 * np.sin(3 * times)], axis=1)),
        roma.rotvec_to_rotmat(torch.tensor(turn)) @ resting,
        middle + 0.6 * half * torch.tensor(np.tanh(walk)),
    )
    lengths = torch.tensor(rng.normal(0.0, stretch, MODEL.groups))
    points = MODEL.points(pose, lengths).numpy() + rng.normal(0.0, noise, (frames, len(NAMES), 3))
    return Scene(times, local_quaternions(MODEL, pose), pose.root_position.numpy(), points)


def run(solver: LiveSolver, seen: Scene, confidence: np.ndarray | None = None) -> list[LiveFrame]:
    """Push all frames and return all answers."""
    confidence = np.ones(seen.points.shape[:2]) if confidence is None else confidence
    answers = [solver.push(*frame) for frame in zip(seen.times, seen.points, confidence, strict=True)]
    return [answer for answer in answers if answer is not None] + solver.flush()


def degrees_apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.degrees(2 * np.arccos(np.abs((one * other).sum(axis=-1)).clip(0, 1)))


def rotations_of(frames: Iterable[LiveFrame]) -> np.ndarray:
    return np.array([frame.rotations for frame in frames])


def outside_range(rotations: np.ndarray) -> float:
    """By how much [T, J, 4] rotations leave the range of motion at most, radians."""
    worst = 0.0
    for joint in range(1, len(SKELETON)):
        order = SKELETON.euler_order[joint]
        angles = Rotation.from_quat(rotations[:, joint], scalar_first=True).as_euler(order.lower())
        bounds = SKELETON.rom[joint, ["XYZ".index(axis) for axis in order]]
        worst = max(worst, float((bounds[:, 0] - angles).max()), float((angles - bounds[:, 1]).max()))
    return worst


@pytest.mark.parametrize("lag", [0, 2, MOST_LAG])
def test_every_frame_comes_out_once_and_no_later_than_the_lag(lag: int) -> None:
    seen = scene(1, 14)
    solver = LiveSolver(SKELETON, NAMES, lag=lag, lengths=AS_IT_IS)
    for number, time in enumerate(seen.times):
        answer = solver.push(float(time), seen.points[number], SEEN)
        assert (answer is None) == (number < lag)
        if answer is not None:
            assert answer.time == seen.times[number - lag]
    assert [frame.time for frame in solver.flush()] == seen.times[len(seen.times) - lag :].tolist()
    assert not solver.flush()
    assert solver.motion().times.tolist() == seen.times.tolist()


@pytest.mark.parametrize("seed", [2, 5, 7])
def test_a_live_sequence_is_nearly_as_good_as_one_solved_as_a_whole(seed: int) -> None:
    seen = scene(seed, 120, stretch=0.05)
    solver = LiveSolver(SKELETON, NAMES)
    live = rotations_of(run(solver, seen))
    whole = solve_markers(SKELETON, Markers(NAMES, seen.points, np.ones(seen.points.shape[:2]), seen.times))
    assert degrees_apart(live, whole.rotations).mean() < 6.0
    assert degrees_apart(live, seen.rotations).mean() < degrees_apart(whole.rotations, seen.rotations).mean() + 2.0
    assert np.abs(np.log(solver.skeleton.length / whole.skeleton.length)).mean() < 0.03


def test_known_lengths_and_good_points_give_the_true_pose() -> None:
    seen = scene(3, 60, noise=0.001)
    live = rotations_of(run(LiveSolver(SKELETON, NAMES, lengths=AS_IT_IS), seen))
    told = [SKELETON.index(role) for role in ("left_knee", "right_knee", "left_elbow", "right_elbow")]
    assert np.median(degrees_apart(live, seen.rotations)[20:, told], axis=0).max() < 1.5


def test_what_was_given_out_never_changes() -> None:
    seen = scene(4, 50)
    solver = LiveSolver(SKELETON, NAMES)
    answers, copies = [], []
    for time, points in zip(seen.times, seen.points, strict=True):
        answer = solver.push(float(time), points, SEEN)
        if answer is not None:
            answers.append(answer)
            copies.append([np.copy(array) for array in answer[1:]])
            with pytest.raises(ValueError, match="read-only"):
                answer.rotations[0] = 0.0
    for answer, copy in zip(answers, copies, strict=True):
        for array, kept in zip(answer[1:], copy, strict=True):
            assert np.array_equal(array, kept)
    motion = solver.motion()
    assert np.allclose(motion.rotations, rotations_of(answers), atol=1e-12)
    assert np.array_equal(motion.root_position, [answer.root_position for answer in answers])


def test_a_gap_holds_the_pose_without_confidence_and_the_person_is_found_again_elsewhere() -> None:
    seen = scene(5, 70)
    gap = slice(30, 45)
    points = seen.points.copy()
    half_turn = np.diag([-1.0, -1.0, 1.0])
    points[45:] = points[45:] @ half_turn + [2.0, 0.0, 0.0]
    points[gap] = np.nan
    confidence = np.ones(points.shape[:2])
    confidence[gap] = 0.0
    frames = run(LiveSolver(SKELETON, NAMES, lengths=AS_IT_IS), seen._replace(points=points), confidence)
    trust = np.array([frame.confidence for frame in frames])
    assert (trust[gap] == 0).all() and (trust[:30] > 0).all() and (trust[45:] > 0).all()
    rotations, roots = rotations_of(frames), np.array([frame.root_position for frame in frames])
    assert np.array_equal(rotations[29:40], np.repeat(rotations[29:30], 11, axis=0))
    assert np.array_equal(roots[29:40], np.repeat(roots[29:30], 11, axis=0))
    expected = seen.root[45:] @ half_turn + [2.0, 0.0, 0.0]
    assert np.linalg.norm(roots[45:] - expected, axis=1).max() < 0.03
    assert np.median(degrees_apart(rotations[45:, 1:], seen.rotations[45:, 1:])) < 6.0
    assert outside_range(rotations) < 1e-6


def test_frames_missed_between_others_lie_on_the_way() -> None:
    seen = scene(6, 40, noise=0.001)
    confidence = np.ones(seen.points.shape[:2])
    confidence[20:22] = 0.0
    frames = run(LiveSolver(SKELETON, NAMES, lengths=AS_IT_IS), seen, confidence)
    roots = np.array([frame.root_position for frame in frames])
    assert np.linalg.norm(roots[20:22] - seen.root[20:22], axis=1).max() < 0.02
    assert (frames[20].confidence == 0).all() and (frames[22].confidence > 0).all()


def test_a_person_who_spins_is_followed() -> None:
    seen = scene(7, 60, turning=540.0)
    live = rotations_of(run(LiveSolver(SKELETON, NAMES, lengths=AS_IT_IS), seen))
    assert degrees_apart(live[:, 0], seen.rotations[:, 0]).max() < 15.0


def seen_by_a_camera(model: BodyModel, frames: list[Frame], estimate_lengths: bool) -> Sequence:
    """Frames whose points [K, 5] are rays, and landmarks about the person's middle in the camera's axes."""
    assert not estimate_lengths
    points = torch.tensor(np.array([frame.points for frame in frames]))
    confidence = torch.tensor(np.array([frame.confidence for frame in frames]))
    rays, landmarks = points[..., :2], points[..., 2:]
    depth = landmarks[..., :2].std(dim=1).norm(dim=-1) / rays.std(dim=1).norm(dim=-1)

    def place(pose: Pose, lengths: torch.Tensor, chosen: slice) -> Pose:
        ahead = torch.cat([rays[chosen].mean(dim=1), torch.ones(len(pose), 1)], dim=1) * depth[chosen, None]
        return replace(pose, root_position=pose.root_position + ahead - model.points(pose, lengths).mean(dim=1))

    evidence = [
        Rays(rays[None], confidence[None], depth[None], *torch.tensor([0.01, 0.002], dtype=torch.float64)),
        Directions(
            len(NAMES),
            torch.nn.functional.normalize(landmarks[:, PAIRS[:, 1]] - landmarks[:, PAIRS[:, 0]], dim=-1)[None],
            torch.ones(1, len(frames), len(PAIRS), dtype=torch.float64),
            *torch.tensor([[0.03], [0.001]], dtype=torch.float64).expand(2, 3),
        ),
    ]
    middle, width = (model.lower + model.upper) / 2, model.upper - model.lower
    times = np.array([frame.time for frame in frames])
    return Sequence(Objective(model, evidence, middle, width), times, 1 / 30, landmarks[None], confidence[None], place)


def test_a_camera_is_another_evidence() -> None:
    seen = scene(12, 40, noise=0.0)
    to_camera = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    points = seen.points @ to_camera.T + [0.0, 1.0, 4.0]
    rays = points[..., :2] / points[..., 2:] + np.random.default_rng(0).normal(0.0, 0.001, (*points.shape[:2], 2))
    points = np.concatenate([rays, points - points.mean(axis=1, keepdims=True)], axis=-1)
    solver = LiveSolver(SKELETON, NAMES, lengths=AS_IT_IS, evidence_of=seen_by_a_camera, pairs=PAIRS)
    frames = run(solver, seen._replace(points=points))
    roots = np.array([frame.root_position for frame in frames])
    assert np.linalg.norm(roots - (seen.root @ to_camera.T + [0.0, 1.0, 4.0]), axis=1).max() < 0.1
    told = [SKELETON.index(role) for role in ("left_knee", "right_knee", "left_elbow", "right_elbow")]
    assert np.median(degrees_apart(rotations_of(frames), seen.rotations)[:, told]) < 5.0


def test_before_anybody_is_seen_the_body_rests() -> None:
    seen = scene(8, 30)
    confidence = np.ones(seen.points.shape[:2])
    confidence[:10] = 0.0
    frames = run(LiveSolver(SKELETON, NAMES), seen, confidence)
    rotations = rotations_of(frames)
    assert (degrees_apart(rotations[:10], np.array([1.0, 0, 0, 0])) < 1e-3).all()
    assert all((frame.confidence == 0).all() for frame in frames[:10])
    assert np.linalg.norm(frames[10].root_position - seen.root[10]) < 0.05


def test_nobody_at_all_is_no_error() -> None:
    solver = LiveSolver(SKELETON, NAMES)
    frames = run(solver, scene(8, 8), np.zeros((8, len(NAMES))))
    assert len(frames) == 8 and np.isfinite(rotations_of(frames)).all()
    assert (solver.motion().confidence == 0).all()


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_fewer_frames_than_the_lag_come_out_at_the_end(count: int) -> None:
    seen = scene(9, 20)
    short = Scene(*(array[:count] for array in seen))
    frames = run(LiveSolver(SKELETON, NAMES, lengths=AS_IT_IS), short)
    roots = np.array([frame.root_position for frame in frames])
    assert np.linalg.norm(roots - short.root, axis=1).max() < 0.05


@given(seeds)
@settings(max_examples=6)
def test_whatever_is_seen_poses_are_finite_and_inside_the_range_of_motion(seed: int) -> None:
    rng = np.random.default_rng(seed)
    seen = scene(int(rng.integers(100)), 25, noise=float(rng.choice([0.0, 0.02, 0.2])))
    points = seen.points.copy()
    points[rng.random(points.shape[:2]) < 0.03] *= rng.choice([-5.0, 1e5])
    confidence = rng.random(points.shape[:2]) * (rng.random(points.shape[:2]) < rng.uniform(0.05, 1.0))
    confidence[rng.random(len(points)) < 0.2] = 0.0
    points[confidence == 0] = np.nan
    times = np.cumsum(rng.uniform(1e-3, 0.2, len(points)))
    frames = run(LiveSolver(SKELETON, NAMES), seen._replace(points=points, times=times), confidence)
    for frame in frames:
        assert all(np.isfinite(array).all() for array in frame[1:])
        assert (frame.confidence >= 0).all() and (frame.confidence <= 1).all()
    assert outside_range(rotations_of(frames)) < 1e-6


def held_bytes(thing: object, known: set[int]) -> int:
    """Bytes of the arrays that something holds, each once."""
    if id(thing) in known:
        return 0
    known.add(id(thing))
    if isinstance(thing, torch.Tensor):
        return thing.untyped_storage().nbytes()
    if isinstance(thing, np.ndarray):
        return thing.nbytes
    if isinstance(thing, list | tuple | deque | set):
        return 64 + sum(held_bytes(item, known) for item in thing)
    if isinstance(thing, dict):
        return 64 + sum(held_bytes(item, known) for item in thing.values())
    return held_bytes(vars(thing), known) if hasattr(thing, "__dict__") else 0


def test_memory_stays_the_same_over_two_thousand_frames() -> None:
    bent = np.array([[-1.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    turning = np.repeat([[-np.pi, np.pi]], 3, axis=0)
    arm = Skeleton(
        ("upper", "fore"), (-1, 0), ("", ""), np.stack([np.eye(3)] * 2), np.array([[0.0, 0, 0], [0, 0.3, 0]]),
        np.array([0.3, 0.3]), ("XYZ", "XYZ"), np.stack([turning, bent]),
    )  # fmt: skip
    solver = LiveSolver(
        arm,
        sites=(np.array([0, 0, 1, 1]), np.array([[0.0, 0, 0], [0.1, 0, 0], [0, 0, 0], [0, 0.3, 0]])),
        window=8,
        record=False,
    )
    rng = np.random.default_rng(10)
    sizes = []
    for number in range(2000):
        bend = 0.5 + 0.4 * np.sin(0.1 * number)
        points = np.array([[0, 0, 0], [0.1, 0, 0], [0, 0.3, 0], [0, 0.3 + 0.3 * np.cos(bend), 0.3 * np.sin(bend)]])
        solver.push(number / 30.0, points + rng.normal(0.0, 0.002, points.shape), np.ones(4))
        if number % 200 == 199:
            sizes.append(held_bytes(vars(solver), set()))
    assert len(set(sizes)) == 1 and sizes[0] > 1000


def test_refusals_say_why() -> None:
    with pytest.raises(LiveError, match="lag"):
        LiveSolver(SKELETON, NAMES, lag=6)
    with pytest.raises(LiveError, match="window"):
        LiveSolver(SKELETON, NAMES, window=7)
    solver, points = LiveSolver(SKELETON, NAMES), scene(11, 1).points[0]
    with pytest.raises(LiveError, match="no frame"):
        solver.motion()
    solver.push(1.0, points, SEEN)
    for time in (1.0, 0.5, np.nan):
        with pytest.raises(LiveError, match="rise"):
            solver.push(time, points, SEEN)
    with pytest.raises(LiveError, match="shape"):
        solver.push(2.0, points[1:], SEEN[1:])
    with pytest.raises(LiveError, match="between 0 and 1"):
        solver.push(2.0, points, 2 * SEEN)
    with pytest.raises(LiveError, match="not finite"):
        solver.push(2.0, np.full_like(points, np.nan), SEEN)
    solver.push(2.0, points, SEEN)
    assert len(solver.flush()) == 2
