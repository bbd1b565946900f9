# SPDX-License-Identifier: GPL-3.0-or-later
"""`video2rig doctor`: what is installed, what will compute, which weights are here, whether a server answers."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

from . import __version__
from .connection import Connection, ConnectionFileError, default_path
from .errors import Video2RigError
from .greeting import probe
from .link import Unreachable

PACKAGES = ("torch", "numpy", "scipy", "roma", "tflite", "opencv-python-headless", "pyzmq")
STAND_INS = {"opencv-python-headless": ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")}


def report(device: str = "auto") -> dict[str, Any]:
    """Look at everything, changing nothing and without the network. Returns plain JSON values.

    Args:
        device: Where the networks should run; "cuda" without a usable GPU is a problem, "auto" takes what there is.

    ``problems`` holds a line with its cure for each thing that keeps Video2Rig from working; it is empty on a
    healthy machine. A server that does not run is none: the add-on starts it.
    """
    problems: list[str] = []
    return {
        "version": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "packages": _packages(problems),
        "device": _device(problems, device),
        "weights": _weights(problems),
        "detectors": _detectors(problems),
        "onnxruntime": _onnxruntime(),
        "blender": _blender(),
        "server": _server(problems),
        "problems": problems,
    }


def format_report(facts: dict[str, Any]) -> str:
    """Return a report as text for a terminal."""
    server, blender = facts["server"], facts["blender"]
    lines = [
        f"video2rig   {facts['version']}",
        f"python      {facts['python']} ({facts['executable']})",
        f"platform    {facts['platform']}",
        *(
            f"{'packages' if not number else '':<11} {name} {version or 'ABSENT'}"
            for number, (name, version) in enumerate(facts["packages"].items())
        ),
        f"device      {facts['device']}",
        *(
            f"weights     {entry['name']}, {entry['licence']}, {entry['bytes'] / 1e6:.1f} MB: {entry['place']}"
            for entry in facts["weights"]
        ),
        *(
            f"detectors   {words}: {', '.join(names)}"
            for words, here in (("here", True), ("absent", False))
            if (names := [entry["name"] for entry in facts["detectors"] if entry["here"] == here])
        ),
        f"onnxruntime {facts['onnxruntime']['state']}",
        f"blender     {blender['program'] or 'no program `blender` on the PATH'}; "
        f"{'bpy ' + blender['bpy'] if blender['bpy'] else 'no bpy module here'}",
        f"connection  {server['connection_file']}",
        f"server      {server['state']}",
    ]
    lines += [f"PROBLEM     {problem}" for problem in facts["problems"]] or ["all is well"]
    return "\n".join(lines)


def _packages(problems: list[str]) -> dict[str, str | None]:
    found = {name: _version(name, *STAND_INS.get(name, ())) for name in PACKAGES}
    if absent := [name for name, version in found.items() if version is None]:
        problems.append(f"{', '.join(absent)}: not installed; run `{sys.executable} -m pip install {' '.join(absent)}`")
    return found


def _version(*names: str) -> str | None:
    for name in names:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _device(problems: list[str], choice: str) -> str:
    try:
        from .device import resolve_device

        return resolve_device(choice)[1]
    except Video2RigError as error:
        problems.append(_line(error))
        return "none"
    except (ImportError, OSError) as error:
        problems.append(f"torch cannot be used ({_line(error)}); reinstall it for this Python")
        return "none"


def _weights(problems: list[str]) -> list[dict[str, Any]]:
    try:
        from . import weights

        return [
            {
                "name": entry.name,
                "licence": entry.licence,
                "bytes": entry.size,
                "here": entry.folder is not None,
                "place": f"{entry.place}, {entry.folder}" if entry.folder else f"{entry.place}; fetched when needed",
            }
            for entry in weights.status()
            if entry.folder or not weights.ENTRIES[entry.name].origin  # what only a user can bring: `models list` says
        ]
    except (ImportError, OSError, Video2RigError) as error:
        problems.append(f"weights cannot be looked for: {_line(error)}")
        return []


def _detectors(problems: list[str]) -> list[dict[str, Any]]:
    try:
        from .detection import catalogue

        return [line.to_json() for line in catalogue.status()]
    except (ImportError, OSError, Video2RigError) as error:
        problems.append(f"detectors cannot be listed: {_line(error)}")
        return []


def _onnxruntime() -> dict[str, Any]:
    """RTMPose and RTMW alone need it: that it is absent is no problem."""
    try:
        from .detection import onnx_session

        version, providers = onnx_session.facts()
    except (ImportError, OSError, Video2RigError) as error:
        return {"version": None, "providers": [], "state": f"absent, RTMPose and RTMW need it: {_line(error)}"}
    return {"version": version, "providers": list(providers), "state": f"{version}, with {', '.join(providers)}"}


def _blender() -> dict[str, str | None]:
    here = importlib.util.find_spec("bpy") is not None  # importing it takes long, and may end the process
    return {"program": shutil.which("blender"), "bpy": (_version("bpy") or "of unknown version") if here else None}


def _server(problems: list[str]) -> dict[str, Any]:
    facts: dict[str, Any] = {"connection_file": "", "answers": False, "state": ""}
    path: Path | None = None
    try:
        path = default_path()
        facts["connection_file"] = str(path)
        if not path.exists():
            facts["state"] = "none runs (there is no connection file); the add-on starts one, or `video2rig serve`"
            return facts
        connection = Connection.load(path)
        facts["endpoint"] = connection.control_endpoint
        welcome = probe(connection)
    except Unreachable as error:
        facts["state"] = f"does not answer, its connection file is a left-over: {_line(error)}"
    except ConnectionFileError as error:
        facts["state"] = "unknown"
        problems.append(_line(error))
    except (Video2RigError, OSError) as error:
        facts["state"] = "answers, but refuses"
        problems.append(f"{_line(error)}; or end that server and remove {path}")
    else:
        facts |= {
            "answers": True,
            "version": welcome.package,
            "device": welcome.device,
            "latency_ms": round(welcome.latency * 1000, 2),
            "sessions": welcome.sessions,
        }
        facts["state"] = (
            f"answers at {connection.control_endpoint} in {welcome.latency * 1000:.1f} ms, version {welcome.package}, "
            f"{welcome.device}, {welcome.sessions} sessions"
        )
    return facts


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
