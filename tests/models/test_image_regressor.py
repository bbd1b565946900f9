# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from models.checkpoints import CheckpointError
from models.image_regressor import evaluate, network
from models.image_regressor import train as training
from models.image_regressor.body import UPRIGHT, average_body, bone_lengths, kinematic_layer, subject_scales
from models.image_regressor.fit import fit
from models.image_regressor.network import HEADS, BackboneError, ImageRegressor
from models.image_regressor.people import NAMES, SIZE, People, PeopleError, crop_person, load_people
from models.image_regressor.train import Settings, make_lessons, train
from strategies import seeds
from video2rig.paper_human import paper_human

TINY = Settings(held_out=(2,), backbone="small", size=32, epochs=4, drop=3, batch=4)
SIZES = {0: 0.9, 1: 1.1, 2: 1.0}


def random_parameters(seed: int, count: int) -> torch.Tensor:
    """Motion parameters [N, 27] inside the ranges of motion, turned any way."""
    human = paper_human()
    rng = np.random.default_rng(seed)
    angles = rng.uniform(human.rom[..., 0], human.rom[..., 1], (count, len(human), 3))[:, human.free_axes()]
    return torch.from_numpy(np.concatenate([np.zeros((count, 3)), angles], axis=1)).float()


def draw(joints: np.ndarray) -> np.ndarray:
    """Return a picture [224, 224, 3] of joints [17, 3] in camera axes: limbs as lines, left and right in colours."""
    picture = np.zeros((SIZE, SIZE, 3), np.uint8)
    places = np.round(joints[:, :2] * 100 + SIZE / 2).astype(int)
    for begin, end, colour in ((0, 8, 255), (8, 10, 128), (1, 3, 80), (4, 6, 200), (11, 13, 220), (14, 16, 60)):
        for one, other in zip(range(begin, end), range(begin + 1, end + 1), strict=True):
            cv2.line(picture, places[one].tolist(), places[other].tolist(), (colour, 255 - colour, 128), 6)
    return picture


@pytest.fixture(scope="module")
def people() -> People:
    """Twelve drawn people of three sizes, the third of whom is held out."""
    subject = np.arange(12) % 3
    scale = torch.tensor([SIZES[int(one)] for one in subject])
    joints = kinematic_layer(paper_human())(random_parameters(5, 12), scale).numpy() @ UPRIGHT.astype(np.float32)
    return People(np.stack([draw(one) for one in joints]), joints, subject, np.array(["walk", "sit"] * 6))


@pytest.fixture
def saved(people: People, tmp_path: Path) -> Callable[..., Path]:
    """Writes the people to a file, with some arrays replaced, or left out where they are None."""

    def save(**changes: np.ndarray | None) -> Path:
        arrays = {"images": people.images, "joints": people.joints, "subject": people.subject, "action": people.action}
        path = tmp_path / "people.npz"
        np.savez(path, **{name: array for name, array in {**arrays, **changes}.items() if array is not None})
        return path

    return save


def test_files_are_read_as_they_were_written(people: People, saved: Callable[..., Path]) -> None:
    found = load_people(saved())
    assert np.array_equal(found.images, people.images)
    assert np.allclose(found.joints, people.joints)
    assert load_people(saved(action=None), 32).images.shape == (12, 32, 32, 3)
    assert set(found.of((0, 1)).subject) == {0, 1}
    assert set(found.of((0, 1), others=True).subject) == {2}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"subject": None}, "lacks subject"),
        ({"images": np.zeros((12, 64, 64, 3), np.uint8)}, "images has shape"),
        ({"images": np.zeros((12, SIZE, SIZE, 3), np.float32)}, "images are float32, expected uint8"),
        ({"images": np.zeros((0, SIZE, SIZE, 3), np.uint8)}, "joints has shape"),
        ({"joints": np.zeros((12, 16, 3))}, "joints has shape"),
        ({"joints": np.full((12, 17, 3), np.nan)}, "not finite"),
        ({"joints": np.full((12, 17, 3), 0.5)}, "relative to the pelvis"),
        ({"joints": np.zeros((12, 17, 3)) + np.arange(17)[:, None] * 50.0}, "are they metres"),
        ({"subject": np.zeros(12)}, "subjects are float64, expected integers"),
        ({"action": np.array(["walk"])}, "action has shape"),
    ],
)
def test_a_bad_file_is_refused_by_what_is_bad(
    changes: dict[str, np.ndarray | None], complaint: str, saved: Callable[..., Path]
) -> None:
    with pytest.raises(PeopleError, match=complaint):
        load_people(saved(**changes))


def test_no_file_and_no_archive_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.npz"
    other.write_bytes(b"not an archive")
    for path in (tmp_path / "missing.npz", other):
        with pytest.raises(PeopleError, match=r"cannot be read as \.npz"):
            load_people(path)


def test_a_crop_keeps_the_aspect_ratio_and_repeats_the_border() -> None:
    image = np.full((100, 300, 3), 40, np.uint8)
    cv2.circle(image, (50, 50), 30, (250, 250, 250), cv2.FILLED)
    crop = crop_person(image, (20, 0, 80, 112))  # leaves the image at the bottom; twice its size
    assert crop.shape == (SIZE, SIZE, 3)
    bright = np.argwhere(crop[..., 0] > 150)
    high, wide = np.ptp(bright, axis=0)
    assert abs(high - 120) <= 3 and abs(wide - 120) <= 3
    assert np.abs(bright.mean(axis=0) - (100.5, 112.5)).max() < 1.5
    assert (crop[-10:] == 40).all()
    with pytest.raises(PeopleError, match="is empty"):
        crop_person(image, (20, 0, 20, 50))


def test_sizes_and_the_average_body_are_found_in_the_joints(people: People) -> None:
    assert subject_scales(people) == pytest.approx(SIZES, abs=1e-5)
    body = average_body(people)
    rest = kinematic_layer(body)(torch.zeros(27)).numpy()
    own = kinematic_layer(paper_human())(torch.zeros(27)).numpy()
    assert np.allclose(bone_lengths(rest), bone_lengths(own), atol=1e-4)
    larger = People(people.images, people.joints * 1.3, people.subject, people.action)
    rest = kinematic_layer(average_body(larger))(torch.zeros(27)).numpy()
    assert np.allclose(bone_lengths(rest), bone_lengths(own) * 1.3, atol=1e-4)


def test_at_rest_a_person_stands_upright_and_faces_the_camera() -> None:
    rest = kinematic_layer(paper_human())(torch.zeros(27)).numpy() @ UPRIGHT
    place = dict(zip(NAMES, rest, strict=True))
    assert place["head_top"][1] < place["pelvis"][1] < place["left_ankle"][1]  # y is down
    assert place["nose"][2] < place["neck"][2]  # z is away from the camera
    assert place["left_shoulder"][0] > place["right_shoulder"][0]  # its left is on the picture's right


@settings(max_examples=4)
@given(seeds)
def test_the_model_fits_joints_that_it_made(seed: int) -> None:
    layer = kinematic_layer(paper_human())
    scale = torch.linspace(0.8, 1.2, 10)
    joints = layer(random_parameters(seed, 10), scale)
    distance = (layer(fit(layer, joints, scale), scale) - joints).norm(dim=-1).mean(dim=-1)
    assert distance.median() < 1e-4
    assert (distance < 1e-3).float().mean() >= 0.7  # some begin on the wrong side of a joint


@pytest.mark.parametrize("head", HEADS)
def test_every_head_learns_a_handful_of_pictures(head: str, people: People, tmp_path: Path) -> None:
    setting = Settings(backbone="small", size=32, epochs=60, drop=45, batch=4, rate=0.01)
    small = People(
        np.stack([cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA) for image in people.images]),
        people.joints,
        people.subject,
        people.action,
    ).of((0, 1))
    body = average_body(small)
    lessons = make_lessons(small, body, torch.device("cpu"))
    told: list[str] = []
    learnt = train(lessons, body, head, setting, tmp_path, tell=told.append)
    learnt.train()  # statistics of so few pictures say little about one picture
    with torch.no_grad():
        found = learnt(lessons.images, lessons.scale)
    truth = lessons.joints.numpy()
    mean = evaluate.score(learnt.joint_mean.expand_as(found).numpy(), truth)
    assert evaluate.score(found.numpy(), truth).mpjpe < 0.5 * mean.mpjpe
    assert len(told) == setting.epochs


class Interrupted(Exception):
    pass


def test_a_run_that_was_cut_off_ends_as_if_it_was_not(saved: Callable[..., Path], tmp_path: Path) -> None:
    def stop_after_two(line: str) -> None:
        if "epoch 2" in line:
            raise Interrupted

    known = load_people(saved(), TINY.size).of(TINY.held_out, others=True)
    body = average_body(known)
    lessons = make_lessons(known, body, torch.device("cpu"))
    whole = train(lessons, body, "kinematic_joint", TINY, tmp_path / "whole", tell=lambda _: None)
    with pytest.raises(Interrupted):
        train(lessons, body, "kinematic_joint", TINY, tmp_path / "cut", tell=stop_after_two)
    resumed = train(lessons, body, "kinematic_joint", TINY, tmp_path / "cut", tell=lambda _: None)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    other = Settings(**{**TINY.plain(), "rate": 0.1})
    with pytest.raises(CheckpointError, match=r"\{'rate': 0.003\}, not with \{'rate': 0.1\}"):
        train(lessons, body, "kinematic_joint", other, tmp_path / "cut")


def test_the_scripts_train_and_score_all_rivals(
    saved: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, folder = str(saved()), str(tmp_path / "out")
    small = ["--backbone", "small", "--size", "32", "--epochs", "2", "--drop", "1", "--batch", "4"]
    monkeypatch.setattr(sys, "argv", ["train", path, "--held-out", "2", "--output", folder, "--device", "cpu", *small])
    assert training.main() == 0
    monkeypatch.setattr(sys, "argv", ["evaluate", path, "--input", folder, "--per-action"])
    assert evaluate.main() == 0
    said = capsys.readouterr().out
    for rival in ("mean_pose", "direct_joint", "model_fit", "direct_parameter", "kinematic_joint"):
        assert f"\n{rival} " in said
    assert "\nsit: " in said and "\nwalk: " in said

    monkeypatch.setattr(sys, "argv", ["evaluate", path, "--input", str(tmp_path / "empty")])
    assert evaluate.main() == 1
    assert "holds no network" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["train", path, "--held-out", "0", "1", "2", "--device", "cpu", *small])
    assert training.main() == 1
    assert "no pictures are left" in capsys.readouterr().err


def test_scores_are_what_they_say(people: People) -> None:
    truth = people.joints
    shifted = truth + 0.3
    assert evaluate.score(shifted, truth).mpjpe == pytest.approx(0, abs=1e-3)
    larger = evaluate.score(1.1 * truth, truth)
    assert larger.pa_mpjpe == pytest.approx(0, abs=1e-2)
    assert larger.mpjpe == pytest.approx(100 * np.linalg.norm(truth[:, 1:], axis=-1).mean(), rel=1e-3)
    assert larger.mpjpe_worst >= larger.mpjpe
    sizes = np.array([0.9, 1.0, 1.1])
    resized = evaluate.score(truth[:1] * sizes[:, None, None], truth[[0, 0, 0]])
    assert resized.bone_deviation == pytest.approx(1e3 * sizes.std() * bone_lengths(truth[:1]).mean(), rel=1e-3)


def test_backbones_of_other_names_and_weights_of_other_networks_are_refused(tmp_path: Path) -> None:
    layer = kinematic_layer(paper_human())
    with pytest.raises(BackboneError, match="no backbone 'resnet49'; there are resnet50"):
        ImageRegressor(layer, "direct_joint", "resnet49")
    weights = tmp_path / "weights.pth"
    torch.save({"other.weight": torch.zeros(3)}, weights)
    with pytest.raises(BackboneError, match="no weights of this backbone"):
        training.load_backbone(ImageRegressor(layer, "direct_joint", "small"), weights)


def test_the_papers_backbone_has_27_outputs() -> None:
    try:
        regressor = ImageRegressor(kinematic_layer(paper_human()), "kinematic_joint")
    except BackboneError as error:
        pytest.skip(str(error))
    assert regressor.output.out_features == 27
    assert sum(value.numel() for value in regressor.backbone.parameters()) == 23_508_032
    assert regressor.eval()(torch.zeros(1, 64, 64, 3, dtype=torch.uint8)).shape == (1, len(NAMES), 3)


def test_a_missing_torchvision_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(BackboneError, match=r"needs torchvision.*video2rig\[train\]"):
        network.ImageRegressor(kinematic_layer(paper_human()), "direct_joint")
