# SPDX-License-Identifier: GPL-3.0-or-later
"""`video2rig solve --person` and `video2rig people`: files, lines, pictures, and what is never overwritten."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_several_people import CHILD, FRAMES, NEAR, only

from fake_people import FakeBackend, stand, streaming
from video2rig import contact_sheet, pipeline
from video2rig.cli import main
from video2rig.presence import boxes, clarity, presence
from video2rig.take import Take
from video2rig.take_files import former, path_of


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A black video of 1280x720 in which a fake stream sees two people, the second one from frame 10 to 24."""
    path = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30.0, (1280, 720))
    for _ in range(FRAMES):
        writer.write(np.zeros((720, 1280, 3), np.uint8))
    writer.release()
    people = {1: stand(NEAR), 2: only(stand(CHILD), slice(10, 25))}
    monkeypatch.setattr(pipeline, "PeopleStream", streaming(people))
    monkeypatch.setattr(pipeline, "Backend", FakeBackend)
    return path


def solve(clip: Path, *arguments: str) -> int:
    return main(["solve", str(clip), "-o", str(clip.with_name("take.npz")), "--no-regression", *arguments])


def takes(clip: Path) -> list[str]:
    return sorted(path.name for path in clip.parent.glob("*.npz"))


def test_everyone_gets_a_file_and_a_line(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert solve(clip, "--person", "everyone", "--json-progress") == 0
    assert takes(clip) == ["take.person1.npz", "take.person2.npz"]
    assert [Take.load(clip.with_name(name)).person for name in takes(clip)] == [1, 2]
    told = capsys.readouterr()
    assert "person 1: 0.00 to 0.97 s, seen in 100% of the frames" in told.err
    assert "person 2: 0.33 to 0.80 s, seen in 50% of the frames" in told.err
    assert {"detecting", "solving, person 2 (2 of 2)"} <= {json.loads(line)["stage"] for line in told.out.splitlines()}


def test_one_person_gets_the_file_that_was_named(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert solve(clip) == 0 and takes(clip) == ["take.npz"]
    assert Take.load(clip.with_name("take.npz")).person == 1
    assert solve(clip, "--person", "2") == 0 and takes(clip) == ["take.npz"]
    assert Take.load(clip.with_name("take.npz")).person == 2
    assert "person 2: 0.33 to 0.80 s" in capsys.readouterr().err


def test_files_of_a_former_run_are_replaced_only_when_told(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip.with_name("take.person9.npz").write_text("mine")
    clip.with_name("other.person1.npz").write_text("mine")
    assert solve(clip, "--person", "everyone") == 1
    assert "take.person9.npz is there already" in capsys.readouterr().err
    assert takes(clip) == ["other.person1.npz", "take.person9.npz"]
    assert solve(clip, "--person", "everyone", "--overwrite") == 0
    assert takes(clip) == ["other.person1.npz", "take.person1.npz", "take.person2.npz"]
    assert clip.with_name("other.person1.npz").read_text() == "mine"


@pytest.mark.parametrize(
    ("person", "says"),
    [("7", "there is no person 7"), ("fourth", "it can be 'largest'"), ("2000,1@0", "outside of the picture")],
)
def test_who_is_not_there_is_told(clip: Path, person: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert solve(clip, "--person", person) == 1
    assert says in capsys.readouterr().err and not takes(clip)


def test_the_detector_is_the_one_that_was_named(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(pipeline, "Backend", lambda device: FakeBackend(device, asked))
    monkeypatch.setattr(pipeline.catalogue, "digests", lambda name: {name: {"file": "digest"}})
    assert solve(clip, "--detector", "openpose_3") == 0
    assert asked == ["openpose_3"]
    provenance = Take.load(clip.with_name("take.npz")).motion.provenance
    assert provenance["settings"]["detector"] == "openpose_3" and provenance["weights"].keys() == {"openpose_3"}


def test_people_are_shown_and_named(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = clip.with_name("people.png")
    assert main(["people", str(clip), "-o", str(target)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["person 1", "person 2"]
    assert "0.33 to 0.80 s, seen in 50% of the frames; --person 2, or --person " in lines[1]
    # the point that is told is on the person
    x, y, time = (float(word) for word in lines[1].split()[-1].replace("@", ",").split(","))
    box = boxes(only(stand(CHILD), slice(10, 25)))[round(time * 30)]
    assert box[0] < x < box[2] and box[1] < y < box[3]
    picture = cv2.imread(str(target))
    assert picture is not None and picture.shape == (540, 960, 3), "one frame shows both"
    scale = 960 / 1280
    drawn = picture.max(axis=2) > 60
    left, top, right, bottom = (box * scale).round().clip(0, [959, 539, 959, 539]).astype(int)
    assert drawn[top + 5 : bottom - 5, left - 1 : left + 2].any(axis=1).all()
    assert drawn[bottom - 1 : bottom + 2, left + 5 : right - 5].any(axis=0).all()


def test_people_asks_for_a_picture_file(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["people", str(clip), "-o", str(clip.with_name("people.txt"))]) == 1
    assert ".png" in capsys.readouterr().err and not clip.with_name("people.txt").exists()


def test_numbers_of_people_in_one_place_are_written_side_by_side() -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    plates: list[tuple[int, int, int, int]] = []
    for number in (1, 2, 30):
        plates.append(contact_sheet._label(image, str(number), (40, 90), (0, 0, 200), plates))
    assert [plate[0] for plate in plates[1:]] == [plate[2] for plate in plates[:-1]]


def test_few_frames_show_everyone() -> None:
    near, child = stand(NEAR), stand(CHILD)
    assert len(contact_sheet.telling_frames({1: near, 2: child})) == 1
    apart = {1: only(near, slice(0, 10)), 2: only(child, slice(20, 30)), 3: only(child, slice(5, 12))}
    chosen = contact_sheet.telling_frames(apart)
    assert len(chosen) == 2 and chosen == sorted(chosen)
    for keypoints in apart.values():
        assert clarity(keypoints)[chosen].max() >= 0.6 * clarity(keypoints).max()


def test_presence_is_when_somebody_was_seen() -> None:
    assert presence(only(stand(NEAR), slice(3, 9))) == (3 / 30, 8 / 30, 6 / 30)


def test_names_of_several_files(tmp_path: Path) -> None:
    assert path_of(tmp_path / "a.b.npz", 12).name == "a.b.person12.npz"
    for name in ("a.person1.npz", "a.person02.npz", "a.person.npz", "ab.person1.npz", "a.person1.npz.old", "a.npz"):
        (tmp_path / name).touch()
    assert [path.name for path in former(tmp_path / "a.npz")] == ["a.person02.npz", "a.person1.npz"]
