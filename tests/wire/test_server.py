# SPDX-License-Identifier: GPL-3.0-or-later
"""The server and the client, over real sockets to a real process."""

import dataclasses
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from harness import (
    FAKE_SERVER,
    QUICK,
    SyntheticVideo,
    ask,
    assert_same,
    await_message,
    expected,
    expected_all,
    frame_parts,
    open_session,
    run,
    run_all,
    wait_free,
)

from video2rig.client import solve
from video2rig.connection import Connection
from video2rig.conversation import Call
from video2rig.errors import Cancelled
from video2rig.human import default_human
from video2rig.link import FRAMES, Link, ServerError, Unreachable
from video2rig.progress import Progress
from video2rig.settings import Settings
from video2rig.take import Take
from video2rig.wire import encode


def test_a_video_comes_back_as_its_take(shared_server):
    take, told = run(SyntheticVideo(), shared_server.connection)
    assert_same(take, expected(SyntheticVideo()))
    stages = [progress.stage for progress in told]
    assert stages[0] == "connecting" and {"detecting", "solving"} <= set(stages)
    last = [progress for progress in told if progress.stage == "detecting"][-1]
    assert (last.done, last.total) == (60, 60) and last.fps > 0 and last.seconds_left == 0
    wait_free(shared_server.connection)


def test_everyone_comes_back_with_a_take_and_what_is_to_be_told(shared_server):
    settings = Settings(person="everyone")
    takes, told = run_all(SyntheticVideo(), shared_server.connection, settings)
    assert [take.person for take in takes] == [1, 2, 3]
    for take, one in zip(takes, expected_all(SyntheticVideo(), settings), strict=True):
        assert_same(take, one)
    assert len({take.motion.root_position[0, 0] for take in takes}) == 3
    assert [progress.notice for progress in told if progress.notice] == [
        "seen for less than 0.25 s and left out: person 4"
    ]


def test_one_of_several_people_keeps_the_number(shared_server):
    take, _ = run(SyntheticVideo(5), shared_server.connection, Settings(person="2"))
    assert take.person == 2
    assert_same(take, expected(SyntheticVideo(5), Settings(person="2")))


def test_a_skeleton_of_the_clients_is_what_is_solved(shared_server):
    mine = default_human(1.2, "athlete").scaled(np.linspace(0.9, 1.1, 22), np.linspace(0.9, 1.1, 22))
    take, _ = run(SyntheticVideo(5), shared_server.connection, skeleton=mine)
    assert take.motion.skeleton.to_json() == mine.to_json()


def test_a_skeleton_beyond_the_limit_of_joints_is_refused(start_server):
    server = start_server("--limits", json.dumps({"joints": 21}))
    with pytest.raises(ServerError, match="22 joints; at most 21 are allowed"):
        run(SyntheticVideo(5), server.connection, skeleton=default_human())
    assert_same(run(SyntheticVideo(5), server.connection)[0], expected(SyntheticVideo(5)))


def test_large_frames_are_shrunk_to_what_the_server_takes(shared_server):
    take, _ = run(SyntheticVideo(2, 7680, 4320), shared_server.connection)
    np.testing.assert_array_equal(take.keypoints.positions[:, 0, 1], 6.0)
    tiny, _ = run(SyntheticVideo(2, 16, 16), shared_server.connection)
    np.testing.assert_array_equal(tiny.keypoints.positions[:, 0, 1], 1.0)


@pytest.mark.parametrize("credit", [1, 3])
def test_the_client_stays_within_its_credit(start_server, credit):
    server = start_server("--limits", json.dumps({"credit": credit}), "--push-seconds", "0.002")
    take, _ = run(SyntheticVideo(40), server.connection)
    assert_same(take, expected(SyntheticVideo(40)))
    assert not any("refused" in line for line in server.lines)


def test_the_server_refuses_frames_beyond_the_credit_and_out_of_turn(start_server):
    server = start_server("--limits", json.dumps({"credit": 2}), "--push-seconds", "0.3")
    with Link(server.connection) as link:
        session = open_session(link)
        assert "where frame 0 was due" in ask(link, frame_parts(session, 1), "error", channel=FRAMES)["message"]
        for index in range(3):
            link.send(FRAMES, frame_parts(session, index))
        error = await_message(link, "error")
        assert error["code"] == "credit" and "credit of 2" in error["message"]
        while await_message(link, "ack")["next_index"] < 2:
            pass
        link.send(FRAMES, frame_parts(session, 1))  # sent again: ignored
        link.send(FRAMES, frame_parts(session, 2))
        link.send(FRAMES, encode("finish", session=session, frames=3))
        result = await_message(link, "result")
        assert result.arrays["0.times"].tolist() == [0.0, 0.04, 0.08]


def test_several_sessions_at_once(shared_server):
    counts = [10, 25, 40, 55]
    takes: dict[int, Take] = {}
    threads = [
        threading.Thread(target=lambda n=n: takes.update({n: run(SyntheticVideo(n), shared_server.connection)[0]}))
        for n in counts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for count in counts:
        assert_same(takes[count], expected(SyntheticVideo(count)))


@pytest.mark.parametrize("flags", [("--push-seconds", "0.01"), ("--solve-seconds", "30")], ids=["video", "solve"])
def test_cancel_frees_the_session(start_server, flags):
    server = start_server(*flags)
    cancelled = threading.Event()
    solving = "--solve-seconds" in flags
    video = SyntheticVideo(60, at={} if solving else {30: cancelled.set})

    def watch() -> None:
        server.wait_log("opened")
        with Link(server.connection) as link:
            while ask(link, encode("ping", session=""), "pong")["sessions"] == 0:
                pass
        cancelled.set()

    if solving:
        threading.Thread(target=watch).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        run(video, server.connection, cancelled=cancelled)
    server.wait_log("freed, cancelled")
    wait_free(server.connection)
    assert time.monotonic() - began < 10


def test_cancel_frees_the_session_even_when_the_connection_is_lost(start_server, start_proxy):
    server = start_server("--push-seconds", "0.01")
    proxy = start_proxy(server.connection.control_endpoint)
    connection = dataclasses.replace(server.connection, control_endpoint=proxy.endpoint)
    cancelled = threading.Event()

    def lose() -> None:
        proxy.cut()
        cancelled.set()

    with pytest.raises(Cancelled):
        run(SyntheticVideo(60, at={30: lose}), connection, cancelled=cancelled)
    server.wait_log("freed, cancelled")
    wait_free(server.connection)


def test_a_killed_server_is_replaced_and_the_take_is_the_same(start_server):
    first = start_server("--push-seconds", "0.002")
    video = SyntheticVideo(60, at={40: first.kill})
    restarted = []

    def restart() -> Connection:
        restarted.append(start_server())
        return restarted[-1].connection

    take, told = run(video, first.connection, restart=restart)
    assert_same(take, expected(SyntheticVideo(60)))
    notices = [progress.notice for progress in told if progress.notice]
    assert len(restarted) == 1
    assert any("broke" in notice for notice in notices)
    assert any("restarted; sending the video again from its first frame" in notice for notice in notices)


def test_a_server_that_always_dies_is_given_up(start_server):
    servers = [start_server()]

    def restart() -> Connection:
        servers.append(start_server())
        return servers[-1].connection

    video = SyntheticVideo(30)
    video._at = {5: lambda: servers[0].kill()}
    plain = video.frames

    def deadly(start: int = 0):
        video._at = {5: servers[-1].kill}
        return plain(start)

    video.frames = deadly
    with pytest.raises(Unreachable, match="gave up"):
        run(video, servers[0].connection, restart=restart)
    assert len(servers) <= 6


def test_a_dead_server_without_another_is_an_error_in_time(start_server):
    server = start_server()
    began = time.monotonic()
    with pytest.raises(Unreachable, match=r"nothing listens .*waited 1 s"):
        run(
            SyntheticVideo(60, at={20: server.kill}),
            server.connection,
            timing=dataclasses.replace(QUICK, reconnect=1.0),
        )
    assert time.monotonic() - began < 5


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs a system that can stop a process")
def test_a_server_that_hangs_is_noticed(start_server):
    server = start_server()
    video = SyntheticVideo(60, at={20: lambda: os.kill(server.process.pid, signal.SIGSTOP)})
    take, told = run(video, server.connection, restart=lambda: start_server().connection)
    assert_same(take, expected(SyntheticVideo(60)))
    assert any("has not answered" in progress.notice for progress in told)


def test_a_lost_connection_is_resumed_where_the_server_stands(start_server, start_proxy):
    server = start_server("--push-seconds", "0.002", "--solve-seconds", "0.5")
    control = start_proxy(server.connection.control_endpoint)
    frames = start_proxy(server.connection.frames_endpoint)
    connection = dataclasses.replace(
        server.connection, control_endpoint=control.endpoint, frames_endpoint=frames.endpoint
    )
    video = SyntheticVideo(80, at={20: frames.cut, 45: control.cut})
    told = []
    solving = threading.Event()

    def tell(progress: Progress) -> None:
        told.append(progress)
        if progress.stage == "solving":
            solving.set()

    def cut_while_solving() -> None:
        assert solving.wait(20)
        control.cut()
        frames.cut()

    cutter = threading.Thread(target=cut_while_solving)
    cutter.start()

    everyone = Settings(person="everyone")
    takes = solve(video, everyone, Call(connection, tell, threading.Event(), timing=QUICK))
    cutter.join()
    for take, one in zip(takes, expected_all(SyntheticVideo(80), everyone), strict=True):
        assert_same(take, one)
    server.wait_log("resumed", 3)
    assert sum("opened" in line for line in server.lines) == 1, "nothing is solved twice"
    resumed = [progress.notice for progress in told if "going on with frame" in progress.notice]
    assert len(resumed) == 3 and not any("frame 0" in notice for notice in resumed)


def test_the_result_waits_until_it_is_acknowledged(start_server):
    server = start_server()
    with Link(server.connection) as link:
        session = open_session(link)
        link.send(FRAMES, frame_parts(session, 0))
        link.send(FRAMES, encode("finish", session=session, frames=1))
        first = await_message(link, "result")
    with Link(server.connection) as link:
        opened = ask(link, encode("resume", session=session), "opened")
        assert (opened["next_index"], opened["state"]) == (1, "done")
        again = ask(link, encode("finish", session=session, frames=1), "result", channel=FRAMES)
        np.testing.assert_array_equal(first.arrays["0.keypoints"], again.arrays["0.keypoints"])
        link.send(FRAMES, encode("done", session=session))
        server.wait_log("its result arrived")
        assert ask(link, encode("resume", session=session), "error")["code"] == "session"


def test_an_idle_session_is_freed_and_the_client_begins_again(start_server):
    server = start_server("--limits", json.dumps({"idle_seconds": 0.6}))
    with Link(server.connection) as link:
        open_session(link)
    server.wait_log("silent for 0.6 s")
    wait_free(server.connection)
    slow = SyntheticVideo(30, at={10: lambda: server.wait_log("silent", 2)})
    take, told = run(slow, server.connection)
    assert_same(take, expected(SyntheticVideo(30)))
    assert any("no longer has this video" in progress.notice for progress in told)


def test_a_signal_ends_the_server_and_its_connection_file(start_server):
    server = start_server("--solve-seconds", "30")
    assert stat.S_IMODE(server.path.stat().st_mode) == 0o600
    with Link(server.connection) as link:
        session = open_session(link)
        link.send(FRAMES, frame_parts(session, 0))
        link.send(FRAMES, encode("finish", session=session, frames=1))
        await_message(link, "progress")
        assert server.terminate() == 0
    assert not server.path.exists()


def test_a_second_server_does_not_take_the_connection_file(start_server):
    server = start_server()
    command = [sys.executable, str(FAKE_SERVER), "serve", "--connection-file", str(server.path)]
    second = subprocess.run(command, capture_output=True, text=True)
    assert second.returncode == 1 and "a server already answers" in second.stderr
    assert Connection.load(server.path) == server.connection


def test_the_server_ends_with_its_parent(start_server):
    parent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    server = start_server("--parent-pid", str(parent.pid))
    parent.kill()
    assert server.process.wait(20) == 0  # not reaped yet: a process that ended but still has its number counts as ended
    parent.wait()
    assert not server.path.exists()
