# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole way with the real networks and the real solver: client, `video2rig serve`, and back, with accidents."""

import dataclasses
import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness import session_count
from test_frames import ffmpeg

from shared_data import SAMPLE, blazepose_files
from video2rig.client import solve, solve_again
from video2rig.connection import Connection
from video2rig.conversation import Call
from video2rig.errors import Cancelled
from video2rig.frames import VideoSource, open_video
from video2rig.greeting import probe
from video2rig.launcher import LocalServer
from video2rig.pipeline import Backend, Pipeline, solve_seen
from video2rig.progress import Progress
from video2rig.seen import Seen
from video2rig.settings import Settings
from video2rig.take import Take

FRAMES = 40
FREED_SECONDS = 2.0
MOMENTS = {"detecting": FRAMES // 3, "measuring the body": 0}
"""Accidents happen in these stages, once so many frames of them are done."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> VideoSource:
    """The beginning of the sample."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return open_video(ffmpeg(path, "-i", str(SAMPLE), "-frames:v", str(FRAMES), "-c", "copy"))


@pytest.fixture(scope="module")
def undisturbed(clip: VideoSource) -> Take:
    """What the pipeline makes of the clip in a process of its own: networks' last bits depend on what ran before."""
    blazepose_files()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return Take.from_bytes(pool.submit(take_of, clip.info.path).result())


def take_of(path: Path) -> bytes:
    """Return the take that the pipeline makes of a video."""
    torch.set_num_threads(1)  # as many as the server has: last bits depend on that, too
    clip = open_video(path)
    pipeline = Pipeline(Settings(device="cpu"), clip.info.facts(), Backend("cpu"))
    pipeline.push_all(clip)
    (take,) = pipeline.solve()
    return take.to_bytes()


def assert_close(first: Take, second: Take) -> None:
    """Two takes are the same, but for last bits and for what iterations make of them."""
    (header, arrays), (other_header, other_arrays) = first.pack(), second.pack()
    assert arrays.keys() == other_arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_allclose(array, other_arrays[name], rtol=0, atol=1e-9, err_msg=name)
    for value, other in zip(leaves(header), leaves(other_header), strict=True):
        assert value == (pytest.approx(other, abs=1e-9) if isinstance(other, float) else other)


def leaves(value: Any) -> Iterator[Any]:
    """The single values in nested JSON, with the names of objects' entries."""
    if isinstance(value, dict):
        for name in sorted(value):
            yield name
            yield from leaves(value[name])
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from leaves(entry)
    else:
        yield value


def solve_clip(
    clip: VideoSource,
    connection: Connection,
    tell: Callable[[Progress], None],
    cancelled: threading.Event | None = None,
    restart: Callable[[], Connection] | None = None,
) -> Take:
    call = Call(connection, tell, cancelled or threading.Event(), restart)
    (take,) = solve(clip, Settings(device="cpu"), call)
    return take


def test_the_take_is_that_of_the_pipeline(real_server: LocalServer, clip: VideoSource, undisturbed: Take) -> None:
    told: list[Progress] = []
    take = solve_clip(clip, real_server.ensure(), told.append)
    assert len(take.motion) == FRAMES and take.keypoints.seen().all()
    assert_close(take, undisturbed)
    stages = dict.fromkeys(progress.stage for progress in told)
    assert [stage for stage in stages if stage != "preparing"] == [
        "connecting",
        "detecting",
        "measuring the body",
        "solving",
        "holding feet still",
    ]
    assert not any(progress.notice for progress in told)


def test_everyone_comes_back_in_one_world(real_server: LocalServer, tmp_path: Path) -> None:
    """The sample beside itself."""
    path = ffmpeg(tmp_path / "two.mp4", "-i", str(SAMPLE), "-frames:v", "12", "-vf", "split[a][b];[a][b]hstack")
    settings, told = Settings(device="cpu", person="everyone", contacts="off"), []
    takes = solve(open_video(path), settings, Call(real_server.ensure(), told.append, threading.Event()))
    assert [take.person for take in takes] == [1, 2]
    assert takes[0].camera.to_json() == takes[1].camera.to_json()
    assert all(take.motion.provenance["people"] == 2 and take.keypoints.seen().all() for take in takes)
    across = [np.nanmean(take.keypoints.positions[..., 0]) for take in takes]
    assert abs(across[0] - across[1]) == pytest.approx(open_video(path).info.width / 2, rel=0.05)
    stages = {progress.stage for progress in told}
    assert {"solving, person 1 (1 of 2)", "solving, person 2 (2 of 2)"} <= stages or {
        "solving, person 2 (1 of 2)",
        "solving, person 1 (2 of 2)",
    } <= stages


def test_a_take_is_solved_again_from_its_keypoints(real_server: LocalServer, undisturbed: Take) -> None:
    take = Take.from_bytes(undisturbed.to_bytes())
    settings, skeleton = Settings(device="cpu", smoothing_hz=3.0, contacts="off"), take.motion.skeleton
    told: list[Progress] = []
    new = solve_again(take, settings, Call(real_server.ensure(), told.append, threading.Event()), skeleton)
    assert "detecting" not in {progress.stage for progress in told}
    assert new.motion.skeleton.to_json() == skeleton.to_json() and not new.motion.contacts
    before, after = take.motion.provenance, new.motion.provenance
    assert (after["people"], after["weights"]) == (before["people"], before["weights"])
    assert after["settings"] == settings.to_json()
    # the focal length was found with the proportions, and both stay
    assert new.camera.focal == pytest.approx(take.camera.focal)
    angle = 2 * math.atan(max(take.camera.width, take.camera.height) / 2 / take.camera.focal)
    known = dataclasses.replace(settings, field_of_view=angle)
    seen = Seen.of(take, former=take.own_body())
    assert seen.former is not None
    sent = {name: getattr(seen.former, name).astype(np.float32) for name in ("rotations", "root_position")}
    seen = dataclasses.replace(seen, former=dataclasses.replace(seen.former, **sent))  # as the wire carries it
    here = Take.unpack(*solve_seen(seen, known, take.video, Backend("cpu"), skeleton=skeleton).pack())
    for name, array in here.pack()[1].items():
        np.testing.assert_allclose(new.pack()[1][name], array, rtol=0, atol=1e-9, err_msg=name)
    np.testing.assert_array_equal(new.keypoints.positions, take.keypoints.positions)

    def jerk(one: Take) -> float:
        return float(np.abs(np.diff(one.motion.root_position, 3, axis=0)).mean())

    assert jerk(new) < jerk(take)


@pytest.mark.parametrize("stage", MOMENTS)
def test_cancel_frees_the_session_and_the_next_one_is_served(
    stage: str, real_server: LocalServer, clip: VideoSource, tmp_path: Path
) -> None:
    connection = real_server.ensure()
    cancelled = threading.Event()
    moments: list[float] = []

    def tell(progress: Progress) -> None:
        if progress.stage == stage and progress.done >= MOMENTS[stage] and not cancelled.is_set():
            assert probe(connection).sessions == 1
            moments.append(time.monotonic())
            cancelled.set()

    with pytest.raises(Cancelled):
        solve_clip(clip, connection, tell, cancelled)
    while probe(connection).sessions or session_count(connection):  # the latter counts workers that still run
        assert time.monotonic() - moments[0] < FREED_SECONDS
    assert time.monotonic() - moments[0] < FREED_SECONDS
    short = open_video(ffmpeg(tmp_path / "short.mp4", "-i", str(SAMPLE), "-frames:v", "4", "-c", "copy"))
    assert len(solve_clip(short, connection, lambda progress: None).motion) == 4


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a system with SIGKILL")
def test_a_server_killed_in_detection_and_again_in_the_solve_changes_nothing(
    real_server: LocalServer, clip: VideoSource, undisturbed: Take
) -> None:
    told: list[Progress] = []
    killed: list[str] = []
    running = [real_server.ensure()]

    def tell(progress: Progress) -> None:
        told.append(progress)
        due = progress.done >= MOMENTS.get(progress.stage, FRAMES + 1)
        if due and progress.stage not in killed:
            killed.append(progress.stage)
            os.kill(running[-1].pid, signal.SIGKILL)

    def restart() -> Connection:
        running.append(real_server.ensure())
        return running[-1]

    take = solve_clip(clip, running[0], tell, restart=restart)
    assert_close(take, undisturbed)
    assert killed == list(MOMENTS)
    assert len({connection.pid for connection in running}) == 3
    notices = [progress.notice for progress in told if progress.notice]
    assert [notice.partition("; ")[2] for notice in notices] == [
        "looking for a server",
        "sending the video again from its first frame",
    ] * 2
