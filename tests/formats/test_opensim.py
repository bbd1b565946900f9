# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenSim reads what we write: its own readers for .mot and .trc, and its model posed by our angles.

Needs the opensim package, here or in the Python that $VIDEO2RIG_OPENSIM_PYTHON names.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from anatomical import HUMAN, SINGLE, about, anatomical, motion_of
from shared_data import SHARED, needs_shared
from strategies import random_motion
from video2rig.angles import OPENSIM_AXES, anatomical_frames, joint_angles
from video2rig.formats.mot import write_mot
from video2rig.formats.trc import write_trc
from video2rig.kinematics import joint_positions
from video2rig.markers import Markers

MODEL = SHARED / "data" / "video" / "pose2sim" / "Model_Pose2Sim_simple.osim"

READ = """
import sys
import numpy as np, opensim
opensim.Logger.setLevelString("Error")
kind, path, out = sys.argv[1:4]
if kind == "trc":
    table = opensim.TimeSeriesTableVec3(path)
    points = np.array([[[table.getRowAtIndex(r)[c][i] for i in range(3)] for c in range(table.getNumColumns())]
                       for r in range(table.getNumRows())])
    np.savez(out, names=table.getColumnLabels(), times=table.getIndependentColumn(), points=points,
             units=table.getTableMetaDataString("Units"))
elif kind == "mot":
    table = opensim.TimeSeriesTable(path)
    np.savez(out, names=table.getColumnLabels(), times=table.getIndependentColumn(),
             values=table.getMatrix().to_numpy(), degrees=table.getTableMetaDataString("inDegrees"))
else:
    model = opensim.Model(sys.argv[4])
    state = model.initSystem()
    table = opensim.TimeSeriesTable(path)
    model.getSimbodyEngine().convertDegreesToRadians(table)
    other = {"lumbar_extension": "L5_S1_Flex_Ext", "lumbar_bending": "L5_S1_Lat_Bending",
             "lumbar_rotation": "L5_S1_axial_rotation"}
    labels = table.getColumnLabels()
    bodies = [model.getBodySet().get(i) for i in range(model.getBodySet().getSize())]
    turns, places = [], []
    for row in range(table.getNumRows()):
        for label, value in zip(labels, table.getRowAtIndex(row).to_numpy()):
            coordinate = model.getCoordinateSet().get(other.get(label, label))
            coordinate.setLocked(state, False)
            coordinate.setClamped(state, False)
            if label in other:  # OpenSim converts the columns of its own coordinates only
                value = np.radians(value)
            coordinate.setValue(state, float(value), False)
        model.realizePosition(state)
        rotations = [body.getTransformInGround(state).R() for body in bodies]
        turns.append([[[r.get(i, j) for j in range(3)] for i in range(3)] for r in rotations])
        places.append([[body.getPositionInGround(state).get(i) for i in range(3)] for body in bodies])
    np.savez(out, names=[body.getName() for body in bodies], turns=turns, places=places)
"""


def opensim_reads(kind: str, path: Path, *more: object) -> dict[str, np.ndarray]:
    python = os.environ.get("VIDEO2RIG_OPENSIM_PYTHON")
    if not python and importlib.util.find_spec("opensim") is None:
        pytest.skip("opensim is not installed, and $VIDEO2RIG_OPENSIM_PYTHON names no Python that has it")
    out = path.with_name("read.npz")
    program = shutil.which(python or sys.executable)
    assert program is not None, f"there is no {python}"
    command = [os.path.abspath(program), "-c", READ, kind, str(path), str(out), *map(str, more)]
    # OpenSim leaves a log where it runs
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=path.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    with np.load(out, allow_pickle=False) as file:
        return dict(file)


def test_opensim_reads_our_markers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    positions, confidence = rng.normal(size=(6, 3, 3)), np.ones((6, 3))
    positions[2, 1], confidence[2, 1] = np.nan, 0
    positions[3, 2], confidence[3, 2] = np.nan, 0
    markers = Markers(("a", "b", "c"), positions, confidence, np.arange(6) / 50)
    write_trc(markers, tmp_path / "a.trc")
    read = opensim_reads("trc", tmp_path / "a.trc")
    assert read["names"].tolist() == ["a", "b", "c"] and str(read["units"]) == "m"
    assert np.allclose(read["times"], markers.times)
    assert np.allclose(read["points"] @ OPENSIM_AXES.T, positions, atol=1e-7, equal_nan=True)


def test_opensim_reads_our_angles(tmp_path: Path) -> None:
    angles = joint_angles(random_motion(np.random.default_rng(1), 5))
    write_mot(angles, tmp_path / "a.mot")
    read = opensim_reads("mot", tmp_path / "a.mot")
    assert read["names"].tolist() == list(angles.names) and str(read["degrees"]) == "yes"
    assert np.allclose(read["times"], angles.times) and np.allclose(read["values"], angles.in_degrees(), atol=1e-7)


@needs_shared
def test_our_angles_pose_opensims_model_like_our_human(tmp_path: Path) -> None:
    motion = random_motion(np.random.default_rng(2), 20)
    angles = joint_angles(motion)
    write_mot(angles, tmp_path / "a.mot")
    read = opensim_reads("pose", tmp_path / "a.mot", MODEL)
    _, rotations = joint_positions(motion)
    frames = anatomical_frames(motion.skeleton)

    def off(segment: str, body: str) -> float:
        """The largest angle between a segment of ours and OpenSim's, degrees."""
        joint, axes = frames[segment]
        ours = OPENSIM_AXES.T @ rotations[:, joint] @ axes
        theirs = read["turns"][:, read["names"].tolist().index(body)]
        cosine = (np.einsum("tij,tij->t", ours, theirs) - 1) / 2
        return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).max())

    exact = {"pelvis": "pelvis", "trunk": "torso", "head": "head"}
    for side in ("right", "left"):
        exact |= {f"{side}_thigh": f"femur_{side[0]}", f"{side}_upper_arm": f"humerus_{side[0]}"}
    for segment, body in exact.items():
        assert off(segment, body) < 1e-3, segment
    for side in ("right", "left"):
        # the model's own knee also turns inward as it bends, its elbow's axis is 13 degrees oblique
        assert off(f"{side}_shank", f"tibia_{side[0]}") < 20
        assert off(f"{side}_forearm", f"radius_{side[0]}") < 35
    pelvis = read["places"][:, read["names"].tolist().index("pelvis")]
    assert np.allclose(pelvis, np.stack([angles[f"pelvis_t{axis}"] for axis in "xyz"], axis=1), atol=1e-7)


# coordinate: the segment that it turns, and OpenSim's body; of the right side
TURNED = {
    "hip_flexion": ("thigh", "femur"),
    "hip_adduction": ("thigh", "femur"),
    "hip_rotation": ("thigh", "femur"),
    "knee_angle": ("shank", "tibia"),
    "ankle_angle": ("foot", "calcn"),
    "subtalar_angle": ("foot", "calcn"),
    "mtp_angle": ("toes", "toes"),
    "arm_add": ("upper_arm", "humerus"),
    "arm_rot": ("upper_arm", "humerus"),
    "elbow_flex": ("forearm", "radius"),
    "pro_sup": ("forearm", "radius"),
    "wrist_flex": ("hand", "hand"),
    "wrist_dev": ("hand", "hand"),
}


@needs_shared
@pytest.mark.parametrize("side", ["right", "left"])
def test_each_angle_turns_opensims_body_the_same_way(side: str, tmp_path: Path) -> None:
    turns = {joint: np.tile(turn, (len(TURNED) + 1, 1, 1)) for joint, turn in anatomical(HUMAN).items()}
    for frame, name in enumerate(TURNED, start=1):
        joint, axis, signs = SINGLE[name]
        bone = turns.setdefault(f"{side}_{joint}", np.tile(np.eye(3), (len(TURNED) + 1, 1, 1)))
        turn = about(axis, 10.0 * signs[side])[0]
        bone[frame] = turn @ bone[frame] if axis == "x" else bone[frame] @ turn
    motion = motion_of(HUMAN, turns, len(TURNED) + 1)
    write_mot(joint_angles(motion), tmp_path / "a.mot")
    read = opensim_reads("pose", tmp_path / "a.mot", MODEL)
    bodies = read["names"].tolist()
    _, rotations = joint_positions(motion)
    frames = anatomical_frames(HUMAN)
    for frame, (name, (segment, body)) in enumerate(TURNED.items(), start=1):
        joint, _ = frames[f"{side}_{segment}"]
        ours = OPENSIM_AXES.T @ rotations[frame, joint] @ rotations[0, joint].T @ OPENSIM_AXES
        index = bodies.index(f"{body}_{side[0]}")
        theirs = read["turns"][frame, index] @ read["turns"][0, index].T
        axes = [Rotation.from_matrix(turn).as_rotvec(degrees=True) for turn in (ours, theirs)]
        assert np.linalg.norm(axes[0]) == pytest.approx(10, abs=1e-6)
        assert np.linalg.norm(axes[1]) == pytest.approx(10, abs=1.0), name
        # how oblique the model's axes are: most at the subtalar joint, which rises forward
        oblique = {"subtalar_angle": 60, "mtp_angle": 37, "elbow_flex": 14, "ankle_angle": 12, "knee_angle": 16}
        between = np.degrees(np.arccos(axes[0] @ axes[1] / np.prod([np.linalg.norm(axis) for axis in axes])))
        assert between < oblique.get(name, 4), name
