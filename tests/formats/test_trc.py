# SPDX-License-Identifier: GPL-3.0-or-later
"""Marker files: points come back, gaps stay gaps, units and axes are as their header and Pose2Sim have them."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from shared_data import SHARED, needs_shared
from strategies import random_motion, seeds
from video2rig.angles import OPENSIM_AXES
from video2rig.formats.text import FormatError
from video2rig.formats.trc import motion_markers, read_trc, write_trc
from video2rig.keypoints import KEYPOINT_SETS
from video2rig.kinematics import keypoint_positions
from video2rig.markers import Markers

VIDEO = SHARED / "data" / "video"
HISTORY = VIDEO / "pose2sim" / "history"


def some_markers(rng: np.random.Generator, frames: int = 7, count: int = 4) -> Markers:
    positions = rng.normal(scale=3.0, size=(frames, count, 3))
    confidence = rng.uniform(0.1, 1.0, (frames, count))
    unseen = rng.random((frames, count)) < 0.3
    confidence[unseen], positions[unseen] = 0.0, np.nan
    times = np.cumsum(rng.uniform(0.005, 0.05, frames))
    return Markers(tuple(f"M.{index}" for index in range(count)), positions, confidence, times)


@given(seeds)
def test_markers_come_back(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    markers = some_markers(np.random.default_rng(seed))
    path = tmp_path_factory.mktemp("trc") / "points.trc"
    write_trc(markers, path)
    again = read_trc(path)
    seen = markers.confidence > 0
    assert again.names == markers.names and np.array_equal(again.confidence, seen)
    assert np.abs(again.positions[seen] - markers.positions[seen]).max(initial=0) < 1e-7
    assert np.isnan(again.positions[~seen]).all()
    assert np.abs(again.times - markers.times).max() < 1e-8


def test_a_motions_keypoints_are_markers(tmp_path: Path) -> None:
    motion = random_motion(np.random.default_rng(0), 5)
    names = KEYPOINT_SETS["halpe_26"]
    write_trc(motion_markers(motion, names), tmp_path / "body.trc")
    assert np.allclose(read_trc(tmp_path / "body.trc").positions, keypoint_positions(motion, names), atol=1e-7)


def test_axes_units_and_header(tmp_path: Path) -> None:
    one = Markers(("a",), np.array([[[1.0, 2.0, 3.0]]] * 3), np.ones((3, 1)), np.arange(3) / 50)
    write_trc(one, tmp_path / "one.trc")
    lines = (tmp_path / "one.trc").read_text().splitlines()
    assert lines[0] == "PathFileType\t4\t(X/Y/Z)\tone.trc"
    assert dict(zip(lines[1].split("\t"), lines[2].split("\t"), strict=True)) == {
        "DataRate": "50.000000",
        "CameraRate": "50.000000",
        "NumFrames": "3",
        "NumMarkers": "1",
        "Units": "m",
        "OrigDataRate": "50.000000",
        "OrigDataStartFrame": "1",
        "OrigNumFrames": "3",
    }
    assert [float(field) for field in lines[6].split("\t")] == [1, 0, 2, 3, 1], "X, Y, Z there are our Y, Z, X"
    text = (tmp_path / "one.trc").read_text()
    for unit, factor in (("mm", 0.001), ("cm", 0.01)):
        (tmp_path / "two.trc").write_text(text.replace("\tm\t", f"\t{unit}\t"))
        assert np.allclose(read_trc(tmp_path / "two.trc").positions, one.positions * factor)


def test_a_single_frame_is_written(tmp_path: Path) -> None:
    markers = Markers(("a",), np.zeros((1, 1, 3)), np.ones((1, 1)), np.array([0.25]))
    write_trc(markers, tmp_path / "a.trc")
    assert read_trc(tmp_path / "a.trc").times.tolist() == [0.25]


@needs_shared
@pytest.mark.parametrize(("name", "count"), [("body25b", 21), ("LSTM", 64)])
def test_pose2sims_files_read(name: str, count: int) -> None:
    markers = read_trc(HISTORY / f"BalancingTrial_filt_butterworth_0-100_{name}.trc")
    assert markers.positions.shape == (100, count, 3) and (markers.confidence == 1).all()
    head, heel = markers.positions[:, markers.index("Head")], markers.positions[:, markers.index("RHeel")]
    assert 1.2 < (head - heel)[:, 2].mean() < 2.0, "Z is up, in metres"


@needs_shared
def test_the_world_is_that_of_the_trials_calibration() -> None:
    # the file of truths has the trial's points and cameras in the .trc file's axes, the calibration in the world's
    truth = np.load(VIDEO / "truth_pose2sim_balancing.npz", allow_pickle=False)
    calibration = (VIDEO / "pose2sim" / "calibration" / "Calib.qca.txt").read_text()
    first_row = [float(re.search(f'r1{column}="([^"]+)"', calibration)[1]) for column in (1, 2, 3)]
    assert np.allclose((truth["cam_cam01_R"] @ OPENSIM_AXES.T)[0], first_row, atol=1e-6)
    markers = read_trc(HISTORY / "BalancingTrial_filt_butterworth_0-100_body25b.trc")
    columns = [markers.index(name) for name in truth["names"]]
    assert np.abs(markers.positions[:, columns] - truth["joints3d"] @ OPENSIM_AXES.T).max() < 1e-5


GOOD = (
    "PathFileType\t4\t(X/Y/Z)\ta.trc\n"
    "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames\n"
    "60\t60\t2\t2\tm\t60\t1\t2\n"
    "Frame#\tTime\ta\t\t\tb\t\t\n"
    "\t\tX1\tY1\tZ1\tX2\tY2\tZ2\n"
    "\n"
    "1\t0.0\t1\t2\t3\t4\t5\t6\n"
    "2\t0.1\t\t\t\t4\t5\t6\t\n"
)


def test_the_good_file_of_the_refusals_is_good(tmp_path: Path) -> None:
    (tmp_path / "good.trc").write_text(GOOD)
    assert read_trc(tmp_path / "good.trc").confidence.tolist() == [[1, 1], [0, 1]]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (GOOD, "", "line 1: the end of the file"),
        ("PathFileType", "Coordinates", "line 1: 'Coordinates"),
        ("NumMarkers", "Markers", "line 3: a header without it, expected NumMarkers"),
        ("\tm\t", "\tfurlong\t", "line 3: Units furlong, expected m, cm or mm"),
        ("60\t2\t2", "60\t3\t2", "line 8: the end after 2 frames, expected 3"),
        ("60\t2\t2", "60\tx\t2", "line 3: 'x', expected a number of frames"),
        ("60\t2\t2", "60\t2\t0", "line 3: 0, expected a number of markers, 1 or more"),
        ("60\t2\t2", "60\t2\t3", "line 4: 2 names, expected .* 3 markers"),
        ("\ta\t", "\tb\t", "line 4: .*more than once: b"),
        ("1\t0.0\t1\t2\t3\t4\t5\t6", "1\t0.0\t1\t2\t3\t4\t5", "line 7: 7 columns, expected 8"),
        ("1\t0.0\t1\t2\t3\t4\t5\t6", "1\t0.0\t1\t2\t3\t4\t5\t6\t7", "line 7: 9 columns, expected 8"),
        ("1\t0.0\t1\t2", "1\t0.0\t1\ttwo", "line 7: 'two', expected a number"),
        ("1\t0.0\t1\t2", "1\t0.0\t1\t", "line 7: a part of a, expected three coordinates"),
        ("2\t0.1", "2\t0.0", "line 4: .*rise"),
    ],
)
def test_what_is_no_trc_is_refused_by_line(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in GOOD
    (tmp_path / "bad.trc").write_text(GOOD.replace(old, new, 1))
    with pytest.raises(FormatError, match=message):
        read_trc(tmp_path / "bad.trc")


def test_a_name_with_a_blank_has_no_place(tmp_path: Path) -> None:
    markers = some_markers(np.random.default_rng(0))
    with pytest.raises(FormatError, match="'left knee'"):
        write_trc(dataclasses.replace(markers, names=("left knee", "b", "c", "d")), tmp_path / "a.trc")
    assert not list(tmp_path.iterdir())
