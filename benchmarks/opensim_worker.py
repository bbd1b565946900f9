# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenSim's InverseKinematicsTool on chains and keypoints from a file; runs in an interpreter that has ``opensim``.

    python opensim_worker.py PROBLEMS.npz ANSWERS.npz

For every problem n the input holds ``parent_n``, ``R0_n``, ``t0_n``, ``lo_n``, ``hi_n``, ``kp_joint_n`` (see
``imvip22.skeleton_of``) and ``keypoints_n`` [T, K, 3] metres at 30 Hz; the output holds ``angles_n`` [T, J, 3] about
x, y, z in radians, ``cpu_n``, the CPU seconds that the tool itself took, without start-up and model building, and
``version``. Every coordinate is clamped to its range; all markers weigh the same; all else is as the tool has it.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import opensim  # pyright: ignore[reportMissingImports]

RATE = 30.0
AXES = "zyx"  # L = Rz Ry Rx: the joint turns about the body-fixed z, then y, then x


def build_model(problem: dict[str, np.ndarray], path: Path) -> None:
    """Write the chain as an .osim model: a free root, a custom joint a free joint, a weld for the rest."""
    model = opensim.Model()
    bodies = []
    for joint, parent in enumerate(problem["parent"]):
        body = opensim.Body(f"body{joint}", 1.0, opensim.Vec3(0), opensim.Inertia(1, 1, 1))
        frame = model.getGround() if parent < 0 else bodies[parent]
        model.addBody(body)
        bodies.append(body)
        place = opensim.Vec3(*map(float, problem["t0"][joint]))
        turn = opensim.Vec3(*map(float, _body_fixed_xyz(problem["R0"][joint])))
        ends = (frame, place, turn, body, opensim.Vec3(0), opensim.Vec3(0))
        lower, upper = problem["lo"][joint], problem["hi"][joint]
        free = [axis for axis in AXES if parent < 0 or upper["xyz".index(axis)] > lower["xyz".index(axis)]]
        if not free:
            model.addJoint(opensim.WeldJoint(f"joint{joint}", *ends))
            continue
        transform = opensim.SpatialTransform()
        for number, axis in enumerate(AXES):
            _set_axis(transform.updTransformAxis(number), axis, f"r{axis}{joint}" if axis in free else "")
        for number, axis in enumerate("xyz"):
            _set_axis(transform.updTransformAxis(3 + number), axis, f"t{axis}" if parent < 0 else "")
        custom = opensim.CustomJoint(f"joint{joint}", *ends, transform)
        model.addJoint(custom)
        for number in range(custom.numCoordinates()):
            coordinate = custom.upd_coordinates(number)
            axis = "xyz".index(coordinate.getName()[1])
            coordinate.setDefaultValue(0.0)
            if parent >= 0:
                coordinate.setRangeMin(float(lower[axis]))
                coordinate.setRangeMax(float(upper[axis]))
                coordinate.setDefaultClamped(True)
            else:
                coordinate.setRangeMin(-1000.0)
                coordinate.setRangeMax(1000.0)
                coordinate.setDefaultClamped(False)
    for number, joint in enumerate(problem["kp_joint"]):
        model.addMarker(opensim.Marker(f"m{number}", bodies[int(joint)], opensim.Vec3(0)))
    model.finalizeConnections()
    model.printToXML(str(path))


def _set_axis(axis: opensim.TransformAxis, letter: str, coordinate: str) -> None:
    axis.setAxis(opensim.Vec3(*(1.0 if letter == other else 0.0 for other in "xyz")))
    if coordinate:
        axis.setCoordinateNames(opensim.ArrayStr(coordinate, 1))
        axis.set_function(opensim.LinearFunction(1.0, 0.0))
    else:
        axis.set_function(opensim.Constant(0.0))


def _body_fixed_xyz(rotation: np.ndarray) -> tuple[float, float, float]:
    """Return the angles of R = Rx Ry Rz, radians."""
    middle = float(np.arcsin(np.clip(rotation[0, 2], -1, 1)))
    if abs(rotation[0, 2]) > 1 - 1e-9:
        return float(np.arctan2(rotation[1, 0], rotation[1, 1])), middle, 0.0
    first = float(np.arctan2(-rotation[1, 2], rotation[2, 2]))
    return first, middle, float(np.arctan2(-rotation[0, 1], rotation[0, 0]))


def write_trc(keypoints: np.ndarray, path: Path) -> None:
    """Write markers m0, m1 ... as OpenSim's .trc, in metres."""
    frames, count, _ = keypoints.shape
    head = ["DataRate", "CameraRate", "NumFrames", "NumMarkers", "Units"]
    head += ["OrigDataRate", "OrigDataStartFrame", "OrigNumFrames"]
    values = [RATE, RATE, frames, count, "m", RATE, 1, frames]
    lines = [f"PathFileType\t4\t(X/Y/Z)\t{path.name}", "\t".join(head), "\t".join(map(str, values))]
    lines.append("Frame#\tTime\t" + "\t\t\t".join(f"m{number}" for number in range(count)))
    lines.append("\t\t" + "\t".join(f"{axis}{number + 1}" for number in range(count) for axis in "XYZ"))
    lines.append("")
    for frame, points in enumerate(keypoints):
        row = "\t".join(f"{value:.9f}" for value in points.ravel())
        lines.append(f"{frame + 1}\t{frame / RATE:.9f}\t{row}")
    path.write_text("\n".join(lines) + "\n")


def solve(problem: dict[str, np.ndarray], folder: Path) -> tuple[np.ndarray, float]:
    """Return the angles [T, J, 3], radians, and the tool's CPU seconds."""
    keypoints = problem["keypoints"]
    build_model(problem, folder / "chain.osim")
    write_trc(keypoints, folder / "markers.trc")
    model = opensim.Model(str(folder / "chain.osim"))
    tool = opensim.InverseKinematicsTool()
    tool.setModel(model)
    tool.setMarkerDataFileName(str(folder / "markers.trc"))
    tool.setStartTime(0.0)
    tool.setEndTime((len(keypoints) - 1) / RATE + 1e-6)
    tool.setOutputMotionFileName(str(folder / "angles.mot"))
    tool.setResultsDir(str(folder))
    tasks = tool.getIKTaskSet()
    for number in range(keypoints.shape[1]):
        task = opensim.IKMarkerTask()
        task.setName(f"m{number}")
        task.setWeight(1.0)
        task.setApply(True)
        tasks.cloneAndAppend(task)
    start = time.process_time()
    tool.run()
    cpu = time.process_time() - start
    table = opensim.TimeSeriesTable(str(folder / "angles.mot"))
    labels = list(table.getColumnLabels())
    values = table.getMatrix().to_numpy()
    if len(values) != len(keypoints):
        raise RuntimeError(f"OpenSim solved {len(values)} of {len(keypoints)} frames")
    angles = np.zeros((len(values), len(problem["parent"]), 3))
    for column, label in enumerate(labels):
        if label.startswith("r"):
            angles[:, int(label[2:]), "xyz".index(label[1])] = np.radians(values[:, column])
    return angles, cpu


def main() -> int:
    """Solve the problems of the file named first into the file named second."""
    opensim.Logger.setLevelString("Error")
    with np.load(sys.argv[1], allow_pickle=False) as file:
        data = {name: file[name] for name in file.files}
    answers: dict[str, np.ndarray] = {"version": np.array(opensim.GetVersion())}
    target = os.path.abspath(sys.argv[2])
    for number in range(int(data["count"])):
        names = ("parent", "R0", "t0", "lo", "hi", "kp_joint", "keypoints")
        problem = {name: data[f"{name}_{number}"] for name in names}
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)  # the tool leaves files where it runs
            angles, cpu = solve(problem, Path(folder))
            os.chdir("/")
        answers[f"angles_{number}"], answers[f"cpu_{number}"] = angles, np.array(cpu)
    np.savez(target, **answers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
