# SPDX-License-Identifier: GPL-3.0-or-later
""".mot and .csv: the angles come back, references read, and what is no such file is refused by line."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from shared_data import SHARED, needs_shared
from strategies import random_motion, seeds
from video2rig.angles import JointAngles, joint_angles
from video2rig.files import FileError
from video2rig.formats.angles_csv import read_csv, write_csv
from video2rig.formats.mot import read_mot, write_mot
from video2rig.formats.text import FormatError

HISTORY = SHARED / "data" / "video" / "pose2sim" / "history"
FILES = {"mot": (write_mot, read_mot), "csv": (write_csv, read_csv)}


@pytest.mark.parametrize("kind", FILES)
@given(seed=seeds)
def test_angles_come_back(kind: str, tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    angles = joint_angles(random_motion(np.random.default_rng(seed), 6))
    path = tmp_path_factory.mktemp("angles") / f"take.{kind}"
    write, read = FILES[kind]
    write(angles, path)
    again = read(path)
    assert again.names == angles.names
    off = np.abs(again.in_degrees() - angles.in_degrees())
    assert off[:, ~angles.translations].max() < 1e-7 and off[:, angles.translations].max() < 1e-8
    assert np.abs(again.times - angles.times).max() < 1e-9, "uneven frame times are kept"


def test_the_header_is_what_opensim_writes(tmp_path: Path) -> None:
    table = JointAngles(("pelvis_tilt", "pelvis_tx"), np.array([[0.1, 0.2], [0.3, 0.4]]), np.array([0.0, 0.5]))
    write_mot(table, tmp_path / "a.mot")
    lines = (tmp_path / "a.mot").read_text().splitlines()
    assert lines[:5] == ["Coordinates", "version=1", "nRows=2", "nColumns=3", "inDegrees=yes"]
    assert lines[lines.index("endheader") + 1] == "time\tpelvis_tilt\tpelvis_tx"
    assert [float(field) for field in lines[-1].split("\t")] == pytest.approx([0.5, np.degrees(0.3), 0.4])
    write_csv(table, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text().splitlines()[0] == "time [s],pelvis_tilt [deg],pelvis_tx [m]"


def test_radians_are_read_as_radians(tmp_path: Path) -> None:
    header = "x\nversion=1\nnRows=1\nnColumns=3\ninDegrees=no\nendheader\n"
    (tmp_path / "a.mot").write_text(header + "time\tknee_angle_r\tpelvis_ty\n0\t1.5\t0.9\n")
    (tmp_path / "a.csv").write_text("time [s],knee_angle_r [rad],pelvis_ty [m]\n0,1.5,0.9\n")
    for table in (read_mot(tmp_path / "a.mot"), read_csv(tmp_path / "a.csv")):
        assert table.values.tolist() == [[1.5, 0.9]]


@needs_shared
@pytest.mark.parametrize("name", ["body25b", "body25b_v2", "LSTM"])
def test_opensims_own_files_read(name: str) -> None:
    angles = read_mot(HISTORY / f"BalancingTrial_filt_butterworth_0-100_{name}.mot")
    assert len(angles) == 100 and angles.times[0] == pytest.approx(1 / 60, abs=1e-6)
    assert 0.8 < angles["pelvis_ty"].mean() < 1.1, "metres"
    assert 0.0 < angles["knee_angle_r"].mean() < 1.5, "radians"


GOOD = "x\nversion=1\nnRows=2\nnColumns=2\ninDegrees=yes\nendheader\ntime\tknee_angle_r\n0\t1\n0.1\t2\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the end of the file, expected a line `endheader`"),
        (GOOD.replace("inDegrees=yes\n", ""), "line 5: the end of the header, expected a line `inDegrees="),
        (GOOD.replace("=yes", "=maybe"), "line 5: inDegrees=maybe"),
        (GOOD.replace("nRows=2", "nRows=two"), "line 3: 'two', expected a number of rows"),
        (GOOD.replace("nRows=2", "nRows=3"), "line 9: the end after 2 rows, expected 3"),
        (GOOD.replace("nColumns=2", "nColumns=3"), "line 7: 2 names"),
        (GOOD.replace("time\t", "when\t"), "line 7: 2 names, expected `time`"),
        (GOOD.replace("0.1\t2", "0.1"), "line 9: 1 columns, expected 2"),
        (GOOD.replace("0.1\t2", "0.1\tx"), "line 9: 'x', expected a number"),
        (GOOD.replace("0.1\t2", "0.0\t2"), "line 7: .*rise"),
        (GOOD.replace("0.1\t2", "0.1\tnan"), "line 7: .*not finite"),
        (GOOD + "\0", "line 1: binary data, expected an OpenSim .mot file"),
    ],
)
def test_what_is_no_mot_is_refused_by_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.mot").write_text(text)
    with pytest.raises(FormatError, match=message) as refusal:
        read_mot(tmp_path / "bad.mot")
    assert "bad.mot, line" in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the end of the file, expected a header row"),
        ("time,knee_angle_r [deg]\n0,1\n", "line 1: 'time,knee_angle_r .*expected `time "),
        ("time [s],knee_angle_r\n0,1\n", "line 1: 'knee_angle_r', expected a name and its unit"),
        ("time [s],knee_angle_r [deg]\n0,1,2\n", "line 2: 3 columns, expected 2"),
        ("time [s],knee_angle_r [deg]\n0,one\n", "line 2: 'one', expected a number"),
        ("time [s],knee_angle_r [deg]\n", "line 1: .*at least one frame"),
    ],
)
def test_what_is_no_csv_is_refused_by_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(FormatError, match=message):
        read_csv(tmp_path / "bad.csv")


def test_a_file_that_is_not_there_and_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"absent\.mot cannot be read: No such file"):
        read_mot(tmp_path / "absent.mot")
    with pytest.raises(FileError, match="cannot be written"):
        write_mot(joint_angles(random_motion(np.random.default_rng(0), 2)), tmp_path / "absent" / "a.mot")
