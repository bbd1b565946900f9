# SPDX-License-Identifier: GPL-3.0-or-later
"""Keypoints of a take to a server and back as a new take, over real sockets: no frame of the video is sent."""

import dataclasses
import json
import threading

import numpy as np
import pytest
from fake_server import SKELETON, solved_again
from harness import (
    QUICK,
    SyntheticVideo,
    ask,
    assert_same,
    await_message,
    expected,
    expected_all,
    run,
    wait_free,
)

from video2rig.client import solve_again
from video2rig.connection import Connection
from video2rig.conversation import Call
from video2rig.errors import Cancelled
from video2rig.human import default_human
from video2rig.link import FRAMES, Link, ServerError
from video2rig.motion import Contact
from video2rig.progress import Progress
from video2rig.seen import Seen
from video2rig.settings import Settings
from video2rig.take import MEASURED, Take, TakeError
from video2rig.wire import Message, encode

SMOOTH = Settings(smoothing_hz=2.0)


def again(take: Take, connection: Connection, settings: Settings = SMOOTH, **named) -> tuple[Take, list[Progress]]:
    told: list[Progress] = []
    cancelled, restart = named.pop("cancelled", threading.Event()), named.pop("restart", None)
    new = solve_again(take, settings, Call(connection, told.append, cancelled, restart, QUICK), **named)
    return new, told


def with_world(take: Take) -> Take:
    """The take with what a detector says in space, and nobody in some frames."""
    draw = np.random.default_rng(1)
    confidence = take.keypoints.confidence.copy()
    confidence[3:6] = 0
    positions = np.where(confidence[..., None] > 0, take.keypoints.positions, np.nan)
    world = np.where(confidence[..., None] > 0, draw.normal(size=(*confidence.shape, 3)), np.nan).astype(np.float32)
    keypoints = dataclasses.replace(take.keypoints, confidence=confidence, positions=positions, world=world)
    return dataclasses.replace(take, keypoints=keypoints)


def test_keypoints_come_back_as_a_take_of_the_new_settings(shared_server):
    take = with_world(expected(SyntheticVideo(40)))
    new, told = again(take, shared_server.connection)
    wanted = solved_again(SMOOTH, take.video, None, Seen.of(take))
    assert_same(new, Take.unpack(*wanted.pack()))
    np.testing.assert_array_equal(new.motion.root_position[:, 2], 2.0)
    np.testing.assert_array_equal(new.keypoints.world, take.keypoints.world)
    stages = [progress.stage for progress in told]
    assert stages[0] == "connecting" and {"sending", "solving"} <= set(stages) and "detecting" not in stages
    wait_free(shared_server.connection)


def test_what_was_seen_is_the_takes_whatever_is_chosen(shared_server):
    (_, second, _) = expected_all(SyntheticVideo(5), Settings(person="everyone", detector="rtmw_l_wholebody"))
    provenance = second.motion.provenance | {"people": 3, "weights": {"net": "aa", "kinematic_regressor": "bb"}}
    second = dataclasses.replace(second, motion=dataclasses.replace(second.motion, provenance=provenance))
    mine = default_human(1.2, "athlete")
    new, _ = again(second, shared_server.connection, Settings(rom="athlete"), skeleton=mine)
    assert (new.person, new.motion.provenance["people"]) == (2, 3)
    assert new.motion.skeleton.to_json() == mine.to_json()
    settings = new.motion.provenance["settings"]
    assert (settings["person"], settings["detector"], settings["rom"]) == ("everyone", "rtmw_l_wholebody", "athlete")
    # one of several people: the camera is that of all
    assert new.camera.to_json() == second.camera.to_json()


def test_marked_contacts_arrive_as_they_were_sent(shared_server):
    take, times = expected(SyntheticVideo(50)), np.arange(50) / 25
    marked = (Contact("foot.L", times[3], times[17]), Contact("toe.R", times[4], times[4]), Contact("foot.L", 1.5, 9.0))
    new, _ = again(take, shared_server.connection, Settings(contacts="marked"), contacts=marked)
    assert [contact.joint for contact in new.motion.contacts] == ["foot.L", "toe.R", "foot.L"]
    np.testing.assert_allclose([c[1:] for c in new.motion.contacts], [c[1:] for c in marked], atol=1e-6)
    assert new.motion.provenance["settings"]["contacts"] == "marked"
    # as many as the message that opens a session must hold: every foot twice a second for two hours
    many = tuple(Contact(joint, at, at + 0.3) for joint in ("foot.L", "foot.R") for at in np.arange(0, 1500, 0.5))
    new, _ = again(take, shared_server.connection, Settings(contacts="marked"), contacts=many)
    assert len(new.motion.contacts) == len(many)


def test_the_former_motion_is_the_persons_whatever_is_solved(shared_server):
    take = expected(SyntheticVideo(40))
    turned = take.motion.rotations.copy()
    turned[:, 3] = [np.cos(0.2), np.sin(0.2), 0.0, 0.0]
    measured = {"proportions": MEASURED}
    take = dataclasses.replace(take, motion=dataclasses.replace(take.motion, rotations=turned, provenance=measured))
    own, every = take.motion.skeleton, np.full(len(take.motion.skeleton), 1.1)
    rig = own.scaled(every, every)
    # on a rig's own proportions there is none of them
    for skeleton, proportions, known in (
        (own, "person", True),
        (rig, "person", True),
        (own, "armature", True),
        (rig, "armature", False),
        (None, "person", False),
    ):
        settings = dataclasses.replace(SMOOTH, proportions=proportions)
        new, _ = again(take, shared_server.connection, settings, skeleton=skeleton)
        expected_rotations = turned if known and skeleton is own else np.tile([1.0, 0, 0, 0], (len(take.motion), 22, 1))
        np.testing.assert_allclose(new.motion.rotations, expected_rotations, atol=1e-6)
        assert new.motion.provenance.get("former") == (own.to_json() if skeleton is not None else None)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"rotations": None}, "expected the arrays"),
        ({"rotations": np.zeros((2, 3, 4))}, "expected 2 frames of the skeleton's"),
        ({"rotations": np.zeros((2, len(SKELETON), 4))}, "unit quaternions"),
        ({"root_position": np.full((2, 3), np.nan)}, "numbers that a motion can have"),
    ],
)
def test_what_is_no_former_motion_is_refused(shared_server, changes, text):
    whole = {"rotations": np.tile([1.0, 0, 0, 0], (2, len(SKELETON), 1)), "root_position": np.zeros((2, 3))}
    former = {"skeleton": SKELETON.to_json(), "camera": expected(SyntheticVideo(5)).camera.to_json()}
    opening = encode("open", settings={}, video=VIDEO, skeleton=SKELETON.to_json(), seen=SEEN | {"former": former})
    with Link(shared_server.connection) as link:
        session = ask(link, opening, "opened")["session"]
        sent = encode("keypoints", arrays(**(whole | changes)), session=session, index=0)
        assert text in ask(link, sent, "error", channel=FRAMES)["message"]
        link.send(FRAMES, encode("keypoints", arrays(**whole), session=session, index=0))
        link.send(FRAMES, encode("finish", session=session, frames=1))
        assert await_message(link, "result").arrays["0.times"].tolist() == [0.0, 0.1]
        link.send(FRAMES, encode("done", session=session))
    wait_free(shared_server.connection)


def test_a_focal_length_stays_with_the_proportions(shared_server):
    take = expected(SyntheticVideo(5))
    take = dataclasses.replace(take, motion=dataclasses.replace(take.motion, provenance={"proportions": MEASURED}))
    anew, _ = again(take, shared_server.connection)
    assert anew.camera.focal != pytest.approx(take.camera.focal)
    kept, _ = again(take, shared_server.connection, skeleton=take.motion.skeleton)
    assert kept.camera.focal == pytest.approx(take.camera.focal)
    assert kept.motion.provenance["settings"] == SMOOTH.to_json()
    told, _ = again(take, shared_server.connection, Settings(field_of_view=0.8), skeleton=take.motion.skeleton)
    assert told.camera.focal == pytest.approx(32 / np.tan(0.4))


def test_long_takes_go_in_several_messages(start_server):
    take = with_world(expected(SyntheticVideo(60)))
    # a picture of 32 pixels has 3072 bytes: seven frames of 33 points in space
    server = start_server("--limits", json.dumps({"max_side": 32, "credit": 2, "open_bytes": 4096}))
    new, told = again(take, server.connection)
    assert_same(new, Take.unpack(*solved_again(SMOOTH, take.video, None, Seen.of(take)).pack()))
    assert max(progress.total for progress in told if progress.stage == "sending") >= 9


def test_more_frames_than_a_server_takes_are_refused(start_server):
    server, take = start_server("--limits", json.dumps({"frames": 39})), expected(SyntheticVideo(40))
    with pytest.raises(ServerError, match="40 frames, this server takes at most 39"):
        again(dataclasses.replace(take, video=take.video | {"frame_count": 0}), server.connection)
    wait_free(server.connection)


def test_a_solve_that_fails_says_why_and_frees_the_session(shared_server):
    with pytest.raises(ServerError, match="nobody is this tall"):
        again(expected(SyntheticVideo(5)), shared_server.connection, Settings(height=2.5))
    wait_free(shared_server.connection)
    with pytest.raises(TakeError, match="does not tell fps of its video"):
        take = expected(SyntheticVideo(5))
        again(dataclasses.replace(take, video={k: v for k, v in take.video.items() if k != "fps"}), None)  # type: ignore[arg-type]


def test_cancel_frees_the_session(start_server):
    server = start_server("--solve-seconds", "30")
    cancelled = threading.Event()
    timer = threading.Timer(1.0, cancelled.set)
    timer.start()
    with pytest.raises(Cancelled):
        again(expected(SyntheticVideo(5)), server.connection, cancelled=cancelled)
    server.wait_log("freed, cancelled")


def test_a_lost_connection_is_made_anew(start_server, start_proxy):
    server = start_server("--solve-seconds", "1.5")
    control, frames = (start_proxy(getattr(server.connection, f"{name}_endpoint")) for name in ("control", "frames"))
    connection = dataclasses.replace(
        server.connection, control_endpoint=control.endpoint, frames_endpoint=frames.endpoint
    )
    take = expected(SyntheticVideo(30))
    threading.Timer(0.7, lambda: (control.cut(), frames.cut())).start()
    new, told = again(take, connection)
    assert_same(new, Take.unpack(*solved_again(SMOOTH, take.video, None, Seen.of(take)).pack()))
    assert any("connected again" in progress.notice for progress in told)
    assert sum("opened" in line for line in server.lines) == 1


def test_a_dead_server_is_replaced(start_server):
    first, second = start_server("--solve-seconds", "60"), start_server()
    take = expected(SyntheticVideo(30))
    threading.Timer(0.7, first.kill).start()
    new, told = again(take, first.connection, restart=lambda: second.connection)
    assert_same(new, Take.unpack(*solved_again(SMOOTH, take.video, None, Seen.of(take)).pack()))
    assert any("sending the keypoints again" in progress.notice for progress in told)


VIDEO = {"name": "v.mp4", "width": 64, "height": 48, "fps": 25.0, "frame_count": 0, "duration": 0.4}
SEEN = {"keypoint_set": "blazepose_33", "person": 1, "camera": {}, "contacts": None, "former": {}}


def open_again(link: Link, seen: dict) -> str:
    return ask(link, encode("open", settings={}, video=VIDEO, skeleton={}, seen=seen), "opened")["session"]


def arrays(**changes) -> dict[str, np.ndarray]:
    whole = {"positions": np.zeros((2, 33, 2)), "confidence": np.ones((2, 33)), "times": np.array([0.0, 0.1])}
    return {name: array for name, array in (whole | changes).items() if array is not None}


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (arrays(times=None), "expected the arrays positions, confidence, times"),
        (arrays(image=np.zeros(3)), "expected the arrays positions, confidence, times"),
        (arrays(positions=np.zeros((2, 32, 2))), "positions has shape"),
        (arrays(positions=np.full((2, 33, 2), np.nan)), "not finite"),
        (arrays(positions=np.full((2, 33, 2), 1e7)), "beyond 1e+06 pixels"),
        (arrays(confidence=np.full((2, 33), 1.5)), "between 0 and 1"),
        (arrays(times=np.array([0.1, 0.1])), "rise from frame to frame"),
        (arrays(times=np.array([0.1, np.nan])), "must be finite"),
        (arrays(times=np.zeros((2, 1))), "times has shape"),
        (arrays(world=np.full((2, 33, 3), 1e4)), "beyond 1e+06 pixels or 1000 m"),
        ({name: array[:0] for name, array in arrays().items()}, "no frames"),
    ],
)
def test_what_are_no_keypoints_is_refused_in_one_line(shared_server, sent, text):
    with Link(shared_server.connection) as link:
        session = open_again(link, SEEN)
        error = ask(link, encode("keypoints", sent, session=session, index=0), "error", channel=FRAMES)
        assert text in error["message"] and "\n" not in error["message"]
        # the session goes on, as if nothing had come
        link.send(FRAMES, encode("keypoints", arrays(), session=session, index=0))
        link.send(FRAMES, encode("finish", session=session, frames=1))
        assert await_message(link, "result").arrays["0.times"].tolist() == [0.0, 0.1]
        link.send(FRAMES, encode("done", session=session))
    wait_free(shared_server.connection)


def test_order_credit_and_kind_are_kept(start_server):
    server = start_server("--limits", json.dumps({"frames": 5}))
    with Link(server.connection) as link:
        session = open_again(link, {})
        refused = ask(link, encode("keypoints", arrays(), session=session, index=0), "error", channel=FRAMES)
        assert "where frames were announced" in refused["message"]
        session = open_again(link, SEEN)

        def send(index: int, start: float, **changes) -> Message:
            sent = arrays(times=np.array([start, start + 0.1]), **changes)
            return ask(link, encode("keypoints", sent, session=session, index=index), "error", "ack", channel=FRAMES)

        image = {"image": np.zeros((48, 64, 3), np.uint8)}
        frame = encode("frame", image, session=session, index=0, time=0.0, scale=1.0)
        assert "where keypoints were announced" in ask(link, frame, "error", channel=FRAMES)["message"]
        assert "where frame 0 was due" in send(1, 0.0)["message"]
        assert send(0, 0.0).type == "ack"
        assert "must follow those before" in send(1, 0.1)["message"]
        assert "some frames alone" in send(1, 0.2, world=np.zeros((2, 33, 3)))["message"]
        assert send(1, 0.2).type == "ack"
        assert "more than 5 frames" in send(2, 0.4)["message"]


def test_videos_are_still_solved_beside(shared_server):
    with Link(shared_server.connection) as link:
        open_again(link, SEEN)
        assert_same(run(SyntheticVideo(20), shared_server.connection)[0], expected(SyntheticVideo(20)))
