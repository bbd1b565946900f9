# SPDX-License-Identifier: GPL-3.0-or-later
"""Videos of every awkward kind: frames are exact, upright, at their own times, or there is one clear line."""

import subprocess
import tracemalloc
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest

from video2rig.frames import Frame, VideoError, _Clock, fitted, open_video

QUADRANTS = (
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    (255, 255, 0),
)  # RGB, upper left, upper right, lower left, lower right


def ffmpeg(output: Path, *arguments: str) -> Path:
    """Run ffmpeg and return its output."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *arguments, str(output)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return output


def counted(size: str = "64x48", rate: int = 10, seconds: float = 2.0) -> list[str]:
    """Arguments of ffmpeg for a video whose frame number n has the brightness n everywhere."""
    return ["-f", "lavfi", "-i", f"color=black:size={size}:rate={rate}:duration={seconds},format=gray,geq=lum='20+4*N'"]


def numbers(frames: list[Frame]) -> list[int]:
    """The numbers that the pictures show."""
    return [round((float(frame.image.mean()) - 20) / 4) for frame in frames]


def lossless(output: Path, *arguments: str) -> Path:
    """A counted video without loss."""
    return ffmpeg(output, *counted(), "-c:v", "ffv1", *arguments)


def quadrants(height: int = 48, width: int = 64) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    for number, colour in enumerate(QUADRANTS):
        rows = slice(0, height // 2) if number < 2 else slice(height // 2, None)
        columns = slice(0, width // 2) if number % 2 == 0 else slice(width // 2, None)
        image[rows, columns] = colour
    return image


def seen_quadrants(image: np.ndarray) -> tuple[tuple[int, ...], ...]:
    """The colours in the middle of the four quarters, rounded to full or none."""
    height, width = image.shape[:2]
    points = [(row, column) for row in (height // 4, height * 3 // 4) for column in (width // 4, width * 3 // 4)]
    return tuple(tuple(255 * (image[point] > 127).astype(int)) for point in points)


def write_pictures(folder: Path, images: list[np.ndarray], name: str = "frame{}.png") -> Path:
    folder.mkdir(exist_ok=True)
    for number, image in enumerate(images):
        assert cv2.imwrite(str(folder / name.format(number)), image)
    return folder


def test_frames_are_exact_from_any_start(tmp_path):
    video = open_video(lossless(tmp_path / "v.mkv"))
    info = video.info
    assert (info.width, info.height, info.fps, info.frame_count, info.duration) == (64, 48, 10.0, 20, 2.0)
    frames = list(video.frames())
    assert [frame.index for frame in frames] == list(range(20)) == numbers(frames)
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(20) / 10, atol=1e-9)
    later = list(video.frames(start=13))
    assert [(f.index, f.time) for f in later] == [(f.index, f.time) for f in frames[13:]] and numbers(later)[0] == 13
    assert frames[0].image.dtype == np.uint8 and frames[0].image.flags.c_contiguous
    assert video.notices == []


def test_b_frames_come_in_order_of_display(tmp_path):
    video = ffmpeg(tmp_path / "v.mp4", *counted(seconds=4), "-bf", "3", "-g", "10", "-pix_fmt", "yuv420p")
    frames = list(open_video(video).frames())
    shown = np.array([frame.image.mean() for frame in frames])
    assert len(frames) == 40 and (np.diff(shown) > 0).all()
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(40) / 10, atol=1e-6)


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_a_variable_frame_rate_keeps_its_own_times(tmp_path, container):
    select = "select='not(mod(n\\,3))+gt(n\\,30)'"
    video = ffmpeg(
        tmp_path / f"v.{container}", *counted(rate=30), "-vf", select, "-fps_mode", "vfr", "-pix_fmt", "yuv420p"
    )
    kept = [n for n in range(60) if n % 3 == 0 or n > 30]
    source = open_video(video)
    np.testing.assert_allclose([frame.time for frame in source.frames()], np.array(kept) / 30, atol=1.1e-3)
    assert source.notices == []


@pytest.mark.parametrize(("container", "seconds"), [("mkv", 3), ("mkv", 1), ("webm", 3)])
def test_the_ticks_of_a_clock_are_not_taken_for_a_rate(tmp_path, container, seconds):
    """Browsers and messengers write videos that name a thousand frames a second."""
    thirty = "settb=1/1000,fps=1000,select='not(mod(n\\,33))'"
    video = ffmpeg(tmp_path / f"v.{container}", *counted(rate=30, seconds=seconds), "-vf", thirty, "-c:v", "libvpx",
                   "-fps_mode", "passthrough", "-enc_time_base", "1:1000")  # fmt: skip
    if container == "webm":  # as it is while it is recorded: without a duration
        video = ffmpeg(tmp_path / "live.webm", "-i", str(video), "-c", "copy", "-live", "1")
    source = open_video(video)
    count = len(list(source.frames()))
    assert abs(source.info.fps - 1000 / 33) < 0.1 and source.notices == []
    assert source.info.frame_count == 0 if container == "webm" else abs(source.info.frame_count - count) < 2


def test_a_high_rate_that_is_true_is_kept(tmp_path):
    info = open_video(lossless(tmp_path / "v.mkv", "-vf", "setpts=PTS/24", "-r", "240")).info
    assert abs(info.fps - 240) < 1


def test_times_count_from_the_first_frame(tmp_path):
    late = ffmpeg(tmp_path / "late.mkv", "-itsoffset", "5", "-i", str(lossless(tmp_path / "v.mkv")), "-c", "copy")
    assert [round(frame.time, 6) for frame in open_video(late).frames()][:3] == [0.0, 0.1, 0.2]


def test_a_stream_without_times_is_told(tmp_path):
    raw = ffmpeg(tmp_path / "raw.h264", *counted(), "-pix_fmt", "yuv420p")
    video = open_video(raw)
    np.testing.assert_allclose([frame.time for frame in video.frames()], np.arange(20) / 10)
    assert video.notices == ["raw.h264: the stream carries no times; 10 frames a second were assumed"]


def test_times_that_do_not_rise_are_mended_and_told():
    clock = _Clock(10.0)
    stamps = [3.0, 3.1, 3.05, float("nan"), 3.4, 3.4, -3.7e20, 3.6]
    times = [clock.tick(stamp) for stamp in stamps]
    assert (np.diff(times) > 0).all()
    np.testing.assert_allclose([times[n] for n in (0, 1, 4, 7)], [0.0, 0.1, 0.4, 0.6])
    assert clock.trouble.startswith("4 of 8 frames carry times that do not rise")
    absent = _Clock(10.0)
    assert [absent.tick(float("nan")) for _ in range(3)] == [0.0, 0.1, 0.2] and "carries no times" in absent.trouble


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_rotated_phone_video_is_upright(tmp_path, degrees):
    """ffmpeg, which turns pictures by itself, is the reference."""
    cv2.imwrite(str(tmp_path / "q.png"), quadrants()[..., ::-1])
    upright = ffmpeg(
        tmp_path / "v.mp4", "-loop", "1", "-i", str(tmp_path / "q.png"), "-t", "0.4", "-pix_fmt", "yuv420p"
    )
    turned = ffmpeg(tmp_path / "r.mp4", "-display_rotation", str(degrees), "-i", str(upright), "-c", "copy")
    reference = cv2.imread(str(ffmpeg(tmp_path / "r.png", "-i", str(turned), "-frames:v", "1")))[..., ::-1]
    video = open_video(turned)
    frame = next(video.frames())
    assert frame.image.shape == reference.shape == (video.info.height, video.info.width, 3)
    assert video.info.width == (48 if degrees % 180 else 64)
    assert seen_quadrants(frame.image) == seen_quadrants(reference) != QUADRANTS


@pytest.mark.parametrize("degrees", [0, 90])
def test_pixels_become_square(tmp_path, degrees):
    wide = ffmpeg(tmp_path / "v.mp4", *counted(), "-vf", "setsar=3/2", "-pix_fmt", "yuv420p")
    if degrees:
        wide = ffmpeg(tmp_path / "r.mp4", "-display_rotation", "90", "-i", str(wide), "-c", "copy")
    video = open_video(wide)
    assert (video.info.width, video.info.height) == ((48, 96) if degrees else (96, 48))
    assert next(video.frames()).image.shape[:2] == (video.info.height, video.info.width)


@pytest.mark.parametrize(
    ("size", "pixels"),
    [
        ("63x47", "yuv444p"),
        ("63x47", "yuv420p"),
        ("16x16", "yuv420p"),
        ("63x47", "gray"),
        ("63x47", "gray16le"),
        ("62x46", "yuva420p"),
        ("62x46", "yuv420p10le"),
    ],
)
def test_sizes_and_pixel_formats(tmp_path, size, pixels):
    source = ["-f", "lavfi", "-i", f"testsrc=size={size}:rate=10:duration=1"]
    video = open_video(ffmpeg(tmp_path / "v.mkv", *source, "-pix_fmt", pixels, "-c:v", "ffv1"))
    frames = list(video.frames())
    assert f"{video.info.width}x{video.info.height}" == size
    assert len(frames) == 10
    assert all(f.image.shape == (video.info.height, video.info.width, 3) and f.image.dtype == np.uint8 for f in frames)
    assert frames[0].image.max() > 200 and frames[0].image.min() < 60


def test_8k(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (7680, 4320))
    for level in (50, 200):
        writer.write(np.full((4320, 7680, 3), level, np.uint8))
    writer.release()
    frames = list(open_video(tmp_path / "v.avi").frames())
    assert [frame.image.shape for frame in frames] == [(4320, 7680, 3)] * 2
    assert abs(int(frames[1].image[0, 0, 0]) - 200) < 4


def test_colours_are_rgb(tmp_path):
    folder = write_pictures(tmp_path / "p", [quadrants()[..., ::-1]] * 2)
    assert seen_quadrants(next(open_video(folder, fps=10).frames()).image) == QUADRANTS
    video = ffmpeg(tmp_path / "v.mkv", "-i", str(folder / "frame%d.png"), "-c:v", "ffv1", "-pix_fmt", "bgr0")
    assert seen_quadrants(next(open_video(video).frames()).image) == QUADRANTS


def test_a_truncated_video_gives_what_can_be_read_and_says_so(tmp_path):
    whole = ffmpeg(tmp_path / "v.mp4", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=10:duration=6",
                   "-pix_fmt", "yuv420p", "-movflags", "+faststart")  # fmt: skip
    data = whole.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: len(data) * 6 // 10])
    video = open_video(cut)
    frames = list(video.frames())
    assert 5 < len(frames) < 58
    assert video.notices == [
        f"cut.mp4: ends early: {len(frames)} of about 60 frames could be read; the file may be truncated"
    ]
    whole_frames = list(open_video(whole).frames())
    assert len(whole_frames) == 60 and open_video(whole).notices == []


def test_what_is_no_video(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("this is no video\n" * 100)
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(10_000))
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    cv2.imwrite(str(tmp_path / "one.png"), quadrants())
    ffmpeg(tmp_path / "sound.mp4", "-f", "lavfi", "-i", "sine=duration=1")
    whole = lossless(tmp_path / "v.mp4").read_bytes()
    (tmp_path / "headless.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "none").mkdir()
    for name, text in {
        "absent.mp4": "there is no file",
        "empty.mp4": "the file is empty",
        "text.mp4": "is not a video",
        "noise.mp4": "is not a video",
        "list.m3u8": "is not a video",
        "sound.mp4": "is not a video",
        "headless.mp4": "is not a video that can be read, or is damaged",
        "one.png": "is one picture, not a video; name its folder",
        "none": "the folder holds no pictures",
    }.items():
        with pytest.raises(VideoError, match=text) as caught:
            open_video(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(VideoError, match="there is no file"):
        open_video("http://example.org/v.mp4")


def test_zero_frames(tmp_path):
    empty = tmp_path / "zero.avi"
    writer = cv2.VideoWriter(str(empty), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    writer.release()
    with pytest.raises(VideoError, match=r"zero\.avi"):
        open_video(empty)


def test_pictures_in_natural_order_at_a_given_rate(tmp_path):
    images = [np.full((47, 63), 20 + 4 * n, np.uint8) for n in range(12)]
    folder = write_pictures(tmp_path / "walk", images)
    (folder / "notes.txt").write_text("not a picture")
    video = open_video(folder, fps=24)
    frames = list(video.frames())
    assert numbers(frames) == list(range(12)) and video.notices == []
    assert frames[6].time == 0.25 and frames[0].image.shape == (47, 63, 3)
    assert [frame.index for frame in video.frames(start=9)] == [9, 10, 11]
    assumed = open_video(folder)
    list(assumed.frames())
    assert assumed.notices == ["walk: pictures carry no times; 30 frames a second were assumed"]
    with pytest.raises(VideoError, match="frames a second"):
        open_video(folder, fps=0)


def test_pictures_with_alpha_and_16_bits(tmp_path):
    image = np.zeros((8, 10, 4), np.uint8)
    image[..., 2] = 255  # red, BGRA
    image[:, 5:, 3] = 255
    frame = next(open_video(write_pictures(tmp_path / "a", [image]), fps=1).frames()).image
    assert frame[0, 0].tolist() == [128, 128, 128] and frame[0, 9].tolist() == [255, 0, 0]
    deep = np.full((8, 10, 3), 65535, np.uint16)
    deep[..., 0] = 257 * 7  # blue
    frame = next(open_video(write_pictures(tmp_path / "b", [deep]), fps=1).frames()).image
    assert frame[0, 0].tolist() == [255, 255, 7]


def test_bad_pictures_are_named(tmp_path):
    folder = write_pictures(tmp_path / "p", [np.zeros((8, 8), np.uint8)] * 3)
    cv2.imwrite(str(folder / "frame1.png"), np.zeros((9, 8), np.uint8))
    with pytest.raises(VideoError, match=r"frame1\.png: has 8x9 pixels, the first picture 8x8"):
        list(open_video(folder, fps=1).frames())
    (folder / "frame1.png").write_bytes(b"\x89PNG but no more")
    with pytest.raises(VideoError, match=r"frame1\.png: is not a picture"):
        list(open_video(folder, fps=1).frames())


def test_memory_is_flat(tmp_path):
    video = open_video(ffmpeg(tmp_path / "v.mp4", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=30:duration=20"))
    tracemalloc.start()
    assert sum(1 for _ in video.frames()) == 600
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * 320 * 240 * 3


@pytest.mark.parametrize(("width", "height"), [(7680, 4320), (4320, 7680), (1281, 3), (1280, 720), (16, 16)])
def test_fitted(width, height):
    frame, scale = fitted(Frame(0, 0.0, np.zeros((height, width, 3), np.uint8)), 1280)
    assert max(frame.image.shape) <= 1280 and scale == max(1.0, max(width, height) / 1280)
    assert abs(frame.image.shape[1] - width / scale) <= 0.5 and abs(frame.image.shape[0] - height / scale) <= 0.5
