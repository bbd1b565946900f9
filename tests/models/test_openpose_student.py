# SPDX-License-Identifier: GPL-3.0-or-later
"""The distillation recipe: targets, crops, lessons, a run that was cut off."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from models.checkpoints import CheckpointError
from models.openpose_student import evaluate
from models.openpose_student import train as training
from models.openpose_student.frames import Clip, Crops, LessonError, draw_crops, read_clip
from models.openpose_student.network import Student
from models.openpose_student.targets import HALF_WIDTH, SPREAD, targets
from models.openpose_student.train import Settings, lesson, load_teacher, train
from video2rig.detection.openpose.decode import decode
from video2rig.detection.openpose.layout import FIELDS, HEAT_MAPS, LIMBS, PARTS
from video2rig.detection.openpose.stages import OpenPoseError, StagedNetwork, StageOutput

TINY = Settings(stages=2, width=4, epochs=3, crops=8, batch=4, size=64, height=96)


class Teacher(StagedNetwork):
    """Puts out maps that follow from the brightness of the picture, so that there is something to learn."""

    stages, multiple = 2, 16

    def __init__(self) -> None:
        super().__init__()
        weights = torch.rand(FIELDS + HEAT_MAPS, generator=torch.Generator().manual_seed(0)) / 255
        self.weights = nn.Parameter(weights, requires_grad=False)

    def normalise(self, pixels: Tensor) -> Tensor:
        return pixels

    def forward(self, images: Tensor) -> list[StageOutput]:
        bright = nn.functional.avg_pool2d(images.mean(1, keepdim=True), 8) * self.weights[:, None, None]
        return [StageOutput(bright[:, :FIELDS], bright[:, FIELDS:])] * 2


def clip(count: int = 3, seed: int = 0, people: Tensor | None = None) -> Clip:
    random = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (count, 6, 8, 3), generator=random, dtype=torch.uint8)
    return Clip(frames.repeat_interleave(16, 1).repeat_interleave(16, 2), people)


# ---- targets ------------------------------------------------------------------------------------------------------


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_targets_equal_plain_loops(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows, columns = 9, 12
    parts = random.uniform(-2, 13, (3, 18, 2))
    parts[random.random((3, 18)) < 0.3] = np.nan
    got = targets(torch.from_numpy(parts)[None], (rows, columns))
    heat, fields = got.heat[0].numpy(), got.fields[0].numpy()
    for y in range(rows):
        for x in range(columns):
            cell = np.array([x, y])
            for part in range(18):
                values = [np.exp(-((cell - one[part]) ** 2).sum() / (2 * SPREAD**2)) for one in parts]
                expected = max((value for value in values if np.isfinite(value)), default=0.0)
                assert abs(heat[part, y, x] - expected) < 1e-9
            assert abs(heat[18, y, x] - (1 - heat[:18, y, x].max())) < 1e-9
            for limb in LIMBS:
                units = []
                for one in parts:
                    along = one[limb.end] - one[limb.begin]
                    length = np.linalg.norm(along)
                    offset = cell - one[limb.begin]
                    far, aside = offset @ along / length, np.cross(along, offset) / length
                    if -HALF_WIDTH <= far <= length + HALF_WIDTH and abs(aside) <= HALF_WIDTH:
                        units.append(along / length)
                expected = np.mean(units, axis=0) if units else np.zeros(2)
                np.testing.assert_allclose(fields[limb.channel : limb.channel + 2, y, x], expected, atol=1e-9)


def test_targets_of_nobody_are_background() -> None:
    for parts in (torch.zeros(2, 0, 18, 2), torch.full((2, 1, 18, 2), torch.nan)):
        output = targets(parts, (4, 5))
        assert (output.fields == 0).all() and (output.heat[:, :18] == 0).all() and (output.heat[:, 18] == 1).all()


# ---- crops --------------------------------------------------------------------------------------------------------


def test_known_people_move_with_the_picture() -> None:
    """A bright spot at a part stays under it, whatever the crop; mirrored crops have the other side there."""
    frames = torch.zeros(1, 200, 300, 3, dtype=torch.uint8)
    people = torch.full((1, 1, 18, 2), torch.nan)
    left, right = PARTS.index("left_wrist"), PARTS.index("right_wrist")
    for part, (x, y), colour in ((left, (150, 90), 0), (right, (120, 110), 1)):
        people[0, 0, part] = torch.tensor([x, y], dtype=torch.float32)
        frames[0, y - 3 : y + 4, x - 3 : x + 4, colour] = 255
    mirrored = 0
    for seed in range(40):
        random = torch.Generator().manual_seed(seed)
        anywhere = torch.full((1, 2), torch.nan)
        crops = draw_crops([Clip(frames, people)], torch.tensor([[0, 0]]), anywhere, 160, (0.8, 1.2), random)
        for part in (left, right):
            x, y = crops.people[0, 0, part].round().long().tolist()
            if 4 <= x < 156 and 4 <= y < 156:
                colours = crops.pictures[0, :2, y, x].tolist()
                swapped = colours[0 if part == right else 1] > 200
                assert max(colours) > 200
                mirrored += swapped
    assert 5 < mirrored < 60


def test_videos_are_read_at_their_height(tmp_path: Path) -> None:
    for i in range(5):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((40, 60, 3), 40 * i, np.uint8))
    truth = np.zeros((5, 2, 18, 2))
    truth[..., 0] = 29.5  # the middle of the picture
    truth[..., 1] = 19.5
    np.savez(tmp_path / "truth.npz", positions=truth)
    read = read_clip(tmp_path, 20, 2, tmp_path / "truth.npz")
    assert read.frames.shape == (3, 20, 30, 3) and read.frames[:, 0, 0, 0].tolist() == [0, 80, 160]
    assert read.people is not None
    np.testing.assert_allclose(read.people[0, 0, 0], [14.5, 9.5])
    np.savez(tmp_path / "truth.npz", positions=truth[:, :, :17])
    with pytest.raises(LessonError, match=r"positions are \[3, 2, 17, 2\], expected \[3,P,18,2\]"):
        read_clip(tmp_path, 20, 2, tmp_path / "truth.npz")
    with pytest.raises(LessonError, match="with `positions`"):
        read_clip(tmp_path, 20, 2, tmp_path / "0.png")


# ---- lessons ------------------------------------------------------------------------------------------------------


def test_every_stage_is_taught_and_known_people_count() -> None:
    torch.manual_seed(0)
    student, teacher = Student(3, 4), Teacher()
    pictures = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    people = torch.full((2, 1, 18, 2), torch.nan)
    people[0, 0] = 64 * torch.rand(18, 2)
    crops = Crops(pictures, people, torch.tensor([True, False]))
    plain, known = lesson(student, teacher, crops, 0.0), lesson(student, teacher, crops, 1.0)
    assert plain.squares.shape == (3, 2)
    assert known.total > plain.total
    plain.total.backward()
    for head in student.heads:
        assert head.weight.grad is not None and head.weight.grad.abs().sum() > 0
    with torch.no_grad():
        outputs, taught = student(student.normalise(pictures.float())), teacher(pictures.float())[-1]
    expected = [[float((a - b).square().mean()) for a, b in zip(output, taught, strict=True)] for output in outputs]
    np.testing.assert_allclose(plain.squares, expected, rtol=1e-4)


def test_a_student_learns_and_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    clips, lines = [clip(3, 0), clip(2, 1)], []
    whole = train(Teacher(), clips, TINY, tmp_path / "whole", [clip(2, 2)], lines.append)
    assert len(lines) == 3 and "on other videos" in lines[0]
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in lines]
    assert losses[-1] < losses[0]

    class Stop(Exception):
        pass

    def stop(_: str) -> None:
        raise Stop

    with pytest.raises(Stop):
        train(Teacher(), clips, TINY, tmp_path / "cut", None, stop)
    again = train(Teacher(), clips, TINY, tmp_path / "cut", None, lambda line: None)
    for name, value in again.state_dict().items():
        torch.testing.assert_close(value, whole.state_dict()[name])
    with pytest.raises(CheckpointError, match="width"):
        train(Teacher(), clips, replace(TINY, width=8), tmp_path / "cut", None, print)
    read = Student.load(training.weights_path(tmp_path / "whole"))
    assert (read.stages, read.width) == (2, 4)
    for name, value in read.state_dict().items():
        torch.testing.assert_close(value, whole.state_dict()[name], rtol=0, atol=0)


def test_impossible_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LessonError, match="2 crops an epoch in batches of 4"):
        train(Teacher(), [clip()], replace(TINY, crops=2), tmp_path)
    with pytest.raises(LessonError, match="multiples of 16, 64 at least"):
        train(Teacher(), [clip()], replace(TINY, size=72), tmp_path)
    with pytest.raises(OpenPoseError, match="a width of 2 channels"):
        Student(2, 2)


def test_other_files_are_no_student(tmp_path: Path) -> None:
    with pytest.raises(OpenPoseError, match="there is no such file"):
        Student.load(tmp_path / "nothing.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"xx")
    with pytest.raises(OpenPoseError, match="is damaged, or no weights of a student"):
        Student.load(tmp_path / "broken.safetensors")


class Echo(Student):
    """A student that answers as a perfect one: with the drawn maps of known people."""

    def __init__(self, people: Tensor) -> None:
        super().__init__(2, 4)
        self.people = people

    def forward(self, images: Tensor) -> list[StageOutput]:
        output = targets((self.people + 0.5) / 8 - 0.5, (images.shape[2] // 8, images.shape[3] // 8))
        return [output, output]


def test_evaluation_of_a_perfect_and_of_a_blind_student() -> None:
    body = {"nose": (0, -60), "neck": (0, -40), "right_hip": (-12, 0), "left_hip": (12, 0), "right_knee": (-12, 40)}
    people = torch.full((1, 1, 18, 2), torch.nan)
    for part, (x, y) in body.items():
        people[0, 0, PARTS.index(part)] = torch.tensor([100.0 + x, 100.0 + y])
    frames = Clip(torch.zeros(2, 192, 208, 3, dtype=torch.uint8), None)
    teacher = Echo(people)
    assert len(decode(teacher(torch.zeros(1, 3, 192, 208))[-1])[0].score) == 1
    perfect = evaluate.evaluate(Echo(people), teacher, [frames])
    assert (perfect.people, perfect.people_found, perfect.extra) == (2, 2, 0)
    assert perfect.parts == perfect.parts_found == 10 and perfect.offset < 1e-6
    assert perfect.difference[:2].max() == 0 and perfect.difference[2].min() > 0
    blind = evaluate.evaluate(Echo(people[:, :0]), teacher, [frames])
    assert (blind.people, blind.people_found, blind.parts_found, blind.extra) == (2, 0, 0, 0)
    seeing = evaluate.evaluate(Echo(people), Echo(people[:, :0]), [frames])
    assert (seeing.people, seeing.extra) == (0, 2)
    assert "people of the teacher 2" in evaluate.report(blind, teacher, teacher, [frames])


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.random.default_rng(i).integers(0, 255, (96, 128, 3), np.uint8))
    monkeypatch.setattr(training, "load_teacher", lambda path, stages: Teacher())
    monkeypatch.setattr(evaluate, "load_teacher", lambda path, stages: Teacher())
    out = tmp_path / "out"
    choices = {"epochs": 1, "crops": 4, "batch": 2, "size": 64, "width": 4, "height": 96, "device": "cpu"}
    small = [text for name, value in choices.items() for text in (f"--{name}", str(value))]
    monkeypatch.setattr(sys, "argv", ["train", str(tmp_path), "--teacher", "x.pb", "--output", str(out), *small])
    assert training.main() == 0
    student = str(training.weights_path(out))
    line = [str(tmp_path), "--teacher", "x.pb", "--student", student, "--every", "1", "--height", "96"]
    monkeypatch.setattr(sys, "argv", ["evaluate", *line, "--device", "cpu"])
    assert evaluate.main() == 0
    assert "stage 2 of the student" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["train", str(tmp_path / "no.mp4"), "--teacher", "x.pb", "--device", "cpu"])
    assert training.main() == 1
    assert "there is no file" in capsys.readouterr().err


def test_teachers_are_told_apart_by_their_files(tmp_path: Path) -> None:
    with pytest.raises(OpenPoseError, match=r"no.pb: cannot be read"):
        load_teacher(tmp_path / "no.pb")
    with pytest.raises(OpenPoseError, match=r"no.pth: there is no such file"):
        load_teacher(tmp_path / "no.pth")
