# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames to people: geometry with a network that draws, and real people with the one whose weights are at hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ideal_people import draw, person
from test_tensorflow_graph import DEMO, NPZ, needs_network
from torch import Tensor, nn

from shared_data import SHARED, needs_shared, noise_frames, read_video
from video2rig.detection.detector import Detector, People
from video2rig.detection.openpose import OpenPose, OpenPoseError, OpenPoseNetwork
from video2rig.detection.openpose.detector import LONGEST, PADDING
from video2rig.detection.openpose.layout import PARTS, STRIDE
from video2rig.detection.openpose.stages import StagedNetwork, StageOutput
from video2rig.keypoints import KEYPOINT_SETS

TRUTH = SHARED / "data" / "video" / "truth_pose2sim_balancing.npz"
WHITE = 255


class Drawing(StagedNetwork):
    """Puts out ideal maps of people at known pixels of a white frame, wherever in the input the frame is."""

    stages = 2

    def __init__(self, people: list[np.ndarray], size: tuple[int, int], multiple: int = 8) -> None:
        super().__init__()
        self.people, self.size, self.multiple = people, size, multiple
        self.weight = nn.Parameter(torch.zeros(1))
        self.inputs: list[Tensor] = []

    def normalise(self, pixels: Tensor) -> Tensor:
        self.inputs.append(pixels)
        return pixels

    def forward(self, images: Tensor) -> list[StageOutput]:
        assert images.shape[2] % self.multiple == 0 and images.shape[3] % self.multiple == 0
        shown = int((images[0, 0, :, 0] == WHITE).sum()), int((images[0, 0, 0] == WHITE).sum())
        pace = np.array([shown[1] / self.size[1], shown[0] / self.size[0]]) / STRIDE
        parts = [(one + 0.5) * pace - 0.5 for one in self.people]
        output = draw(parts, images.shape[2] // STRIDE, images.shape[3] // STRIDE)
        return [output, StageOutput(*(part.expand(len(images), -1, -1, -1) for part in output))]


def white(count: int, height: int, width: int) -> Tensor:
    return torch.full((count, height, width, 3), WHITE, dtype=torch.uint8)


def check(people: People) -> None:
    """What every detector promises."""
    count, parts = len(people.score), len(KEYPOINT_SETS["coco_18"])
    assert people.circle.shape == (count, 4) and people.positions.shape == (count, parts, 2)
    assert people.confidence.shape == (count, parts) and people.world is None
    for values in (people.score, people.confidence):
        assert ((values >= 0) & (values <= 1)).all()
    assert (np.isfinite(people.positions) == (people.confidence > 0)[..., None]).all()
    assert np.isfinite(people.circle).all()


@settings(max_examples=15)
@given(
    height=st.integers(300, 900),
    aspect=st.floats(0.5, 2.2),
    size=st.sampled_from([256, 368, 500]),
    scales=st.sampled_from([(1.0,), (0.7,), (1.0, 1.5), (0.5, 1.0, 1.25)]),
    x=st.floats(0.35, 0.65),
)
def test_people_are_found_where_they_are(
    height: int, aspect: float, size: int, scales: tuple[float, ...], x: float
) -> None:
    width = round(aspect * height)
    body = min(height, 1.6 * width)
    parts = person(x * width, 0.5 * height, 0.8 * body, 0.1)
    detector = OpenPose(Drawing([parts], (height, width)), size=size, scales=scales)
    found = detector.find(white(2, height, width))
    assert len(found) == 2
    cell = STRIDE * height / size / scales[0]
    for people in found:
        check(people)
        assert len(people.score) == 1 and people.score[0] > 0.5
        assert np.abs(people.positions[0] - parts).max() < 0.3 * cell
        hips = parts[[PARTS.index("left_hip"), PARTS.index("right_hip")]].mean(0)
        assert np.abs(people.circle[0, :2] - hips).max() < 0.3 * cell


@pytest.mark.parametrize("multiple", [8, 16])
def test_what_the_network_is_shown(multiple: int) -> None:
    network = Drawing([], (301, 410), multiple)
    OpenPose(network, size=184).find(white(1, 301, 410))
    (shown,) = network.inputs
    assert shown.shape == (1, 3, 192 if multiple == 16 else 184, 256)
    assert (shown[:, :, :184, :251] == WHITE).all()
    assert (shown[:, :, 184:] == PADDING).all() and (shown[:, :, :, 251:] == PADDING).all()


def test_colours_arrive_in_their_order() -> None:
    network = Drawing([], (64, 64))
    frame = torch.tensor([250, 120, 10], dtype=torch.uint8).expand(1, 64, 64, 3)
    OpenPose(network, size=64).find(frame)
    assert network.inputs[0][0, :, 5, 5].tolist() == [250, 120, 10]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 700), (700, 1), (40, 4000), (5, 3)])
def test_pictures_of_odd_shapes_are_nobody(height: int, width: int) -> None:
    network = Drawing([], (height, width))
    (people,) = OpenPose(network).find(white(1, height, width))
    check(people)
    assert len(people.score) == 0
    assert network.inputs[0].shape[3] <= LONGEST * 368 + 8


def test_impossible_choices_are_refused() -> None:
    network = Drawing([], (64, 64))
    for scales in ((), (0.0,), (-1.0,), (math.nan,), (100.0,)):
        with pytest.raises(OpenPoseError, match="the scales are"):
            OpenPose(network, scales=scales)
    with pytest.raises(OpenPoseError, match="a height of 5 pixels was asked for"):
        OpenPose(network, size=5)


def test_it_is_a_detector() -> None:
    detector: Detector = OpenPose(OpenPoseNetwork(2), size=64)
    assert detector.keypoint_set in KEYPOINT_SETS and detector.batch >= 1
    assert detector.device == torch.device("cpu")
    assert detector.find(torch.zeros((0, 48, 64, 3), dtype=torch.uint8)) == []
    for people in detector.find(torch.zeros((2, 48, 64, 3), dtype=torch.uint8)):
        check(people)


# ---- real people --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real() -> OpenPose:
    return OpenPose.load_mobilenet(NPZ)


def distance(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.nanmedian(np.linalg.norm(found - wanted, axis=-1)))


@needs_network
@needs_shared
def test_two_people_of_a_video(real: OpenPose) -> None:
    (people,) = real.find(torch.from_numpy(read_video(DEMO, 1, 60)))
    check(people)
    assert len(people.score) >= 2
    man, woman = sorted(people.positions[:2], key=lambda one: one[PARTS.index("neck"), 1])
    # he stands on a roof with his arms up, she walks on the grass below to the right
    for side in ("left", "right"):
        assert man[PARTS.index(f"{side}_wrist"), 1] < man[PARTS.index("nose"), 1]
    assert woman[PARTS.index("nose"), 1] > np.nanmax(man[:, 1])
    assert (people.confidence[:2] > 0).sum(1).min() >= 14
    assert (people.score[2:] < people.score[:2].min()).all()  # what it takes for people in the trees


@needs_network
@needs_shared
@pytest.mark.parametrize("camera", ["cam01", "cam02"])
def test_keypoints_lie_where_the_calibrated_cameras_say(real: OpenPose, camera: str) -> None:
    """The median over the limbs' joints is below 1.5 % of the picture's height; the network's own cell is 1.4 %."""
    truth = np.load(TRUTH)
    joints = [f"{side}{name}" for side in "RL" for name in ("Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle")]
    names = [("right_" if joint[0] == "R" else "left_") + joint[1:].lower() for joint in joints]
    wanted = truth[f"cam_{camera}_joints2d"][:, [list(truth["names"]).index(joint) for joint in joints]]
    parts = [PARTS.index(name) for name in names]
    video = read_video(SHARED / "data" / "video" / "pose2sim" / "single" / f"{camera}.mp4", 100)[::20]
    errors = []
    for people, there in zip(real.find(torch.from_numpy(video)), wanted[::20], strict=True):
        check(people)
        found = people.positions[:, parts]
        best = min(found, key=lambda one: distance(one, there), default=np.full((12, 2), np.nan))
        errors.append(np.linalg.norm(best - there, axis=-1))
    seen = np.isfinite(errors)
    assert seen.mean() > 0.5
    assert np.nanmedian(errors) < 0.015 * 1920


@needs_network
@needs_shared
def test_mirrored_people_have_their_sides_swapped(real: OpenPose) -> None:
    frame = torch.from_numpy(read_video(DEMO, 1, 60))
    plain, mirrored = (real.find(image)[0] for image in (frame, frame.flip(2)))
    best = plain.positions[0] * (-1, 1) + (frame.shape[2] - 1, 0)
    other = {"left": "right", "right": "left"}
    swapped = [PARTS.index("_".join(other.get(word, word) for word in part.split("_"))) for part in PARTS]
    assert min(distance(one, best[swapped]) for one in mirrored.positions) < 12


@needs_network
@needs_shared
def test_frames_of_a_batch_are_seen_each_by_itself(real: OpenPose) -> None:
    frames = torch.from_numpy(np.concatenate([read_video(DEMO, 1, 60), noise_frames(1, 994, 1768)]))
    both = real.find(frames)
    alone = real.find(frames[:1])[0]
    np.testing.assert_allclose(both[0].positions, alone.positions, atol=0.5)
    assert len(both[1].score) == 0


@needs_network
@pytest.mark.parametrize(
    "spoil",
    [lambda x: x // 64, lambda x: np.zeros_like(x), lambda x: np.full_like(x, 255)],
    ids=["very dark", "black", "white"],
)
def test_pictures_with_little_in_them_have_nobody_sure(real: OpenPose, spoil: Callable) -> None:
    image = read_video(DEMO, 1, 60) if DEMO.is_file() else noise_frames(1, 994, 1768)
    (people,) = real.find(torch.from_numpy(spoil(image)))
    check(people)
    assert (people.score < 0.7).all()


@needs_network
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (300, 1)])
def test_odd_shapes_go_through_the_real_network(real: OpenPose, height: int, width: int) -> None:
    (people,) = real.find(torch.from_numpy(noise_frames(1, height, width)))
    check(people)
    assert len(people.score) == 0


@needs_network
@needs_shared
def test_people_upside_down_are_not_surely_upright(real: OpenPose) -> None:
    """It was not taught people on their head; what it says of them it does not say with more confidence."""
    frame = torch.from_numpy(read_video(DEMO, 1, 60))
    (upright,), (turned,) = real.find(frame), real.find(frame.flip(1))
    check(turned)
    assert (turned.score * (turned.confidence > 0).sum(1)).sum() < (
        upright.score * (upright.confidence > 0).sum(1)
    ).sum()
