# SPDX-License-Identifier: GPL-3.0-or-later
"""Camera, keypoints, motion, settings and take: what they refuse, and that they survive the disk and JSON."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import random_motion, random_take, seeds
from video2rig.camera import Camera, CameraError
from video2rig.files import FileError
from video2rig.human import default_human
from video2rig.keypoints import KEYPOINT_SETS, Keypoints, KeypointsError, has_site, site, sites
from video2rig.motion import Contact, MotionError, hemisphere_continuous
from video2rig.settings import Settings, SettingsError
from video2rig.skeleton import SkeletonError
from video2rig.take import Take, TakeError, pack_all, unpack_all


@given(seeds, st.floats(0.2, 2.5), st.integers(16, 4000), st.integers(16, 4000))
def test_a_projected_point_lies_on_its_ray(seed: int, field_of_view: float, width: int, height: int) -> None:
    rng = np.random.default_rng(seed)
    camera = Camera.from_field_of_view(width, height, field_of_view)
    point = rng.normal(size=(5, 3)) + [0, 0, 6]
    pixels = camera.project(point)
    ray = np.concatenate([(pixels - camera.center) / camera.focal, np.ones((5, 1))], axis=1)
    assert np.allclose(np.cross(ray, point), 0, atol=1e-8)
    edge = camera.project(np.array([np.tan(field_of_view / 2), np.tan(field_of_view / 2), 1.0]))
    assert edge.max() == pytest.approx(max(width, height) - 0.5)


def test_a_point_behind_the_camera_has_no_pixel() -> None:
    assert np.isnan(Camera.from_field_of_view(64, 64, 1.0).project(np.array([0.0, 0.0, -1.0]))).all()


@pytest.mark.parametrize("change", [{"focal": 0.0}, {"width": 0}, {"center": np.zeros(3)}, {"focal": np.nan}])
def test_a_camera_that_cannot_be_is_refused(change: dict) -> None:
    with pytest.raises(CameraError):
        dataclasses.replace(Camera.from_field_of_view(64, 64, 1.0), **change)


def test_every_keypoint_of_every_set_has_a_place_on_the_human_and_its_mirror() -> None:
    human = default_human()
    rest = human.rest_matrices()
    for names in (tuple(filter(has_site, every)) for every in KEYPOINT_SETS.values()):
        joints, offsets = sites(human, names)
        places = rest[joints, :3, 3] + np.einsum("kij,kj->ki", rest[joints, :3, :3], offsets)
        for name, place in zip(names, places, strict=True):
            if name.startswith("left_"):
                twin = places[names.index(name.replace("left_", "right_"))]
                assert place[0] > 0 and np.allclose(twin, place * [-1, 1, 1]), name
    with pytest.raises(KeypointsError, match="left_tail"):
        site("left_tail")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"set_name": "coco_19"}, "coco_17"),
        ({"positions": np.zeros((2, 16, 2))}, "shape"),
        ({"times": np.array([1.0, 1.0])}, "rise"),
        ({"times": np.array([0.0, np.nan])}, "finite"),
        ({"confidence": np.full((2, 17), 1.5)}, "between 0 and 1"),
        ({"confidence": np.full((2, 17), np.nan)}, "between 0 and 1"),
        ({"positions": np.full((2, 17, 2), np.inf)}, "not finite"),
        ({"world": np.full((2, 17, 3), np.nan)}, "finite world"),
    ],
)
def test_keypoints_that_do_not_fit_are_refused(change: dict, message: str) -> None:
    good = Keypoints("coco_17", np.zeros((2, 17, 2)), np.ones((2, 17)), np.array([0.0, 0.1]))
    with pytest.raises(KeypointsError, match=message):
        dataclasses.replace(good, **change)


@given(seeds)
def test_quaternions_never_jump_between_hemispheres(seed: int) -> None:
    quaternions = np.random.default_rng(seed).normal(size=(20, 3, 4))
    smooth = hemisphere_continuous(quaternions)
    assert ((smooth[1:] * smooth[:-1]).sum(-1) >= 0).all()
    assert np.allclose(np.abs(smooth), np.abs(quaternions))
    assert np.array_equal(hemisphere_continuous(smooth), smooth)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"rotations": np.zeros((12, 22, 4))}, MotionError, "unit length"),
        ({"rotations": np.full((12, 22, 4), np.nan)}, MotionError, "not finite"),
        ({"root_position": np.zeros((3, 3))}, MotionError, "shape"),
        ({"times": np.zeros(12)}, MotionError, "rise"),
        ({"confidence": np.full((12, 22), 2.0)}, MotionError, "between 0 and 1"),
        ({"contacts": (Contact("tail", 0.0, 1.0),)}, SkeletonError, "tail"),
        ({"contacts": (Contact("foot.L", 1.0, 0.0),)}, MotionError, "ends before"),
    ],
)
def test_a_motion_that_contradicts_itself_is_refused(change: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        dataclasses.replace(random_motion(np.random.default_rng(0)), **change)


def test_a_take_survives_the_disk(tmp_path: Path) -> None:
    take = random_take(np.random.default_rng(2))
    take.save(tmp_path / "take.npz")
    again = Take.load(tmp_path / "take.npz")
    assert np.allclose(again.motion.rotations, take.motion.rotations, rtol=0, atol=1e-12)
    assert np.allclose(again.keypoints.positions, take.keypoints.positions, equal_nan=True, atol=1e-3)
    assert again.motion.contacts == take.motion.contacts and again.video == take.video
    assert again.camera.to_json() == take.camera.to_json()
    assert list(tmp_path.iterdir()) == [tmp_path / "take.npz"]


def test_takes_of_several_people_survive_together() -> None:
    takes = [dataclasses.replace(random_take(np.random.default_rng(seed)), person=seed + 1) for seed in range(3)]
    headers, arrays = pack_all(takes)
    again = unpack_all(json.loads(json.dumps(headers)), arrays)
    assert [take.person for take in again] == [1, 2, 3]
    for take, one in zip(takes, again, strict=True):
        assert np.allclose(take.motion.rotations, one.motion.rotations, rtol=0, atol=1e-12)
        assert np.array_equal(take.motion.root_position, one.motion.root_position)
    for wrong in ("3.rotations", "rotations", "-1.rotations", "x.rotations", "\u0663.x", ".rotations"):
        with pytest.raises(TakeError, match="belongs to none of 3 people"):
            unpack_all(headers, arrays | {wrong: np.zeros(1)})
    for broken in ([], {}, None):
        with pytest.raises(TakeError, match="one header a person"):
            unpack_all(broken, arrays)
    with pytest.raises(TakeError, match="incomplete"):
        unpack_all(headers, {name: array for name, array in arrays.items() if name != "1.times"})


def test_a_take_of_an_older_version_is_of_the_one_person_that_was_followed() -> None:
    header, arrays = random_take(np.random.default_rng(0)).pack()
    del header["person"]
    assert Take.unpack(header, arrays).person == 1


def test_files_that_are_no_takes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TakeError, match="no file"):
        Take.load(tmp_path / "absent.npz")
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    random_take(np.random.default_rng(0)).save(tmp_path / "whole.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:2000])
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    whole = bytearray((tmp_path / "whole.npz").read_bytes())
    for position in range(300, len(whole), 97):
        whole[position] ^= 0xFF
    (tmp_path / "damaged.npz").write_bytes(whole)
    for name in ("text", "other", "cut", "array", "damaged"):
        with pytest.raises(TakeError, match=name):
            Take.load(tmp_path / f"{name}.npz")


def test_a_take_is_never_half_written(tmp_path: Path) -> None:
    take = random_take(np.random.default_rng(0))
    (tmp_path / "take.npz").write_text("kept")
    for path in ("absent/take.npz", "take.npz/take.npz", "x" * 300):
        with pytest.raises(FileError, match="cannot be written"):
            take.save(tmp_path / path)
    assert (tmp_path / "take.npz").read_text() == "kept"


def test_a_take_replaces_nothing_but_files(tmp_path: Path) -> None:
    take = random_take(np.random.default_rng(0))
    places = [tmp_path]
    if hasattr(os, "mkfifo"):  # stands for /dev/null, which this must never be tried on
        places.append(tmp_path / "pipe")
        os.mkfifo(places[-1])
    for path in places:
        with pytest.raises(FileError, match="not a file"):
            take.save(path)


@pytest.mark.parametrize("broken", [{"format": 99}, {"skeleton": {}}, {"camera": {}}, {"keypoint_set": "other"}])
def test_a_header_of_another_make_is_refused(broken: dict) -> None:
    header, arrays = random_take(np.random.default_rng(0)).pack()
    with pytest.raises((TakeError, SkeletonError, CameraError, KeypointsError)):
        Take.unpack(header | broken, arrays)


def test_settings_survive_json() -> None:
    settings = Settings(device="cpu", height=1.8, smoothing_hz=4.0, contacts="off")
    assert Settings.from_json(json.loads(json.dumps(settings.to_json()))) == settings
    assert Settings.from_json({}) == Settings()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"colour": 1}, "colour"),
        ({"device": "tpu"}, "cuda"),
        ({"height": 12.0}, "height"),
        ({"height": "tall"}, "height"),
        ({"smoothing_hz": "fast"}, "smoothing_hz"),
        ({"smoothing_hz": float("nan")}, "smoothing_hz"),
        ({"tilt": True}, "tilt"),
        ({"regression": "no"}, "regression"),
        ({"person": "0"}, "person is '0'; it can be 'largest'"),
        ({"person": "12,x@1"}, "640,360@1.5"),
        ({"person": None}, "person"),
        ({"detector": "crystal_ball"}, "detector is 'crystal_ball'; it can be blazepose"),
        ([], "object"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(data: object, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings.from_json(data)
