# SPDX-License-Identifier: GPL-3.0-or-later
"""Awkward videos the whole way, by the command line and by client and server: a take, or one clear line."""

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from harness import wait_free
from test_frames import ffmpeg, write_pictures

from shared_data import SAMPLE, blazepose_files, read_video
from video2rig import cli
from video2rig.client import solve
from video2rig.conversation import Call
from video2rig.errors import Video2RigError
from video2rig.frames import open_video
from video2rig.launcher import LocalServer
from video2rig.settings import Settings
from video2rig.take import Take

Way = Callable[[Path], tuple[Take | None, list[str]]]
"""From a video to the take, or None and the lines that were told."""

FEW = ("-i", str(SAMPLE), "-frames:v", "6")
"""Arguments of ffmpeg for the sample's first frames."""


@pytest.fixture(params=["command line", "client and server"])
def way(request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Way:
    blazepose_files()

    def by_command(video: Path) -> tuple[Take | None, list[str]]:
        output = tmp_path / "take.npz"
        code = cli.main(["solve", str(video), "-o", str(output), "--device", "cpu"])
        lines = [line.rpartition("\r")[2] for line in capsys.readouterr().err.splitlines()]
        assert code == (0 if output.exists() else 1)
        lines = [line for line in lines if line and "frames/s" not in line and "computing on" not in line]
        return (Take.load(output), []) if code == 0 else (None, lines)

    def by_server(video: Path) -> tuple[Take | None, list[str]]:
        server: LocalServer = request.getfixturevalue("real_server")
        connection = server.ensure()
        try:
            source = open_video(video)
            told: list[str] = []
            call = Call(connection, lambda progress: told.append(progress.notice), threading.Event())
            (take,) = solve(source, Settings(device="cpu"), call)
            return take, [line for line in told if line]
        except Video2RigError as error:
            wait_free(connection)
            return None, str(error).splitlines()

    return by_command if request.param == "command line" else by_server


def absent(folder: Path) -> Path:
    return folder / "absent.mp4"


def no_pictures(folder: Path) -> Path:
    (folder / "notes.txt").write_text("nothing to see")
    return folder


def text(folder: Path) -> Path:
    (folder / "text.mp4").write_text("this is no video\n" * 100)
    return folder / "text.mp4"


def zero_frames(folder: Path) -> Path:
    size = ["-f", "lavfi", "-i", "color=size=64x48:rate=10"]
    return ffmpeg(folder / "zero.mp4", *size, "-frames:v", "0", "-pix_fmt", "yuv420p")


def headless(folder: Path) -> Path:
    """The table of contents was at the end, which is cut off."""
    data = ffmpeg(folder / "whole.mp4", *FEW, "-c", "copy").read_bytes()
    (folder / "headless.mp4").write_bytes(data[: len(data) * 6 // 10])
    return folder / "headless.mp4"


def nobody(folder: Path) -> Path:
    return ffmpeg(folder / "nobody.mp4", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=10:duration=0.5")


def tiny(folder: Path) -> Path:
    return ffmpeg(folder / "tiny.mp4", *FEW, "-vf", "scale=16:16,setsar=1", "-pix_fmt", "yuv420p")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (absent, "there is no file"),
        (no_pictures, "holds no pictures"),
        (text, "is not a video"),
        (zero_frames, "zero.mp4: "),
        (headless, "is not a video that can be read, or is damaged"),
        (nobody, "no person was found in any frame"),
        (tiny, "no person was found in any frame"),
    ],
)
def test_what_cannot_be_solved_is_one_line(
    make: Callable[[Path], Path], told: str, way: Way, tmp_path_factory: pytest.TempPathFactory
) -> None:
    take, lines = way(make(tmp_path_factory.mktemp("video")))
    assert take is None and len(lines) == 1 and told in lines[0]


def one_frame(folder: Path) -> Path:
    return ffmpeg(folder / "one.mp4", "-i", str(SAMPLE), "-frames:v", "1")


def eight_k(folder: Path) -> Path:
    writer = cv2.VideoWriter(str(folder / "8k.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 30, (7680, 4320))
    for image in read_video(SAMPLE, 3):
        canvas = np.full((4320, 7680, 3), 90, np.uint8)
        canvas[:4000, 2000:5000] = cv2.resize(image, (3000, 4000))[..., ::-1]
        writer.write(canvas)
    writer.release()
    return folder / "8k.avi"


def odd(folder: Path) -> Path:
    fit = "scale=-1:243,pad=321:243:(ow-iw)/2:0"
    return ffmpeg(folder / "odd.mkv", *FEW, "-vf", fit, "-c:v", "ffv1", "-pix_fmt", "yuv444p")


def grey(folder: Path) -> Path:
    return ffmpeg(folder / "grey.mkv", *FEW, "-c:v", "ffv1", "-pix_fmt", "gray")


def alpha(folder: Path) -> Path:
    pictures = [cv2.cvtColor(image, cv2.COLOR_RGB2BGRA) for image in read_video(SAMPLE, 6)]
    for picture in pictures:
        picture[:20, :, 3] = 0
    return write_pictures(folder / "alpha", pictures)


def variable_rate(folder: Path) -> Path:
    select = "select='lt(n\\,3)+eq(n\\,6)+eq(n\\,7)+eq(n\\,11)'"
    return ffmpeg(folder / "vfr.mp4", "-i", str(SAMPLE), "-frames:v", "6", "-vf", select, "-fps_mode", "vfr")


@pytest.mark.parametrize(
    ("make", "frames", "size"),
    [
        (one_frame, 1, (480, 640)),
        (eight_k, 3, (7680, 4320)),
        (odd, 6, (321, 243)),
        (grey, 6, (480, 640)),
        (alpha, 6, (480, 640)),
        (variable_rate, 6, (480, 640)),
    ],
)
def test_awkward_videos_are_solved(
    make: Callable[[Path], Path],
    frames: int,
    size: tuple[int, int],
    way: Way,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    take, lines = way(make(tmp_path_factory.mktemp("video")))
    assert take is not None, lines
    assert len(take.motion) == frames and take.keypoints.seen().all()
    assert (take.video["width"], take.video["height"]) == (take.camera.width, take.camera.height) == size
    assert np.isfinite(take.motion.rotations).all() and np.isfinite(take.motion.root_position).all()
    trunk = take.keypoints.positions[:, [take.keypoints.names.index(f"{side}_hip") for side in ("left", "right")]]
    assert (trunk > 0).all() and (trunk < size).all()
    if make is variable_rate:
        np.testing.assert_allclose(take.motion.times * 30, [0, 1, 2, 6, 7, 11], atol=0.01)


def test_a_truncated_video_is_solved_as_far_as_it_goes(
    way: Way, tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path_factory.mktemp("video")
    whole = ffmpeg(folder / "whole.mp4", "-i", str(SAMPLE), "-frames:v", "30", "-c", "copy", "-movflags", "+faststart")
    data = whole.read_bytes()
    (folder / "cut.mp4").write_bytes(data[: len(data) * 6 // 10])
    take, lines = way(folder / "cut.mp4")
    assert take is not None, lines
    assert 5 < len(take.motion) < 28 and take.keypoints.seen().all()
    assert "cut.mp4: ends early" in caplog.text


def test_a_rotated_phone_video_is_solved_upright(way: Way, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The pictures lie on their side in the file, and it tells by how much to turn them."""
    folder = tmp_path_factory.mktemp("video")
    lying = ffmpeg(folder / "lying.mp4", *FEW, "-vf", "transpose=clock", "-pix_fmt", "yuv420p")
    phone = ffmpeg(folder / "phone.mp4", "-display_rotation", "90", "-i", str(lying), "-c", "copy")
    stored = subprocess.run([*_ffmpeg_info(), str(phone)], capture_output=True, text=True).stderr
    assert "640x480" in stored and "rotation of 90.00 degrees" in stored
    take, lines = way(phone)
    assert take is not None, lines
    assert (take.camera.width, take.camera.height) == (480, 640)
    points = take.keypoints.positions
    assert (points > 0).all() and (points < (480, 640)).all()
    nose, hip, ankle = (points[:, take.keypoints.names.index(n), 1] for n in ("nose", "left_hip", "left_ankle"))
    assert (nose < hip).all() and (hip < ankle).all()
    upright, _ = way(ffmpeg(folder / "upright.mp4", *FEW, "-pix_fmt", "yuv420p"))
    assert upright is not None
    distance = np.linalg.norm(points - upright.keypoints.positions, axis=-1)
    assert np.median(distance) < 3


def _ffmpeg_info() -> list[str]:
    import imageio_ffmpeg

    return [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i"]
