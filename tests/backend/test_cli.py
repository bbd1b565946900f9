# SPDX-License-Identifier: GPL-3.0-or-later
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from strategies import random_take
from video2rig import weights
from video2rig.angles import joint_angles
from video2rig.cli import main
from video2rig.formats.angles_csv import read_csv
from video2rig.formats.bvh_reader import read_bvh
from video2rig.formats.mot import read_mot
from video2rig.formats.trc import read_trc
from video2rig.kinematics import joint_positions
from video2rig.take import Take

SAMPLE = Path(__file__).parents[1] / "sample" / "sample.mp4"


def needs_weights() -> None:
    try:
        weights.fetch("blazepose")
    except weights.WeightsError as error:
        pytest.skip(str(error))


def beginning_of_sample(path: Path, frames: int) -> Path:
    """Write the sample's first frames as a video of their own."""
    reader = cv2.VideoCapture(str(SAMPLE))
    size = int(reader.get(cv2.CAP_PROP_FRAME_WIDTH)), int(reader.get(cv2.CAP_PROP_FRAME_HEIGHT))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30.0, size)
    for _ in range(frames):
        writer.write(reader.read()[1])
    writer.release()
    return path


def test_solve_makes_a_take_and_tells_its_progress(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    needs_weights()
    video = beginning_of_sample(tmp_path / "clip.mp4", 12)
    assert main(["solve", str(video), "-o", str(tmp_path / "take.npz"), "--device", "cpu", "--json-progress"]) == 0
    take = Take.load(tmp_path / "take.npz")
    assert len(take.motion) == 12 and take.keypoints.seen().all()
    assert take.motion.provenance["settings"]["device"] == "cpu"
    assert set(take.motion.provenance["weights"]) == {"blazepose", "kinematic_regressor"}
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"detecting", "solving"} <= {line["stage"] for line in lines}
    assert all(line["done"] <= line["total"] for line in lines)


def test_a_profile_of_joint_limits_is_solved_with_and_reported(tmp_path: Path, capsys) -> None:
    needs_weights()
    video = beginning_of_sample(tmp_path / "clip.mp4", 8)
    out = tmp_path / "take.npz"
    assert main(["solve", str(video), "-o", str(out), "--device", "cpu", "--rom", "kinepose", "--no-regression"]) == 0
    told = capsys.readouterr().err
    motion = Take.load(out).motion
    knee = motion.skeleton.index("left_knee")
    assert np.degrees(motion.skeleton.rom[knee, 0]).tolist() == pytest.approx([0, 137.52])
    assert motion.provenance["settings"]["rom"] == "kinepose"
    assert set(motion.provenance["weights"]) == {"blazepose"}
    first = told.splitlines()[1] if "range of motion" in told else ""
    assert main(["report", str(out), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["frames"] == 8
    for stay in report["at_bounds"][:4]:
        assert f"{stay['title']} at its bound" in told
    assert bool(first) == (not report["at_bounds"])
    assert main(["report", str(out)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == max(len(report["at_bounds"]), 1)


def test_joints_are_written_in_the_cameras_axes(tmp_path: Path) -> None:
    take = random_take(np.random.default_rng(0))
    take.save(tmp_path / "take.npz")
    assert main(["joints", str(tmp_path / "take.npz"), "-o", str(tmp_path / "joints.npz")]) == 0
    with np.load(tmp_path / "joints.npz", allow_pickle=False) as file:
        names = file["names"].tolist()
        assert {"RShoulder", "LAnkle", "RHeel", "LBigToe"} <= set(names)
        knee = joint_positions(take.motion)[0][:, take.motion.skeleton.index("right_knee")]
        expected = knee @ take.camera.rotation.T + take.camera.translation
        assert np.allclose(file["joints"][:, names.index("RKnee")], expected)
        assert np.array_equal(file["time"], take.motion.times)


def test_a_take_is_exported_in_the_format_of_the_suffix(tmp_path: Path) -> None:
    take = random_take(np.random.default_rng(0))
    take.save(tmp_path / "take.npz")
    for suffix in (".mot", ".trc", ".csv", ".BVH"):
        assert main(["export", str(tmp_path / "take.npz"), "-o", str(tmp_path / f"take{suffix}")]) == 0
    knee = joint_angles(take.motion)["knee_angle_r"]
    for angles in (read_mot(tmp_path / "take.mot"), read_csv(tmp_path / "take.csv")):
        assert np.allclose(angles["knee_angle_r"], knee, atol=1e-9) and np.allclose(angles.times, take.motion.times)
    assert read_trc(tmp_path / "take.trc").names == take.keypoints.names
    assert read_bvh(tmp_path / "take.BVH").skeleton.names[0] == take.motion.skeleton.names[0]


def test_what_was_there_stays_where_an_export_fails(tmp_path: Path, capsys) -> None:
    random_take(np.random.default_rng(0)).save(tmp_path / "take.npz")
    (tmp_path / "folder.mot").mkdir()
    assert main(["export", str(tmp_path / "take.npz"), "-o", str(tmp_path / "folder.mot")]) == 1
    assert "cannot be written" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.mot", "take.npz"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["solve", "absent.mp4", "-o", "take.npz"], "absent.mp4"),
        (["solve", "absent.mp4", "-o", "take.npz", "--height", "17"], "height"),
        (["joints", "absent.npz", "-o", "joints.npz"], "absent.npz"),
        (["export", "absent.npz", "-o", "take.mot"], "absent.npz"),
        (["export", "absent.npz", "-o", "take.fbx"], "there are .mot, .trc, .csv, .bvh"),
        (["export", "absent.npz", "-o", "take"], "no format"),
        (["report", "absent.npz"], "absent.npz"),
    ],
)
def test_trouble_is_one_line_and_a_code(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("video2rig:") and message in lines[0]
    assert not list(tmp_path.iterdir())


def test_a_video_without_a_person_is_refused_and_leaves_nothing(tmp_path: Path, capsys) -> None:
    needs_weights()
    writer = cv2.VideoWriter(str(tmp_path / "empty.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 30.0, (160, 120))
    for _ in range(3):
        writer.write(np.full((120, 160, 3), 128, np.uint8))
    writer.release()
    arguments = ["solve", str(tmp_path / "empty.mp4"), "-o", str(tmp_path / "take.npz"), "--device", "cpu"]
    assert main(arguments) == 1
    assert "no person" in capsys.readouterr().err
    assert not (tmp_path / "take.npz").exists()


def test_a_gpu_that_is_not_there_is_an_error(tmp_path: Path, capsys) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    video = beginning_of_sample(tmp_path / "clip.mp4", 2)
    assert main(["solve", str(video), "-o", str(tmp_path / "take.npz"), "--device", "cuda"]) == 1
    assert "cuda" in capsys.readouterr().err


def test_the_command_is_installed_and_tells_its_version() -> None:
    command = [sys.executable, "-m", "video2rig.cli", "--version"]
    assert "video2rig 0." in subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("arguments", [["solve"], ["solve", "a.mp4", "-o", "take.npz", "--rom", "dancer"]])
def test_wrong_usage_is_code_two(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
