# SPDX-License-Identifier: GPL-3.0-or-later
"""Two people through the real networks and the real solver: the sample beside its own mirror image."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from shared_data import SAMPLE, blazepose_files
from video2rig.angles import joint_angles
from video2rig.frames import VideoSource, open_video
from video2rig.keypoints import Keypoints
from video2rig.kinematics import keypoint_positions
from video2rig.person import PersonError
from video2rig.pipeline import Backend, Pipeline
from video2rig.settings import Settings
from video2rig.take import Take

FRAMES = 30
SOLES = ("left_heel", "right_heel", "left_big_toe", "right_big_toe")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> VideoSource:
    path = tmp_path_factory.mktemp("two") / "two.mp4"
    reader = cv2.VideoCapture(str(SAMPLE))
    size = 2 * int(reader.get(cv2.CAP_PROP_FRAME_WIDTH)), int(reader.get(cv2.CAP_PROP_FRAME_HEIGHT))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30.0, size)
    for _ in range(FRAMES):
        image = reader.read()[1]
        writer.write(np.hstack([image, image[:, ::-1]]))
    writer.release()
    return open_video(path)


@pytest.fixture(scope="module")
def backend() -> Backend:
    blazepose_files()
    return Backend("cpu")


def seen(video: VideoSource, backend: Backend, person: str) -> dict[int, Keypoints]:
    pipeline = Pipeline(Settings(person=person, regression=False), video.info.facts(), backend)
    pipeline.push_all(video)
    return dict(pipeline.people())


def side(keypoints: Keypoints, video: VideoSource) -> str:
    """The half of the picture that a person is in, all the time."""
    right = np.nanmean(keypoints.positions[..., 0], axis=1) > video.info.width / 2
    return "right" if right.all() else "left" if not right.any() else "both"


@pytest.fixture(scope="module")
def everyone(video: VideoSource, backend: Backend) -> list[Take]:
    pipeline = Pipeline(Settings(person="everyone"), video.info.facts(), backend)
    pipeline.push_all(video)
    takes = pipeline.solve()
    assert not pipeline.notices
    return takes


def test_both_are_solved_before_one_camera_on_one_floor(everyone: list[Take], video: VideoSource) -> None:
    assert [take.person for take in everyone] == [1, 2]
    one, other = everyone
    assert one.camera.to_json() == other.camera.to_json()
    assert {side(take.keypoints, video) for take in everyone} == {"left", "right"}
    for take in everyone:
        assert take.keypoints.seen().all() and len(take.motion) == FRAMES
        pixels = take.camera.project(keypoint_positions(take.motion, take.keypoints.names))
        assert np.nanmedian(np.linalg.norm(pixels - take.keypoints.positions, axis=-1)) < 5
        soles = keypoint_positions(take.motion, SOLES)[..., 2].min(axis=1)
        assert abs(np.quantile(soles, 0.1)) < 0.1
    lengths = [take.motion.skeleton.length for take in everyone]
    assert np.allclose(lengths[0], lengths[1], rtol=0.15), "they are the same man"


def test_the_mirror_image_moves_as_the_man_does(everyone: list[Take]) -> None:
    man, image = (joint_angles(take.motion) for take in everyone)
    for name in ("knee_angle", "hip_flexion"):
        for a, b in (("_r", "_l"), ("_l", "_r")):
            assert np.degrees(np.abs(man[name + a] - image[name + b])).mean() < 8


def test_one_of_them_is_chosen_by_number_and_by_point(
    everyone: list[Take], video: VideoSource, backend: Backend
) -> None:
    sides = {take.person: side(take.keypoints, video) for take in everyone}
    for number, where in sides.items():
        (person,) = seen(video, backend, str(number)).items()
        assert person[0] == number and side(person[1], video) == where
        hips = everyone[number - 1].keypoints.positions[20, [23, 24]].mean(axis=0)
        (person,) = seen(video, backend, f"{hips[0]:.0f},{hips[1]:.0f}@{20 / 30:.3f}").items()
        assert person[0] == number and side(person[1], video) == where
    with pytest.raises(PersonError, match="person 3 was asked for, but 2 people were seen"):
        seen(video, backend, "3")
    with pytest.raises(PersonError, match="nobody"):
        seen(video, backend, f"{video.info.width / 2:.0f},20@0.5")


def test_the_largest_is_one_of_them(everyone: list[Take], video: VideoSource, backend: Backend) -> None:
    (person,) = seen(video, backend, "largest").items()
    assert side(person[1], video) in ("left", "right")


def test_the_command_shows_both(video: VideoSource, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from video2rig.cli import main

    blazepose_files()
    assert main(["people", str(video.info.path), "-o", str(tmp_path / "people.png"), "--device", "cpu"]) == 0
    assert [line[:8] for line in capsys.readouterr().out.splitlines()] == ["person 1", "person 2"]
    assert cv2.imread(str(tmp_path / "people.png")).shape == (640, 960, 3)
