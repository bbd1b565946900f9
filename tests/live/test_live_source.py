# SPDX-License-Identifier: GPL-3.0-or-later
"""Where live pictures come from: the newest alone, at the source's own pace, and errors that name what is wrong."""

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from video2rig.errors import Video2RigError
from video2rig.live_grabbers import grabber_of, host_of, is_address, without_secrets
from video2rig.live_source import LIVE_SIDE, open_live


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds at 25 a second, 1280x720, brighter from frame to frame."""
    path = tmp_path_factory.mktemp("video") / "counting.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (1280, 720))
    for number in range(50):
        writer.write(np.full((720, 1280, 3), 4 * number, np.uint8))
    writer.release()
    return path


def test_a_file_plays_at_its_own_pace_once_it_is_asked(counting: Path) -> None:
    with open_live(str(counting)) as source:
        assert (source.width, source.height, source.name) == (1280, 720, "counting.mp4")
        time.sleep(0.3)
        assert source.taken == 1 and not source.ended
        source.begin()
        began = time.monotonic()
        seen = []
        while not source.ended:
            picture = source.newest(seen[-1].number if seen else 0)
            if picture is not None:
                seen.append(picture)
            time.sleep(0.1)  # a slow reader
        assert time.monotonic() - began == pytest.approx(2.0, abs=1.0)
    assert 5 < len(seen) < 25
    for picture in seen:
        # what was taken at a moment is what the file shows at that moment
        shown = float(picture.image.mean()) / 4
        assert picture.taken - began == pytest.approx(shown / 25, abs=0.1)
        assert picture.image.shape == (360, LIVE_SIDE, 3) and picture.scale == 2.0


def test_addresses_are_told_from_paths_and_keep_their_secrets() -> None:
    address = "rtsp://user:pass@10.0.0.7:554/stream?token=1"
    assert is_address(address) and host_of(address) == "10.0.0.7"
    assert without_secrets(address) == "rtsp://10.0.0.7:554/stream"
    assert not is_address("C:\\videos\\a.mp4") and not is_address("/a/b.mp4")
    assert grabber_of(address).name == "rtsp://10.0.0.7:554/stream"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "no live source was named"),
        ("98", "camera 98: "),
        ("nothing.mp4", "there is no file nothing.mp4"),
        ("http://127.0.0.1:9/none", "http://127.0.0.1:9/none: cannot be opened; does the stream run"),
        ("screen:a", "'screen:a' names no screen"),
        ("screen:1,2,0,4", "'screen:1,2,0,4' names no screen"),
    ],
)
def test_what_is_not_there_is_told_in_a_line(text: str, line: str) -> None:
    with pytest.raises(Video2RigError) as error:
        open_live(text)
    assert line in str(error.value) and "\n" not in str(error.value)


@pytest.mark.skipif(sys.platform != "linux" or Path("/dev/video0").exists(), reason="there is a camera")
def test_a_computer_without_cameras_says_so() -> None:
    with pytest.raises(Video2RigError, match="camera 0: cannot be opened; this computer has no camera"):
        open_live("0")


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A display of its own, white all over."""
    if importlib.util.find_spec("mss") is None:
        pytest.skip("the package mss is not installed")
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is not installed")
    reader, writer = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writer), "-screen", "0", "800x600x24", "-nolisten", "tcp", "-wr"],
        pass_fds=[writer],
        stderr=subprocess.DEVNULL,
    )
    os.close(writer)
    number = os.read(reader, 16).decode().strip()
    os.close(reader)
    monkeypatch.setenv("DISPLAY", f":{number}")
    yield
    server.terminate()
    server.wait()


def test_a_screen_is_read(display: None) -> None:
    with open_live("screen") as source:
        assert (source.width, source.height) == (800, 600)
        first = source.newest()
        assert first is not None and first.image.shape == (480, 640, 3)
        assert first.image.reshape(-1, 3).mean(0) == pytest.approx([255, 255, 255], abs=1)
        time.sleep(1.0)
        assert 10 < source.taken < 40
    with open_live("screen:10,20,100,50") as source:
        assert (source.width, source.height) == (100, 50)
    with pytest.raises(Video2RigError, match="screen 3: there is no such screen; there are 1 to 1"):
        open_live("screen:3")


def test_without_a_display_the_screen_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(Video2RigError, match=r"screen 1: (cannot be read|the package mss is not installed)"):
        open_live("screen")
