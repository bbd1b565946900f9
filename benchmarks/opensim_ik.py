# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenSim's own inverse kinematics on a marker file, for opensim_angles.py; needs nothing but the opensim package.

    PYTHON_WITH_OPENSIM benchmarks/opensim_ik.py MODEL.osim MARKED.osim MARKERS.trc OUT.mot

MODEL is scaled, body by body, as MARKED was; its torso so that the shoulders stand where MARKED has them. Each of
MARKED's markers that the marker file has is put where it lies with all coordinates zero, all with weight 1. Prints
OpenSim's version and how well the markers were met.
"""

from __future__ import annotations

import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import opensim  # type: ignore[import-not-found]


def main() -> int:
    """Write OUT.mot."""
    model_path, marked_path, trc_path, out = (Path(argument).resolve() for argument in sys.argv[1:])
    opensim.Logger.setLevelString("Error")
    print(f"OpenSim {opensim.GetVersion()}")
    model, marked = opensim.Model(str(model_path)), opensim.Model(str(marked_path))
    model.scale(model.initSystem(), _scales(ElementTree.parse(marked_path).getroot(), model, marked), False, -1.0)
    state, marked_state = _zero(model), _zero(marked)
    names = set(trc_path.read_text().splitlines()[3].split())
    markers = []
    for index in range(marked.getMarkerSet().getSize()):
        marker = marked.getMarkerSet().get(index)
        if marker.getName() in names:
            body = model.getBodySet().get(marker.getParentFrame().findBaseFrame().getName())
            inside = model.getGround().findStationLocationInAnotherFrame(
                state, marker.getLocationInGround(marked_state), body
            )
            markers.append(opensim.Marker(marker.getName(), body, inside))
    for marker in markers:
        model.addMarker(marker)
    model.finalizeConnections()

    with tempfile.TemporaryDirectory() as folder:
        scaled = Path(folder) / "scaled.osim"
        model.printToXML(str(scaled))
        times = opensim.TimeSeriesTableVec3(str(trc_path)).getIndependentColumn()
        tool = opensim.InverseKinematicsTool()
        tool.set_model_file(str(scaled))
        tool.setMarkerDataFileName(str(trc_path))
        tool.setStartTime(times[0])
        tool.setEndTime(times[-1])
        tool.setOutputMotionFileName(str(out))
        tool.setResultsDir(folder)
        begin = time.process_time()
        tool.run()
        seconds = time.process_time() - begin
        errors = [line.split() for line in next(Path(folder).glob("*marker_errors.sto")).read_text().splitlines()]
    rows = [[float(value) for value in line] for line in errors[errors.index(["endheader"]) + 2 :] if line]
    root_mean_square = sum(row[2] for row in rows) / len(rows)
    print(f"markers off by {1000 * root_mean_square:.1f} mm RMS, {len(rows) / seconds:.0f} frames a CPU second")
    return 0


def _zero(model: opensim.Model) -> opensim.State:
    """Return the state in which all coordinates are zero."""
    state = model.initSystem()
    for index in range(model.getCoordinateSet().getSize()):
        coordinate = model.getCoordinateSet().get(index)
        coordinate.setLocked(state, False)
        coordinate.setValue(state, 0.0, False)
    model.realizePosition(state)
    return state


def _scales(meshes: ElementTree.Element, model: opensim.Model, marked: opensim.Model) -> opensim.ScaleSet:
    """Return the factors by which MARKED was scaled, from its bodies' meshes, and those of the torso."""
    scales = opensim.ScaleSet()
    for body in meshes.iter("Body"):
        name, mesh = body.get("name"), next(body.iter("Mesh"), None)
        if mesh is None or model.getBodySet().getIndex(name) < 0:
            continue
        own = opensim.Mesh.safeDownCast(model.getBodySet().get(name).get_attached_geometry(0)).get_scale_factors()
        text = mesh.findtext("scale_factors")
        assert text is not None, f"the mesh of {name} has no scale_factors"
        factors = [float(value) / own.get(axis) for axis, value in enumerate(text.split())]
        if name == "torso":
            hung = [_from_pelvis(each, "humerus_r") for each in (marked, model)]
            base = _from_pelvis(model, "torso")
            up = (hung[0][1] - base[1]) / (hung[1][1] - base[1])
            factors = [up, up, hung[0][2] / hung[1][2]]
        scale = opensim.Scale()
        scale.setSegmentName(name)
        scale.setScaleFactors(opensim.Vec3(*factors))
        scale.setApply(True)
        scales.cloneAndAppend(scale)
    return scales


def _from_pelvis(model: opensim.Model, body: str) -> list[float]:
    """Return where a body's origin lies from the pelvis's with all coordinates zero, metres."""
    state = _zero(model)
    places = [model.getBodySet().get(name).getPositionInGround(state) for name in (body, "pelvis")]
    return [places[0].get(axis) - places[1].get(axis) for axis in range(3)]


if __name__ == "__main__":
    sys.exit(main())
