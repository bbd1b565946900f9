# SPDX-License-Identifier: GPL-3.0-or-later
"""Who hardly moves is told of: by `solve`, by `people`, and in its picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from fake_people import FakeBackend, Standing, stand, streaming
from video2rig import pipeline
from video2rig.cli import main
from video2rig.contact_sheet import contact_sheet
from video2rig.frames import open_video
from video2rig.keypoints import Keypoints

FRAMES = 75
STILL = "hardly moves in 2.5 s (0.1 % of their size): a picture, a statue, or somebody who holds very still"


def picture_of(person: Keypoints) -> Keypoints:
    """One frame of somebody, all of the time, as a detector sees it."""
    noise = np.random.default_rng(0).normal(0, 0.9, person.positions.shape)
    positions = np.repeat(person.positions[:1], len(person.times), 0) + noise
    return Keypoints(person.set_name, positions, person.confidence, person.times)


PEOPLE = {
    1: picture_of(stand(Standing(1.8, -0.8, 4.0), FRAMES)),
    2: stand(Standing(1.7, 0.8, 5.0), FRAMES),
}


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A black video in which a fake stream sees a picture of somebody and a person."""
    path = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30.0, (1280, 720))
    for _ in range(FRAMES):
        writer.write(np.zeros((720, 1280, 3), np.uint8))
    writer.release()
    monkeypatch.setattr(pipeline, "PeopleStream", streaming(PEOPLE))
    monkeypatch.setattr(pipeline, "Backend", FakeBackend)
    return path


def test_people_are_told_apart_from_pictures(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["people", str(clip), "-o", str(clip.with_name("people.png"))]) == 0
    first, second = capsys.readouterr().out.splitlines()[-2:]
    assert first.startswith(f"person 1: 0.00 to 2.47 s, seen in 100% of the frames; {STILL}; --person 1, or ")
    assert second.startswith("person 2: 0.00 to 2.47 s, seen in 100% of the frames; --person 2, or ")


def test_the_picture_marks_them(clip: Path) -> None:
    source = open_video(clip)
    marked = contact_sheet(source, PEOPLE, [10])
    plain = contact_sheet(source, {1: stand(Standing(1.8, -0.8, 4.0), FRAMES), 2: PEOPLE[2]}, [10])
    plates = [(sheet == (242, 115, 33)).all(-1).sum() for sheet in (marked, plain)]
    assert plates[0] > plates[1] + 500, "a longer plate, in the first person's colour"


@pytest.mark.parametrize(
    ("who", "told"), [("1", [f"person 1 {STILL}"]), ("2", []), ("everyone", [f"person 1 {STILL}"])]
)
def test_solving_tells_of_pictures(clip: Path, who: str, told: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    take = clip.with_name("take.npz")
    assert main(["solve", str(clip), "-o", str(take), "--no-regression", "--person", who]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "hardly moves" in line]
    assert lines == [f"video2rig: {line}" for line in told]


def test_who_was_passed_over_is_told(
    clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = streaming({2: PEOPLE[2]})
    stream.passed_over = 1  # type: ignore[attr-defined]
    monkeypatch.setattr(pipeline, "PeopleStream", stream)
    assert main(["solve", str(clip), "-o", str(clip.with_name("take.npz")), "--no-regression"]) == 0
    assert (
        "video2rig: person 1, the largest, hardly moves, as a picture or a statue; person 2, who does, was taken "
        "instead. A number or a point chooses the largest all the same\n"
    ) in capsys.readouterr().err
